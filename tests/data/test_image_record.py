"""Records and their COCO form; the encoding against pycocotools."""

import numpy as np
import pytest

from nucleus.data.image_record import ImageRecord, coco_annotation, coco_image, counts_from_edges, nucleus_from_mask
from nucleus.masks.rle import coco_area, coco_box, encode_coco


def nucleus_of(mask):
    """Encode a mask by its box."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    top, left = int(rows[0]), int(columns[0])
    return nucleus_from_mask(mask, (left, top, int(columns[-1]) - left + 1, int(rows[-1]) - top + 1))


def test_the_counts_of_two_runs_by_hand():
    edges = np.array([2, 5, 6, 7])  # of 4 x 2 pixels: rows 2 and 3 of the first column, rows 0 and 2 of the second
    mask = np.array([[0, 1], [0, 0], [1, 1], [1, 0]])
    assert counts_from_edges(edges, 4, 2) == encode_coco(mask)["counts"]


@pytest.mark.parametrize("value", [1, 255])
@pytest.mark.parametrize("share", [0.02, 0.5, 0.98])
def test_a_nucleus_equals_the_plain_encoding_of_its_mask(value, share):
    random = np.random.default_rng(0)
    for _ in range(50):
        mask = np.zeros((30, 40), np.uint8)
        top, left = random.integers(0, [30, 40])
        mask[top : top + 15, left : left + 25] = random.random(mask[top : top + 15, left : left + 25].shape) < share
        if mask.any():
            nucleus, rle = nucleus_of(mask * value), encode_coco(mask)
            assert nucleus.counts == rle["counts"]
            assert list(nucleus.box) == coco_box(rle)
            assert nucleus.area == coco_area(rle)


@pytest.mark.parametrize("where", [np.s_[:, :], np.s_[0, 0], np.s_[-1, -1], np.s_[:, 0], np.s_[-1, :], np.s_[:, -1]])
def test_masks_that_touch_the_border(where):
    mask = np.zeros((5, 6), np.uint8)
    mask[where] = 1
    assert nucleus_of(mask).counts == encode_coco(mask)["counts"]
    assert nucleus_of(mask).area == mask.sum()


def test_coco_form():
    mask = np.zeros((3, 4), np.uint8)
    mask[1:, 2] = 1
    nucleus = nucleus_of(mask)
    record = ImageRecord("id", "a/id.png", 3, 4, "purple_tissue", "group", (nucleus,))
    assert coco_image(record, 7) == {
        "id": 7, "file_name": "a/id.png", "height": 3, "width": 4, "modality": "purple_tissue", "group": "group",
    }  # fmt: skip
    assert coco_annotation(record, nucleus, 5, 7) == {
        "id": 5, "image_id": 7, "category_id": 1, "bbox": [2, 1, 1, 2], "area": 2, "iscrowd": 0,
        "segmentation": {"size": [3, 4], "counts": encode_coco(mask)["counts"]},
    }  # fmt: skip
