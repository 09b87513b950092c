"""nucleus: find every cell nucleus in a microscope image, as one mask per nucleus."""

from __future__ import annotations

import argparse
import atexit
import importlib
import os
import sys
import threading
from collections.abc import Sequence
from typing import NoReturn

from nucleus import __version__
from nucleus.errors import InputError

COMMANDS = {
    "prepare": "convert BBBC038 archives or folders to COCO",
    "synth": "write a BBBC038 look-alike",
    "convert": "make your own images a data set",
    "browse": "pictures and statistics of a data set",
    "train": "train and evaluate a model",
    "evaluate": "score files of nuclei against files",
    "compare": "is one result better than another",
    "predict": "images to nuclei, for the program you use",
    "app": "a page in the browser: drop an image, see its nuclei",
    "zoo": "models that ship or can be fetched, with their scores",
    "doctor": "what is installed, and what would fail",
}
BAD_INPUT = 2  # the exit code for input that the user can mend, as argparse uses it
NOBODY_READS = 141  # as of a program that ends by SIGPIPE


def program() -> NoReturn:
    """`nucleus COMMAND ...` as a process of its own."""
    end_process(main())


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `nucleus COMMAND ...` and return its exit code."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if not arguments or arguments[0] not in COMMANDS:
        parser = argparse.ArgumentParser(prog="nucleus", description=__doc__)
        parser.add_argument("--version", action="version", version=f"nucleus {__version__}")
        listing = parser.add_subparsers(metavar="COMMAND", required=True)
        for name, summary in COMMANDS.items():
            listing.add_parser(name, help=summary)
        parser.parse_args(arguments)
    return run_command(arguments[0], arguments[1:])


def run_command(name: str, arguments: Sequence[str] | None = None) -> int:
    """Run one command; the scripts in `tools/` and `datasets/` are doors onto this."""
    module = importlib.import_module(f"nucleus.cli.{name}")  # only this one: `nucleus doctor` must not need torch
    parser = argparse.ArgumentParser(
        prog=f"nucleus {name}", description=module.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    module.add_arguments(parser)
    try:
        code: int = module.run(parser.parse_args(arguments))
        sys.stdout.flush()  # here, where a reader that has gone is known
        return code
    except InputError as error:
        print(f"nucleus {name}: {error}", file=sys.stderr)
        return BAD_INPUT
    except BrokenPipeError:  # who reads the output has gone, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else the interpreter's last flush would fail
        return NOBODY_READS
    except KeyboardInterrupt:
        print(f"nucleus {name}: stopped", file=sys.stderr)
        return 130


def end_process(code: int) -> NoReturn:
    """End this process with an exit code, without taking apart what it holds, as mypy ends.

    To free each object of torch one by one takes seconds, for which a user waits. What the interpreter does before that
    is done here: it waits for threads that are no daemons, runs what is registered with `atexit` (which ends data
    workers and flushes logs), and flushes both streams.
    """
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
