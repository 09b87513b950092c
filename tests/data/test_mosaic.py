"""Crops of four quarters: each quarter is a view of its own image, and no nucleus goes over a border."""

from __future__ import annotations

import numpy as np

from nucleus.config import load_config
from nucleus.data.decoded import Decoded
from nucleus.data.mapper import NucleusMapper


def test_quarters(pytestconfig) -> None:
    keys = ["INPUT.MOSAIC", "1.0", "INPUT.SCALE_RANGE", "(1.0, 1.0)", "INPUT.UPSCALE_SHORT_EDGE", "0"]
    photometric = ("STAIN", "HUE", "CHANNEL_GAIN", "GRAY", "INVERT", "GAMMA", "CONTRAST", "BLUR", "NOISE")
    keys += [part for name in photometric for part in (f"INPUT.PHOTOMETRIC.{name}", "0.0")]
    path = pytestconfig.rootpath / "configs" / "quick" / "mask_rcnn_lite0_FPN.yaml"
    mapper = NucleusMapper(load_config(path, keys), is_train=True)
    four = []
    for value in (10, 20, 30, 40):
        image = np.full((200, 200) if value < 40 else (200, 200, 3), value, np.uint8)
        labels = np.ones((200, 200), np.int16)  # one nucleus everywhere
        four.append(Decoded(image, (labels,)))
    sample = mapper.train_mosaic({"file_name": "a"}, four, np.random.default_rng(0))
    image = sample["image"].numpy()
    assert image.shape == (3, 256, 256)
    assert [image[0, y, x] for y, x in ((0, 0), (0, 255), (255, 0), (255, 255))] == [10, 20, 30, 40]
    assert sample["instances"].gt_boxes.tensor.tolist() == [
        [0, 0, 128, 128], [128, 0, 256, 128], [0, 128, 128, 256], [128, 128, 256, 256]
    ]  # fmt: skip
