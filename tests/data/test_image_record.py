"""Records and their COCO form."""

import numpy as np
import pytest

from nucleus.data.image_record import ImageRecord, coco_annotation, coco_image, nucleus_from_mask
from nucleus.masks.rle import coco_area, coco_box, encode_coco


@pytest.mark.parametrize("value", [1, 255])
def test_a_nucleus_equals_the_plain_encoding_of_its_mask(value):
    mask = np.zeros((30, 40), np.uint8)
    mask[5:20, 8:33] = np.random.default_rng(0).integers(0, 2, (15, 25), dtype=np.uint8) * value
    mask[5, 8] = mask[19, 32] = value
    nucleus = nucleus_from_mask(mask, (8, 5, 25, 15))
    rle = encode_coco(mask > 0)
    assert nucleus.counts == rle["counts"]
    assert list(nucleus.box) == coco_box(rle)
    assert nucleus.area == coco_area(rle)


def test_coco_form():
    mask = np.zeros((3, 4), np.uint8)
    mask[1:, 2] = 1
    nucleus = nucleus_from_mask(mask, (2, 1, 1, 2))
    record = ImageRecord("id", "a/id.png", 3, 4, "purple_tissue", "group", (nucleus,))
    assert coco_image(record, 7) == {
        "id": 7, "file_name": "a/id.png", "height": 3, "width": 4, "modality": "purple_tissue", "group": "group",
    }  # fmt: skip
    assert coco_annotation(record, nucleus, 5, 7) == {
        "id": 5, "image_id": 7, "category_id": 1, "bbox": [2, 1, 1, 2], "area": 2, "iscrowd": 0,
        "segmentation": {"size": [3, 4], "counts": encode_coco(mask)["counts"]},
    }  # fmt: skip
