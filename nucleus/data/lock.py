"""One writer at a time in a folder."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nucleus.errors import InputError


@contextmanager
def only_writer(folder: str | Path, *, wait: bool = False) -> Iterator[None]:
    """Hold a folder for this process while the block runs. The system lets go when the process dies, however it dies.

    It is held against processes of the same machine: a folder on a network file system is not known to be held
    elsewhere.

    Args:
        folder: made if missing.
        wait: wait for another writer instead of giving up.

    Raises:
        InputError: another process holds the folder.
        OSError: the folder cannot be made.
    """
    path = Path(folder)
    path.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_RDONLY)  # the folder itself, so that no lock file stays behind
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            raise InputError(path, expected="a folder that nothing else writes", found="another run writing it",
                             remedy="Wait for that run to end, or stop it.") from None  # fmt: skip
        yield
    finally:
        os.close(handle)
