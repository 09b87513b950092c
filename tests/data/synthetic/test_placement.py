"""Nuclei of a field: apart or touching, each in one piece, none too small."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from nucleus.data.synthetic.placement import SMALLEST, Population, drop_fragments, place_nuclei
from nucleus.masks.contours import outline_pixels

SHAPE = (160, 200)


def touching_pairs(labels: np.ndarray) -> int:
    """Pairs of nuclei that share an edge between two pixels."""
    pairs = set()
    for first, second in ((labels[1:], labels[:-1]), (labels[:, 1:], labels[:, :-1])):
        meet = (first != second) & (first > 0) & (second > 0)
        pairs |= {tuple(sorted(pair)) for pair in zip(first[meet].tolist(), second[meet].tolist(), strict=True)}
    return len(pairs)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("overlap", [0.0, 0.35])
def test_every_nucleus_is_one_piece_of_enough_pixels(seed: int, overlap: float) -> None:
    population = Population(7, clumping=0.8, overlap=overlap)
    labels = place_nuclei(np.random.default_rng(seed), SHAPE, 60, population)
    ids = np.unique(labels)[1:]
    assert ids.tolist() == list(range(1, len(ids) + 1))
    assert len(ids) > 20
    for label in ids:
        pieces = ndimage.label(labels == label)[1]  # 4-connected
        assert pieces == 1
        assert np.count_nonzero(labels == label) >= SMALLEST


def test_clumps_touch() -> None:
    labels = place_nuclei(np.random.default_rng(3), SHAPE, 60, Population(7, clumping=0.9, overlap=0.3))
    assert touching_pairs(labels) > 10


def test_without_overlap_no_nucleus_loses_a_pixel() -> None:
    population = Population(8, spread=0, elongation=1, irregularity=0, clumping=0.9, overlap=0)
    labels = place_nuclei(np.random.default_rng(3), SHAPE, 40, population)
    inside = [label for label in range(1, labels.max() + 1) if not _on_border(labels, label)]
    areas = np.bincount(labels.ravel())[inside]
    assert len(inside) > 10
    assert areas.min() > 0.93 * areas.max()  # equal discs, but for where their centres lie between the pixels


def _on_border(labels: np.ndarray, label: int) -> bool:
    frame = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
    return bool((frame == label).any())


def test_a_density_is_followed() -> None:
    density = np.zeros(SHAPE)
    density[:, 120:] = 1
    labels = place_nuclei(np.random.default_rng(1), SHAPE, 30, Population(4, clumping=0, overlap=0), density)
    assert labels.max() > 10
    assert not labels[:, :110].any()
    assert labels[:, 120:].any()


def test_aligned_nuclei_follow_the_direction() -> None:
    down = np.full(SHAPE, np.pi / 2)
    population = Population(6, elongation=3.0, irregularity=0, clumping=0, overlap=0, aligned=1.0)
    labels = place_nuclei(np.random.default_rng(1), SHAPE, 25, population, direction=down)
    boxes = ndimage.find_objects(labels)
    tall = [rows.stop - rows.start > columns.stop - columns.start for rows, columns in boxes]
    assert np.mean(tall) > 0.8


def test_a_full_field_gets_fewer_and_ends() -> None:
    labels = place_nuclei(np.random.default_rng(1), (40, 40), 500, Population(9, overlap=0.1))
    assert 1 <= labels.max() < 30


def test_fragments_are_dropped_in_a_window_of_the_field() -> None:
    field = np.zeros((10, 20), dtype=np.int32)
    field[2:8, 4:12] = 1  # 36 pixels left of column 10, 12 right of it
    field[9, 18:] = 2
    drop_fragments(field[:, 10:], smallest=13)
    assert (field[2:8, 4:10] == 1).all()
    assert not field[:, 10:].any()


def test_touching_nuclei_keep_their_own_outlines() -> None:
    labels = np.zeros((6, 8), dtype=np.int32)
    labels[1:5, 1:4], labels[1:5, 4:7] = 1, 2
    assert touching_pairs(labels) == 1
    assert outline_pixels(labels)[2, 3] and outline_pixels(labels)[2, 4]
