"""The branch that expects the IoU of each mask."""

from __future__ import annotations

import copy

import pytest
import torch
from detectron2.structures import Boxes, Instances
from detectron2.utils.events import EventStorage
from model_pairs import FAST, STOCK, quick_model, sample, scattered, target
from torch import nn

from nucleus.errors import InputError
from nucleus.modeling.mask_scoring import MOST_LEARNT, MaskScoring, true_mask_ious, weigh_by_mask_iou

SIZE = (128, 128)
SCORING = "MODEL.ROI_MASK_HEAD.SCORING"


def test_shapes():
    branch = MaskScoring(channels=8, side=5)
    assert branch(torch.rand(3, 8, 5, 5), torch.rand(3, 1, 10, 10)).shape == (3,)
    assert branch(torch.rand(0, 8, 5, 5), torch.rand(0, 1, 10, 10)).shape == (0,)


def test_the_mask_is_seen():
    branch = MaskScoring(channels=8, side=14)
    nn.init.normal_(branch.predictor.weight)
    features = torch.rand(1, 8, 14, 14)
    full, half = torch.ones(1, 1, 28, 28), torch.ones(1, 1, 28, 28)
    half[..., 14:] = 0
    assert branch(features, full).item() != pytest.approx(branch(features, half).item())


def test_weighed_and_sorted():
    found = Instances((9, 9), pred_boxes=Boxes(torch.arange(16.0).reshape(4, 4)),
                      scores=torch.tensor([0.8, 0.6, 0.5, 0.4]),
                      mask_ious=torch.tensor([0.5, 1.2, 0.9, -0.1]))  # fmt: skip
    weighed = weigh_by_mask_iou(found)
    assert weighed.scores.tolist() == pytest.approx([0.6, 0.45, 0.4, 0])  # nothing gains, and no score is negative
    assert weighed.pred_boxes.tensor[:, 0].tolist() == [4, 8, 0, 12]
    assert not weighed.has("mask_ious")


def scored_model(*overrides: str) -> nn.Module:
    """With detections and expectations that differ."""
    model = quick_model(FAST, SCORING, "True", *overrides)
    generator = torch.Generator().manual_seed(1)
    nn.init.normal_(model.roi_heads.box_predictor.cls_score.weight, std=0.5, generator=generator)
    nn.init.normal_(model.roi_heads.mask_head.predictor.weight, std=0.5, generator=generator)
    nn.init.normal_(model.roi_heads.mask_scoring.predictor.weight, std=0.005, generator=generator)
    nn.init.constant_(model.roi_heads.mask_scoring.predictor.bias, 0.5)
    return model


@pytest.mark.parametrize("views", ["1", "2"])
def test_in_the_network(views):
    """The detections of the model without the branch, their scores times what all views expect on average."""
    batch = [sample(SIZE, scattered(12, SIZE, 0)), sample((96, 128), scattered(5, SIZE, 1))]
    model = scored_model("TEST.VIEWS", views).eval()
    plain_model = quick_model(FAST, "TEST.VIEWS", views).eval()
    plain_model.load_state_dict({k: v for k, v in model.state_dict().items() if "mask_scoring" not in k})
    seen = []
    model.roi_heads.mask_scoring.register_forward_hook(lambda _, __, ious: seen.append(ious))
    with torch.no_grad():
        plain = plain_model.inference(batch, do_postprocess=False)
        weighed = model.inference(batch, do_postprocess=False)
    assert len(seen) == int(views)
    expected = torch.stack(seen).mean(dim=0).split([len(one) for one in plain])
    for before, after, ious in zip(plain, weighed, expected, strict=True):
        assert len(before) == len(after) > 10
        assert ious.std() > 0.01 and not after.has("mask_ious")
        wanted = (before.scores * ious.clamp(0, 1)).sort(descending=True, stable=True)
        torch.testing.assert_close(after.scores, wanted.values)
        torch.testing.assert_close(after.pred_boxes.tensor, before.pred_boxes.tensor[wanted.indices])


def test_given_detections_keep_their_order_and_scores():
    model = scored_model().eval()
    given = Instances(SIZE, pred_boxes=Boxes(torch.tensor([[5.0, 5, 30, 30], [40, 40, 60, 70]])),
                      scores=torch.tensor([0.2, 0.9]), pred_classes=torch.zeros(2, dtype=torch.long))  # fmt: skip
    with torch.no_grad():
        (found,) = model.inference([sample(SIZE, [[10, 10, 40, 40]])], [given], do_postprocess=False)
    assert torch.equal(found.pred_boxes.tensor, given.pred_boxes.tensor)
    assert torch.equal(found.scores, given.scores) and found.mask_ious.shape == (2,)


def test_nothing_found():
    model = scored_model().eval()
    nn.init.constant_(model.roi_heads.box_predictor.cls_score.bias, 0.0)
    nn.init.zeros_(model.roi_heads.box_predictor.cls_score.weight)
    model.roi_heads.box_predictor.test_score_thresh = 0.9
    with torch.no_grad():
        (found,) = model.inference([sample(SIZE, [])], do_postprocess=False)
    assert len(found) == 0 and not found.has("mask_ious")


@pytest.mark.parametrize("margin", [0.0, 0.25])
def test_what_it_learns_by_hand(margin):
    """A mask that fills its region of 16 x 8 pixels, on a nucleus of the same size two pixels to the right of it; one
    beside all nuclei; one of no pixel."""
    region = torch.tensor([[20.0, 40, 36, 48], [80, 80, 96, 88], [20, 40, 36, 48]])
    extents = (region[:, 2:] - region[:, :2]) / (1 + 2 * margin)
    centres = (region[:, 2:] + region[:, :2]) / 2
    boxes = torch.cat([centres - extents / 2, centres + extents / 2], dim=1)
    masks = torch.ones(3, 1, 28, 28)
    masks[2] = 0
    truth = target(SIZE, [])
    truth.gt_masks.labels[40:48, 22:38] = 3
    truth.gt_masks.labels[45:60, 36:50] = 7
    found = Instances(SIZE, pred_boxes=Boxes(boxes), pred_masks=masks)
    ious = true_mask_ious(found, truth, margin)
    assert ious.tolist() == pytest.approx([14 * 8 / (16 * 8 * 2 - 2 * 3 - 14 * 8), 0, 0])
    assert true_mask_ious(found, target(SIZE, []), margin).tolist() == [0, 0, 0]


def test_all_else_learns_as_without_it():
    batch = [sample(SIZE, scattered(12, SIZE, 0)), sample(SIZE, [], 3), sample(SIZE, scattered(7, SIZE, 3), 4)]
    models = {"with": scored_model(), "without": quick_model(FAST)}
    models["without"].load_state_dict(
        {name: value for name, value in models["with"].state_dict().items() if "mask_scoring" not in name}
    )
    losses, gradients = {}, {}
    for name, model in models.items():
        torch.manual_seed(3)
        with EventStorage():
            losses[name] = model(copy.deepcopy(batch))
        sum(losses[name].values()).backward()
        gradients[name] = {key: one.grad for key, one in model.named_parameters() if one.grad is not None}
    own = losses["with"].pop("loss_mask_scoring")
    assert own > 0
    assert losses["with"] == losses["without"]
    branch = {key: gradients["with"].pop(key) for key in list(gradients["with"]) if "mask_scoring" in key}
    assert len(branch) == 14 and all(one.abs().sum() > 0 for one in branch.values())
    torch.testing.assert_close(gradients["with"], gradients["without"])


def test_it_learns():
    """The expected IoU of the detections of one image, which stay as they are."""
    model = scored_model("MODEL.ROI_HEADS.SCORE_THRESH_TEST", "0.3")
    for name, parameter in model.named_parameters():
        parameter.requires_grad_("mask_scoring" in name)
    batch = [sample(SIZE, scattered(12, SIZE, 0))]
    optimizer = torch.optim.AdamW(model.roi_heads.mask_scoring.parameters(), 1e-3)
    losses = []
    for step in range(40):
        torch.manual_seed(step)
        with EventStorage():
            loss = model(copy.deepcopy(batch))["loss_mask_scoring"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert sum(losses[-5:]) < 0.2 * sum(losses[:5])


def test_no_detections_to_learn_from():
    model = scored_model("MODEL.ROI_HEADS.SCORE_THRESH_TEST", "1.0")
    with EventStorage():
        loss = model([sample(SIZE, scattered(12, SIZE, 0)), sample(SIZE, [], 3)])["loss_mask_scoring"]
    loss.backward()
    assert loss.item() == 0


def test_few_detections_of_an_image_are_learnt_from():
    model, seen = scored_model("MODEL.ROI_HEADS.SCORE_THRESH_TEST", "0.0"), []
    model.roi_heads.mask_scoring.register_forward_hook(lambda _, inputs, __: seen.append(len(inputs[0])))
    with EventStorage():
        model([sample(SIZE, scattered(12, SIZE, 0)), sample(SIZE, [], 3)])
    assert seen == [2 * MOST_LEARNT]


def test_what_it_does_not_go_with():
    with pytest.raises(InputError, match=r"expected BatchedROIHeads with MODEL\.ROI_MASK_HEAD\.SCORING, found Stand"):
        quick_model(STOCK, SCORING, "True")
    with pytest.raises(InputError, match=r"SCORING: expected False without masks, found True"):
        quick_model({}, SCORING, "True", "MODEL.MASK_ON", "False")
    with pytest.raises(TypeError, match="expected LabelMasks, got BitMasks"), EventStorage():
        scored_model()([sample(SIZE, scattered(12, SIZE, 0), bit_masks=True)])
