"""Decoded images and label images in memory that all processes of a run share.

Decoding is the largest part of what the processor does for a training sample: PNG is slow to read and so are run
lengths. The cache keeps what was decoded for the run and no longer. It begins empty, so that it is never older than
the files, and it lies in memory without a name, so that nothing is left behind however the run ends.
"""

from __future__ import annotations

import mmap
import os
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nucleus.data.decoded import Decoded, label_type

ALIGNMENT = 64  # bytes
TOKEN = 16  # bytes at the beginning, by which a process knows that it has opened the right memory
# What the head holds of each image: a number for the version of its file, 0 where nothing is stored; the channels that
# were stored; and whether its masks were found to overlap.
HEAD = np.dtype([("version", np.int64), ("channels", np.int32), ("overlaps", np.int32)])


class ImageCache:
    """A place for each of the images that fit.

    Processes that are forked share it as they are. One that is started afresh gets it with what is pickled, and those
    that run side by side with `share`; both are for Linux. Elsewhere only this process has it.

    Places are kept for RGB; the pages of a grey image's other channels are never touched and take no memory.

    Args:
        sizes: (height, width, nuclei) of each image, pixels.
        budget: bytes that may be taken; images are given places in their order as long as these fit.
    """

    def __init__(self, sizes: Sequence[tuple[int, int, int]], budget: int) -> None:
        self._sizes = list(sizes)
        begin = _aligned(TOKEN + len(sizes) * HEAD.itemsize)
        self._places, end = _give_places(sizes, begin, begin + budget)
        self._token = secrets.token_bytes(TOKEN)
        self._file = os.fdopen(os.memfd_create("nucleus-images"), "r+b") if hasattr(os, "memfd_create") else None
        if self._file is not None:
            os.truncate(self._file.fileno(), end)
        self._open(mmap.mmap(self._file.fileno() if self._file else -1, end))
        self._memory[:TOKEN] = self._token

    @property
    def places(self) -> int:
        """How many images have a place."""
        return sum(place is not None for place in self._places)

    @property
    def overlapping(self) -> int:
        """How many images with overlapping masks were met so far, by all processes."""
        return int(np.count_nonzero(self._head["overlaps"]))

    def get(self, index: int, version: int) -> Decoded | None:
        """What is stored of an image.

        Args:
            index: of the image.
            version: of its file, see `file_version`; nothing is stored of version 0.

        Returns:
            The image and its label image, read-only, in the shared memory; None where they are not stored, or were
            stored of another version of the file.
        """
        place = self._places[index]
        if place is None or version == 0 or self._head["version"][index] != version:
            return None
        image, labels = self._views(index, place, int(self._head["channels"][index]))
        image.flags.writeable = labels.flags.writeable = False
        return Decoded(image, (labels,))

    def put(self, index: int, version: int, decoded: Decoded) -> None:
        """Store an image, if it has a place and one label image holds its masks.

        Two processes may do this at the same time: they write the same bytes.
        """
        place = self._places[index]
        if place is None or len(decoded.layers) > 1:
            return
        channels = 1 if decoded.image.ndim == 2 else 3
        self._head["version"][index] = 0
        image, labels = self._views(index, place, channels)
        image[...] = decoded.image
        labels[...] = decoded.layers[0]
        self._head["channels"][index] = channels
        self._head["version"][index] = version  # last: from here on others read it

    def note_overlap(self, index: int) -> bool:
        """Count an image with overlapping masks; whether it is new."""
        new = not self._head["overlaps"][index]
        self._head["overlaps"][index] = 1
        return new

    def place(self) -> tuple[str, bytes]:
        """Where other processes of this machine find the memory while this one lives, and how they know it."""
        return (f"/proc/{os.getpid()}/fd/{self._file.fileno()}" if self._file else "", self._token)

    def share(self, place: tuple[str, bytes]) -> bool:
        """Use another process's memory in place of the own; the images must be the same.

        Returns:
            Whether that was possible. If not (another machine, another user), everything stays as it is.
        """
        path, token = place
        try:
            file = Path(path).open("r+b")  # noqa: SIM115 - it is kept
        except OSError:
            return False
        try:
            memory = mmap.mmap(file.fileno(), len(self._memory))
        except (OSError, ValueError):  # another size
            file.close()
            return False
        if memory[:TOKEN] != token:
            file.close()
            return False
        self._file, self._token = file, token
        self._open(memory)
        return True

    def _open(self, memory: mmap.mmap) -> None:
        self._memory = memory
        self._head = np.frombuffer(memory, dtype=HEAD, count=len(self._sizes), offset=TOKEN)

    def _views(self, index: int, place: int, channels: int) -> tuple[np.ndarray, np.ndarray]:
        height, width, nuclei = self._sizes[index]
        shape = (height, width) if channels == 1 else (height, width, channels)
        # Labels first, so that the pages after a grey image stay untouched.
        dtype = label_type(nuclei)
        labels = np.ndarray((height, width), dtype, self._memory, place)
        return np.ndarray(shape, np.uint8, self._memory, place + labels.nbytes), labels

    def __getstate__(self) -> dict[str, Any]:
        return {"sizes": self._sizes, "places": self._places, "end": len(self._memory), "place": self.place()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._sizes, self._places = state["sizes"], state["places"]
        self._file, self._token = None, state["place"][1]
        self._memory = mmap.mmap(-1, state["end"])
        if not self.share(state["place"]):  # a process of its own that would fill the memory once more: no cache
            self._places = [None] * len(self._sizes)
            self._open(self._memory)


def file_version(path: str | Path) -> int:
    """A number that changes when a file is written again; 0 if there is none."""
    try:
        status = Path(path).stat()
    except OSError:
        return 0
    return hash((status.st_mtime_ns, status.st_size, status.st_ino)) or 1


def _give_places(sizes: Sequence[tuple[int, int, int]], begin: int, end: int) -> tuple[list[int | None], int]:
    """The first byte of each image, None where it does not fit before `end`; and the first byte after all of them."""
    places: list[int | None] = []
    for height, width, nuclei in sizes:
        needed = _aligned(height * width * (3 + label_type(nuclei)().itemsize))
        fits = begin + needed <= end
        places.append(begin if fits else None)
        begin += needed * fits
    return places, begin


def _aligned(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT
