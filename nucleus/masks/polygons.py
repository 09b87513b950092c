"""Masks as polygons along the edges of their pixels, and polygons as pixels.

Coordinates are x, y in pixels; (0, 0) is the outer corner of the first pixel, so pixel (row, column) covers the square
from (column, row) to (column + 1, row + 1). A polygon is a list of rings: the shell, then its holes. A ring is an array
(n, 2) of its corners, the first not repeated at the end. Shells run with positive area by the shoelace formula, holes
with negative.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from nucleus.masks.runs import count_up

Ring = np.ndarray
Polygon = list[Ring]

# A vertex of the pixel grid has four pixels around it: 1 upper left, 2 upper right, 4 lower left, 8 lower right. How
# many corners of the outline lie there: two where only a diagonal pair is inside.
CORNERS = np.array([0, 1, 1, 0, 1, 0, 2, 1, 1, 2, 0, 1, 0, 1, 1, 0], dtype=np.int64)
UPPER_RIGHT_AND_LOWER_LEFT = 6
LOWER_RIGHT = 8
MOST_CROSSINGS = 10_000_000  # of edges and rows in one polygon: about 0.8 GB while it is filled
MOST_LAYERS = 100  # how many times over the outlines of a file may cover their image


def trace_polygons(mask: np.ndarray, y0: int = 0, x0: int = 0) -> list[Polygon]:
    """Outline a mask so that filling the polygons gives the mask back, pixel for pixel.

    There is one polygon for each 4-connected piece: pieces that touch at a corner alone are apart, and a ring that
    touches itself at a corner is split there. So each polygon is valid by the OGC's simple-feature rules (rings that
    do not touch themselves, a connected interior), and so are all of them together as one multi-polygon.

    Args:
        mask: bool (H, W), may be a crop of an image.
        y0: row of the image at which the crop begins.
        x0: column of the image at which the crop begins.

    Returns:
        Polygons of integer corners, in raster order of their first pixel; none for an empty mask.
    """
    corners, vertical, around = _corners(mask)
    if not len(corners):
        return []
    rings = _walk(corners.tolist(), vertical, (around & LOWER_RIGHT).tolist())
    if (CORNERS[around] == 2).any():
        rings = [part for ring in rings for part in _split(ring)]
    width = mask.shape[1] + 1
    outlines = [np.stack(np.divmod(ring, width)[::-1], axis=1) for ring in map(np.asarray, rings)]
    offset = np.array([x0, y0])
    return [[ring + offset for ring in polygon] for polygon in _shells_with_holes(outlines, mask)]


def _corners(mask: np.ndarray) -> tuple[np.ndarray, list[int], np.ndarray]:
    """Corners of the outline as offsets on the vertex grid (H + 1, W + 1), in raster order; the corner at the other
    end of each one's vertical edge, as an index (the one at the end of its horizontal edge is the index ^ 1); and
    which of the four pixels around it are inside.

    Along each grid row, the corners pair up from the left into the horizontal edges; along each column, from the top
    into the vertical ones.
    """
    height, width = mask.shape
    inside = np.zeros((height + 2, width + 2), dtype=np.uint8)
    inside[1:-1, 1:-1] = mask
    around = (inside[:-1, :-1] | inside[:-1, 1:] << 1 | inside[1:, :-1] << 2 | inside[1:, 1:] << 3).ravel()
    vertices = np.flatnonzero(CORNERS[around])
    corners = np.repeat(vertices, CORNERS[around[vertices]])
    around = around[corners]
    # Of two corners at a vertex, the first has the edge to the left. Its vertical edge goes up, so that it is first in
    # the column, too, if it belongs to the upper left pixel; down, if it belongs to the lower left one.
    second = np.zeros(len(corners), dtype=np.int64)
    second[1:] = corners[1:] == corners[:-1]
    second ^= around == UPPER_RIGHT_AND_LOWER_LEFT
    rows, columns = np.divmod(corners, width + 1)
    order = np.argsort((columns * (height + 1) + rows) * 2 + second)
    vertical = np.empty_like(order)
    vertical[order[::2]] = order[1::2]
    vertical[order[1::2]] = order[::2]
    return corners, vertical.tolist(), around


def _walk(corners: list[int], vertical: list[int], lower_right: list[int]) -> list[list[int]]:
    """Rings of vertices. The first corner of a ring is its upper left one: with the pixel below it inside, the ring is
    a shell and starts to the right; else it is a hole and starts downwards."""
    rings = []
    seen = bytearray(len(corners))
    for first in range(0, len(corners), 2):
        if seen[first]:
            continue
        ring, here, across = [], first, bool(lower_right[first])
        while not seen[here]:
            seen[here] = 1
            ring.append(corners[here])
            here = here ^ 1 if across else vertical[here]
            across = not across
        rings.append(ring)
    return rings


def _split(ring: list[int]) -> list[list[int]]:
    """Cut a ring at the vertices that it passes twice, into rings that pass each vertex once."""
    parts: list[list[int]] = []
    path: list[int] = []
    place: dict[int, int] = {}
    for vertex in ring:
        if vertex in place:
            start = place[vertex]
            parts.append(path[start:])
            for left in path[start:]:
                del place[left]
            del path[start:]
        place[vertex] = len(path)
        path.append(vertex)
    return [path, *parts]


def _shells_with_holes(rings: list[Ring], mask: np.ndarray) -> list[Polygon]:
    shells = [ring for ring in rings if signed_area(ring) > 0]
    if len(shells) == 1:
        return [shells + [ring for ring in rings if ring is not shells[0]]]
    pieces = ndimage.label(mask)[0]
    polygons: dict[int, Polygon] = {pieces[_pixel_inside(ring)]: [ring] for ring in shells}
    for ring in rings:
        polygon = polygons[pieces[_pixel_inside(ring)]]
        if ring is not polygon[0]:
            polygon.append(ring)
    return list(polygons.values())


def _pixel_inside(ring: Ring) -> tuple[int, int]:
    """Row and column of the pixel on the inner side of a ring's first edge."""
    (x, y), (next_x, next_y) = ring[0].tolist(), ring[1].tolist()
    return y - (next_x < x or next_y < y), x - (next_x < x or next_y > y)


def signed_area(ring: Ring) -> float:
    """Area of a ring in square pixels by the shoelace formula; negative for a hole as `trace_polygons` gives it."""
    x, y = ring[:, 0], ring[:, 1]
    return float(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2


def fill_polygon(rings: Sequence[Ring], height: int, width: int) -> np.ndarray:
    """Find the pixels whose centres lie inside a polygon, by the even-odd rule.

    A centre on an edge belongs to the polygon on its right or below it, so that of two polygons with a common edge
    one has it, never both. What lies outside the image is cut off; time and memory go with the number of rows that
    the edges cross inside the image.

    Args:
        rings: arrays (n, 2) of finite x, y in pixels, in any direction, closed or not.
        height: H of the image in pixels.
        width: W of the image in pixels.

    Returns:
        int64 (R, 3): row, first column and the column after the last one, of each run of pixels, by rows; some may be
        empty.

    Raises:
        ValueError: the edges cross more than 10 million rows in all, which no outline of a nucleus does.
    """
    edges = np.concatenate([np.hstack([ring, np.roll(ring, -1, axis=0)]) for ring in rings]).astype(np.float64)
    edges = np.where(edges[:, [1]] <= edges[:, [3]], edges, edges[:, [2, 3, 0, 1]])  # downwards
    x_top, y_top, x_bottom, y_bottom = edges.T
    first, stop = np.clip(np.ceil(edges[:, [1, 3]] - 0.5), 0, height).astype(np.int64).T
    count = stop - first
    if count.sum() > MOST_CROSSINGS:
        raise ValueError(f"an outline that crosses {count.sum():,} rows in all")
    edge = np.repeat(np.arange(len(edges)), count)
    row = count_up(count) + first[edge]
    slope = (x_bottom - x_top)[edge] / (y_bottom - y_top)[edge]
    crossing = x_top[edge] + (row + 0.5 - y_top[edge]) * slope
    column = np.clip(np.ceil(crossing - 0.5), 0, width).astype(np.int64)
    order = np.lexsort((column, row))
    row, column = row[order], column[order]
    return np.stack([row[::2], column[::2], column[1::2]], axis=1)


def label_image_from_outlines(outlines: Sequence[Sequence[Polygon]], height: int, width: int) -> np.ndarray:
    """Draw outlines into one label image: outline i becomes label i + 1, an earlier one keeps shared pixels.

    Args:
        outlines: the polygons of each nucleus, which may overlap.
        height: H in pixels.
        width: W in pixels.

    Returns:
        int32 (H, W). An outline in which no centre of a pixel lies leaves its label unused.

    Raises:
        ValueError: the outlines cover the image more than a hundred times over, or one is without end; files from
            elsewhere may hold that to keep a program busy.
    """
    labels = np.zeros((height, width), dtype=np.int32)
    left = MOST_LAYERS * height * width
    for label in range(len(outlines), 0, -1):  # backwards, so that the earlier outline is drawn over the later one
        for polygon in outlines[label - 1]:
            runs = fill_polygon(polygon, height, width)
            left -= int((runs[:, 2] - runs[:, 1]).sum()) + len(runs)
            if left < 0:
                raise ValueError(f"outlines that cover the image more than {MOST_LAYERS} times over")
            for row, start, stop in runs.tolist():
                labels[row, start:stop] = label
    return labels
