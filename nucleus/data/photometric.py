"""Photometric augmentation: what another stain, microscope or exposure would have made of the same nuclei.

Every function takes float32 RGB (H, W, 3) in [0, 255] and a NumPy random generator, and returns the same; values may
leave the range and are clipped once at the end. Strengths are the constants beside each.
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
    density = -np.log((np.clip(image, 0, 255) + 1.0) / 256.0) @ hed_from_rgb.astype(np.float32)
    density *= 1 + rng.uniform(-STAIN_SCALE, STAIN_SCALE, 3).astype(np.float32)
    density += rng.uniform(-STAIN_SHIFT, STAIN_SHIFT, 3).astype(np.float32)
    return np.exp(-density @ rgb_from_hed.astype(np.float32)) * 256.0 - 1.0


def hue(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Turn the hue and scale the saturation."""
    hsv = cv2.cvtColor(np.clip(image, 0, 255) / np.float32(255), cv2.COLOR_RGB2HSV)
    hsv[..., 0] = (hsv[..., 0] + 360.0 * rng.uniform(-HUE_TURN, HUE_TURN)) % 360.0
    hsv[..., 1] = np.clip(hsv[..., 1] * rng.uniform(*SATURATION), 0, 1)
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB) * np.float32(255)


def channel_gain(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Scale each channel by itself: another white balance, a tinted background."""
    return image * rng.uniform(*GAIN, 3).astype(np.float32)


def channel_order(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Permute the channels."""
    return np.ascontiguousarray(image[..., rng.permutation(3)])


def gray(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Replace the colours by their luminance."""
    return np.repeat((image @ LUMINANCE)[..., None], 3, axis=2)


def invert(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Turn light into dark."""
    return np.float32(255) - image


def gamma(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Apply a power to the values, with 0 and 255 fixed."""
    return np.float32(255) * (np.clip(image, 0, 255) / np.float32(255)) ** np.float32(_log_uniform(rng, GAMMA))


def contrast(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Stretch the values about their mean and shift them."""
    mean = image.mean()
    return (image - mean) * np.float32(rng.uniform(*CONTRAST)) + np.float32(mean + rng.uniform(-1, 1) * BRIGHTNESS)


def blur(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Blur with a Gaussian: out of focus."""
    return cv2.GaussianBlur(image, (0, 0), rng.uniform(*BLUR_SIGMA))


def noise(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Add Gaussian noise, the same to all channels of a grey image.

    Its grain is one to some pixels wide, as small images are enlarged together with the noise of their camera.
    """
    height, width, channels = image.shape
    grain = rng.uniform(*GRAIN)
    coarse = (int(np.ceil(height / grain)), int(np.ceil(width / grain)), channels if is_coloured(image) else 1)
    speckles = rng.standard_normal(coarse, dtype=np.float32) * np.float32(rng.uniform(*NOISE_SIGMA))
    return image + cv2.resize(speckles, (width, height)).reshape(height, width, -1)


# In the order in which they apply: colour first, then exposure, then optics, then the camera.
AUGMENTATIONS: dict[str, Callable[[np.ndarray, np.random.Generator], np.ndarray]] = {
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


def is_coloured(image: np.ndarray) -> bool:
    """Whether the channels of RGB (H, W, 3) differ by more than noise anywhere in a coarse sample."""
    sample = image[::8, ::8].astype(np.float32)
    return bool(np.ptp(sample, axis=2).max(initial=0) > COLOUR_TOLERANCE)


def augment_photometrically(image: np.ndarray, probabilities: dict[str, float], rng: np.random.Generator) -> np.ndarray:
    """Apply each augmentation with its probability.

    Args:
        image: uint8 RGB (H, W, 3).
        probabilities: name in `AUGMENTATIONS` -> probability in [0, 1].
        rng: source of all randomness.

    Returns:
        uint8 RGB (H, W, 3), a new array.
    """
    coloured = is_coloured(image)
    pixels = image.astype(np.float32)
    for name, augment in AUGMENTATIONS.items():
        chosen = rng.random() < probabilities.get(name, 0.0)
        if chosen and (coloured or name not in ONLY_ON_COLOUR):
            pixels = augment(pixels, rng).astype(np.float32, copy=False)
    return np.clip(np.rint(pixels), 0, 255).astype(np.uint8)


def _log_uniform(rng: np.random.Generator, bounds: tuple[float, float]) -> float:
    return float(np.exp(rng.uniform(np.log(bounds[0]), np.log(bounds[1]))))
