from __future__ import annotations

import json
from pathlib import Path

import pytest

from nucleus.errors import InputError
from nucleus.zoo.evidence import curve, is_absolute, plain_command, read_evaluation, read_metrics, read_run

SHA = "1" * 64


def start(begin: str, end: str | None, first: int, *command: str, **changes: object) -> dict[str, object]:
    return {
        "command": ["/somewhere/tools/train_net.py", "--config-file", "c.yaml", *command],
        "start": f"2026-11-22T{begin}+00:00",
        "end": None if end is None else f"2026-11-22T{end}+00:00",
        "first_iteration": first,
        "seed": 3,
        "device": "cpu (x86_64)",
        "processes": 1,
        "threads": 2,
        "versions": {"torch": "2.4"},
        "source": {"commit": "abc", "modified": False},
        "data": {"bbbc038_train": {"file": "/somewhere/train.json", "sha256": SHA}},
        "config sha256": SHA,
        "config": "SOLVER: {IMS_PER_BATCH: 4}\n",
    } | changes


@pytest.fixture
def run(tmp_path) -> Path:
    """100 steps; killed after step 59, gone on from step 40, and evaluated afterwards."""
    starts = [
        start("10:00:00", None, 0),
        start("12:00:00", "12:30:00", 40, "--resume"),
        start("13:00:00", "14:00:00", 0, "--eval-only", "MODEL.WEIGHTS", "x"),
    ]
    (tmp_path / "run.json").write_text(json.dumps({"starts": starts}))
    rows = [{"iteration": step, "time": 18.0, "total_loss": 1.0} for step in range(19, 100, 20)]
    rows += [{"iteration": 99, "bbbc038_val/nucleus/DSB score (image mean)": 0.5}]
    (tmp_path / "metrics.json").write_text("\n".join(json.dumps(row) for row in rows))
    return tmp_path


def test_a_run_that_was_killed_and_went_on(run):
    """40 steps of 18 s are 0.2 hours of the first start, half an hour the second; the evaluation is no training."""
    found = read_run(run)
    assert found.hours == 0.7
    assert (found.steps, found.images, found.seed, found.commit) == (100, 400, 3, "abc")
    assert found.command == "python tools/train_net.py --config-file c.yaml"
    assert found.hardware == "cpu (x86_64), 2 threads"
    assert found.data == {"bbbc038_train": SHA}
    assert read_run(run, last_iteration=49).images == 200


def test_what_is_no_run(run, tmp_path_factory):
    with pytest.raises(InputError, match=r"run\.json: expected a JSON file"):
        read_run(tmp_path_factory.mktemp("none"))
    (run / "run.json").write_text(json.dumps({"starts": [start("10:00:00", None, 0, "--eval-only")]}))
    with pytest.raises(InputError, match=r"run\.json: expected the record of a training run"):
        read_run(run)
    (run / "metrics.json").write_text("{}\n{")
    with pytest.raises(InputError, match=r"metrics\.json: expected what a training run logs"):
        read_metrics(run)


def test_curves(run):
    rows = read_metrics(run)
    assert curve(rows, "total_loss") == [(step, 1.0) for step in range(19, 100, 20)]
    assert curve(rows, "nucleus/DSB score (image mean)") == [(99, 0.5)]
    assert curve(rows, "nothing") == []


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["tools/train_net.py", "--config-file", "configs/a.yaml"],
         "python tools/train_net.py --config-file configs/a.yaml"),
        (["/venv/bin/nucleus", "train", "--config-file", "/clone/configs/quick/a.yaml"],
         "nucleus train --config-file configs/quick/a.yaml"),
        (["/clone/nucleus/__main__.py", "train", "OUTPUT_DIR", "/scratch/x", "SEED", "1"],
         "python -m nucleus train SEED 1"),
        (["nucleus", "train", "MODEL.WEIGHTS", "/work/output/before/model_final.pth"],
         "nucleus train MODEL.WEIGHTS output/before/model_final.pth"),
        (["nucleus", "train", "MODEL.WEIGHTS", "/scratch/w.pth", "DATASETS.TRAIN", "('a',)"],
         """nucleus train MODEL.WEIGHTS w.pth DATASETS.TRAIN '('"'"'a'"'"',)'"""),
        (["nucleus", "train", "OUTPUT_DIR", "output/mine"], "nucleus train OUTPUT_DIR output/mine"),
    ],
)  # fmt: skip
def test_commands_without_the_folders_of_a_machine(arguments, expected):
    assert plain_command(arguments) == expected


def test_what_names_a_place_on_a_machine():
    assert all(map(is_absolute, ("/home/me/x.pth", "~/x.pth", "C:\\x.pth", "D:/x.pth")))
    assert not any(map(is_absolute, ("", "output/x", "nucleus://lite", "('a',)", "detectron2://x", "BGR")))


def scores() -> dict[str, object]:
    group = {
        "images": 2,
        "counts": {"true nuclei": 9},
        "image_mean": {"DSB score": 0.123456789, "object F1@0.55": 0.5, "AJI": None},
        "pooled": {"COCO AP (masks)": 0.25},
        "sizes": {},
        "intervals": {"image_mean": {"DSB score": [0.1, 0.2]}, "pooled": {}},
    }
    return {
        "format": "nucleus scores 1",
        "settings": {"data set": "bbbc038_test", "score threshold": 0.7},
        "interval method": {"method": "BCa bootstrap over images", "level": 0.95, "units": {"overall": 5}},
        "scores": {"overall": group},
    }


def test_scores(tmp_path):
    (tmp_path / "scores.json").write_text(json.dumps(scores()))
    name, evaluation = read_evaluation(tmp_path / "scores.json")
    assert (name, evaluation.threshold) == ("bbbc038_test", 0.7)
    assert evaluation.interval == "95% intervals, BCa bootstrap over images"
    group = evaluation.groups["overall"]
    assert (group.images, group.nuclei, group.units) == (2, 9, 5)
    score = group.image_mean["DSB score"]
    assert (score.value, score.low, score.high) == (0.12346, 0.1, 0.2)
    assert set(group.image_mean) == {"DSB score"}  # neither what is not told of nor what is undefined
    assert group.pooled["COCO AP (masks)"].low is None


@pytest.mark.parametrize(
    "change", [{"format": "other"}, {"settings": {}}, {"scores": {"overall": {}}}, {"settings": None}]
)
def test_what_are_no_scores_of_a_model(tmp_path, change):
    (tmp_path / "scores.json").write_text(json.dumps(scores() | change))
    with pytest.raises(InputError, match=r"scores\.json: expected scores\.json of a model on one data set"):
        read_evaluation(tmp_path / "scores.json")
