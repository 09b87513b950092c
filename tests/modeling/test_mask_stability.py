"""Scores weighed by how sure masks are of their outlines."""

from __future__ import annotations

import pytest
import torch
from detectron2.modeling import build_model
from detectron2.structures import Boxes, Instances
from model_pairs import QUICK, quick_model, sample
from torch import nn

from nucleus.config import load_config
from nucleus.errors import InputError
from nucleus.modeling.mask_stability import HIGH, LOW, stability, weigh_by_stability


def test_by_hand():
    masks = torch.zeros(4, 1, 2, 2)
    masks[0] = 0.9  # sure
    masks[1] = torch.tensor([[0.9, 0.9], [0.9, 0.5]])  # three of four
    masks[2] = 0.5  # nowhere sure
    assert stability(masks).tolist() == [1, 0.75, 0, 0]
    assert stability(masks[:0]).shape == (0,)


def test_the_steeper_the_outline_the_surer():
    """A disc whose edge is a ramp of so many pixels: the IoU of two discs."""
    radius = torch.hypot(*torch.meshgrid(torch.arange(280.0) - 139.5, torch.arange(280.0) - 139.5, indexing="ij"))
    found = []
    for ramp in (10, 40, 80):
        disc = (0.5 - (radius - 100) / ramp).clamp(0, 1)
        outer, inner = 100 + ramp * (0.5 - LOW), 100 - ramp * (HIGH - 0.5)
        found.append(stability(disc[None, None]).item())
        assert found[-1] == pytest.approx((inner / outer) ** 2, abs=0.005)
    assert found == sorted(found, reverse=True)


def test_weighed_and_sorted():
    masks = torch.full((3, 1, 2, 2), 0.9)
    masks[0, 0, 0] = 0.5  # half of it sure
    found = Instances((9, 9), pred_boxes=Boxes(torch.arange(12.0).reshape(3, 4)), scores=torch.tensor([0.8, 0.6, 0.5]),
                      pred_classes=torch.zeros(3, dtype=torch.long), pred_masks=masks)  # fmt: skip
    weighed = weigh_by_stability(found)
    assert weighed.scores.tolist() == pytest.approx([0.6, 0.5, 0.4])
    assert weighed.pred_boxes.tensor[:, 0].tolist() == [4, 8, 0]


@pytest.mark.parametrize("views", ["1", "2"])
def test_in_the_network(views):
    """The same nuclei, scored lower by the stability of their masks."""
    found = []
    for on in ("False", "True"):
        model = quick_model({}, "TEST.MASK_STABILITY", on, "TEST.VIEWS", views).eval()
        torch.manual_seed(1)
        nn.init.normal_(model.roi_heads.box_predictor.cls_score.weight, std=0.5)
        nn.init.normal_(model.roi_heads.mask_head.predictor.weight, std=2.0)
        with torch.no_grad():
            found.append(model.inference([sample((128, 160), [[10, 10, 40, 40]])], do_postprocess=False)[0])
    plain, weighed = found
    assert len(plain) == len(weighed) > 10
    wanted = (plain.scores * stability(plain.pred_masks)).sort(descending=True, stable=True)
    assert torch.equal(weighed.scores, wanted.values)
    assert torch.equal(weighed.pred_boxes.tensor, plain.pred_boxes.tensor[wanted.indices])


def test_given_detections_keep_their_order_and_scores():
    model = quick_model({}, "TEST.MASK_STABILITY", "True").eval()
    given = Instances((128, 160), pred_boxes=Boxes(torch.tensor([[5.0, 5, 30, 30], [40, 40, 60, 70]])),
                      pred_classes=torch.zeros(2, dtype=torch.long))  # fmt: skip
    with torch.no_grad():
        (found,) = model.inference([sample((128, 160), [[10, 10, 40, 40]])], [given], do_postprocess=False)
    assert torch.equal(found.pred_boxes.tensor, given.pred_boxes.tensor)
    assert found.has("pred_masks") and not found.has("scores")


def test_without_masks():
    overrides = ["MODEL.TIMM.WEIGHTS", "", "MODEL.MASK_ON", "False", "TEST.MASK_STABILITY", "True"]
    with pytest.raises(InputError, match=r"TEST\.MASK_STABILITY: expected False without masks"):
        build_model(load_config(QUICK, overrides))
