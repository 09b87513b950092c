"""A run of `nucleus predict --engine dask` as a closed queueing network, simulated event by event.

Three kinds of servers: the client and the scheduler, which do one thing at a time, first come, first served, and W
workers, which share one queue. A task of k images visits them in turn:

    client: hand out -> scheduler: assign -> a worker: k images -> scheduler: note the end -> client: account

The client keeps AHEAD * W tasks in this circle and hands out the next one as it accounts for one; k is chosen by the
engine's own rule (`nucleus.inference.dask_pace.Pace`), or is 1. Costs are constant but for the seconds of an image,
which are spread as a gamma distribution. Left out: the file system, which all workers share, the network, memory, and
workers that die.
"""

from __future__ import annotations

import heapq
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from nucleus.inference.dask_pace import AHEAD, Pace


@dataclass(frozen=True)
class Costs:
    """Seconds.

    Attributes:
        client_task: of the client for each task.
        client_image: of the client for each image of a task.
        scheduler_task: of the scheduler for each task.
        scheduler_image: of the scheduler for each image of a task: the bytes of its path and its record.
        scheduler_worker: of the scheduler in every second for each worker that is connected: heartbeats.
        worker_task: of a worker for each task, beside its images.
        before: of the client for each image before the first task: listing.
    """

    client_task: float
    client_image: float
    scheduler_task: float
    scheduler_image: float = 0.0
    scheduler_worker: float = 0.0
    worker_task: float = 0.0
    before: float = 0.0


@dataclass(frozen=True)
class Simulated:
    """What a simulated run took, and for which part of that the client, the scheduler and the workers were busy."""

    seconds: float
    tasks: int
    client: float
    scheduler: float
    workers: float


def simulate(
    images: int, workers: int, image_seconds: float, costs: Costs, *, batched: bool = True, spread: float = 0.0,
    seed: int = 0,
) -> Simulated:  # fmt: skip
    """Simulate a run.

    Args:
        images: how many.
        workers: of one thread each.
        image_seconds: mean time of an image on a worker.
        costs: of everything else.
        batched: several images to a task, by the engine's rule; else one.
        spread: standard deviation of the time of an image over its mean.
        seed: of the spread.
    """
    run = _Simulation(images, workers, costs, _image_times(image_seconds, spread, seed), batched)
    run.to_the_end()
    total = run.now
    return Simulated(
        total, run.tasks, run.client.busy / total, run.scheduler.busy / total, run.worked / total / workers
    )


def _image_times(mean: float, spread: float, seed: int) -> Callable[[int], float]:
    """Seconds of k images; a sum of gamma variates is one again."""
    if not spread or not mean:
        return lambda k: k * mean
    draw, shape = random.Random(seed), 1 / spread**2
    return lambda k: draw.gammavariate(k * shape, mean / shape)


class _Server:
    """Does one thing at a time."""

    def __init__(self) -> None:
        self.free = self.busy = 0.0

    def serve(self, now: float, seconds: float) -> float:
        """When something that comes now is done."""
        self.free = max(self.free, now) + seconds
        self.busy += seconds
        return self.free


class _Simulation:
    def __init__(self, images: int, workers: int, costs: Costs, times: Callable[[int], float], batched: bool) -> None:
        self.left, self.workers, self.costs, self.times, self.batched = images, workers, costs, times, batched
        self.client, self.scheduler = _Server(), _Server()
        self.pace = Pace()
        self.idle, self.waiting = workers, deque[int]()
        self.events: list[tuple[float, int, Callable[[int], None], int]] = []
        self.number = self.flying = self.tasks = 0
        self.now = self.worked = 0.0
        self.left_of_scheduler = max(0.01, 1 - costs.scheduler_worker * workers)

    def to_the_end(self) -> None:
        self.client.serve(0.0, self.costs.before * self.left)
        self.hand_out()
        while self.events:
            self.now, _, happen, k = heapq.heappop(self.events)
            happen(k)

    def at(self, time: float, happen: Callable[[int], None], k: int) -> None:
        self.number += 1
        heapq.heappush(self.events, (time, self.number, happen, k))

    def hand_out(self) -> None:
        while self.left and self.flying < AHEAD * self.workers:
            k = self.pace.count(self.left, self.workers) if self.batched else 1
            self.left, self.flying, self.tasks = self.left - k, self.flying + 1, self.tasks + 1
            self.at(self.client.serve(self.now, self.costs.client_task / 2), self.submitted, k)

    def scheduling(self, k: int) -> float:
        """Seconds of the scheduler, at each end of a task."""
        return (self.costs.scheduler_task + self.costs.scheduler_image * k) / 2 / self.left_of_scheduler

    def submitted(self, k: int) -> None:
        self.at(self.scheduler.serve(self.now, self.scheduling(k)), self.assigned, k)

    def assigned(self, k: int) -> None:
        if self.idle:
            self.idle -= 1
            self.start(k)
        else:
            self.waiting.append(k)

    def start(self, k: int) -> None:
        seconds = self.times(k)
        self.pace.took(seconds, k)
        self.worked += seconds
        self.at(self.now + self.costs.worker_task + seconds, self.ended, k)

    def ended(self, k: int) -> None:
        if self.waiting:
            self.start(self.waiting.popleft())
        else:
            self.idle += 1
        self.at(self.scheduler.serve(self.now, self.scheduling(k)), self.landed, k)

    def landed(self, k: int) -> None:
        self.at(
            self.client.serve(self.now, self.costs.client_task / 2 + self.costs.client_image * k), self.accounted, k
        )

    def accounted(self, k: int) -> None:
        self.flying -= 1
        self.hand_out()
