"""The account of a run on Dask: which work is handed out, what came back, and what is done about workers that died.

A few tasks for each worker are under way at a time, so that the scheduler's memory does not grow with the images. Small
images go several to a task, as many as take about TASK_SECONDS (`nucleus.inference.dask_pace`), and fewer near the end.
A large image is opened by one task, worked on by one for every few of its tiles, and stitched, in the order of the
tiles, by one more.

A worker that dies takes no result with it: its tasks run elsewhere and find what it had done. Work whose workers died
again and again is set aside, since it may only have stood beside the work that killed them, and is tried once more with
nothing else under way. If workers die of it then, too, the image has failed.
"""

from __future__ import annotations

import pickle
import queue
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import cloudpickle

from nucleus.errors import InputError
from nucleus.inference import dask_remote
from nucleus.inference.dask_cluster import address_of
from nucleus.inference.dask_pace import AHEAD, Pace
from nucleus.inference.dask_tasks import Job
from nucleus.inference.dask_work import Found, Images, Large, Result, Stitch, Tiles, Work
from nucleus.inference.image_files import ImageFile
from nucleus.inference.output_folder import Done

NO_WORKERS = 300.0  # seconds that a run waits for workers
LOOK = 2.0  # seconds between looks at the workers


@dataclass
class _UnderWay:
    """A large image: batches of tiles handed out, and tiles done."""

    large: Large
    handed_out: int = 0
    done: int = 0


class Run:
    """Hands out the work of a run and takes the results."""

    def __init__(
        self,
        client: Any,
        job: Job,
        images: Sequence[ImageFile],
        everywhere: dict[str, ImageFile],
        on_image: Callable[[ImageFile, Done | InputError], None],
        on_tiles: Callable[[ImageFile, int, int], None],
    ) -> None:
        self.client = client
        self.packed = cloudpickle.dumps(job)  # once, since it goes with every task
        self.given = {image.name: image for image in images}
        self.waiting = deque(everywhere.values())
        self.on_image = on_image
        self.on_tiles = on_tiles
        self.outcomes: dict[str, Done | InputError] = {}
        self.skipped: set[str] = set()
        self.large: dict[str, _UnderWay] = {}
        self.to_stitch: deque[Large] = deque()
        self.suspects: deque[Work] = deque()
        self.alone = False
        self.flying: dict[Any, Work] = {}
        self.landed: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.pace, self.tile_pace = Pace(), Pace()
        self.threads = self.tasks = 0
        self.looked = self.seen_workers = time.monotonic()
        self.look()

    def to_the_end(self) -> None:
        """Work until every image has its outcome."""
        try:
            while len(self.outcomes) < len(self.given):
                self.hand_out()
                for future in self.next_landed():
                    self.take(future)
        finally:
            self.client.cancel(list(self.flying))

    def hand_out(self) -> None:
        """Keep the workers busy."""
        while not self.alone and len(self.flying) < AHEAD * max(1, self.threads):
            work = self.next_work()
            if work is None:
                break
            self.submit(work)
        if not self.flying and self.suspects:
            self.alone = True
            self.submit(self.suspects.popleft())

    def submit(self, work: Work) -> None:
        """Hand out one task."""
        future = self.client.submit(dask_remote.run, self.packed, pickle.dumps(work), pure=False)
        self.flying[future] = work
        self.tasks += 1
        future.add_done_callback(self.landed.put)

    def next_work(self) -> Work | None:
        """What ends large images first, so that few of them are on the disk half done."""
        if self.to_stitch:
            return Stitch(self.to_stitch.popleft())
        for one in self.large.values():
            left = one.large.batches - one.handed_out
            if left:
                count = self.tile_pace.count(left, self.threads)
                one.handed_out += count
                return Tiles(one.large, one.handed_out - count, one.handed_out)
        if self.waiting:
            count = self.pace.count(len(self.waiting), self.threads)
            return Images(tuple(self.waiting.popleft() for _ in range(count)))
        return None

    def next_landed(self) -> list[Any]:
        """Wait for tasks that ended, whichever way, and see from time to time that there are workers."""
        ended = []
        try:
            ended.append(self.landed.get(timeout=LOOK))
            while True:
                ended.append(self.landed.get_nowait())
        except queue.Empty:
            pass
        if time.monotonic() - self.looked > LOOK:
            self.look()
        return ended

    def look(self) -> None:
        """Count the threads of the workers.

        Raises:
            InputError: the scheduler is gone, or has been without workers for long.
        """
        try:
            self.threads = sum(self.client.nthreads().values())
        except (OSError, TimeoutError) as error:
            raise self.lost() from error
        self.looked = time.monotonic()
        if self.threads:
            self.seen_workers = self.looked
        elif self.looked - self.seen_workers > NO_WORKERS:
            raise InputError(address_of(self.client), expected="a Dask scheduler with workers",
                             found=f"none for {NO_WORKERS:g} s",
                             remedy="Start the same command again to go on: what is done stays.")  # fmt: skip

    def lost(self) -> InputError:
        """The error for a scheduler that is gone."""
        return InputError(address_of(self.client), expected="a Dask scheduler that lives to the end",
                          found="that the connection is lost",
                          remedy="Start the same command again to go on: what is done stays.")  # fmt: skip

    def take(self, future: Any) -> None:
        """Account for a task that ended.

        Raises:
            InputError: its worker cannot do the job, or the scheduler is gone.
            OSError: the output cannot be written.
        """
        from distributed import KilledWorker
        from distributed.client import FutureCancelledError

        work = self.flying.pop(future)
        alone, self.alone = self.alone, False
        try:
            result: Result = future.result()
        except KilledWorker:
            self.killed(work, alone)
            return
        except FutureCancelledError as error:
            raise self.lost() from error
        if isinstance(work, Images):
            self.pace.took(result.seconds, len(work.images))
        elif isinstance(work, Tiles):
            self.tile_pace.took(result.seconds, work.stop - work.start)
        if isinstance(work, Tiles) and not result.found:
            self.take_tiles(work.large, result.tiles)
        for image, found in zip(_images(work), result.found, strict=isinstance(work, Images)):
            self.take_image(image.name, found)

    def take_tiles(self, large: Large, tiles: int) -> None:
        """Some tiles more of a large image are done."""
        one = self.large.get(large.image.name)
        if one is None:  # another tile has failed
            return
        one.done += tiles
        self.on_tiles(self.given[large.image.name], one.done, large.tiles)
        if one.done == large.tiles:
            self.to_stitch.append(large)

    def take_image(self, name: str, found: Found) -> None:
        """An image is done, failed, or found to be a large one."""
        outcome = found.outcome
        if isinstance(outcome, Large):
            self.large[name] = _UnderWay(outcome)
            return
        self.large.pop(name, None)
        if name in self.outcomes:  # failed already
            return
        given = self.given[name]
        if isinstance(outcome, InputError) and outcome.where == str(given.path.absolute()):
            outcome = InputError(given.path, expected=outcome.expected, found=outcome.found, remedy=outcome.remedy)
        self.outcomes[name] = outcome
        if found.before:
            self.skipped.add(name)
        self.on_image(given, outcome)

    def killed(self, work: Work, alone: bool) -> None:
        """Set work aside whose workers died, or if it was alone, give its image up."""
        if not alone:
            self.suspects += [Images((image,)) for image in work.images] if isinstance(work, Images) else [work]
            return
        for image in _images(work):
            error = InputError(image.path, expected="an image that the workers survive",
                               found="that every Dask worker that had it died, also with nothing else under way",
                               remedy="If the memory ran out, use a smaller --tile or --batch.")  # fmt: skip
            self.take_image(image.name, Found(error))


def _images(work: Work) -> tuple[ImageFile, ...]:
    return work.images if isinstance(work, Images) else (work.large.image,)
