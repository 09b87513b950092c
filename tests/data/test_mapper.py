import cv2
import numpy as np
import pytest
import torch
from detectron2.structures import BitMasks

from nucleus.config import load_config
from nucleus.data.catalog import load_records
from nucleus.data.decoded import Decoded
from nucleus.data.label_masks import LabelMasks
from nucleus.data.mapper import NucleusMapper, instances_from_label_image
from nucleus.errors import InputError

SETTINGS = {
    "short_edge": 0,
    "crop_size": 1000,
    "scale_range": (1.0, 1.0),
    "flip_and_turn": False,
    "min_area": 1,
    "photometric": {},
    "bgr": False,
}


def test_masks_and_boxes_of_a_label_image():
    labels = np.zeros((4, 6), np.int32)
    labels[1:3, 2:5] = 3
    labels[0, 0] = 8
    instances = instances_from_label_image(labels)
    assert instances.gt_boxes.tensor.tolist() == [[2, 1, 5, 3], [0, 0, 1, 1]]
    assert (instances.gt_masks.tensor.numpy() == np.stack([labels == 3, labels == 8])).all()
    assert instances.gt_classes.tolist() == [0, 0]


def test_boxes_equal_detectron2s_own():
    labels = np.random.default_rng(0).integers(0, 5, (20, 30)).astype(np.int32)
    instances = instances_from_label_image(labels)
    assert torch.equal(instances.gt_boxes.tensor, instances.gt_masks.get_bounding_boxes().tensor)


def test_small_remnants_and_empty_images_give_no_targets():
    labels = np.zeros((4, 6), np.int32)
    labels[0, :3] = 1
    assert len(instances_from_label_image(labels, min_area=4)) == 0
    empty = instances_from_label_image(np.zeros((4, 6), np.int32))
    assert len(empty) == 0 and isinstance(empty.gt_masks, LabelMasks) and empty.gt_boxes.tensor.shape == (0, 4)


def test_training_without_augmentation_gives_the_image_and_its_nuclei(two_images):
    json_file, root, labels = two_images
    sample = NucleusMapper(True, **SETTINGS)(load_records(json_file, root)[0])
    assert sample["image"].shape == (3, 40, 50) and sample["image"].dtype == torch.uint8
    assert (sample["instances"].gt_masks.tensor.numpy() == np.stack([labels == 1, labels == 2])).all()
    assert "rles" not in sample and sample["image_id"] == 7


def test_augmented_targets_lie_on_their_nuclei(two_images):
    json_file, root, _ = two_images
    settings = SETTINGS | {"short_edge": 100, "scale_range": (0.6, 1.7), "crop_size": 64, "flip_and_turn": True}
    mapper = NucleusMapper(True, **settings)
    record = load_records(json_file, root)[0]
    for seed in range(20):
        sample = mapper(record, np.random.default_rng(seed))
        bright = sample["image"][0] > 110
        inside = sample["instances"].gt_masks.tensor.any(dim=0)
        assert (bright != inside).sum() <= 0.03 * bright.numel()


def test_testing_enlarges_the_image_and_keeps_its_own_size_in_the_record(two_images):
    json_file, root, _ = two_images
    sample = NucleusMapper(False, **(SETTINGS | {"short_edge": 80}))(load_records(json_file, root)[0])
    assert sample["image"].shape == (3, 80, 100)
    assert (sample["height"], sample["width"]) == (40, 50)
    assert "instances" not in sample


def test_an_image_without_nuclei_is_a_negative_example(two_images):
    json_file, root, _ = two_images
    assert len(NucleusMapper(True, **SETTINGS)(load_records(json_file, root)[1])["instances"]) == 0


def test_an_image_of_another_size_than_annotated_is_named(two_images):
    json_file, root, _ = two_images
    record = load_records(json_file, root)[0] | {"height": 41}
    with pytest.raises(InputError, match=r"one\.png.*41 x 50.*40 x 50"):
        NucleusMapper(True, **SETTINGS)(record)


def test_masks_come_as_a_label_image_or_as_detectron2s_own(two_images, pytestconfig):
    json_file, root, _ = two_images
    record = load_records(json_file, root)[0]
    settings = SETTINGS | {"scale_range": (0.6, 1.7), "crop_size": 30, "flip_and_turn": True}
    for seed in range(5):
        label, bit = (
            NucleusMapper(True, **settings, mask_format=name)(record, np.random.default_rng(seed))["instances"]
            for name in ("label", "bitmask")
        )
        assert isinstance(label.gt_masks, LabelMasks) and isinstance(bit.gt_masks, BitMasks)
        assert torch.equal(label.gt_masks.tensor, bit.gt_masks.tensor)
        assert torch.equal(label.gt_boxes.tensor, bit.gt_boxes.tensor)
        assert torch.equal(label.gt_boxes.tensor, bit.gt_masks.get_bounding_boxes().tensor)
    with pytest.raises(InputError, match=r"INPUT\.MASK_FORMAT.*label or bitmask.*polygon"):
        NucleusMapper(True, **settings, mask_format="polygon")
    cfg = load_config(pytestconfig.rootpath / "configs/quick/mask_rcnn_lite0_FPN.yaml")
    assert NucleusMapper(cfg).mask_format == "label"
    cfg.INPUT.MASK_FORMAT = "bitmask"
    assert NucleusMapper(cfg).mask_format == "bitmask"


def test_overlapping_masks_go_through_in_layers():
    first, second = np.zeros((2, 20, 20), np.int16)
    first[2:12, 2:12], first[15:, 15:], second[5:15, 5:15] = 1, 3, 2
    decoded = Decoded(np.zeros((20, 20), np.uint8), (first, second))
    settings = SETTINGS | {"scale_range": (2.0, 2.0)}
    instances = NucleusMapper(True, **settings).train({}, decoded, np.random.default_rng(0))["instances"]
    assert isinstance(instances.gt_masks, BitMasks)
    expected = [np.kron(layer == label, np.ones((2, 2))) for layer, label in ((first, 1), (first, 3), (second, 2))]
    assert np.array_equal(instances.gt_masks.tensor.numpy(), np.stack(expected))
    assert instances.gt_boxes.tensor.tolist() == [[4, 4, 24, 24], [30, 30, 40, 40], [10, 10, 30, 30]]


@pytest.mark.parametrize("is_train", [True, False])
@pytest.mark.parametrize("bgr", [True, False])
def test_a_grey_image_has_three_equal_channels_and_a_coloured_one_its_own(tmp_path, is_train, bgr):
    colours = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    for name, image in (("grey", np.repeat(colours[..., :1], 3, axis=2)), ("colour", colours)):
        cv2.imwrite(str(tmp_path / f"{name}.png"), image[..., ::-1])
        record = {"file_name": str(tmp_path / f"{name}.png"), "height": 20, "width": 30, "rles": []}
        found = NucleusMapper(is_train, **(SETTINGS | {"bgr": bgr}))(record)["image"].numpy()
        assert np.array_equal(found, (image[..., ::-1] if bgr else image).transpose(2, 0, 1))
