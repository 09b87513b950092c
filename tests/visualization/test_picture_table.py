"""Tables of pictures."""

from __future__ import annotations

import numpy as np
import pytest

from nucleus.visualization.colors import TRUTH
from nucleus.visualization.picture_table import MARGIN, Cell, Row, picture_table

RED, BLUE = (250, 0, 0), (0, 0, 250)


def plain(color: tuple[int, int, int], height: int = 40, width: int = 40) -> Cell:
    return Cell(np.full((height, width, 3), color, np.uint8))


def count(picture: np.ndarray, color: tuple[int, int, int]) -> int:
    return int((picture == color).all(axis=2).sum())


def test_every_picture_stands_in_its_row_and_column() -> None:
    rows = [Row("one", "a note", [[plain(RED)], [plain(RED)]]), Row("two", "", [[plain(BLUE)], [Cell()]])]
    picture = picture_table("title", ["first", "second"], rows, side=40)
    assert count(picture, RED) == 2 * 40 * 40 and count(picture, BLUE) == 40 * 40
    red, blue = (np.argwhere((picture == color).all(axis=2)) for color in (RED, BLUE))
    assert red[:, 0].max() < blue[:, 0].min()  # above
    assert red[:, 1].min() == blue[:, 1].min() > MARGIN  # under the first heading, right of the titles
    assert red[:, 1].max() > blue[:, 1].max() + 40  # the second group


def test_pictures_keep_their_shape() -> None:
    picture = picture_table("", [""], [Row("", "", [[plain(RED, 20, 80)]])], side=40)
    assert count(picture, RED) == 40 * 10


def test_nuclei_are_outlined() -> None:
    labels = np.zeros((40, 40), np.int32)
    labels[10:20, 10:20] = 1
    cell = Cell(plain(RED).image, labels, "a nucleus")
    picture = picture_table("", [""], [Row("", "", [[cell]])], side=40)
    assert count(picture, TRUTH) == 36  # the rim of 10 x 10
    assert count(picture, RED) == 40 * 40 - 36


@pytest.mark.parametrize("words", ["", "short", "words that are far longer than an empty cell is wide"])
def test_an_empty_cell_has_the_size_of_a_picture(words: str) -> None:
    def draw(cell: Cell) -> np.ndarray:
        return picture_table("", [""], [Row("", "", [[cell]])], side=40)

    assert draw(Cell(caption=words)).shape == draw(plain(RED)).shape
