import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from shapely import LineString, MultiPolygon, Polygon, distance, points
from skimage.draw import polygon2mask

from nucleus.masks.polygons import fill_polygon, signed_area, trace_polygons

MASKS = arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9)))


def filled(polygons, height, width):
    mask = np.zeros((height, width), dtype=bool)
    for polygon in polygons:
        for row, start, stop in fill_polygon(polygon, height, width):
            assert not mask[row, start:stop].any()
            mask[row, start:stop] = True
    return mask


def test_one_pixel_is_a_square_around_it():
    [[shell]] = trace_polygons(np.ones((1, 1), bool), y0=4, x0=7)
    assert shell.tolist() == [[7, 4], [8, 4], [8, 5], [7, 5]]
    assert signed_area(shell) == 1


def test_a_ring_of_pixels_has_one_hole():
    mask = np.ones((3, 3), bool)
    mask[1, 1] = False
    [[shell, hole]] = trace_polygons(mask)
    assert shell.tolist() == [[0, 0], [3, 0], [3, 3], [0, 3]]
    assert hole.tolist() == [[1, 1], [1, 2], [2, 2], [2, 1]]
    assert signed_area(hole) == -1


def test_pixels_that_touch_at_a_corner_are_two_polygons():
    assert [[ring.tolist() for ring in polygon] for polygon in trace_polygons(np.eye(2, dtype=bool))] == [
        [[[0, 0], [1, 0], [1, 1], [0, 1]]],
        [[[1, 1], [2, 1], [2, 2], [1, 2]]],
    ]


def test_a_ring_that_touches_itself_is_split_into_shell_and_hole():
    mask = np.array([[1, 1, 1], [1, 0, 1], [1, 1, 0]], bool)  # the hole touches the outside at (2, 2)
    [[shell, hole]] = trace_polygons(mask)
    assert sorted(hole.tolist()) == [[1, 1], [1, 2], [2, 1], [2, 2]]
    assert Polygon(shell, [hole]).is_valid


def test_an_empty_mask_has_no_polygon():
    assert trace_polygons(np.zeros((4, 4), bool)) == []
    assert trace_polygons(np.zeros((0, 0), bool)) == []


@given(MASKS)
def test_every_mask_is_valid_polygons_and_comes_back(mask):
    polygons = trace_polygons(mask)
    parts = [Polygon(polygon[0], polygon[1:]) for polygon in polygons]
    for part in parts:
        assert part.is_valid and part.exterior.is_ccw and not any(hole.is_ccw for hole in part.interiors)
    assert MultiPolygon(parts).is_valid
    assert sum(part.area for part in parts) == mask.sum()
    assert (filled(polygons, *mask.shape) == mask).all()


def test_a_triangle_holds_the_centres_inside_it():
    runs = fill_polygon([np.array([[0.0, 0.0], [4.0, 0.0], [0.0, 4.0]])], 10, 10)
    # Row r is open to the right up to x = 4 - (r + 0.5): the centre at 3.5 - r is on the edge and stays out.
    assert runs.tolist() == [[0, 0, 3], [1, 0, 2], [2, 0, 1], [3, 0, 0]]


def test_what_leaves_the_image_is_cut_off():
    square = np.array([[-1e9, -1e9], [1e9, -1e9], [1e9, 1e9], [-1e9, 1e9]])
    assert fill_polygon([square], 2, 3).tolist() == [[0, 0, 3], [1, 0, 3]]
    assert fill_polygon([square + np.array([0, 2e9])], 2, 3).size == 0


def test_two_polygons_share_an_edge_and_no_pixel():
    corners = np.array([[0, 0], [9.3, 0.2], [8.7, 9.1], [0.4, 8.8]])
    halves = [corners[[0, 1, 2]], corners[[2, 3, 0]]]
    masks = [filled([[half]], 10, 10) for half in halves]
    assert not (masks[0] & masks[1]).any()
    assert ((masks[0] | masks[1]) == filled([[corners]], 10, 10)).all()


@given(arrays(np.float64, (7, 2), elements=st.floats(-3, 15)))
def test_filling_agrees_with_scikit_image_but_on_edges(ring):
    mine = filled([[ring]], 12, 12)
    theirs = polygon2mask((12, 12), ring[:, ::-1] - 0.5)  # (row, column), centres of pixels at whole numbers
    columns, rows = np.meshgrid(np.arange(12) + 0.5, np.arange(12) + 0.5)
    with np.errstate(all="ignore"):  # a ring may be one point
        off_the_edge = distance(LineString([*ring, ring[0]]), points(columns, rows)) > 1e-6
    assert (mine == theirs)[off_the_edge].all()


def test_an_outline_without_end_is_refused():
    zigzag = np.tile([[0.0, 0.0], [1.0, 1e6]], (6, 1))
    with pytest.raises(ValueError, match="crosses"):
        fill_polygon([zigzag], 1_000_000, 10)
