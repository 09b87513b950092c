"""Fields of view: which kind comes when, and the truth and the picture of one field.

A field is one image, or a large one that is cut into four, as 304 of BBBC038's 664 training images are tiles of 76
fields of view. All about a field follows from (seed, part, its number), so that any process can make it at any time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from nucleus.data.synthetic.placement import Population, drop_fragments, place_nuclei
from nucleus.data.synthetic.render_fluorescence import Fluorescence, render_fluorescence
from nucleus.data.synthetic.render_smear import make_smear
from nucleus.data.synthetic.render_tissue import Stain, render_tissue
from nucleus.data.synthetic.textures import smooth_noise
from nucleus.masks.label_image import relabel_sequential

PARTS = ("train", "test")
Size = tuple[int, int]  # (H, W) in pixels
Scene = tuple[np.ndarray, np.ndarray]  # image, labels


class Kind(NamedTuple):
    """A modality, whether its fields are cut in four, and how many such fields a cycle of the schedule has."""

    modality: str
    tiles: int
    fields: int


# 160 images a cycle, in about the proportions of BBBC038's training set (416, 125, 69, 38 and 16 of 664).
CYCLE = (
    Kind("small_fluorescent", 1, 60),
    Kind("large_fluorescent", 1, 18),
    Kind("purple_tissue", 1, 9),
    Kind("pink_purple_tissue", 1, 5),
    Kind("grayscale_tissue", 1, 4),
    Kind("small_fluorescent", 4, 10),
    Kind("large_fluorescent", 4, 3),
    Kind("purple_tissue", 4, 2),
    Kind("pink_purple_tissue", 4, 1),
)


def _spread_evenly() -> tuple[Kind, ...]:
    """Every kind at even distances through the cycle, but one image of each modality first, for small sets."""
    first = CYCLE[:5]
    rest = [kind._replace(fields=kind.fields - 1) if kind in first else kind for kind in CYCLE]
    placed = [
        ((step + 0.5) / kind.fields, order, kind) for order, kind in enumerate(rest) for step in range(kind.fields)
    ]
    return (*first, *(kind for _, _, kind in sorted(placed)))


SCHEDULE = _spread_evenly()
FIRST_IMAGE = np.concatenate([[0], np.cumsum([kind.tiles for kind in SCHEDULE])])  # of each field of a cycle
IMAGES_A_CYCLE = int(FIRST_IMAGE[-1])


def kind_of_field(field: int) -> Kind:
    """The kind of field number `field`, counted from 0."""
    return SCHEDULE[field % len(SCHEDULE)]


def first_image_of_field(field: int) -> int:
    """The number of the first image cut from field number `field`, both counted from 0."""
    cycle, position = divmod(field, len(SCHEDULE))
    return cycle * IMAGES_A_CYCLE + int(FIRST_IMAGE[position])


def modality_of_image(image: int) -> str:
    """The modality of image number `image`, counted from 0."""
    position = int(np.searchsorted(FIRST_IMAGE, image % IMAGES_A_CYCLE, side="right")) - 1
    return SCHEDULE[position].modality


@dataclass(frozen=True)
class Tile:
    """One image with its truth.

    Attributes:
        image: uint8 (H, W, 3), RGB.
        labels: int32 (H, W), 0 background, 1..n.
        modality: one of the five modality names.
    """

    image: np.ndarray
    labels: np.ndarray
    modality: str


def make_field(seed: int, part: str, field: int, max_size: int | None = None) -> list[Tile]:
    """Make one field of view.

    Args:
        seed: of the whole set.
        part: "train" or "test".
        field: number of the field in its part, from 0.
        max_size: largest side of an image in pixels; larger ones are made smaller, not scaled. None for no limit.

    Returns:
        One tile, or four: upper left, upper right, lower left, lower right.
    """
    kind = kind_of_field(field)
    rng = np.random.default_rng([seed, PARTS.index(part), field])
    sizes, weights = zip(*SIZES[kind.modality], strict=True)
    height, width = sizes[int(rng.choice(len(sizes), p=np.array(weights) / sum(weights)))]
    if max_size is not None:
        height, width = min(height, max_size), min(width, max_size)
    rows, columns = (2, 2) if kind.tiles == 4 else (1, 1)
    for _ in range(20):  # an image without any nucleus is as good as impossible in BBBC038; draw again
        image, labels = MAKERS[kind.modality](rng, (height * rows, width * columns))
        tiles = [
            Tile(
                np.ascontiguousarray(image[row * height : (row + 1) * height, column * width : (column + 1) * width]),
                relabel_sequential(labels[row * height : (row + 1) * height, column * width : (column + 1) * width]),
                kind.modality,
            )
            for row in range(rows)
            for column in range(columns)
        ]
        if all(tile.labels.any() for tile in tiles):
            return tiles
    raise AssertionError(f"no nuclei in twenty attempts at field {field} of seed {seed}")


def _cover(rng: np.random.Generator, low: float, middle: float, high: float) -> float:
    """A share of the image that nuclei cover: log-normal about `middle`, within [low, high]."""
    return float(np.clip(np.exp(rng.normal(np.log(middle), 0.7)), low, high))


def _count(shape: Size, cover: float, radius: float) -> int:
    return max(2, round(cover * shape[0] * shape[1] / (np.pi * radius**2)))


def _small_fluorescent(rng: np.random.Generator, shape: Size) -> Scene:
    radius = float(np.clip(np.exp(rng.normal(np.log(6.8), 0.3)), 4.2, 10.5))
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
    return _taken(rng, labels, style)


def _large_fluorescent(rng: np.random.Generator, shape: Size) -> Scene:
    huge = shape[0] >= 1000
    radius = 46.0 if huge else float(rng.uniform(20.5, 26))
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
        texture=float(rng.uniform(0.06, 0.18)),
        grain=float(rng.uniform(3, 6)),
        doming=float(rng.uniform(2, 6)),
        haze=float(rng.uniform(0.0, 0.04)),
        noise=float(rng.uniform(0.4, 0.9)),
        unevenness=float(rng.uniform(0.05, 0.3)),
    )
    return _taken(rng, labels, style)


def _taken(rng: np.random.Generator, labels: np.ndarray, style: Fluorescence) -> Scene:
    labels = drop_fragments(labels)
    return render_fluorescence(rng, labels, style), labels


def _purple_tissue(rng: np.random.Generator, shape: Size) -> Scene:
    radius = float(np.clip(np.exp(rng.normal(np.log(12), 0.4)), 7, 28))
    layer = rng.random() < 0.5
    labels = _tissue_labels(rng, shape, radius, 1.75, layer, _cover(rng, 0.04, 0.19, 0.4))
    style = Stain(
        background=_jitter(rng, (175, 153, 202), 4),
        nucleus=_jitter(rng, (105, 50, 186), 10),
        stroma=float(rng.uniform(0.3, 1)),
        variation=0.35,
        vesicular=float(rng.uniform(0.1, 0.6)),
        texture=float(rng.uniform(0.15, 0.4)),
        grain=float(np.clip(radius / 4, 2, 6)),
        blur=float(rng.uniform(0.7, 1.4)),
    )
    return render_tissue(rng, labels, style), labels


def _pink_purple_tissue(rng: np.random.Generator, shape: Size) -> Scene:
    radius = float(rng.uniform(8, 12))
    labels = _tissue_labels(rng, shape, radius, 1.25, rng.random() < 0.2, _cover(rng, 0.08, 0.2, 0.36))
    style = Stain(
        background=_jitter(rng, (203, 200, 211), 6),
        nucleus=_jitter(rng, (122, 62, 162), 12),
        stroma=float(rng.uniform(0.2, 0.8)),
        variation=0.35,
        vesicular=float(rng.uniform(0.1, 0.5)),
        texture=float(rng.uniform(0.2, 0.4)),
        grain=3.0,
        blur=float(rng.uniform(0.8, 1.3)),
        cells=(196, 188, 196),
    )
    return render_tissue(rng, labels, style), labels


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
        clumping=float(rng.uniform(0.1, 0.5)),
        overlap=float(rng.uniform(0.1, 0.35)),
        aligned=0.8,
    )
    return drop_fragments(place_nuclei(rng, shape, _count(shape, cover, radius), population, density, direction))


def _grayscale_tissue(rng: np.random.Generator, shape: Size) -> Scene:
    return make_smear(rng, shape)


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

# Sizes with their frequencies in BBBC038.
SIZES: dict[str, tuple[tuple[Size, float], ...]] = {
    "small_fluorescent": (((256, 256), 80), ((520, 696), 13), ((260, 347), 4), ((256, 320), 2), ((603, 1272), 1)),
    "large_fluorescent": (((360, 360), 75), ((520, 696), 15), ((512, 640), 9), ((1040, 1388), 1)),
    "purple_tissue": (((256, 320), 9), ((512, 680), 1)),
    "pink_purple_tissue": (((256, 320), 9), ((512, 680), 1)),
    "grayscale_tissue": (((1024, 1024), 1),),
}
