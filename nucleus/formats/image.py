"""Reading microscope images: PNG, JPEG, TIFF; 8 and 16 bit; grey, RGB and RGBA.

Detectron2's own reader turns 16-bit images white, so everything here goes through `read_image`.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import tifffile

from nucleus.errors import InputError

TIFF_SUFFIXES = {".tif", ".tiff"}
PERCENTILES = (0.1, 99.9)  # of a 16-bit image, to black and white


def read_image(path: str | Path) -> np.ndarray:
    """Read an image as it is stored.

    Args:
        path: a PNG, JPEG, WebP, BMP or TIFF file.

    Returns:
        uint8 or uint16, (H, W) for grey or (H, W, 3) for RGB. An alpha channel is dropped; values are unscaled.

    Raises:
        InputError: the file is missing, broken, or not a two-dimensional 8/16-bit image of 1, 3 or 4 channels.
    """
    path = Path(path)
    pixels = _read_tiff(path) if path.suffix.lower() in TIFF_SUFFIXES else _read_with_opencv(path)
    if pixels.ndim == 3 and pixels.shape[2] in (1, 2):  # grey, grey with alpha
        pixels = pixels[..., 0]
    if pixels.ndim == 3 and pixels.shape[2] == 4:
        pixels = pixels[..., :3]
    if pixels.ndim not in (2, 3) or (pixels.ndim == 3 and pixels.shape[2] != 3) or pixels.size == 0:
        raise InputError(
            path,
            expected="one image (H, W) or (H, W, 1 to 4)",
            found=f"an array of shape {pixels.shape}",
            remedy="Export one plane of it as PNG or TIFF.",
        )
    if pixels.dtype not in (np.uint8, np.uint16):
        raise InputError(
            path,
            expected="8 or 16 bit unsigned integers",
            found=f"{pixels.dtype}",
            remedy="Save the image with 8 or 16 bits a channel.",
        )
    return np.ascontiguousarray(pixels)


def to_rgb8(image: np.ndarray) -> np.ndarray:
    """Bring any image that `read_image` returns to 8-bit RGB.

    16-bit values are scaled so that the image's 0.1st percentile is black and its 99.9th white, all channels alike.

    Args:
        image: uint8 or uint16, (H, W) or (H, W, 3).

    Returns:
        uint8 (H, W, 3), RGB, values in [0, 255]. A new array unless the input already was that.
    """
    if image.dtype == np.uint16:
        low, high = np.percentile(image, PERCENTILES)
        scaled = (image.astype(np.float32) - low) * (255.0 / max(high - low, 1.0))
        image = np.clip(np.rint(scaled), 0, 255).astype(np.uint8)
    return np.repeat(image[..., None], 3, axis=2) if image.ndim == 2 else image


def _read_with_opencv(path: Path) -> np.ndarray:
    try:
        content = np.frombuffer(path.read_bytes(), dtype=np.uint8)
    except OSError as error:
        raise InputError(path, expected="a readable image file", found=error.strerror or str(error)) from error
    pixels = cv2.imdecode(content, cv2.IMREAD_UNCHANGED) if content.size else None
    if pixels is None:
        raise InputError(
            path,
            expected="a whole PNG, JPEG, WebP or BMP image",
            found="a file that cannot be decoded",
            remedy="The file may be truncated: copy or download it again.",
        )
    if pixels.ndim == 3:
        pixels = pixels[..., [2, 1, 0, *range(3, pixels.shape[2])]]  # OpenCV's BGR(A)
    return pixels


def _read_tiff(path: Path) -> np.ndarray:
    try:
        return tifffile.imread(path, key=0)
    except (OSError, ValueError, IndexError, KeyError, tifffile.TiffFileError) as error:
        raise InputError(
            path,
            expected="a whole TIFF image",
            found=str(error)[:120],
            remedy="The file may be truncated: copy or download it again.",
        ) from error
