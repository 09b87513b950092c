"""Putting pictures and words together: enlarging, captions, rows and columns, and saving."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import cv2
import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from nucleus.formats.atomic import atomic_write
from nucleus.visualization.colors import Rgb

PAPER: Rgb = (255, 255, 255)
INK: Rgb = (30, 30, 30)
GAP = 8  # pixels between pictures
Words = Sequence[tuple[str, Rgb]]  # pieces of a line, each with its colour; a piece may be a swatch (see SWATCH)
SWATCH = "\N{BLACK SQUARE}"


def resized(image: np.ndarray, labels: np.ndarray, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Bring a picture and its label image to a longer side of `side` pixels, before outlines are drawn.

    Args:
        image: uint8 (H, W, 3).
        labels: integers (H, W).
        side: pixels.

    Returns:
        The picture (averaged or bilinear) and the label image (nearest neighbour) in the new size.
    """
    factor = side / max(labels.shape)
    if factor == 1:
        return image, labels
    height, width = (max(1, round(length * factor)) for length in labels.shape)
    way = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
    picture = cv2.resize(image, (width, height), interpolation=way)
    rows = np.arange(height) * labels.shape[0] // height
    columns = np.arange(width) * labels.shape[1] // width
    return picture, labels[rows[:, None], columns]


def line_of_text(words: str | Words, size: int = 16, bold: bool = False, width: int | None = None) -> np.ndarray:
    """Draw a line of text on paper.

    Args:
        words: text, or pieces of (text, RGB).
        size: of the letters in pixels.
        bold: as it says.
        width: of the picture in pixels: longer text is made smaller to fit, shorter is padded; None for what it needs.

    Returns:
        uint8 (about 1.5 * size, W, 3), RGB.
    """
    pieces: Words = [(words, INK)] if isinstance(words, str) else words
    height = round(size * 1.5)
    needed = _width(pieces, size, bold) + 4
    while width is not None and needed > width and size > 7:
        size -= 1
        needed = _width(pieces, size, bold) + 4
    paper = Image.new("RGB", (max(1, width or needed), height), PAPER)
    draw = ImageDraw.Draw(paper)
    x = 2.0
    for text, color in pieces:
        draw.text((x, height / 2), text, fill=color, font=_font(size, bold), anchor="lm")
        x += _font(size, bold).getlength(text)
    return np.asarray(paper)


def above(*pictures: np.ndarray, gap: int = 0) -> np.ndarray:
    """Put pictures below one another, to the left, on paper as wide as the widest."""
    width = max(picture.shape[1] for picture in pictures)
    padded = [_pad(picture, picture.shape[0] + gap, width) for picture in pictures[:-1]]
    return np.vstack([*padded, _pad(pictures[-1], pictures[-1].shape[0], width)])


def beside(*pictures: np.ndarray, gap: int = GAP) -> np.ndarray:
    """Put pictures beside one another, to the top, on paper as high as the highest."""
    height = max(picture.shape[0] for picture in pictures)
    padded = [_pad(picture, height, picture.shape[1] + gap) for picture in pictures[:-1]]
    return np.hstack([*padded, _pad(pictures[-1], height, pictures[-1].shape[1])])


def framed(picture: np.ndarray, margin: int = GAP) -> np.ndarray:
    """Give a picture a margin of paper."""
    return cv2.copyMakeBorder(picture, margin, margin, margin, margin, cv2.BORDER_CONSTANT, value=PAPER)


def save_picture(path: str | Path, picture: np.ndarray) -> Path:
    """Write a picture; a killed run leaves the old file or the new one.

    Args:
        path: ends in .png, .jpg or another suffix that Pillow knows.
        picture: uint8 (H, W, 3), RGB.

    Returns:
        The path.

    Raises:
        OSError: the file cannot be written.
    """
    with atomic_write(path) as temporary:
        Image.fromarray(picture).save(temporary)
    return Path(path)


def _pad(picture: np.ndarray, height: int, width: int) -> np.ndarray:
    padded = np.full((height, width, 3), PAPER, dtype=np.uint8)
    padded[: picture.shape[0], : picture.shape[1]] = picture
    return padded


def _width(pieces: Words, size: int, bold: bool) -> int:
    return int(sum(_font(size, bold).getlength(text) for text, _ in pieces)) + 1


@lru_cache(maxsize=64)
def _font(size: int, bold: bool) -> ImageFont.FreeTypeFont:
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"  # comes with matplotlib, so it is always there
    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name), size)
