#!/usr/bin/env python
"""How far `nucleus predict --engine dask` scales: measured with few workers, simulated with many.

    python benchmarks/dask_scaling.py --weights output/quick/model_final.pth --images datasets/bbbc038/stage1_test
    python benchmarks/dask_scaling.py --image-seconds 0.3 --tasks 1000,10000,100000 --picture FILE.png --json FILE.json

Measured, by the CPU time of each process, so that a machine that is busy does not count:

- Dask alone: trivial tasks, all handed out at once with client.map.
- The engine, its tasks doing nothing but giving records as they come of real images: one image a task and 64, which
  gives the cost of a task and that of an image in it, of the client and of the scheduler.
- The scheduler with 64 workers that do nothing, many to a process: what their heartbeats cost it.
- The real engine on one and two worker processes of this machine, with a real model.

The simulation (`dask_simulation.py`, where it is explained) is first compared with runs of the engine in which tasks
sleep in place of working, with few and many workers, below and above what the scheduler can keep busy. All processes
share this machine then: the costs are stretched by the factor by which a run of trivial tasks just before took longer
than the CPU time of its slowest part. Then the simulation is asked, with the CPU times as they are, about 1,000,000
images on 1 to 400 workers, one image a task and in batches.

Needs the extra dask. Takes about four minutes.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dask_simulation import Costs, Simulated, simulate
from measure import write_rows

from nucleus.inference import dask_run
from nucleus.inference.dask_checks import versions
from nucleus.inference.dask_cluster import local_cluster
from nucleus.inference.dask_engine import predict_files_on_dask
from nucleus.inference.dask_pace import Pace
from nucleus.inference.dask_tasks import Job, ModelChoice
from nucleus.inference.dask_work import Found, Images, Result, Work
from nucleus.inference.image_files import ImageFile, find_images
from nucleus.inference.output_folder import Done, Output, State
from nucleus.inference.predict_files import Reading
from nucleus.zoo.files import ModelFiles

MILLION = 1_000_000
SPREAD = 1.0  # standard deviation of the time of an image over its mean
WORKERS = (1, 2, 5, 10, 20, 50, 100, 150, 200, 300, 400)
MANY = 64  # images in a task
CONNECTED = 64
IDLE_SECONDS = 8.0
# Workers, seconds, images a task (None for batches), images.
SLEEPING = ((4, 0.05, 1, 600), (16, 0.05, 1, 1500), (32, 0.05, 1, 1500), (16, 0.01, None, 15_000))
CALIBRATE = 500  # trivial tasks
GPU_SECONDS = 0.02  # of a small image on a GPU, an assumption
EFFICIENT = 0.9


@dataclass(frozen=True)
class SleepingJob(Job):
    """A job whose images take some seconds and no processor."""

    seconds: float = 0.0

    def run(self, work: Work) -> Result:
        assert isinstance(work, Images)
        seconds = self.seconds * len(work.images)
        time.sleep(seconds)
        return Result(seconds, tuple(Found(self.record(image)) for image in work.images))

    def record(self, image: ImageFile) -> Done:
        """As of a real image."""
        return Done(image.name, 27, 1, 0, 0, 0, State(str(image.path), 1, 1), [f"{image.name}_labels.tif"])


async def be_workers(address: str, count: int) -> None:
    """Workers of one thread each, all in this process."""
    from distributed import Worker

    workers = [await Worker(address, nthreads=1, memory_limit=0, dashboard=False) for _ in range(count)]
    await asyncio.gather(*(worker.finished() for worker in workers))


@dataclass(frozen=True)
class Cluster:
    """A scheduler and workers in processes of their own."""

    client: Any
    scheduler: Any  # psutil.Process
    workers: int


@contextmanager
def cluster(workers: int) -> Iterator[Cluster]:
    """Start one, workers many to a process."""
    import psutil
    from distributed import Client

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "scheduler.json"
        command = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", "0",
                   "--no-dashboard", "--dashboard-address", "127.0.0.1:0", "--scheduler-file", str(file)]  # fmt: skip
        quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        processes = [subprocess.Popen(command, **quiet)]
        try:
            with Client(scheduler_file=str(file), timeout=60, set_as_default=False) as client:
                halves = [count for count in (workers // 2, workers - workers // 2) if count]
                address = client.scheduler.address
                processes += [
                    subprocess.Popen([sys.executable, __file__, "--be-workers", address, str(count)], **quiet)
                    for count in halves
                ]
                client.wait_for_workers(workers, timeout=120)
                yield Cluster(client, psutil.Process(processes[0].pid), workers)
        finally:
            for process in processes:
                process.kill()
                process.wait()


def cpu(process: Any) -> float:
    """Seconds."""
    times = process.cpu_times()
    return float(times.user + times.system)


@dataclass(frozen=True)
class Measured:
    """Seconds of one run: by the clock, and of the processors of client and scheduler."""

    tasks: int
    images: int
    wall: float
    client: float
    scheduler: float


def timed(on: Cluster, tasks: Callable[[], int], images: int) -> Measured:
    """Time something that tells how many tasks it were."""
    wall, client, scheduler = time.perf_counter(), time.process_time(), cpu(on.scheduler)
    count = tasks()
    return Measured(
        count, images, time.perf_counter() - wall, time.process_time() - client, cpu(on.scheduler) - scheduler
    )


def at_once(on: Cluster, tasks: int) -> Measured:
    """Trivial tasks with client.map and gather."""

    def run() -> int:
        on.client.gather(on.client.map(abs, range(tasks), pure=False))
        return tasks

    return timed(on, run, tasks)


class Fixed(Pace):
    """A number of images in a task, whatever they take."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number

    def count(self, left: int, threads: int) -> int:
        return min(left, self.number)


def engine(on: Cluster, images: int, seconds: float, in_task: int | None) -> Measured:
    """The engine's own loop on tasks that sleep; None for its own number of images in a task."""
    folder = Path("/data/collection")
    given = [
        ImageFile(folder / f"plate_{n // 384:04d}" / f"image_{n:07d}.png", f"image_{n:07d}") for n in range(images)
    ]
    choice = ModelChoice(ModelFiles("/data/model.pth", folder / "config.yaml"), "0" * 64, "0" * 64, None, 0.5)
    with tempfile.TemporaryDirectory() as output:
        job = SleepingJob(choice, Output(Path(output), [], {}, overwrite=False), Reading(), None, 1, "0" * 32,
                          versions(), seconds)  # fmt: skip

        def run() -> int:
            nothing: Callable[..., None] = lambda *_: None  # noqa: E731
            run = dask_run.Run(on.client, job, given, {one.name: one for one in given}, nothing, nothing)
            if in_task:
                run.pace = Fixed(in_task)
            run.to_the_end()
            return run.tasks

        return timed(on, run, images)


def listing(images: int = 5000) -> float:
    """Seconds for each image of listing a folder."""
    with tempfile.TemporaryDirectory() as folder:
        for number in range(images):
            (Path(folder) / f"{number}.png").touch()
        start = time.perf_counter()
        find_images([Path(folder)])
        return (time.perf_counter() - start) / images


def overhead(sizes: Sequence[int]) -> tuple[Costs, list[dict[str, Any]]]:
    """Costs, and rows of what was measured."""
    rows: list[dict[str, Any]] = []

    def note(case: str, workers: int, one: Measured) -> Measured:
        row = {
            "case": case, "workers": workers, "tasks": one.tasks, "images": one.images,
            "wall ms a task": 1e3 * one.wall / one.tasks, "client CPU ms a task": 1e3 * one.client / one.tasks,
            "scheduler CPU ms a task": 1e3 * one.scheduler / one.tasks,
        }  # fmt: skip
        rows.append({name: round(value, 3) if isinstance(value, float) else value for name, value in row.items()})
        print(*(f"{name}: {value}" for name, value in rows[-1].items()), sep=", ", flush=True)
        return one

    with cluster(2) as on:
        engine(on, 200, 0.0, 1)  # imports
        for size in sizes:
            note("Dask, all at once", 2, at_once(on, size))
        single = [note("engine, 1 image a task", 2, engine(on, size, 0.0, 1)) for size in sizes[:1]][-1]
        many = note(f"engine, {MANY} images a task", 2, engine(on, MANY * 1000, 0.0, MANY))
    with cluster(CONNECTED) as on:
        engine(on, 500, 0.0, 1)
        note("engine, 1 image a task", CONNECTED, engine(on, 1500, 0.0, 1))
        before = cpu(on.scheduler)
        time.sleep(IDLE_SECONDS)
        idle = (cpu(on.scheduler) - before) / IDLE_SECONDS / CONNECTED
    each = {who: getattr(single, who) / single.tasks for who in ("client", "scheduler")}
    image = {who: max(0.0, (getattr(many, who) / many.tasks - each[who]) / (MANY - 1)) for who in each}
    costs = Costs(
        client_task=each["client"] - image["client"], client_image=image["client"],
        scheduler_task=each["scheduler"] - image["scheduler"], scheduler_image=image["scheduler"],
        scheduler_worker=idle, before=listing(),
    )  # fmt: skip
    return costs, rows


def check(costs: Costs) -> list[dict[str, Any]]:
    """The simulation beside runs of the engine whose tasks sleep."""
    rows = []
    slowest = max(costs.client_task + costs.client_image, costs.scheduler_task + costs.scheduler_image)
    for workers, seconds, in_task, images in SLEEPING:
        with cluster(workers) as on:
            engine(on, 4 * workers, 0.0, 1)
            trivial = engine(on, CALIBRATE, 0.0, 1)
            found = engine(on, images, seconds, in_task)
        factor = trivial.wall / trivial.tasks / slowest
        busy = Costs(
            **{name: value * factor for name, value in vars(costs).items()}
            | {"before": 0.0, "scheduler_worker": costs.scheduler_worker}
        )
        expected = simulate(images, workers, seconds, busy, batched=in_task is None)
        rows.append(
            {
                "case": f"sleep of {1e3 * seconds:g} ms, {'1 image a task' if in_task else 'batches'}",
                "workers": workers, "measured images/s": round(images / found.wall, 1),
                "simulated images/s": round(images / expected.seconds, 1),
                "difference %": round(100 * (expected.seconds / found.wall - 1), 1),
                "workers busy, simulated": round(expected.workers, 2), "stretch": round(factor, 1),
            }
        )  # fmt: skip
        print(*(f"{name}: {value}" for name, value in rows[-1].items()), sep=", ", flush=True)
    return rows


def real(weights: str, folder: Path, most: int, costs: Costs) -> tuple[float, list[dict[str, Any]]]:
    """The real engine on one and two workers: seconds of an image with one, and rows."""
    from nucleus.config import load_config
    from nucleus.inference.exports import formats_named
    from nucleus.zoo.files import choose_files, sha256_of

    files = choose_files(None, weights)
    config = hashlib.sha256(load_config(files.config).dump().encode()).hexdigest()
    choice = ModelChoice(files, sha256_of(files.weights), config, "cpu", 0.5)
    images = find_images([folder])
    images = images[:: -(-len(images) // most)]
    rows: list[dict[str, Any]] = []
    each = 0.0
    for workers in (1, 2):
        spent: list[float] = []

        class Noted(Pace):
            def took(self, seconds: float, count: int, spent: list[float] = spent) -> None:
                spent.append(seconds)
                super().took(seconds, count)

        dask_run.Pace = Noted  # type: ignore[misc]
        try:
            with local_cluster(workers, bool) as on, tempfile.TemporaryDirectory() as temporary:
                for name, some in {"first": images[: 2 * workers], "all": images}.items():  # the first load the model
                    spent.clear()
                    output = Output(Path(temporary) / name, formats_named("labels"), {}, overwrite=False)
                    report = predict_files_on_dask(some, choice, output, reading=Reading(), scheduler=on)
        finally:
            dask_run.Pace = Pace  # type: ignore[misc]
        assert not report.failed, report.failed
        in_worker = sum(spent) / len(images)
        each = each or in_worker
        expected = simulate(len(images), workers, in_worker, costs)
        rows.append(
            {
                "case": "real images", "workers": workers, "images": len(images), "seconds": round(report.seconds, 2),
                "seconds an image, in the worker": round(in_worker, 3),
                "simulated seconds": round(expected.seconds, 2),
                "difference %": round(100 * (expected.seconds / report.seconds - 1), 1),
                "images/s": round(len(images) / report.seconds, 2),
            }
        )  # fmt: skip
        print(*(f"{name}: {value}" for name, value in rows[-1].items()), sep=", ", flush=True)
    return each, rows


def million(image_seconds: float, costs: Costs) -> dict[bool, list[tuple[int, Simulated]]]:
    """1,000,000 images, in batches and one a task, printed with where it stops scaling."""
    found = {}
    for batched in (False, True):
        runs = [(w, simulate(MILLION, w, image_seconds, costs, batched=batched, spread=SPREAD)) for w in WORKERS]
        found[batched] = runs
        how = "batches" if batched else "1 image a task"
        print(f"\n1,000,000 images of {image_seconds:.3g} s, {how}, simulated")
        print("| workers | hours | images/s | efficiency | workers busy | scheduler busy | client busy | tasks |")
        print("| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
        for workers, run in runs:
            efficiency = MILLION * image_seconds / workers / run.seconds
            print(f"| {workers} | {run.seconds / 3600:.2f} | {MILLION / run.seconds:.0f} | {efficiency:.0%} |"
                  f" {run.workers:.0%} | {run.scheduler:.0%} | {run.client:.0%} | {run.tasks} |")  # fmt: skip
        slow = [(w, run) for w, run in runs if MILLION * image_seconds / w / run.seconds < EFFICIENT]
        if slow:
            workers, run = slow[0]
            listed = MILLION * costs.before / run.seconds
            why = f"scheduler busy {run.scheduler:.0%}, client {run.client:.0%} of the time"
            if max(run.scheduler, run.client) < EFFICIENT:
                why = f"nothing is full, but listing the files before the first task takes {listed:.0%} of the time"
            print(f"Below {EFFICIENT:.0%} from {workers} workers on: {why}.")
        else:
            print(f"Above {EFFICIENT:.0%} up to {WORKERS[-1]} workers.")
    return found


def draw(path: Path, curves: dict[float, dict[bool, list[tuple[int, Simulated]]]], rows: list[dict[str, Any]]) -> None:
    """Images a second by workers, simulated and measured, both axes logarithmic."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(8, 5.5), layout="constrained")
    for (seconds, both), colour in zip(curves.items(), ("#1f77b4", "#d95f02"), strict=False):
        axes.plot(
            WORKERS, [w / seconds for w in WORKERS], ":", color=colour, lw=1, label=f"{seconds:.3g} s an image: ideal"
        )
        for batched, runs in both.items():
            how = "in batches" if batched else "1 image a task"
            axes.plot([w for w, _ in runs], [MILLION / run.seconds for _, run in runs], "-" if batched else "--",
                      color=colour, label=f"{seconds:.3g} s an image: simulated, {how}")  # fmt: skip
    points = [row for row in rows if row["case"] == "real images"]
    axes.plot(
        [row["workers"] for row in points], [row["images/s"] for row in points], "ks", label="measured, real images"
    )
    axes.set(xscale="log", yscale="log", xlabel="workers of one thread", ylabel="images a second",
             title="1,000,000 small images, nucleus predict --engine dask")  # fmt: skip
    axes.grid(alpha=0.3, which="both")
    axes.legend(fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    print("Drawn:", path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", help="trained model, its config.yaml beside it")
    parser.add_argument("--images", type=Path, help="folder of images")
    parser.add_argument("--most", type=int, default=40, help="of them (default %(default)s)")
    parser.add_argument("--image-seconds", type=float, default=0.3, help="without --weights (default %(default)s)")
    parser.add_argument("--tasks", default="1000,10000", help="trivial tasks (default %(default)s)")
    parser.add_argument("--picture", type=Path, default=Path("docs/images/dask_scaling.png"))
    parser.add_argument("--json", type=Path)
    parser.add_argument("--be-workers", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.be_workers:
        asyncio.run(be_workers(args.be_workers[0], int(args.be_workers[1])))
        return
    print("load of this machine:", *(f"{value:.1f}" for value in os.getloadavg()))
    costs, rows = overhead([int(size) for size in args.tasks.split(",")])
    print(", ".join(f"{name} {1e6 * value:.1f} us" for name, value in vars(costs).items()))
    rows += check(costs)
    seconds = args.image_seconds
    if args.weights:
        seconds, found = real(args.weights, args.images, args.most, costs)
        rows += found
    curves = {one: million(one, costs) for one in (seconds, GPU_SECONDS)}
    draw(args.picture, curves, rows)
    if args.json:
        write_rows(args.json, rows)


if __name__ == "__main__":
    main()
