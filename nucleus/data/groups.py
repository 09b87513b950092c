"""Groups: which images are tiles of one field of view, found from their borders.

Tiles of one field share cells, stain and exposure, so that a random split between training and validation leaks. The
rule, in three parts, in the words of `nucleus.data.seams`:

1. Images with equal pixels are one field.
2. A clear seam joins two images.
3. Two joined images are joined to two more that make a square of four with them, if each of the three further seams
   costs at most `MAXIMUM_COST` and the cheapest rival square costs `SQUARE_MARGIN` times as much. This finds tiles
   whose borders are nearly empty. It is repeated with what it joins.

On BBBC038 this finds 75 of the 76 groups of `index.csv` whole; the tiles of the last, `m062`, touch in empty ground. It
also finds that most of the images that `index.csv` calls single are tiles: `datasets/README.md` gives the figures.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from nucleus.data.seams import MAXIMUM_COST, Borders, Seam, Seams

SQUARE_MARGIN = 1.25
MOST_CANDIDATES = 1024  # a border that more others could continue says nothing


def find_groups(image_ids: Sequence[str], borders: Sequence[Borders]) -> list[str]:
    """Name the group of every image.

    Args:
        image_ids: unique names.
        borders: of each image, in the same order.

    Returns:
        For each image the name of its group: the smallest ImageId in it. An image without neighbours is its own group.
        The answer does not depend on the order of the images.
    """
    order = sorted(range(len(image_ids)), key=lambda index: image_ids[index])
    owner = list(range(len(order)))  # the smallest image known to be of the same group, one step on

    def smallest(index: int) -> int:
        while owner[index] != index:
            index = owner[index]
        return index

    for first, second in _joined([borders[index] for index in order]):
        one, other = sorted((smallest(first), smallest(second)))
        owner[other] = one
    names = [""] * len(order)
    for position, index in enumerate(order):
        names[index] = image_ids[order[smallest(position)]]
    return names


def _joined(borders: Sequence[Borders]) -> Iterator[Seam]:
    """All pairs of images that belong together."""
    kept: dict[bytes, int] = {}
    for index, border in enumerate(borders):
        if kept.setdefault(border.digest, index) != index:
            yield kept[border.digest], index
    distinct = sorted(kept.values())
    beside = Seams([borders[index].right for index in distinct], [borders[index].left for index in distinct])
    below = Seams([borders[index].bottom for index in distinct], [borders[index].top for index in distinct])
    _close_squares(beside, below)
    for first, second in (*beside.accepted, *below.accepted):
        yield distinct[first], distinct[second]


def _close_squares(beside: Seams, below: Seams) -> None:
    """Apply the rule's third part to every accepted seam, and to the seams that it adds."""
    waiting = [(beside, below, seam) for seam in beside.accepted] + [(below, beside, seam) for seam in below.accepted]
    while waiting:
        along, across, seam = waiting.pop()
        for follows in (True, False):
            other = _opposite(along, across, seam, follows)
            if other is None:
                continue
            sides = [(mine, its) if follows else (its, mine) for mine, its in zip(seam, other, strict=True)]
            if along.free(other) and all(across.free(side) for side in sides):
                waiting += [(along, across, other)] if along.accept(other) else []
                waiting += [(across, along, side) for side in sides if across.accept(side)]


def _opposite(along: Seams, across: Seams, seam: Seam, follows: bool) -> Seam | None:
    """The seam that makes a clear square with a seam, on the side that follows it (below, right) or the one before."""
    squares = _squares(along, across, seam, follows, MAXIMUM_COST)
    if squares is None:
        return None
    pairs, totals, largest = squares
    totals[(largest > MAXIMUM_COST) | np.isin(pairs, seam).any(axis=2) | (pairs[..., 0] == pairs[..., 1])] = np.inf
    if not np.isfinite(totals).any():
        return None
    row, column = np.unravel_index(totals.argmin(), totals.shape)
    found = (int(pairs[row, column, 0]), int(pairs[row, column, 1]))
    total = float(totals[row, column])
    # Seen from the other side, the two seams across are the same, and the third is the one that we came from.
    back = total - along.cost(found) + along.cost(seam)
    for one, other, side, cost in ((seam, found, follows, total), (found, seam, not follows, back)):
        rivals = _squares(along, across, one, side, SQUARE_MARGIN * cost)
        if rivals is None:
            return None
        pairs, totals, _ = rivals
        if totals[(pairs != other).any(axis=2)].min(initial=np.inf) < SQUARE_MARGIN * cost:
            return None
    return found


def _squares(
    along: Seams, across: Seams, seam: Seam, follows: bool, limit: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """All squares on one side of a seam whose two seams across cost at most the limit.

    Returns:
        For m by n squares the two images opposite of the seam (m, n, 2), the costs of the three further seams added up
        (m, n), and the largest of the three (m, n). None where more than `MOST_CANDIDATES` could be neighbours.
    """
    one, one_cost = across.neighbours(seam[0], follows, limit)
    other, other_cost = across.neighbours(seam[1], follows, limit)
    if max(len(one), len(other)) > MOST_CANDIDATES:
        return None
    third = along.costs(one, other)
    pairs = np.stack(np.broadcast_arrays(one[:, None], other[None]), axis=2)
    total = one_cost[:, None] + other_cost[None] + third
    return pairs, total, np.maximum(np.maximum(one_cost[:, None], other_cost[None]), third)
