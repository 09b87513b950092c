"""Real masks for the format tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nucleus.formats.kaggle_csv import read_kaggle_csv
from nucleus.masks.label_image import label_image_from_masks
from nucleus.masks.rle import decode_kaggle


@pytest.fixture(scope="session")
def real_label_images(bbbc038_source: Path) -> list[tuple[str, np.ndarray]]:
    """ImageId and label image, int32 (H, W), of every fourth test image of BBBC038: pieces and holes included."""
    rows: dict[str, list] = {}
    for row in read_kaggle_csv(bbbc038_source / "stage1_solution.csv"):
        rows.setdefault(row.image_id, []).append(row)
    images = []
    for image_id in sorted(rows)[::4]:
        first = rows[image_id][0]
        masks = [decode_kaggle(row.runs, first.height, first.width) for row in rows[image_id]]
        images.append((image_id, label_image_from_masks(masks, first.height, first.width)[0]))
    return images
