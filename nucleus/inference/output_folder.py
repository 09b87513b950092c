"""The output folder of a run of prediction, and what is done in it: a run that was stopped goes on from there.

The folder holds a file an image and format, one file for all images of the formats that allow it, and a hidden folder
`.nucleus` with what is needed to go on: the settings, a record of each image that is done, the tiles of large images
under way, and files that are being written, which are moved to their place when they are whole.
"""

from __future__ import annotations

import copy
import json
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np

from nucleus.errors import InputError
from nucleus.formats.atomic import atomic_write
from nucleus.formats.image_source import ImageSource
from nucleus.inference.exports import Format, Segmentation
from nucleus.inference.image_files import ImageFile
from nucleus.inference.segment import Segmented
from nucleus.inference.tile_store import TileStore

HIDDEN = ".nucleus"


class State(NamedTuple):
    """By which an image file is known again.

    Attributes:
        path: the full one.
        size: in bytes; of a folder, of all files in it.
        modified_ns: the last change, in nanoseconds since 1970.
    """

    path: str
    size: int
    modified_ns: int

    @classmethod
    def of(cls, path: Path) -> State:
        """As it is now.

        Raises:
            InputError: the file cannot be looked at.
        """
        try:
            files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
            states = [file.stat() for file in files]
        except OSError as error:
            raise InputError(path, expected="a readable image file", found=error.strerror or str(error)) from error
        newest = max((state.st_mtime_ns for state in states), default=0)
        return cls(str(path.resolve()), sum(state.st_size for state in states), newest)


@dataclass(frozen=True)
class Done:
    """One image that is done.

    Attributes:
        name: of the image in the output.
        nuclei: how many.
        tiles, blank, cut, full: see `nucleus.inference.segment.Segmented`.
        file: the image file's full path, and its state before it was read.
        written: paths relative to the output folder.
    """

    name: str
    nuclei: int
    tiles: int
    blank: int
    cut: int
    full: int
    file: State
    written: list[str]


class Output:
    """The output folder of a run, and what is done in it.

    A pickled copy works on the same folder: several processes may write images, each image one at a time.

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
        known = self.hidden / "settings.json"
        if not overwrite and known.is_file() and (other := _differing(_read_json(known), self.settings)):
            raise InputError(folder, expected="an empty folder, or the output of a run with the same settings",
                             found=f"one with other values of {', '.join(other)}",
                             remedy="Choose another folder, or --overwrite to do everything again.")  # fmt: skip
        if self.hidden.exists() and (overwrite or not known.is_file()):
            known.unlink(missing_ok=True)  # first, so that what is left by a kill in between does not count
            shutil.rmtree(self.hidden)
        if self.unfinished.exists():
            shutil.rmtree(self.unfinished)
        _write_json(known, self.settings)

    @property
    def hidden(self) -> Path:
        """What is needed to go on."""
        return self.folder / HIDDEN

    @property
    def unfinished(self) -> Path:
        """Where files are while they are being written."""
        return self.hidden / "unfinished"

    def absolute(self) -> Output:
        """The same one, for processes in whatever folder."""
        other = copy.copy(self)
        other.folder = self.folder.absolute()
        return other

    def recorded(self) -> set[str]:
        """Names of the images of which there is a record, be it that of a file that has changed."""
        folder = self.hidden / "done"
        return {path.relative_to(folder).as_posix().removesuffix(".json") for path in folder.rglob("*.json")}

    def done_before(self, image: ImageFile) -> Done | None:
        """The record of an image whose file has not changed and whose output is all there.

        Raises:
            InputError: the file is gone; or the output of its name is that of another file, which is still there.
        """
        try:
            fields = _read_json(self._record(image))
            done = Done(**fields | {"file": State(*fields["file"])})
        except (OSError, ValueError, TypeError, KeyError):
            return None
        file = State.of(image.path)
        if file.path != done.file.path and Path(done.file.path).exists():
            raise InputError(image.path, expected=f"that {image.name} in the output folder is of this file",
                             found=f"that it is of {done.file.path}", remedy="Choose another folder.")  # fmt: skip
        unchanged = file[1:] == done.file[1:]
        wanted = {self._place(kind, image).relative_to(self.folder).as_posix() for kind in self.formats}
        there = wanted <= set(done.written) and all((self.folder / path).is_file() for path in done.written)
        return done if unchanged and there else None

    def tiles(self, image: ImageFile, file: State) -> TileStore:
        """Where the tiles of an image are kept until it is done."""
        return TileStore(self._tiles(image), self.settings | {"file": file})

    def forget_tiles(self, image: ImageFile) -> None:
        """Remove the tiles of an image that is done."""
        if self._tiles(image).exists():
            shutil.rmtree(self._tiles(image))

    def write(self, image: ImageFile, file: State, source: ImageSource, found: Segmented) -> Done:
        """Write the nuclei of one image in every format, and then the record."""
        one = Segmentation(image.name, cast(np.ndarray, found.labels), found.scores, source)
        written = []
        for kind in self.formats:
            place = self._place(kind, image)
            with self._whole(place) as path:
                kind.write(path, one)
            written.append(place.relative_to(self.folder).as_posix())
        done = Done(image.name, len(found.scores), found.tiles, found.blank, found.cut, found.full, file, written)
        _write_json(self._record(image), asdict(done))
        return done

    def join(self, images: Iterable[ImageFile]) -> list[Path]:
        """Write the files that hold all of some images that are done."""
        images = list(images)
        joined = []
        for kind in self.formats:
            if kind.join is not None:
                joined.append(self.folder / f"nuclei{kind.suffix}")
                with self._whole(joined[-1]) as path:
                    kind.join(path, [self._place(kind, image) for image in images])
        return joined

    @contextmanager
    def _whole(self, place: Path) -> Iterator[Path]:
        """Where to write a file, which is brought to its place when it is whole. It has its own folder: files of one
        name in several folders may be written at a time."""
        self.unfinished.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self.unfinished, ignore_cleanup_errors=True) as folder:
            yield Path(folder) / place.name
            place.parent.mkdir(parents=True, exist_ok=True)
            (Path(folder) / place.name).replace(place)

    def _place(self, kind: Format, image: ImageFile) -> Path:
        folder = self.folder if kind.join is None else self.hidden / "parts"
        return folder / f"{image.name}{kind.suffix}"

    def _record(self, image: ImageFile) -> Path:
        return self.hidden / "done" / f"{image.name}.json"

    def _tiles(self, image: ImageFile) -> Path:
        return self.hidden / "tiles" / f"{image.name}.tiles"


def _read_json(path: Path) -> Any:
    return json.loads(path.read_bytes())


def _write_json(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def _differing(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    return sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))
