"""A tiny registered data set, drawn by hand."""

import json

import numpy as np
import pytest
from PIL import Image

from nucleus.data.catalog import register
from nucleus.masks.rle import coco_area, coco_box, encode_coco


@pytest.fixture
def squares(tmp_path):
    """Three images of 64 x 64 with 1, 2 and 3 bright squares of 12 x 12; returns the name they are registered under."""
    images, annotations = [], []
    for number in (1, 2, 3):
        labels = np.zeros((64, 64), np.uint8)
        for label in range(1, number + 1):
            labels[20 * label - 14 : 20 * label - 2, 10:22] = label
        Image.fromarray(np.where(labels > 0, 200, 20).astype(np.uint8)).save(tmp_path / f"{number}.png")
        images.append({"id": number, "file_name": f"{number}.png", "height": 64, "width": 64})
        for rle in (encode_coco(labels == label) for label in range(1, number + 1)):
            annotations.append(
                {"id": len(annotations) + 1, "image_id": number, "category_id": 1, "bbox": coco_box(rle),
                 "area": coco_area(rle), "iscrowd": 0, "segmentation": rle}
            )  # fmt: skip
    json_file = tmp_path / "squares.json"
    content = {"info": {}, "images": images, "annotations": annotations, "categories": [{"id": 1, "name": "nucleus"}]}
    json_file.write_text(json.dumps(content))
    register("squares", json_file, tmp_path)
    return "squares"
