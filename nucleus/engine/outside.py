"""What ends a run from outside, as errors that a user can mend: a disk without room, a data worker that was killed."""

from __future__ import annotations

import errno
import traceback
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
            process is then doing, and multiprocessing at the batch that the worker was handing over.
    """
    try:
        yield
    except (EOFError, OSError) as error:
        if _while_handed_over(error):
            raise _dead_worker(f"one that broke off while handing over a batch ({type(error).__name__})") from error
        if not isinstance(error, OSError) or error.errno not in UNWRITABLE:
            raise
        raise InputError(
            error.filename or output,
            expected="a disk with room that can be written to",
            found=error.strerror or str(error),
            remedy="Checkpoints that are there are whole: mend it and go on with --resume.",
        ) from error
    except RuntimeError as error:
        if "DataLoader worker (pid" not in str(error):  # "DataLoader worker process" is an error of the dataset itself
            raise
        raise _dead_worker(" ".join(str(error).split())) from error


def _while_handed_over(error: BaseException) -> bool:
    """Whether the connection to a data worker failed: raised by multiprocessing, below torch's loader.

    A worker that is killed closes its connections before the system reports its death, so torch may not know yet.
    """
    if not isinstance(error, (EOFError, ConnectionError, FileNotFoundError)):  # such as too many open files
        return False
    modules = [frame.f_globals["__name__"] for frame, _ in traceback.walk_tb(error.__traceback__)]
    return "torch.utils.data.dataloader" in modules and modules[-1].startswith("multiprocessing.")


def _dead_worker(found: str) -> InputError:
    return InputError(
        "DATALOADER.NUM_WORKERS",
        expected="data workers that live as long as the run",
        found=found,
        remedy="The system kills them where memory runs out: take fewer, or a smaller DATALOADER.CACHE_MIB. "
        "--resume goes on from the last checkpoint.",
    )
