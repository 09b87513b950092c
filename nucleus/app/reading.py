"""From an uploaded file to a picture in memory; a file with several images, pages or channels is asked about."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from nucleus.app.limits import Limits
from nucleus.app.refusals import UPLOADED, RefusalError
from nucleus.errors import InputError
from nucleus.formats.image_source import TIFF_MAGIC, ImageSource, open_image
from nucleus.formats.raster import FORMATS
from nucleus.formats.stored import Stored
from nucleus.formats.tiff import open_tiff, this_file

MOST_LISTED = 64  # images or channels of a file that a user can choose from
LONGEST_NAME = 60  # characters of a channel's name


@dataclass(frozen=True)
class Choice:
    """What of a file is to be looked at; None where nobody chose.

    Attributes:
        series: which image of a file with several, from 0.
        channels: one number from 0, or three for red, green and blue.
        page: which image of a stack, from 0.
    """

    series: int | None = None
    channels: tuple[int, ...] | None = None
    page: int | None = None


@dataclass(frozen=True)
class Choices:
    """What there is to choose in a file. Nothing if all are empty.

    Attributes:
        series: sizes of the images of a file with several.
        channels: names of the channels, where they are not simply grey or RGB.
        pages: how many images a stack has; 1 for no stack.
    """

    series: list[str] = field(default_factory=list)
    channels: list[str] = field(default_factory=list)
    pages: int = 1

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


class ChoiceNeededError(Exception):
    """The file holds more than one picture and nobody has chosen.

    Args:
        choices: what there is.
    """

    def __init__(self, choices: Choices) -> None:
        super().__init__("a choice is needed")
        self.choices = choices


@dataclass(frozen=True, eq=False)
class Picture:
    """One image, all in memory.

    Attributes:
        source: reads it; all its channels can be measured.
        rgb: uint8 (H, W, 3), as the network and the user see it.
        bits: of a stored value.
        choices: what else could have been chosen in the file.
        choice: what was.
    """

    source: ImageSource
    rgb: np.ndarray
    bits: int
    choices: Choices
    choice: Choice


def read_picture(path: Path, choice: Choice, limits: Limits) -> Picture:
    """Read an uploaded file.

    Args:
        path: the temporary file; nothing needs it afterwards.
        choice: what of it is wanted.
        limits: of which `pixels` and `kept_bytes` count here.

    Raises:
        ChoiceNeededError: something has to be chosen first.
        RefusalError: the image is too large.
        InputError: the file is no image, or damaged, or has not what was chosen.
    """
    with path.open("rb") as file:
        is_tiff = file.read(4) in TIFF_MAGIC
    if not is_tiff:
        _check_raster_size(path, limits)
        with open_image(path, channels=choice.channels, page=choice.page, series=choice.series) as source:
            return _picture(source, Choices(), choice, limits)
    stored, series = _open(path, choice)
    try:
        check_size(stored.pixels.shape[stored.axes.index("Y")], stored.pixels.shape[stored.axes.index("X")], limits)
        choices = _choices(stored, series)
        if (choices.channels and choice.channels is None) or (choices.pages > 1 and choice.page is None):
            raise ChoiceNeededError(choices)
        source = ImageSource(stored, UPLOADED, channels=choice.channels, page=choice.page)
        return _picture(source, choices, choice, limits)
    finally:
        stored.close()


def check_size(height: int, width: int, limits: Limits) -> None:
    """Refuse an image of more pixels than the page takes, with what to do instead."""
    if height * width > limits.pixels:
        raise _too_large(f"{width:,} x {height:,}", limits)


def _too_large(size: str, limits: Limits) -> RefusalError:
    return RefusalError(413, f"This image has {size} pixels; the page takes up to {limits.pixels / 1e6:.3g} million. "
                             "For larger images there is the command “nucleus predict”, which takes any size; or "
                             "upload a part of the image.")  # fmt: skip


def _check_raster_size(path: Path, limits: Limits) -> None:
    """By the header, before anything is decoded. A header that makes no sense is left to the reader to explain."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path, formats=FORMATS) as image:
                width, height = image.size
    except Image.DecompressionBombError:
        raise _too_large("more than 178 million", limits) from None
    except Exception:
        return
    check_size(height, width, limits)


def _open(path: Path, choice: Choice) -> tuple[Stored, list[str]]:
    """The image chosen in a TIFF file, and the sizes of all if there was a choice."""
    if choice.series is not None:
        return open_tiff(path, choice.series), _sizes(path)
    try:
        return open_tiff(path), []
    except InputError:
        if len(sizes := _sizes(path)) > 1:
            raise ChoiceNeededError(Choices(series=sizes)) from None
        raise


def _sizes(path: Path) -> list[str]:
    try:
        with this_file(path) as tiff:
            return [" x ".join(map(str, one.shape)) for one in tiff.series[:MOST_LISTED]]
    except Exception:  # `open_tiff` says what is wrong
        return []


def _choices(stored: Stored, series: list[str]) -> Choices:
    names = ImageSource(stored, UPLOADED, channels=[0], page=0).every_channel
    channel_axis = next((axis for axis in "SC" if axis in stored.axes), None)
    pages = prod(
        length
        for axis, length in zip(stored.axes, stored.pixels.shape, strict=True)
        if axis not in ("Y", "X", channel_axis)
    )
    plain = len(names) == 1 or stored.is_rgb
    listed = [] if plain else [_channel_name(number, name) for number, name in enumerate(names[:MOST_LISTED])]
    return Choices(series, listed, int(pages))


def _channel_name(number: int, name: str) -> str:
    return f"Channel {number}" if name == str(number) else name[:LONGEST_NAME]


def _picture(source: ImageSource, choices: Choices, choice: Choice, limits: Limits) -> Picture:
    height, width = source.shape[:2]
    check_size(height, width, limits)
    every = source.every_channel
    if height * width * len(every) * source.dtype.itemsize <= limits.kept_bytes // 4:
        # A copy: what was mapped into memory would go with the file.
        kept = _of_array(np.array(source.read_every_channel(0, 0, height, width)), every, source, choice.channels)
    else:
        kept = _of_array(np.array(source.read_all()), source.channel_names, source, None)
    rgb = kept.read_rgb8(0, 0, height, width)
    return Picture(kept, rgb, source.dtype.itemsize * 8, choices, choice)


def _of_array(
    pixels: np.ndarray, names: Sequence[str], source: ImageSource, channels: tuple[int, ...] | None
) -> ImageSource:
    """An image in memory that looks like the one in the file."""
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels, channels = pixels[..., 0], None
    stored = Stored(
        pixels,
        "YXS"[: pixels.ndim],
        is_rgb=pixels.ndim == 3 and pixels.shape[2] == 3,
        channel_names=tuple(names),
        pixel_size_um=source.pixel_size_um,
    )
    return ImageSource(stored, UPLOADED, channels=channels)
