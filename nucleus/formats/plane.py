"""The plane that a picture is: rows, columns and channels of an array that may have further axes.

A file may hold a stack (planes, times, ...) of many channels; a picture is one of the stack, of one channel or three.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nucleus.errors import InputError
from nucleus.formats.stored import Stored

CHOICES = (1, 3)  # how many channels make a picture: grey or RGB


class Plane:
    """One image of a stack, and the channels that were chosen of it.

    Args:
        stored: the opened file or array.
        name: of the file, for errors.
        channels: numbers or names; see `nucleus.formats.image_source.ImageSource`.
        page: likewise.

    Raises:
        InputError: there are several channels or pages and none is chosen, or not the chosen ones.

    Attributes:
        channels: numbers of those chosen.
        channel_count: how many there are, but for alpha.
    """

    def __init__(self, stored: Stored, name: str, channels: Sequence[int | str] | None, page: int | None) -> None:
        self._stored = stored
        self._name = name
        self._axis = next((letter for letter in "SC" if letter in stored.axes), None)
        alpha = stored.has_alpha or (stored.is_rgb and self.length(self._axis) == 4)
        self.channel_count = self.length(self._axis) - alpha
        self.channels = self._choose_channels(channels)
        self._page = self._choose_page(page)

    def length(self, axis: str | None) -> int:
        """Of an axis by its letter; 1 without one."""
        return int(self._stored.pixels.shape[self._stored.axes.index(axis)]) if axis else 1

    def _choose_channels(self, wanted: Sequence[int | str] | None) -> list[int]:
        count, names = self.channel_count, list(self._stored.channel_names)
        if wanted is None:
            if self._stored.is_rgb and count >= 3:
                return [0, 1, 2]
            if count == 1:
                return [0]
            listed = f" ({', '.join(names)[:200]})" if any(names) else ""
            raise InputError(self._name, expected="a grey or RGB image", found=f"{count} channels{listed}",
                             remedy=f"Choose one with --channel, 0 to {count - 1}, or three for RGB.")  # fmt: skip
        numbers = [names.index(one) if one in names else _number(one) for one in wanted]
        if len(numbers) not in CHOICES or any(one is None or not 0 <= one < count for one in numbers):
            known = f"0 to {count - 1}" + (f" or {', '.join(filter(None, names))}"[:200] if any(names) else "")
            raise InputError(self._name, expected=f"one channel or three, of {known}",
                             found=", ".join(map(str, wanted)) or "none")  # fmt: skip
        return [one for one in numbers if one is not None]

    def _choose_page(self, page: int | None) -> dict[str, int]:
        """Where to stand on each axis of a stack."""
        letters = [letter for letter in self._stored.axes if letter not in {"Y", "X", self._axis}]
        lengths = [self.length(letter) for letter in letters]
        count = int(np.prod(lengths, dtype=object)) if lengths else 1
        if page is None and count > 1:
            shape = " x ".join(f"{length} {letter}" for letter, length in zip(letters, lengths, strict=True))
            raise InputError(self._name, expected="one image", found=f"a stack of {count} ({shape})",
                             remedy=f"Choose one with --page, 0 to {count - 1}.")  # fmt: skip
        if not 0 <= (page or 0) < count:
            raise InputError(self._name, expected=f"a page from 0 to {count - 1}", found=f"page {page}")
        place = np.unravel_index(page or 0, lengths) if lengths else ()
        return {letter: int(where) for letter, where in zip(letters, place, strict=True)}

    def read(self, y0: int, x0: int, y1: int, x1: int, channels: Sequence[int]) -> np.ndarray:
        """Read a region from row y0 to before y1 and column x0 to before x1, as it is stored.

        Args:
            y0, x0, y1, x1: inside the image.
            channels: numbers of the channels, in the order wanted.

        Returns:
            (y1 - y0, x1 - x0), or with several channels (y1 - y0, x1 - x0, C).
        """
        axes, pixels = self._stored.axes, self._stored.pixels
        where: dict[str, int | slice] = {**self._page, "Y": slice(y0, y1), "X": slice(x0, x1)}
        order = [axis for axis in axes if axis in {"Y", "X", self._axis}]
        if self._axis is None:
            return _in_order(np.asarray(pixels[tuple(where[axis] for axis in axes)]), order)
        if order[-1] == self._axis:  # the samples of a pixel lie together
            where[self._axis] = slice(None)
            found = _in_order(np.asarray(pixels[tuple(where[axis] for axis in axes)]), order)
            return found[..., channels] if len(channels) > 1 else found[..., channels[0]]
        planes = []
        for channel in channels:
            where[self._axis] = channel
            plane = np.asarray(pixels[tuple(where[axis] for axis in axes)])
            planes.append(_in_order(plane, [axis for axis in order if axis != self._axis]))
        return np.stack(planes, axis=-1) if len(planes) > 1 else planes[0]


def _number(value: int | str) -> int | None:
    if isinstance(value, str):
        return int(value) if value.isascii() and value.isdigit() else None
    return int(value)


def _in_order(pixels: np.ndarray, order: list[str]) -> np.ndarray:
    """Bring the axes to rows, columns and then channels."""
    wanted = sorted(order, key=lambda axis: {"Y": 0, "X": 1}.get(axis, 2))
    return pixels.transpose([order.index(axis) for axis in wanted])
