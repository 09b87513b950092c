"""Files of a data set, in a zip archive or in a folder, behind one interface; and writing them to disk safely.

A *name* is a file's path inside the archive or folder, with forward slashes.
"""

from __future__ import annotations

import lzma
import os
import re
import stat
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Protocol

from nucleus.data.repairs import Repairs
from nucleus.errors import InputError

LARGEST_FILE = 1 << 28  # bytes, unpacked; a larger entry is a mistake or an attack
# An archive may unpack to so many times its size beyond the first GiB. Images are compressed already; entries that lie
# over one another, or hold nothing but zeros, would fill any disk.
MOST_TIMES, ALWAYS = 20, 1 << 30
PARTIAL = ".part"
HIDDEN = re.compile(r"(^|/)(\.|__MACOSX/)")
CONTROL = re.compile(r"[\x00-\x1f]")
READ_ERRORS = (
    *(OSError, EOFError, RuntimeError, NotImplementedError, ValueError, IndexError),
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error),
)


class Source(Protocol):
    """Where files come from. It can be sent to another process."""

    path: Path
    names: list[str]  # of the files, ascending
    folders: set[str]  # names of the folders, without slash at the end; may lack folders that hold files

    def read(self, name: str) -> bytes:
        """The whole content of a file.

        Raises:
            InputError: the file is damaged or cannot be read.
        """
        ...


def open_source(path: Path, repairs: Repairs) -> Source:
    """Open a zip archive or a folder.

    Args:
        path: an existing archive or folder.
        repairs: takes the entries of the archive that are unsafe or doubled.

    Raises:
        InputError: the archive is damaged as a whole, or, if `repairs` is strict, has such an entry.
    """
    return FolderSource(path) if path.is_dir() else ArchiveSource(path, repairs)


class FolderSource:
    """The files below a folder. Hidden files and folders are passed over."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.names: list[str] = []
        self.folders: set[str] = set()
        for folder, children, files in os.walk(path):
            children[:] = [child for child in children if not child.startswith(".")]
            here = Path(folder).relative_to(path)
            self.folders.update((here / child).as_posix() for child in children)
            self.names += [(here / file).as_posix() for file in files if not file.startswith(".")]
        self.names.sort()

    def read(self, name: str) -> bytes:
        """The whole content of a file."""
        try:
            with open(f"{self.path}/{name}", "rb", opener=_without_waiting) as file:
                if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                    raise OSError("a pipe or a device")
                return file.read()
        except OSError as error:
            raise _unreadable(self.path, name, error) from error


def _without_waiting(path: str, flags: int) -> int:
    """Open a file; of a pipe, without waiting for somebody to write into it."""
    return os.open(path, flags | os.O_NONBLOCK)


class ArchiveSource:
    """The files in a zip archive. Unsafe and doubled entries are left out and counted."""

    def __init__(self, path: Path, repairs: Repairs) -> None:
        self.path = path
        self.names: list[str] = []
        self.folders: set[str] = set()
        self._zip: zipfile.ZipFile | None = None
        self._entries: dict[str, zipfile.ZipInfo] = {}
        for entry in self._open().infolist():
            reason = why_unsafe(entry)
            if reason:
                repairs.add("unsafe_archive_entry", f"{path.name}/{entry.filename}", reason)
            elif entry.is_dir():
                self.folders.add(entry.filename.rstrip("/"))
            elif entry.filename in self._entries:
                repairs.add("duplicated_id", f"{path.name}/{entry.filename}", "the same entry twice")
            elif not HIDDEN.search(entry.filename):
                self._entries[entry.filename] = entry
        self.names = sorted(self._entries)
        size, unpacked = path.stat().st_size, sum(entry.file_size for entry in self._entries.values())
        if unpacked > ALWAYS + MOST_TIMES * size:
            raise InputError(path, expected=f"an archive that unpacks to at most {MOST_TIMES} times its {size:,} bytes "
                             "and 1 GiB", found=f"one of {unpacked:,} bytes unpacked")  # fmt: skip

    def _open(self) -> zipfile.ZipFile:
        if self._zip is None:
            try:
                self._zip = zipfile.ZipFile(self.path)
            except READ_ERRORS as error:
                raise InputError(self.path, expected="a whole zip archive", found=str(error)[:120],
                                 remedy="It may be truncated: delete it and copy or download it again.",
                                 ) from error  # fmt: skip
        return self._zip

    def read(self, name: str) -> bytes:
        """The whole content of a file, its CRC checked."""
        try:
            return self._open().read(self._entries[name])
        except READ_ERRORS as error:
            raise _unreadable(self.path, name, error) from error

    def __getstate__(self) -> dict[str, object]:
        return self.__dict__ | {"_zip": None}  # an open file cannot go to another process; it is opened again there


def why_unsafe(entry: zipfile.ZipInfo) -> str | None:
    """Why an entry must not be extracted, or None if it may.

    It must not leave the target folder by its name, be anything but a file or a folder, or be absurdly large.
    """
    name = entry.filename
    if not name:
        return "an empty name"
    if name.startswith(("/", "\\")) or name[1:2] == ":":
        return "an absolute path"
    if "\\" in name or ".." in name.split("/"):
        return "a path that leaves the folder"
    if CONTROL.search(name):
        return "a control character in its name"
    kind = stat.S_IFMT(entry.external_attr >> 16)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "a link or a device"
    if entry.file_size > LARGEST_FILE:
        return f"{entry.file_size} bytes"
    return None


def _unreadable(path: Path, name: str, error: BaseException) -> InputError:
    found = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return InputError(path / name, expected="a readable file", found=found[:120], remedy="Copy or download it again.")


def _without_following(path: str, flags: int) -> int:
    """Open a file to write; not what a link that somebody left under its name points to."""
    return os.open(path, flags | os.O_NOFOLLOW, 0o666)


def install(content: bytes, folder: Path, name: str) -> None:
    """Write a file unless it is there already with the same content.

    A killed run leaves the old file, the new one or none, and a partial file that the next run writes anew.

    Args:
        content: of the file.
        folder: where; it must exist.
        name: of the file.

    Raises:
        OSError: the disk is full or not writable.
    """
    target = f"{folder}/{name}"  # not a Path: thirty thousand of them are a tenth of the whole conversion
    try:
        if os.stat(target).st_size == len(content) and Path(target).read_bytes() == content:  # noqa: PTH116
            return
    except FileNotFoundError:
        pass
    # One name for all runs, so that a killed run's partial file is found again; without fsync, which would cost more
    # than all the rest for so many small files: after a power cut the next run compares the content.
    partial = f"{folder}/.{name}{PARTIAL}"
    try:
        with open(partial, "wb", opener=_without_following) as file:
            file.write(content)
        os.replace(partial, target)  # noqa: PTH105
    except OSError as error:
        Path(partial).unlink(missing_ok=True)
        error.filename = error.filename or target  # writing to a full disk does not name the file
        raise
