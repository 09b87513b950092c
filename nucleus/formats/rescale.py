"""From any pixel type to 8 bits by black and white points of the whole image, so that its tiles agree."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

PERCENTILES = (0.1, 99.9)  # of the image, to black and white


@dataclass(frozen=True)
class Rescale:
    """A linear map of pixel values to [0, 255], all channels alike. 8-bit values stay as they are.

    Attributes:
        black: value that becomes 0, as all below it.
        white: value that becomes 255, as all above it.
    """

    black: float
    white: float

    @classmethod
    def of(cls, pixels: np.ndarray) -> Rescale:
        """Take the 0.1st percentile of all values as black and the 99.9th as white.

        Args:
            pixels: of any shape; integers, fractions or booleans. Values that are not finite do not count.

        Returns:
            The map; 0 and 255 for uint8, 0 and 1 for booleans and where no value is finite.
        """
        if pixels.dtype == np.uint8:
            return cls(0.0, 255.0)
        if pixels.dtype.kind == "f":
            pixels = pixels[np.isfinite(pixels)]
        if pixels.dtype == bool or pixels.size == 0:
            return cls(0.0, 1.0)
        black, white = np.percentile(pixels.astype(np.float32) if pixels.dtype == np.float16 else pixels, PERCENTILES)
        return cls(float(black), float(white))

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        """Rescale the image or a part of it.

        Args:
            pixels: (H, W) or (H, W, 3), of the type of the image.

        Returns:
            uint8 (H, W, 3), RGB, values in [0, 255]. A new array unless the input already was that. What is not a
            number is black.
        """
        if pixels.dtype != np.uint8:
            exact: type = np.float32 if pixels.dtype.itemsize <= 2 or pixels.dtype == np.float32 else np.float64
            smallest = 1.0 if pixels.dtype.kind in "iu" else 1e-30  # so that a constant image is black
            with np.errstate(over="ignore", invalid="ignore"):
                scaled = (pixels.astype(exact) - self.black) * (255.0 / max(self.white - self.black, smallest))
            if pixels.dtype.kind == "f":
                scaled = np.nan_to_num(scaled, nan=0.0, posinf=255.0, neginf=0.0)
            pixels = np.clip(np.rint(scaled), 0, 255).astype(np.uint8)
        return np.repeat(pixels[..., None], 3, axis=2) if pixels.ndim == 2 else pixels
