"""Stained tissue in colour: nuclei that absorb light, on stroma with fibres, counter-stained pink or not.

Colours mix as densities (Beer-Lambert): light = glass * exp(-(counter-stain + nuclear stain)), channel by channel.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from nucleus.data.synthetic.textures import fibres, smooth_noise
from nucleus.masks.contours import outline_pixels

Colour = tuple[float, float, float]
BLOOD: Colour = (214, 40, 70)  # red blood cells in eosin


@dataclass(frozen=True)
class Stain:
    """One stain and microscope.

    Attributes:
        glass: colour where there is no tissue, RGB in 0 to 255; without a counter-stain also that of the stroma.
        nucleus: colour of a nucleus of median darkness on glass, RGB in 0 to 255.
        eosin: colour of the counter-stained stroma, RGB in 0 to 255; None for no counter-stain.
        stroma: depth of the background's structure (fibres, folds, uneven thickness), 0 to 1.
        variation: standard deviation of the logarithm of the nuclei's density.
        vesicular: share of nuclei with a pale inside and a dark rim.
        texture: contrast of the chromatin, 0 to 0.6.
        grain: size of the chromatin's features in pixels.
        blur: standard deviation of the point spread in pixels.
        noise: standard deviation of the sensor's noise.
        ghosts: nuclei out of focus, which have no mask, a hundred nuclei.
        cells: colour of pale discs in the background, such as blood cells without stain; None for no discs.
    """

    glass: Colour
    nucleus: Colour
    eosin: Colour | None = None
    stroma: float = 0.3
    variation: float = 0.3
    vesicular: float = 0.3
    texture: float = 0.25
    grain: float = 3.0
    blur: float = 0.9
    noise: float = 1.5
    ghosts: float = 10.0
    cells: Colour | None = None


def render_tissue(rng: np.random.Generator, labels: np.ndarray, style: Stain) -> np.ndarray:
    """Take a picture of stained tissue.

    Args:
        rng: source of randomness.
        labels: int (H, W), 0 background, 1..n.
        style: the stain.

    Returns:
        uint8 (H, W, 3), RGB.
    """
    shape = labels.shape
    amount = cv2.GaussianBlur(_nuclear_stain(rng, labels, style), (0, 0), style.blur)
    amount += _ghosts(rng, labels, style)
    density = amount[..., None] * _density(style.glass, style.nucleus)
    if style.eosin is None:
        stroma = style.stroma * _structure(rng, shape)
        density += stroma[..., None] * np.array([0.09, 0.15, 0.06], dtype=np.float32)
    else:
        density += _counter_stain(rng, labels, style, style.eosin)
    if style.cells is not None:
        density += _discs(rng, labels)[..., None] * _density(style.glass, style.cells)
    light = np.asarray(style.glass, dtype=np.float32) * np.exp(-density)
    light += rng.normal(0, style.noise, (*shape, 1)).astype(np.float32)
    light += rng.standard_normal((*shape, 3), dtype=np.float32) * np.float32(style.noise / 2)
    return np.clip(np.rint(light), 0, 255).astype(np.uint8)


def _density(glass: Colour, seen: Colour) -> np.ndarray:
    """The density a channel, float32 (3,), that makes glass look like another colour."""
    return np.log(np.asarray(glass, dtype=np.float32) / np.asarray(seen, dtype=np.float32))


def _structure(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """Fibres, folds and grains of the stroma, float32 (H, W), about -1 to 1."""
    bundles = np.clip(0.5 + smooth_noise(rng, shape, 60.0), 0, 1.2)  # fibres come in bundles, not everywhere
    fine = 0.3 * smooth_noise(rng, shape, 5.0) + 0.15 * smooth_noise(rng, shape, 2.5)
    return 0.4 * bundles * fibres(rng, shape) + 0.4 * smooth_noise(rng, shape, 45.0) + fine


def _nuclear_stain(rng: np.random.Generator, labels: np.ndarray, style: Stain) -> np.ndarray:
    """Amount of stain a pixel, float32 (H, W); 1 is a nucleus of median darkness, 0 none."""
    shape = labels.shape
    count = int(labels.max(initial=0))
    levels = np.exp(rng.normal(0, style.variation, count + 1)).astype(np.float32)
    pale = rng.random(count + 1) < style.vesicular
    levels[pale] *= 0.8
    levels[0] = 0
    chromatin = smooth_noise(rng, shape, style.grain) + 0.6 * smooth_noise(rng, shape, max(1.5, style.grain / 2))
    amount = levels[labels] * np.clip(1 + style.texture * chromatin, 0.3, 2.0)
    inside = (labels != 0) & ~outline_pixels(labels)
    depth = cv2.distanceTransform(inside.astype(np.uint8), cv2.DIST_L2, 3)
    rim = np.exp(-depth / 2)
    return amount * np.where(pale[labels], 0.6 + 0.8 * rim, 1.05 - 0.25 * rim).astype(np.float32)


def _counter_stain(rng: np.random.Generator, labels: np.ndarray, style: Stain, eosin: Colour) -> np.ndarray:
    """Density of the counter-stain, float32 (H, W, 3): pink stroma with vacuoles, gaps of bare glass, and blood."""
    shape = labels.shape
    away = np.minimum(cv2.distanceTransform((labels == 0).astype(np.uint8), cv2.DIST_L2, 3) / 8, 1)
    wide = max(70.0, min(shape) / 3)
    gap = _soft_step(smooth_noise(rng, shape, wide), 1.1, 0.06) * away
    vacuoles = _soft_step(smooth_noise(rng, shape, 14.0), 1.5, 0.25) * away * 0.7
    stroma = np.maximum(1 + style.stroma * _structure(rng, shape), 0.2) * (1 - gap) * (1 - vacuoles)
    stroma = np.where(labels != 0, np.float32(0.6), np.float32(1)) * stroma
    blood = _soft_step(smooth_noise(rng, shape, wide * 0.8), 1.8, 0.04) * away
    pink, red = _density(style.glass, eosin), _density(style.glass, BLOOD)
    return (stroma * (1 - blood))[..., None] * pink + blood[..., None] * red


def _soft_step(field: np.ndarray, threshold: float, softness: float) -> np.ndarray:
    """0 below a threshold, 1 above it, with a smooth edge."""
    return 1 / (1 + np.exp(np.clip((threshold - field) / np.float32(softness), -30, 30)))


def _ghosts(rng: np.random.Generator, labels: np.ndarray, style: Stain) -> np.ndarray:
    """Pale shadows of nuclei far out of focus, beside the labelled ones."""
    shadows = np.zeros(labels.shape, dtype=np.float32)
    count = int(np.count_nonzero(np.bincount(labels.ravel())[1:]))
    if not count:
        return shadows
    radius = max(3, round(np.sqrt(np.count_nonzero(labels) / count / np.pi)))
    for _ in range(round(style.ghosts * count / 100)):
        centre = (int(rng.integers(labels.shape[1])), int(rng.integers(labels.shape[0])))
        axes = (radius, max(2, round(radius * rng.uniform(0.5, 1))))
        cv2.ellipse(shadows, centre, axes, float(rng.uniform(0, 180)), 0, 360, float(rng.uniform(0.15, 0.4)), -1)
    blurred = np.asarray(cv2.GaussianBlur(shadows, (0, 0), max(2.0, radius / 3)))
    return np.where(labels != 0, np.float32(0.3), np.float32(1)) * blurred


def _discs(rng: np.random.Generator, labels: np.ndarray) -> np.ndarray:
    """Pale discs with a darker rim, in patches; float32 (H, W) in 0 to 1."""
    shape = labels.shape
    drawn = np.zeros(shape, dtype=np.float32)
    patches = smooth_noise(rng, shape, 60.0)
    for _ in range(labels.size // 500):
        x, y = int(rng.integers(shape[1])), int(rng.integers(shape[0]))
        if patches[y, x] > 0.5:
            axes = (int(rng.integers(4, 7)), int(rng.integers(3, 6)))
            angle = float(rng.uniform(0, 180))
            cv2.ellipse(drawn, (x, y), axes, angle, 0, 360, 0.5, -1)
            cv2.ellipse(drawn, (x, y), axes, angle, 0, 360, 1.0, 1)
    return np.where(labels != 0, np.float32(0), cv2.GaussianBlur(drawn, (0, 0), 0.8))
