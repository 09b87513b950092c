"""BatchedRPN and BatchedROIHeads against Detectron2's, on one set of weights and with sampling made deterministic.

All in float32 and with the convolutions of the stock backbone: `test_fast_convolutions` compares those in float64,
since a difference in the last digit turns activations on and off in a random network. Tolerances: losses 1e-5 relative,
proposals 1e-3 pixels, gradients 1e-3 of the largest element of a parameter's gradient (sums of a hundred thousand terms
in another order). Proposals with scores that are equal to within 1e-5 may change places: less than 1 in 100 rows.
"""

from __future__ import annotations

import copy

import pytest
import torch
from detectron2.structures import Boxes, Instances
from detectron2.utils.events import EventStorage
from model_pairs import FAST, STOCK, quick_model, sample, scattered

from nucleus.errors import InputError
from nucleus.modeling.batched_roi_heads import BatchedROIHeads
from nucleus.modeling.batched_rpn import BatchedRPN

SIZE = (128, 128)
BATCHES = {
    "one image": [sample(SIZE, scattered(12, SIZE, 0))],
    "images of different sizes": [
        sample((96, 160), scattered(9, (96, 160), 1), 1),
        sample((128, 64), scattered(5, (128, 64), 2), 2),
    ],
    "one without nuclei": [sample(SIZE, [], 3), sample(SIZE, scattered(7, SIZE, 3), 4)],
    "none with nuclei": [sample(SIZE, [], 5), sample((64, 96), [], 6)],
    "dense": [sample(SIZE, scattered(150, SIZE, 7, side=9), 7), sample(SIZE, scattered(90, SIZE, 8, side=12), 8)],
    "more boxes than anchors": [sample((32, 32), scattered(300, (32, 32), 9, side=4), 9)],
    "boxes across the border": [
        sample(SIZE, [[-10.0, -10.0, 20.0, 20.0], [110.0, 60.0, 150.0, 90.0], [40.0, 40.0, 70.0, 75.0]], 10)
    ],
    "a box outside": [sample(SIZE, [[40.0, 40.0, 70.0, 75.0], [900.0, 900.0, 950.0, 930.0]], 11)],
    "bit masks": [sample(SIZE, scattered(12, SIZE, 0), 0, bit_masks=True)],
}


@pytest.fixture(scope="module")
def models():
    """Stock and fast with the same weights, spread so that proposals differ and no two scores are equal."""
    stock, fast = (quick_model(parts, "MODEL.FAST_CONVOLUTIONS", "False") for parts in (STOCK, FAST))
    generator = torch.Generator().manual_seed(1)
    for name, parameter in stock.named_parameters():
        if name.endswith(("objectness_logits.weight", "anchor_deltas.weight", "cls_score.weight", "predictor.weight")):
            torch.nn.init.normal_(parameter, std=0.05, generator=generator)
    fast.load_state_dict(stock.state_dict())
    return stock, fast


def step(model, batch, drawn_in_order):
    """Losses, gradients by name, and logged numbers of one step."""
    model.zero_grad(set_to_none=True)
    with EventStorage() as storage, drawn_in_order():
        losses = model(copy.deepcopy(batch))
        logged = {name: value for name, (value, _) in storage.latest().items()}
    sum(losses.values()).backward()
    return losses, {name: one.grad for name, one in model.named_parameters() if one.requires_grad}, logged


@pytest.mark.parametrize("case", BATCHES)
def test_losses_gradients_and_logs_are_those_of_detectron2(case, models, drawn_in_order):
    (losses, gradients, logged), (own, own_gradients, own_logged) = (
        step(model, BATCHES[case], drawn_in_order) for model in models
    )
    assert set(own) == set(losses)
    for name, loss in losses.items():
        assert own[name].item() == pytest.approx(loss.item(), rel=1e-5, abs=1e-6), name
    assert set(own_gradients) == set(gradients)
    for name, gradient in gradients.items():
        if gradient is None:
            assert own_gradients[name] is None or not own_gradients[name].any(), name
        else:
            # Over the tensor: a value within rounding of 0 before a ReLU moves single entries by more.
            assert (own_gradients[name] - gradient).norm() <= 5e-3 * gradient.norm() + 1e-8, name
    for name, value in logged.items():
        assert own_logged[name] == pytest.approx(value, abs=1e-4), name


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("case", ["one image", "images of different sizes", "dense"])
def test_proposals_are_those_of_detectron2_in_their_order(case, training, models):
    batch = BATCHES[case]
    results = []
    for model in models:
        images = model.preprocess_image(batch)
        with torch.no_grad(), EventStorage():
            features = models[0].backbone(images.tensor)  # of one network for both
            generator = model.proposal_generator.train(training)
            results.append(generator(images, features, [one["instances"] for one in batch] if training else None)[0])
            generator.train()
    for expected, found in zip(*results, strict=True):
        assert found.image_size == expected.image_size
        assert len(found) == len(expected) > 0
        assert torch.allclose(found.objectness_logits, expected.objectness_logits, atol=1e-5)
        distance = (found.proposal_boxes.tensor - expected.proposal_boxes.tensor).abs().amax(dim=1)
        assert (distance > 1e-3).float().mean() < 0.01


def test_detections_are_those_of_detectron2(models):
    batch = BATCHES["images of different sizes"]
    with torch.no_grad():
        results = [model.eval()(batch) for model in models]
    for model in models:
        model.train()
    for expected, found in zip(*results, strict=True):
        expected, found = expected["instances"], found["instances"]
        assert len(found) == len(expected) > 0
        assert torch.allclose(found.pred_boxes.tensor, expected.pred_boxes.tensor, atol=1e-3)
        assert torch.allclose(found.scores, expected.scores, atol=1e-5)


@pytest.mark.parametrize("case", BATCHES)
def test_the_sampled_regions_are_those_of_detectron2(case, models, drawn_in_order):
    batch = BATCHES[case]
    truth = [one["instances"] for one in batch]
    proposals = []
    for number, one in enumerate(truth):
        boxes = torch.tensor(scattered(60, one.image_size, 20 + number, side=16))
        near = one.gt_boxes.tensor[:20] + 2.0
        boxes = torch.cat([boxes, near])
        proposals.append(
            Instances(one.image_size, proposal_boxes=Boxes(boxes), objectness_logits=torch.zeros(len(boxes)))
        )
    results = []
    for model in models:
        with drawn_in_order(), EventStorage():
            results.append(model.roi_heads.label_and_sample_proposals(proposals, truth))
    for expected, found, own in zip(*results, truth, strict=True):
        assert torch.equal(found.proposal_boxes.tensor, expected.proposal_boxes.tensor)
        assert torch.equal(found.gt_classes, expected.gt_classes)
        if len(own):
            nuclei = expected.gt_classes == 0
            assert torch.equal(found.gt_boxes.tensor[nuclei], expected.gt_boxes.tensor[nuclei])
            assert len(found.gt_masks) == len(expected.gt_masks)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("MODEL.RPN.BBOX_REG_LOSS_TYPE", "giou"),
        ("MODEL.RPN.SMOOTH_L1_BETA", "0.1"),
        ("MODEL.ROI_BOX_HEAD.SMOOTH_L1_BETA", "0.5"),
        ("MODEL.ROI_BOX_HEAD.BBOX_REG_LOSS_TYPE", "giou"),
        ("MODEL.ROI_BOX_HEAD.USE_SIGMOID_CE", "True"),
        ("MODEL.ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG", "True"),
        ("MODEL.ROI_MASK_HEAD.CLS_AGNOSTIC_MASK", "True"),
        ("MODEL.ROI_HEADS.NUM_CLASSES", "3"),
        ("MODEL.ROI_HEADS.PROPOSAL_APPEND_GT", "False"),
        ("MODEL.RPN.CONV_DIMS", "[-1, -1]"),
        ("MODEL.ROI_BOX_HEAD.POOLER_TYPE", "ROIPool"),
    ],
)
def test_other_settings_of_detectron2_have_their_effect(key, value, drawn_in_order):
    stock, fast = (quick_model(parts, key, value) for parts in (STOCK, FAST))
    fast.load_state_dict(stock.state_dict())
    batch = BATCHES["one without nuclei"]
    losses, own = (step(model, batch, drawn_in_order)[0] for model in (stock, fast))
    for name, loss in losses.items():
        assert own[name].item() == pytest.approx(loss.item(), rel=1e-4, abs=1e-6), name


def test_random_samples_have_the_sizes_of_detectron2(models):
    batch = BATCHES["dense"]
    logs = []
    for model in models:
        with EventStorage() as storage:
            torch.manual_seed(0)
            model(copy.deepcopy(batch))
            logs.append({name: value for name, (value, _) in storage.latest().items()})
    for name in ("rpn/num_pos_anchors", "rpn/num_neg_anchors"):
        assert logs[1][name] == pytest.approx(logs[0][name])


def test_a_score_that_is_not_finite_is_found(models):
    fast = copy.deepcopy(models[1])
    torch.nn.init.constant_(fast.proposal_generator.rpn_head.objectness_logits.bias, torch.nan)
    with EventStorage(), pytest.raises(FloatingPointError, match="diverged"):
        fast(BATCHES["one image"])
    with torch.no_grad():
        assert len(fast.eval()(BATCHES["one image"])[0]["instances"]) == 0


def test_bfloat16_gives_about_the_losses_of_float32(models, drawn_in_order):
    batch = BATCHES["dense"]
    expected, *_ = step(models[1], batch, drawn_in_order)
    with torch.autocast("cpu", torch.bfloat16):
        found, *_ = step(models[1], batch, drawn_in_order)
    for name, loss in expected.items():
        assert found[name].dtype == torch.float32
        assert found[name].item() == pytest.approx(loss.item(), rel=0.1, abs=0.02), name


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("MODEL.ANCHOR_GENERATOR.NAME", "RotatedAnchorGenerator"),
        ("MODEL.RPN.BOUNDARY_THRESH", "0"),
        ("MODEL.KEYPOINT_ON", "True"),
        ("VIS_PERIOD", "10"),
    ],
)
def test_what_the_parts_do_not_know_is_refused(key, value):
    with pytest.raises(InputError):
        quick_model(FAST, key, value)


def test_parts_are_found_by_name(models):
    assert type(models[1].proposal_generator) is BatchedRPN
    assert type(models[1].roi_heads) is BatchedROIHeads
