"""Geometric augmentation: scale, crop and the eight symmetries of the square, in one warp of image and label image.

Pixels are unit squares and their centres lie at half coordinates: output centre u + 0.5 comes from input position
(u + 0.5) / scale. Image (bilinear) and label image (nearest) are sampled at the very same positions, so that a mask
does not drift against its nucleus. A drift of a quarter of a pixel would decide the score at IoU 0.9.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

# Counter-clockwise, as numpy.rot90 counts.
QUARTER_TURNS = {1: cv2.ROTATE_90_COUNTERCLOCKWISE, 2: cv2.ROTATE_180, 3: cv2.ROTATE_90_CLOCKWISE}


@dataclass(frozen=True)
class View:
    """The part of an image that the network sees.

    Attributes:
        scale: output pixels per input pixel.
        left, top: corner of the view, in output pixels of the scaled image.
        width, height: size of the view in output pixels, before turning.
        quarter_turns: counter-clockwise, 0 to 3, after cropping.
        flip: mirrored left to right, after turning.
    """

    scale: float
    left: int
    top: int
    width: int
    height: int
    quarter_turns: int = 0
    flip: bool = False

    def apply(self, pixels: np.ndarray, nearest: bool = False) -> np.ndarray:
        """Sample an image or a label image.

        Args:
            pixels: uint8 (H, W, 3) or (H, W), or with `nearest` int16 or int32 (H, W).
            nearest: take the pixel that holds the position, in place of bilinear interpolation.

        Returns:
            A new array of the same dtype, (height, width) or, after an odd number of quarter turns, (width, height).
        """
        if self.scale == 1.0:
            view = pixels[self.top : self.top + self.height, self.left : self.left + self.width].copy()
        elif nearest:
            view = self._nearest(pixels)
        else:
            view = self._bilinear(pixels)
        if self.quarter_turns % 4:
            view = cv2.rotate(view, QUARTER_TURNS[self.quarter_turns % 4])
        return cv2.flip(view, 1) if self.flip else view

    def _nearest(self, pixels: np.ndarray) -> np.ndarray:
        rows, columns = (
            np.minimum(((start + np.arange(length) + 0.5) / self.scale).astype(np.intp), side - 1)
            for start, length, side in zip((self.top, self.left), (self.height, self.width), pixels.shape, strict=True)
        )
        used = pixels[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        return used.take(columns - columns[0], axis=1).take(rows - rows[0], axis=0)

    def _bilinear(self, pixels: np.ndarray) -> np.ndarray:
        (first_row, row, last_row), (first_column, column, last_column) = (
            self._source(start, length, side)
            for start, length, side in zip((self.top, self.left), (self.height, self.width), pixels.shape, strict=False)
        )
        matrix = np.array([[1 / self.scale, 0, column], [0, 1 / self.scale, row]])
        return cv2.warpAffine(
            pixels[first_row:last_row, first_column:last_column],
            matrix,
            (self.width, self.height),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REPLICATE,
        )

    def _source(self, start: int, length: int, side: int) -> tuple[int, float, int]:
        """Of one axis: the first pixel that is needed, where in it and after it the view begins, one after the last."""
        begin = (start + 0.5) / self.scale - 0.5  # of the first output centre from the first input centre
        first = max(0, int(begin) - 1)
        return first, begin - first, min(side, int(begin + length / self.scale) + 3)


def base_scale(height: int, width: int, short_edge: int) -> float:
    """Factor that enlarges the shorter side to `short_edge` pixels; 1 where it is that large already."""
    return max(1.0, short_edge / min(height, width)) if short_edge else 1.0


def enlarge(image: np.ndarray, short_edge: int) -> np.ndarray:
    """The whole image at the scale at which the network tests it.

    Args:
        image: uint8 (H, W, 3) or (H, W).
        short_edge: see `base_scale`.

    Returns:
        uint8, larger or the same. Both sides are rounded to whole pixels and the image is stretched to fill them
        exactly, as Detectron2's post-processing assumes when it maps boxes back.
    """
    height, width = image.shape[:2]
    scale = base_scale(height, width, short_edge)
    if scale == 1.0:
        return image
    return cv2.resize(image, (round(width * scale), round(height * scale)), interpolation=cv2.INTER_LINEAR)


def random_view(
    height: int,
    width: int,
    *,
    short_edge: int,
    scale_range: tuple[float, float],
    crop_size: int,
    flip_and_turn: bool,
    rng: np.random.Generator,
) -> View:
    """A random view for training.

    Args:
        height, width: of the image, in pixels.
        short_edge: see `base_scale`.
        scale_range: bounds of a factor on top of it, log-uniform.
        crop_size: largest side of the view in pixels; a smaller image gives a smaller view, never a padded one.
        flip_and_turn: also one of the eight symmetries of the square.
        rng: source of all randomness.
    """
    jitter = float(np.exp(rng.uniform(np.log(scale_range[0]), np.log(scale_range[1]))))
    scale = base_scale(height, width, short_edge) * jitter
    full_width, full_height = max(1, int(width * scale)), max(1, int(height * scale))
    view_width, view_height = min(crop_size, full_width), min(crop_size, full_height)
    return View(
        scale=scale,
        left=int(rng.integers(full_width - view_width + 1)),
        top=int(rng.integers(full_height - view_height + 1)),
        width=view_width,
        height=view_height,
        quarter_turns=int(rng.integers(4)) if flip_and_turn else 0,
        flip=bool(rng.integers(2)) if flip_and_turn else False,
    )
