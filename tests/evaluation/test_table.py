from __future__ import annotations

import copy
import csv
import json
import math

import jsonschema
import numpy as np
import pytest

from nucleus.evaluation.image_scores import COUNTS, SCORES, score_image
from nucleus.evaluation.nucleus_sizes import SIZES
from nucleus.evaluation.strata import summarize_densities
from nucleus.evaluation.summary import ScoredImage, summarize
from nucleus.evaluation.table import (
    OFFSET,
    format_densities,
    format_intervals,
    format_table,
    scores_schema,
    write_scores,
)


@pytest.fixture
def images() -> list[ScoredImage]:
    truth = np.array([[1, 1, 1, 0, 2]])
    return [
        ScoredImage("a, b.png", "small_fluorescent", score_image(truth, truth), "slide 1"),
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
    assert [line.split() for line in lines[6:11]] == [
        ["found", "at", "IoU", ">", "0.50", "2", "0", "2"],
        ["missed", "2", "2", "0"],
        ["false", "0", "0", "0"],
        ["split", "0", "0", "0"],
        ["predictions", "that", "merge", "0", "0", "0"],
    ]
    assert lines[mean + 1].split() == ["DSB", "score", "0.5000", "0.0000", "1.0000"]
    assert lines[pooled + 1].split() == ["DSB", "score", "0.5000", "0.0000", "1.0000"]
    assert [line.strip() for line in lines[mean:pooled] if "@" in line and "seed" not in line] == [
        "object F1@0.50                 0.5000  0.0000       1.0000",
        "object F1@0.70                 0.5000  0.0000       1.0000",
        "object F1@0.90                 0.5000  0.0000       1.0000",
    ]
    sizes = lines.index(next(line for line in lines if line.startswith("by nucleus area")))
    assert lines[sizes - 3].split() == ["COCO", "AP", "(masks)", "0.5000", "0.5000", "0.5000"]
    assert lines[sizes - 2].split() == ["COCO", "AP", "large", "(masks)", "-", "-", "-"]
    assert lines[sizes].split("  ")[-4:] == ["to 100", "100 to 300", "300 to 1000", "above 1000"]
    assert lines[sizes + 1].split() == ["true", "nuclei", "4", "0", "0", "0"]
    assert lines[-1].split() == ["recall@0.90", "0.5000", "-", "-", "-"]
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
    assert overall["sizes"]["to 100"]["true positives@0.50"] == 2
    assert overall["outline_offset"] == 0.0
    assert content["scores"]["pink_purple_tissue"]["outline_offset"] is None  # nothing matched
    assert content["densities"]["true nuclei an image"]["to 10"]["counts"] == overall["counts"]
    assert "intervals" not in overall


def test_scores_json_keeps_its_schema(tmp_path, images, summaries):
    schema = scores_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    write_scores(tmp_path, images, summaries)
    plain = json.loads((tmp_path / "scores.json").read_text())
    jsonschema.validate(plain, schema)
    known = {"overall": {"image_mean": {"AJI": (0.1, math.nan)}, "pooled": {}}}
    densities = {"true nuclei an image": {"to 10": known["overall"]}}
    write_scores(tmp_path, images, summaries, {"a": 1}, warnings=["!"], intervals=known, density_intervals=densities)
    full = json.loads((tmp_path / "scores.json").read_text())
    jsonschema.validate(full, schema)
    assert full["scores"]["overall"]["intervals"]["image_mean"] == {"AJI": [0.1, None]}
    assert full["densities"]["true nuclei an image"]["to 10"]["intervals"]["image_mean"] == {"AJI": [0.1, None]}
    assert full["warnings"] == ["!"]
    for spoil in (
        lambda content: content.pop("settings"),
        lambda content: content["scores"].pop("overall"),
        lambda content: content["scores"]["overall"]["pooled"].update({"DSB score": 1.5}),
        lambda content: content["scores"]["overall"]["counts"].update({"splits": -1}),
        lambda content: content["scores"]["overall"]["intervals"]["pooled"].update({"AJI": [0.5]}),
        lambda content: content.update({"more": 1}),
    ):
        spoilt = copy.deepcopy(full)
        spoil(spoilt)
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(spoilt, schema)


def test_densities_and_intervals_as_text(images):
    lines = format_densities(summarize_densities(images)).split("\n")
    assert lines[0].startswith("true nuclei an image, image mean")
    assert lines[1].split()[:5] == ["to", "10", "2", "4", "0.5000"]
    text = format_intervals(summarize(images)["overall"], {"image_mean": {"DSB score": (0.25, 0.75)}})
    assert text.split("\n")[1].split() == ["DSB", "score", "0.5000", "0.2500", "0.7500", "0.5000", "-", "-"]


def test_scores_csv(tmp_path, images, summaries):
    write_scores(tmp_path, images, summaries)
    with (tmp_path / "scores.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [(row["by"], row["stratum"], row["aggregation"]) for row in rows] == [
        (by, stratum, title)
        for by, stratum in (
            ("all", "overall"),
            ("modality", "pink_purple_tissue"),
            ("modality", "small_fluorescent"),
            ("true nuclei an image", "to 10"),
            ("true nuclei a megapixel", "above 1000"),
        )
        for title in ("image mean", "pooled")
    ] + [("nucleus area in pixels", size, "pooled") for size in SIZES]
    assert [row["true positives@0.50"] for row in rows[-4:]] == ["2", "0", "0", "0"]
    assert float(rows[1]["object F1@0.75"]) == summaries["overall"].pooled["object F1@0.75"]
    assert [row["COCO AP (masks)"] for row in rows[:2]] == ["", "0.5"]  # COCO AP has no image mean
    assert {row["COCO AP large (masks)"] for row in rows} == {""}  # undefined
    assert rows[0]["images"] == "2"
    assert rows[0]["true positives@0.50"] == "2"
    assert [row[OFFSET] for row in rows[:4]] == ["", "0.0", "", ""]


def test_images_csv(tmp_path, images, summaries):
    write_scores(tmp_path, images, summaries)
    with (tmp_path / "images.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["image"] for row in rows] == ["a, b.png", "ü.png"]
    assert list(rows[0]) == ["image", "modality", "group", *COUNTS, *SCORES, OFFSET]
    assert rows[0]["AJI"] == "1.0"
    assert [row["group"] for row in rows] == ["slide 1", ""]
    assert rows[1]["false negatives@0.50"] == "2"
    assert [row[OFFSET] for row in rows] == ["0.0", ""]


def test_a_failed_write_leaves_the_old_files(tmp_path, images, summaries):
    write_scores(tmp_path, images, summaries, {"run": 1})
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(TypeError):
        write_scores(tmp_path, images, summaries, {"run": object()})
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
