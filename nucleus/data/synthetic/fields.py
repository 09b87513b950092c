"""Fields of view: which kind comes when, and the truth and the picture of one field.

A field is one image, or a large one that is cut into four, as 304 of BBBC038's 664 training images are tiles of 76
fields of view. All about a field follows from (seed, part, its number), so that any process can make it at any time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from nucleus.data.synthetic.placement import drop_fragments
from nucleus.data.synthetic.scenes import MAKERS, Size
from nucleus.masks.label_image import relabel_sequential

PARTS = ("train", "test")
ATTEMPTS = 20  # at a field in which no tile is without nuclei; BBBC038 has no such image

# Sizes of images with their frequencies in BBBC038.
SIZES: dict[str, tuple[tuple[Size, float], ...]] = {
    "small_fluorescent": (((256, 256), 80), ((520, 696), 13), ((260, 347), 4), ((256, 320), 2), ((603, 1272), 1)),
    "large_fluorescent": (((360, 360), 75), ((520, 696), 15), ((512, 640), 9), ((1040, 1388), 1)),
    "purple_tissue": (((256, 320), 92), ((512, 680), 4), ((524, 348), 4)),
    "pink_purple_tissue": (((256, 320), 1), ((512, 680), 1)),
    "grayscale_tissue": (((1024, 1024), 1),),
}


class Kind(NamedTuple):
    """A modality, whether its fields are cut in four, and how many such fields a cycle of the schedule has."""

    modality: str
    tiles: int
    fields: int


# 160 images a cycle (98, 26, 23, 9 and 4 of each modality, 72 of them tiles), in about the proportions of BBBC038's
# training set (414, 127, 103, 4 and 16 of 664), but with as much pink-and-purple tissue as its test set (4 of 65).
CYCLE = (
    Kind("small_fluorescent", 1, 54),
    Kind("large_fluorescent", 1, 14),
    Kind("purple_tissue", 1, 11),
    Kind("pink_purple_tissue", 1, 5),
    Kind("grayscale_tissue", 1, 4),
    Kind("small_fluorescent", 4, 11),
    Kind("large_fluorescent", 4, 3),
    Kind("purple_tissue", 4, 3),
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
        labels: int32 (H, W), 0 background, 1..n, every nucleus of at least 21 pixels.
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
    across = 2 if kind.tiles == 4 else 1
    windows = [
        (slice(row * height, (row + 1) * height), slice(column * width, (column + 1) * width))
        for row in range(across)
        for column in range(across)
    ]
    for _ in range(ATTEMPTS):
        labels, render = MAKERS[kind.modality](rng, (height * across, width * across))
        for window in windows:
            drop_fragments(labels[window])
        if all(labels[window].any() for window in windows):
            break
    image = render(labels)
    return [
        Tile(np.ascontiguousarray(image[window]), relabel_sequential(labels[window]), kind.modality)
        for window in windows
    ]
