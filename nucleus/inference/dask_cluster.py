"""Scheduler and workers of a run on Dask: found or started, and seen to fit."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from importlib.util import find_spec
from typing import Any

import nucleus
from nucleus.errors import InputError
from nucleus.inference import dask_remote
from nucleus.inference.dask_checks import SAME, check_worker, listed
from nucleus.inference.dask_tasks import Job

CONNECT = 30.0  # seconds
DEATHS = 2  # of workers, after which this process's own scheduler gives a task back


@contextmanager
def connected(scheduler: Any, workers: int, begin: Callable[[], object]) -> Iterator[Any]:
    """A client of the scheduler; without an address, of one of this process, with worker processes beside it."""
    from distributed import Client

    logging.getLogger("distributed.client").setLevel(logging.CRITICAL)  # a lost scheduler: told as an error, below
    with ExitStack() as stack:
        address = stack.enter_context(local_cluster(workers, begin)) if scheduler is None else scheduler
        try:
            client = stack.enter_context(Client(address, timeout=CONNECT, set_as_default=False))
        except (OSError, ValueError) as error:
            raise InputError(str(scheduler or "--engine dask"), expected="a Dask scheduler, as at tcp://host:8786",
                             found=str(error), remedy="Start one: dask scheduler.") from error  # fmt: skip
        yield client


@contextmanager
def local_cluster(workers: int, begin: Callable[[], object]) -> Iterator[Any]:
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


def check_workers(client: Any, job: Job) -> None:
    """See that there are workers, and that all of them can do the job; one that comes later is checked by itself."""
    import distributed

    try:
        client.wait_for_workers(1, timeout=CONNECT)
    except TimeoutError as error:
        raise InputError(address_of(client), expected="a Dask scheduler with workers", found="one without",
                         remedy="Start some: dask worker ADDRESS --nthreads 1.") from error  # fmt: skip
    # The scheduler runs nothing of nucleus, but it takes the name of a function apart.
    theirs = {"distributed": client.get_versions()["scheduler"]["packages"]["distributed"]}
    with suppress(ImportError):
        theirs["nucleus"] = client.run_on_scheduler(dask_remote.version)
    ours = {"distributed": distributed.__version__, "nucleus": nucleus.__version__}
    if differing := [name for name, version in ours.items() if theirs.get(name) != version]:
        raise InputError(address_of(client), remedy=SAME, found=listed(differing, theirs),
                         expected=f"a Dask scheduler with {listed(differing, ours)}")  # fmt: skip
    for address, said in client.run(check_worker, job.versions, job.output, job.token, on_error="return").items():
        if isinstance(said, InputError):
            raise said
        if isinstance(said, Exception):  # nucleus is not there, or it is another one, so that nothing fits
            raise InputError(f"the Dask worker {address}", expected="the versions of the run", found=str(said),
                             remedy=SAME) from said  # fmt: skip


def address_of(client: Any) -> str:
    """Of the scheduler, for an error."""
    return str(client.scheduler.address) if client.scheduler else "--scheduler"
