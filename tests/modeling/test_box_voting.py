"""Boxes that all regions of an image vote on."""

from __future__ import annotations

import pytest
import torch
from detectron2.structures import Boxes, Instances
from model_pairs import STOCK, quick_model, sample
from torch import nn
from torchvision.ops import box_iou

from nucleus.errors import InputError
from nucleus.modeling.box_voting import vote

SIZE = (40, 40)


def detections(boxes: list[list[float]], classes: list[int] | None = None) -> Instances:
    places = torch.tensor(boxes).reshape(-1, 4)
    return Instances(SIZE, pred_boxes=Boxes(places), pred_classes=torch.tensor(classes or [0] * len(boxes)))


def test_by_hand():
    """Of three regions one lies like the detection (IoU 0.8), one does not (0.5), and one has too low a score."""
    found = detections([[0, 0, 10, 10]])
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 8], [0, 0, 10, 5], [0, 0, 10, 10]])
    scores = torch.tensor([[0.9, 0.1], [0.3, 0.7], [0.8, 0.2], [0.05, 0.95]])
    vote(found, boxes, scores, 0.7, 0.05)
    assert found.pred_boxes.tensor[0].tolist() == pytest.approx([0, 0, 10, (0.9 * 10 + 0.3 * 8) / 1.2])


def test_boxes_are_clipped_before_they_vote_and_nan_has_no_vote():
    found = detections([[30, 30, 40, 40]])
    boxes = torch.tensor([[30.0, 30, 50, 50], [float("nan"), 30, 40, 40]])
    vote(found, boxes, torch.tensor([[0.5, 0.5], [0.9, 0.1]]), 0.9, 0.05)
    assert found.pred_boxes.tensor.tolist() == [[30, 30, 40, 40]]


def test_each_class_votes_for_itself():
    found = detections([[0, 0, 10, 10], [0, 0, 10, 10]], [0, 1])
    boxes = torch.tensor([[0.0, 0, 10, 10, 0, 0, 10, 8]])  # of class 0, of class 1
    vote(found, boxes, torch.tensor([[0.5, 0.4, 0.1]]), 0.5, 0.05)
    assert found.pred_boxes.tensor.tolist() == [[0, 0, 10, 10], [0, 0, 10, 8]]


def test_without_regions_or_detections():
    found = detections([[0, 0, 10, 10]])
    vote(found, torch.zeros(0, 4), torch.zeros(0, 2), 0.5, 0.05)
    assert found.pred_boxes.tensor.tolist() == [[0, 0, 10, 10]]
    empty = detections([])
    vote(empty, torch.tensor([[0.0, 0, 10, 10]]), torch.tensor([[0.9, 0.1]]), 0.5, 0.05)
    assert len(empty) == 0


def test_against_loops_with_torchvisions_iou():
    generator = torch.Generator().manual_seed(0)
    corners = torch.rand(60, 2, generator=generator) * 25
    boxes = torch.cat([corners, corners + 5 + 10 * torch.rand(60, 2, generator=generator)], dim=1)
    scores = torch.rand(60, 1, generator=generator)
    found = detections(boxes[:20].tolist())
    vote(found, boxes, torch.cat([scores, 1 - scores], dim=1), 0.3, 0.1)
    for index, kept in enumerate(boxes[:20]):
        votes = [(score, box) for score, box in zip(scores[:, 0], boxes, strict=True)
                 if score > 0.1 and box_iou(kept[None], box[None]) >= 0.3]  # fmt: skip
        total = sum(score for score, _ in votes)
        wanted = sum(score * box for score, box in votes) / total if votes else kept
        torch.testing.assert_close(found.pred_boxes.tensor[index], wanted)


def test_in_the_network():
    """The same nuclei with the same scores, their boxes a little elsewhere; with an IoU of 1 as without votes."""
    found = {}
    for iou in ("0.0", "0.7", "1.0"):
        model = quick_model({}, "TEST.BOX_VOTING", iou).eval()
        torch.manual_seed(1)
        nn.init.normal_(model.roi_heads.box_predictor.cls_score.weight, std=0.5)
        with torch.no_grad():
            found[iou] = model([sample((128, 160), [[10, 10, 40, 40]])])[0]["instances"]
    plain, voted, alone = found.values()
    assert len(plain) > 10
    assert torch.equal(plain.scores, voted.scores)
    torch.testing.assert_close(plain.pred_boxes.tensor, alone.pred_boxes.tensor)
    moved = (plain.pred_boxes.tensor - voted.pred_boxes.tensor).abs().max(dim=1).values
    assert moved.max() > 0.01
    kept = box_iou(plain.pred_boxes.tensor, voted.pred_boxes.tensor).diagonal()
    assert kept.min() > 0.5


def test_what_cannot_be():
    with pytest.raises(InputError, match=r"TEST\.BOX_VOTING: expected 0, or 0\.4 .* to 1, found 2"):
        quick_model({}, "TEST.BOX_VOTING", "2")
    with pytest.raises(InputError, match=r"TEST\.BOX_VOTING: expected 0, or 0\.4 .* to 1, found 0\.3"):
        quick_model({}, "TEST.BOX_VOTING", "0.3")
    with pytest.raises(InputError, match=r"expected BatchedROIHeads with TEST\.BOX_VOTING, found StandardROIHeads"):
        quick_model(STOCK, "TEST.BOX_VOTING", "0.8")
