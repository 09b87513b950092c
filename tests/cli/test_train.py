"""The real command on a made-up data set: train, stop, resume, evaluate."""

import csv
import json
import os
import subprocess
import sys

import pytest
import torch
from PIL import Image

from nucleus.cli.main import run_command

SMALL = """
_BASE_: "{base}"
MODEL:
  TIMM: {{WEIGHTS: ""}}
  RPN: {{POST_NMS_TOPK_TEST: 20}}
INPUT: {{UPSCALE_SHORT_EDGE: 0, CROP_SIZE: 64}}
DATASETS:
  TRAIN: ("bbbc038_synthetic_train",)
  TEST: ("bbbc038_synthetic_test",)
DATALOADER: {{NUM_WORKERS: 0}}
SOLVER: {{IMS_PER_BATCH: 2, MAX_ITER: 4, CHECKPOINT_PERIOD: 2, WARMUP_ITERS: 1}}
TEST: {{SCORE_THRESHOLD: 0.0, PANELS: 2}}
"""


def train(config_file, datasets, *arguments):
    """Run `nucleus train` as a user would; returns what it printed, fails on any other exit code than 0."""
    done = subprocess.run(
        [sys.executable, "-m", "nucleus", "train", "--config-file", str(config_file), *map(str, arguments)],
        env=os.environ | {"DETECTRON2_DATASETS": str(datasets), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def datasets(tmp_path_factory):
    root = tmp_path_factory.mktemp("datasets")
    data = root / "bbbc038_synthetic"
    size = ["--images", "6", "--test-images", "2", "--max-size", "128", "--workers", "1"]
    assert run_command("synth", ["--root", str(data), *size]) == 0
    assert run_command("prepare", ["--source", str(data), "--root", str(data), "--workers", "1"]) == 0
    return root


@pytest.fixture(scope="module")
def config_file(tmp_path_factory, pytestconfig):
    path = tmp_path_factory.mktemp("config") / "small.yaml"
    path.write_text(SMALL.format(base=pytestconfig.rootpath / "configs/quick/mask_rcnn_lite0_FPN.yaml"))
    return path


@pytest.fixture(scope="module")
def trained(datasets, config_file, tmp_path_factory):
    output = tmp_path_factory.mktemp("training")
    printed = train(config_file, datasets, "OUTPUT_DIR", output)
    return output, printed


def test_a_run_leaves_weights_scores_and_a_picture(trained):
    output, printed = trained
    evaluation = output / "evaluation" / "bbbc038_synthetic_test"
    assert {"scores.json", "scores.csv", "images.csv", "panels.png"} <= {path.name for path in evaluation.iterdir()}
    assert "object F1@0.70" in printed.split("copypaste")[0]  # the table, before Detectron2 prints the same as CSV
    with (evaluation / "images.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 2
    assert min(Image.open(evaluation / "panels.png").size) > 500
    checkpoint = torch.load(output / "model_final.pth", weights_only=True)  # plain values: no code runs on load
    assert checkpoint["iteration"] == 3
    assert checkpoint["ema"]["n_averaged"] == 4


def test_resuming_goes_on_where_the_run_ended(trained, datasets, config_file):
    output, _ = trained
    before = len((output / "metrics.json").read_text().splitlines())
    train(config_file, datasets, "--resume", "OUTPUT_DIR", output, "SOLVER.MAX_ITER", 6)
    checkpoint = torch.load(output / "model_final.pth", weights_only=True)
    assert (checkpoint["iteration"], int(checkpoint["ema"]["n_averaged"])) == (5, 6)
    assert json.loads((output / "metrics.json").read_text().splitlines()[before])["iteration"] >= 4


def test_evaluating_the_checkpoint_gives_the_scores_of_the_run(trained, datasets, config_file, tmp_path):
    output, _ = trained
    train(config_file, datasets, "--eval-only", "MODEL.WEIGHTS", output / "model_final.pth", "OUTPUT_DIR", tmp_path)
    name = "evaluation/bbbc038_synthetic_test/coco_instances_results.json"
    ours, theirs = (json.loads((folder / name).read_text()) for folder in (tmp_path, output))
    assert len(ours) == len(theirs) > 0
    assert [one["segmentation"] for one in ours] == [one["segmentation"] for one in theirs]


def test_mistakes_end_with_a_sentence(config_file, datasets, capsys, monkeypatch):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(datasets))
    assert run_command("train", ["--config-file", "nothing.yaml"]) == 2
    assert "nothing.yaml" in capsys.readouterr().err
    assert run_command("train", ["--config-file", str(config_file), "SOLVER.MAX_ITERS", "1"]) == 2
    assert "Did you mean SOLVER.MAX_ITER?" in capsys.readouterr().err
