"""The whole way, in small: train, evaluate, ship, and use the model by its name."""

from __future__ import annotations

import json
import os
import runpy
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from nucleus.cli.main import run_command
from nucleus.zoo import ship
from nucleus.zoo.manifest import read_model

CONFIG = """
_BASE_: "{base}"
MODEL:
  TIMM: {{WEIGHTS: ""}}
  RPN: {{POST_NMS_TOPK_TEST: 20}}
  ROI_HEADS: {{SCORE_THRESH_TEST: 0.0}}
INPUT: {{UPSCALE_SHORT_EDGE: 0, CROP_SIZE: 64}}
DATASETS:
  TRAIN: ("bbbc038_synthetic_train",)
  TEST: ("bbbc038_synthetic_val",)
DATALOADER: {{NUM_WORKERS: 0}}
SOLVER: {{IMS_PER_BATCH: 2, MAX_ITER: 8, WARMUP_ITERS: 1}}
TEST: {{PANELS: 0, LOSS_IMAGES: 2}}
"""
# In one process, which imports torch once: the steps of a real release, and what its users do.
STEPS = """
import json, runpy, sys
from nucleus.cli.main import run_command
from nucleus.zoo import ship
for number, (name, *arguments) in enumerate(json.loads(sys.argv.pop())):
    sys.argv = ["nucleus", name, *arguments]  # which run.json records
    if name == "ship":
        ship = runpy.run_path("tools/ship_model.py", run_name="ship_model")
        code = ship["main"](arguments)
    else:
        code = run_command(name, arguments)
    assert code == 0, (number, name, code)
"""


@pytest.fixture(scope="module")
def shipped(tmp_path_factory, pytestconfig) -> dict[str, Any]:
    """Folders by name, after all steps."""
    top = tmp_path_factory.mktemp("ship")
    root = pytestconfig.rootpath
    data = top / "datasets" / "bbbc038_synthetic"
    size = ["--images", "12", "--test-images", "3", "--max-size", "128", "--workers", "1"]
    assert run_command("synth", ["--root", str(data), *size]) == 0
    assert run_command("prepare", ["--source", str(data), "--root", str(data), "--workers", "1"]) == 0
    config = top / "small.yaml"
    config.write_text(CONFIG.format(base=root / "configs" / "quick" / "mask_rcnn_lite0_FPN.yaml"))
    run, test, again, tuned, scored, last = (
        str(top / name) for name in ("run", "test", "again", "tuned", "scored", "last")
    )
    on_test = ["--eval-only", "DATASETS.TEST", "('bbbc038_synthetic_test',)"]
    one_step = ["SOLVER.MAX_ITER", "1", "SOLVER.BASE_LR", "1e-9", "TEST.LOSS_IMAGES", "0"]
    weights = f"{run}/model_final.pth"
    scores = "{}/evaluation/bbbc038_synthetic_{}/scores.json"
    folders = ["--models", str(top / "zoo"), "--cards", str(top / "cards")]
    steps = [
        ["train", "--config-file", str(config), "OUTPUT_DIR", run],
        ["train", "--config-file", str(config), *on_test, "OUTPUT_DIR", test, "MODEL.WEIGHTS", weights],
        ["ship", "--name", "tiny", "--weights", weights, "--test-scores", scores.format(test, "test"),
         "--val-scores", scores.format(run, "val"), *folders],
        ["train", "--config-file", "nucleus://tiny", *on_test, "OUTPUT_DIR", again],
        ["train", "--config-file", "nucleus://tiny", "OUTPUT_DIR", tuned, *one_step],
        ["train", "--config-file", "nucleus://tiny", "OUTPUT_DIR", scored, "SOLVER.MAX_ITER", "2",
         "MODEL.ROI_MASK_HEAD.SCORING", "True", "SOLVER.TRAIN_ONLY", "roi_heads.mask_scoring."],
        ["train", "--config-file", f"{scored}/config.yaml", *on_test, "OUTPUT_DIR", last, "MODEL.WEIGHTS",
         f"{scored}/model_final.pth"],
        ["ship", "--name", "sure", "--weights", f"{scored}/model_final.pth", "--test-scores",
         scores.format(last, "test"), "--after", "nucleus://tiny", "--models", str(top / "sure"), "--cards",
         str(top / "sure_cards")],
        ["predict", str(data / "stage1_test"), "--output", str(top / "nuclei"), "--model", "tiny"],
    ]  # fmt: skip
    env = os.environ | {
        "DETECTRON2_DATASETS": str(top / "datasets"), "NUCLEUS_ZOO": str(top / "zoo"), "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(root),
    }  # fmt: skip
    command = [sys.executable, "-c", STEPS, json.dumps(steps)]
    done = subprocess.run(command, env=env, cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return {"top": top, "said": done.stdout, "model": read_model(top / "zoo" / "tiny")}


def test_what_was_written(shipped):
    top, model = shipped["top"], shipped["model"]
    assert sorted(path.name for path in (top / "zoo").iterdir()) == ["tiny"]
    assert sorted(path.name for path in (top / "zoo" / "tiny").iterdir()) == [
        "config.yaml", "model.json", "weights.safetensors",
    ]  # fmt: skip
    trained = json.loads((top / "run" / "run.json").read_text())["starts"][0]
    assert model.score_threshold.value == trained["scores"]["threshold"]["score threshold"]
    assert model.score_threshold.data_set == "bbbc038_synthetic_val"
    assert list(model.scores) == ["bbbc038_synthetic_test", "bbbc038_synthetic_val"]
    assert 4.0e6 < model.parameters < 4.2e6 and model.weights.bytes < 9e6
    run = model.training[0]
    assert (run.steps, run.images, run.seed) == (8, 16, trained["seed"])
    assert run.command == "nucleus train --config-file small.yaml"
    assert model.agreement.images == 3 and model.agreement.object_f1 >= 0.98
    assert model.speed.images_per_second > 0
    assert model.licence.data == "made by nucleus synth, Apache-2.0"
    text = "".join((top / "zoo" / "tiny" / name).read_text() for name in ("config.yaml", "model.json"))
    assert str(top) not in text + (top / "cards" / "tiny.md").read_text()


def test_the_shipped_weights_find_what_the_trained_ones_found(shipped):
    """Evaluated as nucleus://tiny, at the threshold that travels with them: the same number of detections, as sure."""
    folders = [shipped["top"] / run / "evaluation" / "bbbc038_synthetic_test" for run in ("test", "again")]
    settings = [json.loads((folder / "scores.json").read_text())["settings"] for folder in folders]
    assert settings[0]["score threshold"] == settings[1]["score threshold"] == shipped["model"].score_threshold.value
    found = [json.loads((folder / "coco_instances_results.json").read_text()) for folder in folders]
    trained, stored = (sorted((one["image_id"], one["score"]) for one in every) for every in found)
    assert len(trained) == len(stored) > 10
    np.testing.assert_allclose(trained, stored, rtol=0, atol=0.01)


def test_training_goes_on_from_it(shipped):
    """With next to no learning rate: the stored weights, in float32; the config names the model and no folder."""
    import torch
    from safetensors.torch import load_file

    tuned = torch.load(shipped["top"] / "tuned" / "model_final.pth")["model"]
    stored = load_file(shipped["top"] / "zoo" / "tiny" / "weights.safetensors")
    assert set(tuned) == set(stored)
    for name, value in stored.items():
        assert tuned[name].dtype == (torch.float32 if value.is_floating_point() else value.dtype)
        torch.testing.assert_close(tuned[name], value.to(tuned[name].dtype), rtol=0, atol=1e-6)
    assert "WEIGHTS: nucleus://tiny" in (shipped["top"] / "tuned" / "config.yaml").read_text()


def test_a_branch_that_was_trained_alone_ships_on_top_of_it(shipped):
    """All else is as it was, to the bit; training goes on with all of it."""
    from safetensors.torch import load_file

    before, after = (load_file(shipped["top"] / name / "weights.safetensors") for name in ("zoo/tiny", "sure/sure"))
    added = set(after) - set(before)
    assert added and all(name.startswith("roi_heads.mask_scoring.") for name in added)
    assert all(value.equal(after[name]) for name, value in before.items())
    model = read_model(shipped["top"] / "sure" / "sure")
    assert model.training[:1] == shipped["model"].training and [run.steps for run in model.training] == [8, 2]
    assert model.summary.endswith("and mask scoring")
    configs = [shipped["top"] / name / "config.yaml" for name in ("zoo/tiny", "sure/sure")]
    old, new = (yaml.safe_load(path.read_text().replace("nucleus://sure", "nucleus://tiny")) for path in configs)
    assert new["MODEL"]["ROI_MASK_HEAD"].pop("SCORING") is not old["MODEL"]["ROI_MASK_HEAD"].pop("SCORING")
    for section in ("MODEL", "INPUT", "SOLVER", "DATALOADER", "DATASETS", "TEST"):
        assert new[section] == old[section], section


def test_images_were_predicted(shipped):
    assert len(list((shipped["top"] / "nuclei").rglob("*_labels.tif"))) == 3
    assert "3 images done" in shipped["said"]


def test_the_card(shipped):
    cards = shipped["top"] / "cards"
    assert sorted(path.name for path in cards.iterdir()) == ["tiny.md", "tiny_curve.png", "tiny_worst.jpg"]
    for name in ("tiny_curve.png", "tiny_worst.jpg"):
        with Image.open(cards / name) as picture:
            assert min(picture.size) > 200
    text, model = (cards / "tiny.md").read_text(), shipped["model"]
    overall = model.scores["bbbc038_synthetic_test"].groups["overall"]
    for expected in (
        f"`{model.weights.sha256}`",
        f"score threshold | {model.score_threshold.value:g}, chosen on `bbbc038_synthetic_val`",
        f"| images | {overall.images} |",
        f"| DSB score | {overall.image_mean['DSB score'].value:.3f}",
        f"    {model.training[0].command}\n",
        "nucleus predict images/ --output nuclei/ --model tiny",
        "](tiny_curve.png)",
        "](tiny_worst.jpg)",
        "## Intended use and limits",
    ):
        assert expected in text, expected
    assert not any(word in text for word in ("None", "nan", "{", "}"))
    tables = [block.splitlines() for block in text.split("\n\n") if block.startswith("|")]
    assert len(tables) >= 4
    assert all(len({line.count("|") for line in table}) == 1 for table in tables)


def test_scores_at_another_threshold_are_refused_and_the_old_model_stays(shipped, tmp_path, pytestconfig, capsys):
    top = shipped["top"]
    scores = top / "test" / "evaluation" / "bbbc038_synthetic_test" / "scores.json"
    content = json.loads(scores.read_text())
    content["settings"]["score threshold"] = 0.123
    (tmp_path / "scores.json").write_text(json.dumps(content))
    before = (top / "zoo" / "tiny" / "model.json").read_bytes()
    tool = runpy.run_path(str(pytestconfig.rootpath / "tools" / "ship_model.py"), run_name="ship_model")
    arguments = ["--name", "tiny", "--weights", top / "run" / "model_final.pth", "--models", top / "zoo",
                 "--test-scores", tmp_path / "scores.json", "--cards", tmp_path]  # fmt: skip
    assert tool["main"](list(map(str, arguments))) == 2
    assert "expected scores at the threshold recorded with the weights" in capsys.readouterr().err
    assert (top / "zoo" / "tiny" / "model.json").read_bytes() == before
    assert sorted(path.name for path in (top / "zoo").iterdir()) == ["tiny"]


def test_a_model_that_a_run_began_with_brings_its_own_runs(shipped, monkeypatch):
    monkeypatch.setenv("NUCLEUS_ZOO", str(shipped["top"] / "zoo"))
    assert ship._earlier("nucleus://tiny") == shipped["model"].training
    (run,) = ship._earlier(str(shipped["top"] / "tuned"))
    assert (run.steps, run.command) == (
        *(1, "nucleus train --config-file nucleus://tiny SOLVER.MAX_ITER 1 SOLVER.BASE_LR 1e-9 "
             "TEST.LOSS_IMAGES 0"),
    )  # fmt: skip
