from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from nucleus.cli.main import run_command
from nucleus.modeling.precision import computes_in_bfloat16

# Of Detectron2's way to encode masks.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def inference() -> ModuleType:
    """The benchmark as a module; run as a script it finds `measure` beside it."""
    sys.path.insert(0, str(FOLDER))
    try:
        spec = importlib.util.spec_from_file_location("inference_benchmark", FOLDER / "inference.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(FOLDER))
    return module


def raw_detections(count: int) -> dict[str, Any]:
    """Raw detections of an image of 90 x 70 pixels seen at 180 x 140, many of them on top of others."""
    generator = torch.Generator().manual_seed(0)
    centres = torch.rand(count, 2, generator=generator) * torch.tensor([140.0, 180.0])
    extents = torch.rand(count, 2, generator=generator) * 40 + 2
    return {
        "size": (180, 140), "boxes": torch.cat([centres - extents / 2, centres + extents / 2], dim=1),
        "scores": torch.rand(count, generator=generator), "classes": torch.zeros(count, dtype=torch.int64),
        "masks": torch.rand(count, 1, 28, 28, generator=generator), "height": 90, "width": 70,
    }  # fmt: skip


def test_stock_and_ours_do_the_same_work(inference):
    raw = raw_detections(60)
    (labels, rles), (our_labels, our_rles) = (
        inference.after(way, inference.copy_of(raw), raw["height"], raw["width"]) for way in ("stock", "ours")
    )
    np.testing.assert_array_equal(labels, our_labels)
    assert labels.max() > 10
    assert [rle["counts"].decode() for rle in rles] == [rle["counts"] for rle in our_rles]


def test_peak_memory_is_that_of_what_is_measured(inference):
    """A stack of 200 masks of 1000 x 900 pixels takes 172 MiB; inside boxes next to nothing."""
    raw = {**raw_detections(200), "height": 1000, "width": 900}
    row = inference.peak_memory("made up", [raw])
    assert 160 < row["stock"] < 600
    assert row["ours"] < 60


def test_the_whole_benchmark(inference, tmp_path, monkeypatch):
    folder = tmp_path / "bbbc038"
    sizes = ["--images", "3", "--test-images", "1", "--max-size", "128", "--seed", "0", "--workers", "1"]
    assert run_command("synth", ["--root", str(folder), *sizes]) == 0
    assert run_command("prepare", ["--source", str(folder), "--root", str(folder), "--workers", "1"]) == 0
    monkeypatch.setattr(inference, "DENSE", 1)
    row = {"case": "peak memory", "stock": 1.0, "ours": 1.0, "ratio": 1.0, "unit": "MiB"}
    monkeypatch.setattr(inference, "peak_memory", lambda name, raws: row)  # measured above, in processes of its own
    file = tmp_path / "rows.json"
    arguments = ["--json", str(file), "--root", str(tmp_path), "--images", "1", "--rounds", "1", "--no-large"]
    assert inference.main(arguments) == 0
    rows = json.loads(file.read_text())
    assert len(rows) == (14 if computes_in_bfloat16("cpu") else 12)  # rows of bfloat16 where there is any
    for row in rows:
        assert {"case", "stock", "ours", "ratio", "unit", "machine", "weights"} <= set(row)
        assert row["weights"] == "random"
    counted = [row for row in rows if row["case"].startswith("after the network")]
    assert all(row["mask_pixels_differing"] <= 1e-3 * row["mask_pixels"] for row in counted)
