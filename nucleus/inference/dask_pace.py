"""How much work goes out to the Dask workers at a time."""

from __future__ import annotations

AHEAD = 2  # tasks handed out for each thread of a worker: one to work on, one to go on with at once
TASK_SECONDS = 2.0  # that a task is to take, a thousand times of what it costs the scheduler
MOST = 256  # images or batches of tiles in a task


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
