"""Suppression by close pairs against torchvision's, set by set."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchvision.ops import nms

from nucleus.modeling.batched_nms import keep_best


def test_a_chain_by_hand():
    """Each box overlaps the next by 3/5: the first drops the second, which then does not drop the third."""
    boxes = torch.tensor([[0.0, 0.0, 4.0, 1.0], [1.0, 0.0, 5.0, 1.0], [2.0, 0.0, 6.0, 1.0], [3.0, 0.0, 7.0, 1.0]])
    group, valid = torch.zeros(4, dtype=torch.int64), torch.ones(4, dtype=torch.bool)
    assert keep_best(boxes, group, valid, 0.5).tolist() == [True, False, True, False]
    assert keep_best(boxes, torch.tensor([0, 1, 0, 1]), valid, 0.5).tolist() == [True, True, True, True]
    valid[0] = False
    assert keep_best(boxes, group, valid, 0.5).tolist() == [False, True, False, True]
    assert keep_best(boxes, group, valid, 0.7).tolist() == [False, True, True, True]


def test_no_boxes():
    none = torch.zeros(0, dtype=torch.int64)
    assert keep_best(torch.zeros(0, 4), none, none.bool(), 0.5).shape == (0,)
    assert not keep_best(torch.zeros(3, 4), torch.zeros(3, dtype=torch.int64), torch.zeros(3).bool(), 0.5).any()


def by_torchvision(boxes, group, valid, threshold):
    keep = torch.zeros_like(valid)
    for number in group.unique():
        which = ((group == number) & valid).nonzero()[:, 0]
        keep[which[nms(boxes[which], torch.linspace(1, 0, len(which)), threshold)]] = True
    return keep


coordinate = st.integers(0, 40).map(float) | st.floats(0, 40, width=32)
box = st.tuples(coordinate, coordinate, st.integers(0, 20), st.integers(1, 20)).map(
    lambda b: [b[0], b[1], b[0] + b[2], b[1] + b[3]]
)


@given(st.lists(st.tuples(box, st.integers(0, 2), st.booleans()), max_size=40), st.sampled_from([0.0, 0.3, 0.7, 1.0]))
def test_any_boxes_are_kept_as_by_torchvision(entries, threshold):
    """Equal boxes, empty ones, boxes of several sets mixed, IoUs on the threshold."""
    boxes = torch.tensor([entry[0] for entry in entries], dtype=torch.float32).reshape(-1, 4)
    group = torch.tensor([entry[1] for entry in entries], dtype=torch.int64)
    valid = torch.tensor([entry[2] for entry in entries], dtype=torch.bool)
    found = keep_best(boxes, group, valid, threshold)
    assert torch.equal(found, by_torchvision(boxes, group, valid, threshold))


@pytest.mark.parametrize("threshold", [0.3, 0.7])
def test_proposals_of_a_level_are_kept_as_by_torchvision(threshold):
    generator = torch.Generator().manual_seed(0)
    side = 5 + torch.rand(2000, 2, generator=generator) * 25
    low = torch.rand(2000, 2, generator=generator) * 120
    boxes, group = torch.cat([low, low + side], dim=1), torch.randint(0, 3, (2000,), generator=generator)
    valid = torch.rand(2000, generator=generator) > 0.1
    found = keep_best(boxes, group, valid, threshold)
    assert torch.equal(found, by_torchvision(boxes, group, valid, threshold))
    assert 100 < found.sum() < valid.sum()
