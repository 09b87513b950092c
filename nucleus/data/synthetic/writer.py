"""The whole look-alike: streamed field by field in several processes, safe to kill and to run again."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import connection
from pathlib import Path
from typing import NamedTuple

import cv2
from tqdm import tqdm

from nucleus.data.lock import only_writer
from nucleus.data.synthetic.fields import first_image_of_field, kind_of_field, make_field
from nucleus.data.synthetic.layout import (
    PARTIAL,
    SOLUTION,
    SOLUTION_HEADER,
    Recipe,
    claim_root,
    finish_root,
    image_folder,
    image_id,
    solution_lines,
    write_image_folder,
)
from nucleus.errors import InputError
from nucleus.formats.atomic import atomic_write

SMALLEST_SIZE = 64  # pixels; a smaller image could end up without a nucleus
AHEAD = 4  # fields handed out a worker before the first result is taken: bounds the memory


@dataclass(frozen=True)
class Summary:
    """What `write_synthetic` did.

    Attributes:
        root: the data root.
        written: images written now.
        kept: images that were there already.
        nuclei: nuclei in the images written now.
    """

    root: Path
    written: int
    kept: int
    nuclei: int


class Job(NamedTuple):
    """One field to write: its first `images` tiles, and whether the lines of the solution are wanted."""

    root: Path
    recipe: Recipe
    part: str
    field: int
    images: int
    solution: bool


class Done(NamedTuple):
    """What became of a job."""

    written: int
    kept: int
    nuclei: int
    solution: str


def write_synthetic(
    root: str | Path,
    images: int,
    seed: int = 0,
    test_images: int | None = None,
    workers: int = 1,
    max_size: int | None = None,
    progress: bool = True,
) -> Summary:
    """Write a look-alike of BBBC038.

    Image number i is the same whatever the number of images and of workers. A second call with the same seed and size
    keeps the images that are there and writes the missing ones, so it ends a killed run or enlarges a set. Memory does
    not grow with the number of images.

    Args:
        root: data root; gets stage1_train, stage1_test, stage1_solution.csv and synthetic.json.
        images: training images.
        seed: any whole number from 0.
        test_images: test images; None for a tenth of the training images, at least 1.
        workers: processes. More than one starts fresh interpreters, so a script needs the usual
            `if __name__ == "__main__"`.
        max_size: largest side of an image in pixels, at least 64; None for BBBC038's own sizes (up to 1388).
        progress: show a progress bar on stderr.

    Returns:
        What was written.

    Raises:
        InputError: a number out of range, a root that holds another data set, is being written by another process or
            cannot be written, or a worker that was killed.
    """
    root = Path(root)
    counts = {"train": images, "test": max(1, images // 10) if test_images is None else test_images}
    _at_least(("--images", images, 1), ("--test-images", counts["test"], 0), ("--seed", seed, 0))
    _at_least(("--workers", workers, 1), ("--max-size", SMALLEST_SIZE if max_size is None else max_size, SMALLEST_SIZE))
    recipe = Recipe(seed, max_size)
    tally = {"written": 0, "kept": 0, "nuclei": 0}
    try:
        with (
            only_writer(root),
            _process_pool(workers) as pool,
            tqdm(total=sum(counts.values()), unit="image", mininterval=0.5, disable=not progress) as bar,
        ):
            finished = claim_root(root, recipe, counts)

            def write_part(part: str) -> Iterator[Done]:
                jobs = _jobs(root, recipe, part, counts[part], solution=part == "test" and not finished)
                for done in _in_order(pool, jobs, workers * AHEAD):
                    for name in tally:
                        tally[name] += getattr(done, name)
                    bar.update(done.written + done.kept)
                    yield done

            deque(write_part("train"), maxlen=0)
            _write_solution(root, write_part("test"), keep=finished)
            finish_root(root, recipe, counts)
    except OSError as error:
        raise InputError(error.filename or root, expected="a folder that can be written to",
                         found=error.strerror or str(error), remedy="Run it again to go on.") from error  # fmt: skip
    except BrokenProcessPool as error:
        raise InputError(root, expected="workers that live", found="one that was killed",
                         remedy="Run it again, with fewer --workers if memory ran out.") from error  # fmt: skip
    return Summary(root, **tally)


def _at_least(*options: tuple[str, int, int]) -> None:
    for option, value, least in options:
        if value < least:
            raise InputError(option, expected=f"at least {least}", found=str(value))


def _write_solution(root: Path, results: Iterable[Done], keep: bool) -> None:
    """Stream the lines of the solution into the file, or only run the jobs if it is to be kept."""
    if keep:
        deque(results, maxlen=0)
        return
    filling = root / PARTIAL / SOLUTION  # so that a killed run leaves nothing in the root
    with atomic_write(filling) as temporary, temporary.open("w", encoding="ascii") as file:
        file.write(",".join(SOLUTION_HEADER) + "\n")
        for done in results:
            file.write(done.solution)
    filling.replace(root / SOLUTION)


def _jobs(root: Path, recipe: Recipe, part: str, count: int, solution: bool) -> Iterator[Job]:
    field = 0
    while (first := first_image_of_field(field)) < count:
        yield Job(root, recipe, part, field, min(kind_of_field(field).tiles, count - first), solution)
        field += 1


def _run(job: Job) -> Done:
    """Make one field and write those of its images that are missing."""
    cv2.setNumThreads(1)  # the processes are the parallelism
    first = first_image_of_field(job.field)
    numbers = range(first, first + job.images)
    names = [image_id(job.recipe.seed, job.part, number) for number in numbers]
    missing = [not image_folder(job.root, job.part, name).is_dir() for name in names]
    written = nuclei = 0
    lines = []
    if any(missing) or job.solution:
        tiles = make_field(job.recipe.seed, job.part, job.field, job.recipe.max_size)
        for number, name, wanted, tile in zip(numbers, names, missing, tiles, strict=False):
            if wanted:
                # BBBC038: every training image is RGBA; of the test images those in colour and some others are RGB.
                alpha = job.part == "train" or (tile.modality.endswith("fluorescent") and number % 3 > 0)
                write_image_folder(job.root, job.part, name, tile, alpha)
                written += 1
                nuclei += int(tile.labels.max(initial=0))
            if job.solution:
                lines.append(solution_lines(name, tile.labels))
    return Done(written, job.images - written, nuclei, "".join(lines))


@contextmanager
def _process_pool(workers: int) -> Iterator[ProcessPoolExecutor | None]:
    """A pool of fresh processes, or None for one worker, which is this process."""
    if workers == 1:
        yield None
        return
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), initializer=_die_with_parent)
    try:
        yield pool
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _die_with_parent() -> None:
    """End this worker when its parent is killed; the pool alone would leave it waiting for work for ever."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def wait() -> None:
        connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def _in_order(pool: ProcessPoolExecutor | None, jobs: Iterator[Job], ahead: int) -> Iterator[Done]:
    """Run the jobs; give their results in order, with at most `ahead` of them under way."""
    if pool is None:
        yield from map(_run, jobs)
        return
    under_way: deque[Future[Done]] = deque()
    for job in jobs:
        under_way.append(pool.submit(_run, job))
        if len(under_way) >= ahead:
            yield under_way.popleft().result()
    while under_way:
        yield under_way.popleft().result()
