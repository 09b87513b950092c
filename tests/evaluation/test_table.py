from __future__ import annotations

import csv
import json
import math

import numpy as np
import pytest

from nucleus.evaluation.image_scores import COUNTS, SCORES, score_image
from nucleus.evaluation.summary import ScoredImage, summarize
from nucleus.evaluation.table import format_table, write_scores


@pytest.fixture
def images() -> list[ScoredImage]:
    truth = np.array([[1, 1, 1, 0, 2]])
    return [
        ScoredImage("a, b.png", "small_fluorescent", score_image(truth, truth)),
        ScoredImage("ü.png", "pink_purple_tissue", score_image(truth, np.zeros_like(truth))),
    ]


@pytest.fixture
def summaries(images):
    ap = {"COCO AP (masks)": 0.5, "COCO AP large (masks)": math.nan}
    return summarize(images, dict.fromkeys(["overall", "small_fluorescent", "pink_purple_tissue"], ap))


def test_text_table(summaries):
    lines = format_table(summaries).split("\n")
    assert [line.split() for line in lines[:3]] == [
        ["overall", "pink", "small"],
        ["purple", "fluorescent"],
        ["tissue"],
    ]
    assert lines[3].split() == ["images", "2", "1", "1"]
    assert lines[4].split() == ["true", "nuclei", "4", "2", "2"]
    mean, pooled = lines.index("image mean"), lines.index("pooled")
    assert lines[mean + 1].split() == ["DSB", "score", "0.5000", "0.0000", "1.0000"]
    assert lines[pooled + 1].split() == ["DSB", "score", "0.5000", "0.0000", "1.0000"]
    assert [line.strip() for line in lines[mean:pooled] if "@" in line and "seed" not in line] == [
        "object F1@0.50                 0.5000  0.0000       1.0000",
        "object F1@0.70                 0.5000  0.0000       1.0000",
        "object F1@0.90                 0.5000  0.0000       1.0000",
    ]
    assert lines[-2].split() == ["COCO", "AP", "(masks)", "0.5000", "0.5000", "0.5000"]
    assert lines[-1].split() == ["COCO", "AP", "large", "(masks)", "-", "-", "-"]
    assert all(line == line.rstrip() for line in lines)


def test_scores_json(tmp_path, images, summaries):
    write_scores(tmp_path / "new" / "folder", images, summaries, {"score threshold": 0.5})
    content = json.loads((tmp_path / "new" / "folder" / "scores.json").read_text(), parse_constant=pytest.fail)
    assert content["settings"] == {"score threshold": 0.5}
    assert list(content["scores"]) == ["overall", "pink_purple_tissue", "small_fluorescent"]
    overall = content["scores"]["overall"]
    assert overall["images"] == 2
    assert overall["counts"] == {**summaries["overall"].counts}
    assert overall["image_mean"] == summaries["overall"].image_mean  # every digit
    assert overall["pooled"]["COCO AP (masks)"] == 0.5
    assert overall["pooled"]["COCO AP large (masks)"] is None


def test_scores_csv(tmp_path, images, summaries):
    write_scores(tmp_path, images, summaries)
    with (tmp_path / "scores.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [(row["modality"], row["aggregation"]) for row in rows] == [
        (group, title)
        for group in ("overall", "pink_purple_tissue", "small_fluorescent")
        for title in ("image mean", "pooled")
    ]
    assert float(rows[1]["object F1@0.75"]) == summaries["overall"].pooled["object F1@0.75"]
    assert [row["COCO AP (masks)"] for row in rows[:2]] == ["", "0.5"]  # COCO AP has no image mean
    assert {row["COCO AP large (masks)"] for row in rows} == {""}
    assert rows[0]["images"] == "2"
    assert rows[0]["true positives@0.50"] == "2"


def test_images_csv(tmp_path, images, summaries):
    write_scores(tmp_path, images, summaries)
    with (tmp_path / "images.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["image"] for row in rows] == ["a, b.png", "ü.png"]
    assert list(rows[0]) == ["image", "modality", *COUNTS, *SCORES]
    assert rows[0]["AJI"] == "1.0"
    assert rows[1]["false negatives@0.50"] == "2"


def test_a_failed_write_leaves_the_old_files(tmp_path, images, summaries):
    write_scores(tmp_path, images, summaries, {"run": 1})
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(TypeError):
        write_scores(tmp_path, images, summaries, {"run": object()})
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
