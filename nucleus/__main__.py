"""`python -m nucleus COMMAND`: the same as `nucleus COMMAND`."""

import sys

from nucleus.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
