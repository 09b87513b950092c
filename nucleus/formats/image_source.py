"""One way to read any image: open it, look at its size, read regions of it.

Small files are decoded as they are opened. Of large TIFF and OME-Zarr files, only what a region needs is read.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from types import TracebackType

import numpy as np

from nucleus.errors import InputError
from nucleus.formats.ome_zarr import is_zarr, open_ome_zarr
from nucleus.formats.plane import Plane
from nucleus.formats.raster import read_raster
from nucleus.formats.rescale import Rescale
from nucleus.formats.stored import PixelSize, Stored, check_regular
from nucleus.formats.tiff import broken, open_tiff

TIFF_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
IMAGE_SUFFIXES = (
    ".png", ".jpg", ".jpeg", ".webp", ".bmp",
    ".tif", ".tiff", ".btf", ".tf8", ".lsm", ".svs", ".ndpi", ".scn", ".qptiff", ".bif", ".zarr",
)  # fmt: skip
MOST_AT_ONCE = 1 << 30  # values that `read_all` gives; a hostile file may declare any number
WHOLE = 1 << 26  # values; of an image with more, the black and white points are those of a sample
SAMPLE_BANDS, SAMPLE_ROWS = 64, 32
SAMPLE = 1 << 24  # values


class ImageSource:
    """An image of which regions are read: (H, W) grey or (H, W, 3) RGB, in the type that is stored.

    Args:
        stored: the opened file or array.
        name: of the file, for errors.
        channels: numbers from 0, or names: one for grey, three for red, green and blue. None for an image that has
            grey or RGB alone; an alpha channel is dropped.
        page: which image of a stack (all axes but rows, columns and channels, the last one fastest), from 0; None for
            an image that is no stack.

    Raises:
        InputError: the image has several channels or pages and none is chosen, or not the chosen ones; its values are
            no numbers.

    Attributes:
        shape: (H, W) or (H, W, 3).
        dtype: of the values, native byte order.
        pixel_size_um: height and width of a pixel in micrometres, or None if unknown.
        downsample: pixels of the full image for one of this level of a pyramid, down and across; 1 for no pyramid.
        channel_names: of the channels chosen; empty if unknown.
    """

    def __init__(
        self,
        stored: Stored,
        name: str,
        *,
        channels: Sequence[int | str] | None = None,
        page: int | None = None,
    ) -> None:
        self.name = name
        self.pixel_size_um: PixelSize | None = stored.pixel_size_um
        self.downsample = stored.downsample
        self._stored = stored
        self._plane = Plane(stored, name, channels, page)
        names = stored.channel_names
        self.channel_names = tuple(names[one] for one in self._plane.channels if one < len(names))
        example = stored.convert(np.zeros((1, 1), dtype=stored.pixels.dtype))
        self.dtype = example.dtype.newbyteorder("=")
        if self.dtype.kind not in "buif":
            raise InputError(name, expected="numbers", found=f"{self.dtype}", remedy="Save it with 8 or 16 bits.")
        height, width = self._plane.length("Y"), self._plane.length("X")
        if height < 1 or width < 1:
            raise InputError(name, expected="an image with pixels", found=f"{height} x {width}")
        self.shape: tuple[int, ...] = (
            (height, width, 3) if len(self._plane.channels) == 3 or example.ndim == 3 else (height, width)
        )

    def __enter__(self) -> ImageSource:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file; nothing can be read afterwards."""
        self._stored.close()

    def read(self, y0: int, x0: int, y1: int, x1: int) -> np.ndarray:
        """Read a region.

        Args:
            y0: first row.
            x0: first column.
            y1: the row after the last one.
            x1: the column after the last one.

        Returns:
            (y1 - y0, x1 - x0) or (y1 - y0, x1 - x0, 3), in the image's own type and native byte order.

        Raises:
            ValueError: the region is empty or leaves the image.
            InputError: the file is damaged there.
        """
        return self._read(y0, x0, y1, x1, self._plane.channels)

    def read_every_channel(self, y0: int, x0: int, y1: int, x1: int) -> np.ndarray:
        """Read all channels of a region, chosen or not, but alpha: (y1 - y0, x1 - x0, C), as `read` otherwise.

        Their names are `every_channel`.
        """
        pixels = self._read(y0, x0, y1, x1, list(range(self._plane.channel_count)))
        return pixels[..., None] if pixels.ndim == 2 else pixels

    @property
    def every_channel(self) -> tuple[str, ...]:
        """Names of all channels but alpha: as the file has them, else red, green and blue, numbers, or "grey"."""
        count = self._plane.channel_count
        if count == 1 and len(self.shape) == 3:  # the colours of a palette
            count = 3
        names = self._stored.channel_names
        if len(names) >= count and all(names[:count]) and len(set(names[:count])) == count:
            return names[:count]
        if self._stored.is_rgb and count >= 3:
            return ("red", "green", "blue")
        return tuple(map(str, range(count))) if count > 1 else ("grey",)

    def _read(self, y0: int, x0: int, y1: int, x1: int, channels: list[int]) -> np.ndarray:
        height, width = self.shape[:2]
        if not (0 <= y0 < y1 <= height and 0 <= x0 < x1 <= width):
            raise ValueError(f"expected a region inside {height} x {width} pixels, found ({y0}, {x0}) to ({y1}, {x1})")
        try:
            pixels = self._stored.convert(self._plane.read(y0, x0, y1, x1, channels))
        except Exception as error:  # whatever the decoder of the file's compression raises
            raise broken(Path(self.name), error) from error
        pixels = np.ascontiguousarray(pixels, dtype=self.dtype)
        return pixels if pixels.flags.writeable else pixels.copy()  # else it would go on being the file

    def read_all(self) -> np.ndarray:
        """Read the whole image, (H, W) or (H, W, 3), of at most 1,073,741,824 values; above that, InputError."""
        if np.prod(self.shape, dtype=object) > MOST_AT_ONCE:
            raise InputError(self.name, expected="an image of at most 1,073,741,824 values, to be read at once",
                             found=" x ".join(map(str, self.shape)), remedy="Read it in parts.")  # fmt: skip
        return self.read(0, 0, *self.shape[:2])

    @cached_property
    def rescale(self) -> Rescale:
        """The map to 8 bits, from the percentiles of the whole image, worked out once: all tiles use the same.

        Of an image with more than 67 million values, they are those of a sample: 64 bands of 32 rows, evenly spread
        from top to bottom, thinned to every n-th column.
        """
        height, width = self.shape[:2]
        if self.dtype == np.uint8:
            return Rescale(0.0, 255.0)
        if np.prod(self.shape, dtype=object) <= WHOLE:
            return Rescale.of(self.read_all())
        step = max(1, SAMPLE_BANDS * SAMPLE_ROWS * width // SAMPLE)
        tops = np.unique(np.linspace(0, max(height - SAMPLE_ROWS, 0), SAMPLE_BANDS).astype(int)).tolist()
        bands = [self.read(top, 0, min(top + SAMPLE_ROWS, height), width)[:, ::step] for top in tops]
        return Rescale.of(np.concatenate(bands))

    def read_rgb8(self, y0: int, x0: int, y1: int, x1: int) -> np.ndarray:
        """Read a region as 8-bit RGB, scaled as the whole image is: uint8 (y1 - y0, x1 - x0, 3)."""
        return self.rescale(self.read(y0, x0, y1, x1))


def open_image(
    path: str | Path,
    *,
    channels: Sequence[int | str] | None = None,
    page: int | None = None,
    series: int | None = None,
    level: int = 0,
) -> ImageSource:
    """Open an image file, whatever its format; which one it is, its first bytes say, not its name.

    Args:
        path: PNG, JPEG, WebP, BMP, TIFF (also OME-TIFF, BigTIFF, SVS, NDPI and other slides), or an OME-Zarr folder.
        channels: see `ImageSource`.
        page: see `ImageSource`.
        series: which image of a file with several, from 0.
        level: of a pyramid, 0 the full size.

    Returns:
        The image. Close it, or use it in a `with` statement.

    Raises:
        InputError: the file is missing, broken, of another format, too large to be decoded, or a choice is missing or
            impossible.
    """
    path = Path(path)
    check_regular(path, "a readable image file")
    if path.is_dir():
        if not is_zarr(path):
            raise InputError(path, expected="an image file or an OME-Zarr folder", found="another folder")
        stored = open_ome_zarr(path, series, level)
    elif _begins_as_tiff(path):
        stored = open_tiff(path, series, level)
    else:
        if (series or 0) != 0 or level != 0:
            raise InputError(path, expected="series 0 and level 0 of a file with one image",
                             found=f"series {series}, level {level}")  # fmt: skip
        pixels, pixel_size = read_raster(path)
        stored = _of_array(pixels, pixel_size)
    try:
        return ImageSource(stored, str(path), channels=channels, page=page)
    except InputError:
        stored.close()
        raise


def open_array(
    pixels: np.ndarray, *, channels: Sequence[int | str] | None = None, pixel_size_um: PixelSize | None = None
) -> ImageSource:
    """Treat an array as an image.

    Args:
        pixels: numbers, (H, W), or (H, W, C) with the channels last: 1 grey, 3 RGB, 4 RGBA, others by choice.
        channels: see `ImageSource`.
        pixel_size_um: height and width of a pixel in micrometres.

    Returns:
        The image; the array is not copied.

    Raises:
        InputError: the array is of another shape or type, or has several channels and none is chosen.
    """
    if pixels.ndim not in (2, 3) or pixels.size == 0:
        raise InputError("array", expected="an image (H, W) or (H, W, C)", found=f"an array of shape {pixels.shape}")
    return ImageSource(_of_array(pixels, pixel_size_um), "array", channels=channels)


def _of_array(pixels: np.ndarray, pixel_size: PixelSize | None) -> Stored:
    if pixels.ndim == 2:
        return Stored(pixels, "YX", pixel_size_um=pixel_size)
    return Stored(pixels, "YXS", is_rgb=pixels.shape[2] in (3, 4), pixel_size_um=pixel_size)


def _begins_as_tiff(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(4) in TIFF_MAGIC
    except OSError as error:
        raise InputError(path, expected="a readable image file", found=error.strerror or str(error)) from error
