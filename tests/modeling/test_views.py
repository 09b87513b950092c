"""Views of an image and what was found in them put together."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.modeling import GeneralizedRCNNWithTTA, build_model
from detectron2.structures import Boxes, Instances
from torch import nn

import nucleus.modeling
from nucleus.config import load_config
from nucleus.errors import InputError
from nucleus.modeling.nucleus_rcnn import NucleusRCNN
from nucleus.modeling.views import COUNTS, agree, detect_in_views, views

CONFIG = Path(__file__).parents[2] / "configs" / "quick" / "mask_rcnn_lite0_FPN.yaml"
assert nucleus.modeling  # its import registers the model


def network(count: int) -> NucleusRCNN:
    """Random weights, the same for each count."""
    torch.manual_seed(0)
    overrides = ["MODEL.TIMM.WEIGHTS", "", "MODEL.TIMM.NORM", "BN", "TEST.VIEWS", str(count)]
    model = build_model(load_config(CONFIG, overrides))
    nn.init.normal_(model.roi_heads.mask_head.predictor.weight, std=2.0)
    nn.init.normal_(model.roi_heads.box_predictor.cls_score.weight, std=0.5)
    return model.eval()


def record(pixels: torch.Tensor) -> dict:
    return {"image": pixels, "height": pixels.shape[1], "width": pixels.shape[2]}


def image(height: int, width: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, height, width), dtype=np.uint8))


@pytest.mark.parametrize("number", range(8))
def test_a_view_and_back(number):
    """A box painted into the image and seen in the view is the view's box painted there."""
    view = views(8)[number]
    height, width, box = 6, 9, (1, 2, 5, 4)
    painted = torch.zeros(height, width)
    painted[box[1] : box[3], box[0] : box[2]] = torch.arange(8.0).reshape(2, 4) + 1
    seen = view.of_pixels(painted)
    left, top, right, bottom = view.of_boxes(torch.tensor([box]), height, width)[0].tolist()
    assert (seen[top:bottom, left:right] > 0).all() and int((seen > 0).sum()) == 8
    assert torch.equal(view.pixels_back(seen), painted)
    back = view.boxes_back(torch.tensor([[left, top, right, bottom]]), height, width)
    assert back.tolist() == [list(box)]


def test_the_eight_views_differ():
    grid = torch.arange(6).reshape(2, 3)
    assert len({str(view.of_pixels(grid).tolist()) for view in views(8)}) == 8
    assert [len(views(count)) for count in COUNTS] == list(COUNTS)
    assert torch.equal(views(1)[0].of_pixels(grid), grid)


def found(boxes: list[list[float]], scores: list[float], classes: list[int] | None = None) -> Instances:
    return Instances((100, 100), pred_boxes=Boxes(torch.tensor(boxes).reshape(-1, 4)), scores=torch.tensor(scores),
                     pred_classes=torch.tensor(classes or [0] * len(scores)))  # fmt: skip


def test_agreement_by_hand():
    one = found([[0, 0, 10, 10], [50, 50, 60, 60]], [0.9, 0.8])
    other = found([[0, 0, 10, 12]], [0.6])
    agreed = agree([one, other], (100, 100), 0.4, 0.05, 500)
    # Both views see the first: (0.9 + 0.6) / 2, its box the mean with these weights; one sees the second: 0.8 / 2.
    assert agreed.scores.tolist() == pytest.approx([0.75, 0.4])
    assert agreed.pred_boxes.tensor[0].tolist() == pytest.approx([0, 0, 10, (0.9 * 10 + 0.6 * 12) / 1.5])
    assert agreed.pred_boxes.tensor[1].tolist() == pytest.approx([50, 50, 60, 60])
    assert agree([one, other], (100, 100), 0.4, 0.4, 500).scores.tolist() == pytest.approx([0.75])  # 0.4 is no more
    assert len(agree([one, other], (100, 100), 0.4, 0.05, 1)) == 1
    assert len(agree([found([], []), found([], [])], (100, 100), 0.4, 0.05, 500)) == 0


def test_one_view_alone_does_not_merge_two_nuclei():
    """One view takes two nuclei for one, with the highest score of all; three views see two."""
    two = [found([[0, 0, 20, 10], [0, 10, 20, 22]], [0.8, 0.8]) for _ in range(3)]
    agreed = agree([*two, found([[0, 0, 20, 22]], [0.99])], (100, 100), 0.4, 0.05, 500)
    assert len(agreed) == 2
    assert agreed.scores.tolist() == pytest.approx([(3 * 0.8 + 0.99) / 4, 0.6])  # the one for two is near the second


def test_classes_do_not_mix_and_boxes_stay_inside():
    agreed = agree([found([[90, 90, 110, 110], [90, 90, 110, 110]], [0.9, 0.5], [0, 1])], (100, 100), 0.4, 0.05, 500)
    assert sorted(zip(agreed.pred_classes.tolist(), agreed.scores.tolist(), strict=True)) == [
        (0, pytest.approx(0.9)), (1, pytest.approx(0.5)),
    ]  # fmt: skip
    assert agreed.pred_boxes.tensor.tolist() == [[90, 90, 100, 100]] * 2


@torch.no_grad()
def test_one_view_is_what_the_network_finds():
    model, pixels = network(1), image(96, 128)
    (expected,), (seen,) = (
        model.inference([record(pixels)], do_postprocess=False),
        detect_in_views(model, [record(pixels)], 1),
    )
    assert len(seen) == len(expected) > 20
    assert torch.allclose(seen.scores, expected.scores)
    assert torch.allclose(seen.pred_boxes.tensor, expected.pred_boxes.tensor, atol=1e-3)
    assert torch.allclose(seen.pred_masks, expected.pred_masks, atol=1e-3)


@torch.no_grad()
def test_masks_are_the_mean_as_in_detectron2():
    """Detectron2's own averaging of masks over a mirrored view, for the boxes that were agreed on."""
    model, pixels = network(2), image(96, 128)
    (agreed,) = detect_in_views(model, [record(pixels)], 2)
    mirrored = [record(pixels), record(pixels.flip(2))]
    boxes = agreed.pred_boxes.tensor
    flipped = torch.stack([128 - boxes[:, 2], boxes[:, 1], 128 - boxes[:, 0], boxes[:, 3]], dim=1)
    given = [Instances((96, 128), pred_boxes=Boxes(one), pred_classes=agreed.pred_classes) for one in (boxes, flipped)]
    outputs = model.inference(mirrored, given, do_postprocess=False)
    tta = GeneralizedRCNNWithTTA.__new__(GeneralizedRCNNWithTTA)
    expected = tta._reduce_pred_masks(outputs, [_Transform(False), _Transform(True)])
    assert torch.allclose(agreed.pred_masks, expected, atol=1e-4)


class _Transform:
    """What Detectron2 asks of a transform of a view: whether it mirrors."""

    def __init__(self, mirrors: bool) -> None:
        from fvcore.transforms import HFlipTransform, NoOpTransform

        self.transforms = [HFlipTransform(128) if mirrors else NoOpTransform()]


def test_other_counts_are_refused():
    with pytest.raises(InputError, match=r"TEST\.VIEWS: expected 1, 2, 4 or 8, found 3"):
        build_model(load_config(CONFIG, ["MODEL.TIMM.WEIGHTS", "", "TEST.VIEWS", "3"]))
