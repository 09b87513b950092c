"""What Dask knows of. Its scheduler unpickles what it schedules: a name and bytes, so that it imports
no torch and looks into nothing."""

from __future__ import annotations

import pickle
from functools import lru_cache
from typing import Any

import nucleus


def version() -> str:
    """Of nucleus, where this runs."""
    return nucleus.__version__


def run(job: bytes, work: bytes) -> Any:
    """Do a part of a job: `job.run(work)`, both pickled. See `nucleus.inference.dask_tasks.Job`."""
    return _loaded(job).run(pickle.loads(work))


@lru_cache(maxsize=1)
def _loaded(job: bytes) -> Any:
    """The job, which is the same for all tasks of a run."""
    return pickle.loads(job)
