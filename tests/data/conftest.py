"""A tiny data set in COCO form, drawn by hand."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nucleus.masks.rle import coco_area, coco_box, encode_coco

sys.path.insert(0, str(Path(__file__).parent))  # for small_bbbc038.py, which several tests here draw on


@pytest.fixture
def two_images(tmp_path):
    """One 40 x 50 image with two nuclei, one of 30 x 30 without any; returns (json_file, image_root, label image)."""
    labels = np.zeros((40, 50), np.int32)
    labels[5:15, 10:30] = 1
    labels[20:35, 12:20] = 2
    Image.fromarray(np.where(labels > 0, 200, 20).astype(np.uint8)).save(tmp_path / "one.png")
    Image.new("RGB", (30, 30)).save(tmp_path / "two.png")
    rles = [encode_coco(labels == label) for label in (1, 2)]
    content = {
        "info": {},
        "images": [
            {"id": 7, "file_name": "one.png", "height": 40, "width": 50, "modality": "small_fluorescent", "group": "a"},
            {"id": 9, "file_name": "two.png", "height": 30, "width": 30},
        ],
        "annotations": [
            {"id": i, "image_id": 7, "category_id": 1, "bbox": coco_box(rle), "area": coco_area(rle), "iscrowd": 0,
             "segmentation": rle}
            for i, rle in enumerate(rles, start=1)
        ],
        "categories": [{"id": 1, "name": "nucleus"}],
    }  # fmt: skip
    json_file = tmp_path / "two_images.json"
    json_file.write_text(json.dumps(content))
    return json_file, tmp_path, labels
