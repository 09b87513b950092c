"""What the tests of training share: a small data set, a small config, and the command in a process of its own."""

import os
import subprocess
import sys

import pytest

from nucleus.cli.main import run_command

SMALL = """
_BASE_: "{base}"
MODEL:
  TIMM: {{WEIGHTS: ""}}
  RPN: {{POST_NMS_TOPK_TEST: 20}}
  ROI_HEADS: {{SCORE_THRESH_TEST: 0.0}}
INPUT: {{UPSCALE_SHORT_EDGE: 0, CROP_SIZE: 64}}
DATASETS:
  TRAIN: ("bbbc038_synthetic_train",)
  TEST: ("bbbc038_synthetic_test",)
DATALOADER: {{NUM_WORKERS: 0}}
SOLVER: {{IMS_PER_BATCH: 2, MAX_ITER: 4, CHECKPOINT_PERIOD: 2, WARMUP_ITERS: 1}}
TEST: {{SCORE_THRESHOLD: 0.0, PANELS: 2, LOSS_IMAGES: 2}}
"""


class TrainCommand:
    """`nucleus train` as a user runs it, on the small data set with the small config."""

    def __init__(self, config_file, datasets):
        self.command = [sys.executable, "-m", "nucleus", "train", "--config-file", str(config_file)]
        self.env = os.environ | {"DETECTRON2_DATASETS": str(datasets), "OMP_NUM_THREADS": "1"}

    def start(self, *arguments, errors=subprocess.DEVNULL):
        """Start it; what it prints goes nowhere, but for errors where a file is given."""
        command = [*self.command, *map(str, arguments)]
        return subprocess.Popen(command, env=self.env, stdout=subprocess.DEVNULL, stderr=errors)

    def fails(self, *arguments):
        """Run it to its end, which must be an error."""
        done = subprocess.run([*self.command, *map(str, arguments)], env=self.env, capture_output=True, text=True)
        assert done.returncode != 0, done.stdout[-3000:] + done.stderr[-3000:]
        return done

    def __call__(self, *arguments):
        """Run it to its end, which must be a good one; returns what it printed."""
        done = subprocess.run([*self.command, *map(str, arguments)], env=self.env, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        return done.stdout


@pytest.fixture(scope="session")
def small_datasets(tmp_path_factory):
    root = tmp_path_factory.mktemp("datasets")
    data = root / "bbbc038_synthetic"
    size = ["--images", "6", "--test-images", "2", "--max-size", "128", "--workers", "1"]
    assert run_command("synth", ["--root", str(data), *size]) == 0
    assert run_command("prepare", ["--source", str(data), "--root", str(data), "--workers", "1"]) == 0
    return root


@pytest.fixture(scope="session")
def small_config(tmp_path_factory, pytestconfig):
    path = tmp_path_factory.mktemp("config") / "small.yaml"
    path.write_text(SMALL.format(base=pytestconfig.rootpath / "configs/quick/mask_rcnn_lite0_FPN.yaml"))
    return path


@pytest.fixture(scope="session")
def train(small_config, small_datasets):
    return TrainCommand(small_config, small_datasets)
