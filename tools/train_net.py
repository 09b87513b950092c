#!/usr/bin/env python
"""Train and evaluate: `nucleus train`, with Detectron2's flags, from a clone."""

import sys

from nucleus.cli.main import run_command

if __name__ == "__main__":
    sys.exit(run_command("train"))
