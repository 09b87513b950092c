"""The picture of errors."""

from __future__ import annotations

import numpy as np
import pytest

from nucleus.visualization.colors import FALSE, MATCHED, MERGED, MISSED, SPLIT
from nucleus.visualization.error_map import DIMMED, TINT, Errors, error_map

GREY = 200


def picture(truth: np.ndarray, prediction: np.ndarray, errors: Errors) -> np.ndarray:
    return error_map(np.full((*truth.shape, 3), GREY, np.uint8), truth, prediction, errors)


def square(label: int = 1) -> np.ndarray:
    labels = np.zeros((40, 40), np.int32)
    labels[10:30, 10:30] = label
    return labels


EMPTY = np.zeros((40, 40), np.int32)


def test_a_match_is_an_outline() -> None:
    drawn = picture(square(3), square(5), Errors([3], [5]))
    assert drawn[10, 20].tolist() == list(MATCHED)
    assert drawn[20, 20].tolist() == drawn[0, 0].tolist() == [GREY * DIMMED] * 3


@pytest.mark.parametrize(("pair", "color"), [((square(), EMPTY), MISSED), ((EMPTY, square()), FALSE)])
def test_missed_and_false_are_filled(pair: tuple[np.ndarray, np.ndarray], color: tuple[int, int, int]) -> None:
    drawn = picture(*pair, Errors())
    assert drawn[10, 20].tolist() == list(color)
    assert drawn[20, 20].tolist() == [round(GREY * DIMMED * (1 - TINT) + channel * TINT) for channel in color]


def test_a_split_is_striped_and_covers_other_colours() -> None:
    halves = square(1)
    halves[:, 20:][halves[:, 20:] > 0] = 2
    drawn = picture(square(), halves, Errors([1], [1], split_truth=[1], pieces=[1, 2]))
    colors = {tuple(color) for color in drawn[13:27, 13:27].reshape(-1, 3).tolist()}
    assert colors == {SPLIT, (100, 100, 100)}
    assert drawn[20, 20].tolist() == list(SPLIT)  # the seam between the pieces
    striped = (drawn[13:27, 12:18] == SPLIT).all(axis=2)
    assert 0.2 < striped.mean() < 0.5


def test_a_merge_is_dotted() -> None:
    drawn = picture(EMPTY, square(), Errors(merging_prediction=[1]))
    inside = drawn[12:28, 12:28].reshape(-1, 3).tolist()
    assert {tuple(color) for color in inside} == {MERGED, (100, 100, 100)}
    assert 0.05 < np.mean([color == list(MERGED) for color in inside]) < 0.2


def test_what_a_merge_took_is_outlined() -> None:
    halves = square(1)
    halves[:, 20:][halves[:, 20:] > 0] = 2
    drawn = picture(halves, square(), Errors(merged_truth=[1, 2], merging_prediction=[1]))
    assert (drawn[10:30, 18:22] == MERGED).all()  # the seam between the two, on both sides


def test_shapes_must_agree() -> None:
    with pytest.raises(ValueError, match="one shape"):
        picture(square(), square()[:20], Errors())
