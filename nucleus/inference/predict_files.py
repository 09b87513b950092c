"""From image files to files of nuclei: one bad file does not stop the others, and a run started again goes on.

The output folder holds a file an image and format, one file for all images of the formats that allow it, and a hidden
folder `.nucleus` with what is needed to go on: the settings, a record of each image that is done, and the tiles of
large images under way.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from nucleus.errors import InputError
from nucleus.formats.atomic import atomic_write
from nucleus.formats.image_source import ImageSource, open_image
from nucleus.inference.exports import Format, Segmentation
from nucleus.inference.image_files import ImageFile
from nucleus.inference.predictor import Model
from nucleus.inference.segment import Segmented, plan, segment
from nucleus.inference.tile_store import TileStore

HIDDEN = ".nucleus"


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


@dataclass(frozen=True)
class Done:
    """One image that is done.

    Attributes:
        name: of the image in the output.
        nuclei: how many.
        tiles, blank, cut, full: see `nucleus.inference.segment.Segmented`.
        size, modified_ns: of the image file when it was read, in bytes and nanoseconds since 1970.
        files: those written, relative to the output folder.
    """

    name: str
    nuclei: int
    tiles: int
    blank: int
    cut: int
    full: int
    size: int
    modified_ns: int
    files: list[str]


@dataclass
class Report:
    """What a run did.

    Attributes:
        done: images predicted.
        skipped: images that were done before.
        failed: the error of each other image.
        joined: files that hold all images.
        seconds: that the run took.
    """

    done: list[Done] = field(default_factory=list)
    skipped: list[Done] = field(default_factory=list)
    failed: dict[Path, InputError] = field(default_factory=dict)
    joined: list[Path] = field(default_factory=list)
    seconds: float = 0.0


class Output:
    """The output folder of a run, and what is done in it.

    Args:
        folder: made if missing.
        formats: to write.
        settings: all that the nuclei depend on but for the images, as JSON can hold it.
        overwrite: do everything again; else what is done with the same settings stays.

    Raises:
        InputError: the folder holds the output of other settings.
        OSError: the folder cannot be written.
    """

    def __init__(self, folder: Path, formats: Sequence[Format], settings: dict[str, Any], *, overwrite: bool) -> None:
        self.folder = folder
        self.formats = formats
        self.settings = json.loads(json.dumps(settings))
        self.hidden = folder / HIDDEN
        known = self.hidden / "settings.json"
        if overwrite:
            shutil.rmtree(self.hidden, ignore_errors=True)
        elif known.is_file() and (other := _differing(json.loads(known.read_bytes()), self.settings)):
            raise InputError(folder, expected="an empty folder, or the output of a run with the same settings",
                             found=f"one with other values of {', '.join(other)}",
                             remedy="Choose another folder, or --overwrite to do everything again.")  # fmt: skip
        self.hidden.mkdir(parents=True, exist_ok=True)
        _write_json(known, self.settings)

    def done_before(self, image: ImageFile) -> Done | None:
        """The record of an image whose file has not changed and whose output is all there."""
        try:
            done = Done(**json.loads(self._record(image).read_bytes()))
        except (OSError, ValueError, TypeError):
            return None
        files = {self._place(kind, image).relative_to(self.folder).as_posix() for kind in self.formats}
        unchanged = (done.size, done.modified_ns) == _state(image.path)
        there = files <= set(done.files) and all((self.folder / file).is_file() for file in done.files)
        return done if unchanged and there else None

    def tiles(self, image: ImageFile) -> TileStore:
        """Where the tiles of an image are kept until it is done."""
        state = dict(zip(("size", "modified_ns"), _state(image.path), strict=True))
        return TileStore(self.hidden / "tiles" / image.name, self.settings | state)

    def write(self, image: ImageFile, source: ImageSource, found: Segmented) -> Done:
        """Write the nuclei of one image in every format, and then the record."""
        size, modified_ns = _state(image.path)
        one = Segmentation(image.name, found.labels, found.scores, source)
        files = []
        for kind in self.formats:
            place = self._place(kind, image)
            place.parent.mkdir(parents=True, exist_ok=True)
            kind.write(place, one)
            files.append(place.relative_to(self.folder).as_posix())
        done = Done(
            image.name, len(found.scores), found.tiles, found.blank, found.cut, found.full, size, modified_ns, files
        )
        _write_json(self._record(image), asdict(done))
        return done

    def join(self, images: Iterable[ImageFile]) -> list[Path]:
        """Write the files that hold all of some images that are done."""
        images = list(images)
        joined = []
        for kind in self.formats:
            if kind.join is not None:
                joined.append(self.folder / f"nuclei{kind.suffix}")
                kind.join(joined[-1], [self._place(kind, image) for image in images])
        return joined

    def _place(self, kind: Format, image: ImageFile) -> Path:
        folder = self.folder if kind.join is None else self.hidden / "parts"
        return folder / f"{image.name}{kind.suffix}"

    def _record(self, image: ImageFile) -> Path:
        return self.hidden / "done" / f"{image.name}.json"


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
    there = []
    for image in images:
        done = output.done_before(image)
        if done is not None:
            report.skipped.append(done)
            there.append(image)
            on_image(image, done)
            continue
        try:
            done = _predict_file(image, model, output, reading, tile, batch, on_tiles)
        except InputError as error:
            report.failed[image.path] = error
            on_image(image, error)
            continue
        report.done.append(done)
        there.append(image)
        on_image(image, done)
    report.joined = output.join(there)
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
    with reading.open(image.path) as source:
        grid = plan(source, model, tile)
        store = output.tiles(image) if len(grid) > 1 else None
        tiles_done = 0

        def progress(tiles: int) -> None:
            nonlocal tiles_done
            tiles_done += tiles
            on_tiles(image, tiles_done, len(grid))

        found = segment(source, model, grid, batch=batch, store=store, progress=progress)
        done = output.write(image, source, found)
    if store is not None:
        store.remove()
    return done


def _state(path: Path) -> tuple[int, int]:
    """Size in bytes and time of the last change of a file, or of the newest metadata of a folder."""
    files = [path] if path.is_file() else [file for file in path.iterdir() if file.is_file()]
    states = [file.stat() for file in files]
    return sum(state.st_size for state in states), max((state.st_mtime_ns for state in states), default=0)


def _write_json(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def _differing(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    return sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))
