"""Scenes: where the nuclei of one field are and how they are stained or lit, as BBBC038 has it, for each modality."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np

from nucleus.data.synthetic.placement import Population, place_nuclei
from nucleus.data.synthetic.render_fluorescence import Fluorescence, render_fluorescence
from nucleus.data.synthetic.render_smear import place_smear, render_smear
from nucleus.data.synthetic.render_tissue import Stain, render_tissue
from nucleus.data.synthetic.textures import smooth_noise

Size = tuple[int, int]  # (H, W) in pixels
Render = Callable[[np.ndarray], np.ndarray]  # labels (H, W) to image (H, W, 3)
Scene = tuple[np.ndarray, Render]  # the truth, and how to picture it once it is final


class Ground(NamedTuple):
    """The colours of a kind of purple tissue in BBBC038: beside the nuclei, in them, and of pale discs."""

    glass: tuple[float, float, float]
    nucleus: tuple[float, float, float]
    cells: tuple[float, float, float] | None


PURPLE_GROUNDS = (
    Ground((175, 153, 202), (105, 50, 186), None),  # purple on purple
    Ground((203, 200, 211), (122, 62, 162), (192, 184, 194)),  # purple on white
    Ground((226, 228, 206), (95, 72, 150), (222, 222, 150)),  # purple on yellow, which only the test set has
)


def _cover(rng: np.random.Generator, low: float, middle: float, high: float) -> float:
    """A share of the image that nuclei cover: log-normal about `middle`, within [low, high]."""
    return float(np.clip(np.exp(rng.normal(np.log(middle), 0.7)), low, high))


def _count(shape: Size, cover: float, radius: float) -> int:
    return max(2, round(cover * shape[0] * shape[1] / (np.pi * radius**2)))


def _small_fluorescent(rng: np.random.Generator, shape: Size) -> Scene:
    wide = shape[0] >= 500  # BBBC038's large frames were taken at a higher magnification
    radius = float(rng.uniform(10, 14)) if wide else float(np.clip(np.exp(rng.normal(np.log(6.8), 0.3)), 4.2, 12))
    clumped = rng.random() < 0.3
    population = Population(
        radius,
        spread=float(rng.uniform(0.08, 0.2)),
        elongation=float(rng.uniform(1.1, 1.6)),
        irregularity=float(rng.uniform(0.03, 0.1)),
        clumping=float(rng.uniform(0.4, 0.8)) if clumped else float(rng.uniform(0, 0.25)),
        overlap=float(rng.uniform(0.05, 0.3)),
        aligned=float(rng.choice([0.0, 0.7])),
    )
    density = np.exp(smooth_noise(rng, shape, 70.0) * (1.5 if clumped else 0.4))
    labels = place_nuclei(rng, shape, _count(shape, _cover(rng, 0.015, 0.06, 0.36), radius), population, density)
    bright = rng.random() < 0.45
    style = Fluorescence(
        background=float(rng.uniform(10, 16) if bright else rng.uniform(2, 6)),
        signal=float(np.exp(rng.uniform(np.log(30), np.log(130)))),
        variation=float(rng.uniform(0.15, 0.5)),
        blur=float(rng.uniform(0.8, 1.5)),
        texture=float(rng.uniform(0.05, 0.3)),
        grain=float(rng.uniform(2, 3.5)),
        doming=float(rng.uniform(1.5, 4)),
        haze=float(rng.uniform(0.0, 0.06)),
        noise=float(rng.uniform(0.4, 1.2)),
        unevenness=float(rng.uniform(0.05, 0.35)),
    )
    return labels, partial(render_fluorescence, rng, style=style)


def _large_fluorescent(rng: np.random.Generator, shape: Size) -> Scene:
    huge = shape[0] >= 1000
    radius = 46.0 if huge else float(rng.uniform(19, 27))
    population = Population(
        radius,
        spread=float(rng.uniform(0.1, 0.2)),
        elongation=float(rng.uniform(1.2, 1.6)),
        irregularity=float(rng.uniform(0.05, 0.11)),
        clumping=float(rng.uniform(0.0, 0.4)),
        overlap=float(rng.uniform(0.05, 0.2)),
    )
    labels = place_nuclei(rng, shape, _count(shape, _cover(rng, 0.06, 0.24, 0.34), radius), population)
    style = Fluorescence(
        background=float(rng.uniform(2.5, 8)),
        signal=float(np.exp(rng.uniform(np.log(16), np.log(70)))),
        variation=float(rng.uniform(0.1, 0.35)),
        blur=float(rng.uniform(1.0, 1.8)),
        texture=float(rng.uniform(0.04, 0.12)),
        grain=float(rng.uniform(3, 6)),
        doming=float(rng.uniform(2, 6)),
        haze=float(rng.uniform(0.0, 0.04)),
        noise=float(rng.uniform(0.4, 0.9)),
        unevenness=float(rng.uniform(0.05, 0.3)),
    )
    return labels, partial(render_fluorescence, rng, style=style)


def _purple_tissue(rng: np.random.Generator, shape: Size) -> Scene:
    ground = PURPLE_GROUNDS[int(rng.choice(len(PURPLE_GROUNDS), p=[0.6, 0.33, 0.07]))]
    smear = ground is not PURPLE_GROUNDS[0]
    radius = float(np.clip(np.exp(rng.normal(np.log(10 if smear else 12), 0.15 if smear else 0.4)), 7, 28))
    layer = rng.random() < (0.15 if smear else 0.5)
    labels = _tissue_labels(rng, shape, radius, 1.25 if smear else 1.75, layer, _cover(rng, 0.05, 0.2, 0.38))
    style = Stain(
        glass=_jitter(rng, ground.glass, 4),
        nucleus=_jitter(rng, ground.nucleus, 10),
        stroma=float(rng.uniform(0.15, 0.7)),
        variation=0.35,
        vesicular=float(rng.uniform(0.1, 0.6)),
        texture=float(rng.uniform(0.12, 0.3)),
        grain=float(np.clip(radius / 4, 2, 6)),
        blur=float(rng.uniform(0.7, 1.4)),
        cells=ground.cells,
    )
    return labels, partial(render_tissue, rng, style=style)


def _pink_purple_tissue(rng: np.random.Generator, shape: Size) -> Scene:
    radius = float(rng.uniform(11, 19))
    labels = _tissue_labels(rng, shape, radius, 1.4, rng.random() < 0.4, _cover(rng, 0.1, 0.17, 0.3))
    dark = float(rng.uniform(0, 1))  # from the pale nuclei of the training images to the dark ones of the test images
    style = Stain(
        glass=_jitter(rng, (236, 236, 236), 4),
        nucleus=_jitter(rng, (180 - 75 * dark, 105 - 50 * dark, 195 - 80 * dark), 6),
        eosin=_jitter(rng, (207 - 10 * dark, 130, 188 - 8 * dark), 3),
        stroma=float(rng.uniform(0.25, 0.6)),
        vesicular=float(rng.uniform(0.3, 0.7)),
        texture=float(rng.uniform(0.12, 0.3)),
        grain=float(rng.uniform(2.5, 4)),
        blur=float(rng.uniform(0.8, 1.4)),
        noise=2.0,
    )
    return labels, partial(render_tissue, rng, style=style)


def _tissue_labels(
    rng: np.random.Generator, shape: Size, radius: float, elongation: float, layer: bool, cover: float
) -> np.ndarray:
    """Nuclei of a tissue: scattered, or crowded in the layers (where a slow field crosses zero) that line a gland."""
    course = smooth_noise(rng, shape, float(rng.uniform(80, 160)))
    density = np.exp(-((course * 4) ** 2)) + 0.05 if layer else np.exp(0.8 * course)
    rows, columns = np.gradient(course)
    direction = np.arctan2(rows, columns) + (0 if rng.random() < 0.5 else np.pi / 2)  # across the layer, or along it
    population = Population(
        radius,
        spread=0.22,
        elongation=elongation,
        irregularity=float(rng.uniform(0.05, 0.12)),
        clumping=float(rng.uniform(0.0, 0.35)),
        overlap=float(rng.uniform(0.1, 0.35)),
        aligned=0.8,
    )
    return place_nuclei(rng, shape, _count(shape, cover, radius), population, density, direction)


def _grayscale_tissue(rng: np.random.Generator, shape: Size) -> Scene:
    labels, cytoplasm = place_smear(rng, shape)
    return labels, partial(render_smear, rng, cytoplasm=cytoplasm)


def _jitter(rng: np.random.Generator, colour: tuple[float, float, float], spread: float) -> tuple[float, float, float]:
    red, green, blue = (float(np.clip(value + rng.normal(0, spread), 5, 250)) for value in colour)
    return red, green, blue


MAKERS: dict[str, Callable[[np.random.Generator, Size], Scene]] = {
    "small_fluorescent": _small_fluorescent,
    "large_fluorescent": _large_fluorescent,
    "purple_tissue": _purple_tissue,
    "pink_purple_tissue": _pink_purple_tissue,
    "grayscale_tissue": _grayscale_tissue,
}
