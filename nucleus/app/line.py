"""The line before the network: one image at a time, the others wait and know how many are before them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Event
from typing import Generic, TypeVar

from nucleus.app.refusals import RefusalError

LOOK = 0.1  # seconds between two looks at a job
RETRY = 5  # seconds after which a place may be free

T = TypeVar("T")


class AbandonedError(Exception):
    """Raised in a job whose user has gone."""


@dataclass(frozen=True)
class Waiting:
    """Attributes: ahead: how many images come first."""

    ahead: int


@dataclass(frozen=True)
class Running:
    """Attributes: done and total: tiles; total 0 as long as the image is read."""

    done: int
    total: int


@dataclass(frozen=True)
class Finished(Generic[T]):
    """Attributes: value: what the job gave."""

    value: T


class _Job:
    def __init__(self) -> None:
        self.started = Event()
        self.abandoned = Event()
        self.tiles = (0, 0)

    def progress(self, done: int, total: int) -> None:
        if self.abandoned.is_set():
            raise AbandonedError
        self.tiles = (done, total)


class Line:
    """Runs jobs one by one in a thread of its own.

    Args:
        places: how many may be in it, including those whose image is still on its way.
    """

    def __init__(self, places: int) -> None:
        self.places = places
        self.taken = 0
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="nucleus-network")
        self._jobs: list[_Job] = []

    @contextmanager
    def place(self) -> Iterator[None]:
        """Hold a place; RefusalError if all are taken."""
        if self.taken >= self.places:
            raise RefusalError(503, f"{self.taken} images are waiting already. Please try again in a moment.",
                          retry_seconds=RETRY)  # fmt: skip
        self.taken += 1
        try:
            yield
        finally:
            self.taken -= 1

    async def run(
        self, work: Callable[[Callable[[int, int], None]], T]
    ) -> AsyncGenerator[Waiting | Running | Finished[T], None]:
        """Wait for the turn, do the work, and tell how it goes.

        Args:
            work: called in the thread with what it is to call for each tile. If this generator is closed first, that
                call raises `AbandonedError`.

        Yields:
            What has changed, and at the end what the work gave. What the work raises is raised here.
        """
        job = _Job()
        self._jobs.append(job)
        future = asyncio.get_running_loop().run_in_executor(self._thread, self._do, job, work)
        last: Waiting | Running | None = None
        try:
            while not future.done():
                now = Running(*job.tiles) if job.started.is_set() else Waiting(self._ahead_of(job))
                if now != last:
                    last = now
                    yield now
                await asyncio.wait({future}, timeout=LOOK)
            yield Finished(future.result())
        finally:
            job.abandoned.set()
            future.cancel()
            if job in self._jobs:  # it was abandoned before its turn
                self._jobs.remove(job)

    def _ahead_of(self, job: _Job) -> int:
        jobs = list(self._jobs)  # the thread may take it out meanwhile
        return jobs.index(job) if job in jobs else 0

    def _do(self, job: _Job, work: Callable[[Callable[[int, int], None]], T]) -> T:
        try:
            job.started.set()
            job.progress(0, 0)
            return work(job.progress)
        finally:
            if job in self._jobs:
                self._jobs.remove(job)

    def close(self) -> None:
        """Start nothing more."""
        for job in self._jobs:
            job.abandoned.set()
        self._thread.shutdown(wait=False, cancel_futures=True)
