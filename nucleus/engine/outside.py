"""What ends a run from outside, as errors that a user can mend: a disk without room, a data worker that was killed."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nucleus.errors import InputError

# What the system says of a place that cannot be written to; other errors of it are not of the output.
UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR,
              errno.EISDIR)  # fmt: skip


@contextmanager
def outside_errors(output: str | Path) -> Iterator[None]:
    """Train or evaluate, writing into a folder.

    Args:
        output: the folder of the run.

    Raises:
        InputError: a file could not be written; or a data worker has died, which torch raises at whatever the main
            process is then doing.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in UNWRITABLE:
            raise
        raise InputError(
            error.filename or output,
            expected="a disk with room that can be written to",
            found=error.strerror or str(error),
            remedy="Checkpoints that are there are whole: mend it and go on with --resume.",
        ) from error
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise InputError(
            "DATALOADER.NUM_WORKERS",
            expected="data workers that live as long as the run",
            found=" ".join(str(error).split()),
            remedy="The system kills them where memory runs out: take fewer, or a smaller DATALOADER.CACHE_MIB. "
            "--resume goes on from the last checkpoint.",
        ) from error
