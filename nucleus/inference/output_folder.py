"""The output folder of a run of prediction, and what is done in it: a run that was stopped goes on from there.

The folder holds a file an image and format, one file for all images of the formats that allow it, and a hidden folder
`.nucleus` with what is needed to go on: the settings, which files are whose, a record of each image that is done, the
tiles of large images under way, and files that are being written, which are moved to their place when they are whole.
"""

from __future__ import annotations

import copy
import json
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple, NoReturn, cast

import numpy as np

from nucleus.errors import InputError
from nucleus.formats.atomic import atomic_write
from nucleus.formats.image_source import ImageSource
from nucleus.inference.claims import FILES, HIDDEN, Claims, is_inside
from nucleus.inference.exports import FORMATS, Format, Segmentation
from nucleus.inference.image_files import ImageFile
from nucleus.inference.segment import Segmented
from nucleus.inference.tile_store import TileStore

PARTS = "parts"  # of the files that hold all images


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
        overwrite: do everything again, and replace files of others; else what is done with the same settings stays.

    Raises:
        InputError: the folder holds the output of other settings, or a file of somebody else where one of the formats
            that hold all images would go.
        OSError: the folder cannot be written.
    """

    def __init__(self, folder: Path, formats: Sequence[Format], settings: dict[str, Any], *, overwrite: bool) -> None:
        self.folder = folder
        self.formats = formats
        self.settings = json.loads(json.dumps(settings))
        self.overwrite = overwrite
        self.claims = Claims(folder)
        known = self.hidden / "settings.json"
        if not overwrite and known.is_file() and (other := _differing(_read_json(known), self.settings)):
            raise InputError(folder, expected="an empty folder, or the output of a run with the same settings",
                             found=f"one with other values of {', '.join(other)}",
                             remedy="Choose another folder, or --overwrite to do everything again.")  # fmt: skip
        for kind in formats:
            if kind.join is not None and not overwrite and not self._parts(kind) and self._joined(kind).exists():
                self._refuse(self._joined(kind))
        if self.hidden.exists() and (overwrite or not known.is_file()):
            known.unlink(missing_ok=True)  # first, so that what is left by a kill in between does not count
            self._forget()
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
        other.claims = Claims(other.folder)
        return other

    def recorded(self) -> set[str]:
        """Names of the images of which there is a record, be it that of a file that has changed."""
        folder = self.hidden / "done"
        return {path.relative_to(folder).as_posix().removesuffix(".json") for path in folder.rglob("*.json")}

    def done_before(self, image: ImageFile) -> Done | None:
        """The record of an image whose file has not changed and whose output is all there.

        Raises:
            InputError: the file is gone; the output of its name is that of another file, which is still there; or
                where its output would go, there are files that nucleus did not write.
            OSError: the names of the output are too long.
        """
        wanted = set(self._wanted(image).values())
        done = self._done(image.name)
        if done is not None:
            file = State.of(image.path)
            if file.path != done.file.path and Path(done.file.path).exists():
                raise InputError(image.path, expected=f"that {image.name} in the output folder is of this file",
                                 found=f"that it is of {done.file.path}", remedy="Choose another folder.")  # fmt: skip
            if file[1:] == done.file[1:] and wanted <= self._there(done) == set(done.written):
                return done
        for path in sorted(wanted):
            # Looked for first: another process may just have written its list and then the file.
            if (self.folder / path).exists() and not self.overwrite and path not in self._ours(image):
                self._refuse(self.folder / path)
        return None

    def tiles(self, image: ImageFile, file: State) -> TileStore:
        """Where the tiles of an image are kept until it is done."""
        return TileStore(self._tiles(image), self.settings | {"file": file})

    def forget_tiles(self, image: ImageFile) -> None:
        """Remove the tiles of an image that is done."""
        if self._tiles(image).exists():
            shutil.rmtree(self._tiles(image))

    def write(self, image: ImageFile, file: State, source: ImageSource, found: Segmented) -> Done:
        """Write the nuclei of one image in every format, and then the record.

        What is there of the same image file stays as it is, since somebody may have worked on it; what is there of the
        image as it was before, or with other settings, is removed.
        """
        one = Segmentation(image.name, cast(np.ndarray, found.labels), found.scores, source)
        before = self._done(image.name)
        kept = self._there(before) if before is not None and before.file[1:] == file[1:] else set()
        wanted = self._wanted(image)
        ours = self._ours(image)
        written = kept | set(wanted.values())
        self.claims.write(image.name, ours | written)
        for kind in self.formats:
            if wanted[kind.name] not in kept:
                with self._whole(self.folder / wanted[kind.name]) as path:
                    kind.write(path, one)
        for stale in ours - written:
            (self.folder / stale).unlink(missing_ok=True)
            for kind in FORMATS.values():  # a part that is gone leaves the whole stale
                if kind.join is not None and stale == self._part(kind, image.name):
                    self._joined(kind).unlink(missing_ok=True)
        counts = len(found.scores), found.tiles, found.blank, found.cut, found.full
        done = Done(image.name, *counts, file, sorted(written))
        _write_json(self._record(image.name), asdict(done))
        if ours - written:
            self.claims.write(image.name, written)
        return done

    def join(self) -> list[Path]:
        """Write the files that hold all images of which there is a record, in this run or before."""
        joined = []
        for kind in self.formats:
            if kind.join is not None:
                joined.append(self._joined(kind))
                with self._whole(joined[-1]) as path:
                    kind.join(path, [part for part, of in self._parts(kind) if self._is_recorded(part, of)])
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

    def _wanted(self, image: ImageFile) -> dict[str, str]:
        """The file of an image in each format by its name, relative to the folder."""
        return {
            kind.name: f"{image.name}{kind.suffix}" if kind.join is None else self._part(kind, image.name)
            for kind in self.formats
        }

    @staticmethod
    def _part(kind: Format, name: str) -> str:
        return f"{HIDDEN}/{PARTS}/{name}{kind.suffix}"

    def _parts(self, kind: Format) -> list[tuple[Path, str]]:
        """What the joined file of a format is made of, and the name of the image of each, by which they are sorted."""
        folder = self.hidden / PARTS
        found = folder.rglob(f"*{kind.suffix}")
        named = [(path, path.relative_to(folder).as_posix().removesuffix(kind.suffix)) for path in found]
        return sorted(named, key=itemgetter(1))

    def _is_recorded(self, part: Path, name: str) -> bool:
        done = self._done(name)
        return done is not None and part.relative_to(self.folder).as_posix() in done.written

    def _joined(self, kind: Format) -> Path:
        return self.folder / f"nuclei{kind.suffix}"

    def _done(self, name: str) -> Done | None:
        try:
            fields = _read_json(self._record(name))
            written = list(filter(is_inside, fields["written"]))
            return Done(**fields | {"file": State(*fields["file"]), "written": written})
        except (OSError, ValueError, TypeError, KeyError):
            return None

    def _there(self, done: Done) -> set[str]:
        return {path for path in done.written if (self.folder / path).is_file()}

    def _ours(self, image: ImageFile) -> set[str]:
        done = self._done(image.name)
        return self.claims.of(image.name) | set(done.written if done else ())

    def _refuse(self, place: Path) -> NoReturn:
        raise InputError(place, expected="nothing there, or what nucleus wrote", found="a file of another origin",
                         remedy="Choose another folder, or --overwrite to replace it.")  # fmt: skip

    def _forget(self) -> None:
        """Begin anew; which files are whose stays known, so that those that are not written again are removed."""
        for kind in FORMATS.values():
            if kind.join is not None and self._parts(kind):
                self._joined(kind).unlink(missing_ok=True)
        for path in self.hidden.iterdir():
            if path.name != FILES:
                shutil.rmtree(path) if path.is_dir() else path.unlink()

    def _record(self, name: str) -> Path:
        return self.hidden / "done" / f"{name}.json"

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
