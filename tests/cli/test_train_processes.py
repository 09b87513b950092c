"""Two real processes that talk through gloo, started by the command and by torchrun."""

import copy
import csv
import json
import math
import shutil
import subprocess
import sys

import numpy as np
import pytest

from nucleus.modeling.score_threshold import read_threshold_record

SETTINGS = ("SOLVER.MAX_ITER", 2, "TEST.PANELS", 0)


def check(output, prefix=""):
    """That both processes took part, and that the evaluation is complete; scores are logged under the prefix."""
    (start,) = json.loads((output / "run.json").read_text())["starts"]
    assert start["processes"] == 2 and start["outcome"] == "finished"
    with (output / "evaluation" / "bbbc038_synthetic_test" / "images.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 2
    metrics = [json.loads(line) for line in (output / "metrics.json").read_text().splitlines()]
    assert all(
        math.isfinite(metrics[-1][name])
        for name in ("validation/total_loss", f"{prefix}nucleus/DSB score (image mean)")
    )
    assert math.isfinite(metrics[0]["total_loss"])
    assert (output / "model_final.pth").is_file() and (output / "log.txt.rank1").is_file()


def test_two_processes_by_the_command(train, tmp_path):
    """The first process chooses the score threshold; the second one knows of it when it evaluates the test set."""
    sets = ("DATASETS.TEST", "('bbbc038_synthetic_train', 'bbbc038_synthetic_test')", "TEST.SCORE_THRESHOLD", -1.0)
    train("--num-gpus", 0, "--num-processes", 2, "OUTPUT_DIR", tmp_path, *SETTINGS, *sets)
    check(tmp_path, prefix="bbbc038_synthetic_train/")
    record = read_threshold_record(tmp_path / "model_final.pth")
    assert (record["data set"], record["iteration"]) == ("bbbc038_synthetic_train", 1)


@pytest.mark.parametrize("batch", [2, 3])
def test_two_processes_by_torchrun(train, tmp_path, batch):
    """The batch is split; one that cannot be is refused by both."""
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = [*train.command[1:], "--num-gpus", "0"]
    settings = ["OUTPUT_DIR", str(tmp_path), *map(str, SETTINGS), "SOLVER.IMS_PER_BATCH", str(batch)]
    done = subprocess.run([*torchrun, *command, *settings], env=train.env, capture_output=True, text=True)
    if batch == 2:
        assert done.returncode == 0, done.stderr[-3000:]
        check(tmp_path)
    else:
        assert done.returncode != 0
        assert "SOLVER.IMS_PER_BATCH: expected a multiple of the 2 processes" in done.stderr


def keep(file, count):
    """Leave the first images of a COCO file, and their nuclei."""
    content = json.loads(file.read_text())
    content["images"] = content["images"][:count]
    kept = {image["id"] for image in content["images"]}
    content["annotations"] = [one for one in content["annotations"] if one["image_id"] in kept]
    file.write_text(json.dumps(content))


@pytest.fixture
def uneven(train, small_datasets, tmp_path):
    """The command on a set of one image to train on and one of five to test on, without anything drawn at random."""
    shutil.copytree(small_datasets, tmp_path / "datasets")
    annotations = tmp_path / "datasets" / "bbbc038_synthetic" / "annotations"
    keep(annotations / "bbbc038_train.json", 1)
    keep(annotations / "bbbc038_trainval.json", 5)
    settings = {
        "DATASETS.TEST": "('bbbc038_synthetic_trainval',)", "INPUT.FLIP_AND_TURN": False, "INPUT.SCALE_RANGE": "(1, 1)",
        "INPUT.CROP_SIZE": 128, "MODEL.RPN.BATCH_SIZE_PER_IMAGE": 10**6, "MODEL.RPN.POSITIVE_FRACTION": 1.0,
        "MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE": 10**6, "MODEL.ROI_HEADS.POSITIVE_FRACTION": 1.0, "TEST.PANELS": 0,
        "TEST.LOSS_IMAGES": 0, "TEST.EVAL_PERIOD": 1, "SOLVER.MAX_ITER": 4, "SOLVER.AUTOCAST": "",
    }  # fmt: skip
    for name in ("STAIN", "HUE", "CHANNEL_GAIN", "GRAY", "INVERT", "GAMMA", "CONTRAST", "BLUR", "NOISE"):
        settings[f"INPUT.PHOTOMETRIC.{name}"] = 0.0
    command = copy.copy(train)
    command.env = train.env | {"DETECTRON2_DATASETS": str(tmp_path / "datasets")}
    return lambda *arguments: command(*arguments, *(part for pair in settings.items() for part in pair))


def losses(output):
    """Every loss of every iteration, and the norm of the gradient."""
    lines = [json.loads(line) for line in (output / "metrics.json").read_text().splitlines()]
    names = sorted(name for name in lines[0] if name.startswith("loss_") or name in ("total_loss", "gradient_norm"))
    return np.array([[line[name] for name in names] for line in lines if "total_loss" in line])


def test_two_processes_train_and_evaluate_as_one(uneven, tmp_path):
    """Two equal images in a batch, one for each process: the same losses and gradients in all steps, as one step's
    error would spoil the next. And five test images for two processes: the same scores, image by image."""
    one, two = tmp_path / "one", tmp_path / "two"
    uneven("OUTPUT_DIR", one)
    uneven("--num-gpus", 0, "--num-processes", 2, "OUTPUT_DIR", two)
    expected = losses(one)
    assert expected.shape == (4, 7)
    np.testing.assert_allclose(losses(two), expected, rtol=1e-4)
    assert expected[0, -1] != pytest.approx(expected[3, -1], rel=1e-3)  # something was learnt

    weights = ("MODEL.WEIGHTS", one / "model_final.pth")
    uneven("--eval-only", "--num-gpus", 0, "--num-processes", 2, "OUTPUT_DIR", tmp_path / "both", *weights)
    tables = [
        (folder / "evaluation" / "bbbc038_synthetic_trainval" / "images.csv").read_text()
        for folder in (one, tmp_path / "both")
    ]
    assert tables[0] == tables[1]
    assert len(tables[0].splitlines()) == 6
