"""Fluorescence: nuclei that glow on black, blurred by the optics, with haze, uneven light and sensor noise."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from nucleus.data.synthetic.textures import smooth_noise
from nucleus.masks.contours import outline_pixels


@dataclass(frozen=True)
class Fluorescence:
    """One way to take a fluorescence image; grey values of 255.

    Attributes:
        background: level without any nucleus.
        signal: median level of a nucleus above it.
        variation: standard deviation of the logarithm of the nuclei's levels.
        blur: standard deviation of the optics' point spread in pixels.
        texture: contrast of the chromatin, 0 to 0.5.
        grain: size of the chromatin's features in pixels.
        doming: depth in pixels over which a nucleus brightens from its rim inwards; 0 for a flat one.
        haze: light of the cytoplasm as a share of the nuclei's.
        noise: standard deviation of the sensor's noise in the dark.
        gain: variance of the shot noise over the level.
        unevenness: relative fall of the light towards one side, 0 to 0.5.
        debris: bright specks a hundred nuclei.
    """

    background: float
    signal: float
    variation: float = 0.25
    blur: float = 1.0
    texture: float = 0.15
    grain: float = 3.0
    doming: float = 2.0
    haze: float = 0.03
    noise: float = 0.7
    gain: float = 0.05
    unevenness: float = 0.1
    debris: float = 3.0


def render_fluorescence(rng: np.random.Generator, labels: np.ndarray, style: Fluorescence) -> np.ndarray:
    """Take a fluorescence image of a field.

    Args:
        rng: source of randomness.
        labels: int (H, W), 0 background, 1..n.
        style: how the image is taken.

    Returns:
        uint8 (H, W, 3), the three channels equal.
    """
    shape = labels.shape
    count = int(labels.max(initial=0))
    levels = np.concatenate([[0.0], np.exp(rng.normal(0, style.variation, count))]).astype(np.float32)
    glow = levels[labels]
    if style.doming:
        inside = (labels != 0) & ~outline_pixels(labels)
        depth = cv2.distanceTransform(inside.astype(np.uint8), cv2.DIST_L2, 3)
        glow *= 0.55 + 0.45 * np.minimum(depth / style.doming, 1)
    chromatin = smooth_noise(rng, shape, style.grain) + 0.5 * smooth_noise(rng, shape, max(1.5, style.grain / 2))
    glow *= np.clip(1 + style.texture * chromatin, 0.25, 2.5)
    glow += _debris(rng, glow, round(style.debris * count / 100))
    light = cv2.GaussianBlur(glow, (0, 0), style.blur)
    if style.haze:
        small = cv2.resize(glow, None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA)
        halo = cv2.GaussianBlur(small, (0, 0), 4.0, borderType=cv2.BORDER_REPLICATE)
        light += style.haze * 4 * cv2.resize(halo, shape[::-1], interpolation=cv2.INTER_LINEAR)
    light = (light * style.signal + style.background * _unevenness(rng, shape, 0.3)) * _unevenness(
        rng, shape, style.unevenness
    )
    deviation = np.sqrt(style.noise**2 + style.gain * np.maximum(light, 0))
    light += deviation * rng.standard_normal(shape, dtype=np.float32)
    grey = np.clip(np.rint(light), 0, 255).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=2)


def _unevenness(rng: np.random.Generator, shape: tuple[int, int], strength: float) -> np.ndarray:
    """A slope plus a slow wave around 1, float32 (H, W)."""
    down = np.linspace(-1, 1, shape[0], dtype=np.float32)[:, None] * np.float32(rng.uniform(-1, 1))
    across = np.linspace(-1, 1, shape[1], dtype=np.float32)[None] * np.float32(rng.uniform(-1, 1))
    wave = smooth_noise(rng, shape, max(shape) / 2) * np.float32(0.3)
    return np.maximum(1 + np.float32(strength) * (down + across + wave) / 2, np.float32(0.2))


def _debris(rng: np.random.Generator, glow: np.ndarray, count: int) -> np.ndarray:
    """Specks of one to two pixels, some brighter than a nucleus, that are none."""
    specks = np.zeros_like(glow)
    for _ in range(count):
        centre = (int(rng.integers(glow.shape[1])), int(rng.integers(glow.shape[0])))
        cv2.circle(specks, centre, int(rng.integers(0, 2)), float(rng.uniform(0.3, 1.5)), -1)
    return specks
