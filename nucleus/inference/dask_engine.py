"""`predict_files` on many processes and machines, through Dask: the same files, byte for byte.

This process hands out work (see `dask_tasks`) and keeps account; a few tasks for each worker are under way at a time,
so that the scheduler's memory does not grow with the images. Small images go several to a task, as many as take about
TASK_SECONDS, and fewer near the end. A large image is opened by one task, worked on by one for every few of its tiles,
and stitched, in the order of the tiles, by one more.

A worker that dies takes no result with it: its tasks run elsewhere and find what it had done. Work whose workers died
again and again is set aside, since it may only have stood beside the work that killed them, and is tried once more with
nothing else under way. If workers die of it then, too, the image has failed.
"""

from __future__ import annotations

import logging
import pickle
import queue
import shutil
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cloudpickle

import nucleus
from nucleus.errors import InputError
from nucleus.formats.atomic import atomic_write
from nucleus.inference import dask_remote
from nucleus.inference.dask_tasks import (
    SAME,
    TOKEN,
    Found,
    Images,
    Job,
    Large,
    ModelChoice,
    Result,
    Stitch,
    Tiles,
    Work,
    check_worker,
    listed,
    versions,
)
from nucleus.inference.image_files import ImageFile
from nucleus.inference.predict_files import Done, Output, Reading, Report

AHEAD = 2  # tasks handed out for each thread of a worker: one to work on, one to go on with at once
TASK_SECONDS = 2.0  # that a task is to take, a thousand times of what it costs the scheduler
MOST = 256  # images or batches of tiles in a task
CONNECT = 30.0  # seconds
NO_WORKERS = 300.0  # seconds that a run waits for workers
DEATHS = 2  # of workers, after which this process's own scheduler gives a task back
LOOK = 2.0  # seconds between looks at the workers


def predict_files_on_dask(
    images: Sequence[ImageFile],
    model: ModelChoice,
    output: Output,
    *,
    reading: Reading,
    tile: int | None = None,
    batch: int = 1,
    scheduler: Any = None,
    workers: int = 1,
    begin: Callable[[], object] = bool,
    on_image: Callable[[ImageFile, Done | InputError], None] = lambda image, outcome: None,
    on_tiles: Callable[[ImageFile, int, int], None] = lambda image, tiles, of: None,
) -> Report:
    """Find the nuclei of every image and write them, as `nucleus.inference.predict_files.predict_files` does.

    Args:
        images, output, reading, tile, batch, on_image, on_tiles: as there. Images are done in any order.
        model: loaded by each worker process, once.
        scheduler: address of a Dask scheduler, such as tcp://host:8786, or a cluster object, as of dask-jobqueue; None
            to start processes on this machine.
        workers: how many of these, of one thread each.
        begin: called in each of these before anything else.

    Returns:
        What was done, in the order of the images. Images that could not be read, or that killed their workers, are in
        `failed`.

    Raises:
        InputError: Dask is not installed, the scheduler is not there or goes away, it has no workers, or a worker has
            other versions, another model, or does not see the output folder.
        OSError: the output cannot be written, as on a full disk. What is done stays done.
    """
    start = time.perf_counter()
    before = output.recorded()
    everywhere = {image.name: replace(image, path=image.path.absolute()) for image in images}
    if model.files.name is None:
        files = replace(model.files, weights=str(Path(model.files.weights).absolute()),
                        config=model.files.config.absolute())  # fmt: skip
        model = replace(model, files=files)
    job = Job(model, output.absolute(), reading, tile, batch, uuid.uuid4().hex, versions())
    token = output.hidden / TOKEN
    with _connected(scheduler, workers, begin) as client:
        with atomic_write(token) as temporary:
            temporary.write_text(job.token, encoding="utf-8")
        try:
            _check_workers(client, job)
            run = _Run(client, job, images, everywhere, on_image, on_tiles)
            run.to_the_end()
        finally:
            token.unlink(missing_ok=True)
    shutil.rmtree(output.unfinished, ignore_errors=True)  # of workers that died
    report = Report()
    there = []
    for image in images:
        outcome = run.outcomes[image.name]
        if isinstance(outcome, InputError):
            report.failed[image.path] = outcome
            continue
        there.append(image)
        (report.skipped if image.name in before & run.skipped else report.done).append(outcome)
    report.joined = output.join(there) if there else []
    report.seconds = time.perf_counter() - start
    return report


@contextmanager
def _connected(scheduler: Any, workers: int, begin: Callable[[], object]) -> Iterator[Any]:
    """A client of the scheduler; without an address, of one of this process, with worker processes beside it."""
    from distributed import Client

    logging.getLogger("distributed.client").setLevel(logging.CRITICAL)  # a lost scheduler: told as an error, below
    with ExitStack() as stack:
        address = stack.enter_context(_cluster(workers, begin)) if scheduler is None else scheduler
        try:
            client = stack.enter_context(Client(address, timeout=CONNECT, set_as_default=False))
        except (OSError, ValueError) as error:
            raise InputError(str(scheduler or "--engine dask"), expected="a Dask scheduler, as at tcp://host:8786",
                             found=str(error), remedy="Start one: dask scheduler.") from error  # fmt: skip
        yield client


@contextmanager
def _cluster(workers: int, begin: Callable[[], object]) -> Iterator[Any]:
    """A scheduler in this process and worker processes of one thread each; what goes wrong there is told here."""
    import dask
    from distributed import LocalCluster, WorkerPlugin

    class Begin(WorkerPlugin):  # inside, so that it goes to the workers by its code, not by a module that needs torch
        def setup(self, worker: Any) -> None:
            begin()

    # TLS, since whoever can talk to a scheduler can run code as its owner, also another user of this machine. No limit
    # of memory: a local run has none, either.
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": DEATHS - 1}),
        LocalCluster(
            n_workers=workers, threads_per_worker=1, processes=True, dashboard_address="127.0.0.1:0", memory_limit=0,
            security=find_spec("cryptography") is not None or None, silence_logs=logging.CRITICAL,
        ) as cluster,
    ):  # fmt: skip
        with cluster.get_client() as client:
            client.register_plugin(Begin(), name="nucleus")
        yield cluster


def _check_workers(client: Any, job: Job) -> None:
    """See that there are workers, and that all of them can do the job; one that comes later is checked by itself."""
    import distributed

    try:
        client.wait_for_workers(1, timeout=CONNECT)
    except TimeoutError as error:
        raise InputError(_address(client), expected="a Dask scheduler with workers", found="one without",
                         remedy="Start some: dask worker ADDRESS --nthreads 1.") from error  # fmt: skip
    # The scheduler runs nothing of nucleus, but it takes the name of a function apart.
    theirs = {"distributed": client.get_versions()["scheduler"]["packages"]["distributed"]}
    with suppress(ImportError):
        theirs["nucleus"] = client.run_on_scheduler(dask_remote.version)
    ours = {"distributed": distributed.__version__, "nucleus": nucleus.__version__}
    if differing := [name for name, version in ours.items() if theirs.get(name) != version]:
        raise InputError(_address(client), remedy=SAME, found=listed(differing, theirs),
                         expected=f"a Dask scheduler with {listed(differing, ours)}")  # fmt: skip
    for address, said in client.run(check_worker, job, on_error="return").items():
        if isinstance(said, InputError):
            raise said
        if isinstance(said, Exception):  # nucleus is not there, or it is another one, so that nothing fits
            raise InputError(f"the Dask worker {address}", expected="the versions of the run", found=str(said),
                             remedy=SAME) from said  # fmt: skip


def _address(client: Any) -> str:
    return str(client.scheduler.address) if client.scheduler else "--scheduler"


class Pace:
    """How many images, or batches of tiles, go into a task."""

    def __init__(self) -> None:
        self.seconds: float | None = None  # for one

    def took(self, seconds: float, count: int) -> None:
        """Learn from a task."""
        each = seconds / count
        self.seconds = each if self.seconds is None else 0.8 * self.seconds + 0.2 * each

    def count(self, left: int, threads: int) -> int:
        """As many as take TASK_SECONDS; one where that is not known yet, and fewer where few are left, so that all
        threads end at about one time."""
        if self.seconds is None:
            return 1
        fitting = TASK_SECONDS / max(self.seconds, TASK_SECONDS / MOST)
        return max(1, min(int(fitting), left // (2 * max(1, threads))))


@dataclass
class _UnderWay:
    """A large image: batches of tiles handed out, and tiles done."""

    large: Large
    handed_out: int = 0
    done: int = 0


class _Run:
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
            raise InputError(_address(self.client), expected="a Dask scheduler with workers",
                             found=f"none for {NO_WORKERS:g} s",
                             remedy="Start the same command again to go on: what is done stays.")  # fmt: skip

    def lost(self) -> InputError:
        """The error for a scheduler that is gone."""
        return InputError(_address(self.client), expected="a Dask scheduler that lives to the end",
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
