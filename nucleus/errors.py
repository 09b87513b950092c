"""The error a user can mend: what was expected, what was found, in which file, and what to do."""

from __future__ import annotations

import errno
import os

# How torch says it: of the CPU, of C++ below it, of CUDA, and of CUDA's libraries.
OUT_OF_MEMORY = ("allocate memory", "bad_alloc", "out of memory", "_STATUS_ALLOC_FAILED")


class InputError(ValueError):
    """Raised for input that a user can correct.

    The command line prints it without a traceback and ends with code 2.

    Args:
        where: the file, folder, address or option at fault.
        expected: what should have been there.
        found: what was there instead.
        remedy: what the user can do about it.
    """

    def __init__(self, where: str | os.PathLike[str], *, expected: str, found: str, remedy: str = "") -> None:
        self.where = os.fspath(where)
        self.expected = expected
        self.found = found
        self.remedy = remedy
        message = f"{self.where}: expected {expected}, found {found}"
        super().__init__(f"{message}. {remedy}" if remedy else message)

    def __reduce__(self) -> tuple:
        # Worker processes hand the error back by pickle, which only knows positional arguments.
        return _rebuild, (self.where, self.expected, self.found, self.remedy)


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether memory ran out: the system's, Python's, torch's and OpenCV's errors have no common kind."""
    words = str(error)
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return (
        isinstance(error, MemoryError)
        or (isinstance(error, RuntimeError) and any(text in words for text in OUT_OF_MEMORY))
        or (type(error).__module__ == "cv2" and "Insufficient memory" in words)
    )


def _rebuild(where: str, expected: str, found: str, remedy: str) -> InputError:
    return InputError(where, expected=expected, found=found, remedy=remedy)
