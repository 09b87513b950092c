"""Panels of truth, prediction and errors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nucleus.visualization.canvas import GAP
from nucleus.visualization.colors import FALSE, MATCHED, MISSED, TRUTH, label_colors
from nucleus.visualization.panel import LINE, TINT, error_legend, error_picture, prediction_panel, save_panels

SIDE = 200
GREY = 200


@pytest.fixture()
def case() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A matched nucleus to the left, a missed one to the upper right, a false one to the lower right."""
    image = np.full((SIDE, SIDE, 3), GREY, dtype=np.uint8)
    truth, prediction = np.zeros((SIDE, SIDE), dtype=np.int32), np.zeros((SIDE, SIDE), dtype=np.int32)
    truth[50:150, 20:80] = 4
    prediction[52:150, 20:80] = 9
    truth[20:80, 120:180] = 6
    prediction[120:180, 120:180] = 2
    return image, truth, prediction


def tinted(color: tuple[int, int, int]) -> list[int]:
    return [round(GREY * 0.5 * (1 - TINT) + channel * TINT) for channel in color]


def test_four_pictures_side_by_side(case: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    image, truth, prediction = case
    panel = prediction_panel(image, truth, prediction, {4}, {9}, side=SIDE)
    assert panel.dtype == np.uint8 and panel.shape[1] == 4 * SIDE + 3 * GAP
    top = 24  # the captions' line
    shown, of_truth, of_prediction, errors = (
        panel[top : top + SIDE, column : column + SIDE] for column in range(0, 4 * SIDE, SIDE + GAP)
    )
    assert (shown == image).all()
    assert of_truth[50, 50].tolist() == list(TRUTH) and of_truth[20, 150].tolist() == list(TRUTH)
    assert of_truth[100, 50].tolist() == [GREY] * 3
    assert (of_prediction[100, 20] == label_colors(np.array([9]))[0]).all()
    assert (of_prediction[120, 150] == label_colors(np.array([2]))[0]).all()
    assert errors[100, 20].tolist() == list(MATCHED) and errors[100, 50].tolist() == [GREY // 2] * 3
    assert errors[20, 150].tolist() == list(MISSED) and errors[50, 150].tolist() == tinted(MISSED)
    assert errors[120, 150].tolist() == list(FALSE) and errors[150, 150].tolist() == tinted(FALSE)
    assert errors[5, 5].tolist() == [GREY // 2] * 3


def test_a_title_and_its_absence(case: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    plain, titled = (prediction_panel(*case, [4], [9], title=title, side=SIDE) for title in ("", "image 7"))
    assert titled.shape[0] > plain.shape[0] and titled.shape[1] == plain.shape[1]
    assert (titled[titled.shape[0] - plain.shape[0] :] == plain).all()


def test_ids_may_be_arrays_or_empty(case: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    by_array = prediction_panel(*case, np.array([4]), np.array([9]), side=SIDE)
    assert (by_array == prediction_panel(*case, {4}, {9}, side=SIDE)).all()
    panel = prediction_panel(*case, np.zeros(0, int), [], side=SIDE)
    assert panel[24 + 100, 3 * (SIDE + GAP) + 50].tolist() == tinted(FALSE)  # false covers missed


def test_nothing_at_all() -> None:
    nothing = np.zeros((30, 40), dtype=np.int32)
    panel = prediction_panel(np.zeros((30, 40), dtype=np.uint16), nothing, nothing, [], [], side=80)
    assert panel.shape[1] == 4 * 80 + 3 * GAP


def test_shapes_must_agree(case: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    image, truth, prediction = case
    with pytest.raises(ValueError, match="one shape"):
        prediction_panel(image, truth, prediction[:-1], [], [])


def test_matched_nuclei_are_outlined_only() -> None:
    labels = np.ones((20, 20), dtype=np.int32)
    labels[:, 10:] = 2
    nothing = np.zeros_like(labels)
    drawn = error_picture(np.full((20, 20, 3), 100, np.uint8), labels, nothing, nothing)
    blue = (drawn == MATCHED).all(axis=2)
    assert blue[:, 10 - LINE : 10 + LINE].all()
    assert blue.sum() == 2 * LINE * 20
    assert (drawn[~blue] == 50).all()


def test_the_legend_counts() -> None:
    words = "".join(text for text, _ in error_legend(3, 2, 1))
    assert "matched: 3" in words and "missed: 2" in words and "false: 1" in words
    assert [color for _, color in error_legend(3, 2, 1)][::2] == [MATCHED, MISSED, FALSE]


def test_stacked_panels_make_one_file(case: tuple[np.ndarray, np.ndarray, np.ndarray], tmp_path: Path) -> None:
    panel = prediction_panel(*case, [4], [9], side=SIDE)
    path = save_panels(tmp_path / "demo.png", [panel, panel], title="two images")
    with Image.open(path) as picture:
        assert picture.width == panel.shape[1] + 2 * GAP
        assert picture.height > 2 * panel.shape[0]
        assert (np.asarray(picture)[-GAP - panel.shape[0] : -GAP, GAP:-GAP] == panel).all()


def test_no_panels_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least one"):
        save_panels(tmp_path / "demo.png", [])
    assert not list(tmp_path.iterdir())
