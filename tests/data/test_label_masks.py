import zipfile

import numpy as np
import pytest
import torch
from detectron2.layers.roi_align import ROIAlign
from detectron2.modeling.roi_heads.mask_head import mask_rcnn_loss
from detectron2.structures import BitMasks, Boxes, Instances
from detectron2.utils.events import EventStorage

from nucleus.data.label_masks import LabelMasks, crop_and_resize
from nucleus.formats.image import read_image
from nucleus.masks.label_image import label_components

LABELS = torch.tensor([[0, 3, 3, 0], [0, 3, 0, 0], [7, 7, 0, 9]], dtype=torch.int32)
ROUNDING = 1e-5  # how near to the threshold a sampled value must be for the two to differ


def blobs(height, width, seed, cell=24):
    """A label image of touching blobs of many sizes, at the borders, too."""
    rng = np.random.default_rng(seed)
    seeds = rng.uniform((0, 0), (height, width), (height * width // cell**2, 2))
    rows, columns = np.mgrid[:height, :width]
    distance = (rows[..., None] - seeds[:, 0]) ** 2 + (columns[..., None] - seeds[:, 1]) ** 2
    nearest = distance.argmin(axis=2)
    inside = distance.min(axis=2) < rng.uniform(4, cell, len(seeds))[nearest] ** 2
    return torch.from_numpy(np.where(inside, nearest + 1, 0).astype(np.int32))


def jittered(masks, count, seed, jitter=0.2):
    """Indices into the masks and boxes near theirs, clipped to the image."""
    rng = np.random.default_rng(seed)
    index = torch.from_numpy(rng.integers(0, len(masks), count))
    boxes = masks.get_bounding_boxes().tensor[index]
    sides = (boxes[:, 2:] - boxes[:, :2]).repeat(1, 2)
    boxes = boxes + sides * torch.from_numpy(rng.normal(0, jitter, (count, 4)).astype(np.float32))
    boxes = Boxes(torch.cat([torch.minimum(boxes[:, :2], boxes[:, 2:]), torch.maximum(boxes[:, :2], boxes[:, 2:])], 1))
    boxes.clip(masks.image_size)
    return index, boxes.tensor


def unequal_pixels(masks, boxes, size):
    """How many target pixels differ from those of BitMasks; fails where one is not on the threshold."""
    stock = masks.to_bit_masks()
    rois = torch.cat([torch.arange(len(boxes))[:, None].float(), boxes], dim=1)
    values = ROIAlign((size, size), 1.0, 0, aligned=True)(stock.tensor[:, None].float(), rois)[:, 0]
    differ = masks.crop_and_resize(boxes, size) != stock.crop_and_resize(boxes, size)
    assert ((values - 0.5).abs()[differ] < ROUNDING).all()
    return int(differ.sum())


def test_it_is_a_mask_structure_as_detectron2_wants_one():
    masks = LabelMasks(LABELS)
    assert len(masks) == 3 and masks.ids.tolist() == [3, 7, 9] and masks.image_size == (3, 4)
    assert repr(masks) == "LabelMasks(num_instances=3, image_size=(3, 4))"
    for item in (1, -1, slice(1, 3), torch.tensor([True, False, True]), torch.tensor([2, 0, 0, -1])):
        assert torch.equal(masks[item].tensor, BitMasks(masks.tensor)[item].tensor)
        assert masks[item].labels is LABELS
    assert torch.equal(torch.stack(list(masks)), masks.tensor)
    moved = masks.to("cpu")
    assert moved.device == torch.device("cpu") and torch.equal(moved.tensor, masks.tensor)


def test_boxes_and_emptiness_equal_those_of_bit_masks():
    masks = LabelMasks(LABELS, torch.tensor([9, 3, 5, 7, 3]))
    assert masks.get_bounding_boxes().tensor.tolist() == [
        [3, 2, 4, 3], [1, 0, 3, 2], [0, 0, 0, 0], [0, 2, 2, 3], [1, 0, 3, 2]
    ]  # fmt: skip
    assert masks.nonempty().tolist() == [True, True, False, True, True]
    many = LabelMasks(blobs(90, 120, seed=1))
    for one in (masks, many, many[:0], LabelMasks(torch.zeros(4, 4, dtype=torch.int16))):
        assert torch.equal(one.get_bounding_boxes().tensor, one.to_bit_masks().get_bounding_boxes().tensor)
        assert torch.equal(one.nonempty(), one.to_bit_masks().nonempty())


def test_instances_take_choose_and_join_it():
    instances = Instances((3, 4), gt_masks=LabelMasks(LABELS))
    chosen = instances[torch.tensor([2, 1])]
    assert chosen.gt_masks.ids.tolist() == [9, 7]
    assert Instances.cat([instances, chosen]).gt_masks.ids.tolist() == [3, 7, 9, 9, 7]
    with pytest.raises(ValueError, match="one label image"):
        LabelMasks.cat([LabelMasks(LABELS), LabelMasks(LABELS + 1)])


def test_what_is_no_label_image_is_refused():
    with pytest.raises(ValueError, match=r"\(H, W\), int16 or int32.*float32"):
        LabelMasks(torch.zeros(3, 4))
    with pytest.raises(ValueError, match=r"ids of shape \(N,\)"):
        LabelMasks(LABELS, LABELS)
    with pytest.raises(ValueError, match=r"\(3, 4\).*\(2, 4\)"):
        LabelMasks(LABELS).crop_and_resize(torch.zeros(2, 4), 28)


def test_a_target_by_hand():
    masks = LabelMasks(torch.tensor([[1, 2], [1, 1]], dtype=torch.int32))
    boxes = torch.tensor([[0.0, 0, 2, 2], [1, 0, 2, 1]])
    assert masks.crop_and_resize(boxes, 2).tolist() == [[[True, False], [True, True]], [[True, True], [True, True]]]


@pytest.mark.parametrize("size", [7, 28])
@pytest.mark.parametrize("cell", [6, 24, 90])
def test_targets_equal_those_of_bit_masks(size, cell):
    masks = LabelMasks(blobs(150, 211, seed=cell, cell=cell))
    index, boxes = jittered(masks, 200, seed=0)
    assert unequal_pixels(masks[index], boxes, size) <= 5  # of 200 x size x size


def test_boxes_of_whole_pixels_over_the_image_and_outside_it():
    masks = LabelMasks(blobs(80, 100, seed=3))
    boxes = torch.tensor(
        [[0, 0, 100, 80], [10, 10, 10, 30], [20, 20, 48, 48], [0, 0, 56, 28], [-9.3, -4, 20, 31], [70, 50, 130.5, 99],
         [-90, -90, -20, -20], [99.5, 79.5, 100, 80], [3.3, 3.3, 31.3, 31.3], [0, 40, 100, 41]]
    )  # fmt: skip
    for label in masks.ids:
        repeated = LabelMasks(masks.labels, label.repeat(len(boxes)))
        assert unequal_pixels(repeated, boxes, 28) <= 40  # whole pixels put many samples on the threshold


def test_int16_and_little_memory_give_the_same(monkeypatch):
    masks = LabelMasks(blobs(150, 211, seed=0))
    index, boxes = jittered(masks, 50, seed=1)
    expected = masks[index].crop_and_resize(boxes, 28)
    assert torch.equal(LabelMasks(masks.labels.short())[index].crop_and_resize(boxes, 28), expected)
    monkeypatch.setattr("nucleus.data.label_masks.WINDOW_PIXELS", 1)
    assert torch.equal(masks[index].crop_and_resize(boxes, 28), expected)


def test_mixed_precision_changes_nothing():
    masks = LabelMasks(blobs(150, 211, seed=0))
    index, boxes = jittered(masks, 100, seed=1)
    expected = masks[index].crop_and_resize(boxes, 28)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(masks[index].crop_and_resize(boxes, 28), expected)


def test_images_of_other_sizes_together_give_what_each_gives():
    several = [LabelMasks(blobs(60, 90, seed=0)), LabelMasks(blobs(100, 50, seed=1)), LabelMasks(blobs(30, 30, seed=2))]
    chosen, boxes = [], []
    for number, masks in enumerate(several):
        index, its_boxes = jittered(masks, 20 * (number < 2), seed=number)
        chosen.append(masks[index])
        boxes.append(its_boxes)
    expected = torch.cat([masks.crop_and_resize(its, 28) for masks, its in zip(chosen, boxes, strict=True)])
    assert len(expected) == 40
    assert torch.equal(crop_and_resize(chosen, boxes, 28), expected)
    mixed = [chosen[0].to_bit_masks(), *chosen[1:]]
    assert (crop_and_resize(mixed, boxes, 28) != expected).sum() <= 5


@pytest.mark.parametrize("first", [0, 1])
def test_small_and_large_label_numbers_together(first):
    small = LabelMasks(LABELS.to(torch.int16))
    large = LabelMasks(torch.where(LABELS > 0, LABELS + 40_000, 0))
    parts = [small, large][:: 1 if first == 0 else -1]
    both = crop_and_resize(parts, [part.get_bounding_boxes().tensor for part in parts], 4)
    assert both.any(dim=(1, 2)).all() and torch.equal(both[:3], both[3:])


def test_no_mask_gives_no_target():
    assert LabelMasks(LABELS)[:0].crop_and_resize(torch.zeros(0, 4), 28).shape == (0, 28, 28)


def test_detectron2s_mask_loss_takes_it():
    masks = LabelMasks(blobs(150, 211, seed=0))
    index, boxes = jittered(masks, 30, seed=1)
    logits = torch.randn(30, 1, 28, 28, generator=torch.Generator().manual_seed(0))

    def loss(gt_masks):
        instances = Instances((150, 211), proposal_boxes=Boxes(boxes), gt_classes=torch.zeros(30, dtype=torch.int64))
        instances.gt_masks = gt_masks
        return mask_rcnn_loss(logits, [instances])

    with EventStorage():
        assert torch.isclose(loss(masks[index]), loss(masks[index].to_bit_masks()), rtol=1e-4)


def test_targets_of_a_real_image(bbbc038_source, tmp_path):
    with zipfile.ZipFile(bbbc038_source / "stage1_train.zip") as archive:
        names = [name for name in archive.namelist() if name.endswith(".png")]
        image_id = names[0].split("/")[-3]
        masks = sorted(name for name in names if image_id in name and "/masks/" in name)
        labels = np.zeros(read_image(archive.extract(masks[0], tmp_path)).shape[:2], np.int32)
        for label, name in enumerate(masks, start=1):
            labels[read_image(archive.extract(name, tmp_path)) > 0] = label
    assert label_components(labels).max() > 1
    truth = LabelMasks(torch.from_numpy(labels))
    index, boxes = jittered(truth, 500, seed=0, jitter=0.1)
    assert unequal_pixels(truth[index], boxes, 28) <= 20  # of 392,000
