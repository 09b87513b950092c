"""Seams: how well the border of one image goes on in that of another, as those of two tiles of one field do.

Words used here:

- *border*: the outermost row or column of pixels of one side of an image.
- *seam*: the end (right or bottom border) of one image beside the start (left or top border) of another.
- *cost* of a seam: the mean squared step from border to border, divided by the mean squared step from each border to
  the line of pixels just inside. Across a true seam one pixel follows the next as anywhere else in the picture, so that
  its cost is about 1; between strangers it grows with the contrast of the images.
- *rival* of a seam: any other seam that one of its two borders could have, with every other image, and with every
  border read backwards, which resembles the border in all but the order of its pixels.
- a *clear* seam costs at most `MAXIMUM_COST` and its cheapest rival costs `MARGIN` times as much. An empty border
  resembles many others, so that it has none.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

MAXIMUM_COST = 2.5  # the seams that index.csv gives cost 0.3 to 2.0
MARGIN = 2.0
SHORTEST_BORDER = 64  # pixels; shorter ones resemble each other by chance
NOISE = 0.25  # grey levels squared, added to every step: about what rounding to whole grey levels makes
BLOCK = 512  # borders compared with all others at a time

Seam = tuple[int, int]  # left and right, or upper and lower image


@dataclass(frozen=True)
class Borders:
    """The two outermost lines of pixels of each side of an image, in the image's own type.

    Attributes:
        left, right: (2, H, 3), the outermost column first.
        top, bottom: (2, W, 3), the outermost row first.
        digest: SHA-256 of the pixels.
    """

    left: np.ndarray
    right: np.ndarray
    top: np.ndarray
    bottom: np.ndarray
    digest: bytes


def borders_of(image: np.ndarray) -> Borders:
    """Take the borders of an image, uint8 or uint16, (H, W) or (H, W, 3)."""
    rows = image if image.ndim == 3 else np.broadcast_to(image[..., None], (*image.shape, 3))
    columns = rows.swapaxes(0, 1)
    row, column = min(1, len(rows) - 1), min(1, len(columns) - 1)  # an image of one row has no line inside of it
    digest = hashlib.sha256(f"{image.shape} {image.dtype}".encode())
    digest.update(np.ascontiguousarray(image).data)
    return Borders(
        left=columns[[0, column]],
        right=columns[[-1, -1 - column]],
        top=rows[[0, row]],
        bottom=rows[[-1, -1 - row]],
        digest=digest.digest(),
    )


class Seams:
    """All seams of one direction: their costs, and which of them are accepted so far, which the clear ones are at once.

    Args:
        ends: right or bottom lines of each image, (2, L, 3).
        starts: left or top lines of each image, (2, L, 3).
    """

    def __init__(self, ends: Sequence[np.ndarray], starts: Sequence[np.ndarray]) -> None:
        lengths = np.array([end.shape[1] for end in ends], dtype=np.int64)
        self.after: dict[int, int] = {}  # accepted seams, by their first image
        self.before: dict[int, int] = {}  # and by their second
        self.lines: list[Lines] = []
        self.lines_of = np.full(len(ends), -1)  # which of `lines` an image is in, -1 for none, and in what row
        self.row_of = np.zeros(len(ends), dtype=np.int64)
        for length in sorted(set(lengths[lengths >= SHORTEST_BORDER].tolist())):
            members = np.flatnonzero(lengths == length)
            lines = Lines(members, [ends[i] for i in members.tolist()], [starts[i] for i in members.tolist()])
            self.lines_of[members], self.row_of[members] = len(self.lines), np.arange(len(members))
            self.lines.append(lines)
            for first, second in lines.clear_seams():
                self.accept((int(members[first]), int(members[second])))

    @property
    def accepted(self) -> list[Seam]:
        """Accepted seams, ascending."""
        return sorted(self.after.items())

    def free(self, seam: Seam) -> bool:
        """Whether the seam is accepted, or could be: both of its borders are without neighbour."""
        first, second = seam
        return self.after.get(first, second) == second and self.before.get(second, first) == first

    def accept(self, seam: Seam) -> bool:
        """Accept a free seam; False if it was accepted already."""
        first, second = seam
        known = first in self.after
        self.after[first], self.before[second] = second, first
        return not known

    def neighbours(self, image: int, follows: bool, limit: float) -> tuple[np.ndarray, np.ndarray]:
        """Images that could follow (or else precede) an image at a cost up to the limit, and the costs."""
        if self.lines_of[image] < 0:
            return np.zeros(0, dtype=np.int64), np.zeros(0)
        lines, row = self.lines[self.lines_of[image]], self.row_of[[image]]
        everyone = np.arange(len(lines.members))
        costs = lines.costs(row, everyone)[0] if follows else lines.costs(everyone, row)[:, 0]
        near = np.flatnonzero(costs <= limit)
        return lines.members[near], costs[near]

    def cost(self, seam: Seam) -> float:
        """The cost of one seam."""
        return float(self.costs(np.array(seam[:1]), np.array(seam[1:]))[0, 0])

    def costs(self, firsts: np.ndarray, seconds: np.ndarray) -> np.ndarray:
        """Costs of the seams of each first with each second image; infinite where their borders differ in length."""
        result = np.full((len(firsts), len(seconds)), np.inf)
        of_firsts, of_seconds = self.lines_of[firsts], self.lines_of[seconds]
        for number in {*of_firsts.tolist()} & {*of_seconds.tolist()} - {-1}:
            rows, columns = np.flatnonzero(of_firsts == number), np.flatnonzero(of_seconds == number)
            costs = self.lines[number].costs(self.row_of[firsts[rows]], self.row_of[seconds[columns]])
            result[np.ix_(rows, columns)] = costs
        return result


class Lines:
    """Borders of equal length, ready to compare.

    Sums of whole numbers in float64 are exact, so that the costs do not depend on the order in which a machine adds.

    Args:
        members: the images, ascending.
        ends: their right or bottom lines, (2, L, 3).
        starts: their left or top lines, (2, L, 3).
    """

    def __init__(self, members: np.ndarray, ends: Sequence[np.ndarray], starts: Sequence[np.ndarray]) -> None:
        self.members = members
        self.ends, self.end_squares, self.end_steps = _stack(ends)
        self.starts, self.start_squares, self.start_steps = _stack(starts)
        self.table: np.ndarray | None = None  # all costs, where that is little
        if len(members) <= 4 * BLOCK:
            self.table = self.costs(np.arange(len(members)), np.arange(len(members)))

    def costs(self, firsts: np.ndarray, seconds: np.ndarray, backwards: bool = False) -> np.ndarray:
        """Costs of the seams of each first with each second border, by row; `backwards` reads the second in reverse."""
        if self.table is not None and not backwards:
            return self.table[firsts[:, None], seconds]
        starts = self.starts[seconds]
        if backwards:
            starts = starts.reshape(len(seconds), -1, 3)[:, ::-1].reshape(starts.shape)
        steps = self.end_squares[firsts, None] + self.start_squares[None, seconds] - 2 * self.ends[firsts] @ starts.T
        inside = (self.end_steps[firsts, None] + self.start_steps[None, seconds]) / 2
        return (steps / self.ends.shape[1] + NOISE) / (inside + NOISE)

    def clear_seams(self) -> Iterator[Seam]:
        """The clear seams, as rows of ends and of starts."""
        count = len(self.members)
        everyone = np.arange(count)
        best = np.full(count, np.inf)  # of each start: its cheapest seam, whose, and the cheapest rival
        best_end = np.full(count, -1)
        rival = np.full(count, np.inf)
        of_ends: list[tuple[int, float, float]] = []  # of each end the same
        for first in range(0, count, BLOCK):
            block = everyone[first : first + BLOCK]
            costs = self.costs(block, everyone)
            backwards = self.costs(block, everyone, backwards=True)
            for row, line, other in zip(block, costs, backwards, strict=True):
                start = int(line.argmin())
                least = float(line[start])
                second = float(np.delete(line, start).min(initial=np.inf))
                of_ends.append((start, least, min(second, float(other.min()))))
                better = line < best
                rival = np.minimum(rival, np.where(better, best, line))
                best_end[better], best[better] = row, line[better]
            rival = np.minimum(rival, backwards.min(axis=0))
        for end, (start, cost, other_end) in enumerate(of_ends):
            clear = cost <= MAXIMUM_COST and MARGIN * cost <= min(other_end, rival[start])
            if clear and best_end[start] == end and start != end:
                yield end, start


def _stack(lines: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Outermost lines (n, 3 L), the sum of squares of each, and its mean squared step to the line inside of it."""
    both = np.stack(lines).astype(np.float64).reshape(len(lines), 2, -1)
    outer, inner = both[:, 0], both[:, 1]
    return np.ascontiguousarray(outer), (outer**2).sum(axis=1), ((outer - inner) ** 2).mean(axis=1)
