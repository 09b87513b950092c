"""`python -m nucleus COMMAND`: the same as `nucleus COMMAND`."""

from nucleus.cli.main import program

if __name__ == "__main__":
    program()
