"""Geometric augmentation: scale, crop and the eight symmetries of the square, in one warp of image and label image.

Pixels are unit squares and their centres lie at half coordinates: output centre u + 0.5 comes from input position
(u + 0.5) / scale. Image (bilinear) and label image (nearest) are sampled at the very same positions, so that a mask
does not drift against its nucleus. A drift of a quarter of a pixel would decide the score at IoU 0.9.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np


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
            pixels: uint8 (H, W, 3), or integers (H, W) below 2**24 with `nearest`.
            nearest: take the nearest pixel in place of bilinear interpolation.

        Returns:
            The same dtype, (height, width) or, after an odd number of quarter turns, (width, height).
        """
        if self.scale == 1.0:
            view = pixels[self.top : self.top + self.height, self.left : self.left + self.width]
        else:
            offset = 0.5 / self.scale - 0.5  # of the first output centre from the first input centre
            matrix = np.array(
                [
                    [1 / self.scale, 0, self.left / self.scale + offset],
                    [0, 1 / self.scale, self.top / self.scale + offset],
                ]
            )
            # OpenCV has no warp for int32; float32 holds every whole number up to 2**24.
            source = pixels.astype(np.float32) if nearest else pixels
            interpolation = cv2.INTER_NEAREST if nearest else cv2.INTER_LINEAR
            view = cv2.warpAffine(
                source,
                matrix,
                (self.width, self.height),
                flags=interpolation | cv2.WARP_INVERSE_MAP,
                borderMode=cv2.BORDER_REPLICATE,
            ).astype(pixels.dtype, copy=False)
        view = np.rot90(view, self.quarter_turns)
        return np.ascontiguousarray(view[:, ::-1] if self.flip else view)


def base_scale(height: int, width: int, short_edge: int) -> float:
    """Factor that enlarges the shorter side to `short_edge` pixels; 1 where it is that large already."""
    return max(1.0, short_edge / min(height, width)) if short_edge else 1.0


def enlarge(image: np.ndarray, short_edge: int) -> np.ndarray:
    """The whole image at the scale at which the network tests it.

    Args:
        image: uint8 (H, W, 3).
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
