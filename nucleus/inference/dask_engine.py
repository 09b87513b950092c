"""`predict_files` on many processes and machines, through Dask: the same files, byte for byte.

This process hands out work and keeps account (`nucleus.inference.dask_run`); the workers read the images and write the
results (`nucleus.inference.dask_tasks`).
"""

from __future__ import annotations

import shutil
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from nucleus.errors import InputError
from nucleus.formats.atomic import atomic_write
from nucleus.inference.dask_checks import TOKEN, versions
from nucleus.inference.dask_cluster import check_workers, connected
from nucleus.inference.dask_run import Run
from nucleus.inference.dask_tasks import Job, ModelChoice
from nucleus.inference.image_files import ImageFile
from nucleus.inference.output_folder import Done, Output
from nucleus.inference.predict_files import Reading, Report


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
    with connected(scheduler, workers, begin) as client:
        with atomic_write(token) as temporary:
            temporary.write_text(job.token, encoding="utf-8")
        try:
            check_workers(client, job)
            run = Run(client, job, images, everywhere, on_image, on_tiles)
            run.to_the_end()
        finally:
            token.unlink(missing_ok=True)
    shutil.rmtree(output.unfinished, ignore_errors=True)  # of workers that died
    report = Report()
    for image in images:
        outcome = run.outcomes[image.name]
        if isinstance(outcome, InputError):
            report.failed[image.path] = outcome
            continue
        (report.skipped if image.name in before & run.skipped else report.done).append(outcome)
    report.joined = output.join() if report.done or report.skipped else []
    report.seconds = time.perf_counter() - start
    return report
