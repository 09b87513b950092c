"""One function over many jobs in several processes, the results in the order of the jobs."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import connection
from typing import Any, TypeVar

import cv2

from nucleus.errors import InputError

Job = TypeVar("Job")
Result = TypeVar("Result")
AHEAD = 16  # jobs handed out a worker before the first result is taken: bounds the memory


def available_cpus() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def in_order(function: Callable[[Job], Result], jobs: Iterable[Job], workers: int) -> Iterator[Result]:
    """Run a function over jobs.

    Args:
        function: can be pickled; goes to each worker once, with what it holds.
        jobs: can be pickled, too.
        workers: processes; 1 runs everything in this one. More start fresh interpreters, so that a script needs the
            usual `if __name__ == "__main__"`.

    Yields:
        The results, in the order of the jobs.

    Raises:
        InputError: `workers` is below 1, or a worker was killed. What the function raises is raised for the first job
            in order that raised it.
    """
    if workers < 1:
        raise InputError("--workers", expected="at least 1", found=str(workers))
    if workers == 1:
        yield from map(function, jobs)
        return
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, context, initializer=_begin, initargs=(function,))
    under_way: deque[Future[Result]] = deque()
    try:
        for job in jobs:
            under_way.append(pool.submit(_run, job))
            if len(under_way) >= workers * AHEAD:
                yield under_way.popleft().result()
        while under_way:
            yield under_way.popleft().result()
    except BrokenProcessPool as error:
        raise InputError("--workers", expected=f"{workers} processes that live to the end", found="one was killed",
                         remedy="If the memory ran out, use fewer.") from error  # fmt: skip
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


_function: Callable[[Any], Any]


def _begin(function: Callable[[Any], Any]) -> None:
    """Make a worker ready. It ends with its parent; the pool alone would leave it waiting for work for ever."""
    global _function
    _function = function
    cv2.setNumThreads(1)  # the processes are the parallelism
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()


def _end_with(sentinel: int) -> None:
    connection.wait([sentinel])
    os._exit(1)


def _run(job: Any) -> Any:
    return _function(job)
