"""Matching by overlapping pairs against Detectron2's matching of all pairs."""

from __future__ import annotations

import pytest
import torch
from detectron2.modeling.anchor_generator import DefaultAnchorGenerator
from detectron2.modeling.matcher import Matcher
from detectron2.structures import Boxes, pairwise_iou
from hypothesis import given
from hypothesis import strategies as st

from nucleus.modeling.anchor_matching import anchor_grids, labels_of_iou, match_anchors, overlapping_pairs, paired_iou

MATCHER = Matcher([0.3, 0.7], [0, -1, 1], allow_low_quality_matches=True)


def grid_of(sizes, ratios, strides, maps, offset=0.5):
    generator = DefaultAnchorGenerator(sizes=sizes, aspect_ratios=ratios, strides=strides, offset=offset)
    anchors = torch.cat([one.tensor for one in generator([torch.zeros(1, 1, *shape) for shape in maps])])
    return anchors, anchor_grids(generator, maps)


PYRAMID = grid_of([[12], [24], [36]], [[0.5, 1.0, 2.0]], [4, 8, 16], [(16, 20), (8, 10), (4, 5)])


def stock(boxes, anchors, matcher=MATCHER):
    """Labels and matches of one image, Detectron2's way."""
    matched, labels = matcher(pairwise_iou(Boxes(boxes), Boxes(anchors)))
    return labels, matched


def test_two_anchors_by_hand():
    # A row of three anchors of 8 x 8 pixels, 8 pixels apart, with the first around (4, 4).
    anchors, grids = grid_of([[8]], [[1.0]], [8], [(1, 3)])
    assert anchors.tolist() == [[0, 0, 8, 8], [8, 0, 16, 8], [16, 0, 24, 8]]
    boxes = torch.tensor([[0.0, 0.0, 8.0, 8.0], [12.0, 0.0, 20.0, 8.0]])
    labels, matched = match_anchors([boxes], anchors, grids, MATCHER.thresholds, MATCHER.labels)
    # The first anchor is the first box; the others share the second box (IoU 1/3 each), both its best.
    assert labels.tolist() == [[1, 1, 1]]
    assert matched.tolist() == [[0, 1, 1]]
    labels, _ = match_anchors([boxes[:1]], anchors, grids, MATCHER.thresholds, MATCHER.labels)
    assert labels.tolist() == [[1, 0, 0]]


def test_the_pairs_are_all_that_overlap():
    anchors, grids = PYRAMID
    boxes = torch.tensor([[3.0, 5.0, 20.0, 31.0], [-40.0, -40.0, -20.0, -20.0], [0.0, 0.0, 80.0, 64.0]])
    box, anchor = overlapping_pairs(boxes, grids)
    found = set(zip(box.tolist(), anchor.tolist(), strict=True))
    assert len(found) == len(box)  # none twice
    every = pairwise_iou(Boxes(boxes), Boxes(anchors))
    assert {tuple(pair) for pair in (every > 0).nonzero().tolist()} <= found
    assert len(box) < len(anchors) * 2  # and not all of them
    assert torch.equal(paired_iou(boxes[box], anchors[anchor]), every[box, anchor])


coordinate = st.integers(-20, 110).map(float) | st.floats(-20, 110, width=32)
box = st.tuples(coordinate, coordinate, st.integers(1, 90), st.integers(1, 90)).map(
    lambda b: [b[0], b[1], b[0] + b[2], b[1] + b[3]]
)


@given(st.lists(st.lists(box, max_size=12), min_size=1, max_size=3), st.sampled_from([0.0, 0.5]))
def test_any_boxes_are_matched_as_by_detectron2(images, offset):
    """Boxes inside, across and outside the image, none at all, equal ones, several images at once."""
    anchors, grids = grid_of([[12], [24]], [[0.5, 1.0, 2.0]], [4, 8], [(8, 10), (4, 5)], offset)
    boxes = [torch.tensor(one, dtype=torch.float32).reshape(-1, 4) for one in images]
    labels, matched = match_anchors(boxes, anchors, grids, MATCHER.thresholds, MATCHER.labels)
    for own, own_labels, own_matched in zip(boxes, labels, matched, strict=True):
        expected_labels, expected = stock(own, anchors)
        assert torch.equal(own_labels, expected_labels)
        assert torch.equal(own_matched, expected)


def test_a_box_that_no_anchor_overlaps_makes_all_positive_as_in_detectron2():
    anchors, grids = PYRAMID
    outside = torch.tensor([[500.0, 500.0, 520.0, 520.0]])
    labels, matched = match_anchors([outside, outside[:0]], anchors, grids, MATCHER.thresholds, MATCHER.labels)
    assert torch.equal(labels[0], stock(outside, anchors)[0]) and (labels[0] == 1).all()
    assert (labels[1] == 0).all() and (matched == 0).all()


def test_more_boxes_than_anchors():
    anchors, grids = grid_of([[16]], [[1.0]], [16], [(2, 2)])
    generator = torch.Generator().manual_seed(0)
    low = torch.rand(200, 2, generator=generator) * 24
    boxes = torch.cat([low, low + 4 + torch.rand(200, 2, generator=generator) * 8], dim=1)
    labels, matched = match_anchors([boxes], anchors, grids, MATCHER.thresholds, MATCHER.labels)
    expected = stock(boxes, anchors)
    assert torch.equal(labels[0], expected[0]) and torch.equal(matched[0], expected[1])


@pytest.mark.parametrize(("thresholds", "names"), [([0.5], [0, 1]), ([0.3, 0.7], [0, -1, 1]), ([0.1, 0.5], [-1, 0, 1])])
def test_labels_by_threshold(thresholds, names):
    matcher = Matcher(thresholds, names)
    iou = torch.tensor([0.0, 0.1, 0.2999, 0.3, 0.5, 0.69, 0.7, 1.0])
    assert torch.equal(labels_of_iou(iou, matcher.thresholds, matcher.labels), matcher(iou[None])[1])
