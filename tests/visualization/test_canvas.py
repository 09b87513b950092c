"""Pictures and words put together."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nucleus.visualization.canvas import INK, PAPER, above, beside, framed, line_of_text, resized, save_picture


def plain(height: int, width: int, value: int) -> np.ndarray:
    return np.full((height, width, 3), value, dtype=np.uint8)


def test_enlarging_keeps_labels_whole() -> None:
    labels = np.array([[0, 3], [9, 0]], dtype=np.int32)
    picture, large = resized(plain(2, 2, 7), labels, 6)
    assert picture.shape == (6, 6, 3)
    assert (large == np.kron(labels, np.ones((3, 3), int))).all()


def test_shrinking_keeps_the_proportions() -> None:
    labels = np.zeros((400, 1000), dtype=np.int32)
    labels[200:, 500:] = 4
    picture, small = resized(plain(400, 1000, 7), labels, 100)
    assert picture.shape == (40, 100, 3) and small.shape == (40, 100)
    assert (small[20:, 50:] == 4).all() and not small[:20].any()


def test_what_fits_is_not_touched() -> None:
    picture, labels = plain(5, 8, 7), np.zeros((5, 8), int)
    same_picture, same_labels = resized(picture, labels, 8)
    assert same_picture is picture and same_labels is labels


def test_below_one_another_on_paper() -> None:
    sheet = above(plain(2, 3, 1), plain(1, 5, 2), gap=2)
    assert sheet.shape == (5, 5, 3)
    assert (sheet[:2, :3] == 1).all() and (sheet[4] == 2).all()
    assert (sheet[:4, 3:] == PAPER).all() and (sheet[2:4] == PAPER).all()


def test_beside_one_another_on_paper() -> None:
    sheet = beside(plain(2, 3, 1), plain(4, 2, 2), gap=1)
    assert sheet.shape == (4, 6, 3)
    assert (sheet[:2, :3] == 1).all() and (sheet[:, 4:] == 2).all()
    assert (sheet[2:, :4] == PAPER).all() and (sheet[:, 3] == PAPER).all()


def test_a_frame() -> None:
    sheet = framed(plain(2, 2, 1), margin=3)
    assert sheet.shape == (8, 8, 3)
    assert (sheet[3:5, 3:5] == 1).all() and (sheet[:3] == PAPER).all()


def test_text_is_ink_on_paper_in_its_colours() -> None:
    line = line_of_text("nuclei", size=20)
    assert line.shape[0] == 30
    assert (line.reshape(-1, 3) == INK).all(axis=1).sum() > 30
    blue = line_of_text([("ab ", INK), ("\N{BLACK SQUARE}", (0, 0, 255))], size=20)
    columns = np.flatnonzero((blue == (0, 0, 255)).all(axis=2).any(axis=0))
    assert columns.size > 5 and columns.min() > np.flatnonzero((blue == INK).all(axis=2).any(axis=0)).max()


def test_long_text_is_made_to_fit() -> None:
    long = "a caption of many words " * 3
    line = line_of_text(long, size=20, width=400)
    assert line.shape == (30, 400, 3)
    assert (line[:, -1] == PAPER).all()  # nothing was cut off


def test_text_that_cannot_fit_is_cut_not_an_error() -> None:
    assert line_of_text("words" * 100, width=30).shape[1] == 30


@pytest.mark.parametrize("name", ["a.png", "b.jpg"])
def test_saved_pictures_open(tmp_path: Path, name: str) -> None:
    path = save_picture(tmp_path / "new" / name, plain(4, 6, 90))
    with Image.open(path) as picture:
        assert picture.size == (6, 4) and picture.mode == "RGB"
        assert (np.asarray(picture) == 90).all()
    assert [other.name for other in path.parent.iterdir()] == [name]
