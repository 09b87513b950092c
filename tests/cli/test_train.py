"""The real command on a made-up data set: train, stop, resume, evaluate."""

import csv
import json

import pytest
import torch
from PIL import Image

from nucleus.cli.main import run_command


@pytest.fixture(scope="module")
def trained(train, tmp_path_factory):
    output = tmp_path_factory.mktemp("training")
    printed = train("OUTPUT_DIR", output)
    return output, printed


def test_a_run_leaves_weights_scores_and_a_picture(trained):
    output, printed = trained
    evaluation = output / "evaluation" / "bbbc038_synthetic_test"
    assert {"scores.json", "scores.csv", "images.csv", "panels.png"} <= {path.name for path in evaluation.iterdir()}
    assert "DSB score" in printed and "seed protocol" in printed
    with (evaluation / "images.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 2
    assert min(Image.open(evaluation / "panels.png").size) > 500
    checkpoint = torch.load(output / "model_final.pth", weights_only=True)  # plain values: no code runs on load
    assert checkpoint["iteration"] == 3
    assert checkpoint["ema"]["n_averaged"] == 4


def test_resuming_goes_on_where_the_run_ended(trained, train):
    output, _ = trained
    train("--resume", "OUTPUT_DIR", output, "SOLVER.MAX_ITER", 6)
    checkpoint = torch.load(output / "model_final.pth", weights_only=True)
    assert (checkpoint["iteration"], int(checkpoint["ema"]["n_averaged"])) == (5, 6)
    iterations = [json.loads(line)["iteration"] for line in (output / "metrics.json").read_text().splitlines()]
    assert iterations == [3, 5, 6]  # the steps of both starts, and the last evaluation; that of the first is undone


def test_evaluating_the_checkpoint_gives_the_scores_of_the_run(trained, train, tmp_path):
    output, _ = trained
    train("--eval-only", "MODEL.WEIGHTS", output / "model_final.pth", "OUTPUT_DIR", tmp_path)
    name = "evaluation/bbbc038_synthetic_test/coco_instances_results.json"
    ours, theirs = (json.loads((folder / name).read_text()) for folder in (tmp_path, output))
    assert len(ours) == len(theirs) > 0
    assert [one["segmentation"] for one in ours] == [one["segmentation"] for one in theirs]


def test_mistakes_end_with_a_sentence(small_config, small_datasets, capsys, monkeypatch):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(small_datasets))
    assert run_command("train", ["--config-file", "nothing.yaml"]) == 2
    assert "nothing.yaml" in capsys.readouterr().err
    assert run_command("train", ["--config-file", str(small_config), "SOLVER.MAX_ITERS", "1"]) == 2
    assert "Did you mean SOLVER.MAX_ITER?" in capsys.readouterr().err
