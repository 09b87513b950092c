"""Photometric augmentation: what another stain, microscope or exposure would have made of the same nuclei.

Every function takes float32 in [0, 255], RGB (H, W, 3) or, if it is not in `ONLY_ON_COLOUR`, also grey (H, W), and a
NumPy random generator. It returns the same; values may leave the range and are clipped once at the end. Strengths are
the constants beside each.

Some functions look at one value at a time. They are worked out on the 256 values that an image can have, and looked up.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from skimage.color import hed_from_rgb, rgb_from_hed

STAIN_SCALE, STAIN_SHIFT = 0.35, 0.05  # of each stain's density: factor 1 +- scale, offset +- shift
HUE_TURN, SATURATION = 0.1, (0.5, 1.6)  # of a full turn; factor
GAIN = (0.65, 1.1)
GAMMA = (0.6, 1.7)
CONTRAST, BRIGHTNESS = (0.65, 1.35), 25.0  # factor about the mean; grey levels
BLUR_SIGMA = (0.4, 2.5)  # pixels
NOISE_SIGMA = (2.0, 14.0)  # grey levels
GRAIN = (1.0, 2.5)  # pixels
LUMINANCE = np.array([0.299, 0.587, 0.114], dtype=np.float32)  # ITU-R BT.601
COLOUR_TOLERANCE = 12.0  # grey levels between channels, below which an image counts as grey


def stain(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Scale and shift the densities of haematoxylin, eosin and residual.

    Source: Tellez et al. 2018, "Whole-slide mitosis detection in H&E breast histology", section III-C, with the
    stain vectors of Ruifrok and Johnston 2001 as scikit-image holds them.
    """
    scale = 1 + rng.uniform(-STAIN_SCALE, STAIN_SCALE, 3)
    shift = rng.uniform(-STAIN_SHIFT, STAIN_SHIFT, 3)
    # Densities D = -ln((v + 1) / 256) A become (D A^-1 scale + shift) A, which is one affine map of ln(v + 1).
    mix = (hed_from_rgb * scale) @ rgb_from_hed
    offset = np.log(256) * (1 - mix.sum(axis=0)) - shift @ rgb_from_hed
    logarithms = cv2.log(np.clip(image, 0, 255) + np.float32(1))
    return cv2.exp(cv2.transform(logarithms, np.column_stack([mix.T, offset]))) - np.float32(1)


def hue(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Turn the hue and scale the saturation."""
    hsv = cv2.cvtColor(np.clip(image, 0, 255) / np.float32(255), cv2.COLOR_RGB2HSV)
    degrees, saturation, value = cv2.split(hsv)
    degrees += 360 * np.float32(rng.uniform(-HUE_TURN, HUE_TURN))
    degrees[degrees < 0] += 360
    degrees[degrees >= 360] -= 360
    saturation = np.clip(saturation * np.float32(rng.uniform(*SATURATION)), 0, 1)
    return cv2.cvtColor(cv2.merge([degrees, saturation, value]), cv2.COLOR_HSV2RGB) * np.float32(255)


def channel_gain(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Scale each channel by itself: another white balance, a tinted background."""
    return image * rng.uniform(*GAIN, 3).astype(np.float32)


def channel_order(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Permute the channels."""
    return np.ascontiguousarray(image[..., rng.permutation(3)])


def gray(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Replace the colours by their luminance; the result is grey, (H, W)."""
    return cv2.transform(image, LUMINANCE[None])


def invert(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Turn light into dark."""
    return np.float32(255) - image


def gamma(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Apply a power to the values, with 0 and 255 fixed."""
    return np.float32(255) * (np.clip(image, 0, 255) / np.float32(255)) ** np.float32(_log_uniform(rng, GAMMA))


def contrast(image: np.ndarray, rng: np.random.Generator, mean: float | None = None) -> np.ndarray:
    """Stretch the values about their mean, or that of the image whose values they are, and shift them."""
    centre = float(image.mean()) if mean is None else mean
    factor = np.float32(rng.uniform(*CONTRAST))
    return (image - np.float32(centre)) * factor + np.float32(centre + rng.uniform(-1, 1) * BRIGHTNESS)


def blur(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Blur with a Gaussian: out of focus."""
    return cv2.GaussianBlur(image, (0, 0), rng.uniform(*BLUR_SIGMA))


def noise(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Add Gaussian noise, the same to all channels of a grey image.

    Its grain is one to some pixels wide, as small images are enlarged together with the noise of their camera.
    """
    height, width = image.shape[:2]
    grain = rng.uniform(*GRAIN)
    coarse = (int(np.ceil(height / grain)), int(np.ceil(width / grain)), 3 if is_coloured(image) else 1)
    speckles = rng.standard_normal(coarse, dtype=np.float32) * np.float32(rng.uniform(*NOISE_SIGMA))
    return image + cv2.resize(speckles, (width, height)).reshape(height, width, *([-1] * (image.ndim - 2)))


# In the order in which they apply: colour first, then exposure, then optics, then the camera.
AUGMENTATIONS: dict[str, Callable[..., np.ndarray]] = {
    "STAIN": stain,
    "HUE": hue,
    "CHANNEL_GAIN": channel_gain,
    "CHANNEL_ORDER": channel_order,
    "GRAY": gray,
    "INVERT": invert,
    "GAMMA": gamma,
    "CONTRAST": contrast,
    "BLUR": blur,
    "NOISE": noise,
}
ONLY_ON_COLOUR = {"STAIN", "HUE", "CHANNEL_GAIN", "CHANNEL_ORDER", "GRAY"}  # they would leave or tint a grey image
ONE_VALUE_AT_A_TIME = {"CHANNEL_GAIN", "INVERT", "GAMMA", "CONTRAST"}


class Pixels:
    """An image on its way through the augmentations.

    Args:
        image: uint8, (H, W, 3) or (H, W).
    """

    def __init__(self, image: np.ndarray) -> None:
        self._image = image
        # What each of the 256 values has become in each channel, (256, 1, C), until the values depend on their places;
        # then the values themselves.
        self._table = np.repeat(np.arange(256, dtype=np.float32)[:, None, None], image[0, 0].size, axis=2)
        self._values: np.ndarray | None = None

    def augment(self, name: str, rng: np.random.Generator) -> None:
        """Apply one of `AUGMENTATIONS`."""
        function = AUGMENTATIONS[name]
        if name in ONE_VALUE_AT_A_TIME and self._values is None:
            more = {"mean": self._mean()} if name == "CONTRAST" else {}
            self._table = function(self._table, rng, **more).astype(np.float32, copy=False)
        else:
            self._values = function(self.values(), rng).astype(np.float32, copy=False)

    def values(self) -> np.ndarray:
        """float32, (H, W, 3) or (H, W)."""
        return cv2.LUT(self._image, self._table) if self._values is None else self._values

    def rounded(self) -> np.ndarray:
        """uint8, (H, W, 3) or (H, W), a new array."""
        if self._values is None:
            return cv2.LUT(self._image, _to_bytes(self._table))
        return _to_bytes(self._values)

    def _mean(self) -> float:
        channels = range(self._table.shape[2])
        counts = [cv2.calcHist([self._image], [channel], None, [256], [0, 256]).ravel() for channel in channels]
        return float(np.vdot(np.stack(counts, axis=1).astype(np.float64), self._table[:, 0]) / self._image.size)


def is_coloured(image: np.ndarray) -> bool:
    """Whether the channels of RGB (H, W, 3) differ by more than noise anywhere in a coarse sample; grey is (H, W)."""
    if image.ndim == 2:
        return False
    sample = image[::8, ::8].astype(np.float32)
    return bool(np.ptp(sample, axis=2).max(initial=0) > COLOUR_TOLERANCE)


def augment_photometrically(image: np.ndarray, probabilities: dict[str, float], rng: np.random.Generator) -> np.ndarray:
    """Apply each augmentation with its probability.

    Args:
        image: uint8, RGB (H, W, 3) or grey (H, W): a third of the work.
        probabilities: name in `AUGMENTATIONS` -> probability in [0, 1].
        rng: source of all randomness.

    Returns:
        uint8 of the same shape, a new array.
    """
    coloured = is_coloured(image)
    pixels = Pixels(image)
    for name in AUGMENTATIONS:
        chosen = rng.random() < probabilities.get(name, 0.0)
        if chosen and (coloured or name not in ONLY_ON_COLOUR):
            pixels.augment(name, rng)
    result = pixels.rounded()
    return cv2.merge([result] * 3) if result.ndim < image.ndim else result


def _to_bytes(values: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def _log_uniform(rng: np.random.Generator, bounds: tuple[float, float]) -> float:
    return float(np.exp(rng.uniform(np.log(bounds[0]), np.log(bounds[1]))))
