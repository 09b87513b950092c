"""The real command on a made-up data set: train, stop, resume, evaluate."""

import csv
import json
import shutil

import pytest
import torch
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from nucleus.cli.main import run_command
from nucleus.config import load_config
from nucleus.modeling.score_threshold import read_score_threshold, record_score_threshold


@pytest.fixture(scope="module")
def trained(train, tmp_path_factory):
    output = tmp_path_factory.mktemp("training")
    printed = train("OUTPUT_DIR", output)
    return output, printed


def test_a_run_leaves_weights_scores_and_a_picture(trained):
    output, printed = trained
    evaluation = output / "evaluation" / "bbbc038_synthetic_test"
    written = {path.name for path in evaluation.iterdir()}
    assert {"scores.json", "scores.csv", "images.csv", "panels.png", "report.html"} <= written
    assert "DSB score" in printed and "seed protocol" in printed
    with (evaluation / "images.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 2
    assert min(Image.open(evaluation / "panels.png").size) > 500
    checkpoint = torch.load(output / "model_final.pth", weights_only=True)  # plain values: no code runs on load
    assert checkpoint["iteration"] == 3
    assert checkpoint["ema"]["n_averaged"] == 4


def test_scores_losses_and_a_picture_reach_the_logs(trained):
    output, _ = trained
    lines = [json.loads(line) for line in (output / "metrics.json").read_text().splitlines()]
    assert {"total_loss", "lr", "gradient_norm"} <= lines[0].keys()
    assert {"nucleus/DSB score (image mean)", "validation/total_loss", "validation/loss_mask"} <= lines[-1].keys()
    board = EventAccumulator(str(output)).Reload()
    tags = board.Tags()
    assert {"total_loss", "lr", "validation/total_loss", "nucleus/DSB score (image mean)"} <= set(tags["scalars"])
    (picture,) = board.Images("evaluation/bbbc038_synthetic_test")
    size = Image.open(output / "evaluation" / "bbbc038_synthetic_test" / "panels.png").size
    assert (picture.width, picture.height) == size


def test_the_manifest_says_what_ran_and_what_came_of_it(trained):
    output, _ = trained
    start = json.loads((output / "run.json").read_text())["starts"][0]
    assert start["outcome"] == "finished" and start["first_iteration"] == 0 and start["processes"] == 1
    assert start["scores"]["nucleus"]["DSB score (image mean)"] >= 0
    assert all(data["sha256"] for data in start["data"].values()) and len(start["data"]) == 2


def test_a_broken_weight_ends_the_run_with_the_images_named(trained, train, tmp_path):
    output = tmp_path / "broken"
    shutil.copytree(trained[0], output)
    before = {path.name: path.read_bytes() for path in output.glob("*.pth")}
    checkpoint = torch.load(output / "model_final.pth", weights_only=True)
    checkpoint["ema"]["module.roi_heads.mask_head.predictor.bias"][:] = torch.nan
    torch.save(checkpoint, output / "poisoned.pth")
    done = train.fails("OUTPUT_DIR", output, "MODEL.WEIGHTS", output / "poisoned.pth", "SOLVER.CHECKPOINT_PERIOD", 1)
    assert done.returncode == 2
    last_line = done.stderr.strip().splitlines()[-1]
    assert "loss_mask nan" in last_line and ".png" in last_line and "SOLVER.BASE_LR" in last_line
    assert "Traceback" not in done.stdout + done.stderr
    (output / "poisoned.pth").unlink()
    assert {path.name: path.read_bytes() for path in output.glob("*.pth")} == before
    starts = json.loads((output / "run.json").read_text())["starts"]
    assert starts[-1]["outcome"].startswith("InputError") and "scores" not in starts[-1]


def test_resuming_goes_on_where_the_run_ended(trained, train):
    output, _ = trained
    train("--resume", "OUTPUT_DIR", output, "SOLVER.MAX_ITER", 6)
    checkpoint = torch.load(output / "model_final.pth", weights_only=True)
    assert (checkpoint["iteration"], int(checkpoint["ema"]["n_averaged"])) == (5, 6)
    iterations = [json.loads(line)["iteration"] for line in (output / "metrics.json").read_text().splitlines()]
    assert iterations == [3, 4, 5, 6]  # the steps of both starts, and the evaluation after each
    starts = json.loads((output / "run.json").read_text())["starts"]
    assert [start["first_iteration"] for start in starts] == [0, 4]


def test_a_run_that_was_killed_between_its_last_two_checkpoints(trained, train, tmp_path):
    output = tmp_path / "output"
    shutil.copytree(trained[0], output)
    before = torch.load(output / "model_final.pth", weights_only=True)
    (output / "model_final.pth").write_bytes(b"of a run that was in the folder before")
    (output / "last_checkpoint").write_text(f"model_{before['iteration']:07d}.pth")
    train("--resume", "OUTPUT_DIR", output, "SOLVER.MAX_ITER", before["iteration"] + 1)
    after = torch.load(output / "model_final.pth", weights_only=True)
    assert after["iteration"] == before["iteration"]
    assert all(torch.equal(value, after["ema"][name]) for name, value in before["ema"].items())


@pytest.fixture
def copied(trained, tmp_path):
    """What prediction needs of the training: weights without a recorded threshold, since the small config sets one, and
    the config beside them."""
    for name in ("model_final.pth", "config.yaml"):
        shutil.copy(trained[0] / name, tmp_path / name)
    assert read_score_threshold(tmp_path / "model_final.pth") is None
    return tmp_path


def test_evaluating_gives_the_scores_of_the_run_and_leaves_its_config(trained, train, copied):
    before = (copied / "config.yaml").read_bytes()
    (copied / "last_checkpoint").write_text("model_final.pth")
    train("--eval-only", "--resume", "OUTPUT_DIR", copied)  # the last checkpoint, as in Detectron2
    name = "evaluation/bbbc038_synthetic_test/coco_instances_results.json"
    ours, theirs = (json.loads((folder / name).read_text()) for folder in (copied, trained[0]))
    assert len(ours) == len(theirs) > 0
    assert [one["segmentation"] for one in ours] == [one["segmentation"] for one in theirs]
    assert (copied / "config.yaml").read_bytes() == before


def test_a_threshold_is_chosen_afterwards_recorded_and_used(train, copied):
    """With it goes the config that it was chosen with, which prediction reads."""
    weights = copied / "model_final.pth"
    settings = ("MODEL.WEIGHTS", weights, "TEST.PANELS", 0, "TEST.SCORE_THRESHOLD", -1.0)
    validation = ("TEST.MASK_STABILITY", True, "DATASETS.TEST", "('bbbc038_synthetic_train',)")
    printed = train("--eval-only", "--choose-threshold", "OUTPUT_DIR", copied, *settings, *validation)
    chosen = read_score_threshold(weights)
    assert chosen is not None and f"Score threshold {chosen:g}, chosen on bbbc038_synthetic_train" in printed
    evaluation = copied / "evaluation" / "bbbc038_synthetic_train"
    assert json.loads((evaluation / "scores.json").read_text())["settings"]["score threshold"] == chosen
    assert {"threshold.csv", "threshold.png"} <= {path.name for path in evaluation.iterdir()}
    assert load_config(copied / "config.yaml").TEST.MASK_STABILITY

    record_score_threshold(weights, {"value": 0.125, "data set": "mine"})
    train("--eval-only", "OUTPUT_DIR", copied / "used", *settings)
    scores = copied / "used" / "evaluation" / "bbbc038_synthetic_test" / "scores.json"
    assert json.loads(scores.read_text())["settings"]["score threshold"] == 0.125


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--choose-threshold"], "--choose-threshold: expected --eval-only"),
        (["--choose-threshold", "--eval-only"], "expected a validation set"),
        (["--choose-threshold", "--eval-only", "DATASETS.TEST", "()"], "expected the name of a data set, found none"),
        (["--eval-only", "--resume", "OUTPUT_DIR", "nowhere"], "nowhere/last_checkpoint: expected the name of a check"),
        (["DATASETS.TEST", "()"], "expected the name of a data set, found none"),
    ],
)
def test_what_cannot_be_evaluated_is_refused(small_config, small_datasets, capsys, monkeypatch, arguments, message):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(small_datasets))
    assert run_command("train", ["--config-file", str(small_config), *arguments]) == 2
    assert message in capsys.readouterr().err


def test_mistakes_end_with_a_sentence(small_config, small_datasets, capsys, monkeypatch):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(small_datasets))
    assert run_command("train", ["--config-file", "nothing.yaml"]) == 2
    assert "nothing.yaml" in capsys.readouterr().err
    assert run_command("train", ["--config-file", str(small_config), "SOLVER.MAX_ITERS", "1"]) == 2
    assert "Did you mean SOLVER.MAX_ITER?" in capsys.readouterr().err
    unprepared = ["DATASETS.TEST", "('bbbc038_val',)", "OUTPUT_DIR", str(small_datasets / "not to be")]
    assert run_command("train", ["--config-file", str(small_config), *unprepared]) == 2
    assert "Or set DATASETS.TEST to others" in capsys.readouterr().err  # before the first step
