"""An array in a file of which little is in memory at any time, however much of it is looked at in turn.

`np.memmap` alone keeps every page that was ever touched in the resident memory of the process, until the system needs
it elsewhere. Here the file is mapped anew after every 64 MiB; views of the earlier mapping stay valid.
"""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import DTypeLike

RENEWED = 64 << 20  # bytes between the ends of the views given out


class DiskArray:
    """An array in a file, read and written by slices.

    Args:
        path: the file.
        dtype: of its values.
        shape: of the array, C order.
        mode: "w+" makes the file, all zeros, "r+" reads and writes it, "r" reads it.
        offset: bytes in the file before the array.

    Raises:
        OSError: the file cannot be made or opened, or there is no room for it: all of it is claimed at once, since a
            disk that is full later on would kill the process (SIGBUS).
    """

    def __init__(
        self,
        path: Path,
        dtype: DTypeLike,
        shape: tuple[int, ...],
        mode: Literal["r", "r+", "w+"] = "r",
        offset: int = 0,
    ) -> None:
        self.path = path
        self.dtype: np.dtype[Any] = np.dtype(dtype)
        self.shape = shape
        self.ndim = len(shape)
        self._offset = offset
        if mode == "w+":
            try:
                with path.open("wb") as file:
                    os.posix_fallocate(file.fileno(), 0, offset + self.dtype.itemsize * math.prod(shape))
            except OSError:
                path.unlink(missing_ok=True)  # it has taken what room there was
                raise
            mode = "r+"
        self._pixels = np.memmap(path, self.dtype, mode, offset, shape)
        self._mode: Literal["r", "r+"] = "r" if mode == "r" else "r+"
        self._touched = 0

    def __getitem__(self, where: Any) -> np.ndarray:
        """A view as of an array, writable unless the mode is "r"; a scalar for a whole index."""
        if self._touched > RENEWED:
            self._pixels = np.memmap(self.path, self.dtype, self._mode, self._offset, self.shape)
            self._touched = 0
        view = np.asarray(self._pixels[where])
        # Neighbouring pages come along, so that what lies between two rows of a view counts, too.
        self._touched += sum(abs(step) * (length - 1) for step, length in zip(view.strides, view.shape, strict=True))
        return view

    def __setitem__(self, where: Any, values: Any) -> None:
        self[where]  # counts what is touched
        self._pixels[where] = values

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self[...], dtype=dtype)
