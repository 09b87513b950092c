"""The benchmark of very many images, on thirty."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
from many_images import evaluate, write_pairs

from nucleus.formats.label_image import read_label_image


@pytest.fixture
def pairs(tmp_path):
    write_pairs(tmp_path, images=30, a_folder=10)
    return tmp_path


def test_pairs_differ_and_both_hold_nuclei(pairs):
    truths = sorted((pairs / "truth").rglob("*.png"))
    assert len(truths) == len(list((pairs / "predicted").rglob("*.png"))) == 30
    different = 0
    for path in truths:
        truth = read_label_image(path)
        predicted = read_label_image(pairs / "predicted" / path.relative_to(pairs / "truth"))
        assert truth.shape == predicted.shape == (64, 64)
        different += (truth != predicted).any()
    assert different > 15


def test_one_run(pairs):
    seconds, main_memory, _ = evaluate(pairs, pairs / "truth" / "1", "few", workers=1)
    assert seconds > 0
    assert 50 < main_memory < 1000  # MB
    overall = json.loads((pairs / "few" / "scores.json").read_text())["scores"]["overall"]
    assert overall["images"] == 10
    assert 0 < overall["pooled"]["DSB score"] < 1
