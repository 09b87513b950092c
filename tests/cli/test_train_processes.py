"""Two real processes that talk through gloo, started by the command and by torchrun."""

import csv
import json
import math
import subprocess
import sys

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
