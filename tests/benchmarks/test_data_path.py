"""The benchmark of the data path, on two small images."""

import importlib
import json

import cv2
import numpy as np
import pytest

from nucleus.data.catalog import register
from nucleus.masks.rle import encode_coco


@pytest.fixture
def data_path(pytestconfig, monkeypatch):
    monkeypatch.syspath_prepend(str(pytestconfig.rootpath / "benchmarks"))
    return importlib.import_module("data_path")


@pytest.fixture
def small_set(tmp_path):
    """Two images of 16 nuclei each."""
    labels = np.kron(np.arange(1, 17).reshape(4, 4), np.pad(np.ones((12, 12), int), 2))
    masks = [encode_coco(labels == label) for label in range(1, 17)]
    for name in ("1.png", "2.png"):
        cv2.imwrite(str(tmp_path / name), np.where(labels, 200, 20).astype(np.uint8))
    content = {
        "images": [{"id": i, "file_name": f"{i}.png", "height": 64, "width": 64} for i in (1, 2)],
        "annotations": [
            {"id": 100 * i + n, "image_id": i, "category_id": 1, "segmentation": mask}
            for i in (1, 2)
            for n, mask in enumerate(masks)
        ],
        "categories": [{"id": 1, "name": "nucleus"}],
    }
    (tmp_path / "small.json").write_text(json.dumps(content))
    register("small_for_the_benchmark", tmp_path / "small.json", tmp_path)
    return "small_for_the_benchmark"


def test_rows_of_a_small_set(data_path, small_set, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(data_path, "DENSE", 10)
    arguments = ["--json", str(tmp_path / "rows.json"), "--dataset", small_set, "--repeats", "1"]
    assert data_path.main(arguments) == 0
    rows = json.loads((tmp_path / "rows.json").read_text())
    assert len(rows) == 2 * 4 + 3
    assert all(row["stock"] > 0 and row["ours"] > 0 and row["machine"]["cores"] for row in rows)
    assert all(row["differing_pixels"] <= 0.001 * row["pixels"] for row in rows[-3:])
    assert "targets of 256 boxes, sampled" in capsys.readouterr().out
