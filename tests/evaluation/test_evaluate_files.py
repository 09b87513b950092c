from __future__ import annotations

import csv
import json

import numpy as np
import pytest
import tifffile
import torch
from detectron2.data import MetadataCatalog
from detectron2.structures import Boxes, Instances

from nucleus.errors import InputError
from nucleus.evaluation.evaluate_files import evaluate_files
from nucleus.evaluation.evaluator import NucleusEvaluator
from nucleus.formats.coco import write_coco
from nucleus.formats.label_image import write_label_image
from nucleus.masks.rle import coco_area, coco_box, rles_from_label_image

NAME = "test_evaluate_files"


def boxes_of(masks: np.ndarray, labels: np.ndarray) -> Boxes:
    boxes = np.array([coco_box(rle) for rle in rles_from_label_image(labels)], dtype=np.float32).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    return Boxes(torch.from_numpy(boxes))


@pytest.fixture
def evaluated(tmp_path, random_pairs):
    """What Detectron2's evaluator makes of 40 images and their detections, and where it was written."""
    images, annotations = [], []
    for number, (truth, _) in enumerate(random_pairs[:40], start=1):
        size = {"height": truth.shape[0], "width": truth.shape[1]}
        kind = {"modality": ["purple_tissue", "small_fluorescent"][number % 2], "group": f"slide {number // 3}"}
        images.append({"id": number, "file_name": f"x/{100 - number}.png", **size, **kind})
        for rle in rles_from_label_image(truth):
            fixed = {"id": len(annotations) + 1, "image_id": number, "category_id": 1, "iscrowd": 0}
            annotations.append({**fixed, "bbox": coco_box(rle), "area": coco_area(rle), "segmentation": rle})
    write_coco(tmp_path / "truth.json", {}, images, annotations)
    MetadataCatalog.get(NAME).set(json_file=str(tmp_path / "truth.json"))
    evaluator = NucleusEvaluator(NAME, tmp_path / "evaluator", score_threshold=0.4, max_detections=20)
    evaluator.reset()
    for image, (_, prediction) in zip(images, random_pairs, strict=False):
        masks = prediction == np.unique(prediction[prediction != 0])[:, None, None]
        scores = np.random.default_rng(image["id"]).random(len(masks))
        instances = Instances(
            prediction.shape,
            pred_boxes=boxes_of(masks, prediction),
            scores=torch.from_numpy(scores),
            pred_classes=torch.zeros(len(masks), dtype=torch.int64),
            pred_masks=torch.from_numpy(masks),
        )
        evaluator.process([{"image_id": image["id"]}], [{"instances": instances}])
    evaluator.evaluate()
    yield tmp_path
    MetadataCatalog.remove(NAME)


def test_a_model_scored_as_it_runs_and_scored_from_its_files_is_one(evaluated):
    files = evaluated / "truth.json", evaluated / "evaluator" / "coco_instances_results.json"
    evaluation = evaluate_files(*files, evaluated / "files", score_threshold=0.4, max_detections=20, report=False)
    folders = evaluated / "evaluator", evaluated / "files"
    running, from_files = (json.loads((folder / "scores.json").read_text()) for folder in folders)
    assert from_files["scores"] == running["scores"]  # every digit: counts, scores, COCO AP, intervals
    assert from_files["densities"].keys() == running["densities"].keys()
    assert from_files["interval method"] == running["interval method"]
    assert running["scores"]["overall"]["pooled"]["COCO AP (masks)"] > 0
    for name in ("score threshold", "detections", "detections dropped as parts of others"):
        assert from_files["settings"][name] == running["settings"][name]
    curves = [(folder / "threshold.csv").read_bytes() for folder in folders]
    assert curves[0] == curves[1]
    assert [path.name for path in evaluation.files] == [
        "scores.json", "scores.csv", "images.csv", "threshold.csv", "threshold.png"
    ]  # fmt: skip
    rows = []
    for folder in folders:
        with (folder / "images.csv").open(newline="") as file:
            rows.append([{**row, "image": ""} for row in csv.DictReader(file)])
    assert rows[0] == rows[1]


def test_one_image_has_no_interval(tmp_path):
    labels = np.kron([[1, 0, 2]], np.ones((9, 9), dtype=int))
    for side in ("truth", "found"):
        write_label_image(tmp_path / f"{side}.png", labels)
    evaluation = evaluate_files(tmp_path / "truth.png", tmp_path / "found.png", tmp_path / "output")
    assert "interval" not in evaluation.text
    content = json.loads((tmp_path / "output" / "scores.json").read_text())
    assert content["scores"]["overall"]["intervals"] == {"image_mean": {}, "pooled": {}}
    assert (tmp_path / "output" / "report.html").is_file()


def test_images_of_floating_point_are_drawn_and_give_their_size(tmp_path):
    """Outlines on both sides know no size; what `nucleus predict` reads, the report shows."""
    square = {"type": "Polygon", "coordinates": [[[2, 2], [12, 2], [12, 12], [2, 12]]]}
    for side in ("truth", "found"):
        (tmp_path / side).mkdir()
        (tmp_path / side / "a.geojson").write_text(json.dumps(square))
    (tmp_path / "images").mkdir()
    tifffile.imwrite(tmp_path / "images" / "a.tif", np.linspace(0, 1, 600, dtype=np.float32).reshape(20, 30))
    how = {"pictures": tmp_path / "images"}
    evaluate_files(tmp_path / "truth", tmp_path / "found", tmp_path / "output", **how)
    content = json.loads((tmp_path / "output" / "scores.json").read_text())
    assert content["scores"]["overall"]["counts"]["image pixels"] == 600
    assert "data:image/jpeg" in (tmp_path / "output" / "report.html").read_text()


@pytest.fixture
def two(tmp_path):
    """Label images of two nuclei, in folders of truth and prediction."""
    labels = np.kron([[1, 0, 2]], np.ones((9, 9), dtype=int))
    for side in ("truth", "found"):
        write_label_image(tmp_path / side / "a.png", labels)
    return tmp_path


def test_nothing_of_an_earlier_evaluation_stays_beside_the_new_one(two):
    output = two / "output"
    outlines = {"type": "Feature", "geometry": {"type": "Polygon", "coordinates": [[[0, 0], [9, 0], [9, 9], [0, 9]]]}}
    scored = outlines | {"properties": {"measurements": {"score": 0.9}}}
    (two / "a.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": [scored]}))
    evaluate_files(two / "truth" / "a.png", two / "a.geojson", output)
    assert {"threshold.csv", "threshold.png", "report.html", "report.md"} <= {path.name for path in output.iterdir()}
    evaluate_files(two / "truth", two / "found", output, report=False)
    assert {path.name for path in output.iterdir()} == {"scores.json", "scores.csv", "images.csv"}
    (two / "paper").mkdir()
    for name in ("report.md", "threshold.csv"):
        (two / "paper" / name).write_bytes(b"by hand")
    evaluate_files(two / "truth", two / "found", two / "paper", report=False)
    assert (two / "paper" / "report.md").read_bytes() == (two / "paper" / "threshold.csv").read_bytes() == b"by hand"
    for side in ("truth", "found"):
        with pytest.raises(InputError, match="--output: expected another folder than"):
            evaluate_files(two / "truth", two / "found", two / side)
    with pytest.raises(InputError, match="--max-detections: expected 1 or more, found 0"):
        evaluate_files(two / "truth", two / "found", output, max_detections=0)


def test_names_in_another_code(two):
    for side in ("truth", "found"):
        (two / side / "a.png").rename(two / side / "caf\udce9.png")
    evaluate_files(two / "truth", two / "found", two / "output")
    assert b"caf\xe9" in (two / "output" / "images.csv").read_bytes()
    assert r"caf\udce9" in (two / "output" / "report.md").read_text(encoding="utf-8")


def test_what_is_lost_of_the_truth_is_said(two):
    labels = np.zeros((20, 30), dtype=int)
    labels[2:12, 2:12] = 1
    (rle,) = rles_from_label_image(labels)
    (other,) = rles_from_label_image(np.roll(labels, 2, axis=1))
    fixed = {"image_id": 1, "category_id": 1, "bbox": coco_box(rle), "area": 100}
    annotations = [
        fixed | {"id": 1, "segmentation": rle, "score": 1.0},
        fixed | {"id": 2, "segmentation": other, "score": 1.0},
        fixed | {"id": 3, "segmentation": other, "score": 1.0, "iscrowd": 1},
    ]
    write_coco(two / "truth.json", {}, [{"id": 1, "file_name": "a.png", "height": 20, "width": 30}], annotations)
    write_label_image(two / "only" / "a.png", labels)
    (two / "groups.csv").write_text("image,group\na.png,1\n")
    warnings = evaluate_files(two / "truth.json", two / "only", two / "output").scores.warnings
    assert "True nuclei with scores that lie mostly under better ones, which do not count: 1" in warnings
    assert "Crowd regions of the truth; what is predicted there counts as false, but in COCO AP: 1" in warnings


def test_images_without_a_group_and_pictures_of_other_images(two):
    for side in ("truth", "found"):
        write_label_image(two / side / "b.png", np.kron([[1, 0, 2]], np.ones((9, 9), dtype=int)))
    (two / "groups.csv").write_text("image,group\na.png,1\n")
    evaluation = evaluate_files(two / "truth", two / "found", two / "output", groups=two / "groups.csv")
    (warning,) = [one for one in evaluation.scores.warnings if "groups.csv" in one]
    assert warning.endswith("each a group of its own: 1 of 2")
    write_label_image(two / "pictures" / "other.png", np.ones((9, 27), dtype=int))
    with pytest.raises(InputError, match="pictures: expected images named as a, b, found others: other"):
        evaluate_files(two / "truth", two / "found", two / "output", pictures=two / "pictures")
