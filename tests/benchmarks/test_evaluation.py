"""The benchmarks of scoring: that they run without the optional libraries, and that disagreement is found."""

import json

import numpy as np
import pytest


@pytest.fixture
def benchmarks(pytestconfig, monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(pytestconfig.rootpath / "benchmarks"))
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))  # without the real images


@pytest.fixture
def few_pairs(benchmarks, monkeypatch):
    import agreement

    few = agreement.tied_pairs(12)
    monkeypatch.setattr(agreement, "random_pairs", lambda count: few[6:])
    monkeypatch.setattr(agreement, "tied_pairs", lambda count: few[:6])
    monkeypatch.setattr(agreement.logging, "disable", lambda level: None)
    return agreement


def test_perturbed_truth_is_a_label_image_with_errors_and_the_same_every_time(benchmarks):
    import label_pairs

    truths, predictions = label_pairs.synthetic_pairs(9)
    for truth, prediction in zip(truths, predictions, strict=True):
        assert np.unique(truth).tolist() == list(range(truth.max() + 1))
        assert np.unique(prediction).tolist() == list(range(prediction.max() + 1))
        assert (prediction != truth).any()
    again = label_pairs.synthetic_pairs(9)
    assert (truths == again[0]).all() and (predictions == again[1]).all()
    assert len(np.unique(truths.reshape(9, -1), axis=0)) == 9


def test_speed_of_scoring(benchmarks, tmp_path, capsys):
    import evaluation

    assert (
        evaluation.main(["--images", "3", "--rounds", "1", "--skip-memory", "--json", str(tmp_path / "rows.json")]) == 0
    )
    rows = json.loads((tmp_path / "rows.json").read_text())
    for row in rows:
        assert {"case", "stock", "ours", "ratio", "unit", "versions"} <= row.keys()
        assert row["stock"] > 0 and row["ours"] > 0
    cases = " ".join(row["case"] for row in rows)
    for name in ("matches at ten IoUs: scikit-image", "seed protocol", "all scores", "COCO AP (masks): pycocotools"):
        assert name in cases
    assert "skipped: the real test set" in capsys.readouterr().err


def test_peak_memory_is_that_of_a_process_of_its_own(benchmarks, tmp_path):
    import pickle

    import evaluation
    import label_pairs
    from scorers import OBJECTS, OURS

    pairs = label_pairs.tied_pairs(2)
    data = tmp_path / "images.pickle"
    data.write_bytes(pickle.dumps((pairs, None)))
    context = evaluation.multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        grown, whole = pool.apply(evaluation.peak_of, (OBJECTS, OURS, data))
    assert 0 <= grown < 50 < whole < 2000  # MiB


def test_agreement(few_pairs, tmp_path, capsys):
    assert few_pairs.main(["--skip-slow", "--json", str(tmp_path / "rows.json")]) == 0
    rows = json.loads((tmp_path / "rows.json").read_text())["rows"]
    found = {(row["score"], row["reference"]) for row in rows}
    assert {("AJI", few_pairs.BRUTE_FORCE), ("PQ", "cellseg-metrics panoptic_quality")} < found
    assert "| DSB score | brute force in fractions | 12 |" in capsys.readouterr().out


def test_disagreement_is_found(few_pairs, monkeypatch, capsys):
    monkeypatch.setitem(few_pairs.CONTESTANTS[few_pairs.PQ], few_pairs.OURS, lambda: lambda truth, prediction: 0.5)
    assert few_pairs.main(["--skip-slow"]) == 1
    assert "disagrees: PQ, brute force in fractions, tied" in capsys.readouterr().err
