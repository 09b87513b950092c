"""Many small pictures in a table: a title for each row, a heading for each group of columns."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nucleus.visualization.canvas import GAP, above, beside, framed, line_of_text, resized
from nucleus.visualization.colors import TRUTH
from nucleus.visualization.overlay import outline

MARGIN = 210  # pixels of the column of row titles
NOTE = 34  # letters a line of a row's note
EMPTY = 242  # grey level of a cell without a picture
BETWEEN_GROUPS = 3 * GAP


@dataclass(frozen=True)
class Cell:
    """A picture of a table.

    Attributes:
        image: uint8 (H, W, 3), RGB, shown as it is; None for a cell that stays empty.
        labels: integers (H, W), 0 background: nuclei to outline; None for none.
        caption: a few words below; in the middle of an empty cell.
    """

    image: np.ndarray | None = None
    labels: np.ndarray | None = None
    caption: str = ""


@dataclass(frozen=True)
class Row:
    """A row of a table.

    Attributes:
        title: its name.
        note: a sentence below the name.
        groups: cells, as many groups as the table has headings.
    """

    title: str
    note: str
    groups: Sequence[Sequence[Cell]]


def picture_table(title: str, headings: Sequence[str], rows: Sequence[Row], side: int) -> np.ndarray:
    """Draw a table of pictures.

    Args:
        title: above all.
        headings: one for each group of columns.
        rows: from top to bottom.
        side: pixels of the longer side of a picture; others are enlarged or shrunk to it.

    Returns:
        uint8 (h, w, 3), RGB.
    """
    drawn = [[beside(*(_cell(cell, side) for cell in group)) for group in row.groups] for row in rows]
    widths = [max(column) for column in zip(*([part.shape[1] for part in line] for line in drawn), strict=True)]
    head = [line_of_text("", width=MARGIN)] + [
        line_of_text(heading, size=18, bold=True, width=width) for heading, width in zip(headings, widths, strict=True)
    ]
    lines = [beside(*head, gap=BETWEEN_GROUPS)]
    for row, parts in zip(rows, drawn, strict=True):
        lines.append(beside(_name(row), *parts, gap=BETWEEN_GROUPS))
    return framed(above(line_of_text(title, size=24, bold=True), *lines, gap=GAP))


def _name(row: Row) -> np.ndarray:
    note = [line_of_text(line, size=11, width=MARGIN) for line in textwrap.wrap(row.note, NOTE)]
    return above(line_of_text(row.title, size=17, bold=True, width=MARGIN), *note)


def _cell(cell: Cell, side: int) -> np.ndarray:
    if cell.image is None:
        picture = np.full((side, side, 3), EMPTY, dtype=np.uint8)
        words = line_of_text(cell.caption, size=12)
        top, left = (side - words.shape[0]) // 2, max(0, (side - words.shape[1]) // 2)
        picture[top : top + words.shape[0], left : left + words.shape[1]] = np.minimum(words, EMPTY)[:, : side - left]
        return picture
    labels = np.zeros(cell.image.shape[:2], np.int32) if cell.labels is None else cell.labels
    shown, labels = resized(cell.image, labels, side)
    canvas = np.full((side, side, 3), EMPTY, dtype=np.uint8)
    picture = shown.copy()
    picture[outline(labels)] = TRUTH
    top, left = ((side - length) // 2 for length in picture.shape[:2])
    canvas[top : top + picture.shape[0], left : left + picture.shape[1]] = picture
    return above(canvas, line_of_text(cell.caption, size=11, width=side)) if cell.caption else canvas
