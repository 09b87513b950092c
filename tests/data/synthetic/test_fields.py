"""Fields: which kind comes when, and whether each is what it claims to be."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from nucleus.data.modality import MODALITIES, modality_of
from nucleus.data.synthetic import fields
from nucleus.data.synthetic.fields import Tile, make_field


def field_of(modality: str, tiles: int, after: int = 0) -> int:
    """The first field of a kind."""
    return next(
        field
        for field in range(after, after + len(fields.SCHEDULE))
        if fields.kind_of_field(field)[:2] == (modality, tiles)
    )


def sample(modality: str, count: int, max_size: int | None) -> list[Tile]:
    numbers = [n for n in range(200) if fields.kind_of_field(n)[:2] == (modality, 1)][:count]
    return [make_field(9, "train", number, max_size)[0] for number in numbers]


def test_the_first_five_images_are_the_five_modalities() -> None:
    assert {fields.modality_of_image(image) for image in range(5)} == set(MODALITIES)


def test_a_cycle_has_about_the_real_proportions() -> None:
    counts = Counter(fields.modality_of_image(image) for image in range(10 * fields.IMAGES_A_CYCLE))
    share = {modality: count / counts.total() for modality, count in counts.items()}
    real = {
        "small_fluorescent": 414 / 664, "large_fluorescent": 127 / 664, "purple_tissue": 103 / 664,
        "pink_purple_tissue": 4 / 65, "grayscale_tissue": 16 / 664,
    }  # fmt: skip
    assert share == pytest.approx(real, abs=0.04)


def test_images_and_fields_are_numbered_alike() -> None:
    images = [
        fields.kind_of_field(field).modality
        for field in range(2 * len(fields.SCHEDULE))
        for _ in range(fields.kind_of_field(field).tiles)
    ]
    assert images == [fields.modality_of_image(image) for image in range(len(images))]
    position = 0
    for field in range(2 * len(fields.SCHEDULE)):
        assert fields.first_image_of_field(field) == position
        position += fields.kind_of_field(field).tiles


@pytest.mark.parametrize("modality", MODALITIES)
def test_the_converter_takes_every_modality_for_what_it_is(modality: str) -> None:
    tiles = sample(modality, 6, max_size=400)
    found = [modality_of(tile.image, np.bincount(tile.labels.ravel())[1:].tolist()) for tile in tiles]
    assert found == [modality] * len(tiles)


def test_truth_is_disjoint_numbered_and_no_fragment() -> None:
    for field in range(12):
        for tile in make_field(3, "train", field, max_size=256):
            areas = np.bincount(tile.labels.ravel())[1:]
            assert tile.labels.dtype == np.int32 and tile.labels.shape == tile.image.shape[:2]
            assert areas.size >= 1 and areas.min() >= 21


def test_every_nucleus_can_be_seen() -> None:
    """Each differs from the ring around it, to the side that its modality has."""
    for modality, brighter in (("small_fluorescent", True), ("purple_tissue", False)):
        for tile in sample(modality, 4, max_size=256):
            grey = tile.image.astype(float).mean(axis=2)
            outside = np.median(grey[tile.labels == 0])
            inside = np.array([grey[tile.labels == label].mean() for label in range(1, tile.labels.max() + 1)])
            assert ((inside > outside) == brighter).mean() >= 0.98


def test_four_tiles_are_one_field() -> None:
    """Across a cut one pixel follows the next as anywhere else; a nucleus on the cut is in both tiles."""
    left, right, lower_left, _ = make_field(1, "train", field_of("purple_tissue", 4), max_size=160)
    inner = np.abs(np.diff(left.image.astype(float), axis=1)).mean()
    seam = np.abs(left.image[:, -1].astype(float) - right.image[:, 0]).mean()
    strangers = np.abs(left.image[:, -1].astype(float) - lower_left.image[:, 0]).mean()
    assert seam < 2 * inner
    assert seam < strangers
    both = (left.labels[:, -1] > 0) & (right.labels[:, 0] > 0)
    assert both.sum() > 0.6 * max((left.labels[:, -1] > 0).sum(), (right.labels[:, 0] > 0).sum())


def test_touching_nuclei_are_common() -> None:
    touching = 0
    for tile in sample("small_fluorescent", 6, 256) + sample("purple_tissue", 3, 256):
        first, second = tile.labels[1:], tile.labels[:-1]
        touching += int(((first != second) & (first > 0) & (second > 0)).any())
    assert touching >= 6


def test_sizes_are_those_of_the_modality_and_no_larger_than_asked() -> None:
    tile = sample("grayscale_tissue", 1, None)[0]
    assert tile.image.shape == (1024, 1024, 3)
    for modality in MODALITIES:
        assert max(sample(modality, 1, 100)[0].image.shape) == 100


def test_a_field_follows_from_its_number_alone() -> None:
    one, again = make_field(1, "train", 3, 128), make_field(1, "train", 3, 128)
    assert (one[0].image == again[0].image).all() and (one[0].labels == again[0].labels).all()
    for other in (make_field(2, "train", 3, 128), make_field(1, "test", 3, 128)):
        assert (one[0].image != other[0].image).any()
