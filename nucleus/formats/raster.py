"""PNG, JPEG, WebP and BMP, 8 or 16 bit, decoded as they are stored.

The orientation tag of a photograph is not followed: Fiji, QuPath, napari and scikit-image show the pixels as stored,
and the label image has to lie over them.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

from nucleus.errors import InputError, is_out_of_memory
from nucleus.formats.declared import CUT_OFF, why_endless
from nucleus.formats.stored import PixelSize, plausible

UM_PER_INCH = 25_400
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "DIB")  # Pillow's names; JPEG also opens MPO, that of some phones
ANIMATED = ("PNG", "WEBP")
OTHERS = {b"GIF8": "GIF", b"II*\0": "TIFF", b"MM\0*": "TIFF", b"II+\0": "TIFF", b"%PDF": "PDF", b"8BPS": "Photoshop",
          b"\0\0\0\x0cjP": "JPEG 2000", b"\xff\x4f\xff\x51": "JPEG 2000", b"P5": "PGM", b"P6": "PPM",
          b"PK": "zip"}  # fmt: skip


def read_raster(path: Path) -> tuple[np.ndarray, PixelSize | None]:
    """Decode a whole file.

    Args:
        path: a PNG, JPEG, WebP or BMP file.

    Returns:
        uint8 or uint16, (H, W) for grey or (H, W, 3) for RGB (also of grey with alpha), alpha dropped and palettes
        resolved; and the size of a pixel in micrometres if the file has one of at most 10.

    Raises:
        InputError: the file is missing, broken, of another format, an animation, or declares more than 178 million
            pixels, or takes far longer to decode than its pixels do (`nucleus.formats.declared`).
    """
    pixel_size = _check_header(path)
    content = path.read_bytes()
    endless = why_endless(content)
    if endless == CUT_OFF:
        raise _undecodable(path)
    if endless is not None:
        raise InputError(path, expected="an image that takes the time and memory of its pixels",
                         found=endless, remedy="The file may be truncated: copy or download it again.")  # fmt: skip
    try:
        pixels = cv2.imdecode(np.frombuffer(content, dtype=np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:  # a side of more than 2**20 pixels
        if is_out_of_memory(error):
            raise
        raise _undecodable(path) from error
    if pixels is None or pixels.size == 0:
        raise _undecodable(path)
    if pixels.ndim == 3:
        pixels = cv2.cvtColor(pixels, cv2.COLOR_BGRA2RGB if pixels.shape[2] == 4 else cv2.COLOR_BGR2RGB)
    return pixels, pixel_size


def _undecodable(path: Path) -> InputError:
    return InputError(
        path,
        expected="a whole PNG, JPEG, TIFF, WebP or BMP image",
        found="a file that cannot be decoded",
        remedy="The file may be truncated: copy or download it again.",
    )


def _other_kind(path: Path) -> InputError:
    with path.open("rb") as file:
        head = file.read(12)
    kind = next((name for start, name in OTHERS.items() if head.startswith(start)), None)
    if kind is None:
        return _undecodable(path)
    return InputError(path, expected="a PNG, JPEG, TIFF, WebP or BMP image", found=f"a {kind} file",
                      remedy="Save it as PNG or TIFF.")  # fmt: skip


def _check_header(path: Path) -> PixelSize | None:
    """Refuse what must not be decoded, before it is."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # from half of the limit on
            # Only these: the code for the others is seldom used, and some goes through the whole file.
            with Image.open(path, formats=FORMATS) as image:
                kind, frames, dots_per_inch = image.format, getattr(image, "n_frames", 1), image.info.get("dpi")
    except Image.DecompressionBombError as error:
        raise InputError(path, expected="at most 178 million pixels in a file decoded at once",
                         found="one that declares more than 178 million pixels",
                         remedy="Save it as a tiled TIFF, which is read in parts.") from error  # fmt: skip
    except UnidentifiedImageError as error:
        raise _other_kind(path) from error
    except OSError as error:
        if error.errno is None:  # Pillow's own: the header breaks off
            raise _undecodable(path) from error
        raise InputError(path, expected="a readable image file", found=error.strerror or str(error)) from error
    except Exception as error:  # of a damaged header, Pillow raises what its parser meets
        raise _undecodable(path) from error
    if frames > 1 and kind in ANIMATED:
        raise InputError(path, expected="one image", found=f"an animation of {frames}",
                         remedy="Save one frame of it as PNG.")  # fmt: skip
    if not dots_per_inch:
        return None
    try:
        return plausible(UM_PER_INCH / float(dots_per_inch[1]), UM_PER_INCH / float(dots_per_inch[0]))
    except (TypeError, ValueError, IndexError, ArithmeticError):
        return None  # one that makes no sense
