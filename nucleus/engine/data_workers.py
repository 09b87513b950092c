"""The end of a run whose data workers have died."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from nucleus.errors import InputError


@contextmanager
def data_workers_alive() -> Iterator[None]:
    """Work with data loaders; torch raises where a worker of theirs dies, at whatever the main process is then doing.

    Raises:
        InputError: one has died.
    """
    try:
        yield
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
