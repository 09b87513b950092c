"""What a Dask worker does of a run: images in one piece, tiles of large ones, and their stitching.

Nothing of an image travels between processes: a worker reads the image file, and writes what it finds into the output
folder, which all workers see. A task may run twice, since Dask runs the tasks of a worker that died once more; what the
first run left whole is then found done, and what it left in pieces is in nobody's way.
"""

from __future__ import annotations

import hashlib
import platform
import threading
import time
from dataclasses import dataclass

import cv2
import torch

from nucleus.config import load_config
from nucleus.data.lock import only_writer
from nucleus.errors import InputError
from nucleus.formats.image_source import ImageSource
from nucleus.inference.dask_checks import check_worker
from nucleus.inference.dask_work import Found, Images, Large, Result, Stitch, Tiles, Work
from nucleus.inference.image_files import ImageFile
from nucleus.inference.output_folder import Output, State
from nucleus.inference.predict_files import Reading, own_errors, predict_source
from nucleus.inference.predictor import Model, load_model
from nucleus.inference.segment import in_batches, nuclei_of_tiles, plan
from nucleus.inference.tiling import Tile, TileGrid
from nucleus.zoo.files import ModelFiles, choose_files, sha256_of


@dataclass(frozen=True)
class ModelChoice:
    """A model that each worker loads for itself.

    Attributes:
        files: of the model; one of the zoo is known by its name, and its files are those of the worker.
        weights_sha256: of the weights file.
        config_sha256: of the whole config, as `nucleus predict` records it.
        device: see `nucleus.inference.predictor.load_model`.
        threshold: lowest score of a nucleus.
        views, expand, scale: likewise.
        threads: of the CPU, with which a worker computes; on some processors the last digits depend on their number.
    """

    files: ModelFiles
    weights_sha256: str
    config_sha256: str
    device: str | None
    threshold: float
    threads: int = 1
    views: int | None = None
    expand: float | None = None
    scale: float | None = None

    def load(self) -> Model:
        """Load it, once it is certain that it is the same one.

        Raises:
            InputError: files are missing or others, or there is no such device.
        """
        name = self.files.name
        files = choose_files(name) if name else choose_files(None, self.files.weights, self.files.config)
        config = hashlib.sha256(load_config(files.config).dump().encode()).hexdigest()
        for path, found, expected in (
            (files.weights, sha256_of(files.weights), self.weights_sha256), (files.config, config, self.config_sha256),
        ):  # fmt: skip
            if found != expected:
                raise InputError(path, expected=f"on {platform.node()} the file of the run, SHA-256 {expected}",
                                 found=f"SHA-256 {found}", remedy="Give all workers the same files.")  # fmt: skip
        return load_model(weights=files.weights, config_file=files.config, device=self.device,
                          threshold=self.threshold, views=self.views, expand=self.expand, scale=self.scale)  # fmt: skip


@dataclass(frozen=True)
class Job:
    """What all tasks of a run share, and what they do; it goes with each of them, about 2 kB.

    Attributes:
        model: finds the nuclei.
        output: with an absolute folder.
        reading, tile, batch: see `nucleus.inference.predict_files.predict_files`.
        token: what the token file in the output folder holds.
        versions: of the packages of who started the run.
    """

    model: ModelChoice
    output: Output
    reading: Reading
    tile: int | None
    batch: int
    token: str
    versions: dict[str, str]

    def run(self, work: Work) -> Result:
        """The task itself.

        Raises:
            InputError: this worker cannot do it: see `dask_checks.check_worker` and `ModelChoice.load`. An image's own
                errors are in the result.
            OSError: the output cannot be written.
        """
        model = _model(self)
        start = time.perf_counter()
        found: tuple[Found, ...] = ()
        tiles = 0
        if isinstance(work, Images):
            found = tuple(_image(self, model, image) for image in work.images)
        elif isinstance(work, Stitch):
            found = (_stitch(self, model, work.large),)
        else:
            try:
                tiles = _tiles(self, model, work)
            except InputError as error:
                found = (Found(error),)
        return Result(time.perf_counter() - start, found, tiles)


_loaded: tuple[ModelChoice, str, Model] | None = None
_loading = threading.Lock()
_thread = threading.local()


def _model(job: Job) -> Model:
    """The model, loaded once in a process; the worker is checked once in a run."""
    global _loaded
    with _loading:
        if _loaded is None or _loaded[:2] != (job.model, job.token):
            check_worker(job.versions, job.output, job.token)
            torch.set_num_threads(job.model.threads)
            cv2.setNumThreads(job.model.threads)
            model = _loaded[2] if _loaded is not None and _loaded[0] == job.model else job.model.load()
            _loaded = (job.model, job.token, model)
        return _loaded[2]


def _image(job: Job, model: Model, image: ImageFile) -> Found:
    try:
        with own_errors(image):
            done = job.output.done_before(image)
            if done is not None:
                job.output.forget_tiles(image)
                return Found(done, before=True)
            file = State.of(image.path)
            with job.reading.open(image.path) as source:
                grid = plan(source, model, job.tile)
                if len(grid) == 1:
                    done = predict_source(image, file, source, job.tile, model, job.output, job.batch)
                    job.output.forget_tiles(image)
                    return Found(done)
            # Made here, where no other task of this image is under way: it removes tiles of other settings.
            store = job.output.tiles(image, file)
            return Found(Large(image, file, store, len(grid), len(list(in_batches(grid, job.batch)))))
    except InputError as error:
        return Found(error)


def _tiles(job: Job, model: Model, work: Tiles) -> int:
    with own_errors(work.large.image):
        source, batches, grid = _opened(job, model, work.large)
        chosen = batches[work.start : work.stop]
        for tiles in chosen:
            nuclei_of_tiles(source, model, grid, tiles, work.large.store)
    return sum(map(len, chosen))


def _opened(job: Job, model: Model, large: Large) -> tuple[ImageSource, list[list[Tile]], TileGrid]:
    """A large image, left open for the next task of this thread: it may take long to open."""
    now = State.of(large.image.path)
    if now != large.file:
        raise InputError(large.image.path, expected="a file that does not change while its nuclei are looked for",
                         found="a change", remedy="Start the same command again.")  # fmt: skip
    key = (large.file, job.reading, job.tile, job.batch)
    if getattr(_thread, "key", None) != key:
        _close()
        source = job.reading.open(large.image.path)
        grid = plan(source, model, job.tile)
        _thread.opened = source, list(in_batches(grid, job.batch)), grid
        _thread.key = key
    return _thread.opened


def _close() -> None:
    if getattr(_thread, "key", None) is not None:
        _thread.key = None
        _thread.opened[0].close()
        del _thread.opened


def _stitch(job: Job, model: Model, large: Large) -> Found:
    """The image from its tiles; a tile that is missing is predicted here.

    A worker that Dask has given up may still be at it, with the same label image on disk: on one machine, one waits
    for the other.
    """
    image = large.image
    try:
        with own_errors(image), only_writer(large.store.folder, wait=True):
            done = job.output.done_before(image)
            if done is None:
                source, _, _ = _opened(job, model, large)
                done = predict_source(image, large.file, source, job.tile, model, job.output, job.batch)
            _close()
            job.output.forget_tiles(image)
        return Found(done)
    except InputError as error:
        return Found(error)
