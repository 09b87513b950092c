"""Masks in boxes with a margin."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from detectron2.structures import Boxes, Instances
from detectron2.utils.events import EventStorage
from model_pairs import FAST, STOCK, quick_model, sample, scattered
from torch import nn

from nucleus.errors import InputError
from nucleus.modeling.mask_regions import widened
from nucleus.modeling.nucleus_rcnn import postprocess
from nucleus.modeling.views import _mean_masks, views

SIZE = (128, 128)
MARGIN = "MODEL.ROI_MASK_HEAD.MARGIN"
ON_PREDICTED = "MODEL.ROI_BOX_HEAD.TRAIN_ON_PRED_BOXES"


def raw_in(boxes: list[list[float]], size: tuple[int, int]) -> Instances:
    """Detections whose masks fill all of their regions."""
    count = len(boxes)
    fields = {"scores": torch.full((count,), 0.9), "pred_classes": torch.zeros(count, dtype=torch.int64)}
    return Instances(size, pred_boxes=Boxes(torch.tensor(boxes)), pred_masks=torch.ones(count, 1, 28, 28), **fields)


def test_by_hand():
    boxes = torch.tensor([[10.0, 20.0, 30.0, 60.0], [0.0, 0.0, 4.0, 8.0]])
    assert widened(boxes, 0.25).tolist() == [[5, 10, 35, 70], [-1, -2, 5, 10]]
    assert torch.equal(widened(boxes, 0.0), boxes)


def test_a_mask_is_drawn_where_its_box_is_too_small_and_the_box_stays():
    (found,) = postprocess([raw_in([[8.0, 8.0, 16.0, 24.0], [0.0, 0.0, 4.0, 4.0]], (32, 32))], [{}], mask_margin=0.25)
    first, second = np.asarray(found.pred_masks)
    assert first.sum() == 12 * 24
    assert first[4:28, 6:18].all()
    assert second.sum() == 5 * 5  # cut off at the border
    assert found.pred_boxes.tensor.tolist() == [[8, 8, 16, 24], [0, 0, 4, 4]]


def test_expanded_with_a_margin():
    """A nucleus that fills its box of 8 pixels grows by 2 on each side, so its region of 12 by 3."""
    (found,) = postprocess([raw_in([[12.0, 12.0, 20.0, 20.0]], (32, 32))], [{}], 2.0, 0.25)
    assert np.asarray(found.pred_masks)[0].sum() == 18 * 18
    assert found.pred_boxes.tensor.tolist() == [[10, 10, 22, 22]]


def test_the_mask_branch_sees_what_postprocess_draws_in():
    """In the network: boxes and scores as without a margin, masks as without one in boxes that are already wider."""
    model = quick_model({}, MARGIN, "0.2").eval()
    generator = torch.Generator().manual_seed(1)
    nn.init.normal_(model.roi_heads.box_predictor.cls_score.weight, std=0.5, generator=generator)
    nn.init.normal_(model.roi_heads.mask_head.predictor.weight, std=0.5, generator=generator)
    batch = [sample(SIZE, scattered(12, SIZE, 0))]
    with torch.no_grad():
        (own,) = model.inference(batch, do_postprocess=False)
        drawn = model(batch)[0]["instances"]
        model.roi_heads.mask_margin = 0.0
        (plain,) = model.inference(batch, do_postprocess=False)
        (wide,) = model.inference(batch, [wider(plain)], do_postprocess=False)
    assert len(plain) > 10
    assert torch.equal(own.pred_boxes.tensor, plain.pred_boxes.tensor)
    assert torch.equal(own.scores, plain.scores)
    assert torch.equal(own.pred_masks, wide.pred_masks)
    assert not torch.allclose(own.pred_masks, plain.pred_masks, atol=1e-3)
    expected = postprocess([own], [{}], mask_margin=0.2)[0].pred_masks
    assert np.array_equal(np.asarray(drawn.pred_masks), np.asarray(expected))


def wider(found: Instances) -> Instances:
    boxes = Boxes(widened(found.pred_boxes.tensor, 0.2))
    return Instances(found.image_size, pred_boxes=boxes, scores=found.scores, pred_classes=found.pred_classes)


def test_masks_of_several_views():
    """With a margin, the mean of all views is that of the wider boxes without one."""
    model = quick_model({}, MARGIN, "0.2").eval()
    nn.init.normal_(model.roi_heads.mask_head.predictor.weight, std=0.5, generator=torch.Generator().manual_seed(1))
    pixels = model.preprocess_image([sample(SIZE, scattered(12, SIZE, 0))]).tensor
    boxes = Boxes(torch.tensor([[10.0, 20.0, 30.0, 60.0], [70.0, 40.0, 100.0, 64.0]]))
    found = Instances(SIZE, pred_boxes=boxes, scores=torch.ones(2), pred_classes=torch.zeros(2, dtype=torch.int64))
    with torch.no_grad():
        maps = [model.backbone(view.of_pixels(pixels).contiguous()) for view in views(8)]
        own = _mean_masks(model.roi_heads, [found], maps, SIZE)[0]["pred_masks"]
        model.roi_heads.mask_margin = 0.0
        wide, plain = (
            _mean_masks(model.roi_heads, [one], maps, SIZE)[0]["pred_masks"] for one in (wider(found), found)
        )
    torch.testing.assert_close(own, wide)
    assert not torch.allclose(own, plain, atol=1e-3)


def losses_of(model: nn.Module) -> dict[str, float]:
    torch.manual_seed(3)
    batch = [sample(SIZE, scattered(12, SIZE, 0)), sample(SIZE, [], 3), sample(SIZE, scattered(7, SIZE, 3), 4)]
    with EventStorage():
        return {name: loss.item() for name, loss in model(copy.deepcopy(batch)).items()}


def spread(model: nn.Module) -> nn.Module:
    """With boxes that differ from the proposals."""
    generator = torch.Generator().manual_seed(1)
    nn.init.normal_(model.roi_heads.box_predictor.bbox_pred.weight, std=0.1, generator=generator)
    nn.init.normal_(model.roi_heads.mask_head.predictor.weight, std=0.1, generator=generator)
    return model


def test_predicted_boxes_in_training_are_those_of_detectron2(drawn_in_order):
    stock = spread(quick_model(STOCK, ON_PREDICTED, "True"))
    losses = {}
    for name, model in {"stock": stock, "fast": quick_model(FAST, ON_PREDICTED, "True"),
                        "proposals": quick_model(FAST)}.items():  # fmt: skip
        model.load_state_dict(stock.state_dict())
        with drawn_in_order():
            losses[name] = losses_of(model)
    for name, loss in losses["stock"].items():
        assert losses["fast"][name] == pytest.approx(loss, rel=1e-4), name
    assert abs(losses["proposals"]["loss_mask"] / losses["stock"]["loss_mask"] - 1) > 1e-3


def test_a_margin_is_trained_with(drawn_in_order):
    """As without one in boxes that are already wider."""
    model = spread(quick_model(FAST, MARGIN, "0.2"))
    with drawn_in_order():
        own = losses_of(model)
    heads = model.roi_heads
    draw_in = heads._mask_losses
    heads.mask_margin = 0.0
    heads._mask_losses = lambda maps, regions, boxes, targets: draw_in(maps, regions, widened(boxes, 0.2), targets)
    with drawn_in_order():
        assert losses_of(model) == pytest.approx(own)
    heads._mask_losses = draw_in
    with drawn_in_order():
        assert losses_of(model)["loss_mask"] != pytest.approx(own["loss_mask"], rel=1e-3)


def test_boxes_that_are_no_numbers_end_in_a_loss_that_is_none():
    model = quick_model(FAST, ON_PREDICTED, "True", MARGIN, "0.2")
    nn.init.constant_(model.roi_heads.box_predictor.bbox_pred.bias, torch.nan)
    losses = losses_of(model)
    assert math.isnan(losses["loss_box_reg"])
    assert math.isfinite(losses["loss_mask"])


def test_what_cannot_be():
    for margin in ("0.6", "-0.1"):
        with pytest.raises(InputError, match=rf"ROI_MASK_HEAD\.MARGIN: expected from 0 to 0\.5 .* found {margin}"):
            quick_model({}, MARGIN, margin)
    with pytest.raises(InputError, match=r"expected BatchedROIHeads with MODEL\.ROI_MASK_HEAD\.MARGIN, found Standard"):
        quick_model(STOCK, MARGIN, "0.1")
    with pytest.raises(InputError, match=r"MARGIN: expected 0\.0 without masks, found 0\.1"):
        quick_model({}, MARGIN, "0.1", "MODEL.MASK_ON", "False")
