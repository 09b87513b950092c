"""From image files to files of nuclei: one bad file does not stop the others, and a run started again goes on."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from nucleus.errors import InputError, is_out_of_memory
from nucleus.formats.image_source import ImageSource, open_image
from nucleus.inference.image_files import ImageFile
from nucleus.inference.output_folder import Done, Output, State
from nucleus.inference.predictor import Model
from nucleus.inference.segment import plans, segment


@dataclass(frozen=True)
class Reading:
    """What of each file is read; see `nucleus.formats.image_source.open_image`."""

    channels: tuple[int | str, ...] | None = None
    page: int | None = None
    series: int | None = None
    level: int = 0

    def open(self, path: Path) -> ImageSource:
        """Open one file."""
        return open_image(path, channels=self.channels, page=self.page, series=self.series, level=self.level)


@dataclass
class Report:
    """What a run did.

    Attributes:
        done: images predicted.
        skipped: images that were done before.
        failed: the error of each other image.
        joined: files that hold all images of the run.
        seconds: that the run took.
    """

    done: list[Done] = field(default_factory=list)
    skipped: list[Done] = field(default_factory=list)
    failed: dict[Path, InputError] = field(default_factory=dict)
    joined: list[Path] = field(default_factory=list)
    seconds: float = 0.0


def predict_files(
    images: Sequence[ImageFile],
    model: Model,
    output: Output,
    *,
    reading: Reading,
    tile: int | None = None,
    batch: int = 1,
    on_image: Callable[[ImageFile, Done | InputError], None] = lambda image, outcome: None,
    on_tiles: Callable[[ImageFile, int, int], None] = lambda image, tiles, of: None,
) -> Report:
    """Find the nuclei of every image and write them.

    Args:
        images: as `nucleus.inference.image_files.find_images` gives them.
        model: finds them.
        output: where to.
        reading: what of each file is read.
        tile: see `nucleus.inference.segment.plan`.
        batch: tiles of a large image shown to the network at once.
        on_image: called when an image is done, was done before, or failed.
        on_tiles: called with the number of tiles that are done, of how many, when some more of an image are.

    Returns:
        What was done. Images that could not be read are in `failed`.

    Raises:
        OSError: the output cannot be written, as on a full disk. What is done stays done.
    """
    report = Report()
    start = time.perf_counter()
    for image in images:
        try:
            with own_errors(image):
                done = output.done_before(image)
                if done is None:
                    done = _predict_file(image, model, output, reading, tile, batch, on_tiles)
                    report.done.append(done)
                else:
                    report.skipped.append(done)
        except InputError as error:
            report.failed[image.path] = error
            on_image(image, error)
            continue
        output.forget_tiles(image)
        on_image(image, done)
    report.joined = output.join() if report.done or report.skipped else []
    report.seconds = time.perf_counter() - start
    return report


def _predict_file(
    image: ImageFile,
    model: Model,
    output: Output,
    reading: Reading,
    tile: int | None,
    batch: int,
    on_tiles: Callable[[ImageFile, int, int], None],
) -> Done:
    file = State.of(image.path)
    with reading.open(image.path) as source:
        return predict_source(image, file, source, tile, model, output, batch, on_tiles)


def predict_source(
    image: ImageFile,
    file: State,
    source: ImageSource,
    tile: int | None,
    model: Model,
    output: Output,
    batch: int,
    on_tiles: Callable[[ImageFile, int, int], None] = lambda image, tiles, of: None,
) -> Done:
    """Find the nuclei of one image and write them.

    Args:
        image: the file.
        file: its state before it was opened.
        source: the file, open.
        tile: see `nucleus.inference.segment.plans`.
        model, output, batch, on_tiles: as of `predict_files`.

    Raises:
        InputError: the image cannot be decoded.
        OSError: the output cannot be written.
        Exception: see `own_errors`.
    """
    for number, grid in enumerate(plans(source, model, tile)):
        store = output.tiles(image, file) if number == 0 and len(grid) > 1 else None
        found = segment(source, model, grid, batch=batch, store=store, progress=_counted(image, len(grid), on_tiles))
        if not found.full:
            break
    return output.write(image, file, source, found)


def _counted(image: ImageFile, total: int, on_tiles: Callable[[ImageFile, int, int], None]) -> Callable[[int], None]:
    """From tiles that are newly done to all that are."""
    done = 0

    def progress(tiles: int) -> None:
        nonlocal done
        done += tiles
        on_tiles(image, done, total)

    return progress


@contextmanager
def own_errors(image: ImageFile) -> Iterator[None]:
    """Work on an image; where the memory runs out or its name is too long for the output's, that is the image's error.

    Raises:
        InputError: so it is.
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:
            raise InputError(image.path, expected="a name that leaves room for the endings of the output",
                             found=f"one of {len(os.fsencode(image.path.name))} bytes", remedy="Rename it.",
            ) from error  # fmt: skip
        if not is_out_of_memory(error):
            raise
        raise InputError(image.path, expected="an image that fits the memory", found="too little of it",
                         remedy="Use a smaller --tile or --batch.") from error  # fmt: skip
