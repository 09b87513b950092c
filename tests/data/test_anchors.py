import numpy as np
import pytest
import torch
from detectron2.modeling.anchor_generator import DefaultAnchorGenerator
from detectron2.structures import Boxes as D2Boxes
from detectron2.structures import pairwise_iou

from nucleus.config import load_config
from nucleus.data.anchors import (
    Anchors,
    Boxes,
    anchors_of_config,
    best_ious,
    boxes_of,
    compare_anchors,
    fit_anchors,
    iou_k_means,
    recall,
)
from nucleus.errors import InputError

SIDE = 512


def boxes_around(centres, shapes):
    centres, shapes = np.asarray(centres, float), np.asarray(shapes, float)
    return Boxes(np.hstack([centres - shapes / 2, centres + shapes / 2]), np.full(centres.shape, float(SIDE)))


def random_boxes(shapes, seed=0):
    """Boxes of these shapes anywhere inside the image."""
    rng = np.random.default_rng(seed)
    shapes = np.asarray(shapes, float)
    return boxes_around(shapes / 2 + rng.random(shapes.shape) * (SIDE - shapes), shapes)


def test_ious_worked_by_hand():
    anchors = Anchors([4], [[8]], [1.0])
    boxes = boxes_around([(100, 100), (102, 100), (100, 100)], [(8, 8), (8, 8), (8, 4)])
    # In its place; two pixels off, 6 x 8 of 80 shared; inside the anchor, half of it.
    assert best_ious(boxes, anchors).tolist() == pytest.approx([1, 48 / 80, 0.5])
    assert recall(boxes, anchors, 0.5) == 1 and recall(boxes, anchors, 0.7) == pytest.approx(1 / 3)


def test_ious_equal_those_with_all_anchors_of_detectron2():
    rng = np.random.default_rng(1)
    boxes = random_boxes(np.exp(rng.uniform(np.log(6), np.log(200), (300, 2))))
    anchors = Anchors()
    generator = DefaultAnchorGenerator(
        sizes=anchors.sizes, aspect_ratios=[anchors.ratios], strides=anchors.strides, offset=0.0
    )
    maps = [torch.zeros(1, 1, SIDE // stride, SIDE // stride) for stride in anchors.strides]
    every = D2Boxes.cat(generator(maps))
    expected = pairwise_iou(D2Boxes(torch.from_numpy(boxes.xyxy).float()), every).max(dim=1).values
    assert np.allclose(best_ious(boxes, anchors), expected, atol=1e-5)


def test_boxes_of_known_sizes_give_those_sizes():
    sizes = np.array([10, 22, 48, 100, 210])
    fitted = fit_anchors(random_boxes(np.repeat(sizes, 60)[:, None] * [1, 1]), Anchors())
    assert np.ravel(fitted.sizes).tolist() == pytest.approx(sizes, rel=0.03)
    assert fitted.ratios == [1, 1, 1]


def test_boxes_of_known_ratios_give_those_ratios():
    ratio = np.repeat([0.4, 1.0, 2.5], 100)
    shapes = 30 * np.stack([ratio**-0.5, ratio**0.5], axis=1)
    assert fit_anchors(random_boxes(shapes), Anchors()).ratios == pytest.approx([0.4, 1, 2.5], abs=0.01)
    # Lying boxes alone: with quarter turns, training sees them standing as well.
    lying = random_boxes(shapes[:100])
    assert fit_anchors(lying, Anchors(ratios=(0.5, 2.0))).ratios == pytest.approx([0.4, 2.5], abs=0.01)
    assert fit_anchors(lying, Anchors(ratios=(0.5, 2.0)), turns=False).ratios == pytest.approx([0.4, 0.4], abs=0.01)


def test_k_means_finds_separate_clusters():
    rng = np.random.default_rng(0)
    centres = np.array([[40, 10], [20, 20], [8, 30]])
    shapes = np.repeat(centres, 50, axis=0) * rng.uniform(0.95, 1.05, (150, 2))
    assert iou_k_means(shapes, 3) == pytest.approx(centres, rel=0.02)


@pytest.mark.parametrize("seed", range(5))
def test_a_fit_is_never_worse_than_its_start(seed):
    rng = np.random.default_rng(seed)
    boxes = random_boxes(np.exp(rng.normal(3, 0.6, (200, 2))).clip(3, 300), seed)
    start = Anchors(sizes=[[size] for size in sorted(rng.integers(4, 200, 5).tolist())])
    fitted = fit_anchors(boxes, start)
    assert best_ious(boxes, fitted).mean() >= best_ious(boxes, start).mean()
    assert np.all(np.diff(np.ravel(fitted.sizes)) >= 0)


def test_boxes_are_enlarged_as_the_network_sees_them():
    images = [{"id": 1, "height": 256, "width": 320}, {"id": 2, "height": 600, "width": 600}]
    annotations = [
        {"id": 1, "image_id": 1, "bbox": [10, 20, 5, 8]},
        {"id": 2, "image_id": 2, "bbox": [10, 20, 5, 8]},
        {"id": 3, "image_id": 2, "bbox": [0, 0, 600, 600], "iscrowd": 1},
    ]
    boxes = boxes_of({"images": images, "annotations": annotations}, short_edge=512)
    assert boxes.xyxy.tolist() == [[20, 40, 30, 56], [10, 20, 15, 28]]
    assert boxes.image_sizes.tolist() == [[640, 512], [600, 600]]


def test_a_data_set_without_nuclei_is_named():
    with pytest.raises(InputError, match="nuclei to fit anchors to"):
        boxes_of({"images": [], "annotations": []}, 512)


def test_the_default_is_the_base_config(pytestconfig):
    cfg = load_config(pytestconfig.rootpath / "configs/Base-Nucleus.yaml")
    generator = cfg.MODEL.ANCHOR_GENERATOR
    read = anchors_of_config(cfg.MODEL.RPN.IN_FEATURES, generator.SIZES, generator.ASPECT_RATIOS)
    default = Anchors()
    assert list(read.strides) == list(default.strides)
    assert np.array_equal(read.sizes, default.sizes) and list(read.ratios) == list(default.ratios)


def test_one_list_of_sizes_stands_for_all_levels_and_ratios_by_level_are_refused():
    assert anchors_of_config(["p2", "res4"], [[8, 16]], [[1.0]]) == Anchors([4, 16], [[8, 16], [8, 16]], [1.0])
    with pytest.raises(InputError, match="same on all levels"):
        anchors_of_config(["p2", "p3"], [[8], [16]], [[1.0], [0.5]])


def test_what_is_printed_is_a_config(tmp_path, pytestconfig):
    text = compare_anchors(random_boxes(np.full((50, 2), 30)), Anchors())
    base = pytestconfig.rootpath / "configs/Base-Nucleus.yaml"
    (tmp_path / "mine.yaml").write_text(f'_BASE_: "{base}"\n{text}\n')
    generator = load_config(tmp_path / "mine.yaml").MODEL.ANCHOR_GENERATOR
    assert len(generator.SIZES) == 5 and len(generator.ASPECT_RATIOS[0]) == 3
    assert "reached at IoU 0.5" in text and "50 boxes" in text
