"""TIFF, OME-TIFF, BigTIFF and the slide formats that are TIFF inside, opened so that a region can be read alone.

Everything goes through tifffile: a small image is decoded at once, an uncompressed one mapped into memory, any other
read tile by tile through tifffile's zarr store (package zarr, an extra).
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import tifffile
from tifffile import COMPRESSION, PHOTOMETRIC, RESUNIT

from nucleus.errors import InputError, is_out_of_memory
from nucleus.formats.declared import declared_pixels, why_endless
from nucleus.formats.disk_array import DiskArray
from nucleus.formats.stored import LARGEST_CHUNK, MOST_PIXELS, PixelSize, Stored, plausible

AT_ONCE = 256 << 20  # bytes; a smaller series is decoded as a whole
MOST_PAGES = 1 << 16
SMALL_TILE = 1 << 20  # pixels; a tile that declares fewer costs nothing
UM_PER = {
    "": 1.0, "µm": 1.0, "μm": 1.0, "um": 1.0, "micron": 1.0, "microns": 1.0, "\\u00b5m": 1.0,
    "nm": 1e-3, "å": 1e-4, "pm": 1e-6, "mm": 1e3, "cm": 1e4, "m": 1e6, "inch": 25_400.0, "in": 25_400.0,
}  # fmt: skip
UM_PER_RESOLUTION_UNIT = {RESUNIT.INCH: 25_400.0, RESUNIT.CENTIMETER: 1e4, 4: 1e3, 5: 1.0}  # 4 and 5: mm, um
COLOURS = (PHOTOMETRIC.RGB, PHOTOMETRIC.YCBCR)
GREYS = (PHOTOMETRIC.MINISBLACK, PHOTOMETRIC.MINISWHITE, PHOTOMETRIC.PALETTE)
SLIDES = (
    "svs",
    "scn",
    "ndpi",
    "bif",
    "qpi",
    "philips",
    "ventana",
    "avs",
    "indica",
)  # image first, then label and macro
TRUNCATED = "The file may be truncated: copy or download it again."

# tifffile logs what it then raises or copes with; a user is told by the error alone.
logging.getLogger("tifffile").addHandler(logging.NullHandler())


def open_tiff(path: Path, series: int | None = None, level: int = 0) -> Stored:
    """Open one image of a TIFF file.

    Args:
        path: the file.
        series: which image of a file with several, from 0; None for the only one, or for the slide of a slide format.
        level: of the pyramid, 0 the full size.

    Returns:
        The image; stacks and channels as axes.

    Raises:
        InputError: the file is missing, broken, has several images and none is chosen, no such series or level, tiles
            too large to be decoded, a colour space that is neither grey nor RGB, or is too large to be decoded at
            once without zarr.
    """
    try:
        tiff = this_file(path)
    except OSError as error:
        raise InputError(path, expected="a readable TIFF file", found=error.strerror or str(error)[:120]) from error
    except Exception as error:  # tifffile raises what its many parsers raise
        raise broken(path, error) from error
    try:
        return _open(path, tiff, series, level)
    except InputError:
        tiff.close()
        raise
    except Exception as error:
        tiff.close()
        raise broken(path, error) from error


def this_file(path: Path) -> tifffile.TiffFile:
    """Open a TIFF file and never another: OME-XML may name other files of a set, by any path, and say that the pixels
    are there. A file of a set is then what it holds itself, a series of pages.

    Raises:
        Exception: whatever tifffile's parsers raise.
    """
    return tifffile.TiffFile(path, _multifile=False)


def broken(path: Path, error: Exception) -> InputError:
    """The error of a file whose header or pixels cannot be decoded.

    Raises:
        Exception: `error` itself where memory ran out, which is not the file's fault.
    """
    if is_out_of_memory(error):
        raise error
    found = str(error).strip()[:120] or type(error).__name__
    return InputError(path, expected="a whole TIFF image", found=found, remedy=TRUNCATED)


def _open(path: Path, tiff: tifffile.TiffFile, number: int | None, level: int) -> Stored:
    series = _series(path, tiff, number)
    if not 0 <= level < len(series.levels):
        raise InputError(path, expected=f"a level from 0 to {len(series.levels) - 1}", found=f"level {level}")
    full, series = series, series.levels[level]
    page = series.keyframe
    axes = series.axes
    _check(path, series, page)
    is_rgb = page.photometric in COLOURS and any(
        series.shape[axes.index(letter)] in (3, 4) for letter in "SC" if letter in axes
    )
    has_alpha = "S" in axes and not is_rgb and tuple(page.extrasamples) in ((1,), (2,))
    if "S" in axes and not is_rgb and "C" not in axes:
        axes = axes.replace("S", "C")
    down, across = (full.shape[full.axes.index(axis)] / series.shape[series.axes.index(axis)] for axis in "YX")
    size = _pixel_size(tiff, full, number or 0)
    return Stored(
        pixels=_pixels(path, series, page),
        axes=axes,
        is_rgb=is_rgb or (page.photometric == PHOTOMETRIC.PALETTE and not tiff.is_imagej),
        has_alpha=has_alpha,
        channel_names=_channel_names(tiff, full, number or 0),
        pixel_size_um=(size[0] * down, size[1] * across) if size else None,
        downsample=(down, across),
        convert=_converter(tiff, page),
        close=tiff.close,
    )


def _series(path: Path, tiff: tifffile.TiffFile, number: int | None) -> Any:
    if len(tiff.pages) > MOST_PAGES:  # counted quickly; looked at, each takes its time
        raise InputError(path, expected=f"at most {MOST_PAGES:,} pages", found=f"{len(tiff.pages):,}",
                         remedy="Save it in parts.")  # fmt: skip
    every = tiff.series
    if number is not None:
        if not 0 <= number < len(every):
            raise InputError(path, expected=f"a series from 0 to {len(every) - 1}", found=f"series {number}")
        return every[number]
    images = [one for one in every if not one.keyframe.is_reduced]
    if len(images) > 1 and every[0].kind not in SLIDES:
        shapes = ", ".join(" x ".join(map(str, one.shape)) for one in every[:6])
        raise InputError(path, expected="one image", found=f"{len(every)} images ({shapes})",
                         remedy=f"Choose one with --series, 0 to {len(every) - 1}.")  # fmt: skip
    if not every:
        raise ValueError("no image in the file")
    return images[0] if images else every[0]


def _check(path: Path, series: Any, page: Any) -> None:
    if "Y" not in series.axes or "X" not in series.axes:
        raise InputError(path, expected="an image with rows and columns", found=f"the axes {series.axes}")
    height, width = (series.shape[series.axes.index(axis)] for axis in "YX")
    if height * width > MOST_PIXELS or height < 1 or width < 1:
        raise InputError(path, expected="an image of a size that a slide can have", found=f"{height} x {width} pixels")
    if series.kind == "ome" and (missing := sum(plane is None for plane in series)):  # tifffile would read zeros
        raise InputError(path, expected=f"an image of {len(series)} planes", found=f"{missing} that are missing",
                         remedy="Save it again, whole and as one file.")  # fmt: skip
    if page.photometric not in COLOURS + GREYS:
        name = getattr(page.photometric, "name", page.photometric)
        raise InputError(path, expected="a grey or RGB image", found=f"the colour space {name}",
                         remedy="Save it as RGB or grey.")  # fmt: skip


def _pixels(path: Path, series: Any, page: Any) -> Any:
    if series.dataoffset is not None and page.compression == COMPRESSION.NONE and series.transform is None:
        order = series.keyframe.parent.byteorder
        return DiskArray(path, series.dtype.newbyteorder(order), series.shape, "r", series.dataoffset)
    expected = int(np.prod(page.chunked, dtype=object))
    if len(page.dataoffsets) != expected:  # tifffile would fill up with zeros, however many are missing
        raise InputError(path, expected=f"a whole TIFF image of {expected} tiles or strips",
                         found=f"{len(page.dataoffsets)}", remedy=TRUNCATED)  # fmt: skip
    values = int(np.prod(page.chunks, dtype=object))
    chunk = values * page.dtype.itemsize
    page.__dict__["decode"] = _bounded(page.decode, values)  # in place of tifffile's cached one
    if series.nbytes <= AT_ONCE and chunk <= AT_ONCE:
        return series.asarray()
    if chunk > LARGEST_CHUNK:
        raise InputError(path, expected="a large TIFF in tiles or strips of at most 1 GiB",
                         found=f"one of {chunk >> 20} MiB", remedy="Save it as a tiled TIFF.")  # fmt: skip
    try:
        import zarr
    except ImportError:
        raise InputError(path, expected=f"the package zarr, to read {series.nbytes >> 20} MiB tile by tile",
                         found="none", remedy='Install it: pip install "nucleus[zarr]".') from None  # fmt: skip
    return zarr.open(series.aszarr(level=0), mode="r")


def _bounded(decode: Callable[..., Any], values: int) -> Callable[..., Any]:
    """Refuse tiles and strips that hold an image of their own, larger than they are: decoders believe its header."""

    def checked(data: bytes | None, *arguments: Any, **options: Any) -> Any:
        if data is not None:
            pixels = declared_pixels(data)
            if pixels is not None and pixels > max(values, SMALL_TILE):
                raise ValueError(f"a tile or strip of {values:,} values that declares {pixels:,} pixels")
            if (endless := why_endless(data)) is not None:
                raise ValueError(f"a tile or strip with {endless}")
        return decode(data, *arguments, **options)

    return checked


def _converter(tiff: tifffile.TiffFile, page: Any) -> Callable[[np.ndarray], np.ndarray]:
    """What to do with the values read: colours of a palette, and greys that run from white to black.

    ImageJ's palettes are a way to look at intensities: there the value counts.
    """
    if page.photometric == PHOTOMETRIC.PALETTE and not tiff.is_imagej:
        colours = (page.colormap.T >> 8).astype(np.uint8)
        return lambda values: colours[values]
    if page.photometric == PHOTOMETRIC.MINISWHITE and page.dtype.kind in "bu":
        if page.dtype.kind == "b":
            return np.logical_not
        white = page.dtype.type(2**page.bitspersample - 1)
        return lambda values: white - values
    return lambda values: values


def _pixel_size(tiff: tifffile.TiffFile, series: Any, number: int) -> PixelSize | None:
    """From OME-XML, ImageJ's metadata, Aperio's, or the resolution tags, whichever is there first."""
    page = series.keyframe
    try:
        if tiff.is_ome:
            return _ome_pixel_size(_ome_pixels(tiff, number))
        if page.is_svs and "MPP" in (aperio := tifffile.tifffile.svs_description_metadata(page.description)):
            return plausible(aperio["MPP"], aperio["MPP"])
        x, y = (page.tags[name].value for name in ("XResolution", "YResolution"))
        per_unit = (y[0] / y[1], x[0] / x[1])
        if tiff.is_imagej and (unit := str((tiff.imagej_metadata or {}).get("unit", "")).lower()):
            scale = UM_PER.get(unit)
            return None if scale is None else plausible(scale / per_unit[0], scale / per_unit[1])
        scale = UM_PER_RESOLUTION_UNIT.get(page.resolutionunit, 0.0)
        return plausible(scale / per_unit[0], scale / per_unit[1])
    except (KeyError, ValueError, TypeError, ZeroDivisionError, AttributeError, ElementTree.ParseError):
        return None  # no pixel size, or one that makes no sense


def _ome_pixels(tiff: tifffile.TiffFile, number: int) -> ElementTree.Element:
    """The description of an image; in a file of a set, of the one image that has planes in this file."""
    root = ElementTree.fromstring(tiff.ome_metadata or "")
    every = root.findall("./{*}Image/{*}Pixels")
    files = {id(one): {uuid.text for uuid in one.findall("./{*}TiffData/{*}UUID")} for one in every}
    if set().union(*files.values()) - {root.get("UUID")}:
        (own,) = (one for one in every if root.get("UUID") in files[id(one)])  # else a ValueError
        return own
    return every[number if number < len(every) else 0]


def _ome_pixel_size(pixels: ElementTree.Element) -> PixelSize | None:
    sizes = []
    for axis in "YX":
        unit = pixels.get(f"PhysicalSize{axis}Unit", "µm").lower()
        sizes.append(float(pixels.attrib[f"PhysicalSize{axis}"]) * UM_PER[unit])
    return plausible(*sizes)


def _channel_names(tiff: tifffile.TiffFile, series: Any, number: int) -> tuple[str, ...]:
    """Nothing where there are not as many as channels, as in a file of a set with a channel in each."""
    try:
        if tiff.is_ome:
            names = [one.get("Name", "") for one in _ome_pixels(tiff, number).findall("./{*}Channel")]
        else:
            names = list(map(str, (tiff.imagej_metadata or {}).get("Labels") or []))
        count = series.shape[series.axes.index("C")] if "C" in series.axes else int(tiff.is_ome)
        return tuple(names) if len(names) == count else ()
    except (ValueError, IndexError, ElementTree.ParseError):
        return ()
