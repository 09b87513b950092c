"""The folder for temporary files of one server, and the removal of those that killed servers have left."""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nucleus.app.refusals import PREFIX

LOCK = "lock"
YOUNG = 60.0  # seconds; another server may be about to lock a folder that it has just made


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """Remove what killed servers left, and have all temporary files of this process in a folder that nobody removes.

    The folder is locked as long as this process lives, however it ends.

    Yields:
        The folder, deleted at the end.

    Raises:
        OSError: there is no place for temporary files.
    """
    remove_stale(Path(tempfile.gettempdir()))
    with (
        tempfile.TemporaryDirectory(prefix=PREFIX, ignore_cleanup_errors=True) as folder,
        (Path(folder) / LOCK).open("w") as lock,
    ):
        fcntl.flock(lock, fcntl.LOCK_EX)
        before, tempfile.tempdir = tempfile.tempdir, folder
        try:
            yield Path(folder)
        finally:
            tempfile.tempdir = before


def remove_stale(where: Path) -> list[Path]:
    """Delete the folders of servers that run no more.

    Only folders of this user are looked at, no links are followed, and none is touched whose server lives.

    Args:
        where: the folder of temporary files.

    Returns:
        Those that were deleted.
    """
    removed = []
    for folder in where.glob(f"{PREFIX}*"):
        try:
            found = folder.lstat()
            ours = stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid()
            if ours and time.time() - found.st_mtime > YOUNG and not _is_locked(folder / LOCK):
                shutil.rmtree(folder)
                removed.append(folder)
        except OSError:  # gone meanwhile, or not ours to delete
            continue
    return removed


def _is_locked(lock: Path) -> bool:
    try:
        descriptor = os.open(lock, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
