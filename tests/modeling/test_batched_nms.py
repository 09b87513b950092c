"""Both forms of suppression against torchvision's, set by set."""

from __future__ import annotations

import pytest
import torch
from torchvision.ops import nms

from nucleus.modeling.batched_nms import keep_best, keep_best_by_matrix


@pytest.mark.parametrize("suppress", [keep_best, keep_best_by_matrix])
def test_a_chain_by_hand(suppress):
    """Each box overlaps the next by 3/5: the first drops the second, which then does not drop the third."""
    boxes = torch.tensor([[[0.0, 0.0, 4.0, 1.0], [1.0, 0.0, 5.0, 1.0], [2.0, 0.0, 6.0, 1.0], [3.0, 0.0, 7.0, 1.0]]])
    valid = torch.ones(1, 4, dtype=torch.bool)
    assert suppress(boxes, valid, 0.5).tolist() == [[True, False, True, False]]
    valid[0, 0] = False
    assert suppress(boxes, valid, 0.5).tolist() == [[False, True, False, True]]
    assert suppress(boxes, valid, 0.7).tolist() == [[False, True, True, True]]


@pytest.mark.parametrize("suppress", [keep_best, keep_best_by_matrix])
def test_no_boxes(suppress):
    assert suppress(torch.zeros(2, 0, 4), torch.zeros(2, 0, dtype=torch.bool), 0.5).shape == (2, 0)
    assert not suppress(torch.zeros(2, 3, 4), torch.zeros(2, 3, dtype=torch.bool), 0.5).any()


@pytest.mark.parametrize("threshold", [0.3, 0.7])
def test_random_boxes_as_torchvision(threshold):
    generator = torch.Generator().manual_seed(0)
    centre, side = torch.rand(3, 400, 2, generator=generator) * 60, 5 + torch.rand(3, 400, 2, generator=generator) * 25
    boxes = torch.cat([centre - side / 2, centre + side / 2], dim=2)
    valid = torch.rand(3, 400, generator=generator) > 0.1
    by_loop, by_matrix = keep_best(boxes, valid, threshold), keep_best_by_matrix(boxes, valid, threshold)
    for own, ok, one, other in zip(boxes, valid, by_loop, by_matrix, strict=True):
        which = ok.nonzero()[:, 0]
        expected = which[nms(own[which], torch.linspace(1, 0, len(which)), threshold)].sort().values
        assert 0 < len(expected) < len(which)
        assert torch.equal(one.nonzero()[:, 0], expected)
        assert torch.equal(other.nonzero()[:, 0], expected)
