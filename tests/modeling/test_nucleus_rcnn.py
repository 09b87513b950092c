"""The fast end of inference gives what Detectron2's own gives, on one set of weights."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.config import CfgNode
from detectron2.layers.mask_ops import _do_paste_mask
from detectron2.modeling import GeneralizedRCNN, build_model
from detectron2.modeling.postprocessing import detector_postprocess
from detectron2.structures import Boxes, Instances
from torch import nn

import nucleus.modeling
from nucleus.config import load_config
from nucleus.errors import InputError
from nucleus.masks.box_masks import BoxMasks
from nucleus.masks.mask_stack import box_masks_from_stack
from nucleus.masks.paste import paste_masks, pixels_touched
from nucleus.modeling.nucleus_rcnn import NucleusRCNN, paste_on_device, paste_on_host, paste_packed, postprocess

CONFIG = Path(__file__).parents[2] / "configs" / "quick" / "mask_rcnn_lite0_FPN.yaml"
assert nucleus.modeling  # its import registers the model


def config(*overrides: str) -> CfgNode:
    return load_config(CONFIG, ["MODEL.TIMM.WEIGHTS", "", *overrides])


@pytest.fixture(scope="module")
def models() -> tuple[nn.Module, nn.Module]:
    """Stock and ours with the same weights: random, with masks of all shapes and scores apart from each other."""
    torch.manual_seed(0)
    stock = build_model(config("MODEL.META_ARCHITECTURE", "GeneralizedRCNN", "MODEL.TIMM.NORM", "BN"))
    nn.init.normal_(stock.roi_heads.mask_head.predictor.weight, std=2.0)
    nn.init.normal_(stock.roi_heads.box_predictor.cls_score.weight, std=0.5)
    ours = build_model(config("MODEL.META_ARCHITECTURE", "NucleusRCNN", "MODEL.TIMM.NORM", "BN"))
    ours.load_state_dict(stock.state_dict())
    return stock.eval(), ours.eval()


def images() -> list[dict]:
    """Two sizes in one batch, one of them smaller than the network sees it."""
    rng = np.random.default_rng(0)
    pixels = [rng.integers(0, 256, (3, *size), dtype=np.uint8) for size in ((96, 128), (160, 64))]
    sizes = [(64, 85), (160, 64)]
    return [
        {"image": torch.from_numpy(one), "height": height, "width": width}
        for one, (height, width) in zip(pixels, sizes, strict=True)
    ]


def test_names_of_parameters_and_classes(models):
    stock, ours = models
    assert type(stock) is GeneralizedRCNN
    assert type(ours) is NucleusRCNN
    assert list(stock.state_dict()) == list(ours.state_dict())


@torch.no_grad()
def test_detections_are_equal_and_masks_but_for_the_threshold(models):
    stock, ours = models
    batch = images()
    differing = total = 0
    for expected, found, record in zip(stock(batch), ours(batch), batch, strict=True):
        expected, found = expected["instances"], found["instances"]
        assert found.image_size == expected.image_size == (record["height"], record["width"])
        assert len(found) == len(expected) > 20
        assert torch.equal(found.pred_boxes.tensor, expected.pred_boxes.tensor)
        assert torch.equal(found.scores, expected.scores)
        assert torch.equal(found.pred_classes, expected.pred_classes)
        assert isinstance(found.pred_masks, BoxMasks)
        differing += int((np.asarray(found.pred_masks) != expected.pred_masks.numpy()).sum())
        total += int(expected.pred_masks.sum())
    assert total > 1000
    assert differing <= 1e-4 * total


@torch.no_grad()
def test_alone_and_in_a_batch(models):
    _, ours = models
    alone, together = ours(images()[:1])[0]["instances"], ours([images()[0]] * 2)[1]["instances"]
    assert torch.allclose(alone.pred_boxes.tensor, together.pred_boxes.tensor, atol=1e-3)
    assert len(alone.pred_masks) == len(together.pred_masks)


@torch.no_grad()
def test_raw_results_and_given_boxes_as_in_detectron2(models):
    stock, ours = models
    batch = images()
    given = [Instances((96, 128), pred_boxes=Boxes([[8, 8, 40, 30]]), pred_classes=torch.tensor([0]))]
    for arguments in ({"batched_inputs": batch}, {"batched_inputs": batch[:1], "detected_instances": given}):
        expected = stock.inference(**arguments, do_postprocess=False)
        found = ours.inference(**arguments, do_postprocess=False)
        for one, other in zip(expected, found, strict=True):
            assert torch.equal(one.pred_masks, other.pred_masks)


def raw(boxes: list[list[float]], size: tuple[int, int]) -> Instances:
    """Detections as the heads give them: masks that fill their boxes."""
    count = len(boxes)
    return Instances(
        size,
        pred_boxes=Boxes(torch.tensor(boxes).reshape(-1, 4)),
        scores=torch.linspace(1, 0.5, count),
        pred_classes=torch.zeros(count, dtype=torch.int64),
        pred_masks=torch.ones(count, 1, 28, 28),
    )


BOXES = {
    "none": [],
    "one pixel": [[4.0, 4.0, 5.0, 5.0]],
    "no width": [[3.0, 3.0, 3.0, 9.0], [4.0, 4.0, 8.0, 8.0]],
    "partly outside": [[-5.0, -5.0, 6.5, 7.0], [15.0, 10.0, 99.0, 99.0]],
    "outside": [[30.0, 0.0, 40.0, 5.0], [1.0, 1.0, 9.0, 9.0]],
    "thousand": [[i % 19, i % 17, i % 19 + 1.7, i % 17 + 1.4] for i in range(1000)],
}


@pytest.mark.parametrize("size", [(20, 24), (30, 36), (13, 7)])
@pytest.mark.parametrize("boxes", BOXES.values(), ids=list(BOXES))
def test_edge_cases_as_in_detectron2(boxes, size):
    (found,) = postprocess([raw(boxes, (20, 24))], [dict(zip(("height", "width"), size, strict=True))])
    expected = detector_postprocess(raw(boxes, (20, 24)), *size)
    assert torch.equal(found.pred_boxes.tensor, expected.pred_boxes.tensor)
    assert torch.equal(found.scores, expected.scores)
    stack = expected.pred_masks.numpy().astype(bool).reshape(-1, *size)
    np.testing.assert_array_equal(np.asarray(found.pred_masks), stack)
    assert found.pred_masks.encode() == box_masks_from_stack(stack, expected.pred_boxes.tensor.numpy()).encode()


def test_without_a_size_the_image_stays_as_the_network_saw_it():
    first, second = postprocess([raw(BOXES["one pixel"], (20, 24)), raw([], (8, 8))], [{}, {"height": 4, "width": 6}])
    assert first.image_size == (20, 24)
    assert first.pred_masks.areas.tolist() == [1]
    assert (second.image_size, len(second)) == ((4, 6), 0)


def test_instances_with_box_masks_can_be_indexed():
    (found,) = postprocess([raw(BOXES["partly outside"], (20, 24))], [{}])
    chosen = found[found.scores > 0.8]
    assert len(chosen) == len(chosen.pred_masks) == 1
    assert len(Instances.cat([found, chosen]).pred_masks) == 3
    assert len(found.to("cpu").pred_masks) == 2


def test_a_model_without_masks():
    detections = raw(BOXES["one pixel"], (20, 24))
    detections.remove("pred_masks")
    (found,) = postprocess([detections], [{}])
    assert not found.has("pred_masks")


def test_two_images_pasted_together_as_on_a_device():
    """On the host here: what runs on a GPU are the same operations."""
    first, second = raw(BOXES["partly outside"], (20, 24)), raw(BOXES["one pixel"], (9, 9))
    probabilities = [one.pred_masks[:, 0] for one in (first, second)]
    boxes = [one.pred_boxes.tensor for one in (first, second)]
    sizes = [(20, 24), (9, 9)]
    on_device, on_host = paste_on_device(probabilities, boxes, sizes), paste_on_host(probabilities, boxes, sizes)
    for found, expected in zip(on_device, on_host, strict=True):
        np.testing.assert_array_equal(np.asarray(found), np.asarray(expected))
        assert found.areas.sum() > 0


def test_keypoints_are_refused():
    with pytest.raises(InputError, match="KEYPOINT_ON: expected False"):
        NucleusRCNN.from_config(config("MODEL.KEYPOINT_ON", "True"))


def test_the_form_for_devices_equals_the_one_for_the_host():
    """Run on the host here, since the operations are the same; `postprocess` takes it for masks on a GPU."""
    rng = np.random.default_rng(1)
    height, width, count = 90, 70, 400
    centre, extent = rng.uniform(-5, 95, (count, 2)), rng.exponential(15, (count, 2))
    boxes = np.concatenate([centre - extent / 2, centre + extent / 2], axis=1).astype(np.float32)
    boxes[:40] = np.round(boxes[:40] * 2) / 2
    boxes[40:44] = [[3, 3, 3, 8], [5, 5, 3, 3], [0.4, 0.4, 0.6, 0.6], [-50, -50, 200, 200]]
    probabilities = rng.random((count, 28, 28)).astype(np.float32)
    probabilities[::3] = probabilities[::3] > 0.5

    corners = pixels_touched(boxes, height, width)
    found = paste_packed(*map(torch.from_numpy, (probabilities, boxes, corners))).numpy()
    expected = paste_masks(probabilities, boxes, height, width)
    differing = BoxMasks(corners, found != expected.pixels, height, width)
    assert expected.areas.sum() > 10_000
    assert differing.areas.sum() <= 1e-3 * expected.areas.sum()
    soft = _do_paste_mask(torch.from_numpy(probabilities)[:, None], torch.from_numpy(boxes), height, width, False)[0]
    on_threshold = soft.numpy()[np.asarray(differing)]
    assert all(math.isclose(value, 0.5, abs_tol=1e-5) for value in on_threshold)
    empty = torch.zeros(0, 28, 28), torch.zeros(0, 4), torch.zeros(0, 4, dtype=torch.int64)
    assert paste_packed(*empty).shape == (0,)


def disc(side: int = 28) -> torch.Tensor:
    """Probabilities (1, 1, M, M) of a disc that fills its box."""
    place = (torch.arange(side) + 0.5) / side * 2 - 1
    return torch.sigmoid((1 - (place[:, None] ** 2 + place**2).sqrt()) * side)[None, None]


@pytest.mark.parametrize("by", [-2.0, -0.5, 0.0, 0.25, 1.0, 3.0])
def test_expanded_by_pixels_of_the_image(by):
    """A disc of radius 12 in an image that the network saw twice as large."""
    raw = Instances((128, 128), pred_boxes=Boxes(torch.tensor([[40.0, 40.0, 88.0, 88.0]])), scores=torch.tensor([0.9]),
                    pred_classes=torch.tensor([0]), pred_masks=disc())  # fmt: skip
    (found,) = postprocess([raw], [{"height": 64, "width": 64}], expand=by)
    radius = math.sqrt(np.asarray(found.pred_masks)[0].sum() / math.pi)
    (plain,) = postprocess([raw], [{"height": 64, "width": 64}])
    before = math.sqrt(np.asarray(plain.pred_masks)[0].sum() / math.pi)
    assert radius - before == pytest.approx(by, abs=0.2)  # whole pixels
    assert found.pred_boxes.tensor[0].tolist() == pytest.approx([20 - by, 20 - by, 44 + by, 44 + by])


def test_expanded_boxes_stay_inside_and_no_box_comes_of_nothing():
    boxes = torch.tensor([[0.0, 0.0, 10.0, 10.0], [-9.0, 5.0, -3.0, 9.0], [30.0, 30.0, 31.0, 33.0]])
    raw = Instances((40, 40), pred_boxes=Boxes(boxes), scores=torch.tensor([0.9, 0.8, 0.7]),
                    pred_classes=torch.tensor([0, 0, 0]), pred_masks=torch.ones(3, 1, 28, 28))  # fmt: skip
    (found,) = postprocess([raw], [{"height": 40, "width": 40}], expand=2.0)
    assert found.scores.tolist() == pytest.approx([0.9, 0.7])  # the second lies outside of the image
    assert found.pred_boxes.tensor.tolist() == [[0, 0, 12, 12], [28, 28, 33, 35]]
    (found,) = postprocess([raw], [{"height": 40, "width": 40}], expand=-20.0)
    assert found.pred_boxes.tensor.tolist() == [[4.5, 4.5, 5.5, 5.5], [30, 31, 31, 32]]
    with pytest.raises(InputError, match=r"TEST\.EXPAND: expected from -20 to 20 pixels, found 21"):
        build_model(config("TEST.EXPAND", "21.0"))
