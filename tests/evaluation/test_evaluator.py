from __future__ import annotations

import csv
import json
import logging
import math
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from detectron2.data import MetadataCatalog
from detectron2.evaluation import COCOEvaluator, DatasetEvaluators, print_csv_format
from detectron2.structures import Boxes, Instances
from torch import distributed, multiprocessing

from nucleus.errors import InputError
from nucleus.evaluation.evaluator import NucleusEvaluator
from nucleus.evaluation.image_scores import SCORES, score_image
from nucleus.formats.coco import write_coco
from nucleus.masks.rle import coco_area, coco_box, rles_from_label_image

NAME = "test_evaluator"
TRUTHS = {
    3: np.kron([[1, 2, 0, 3]], np.ones((8, 8), dtype=int)),  # 1 and 2 touch
    5: np.kron([[0, 1], [0, 0]], np.ones((10, 6), dtype=int)),
    9: np.zeros((7, 5), dtype=int),
}
MODALITIES = {3: "small_fluorescent", 5: "purple_tissue", 9: "small_fluorescent"}


def write_truth(folder: Path, truths: dict[int, np.ndarray] = TRUTHS) -> Path:
    path = folder / "truth.json"
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for image_id, labels in truths.items():
        size = dict(zip(("height", "width"), labels.shape, strict=True))
        images.append({"id": image_id, "file_name": f"{image_id}.png", **size, "modality": MODALITIES.get(image_id)})
        for rle in rles_from_label_image(labels):
            fixed = {"id": len(annotations) + 1, "image_id": image_id, "category_id": 1, "iscrowd": 0}
            annotations.append({**fixed, "bbox": coco_box(rle), "area": coco_area(rle), "segmentation": rle})
    write_coco(path, {}, images, annotations)
    return path


@pytest.fixture
def json_file(tmp_path) -> Iterator[Path]:
    path = write_truth(tmp_path)
    MetadataCatalog.get(NAME).set(json_file=str(path))
    yield path
    MetadataCatalog.remove(NAME)


def instances(labels: np.ndarray, scores: Sequence[float]) -> dict[str, Instances]:
    """What a model gives: one instance a label, with the scores in the order of the labels."""
    masks = labels == np.unique(labels[labels != 0])[:, None, None]
    boxes = np.array([coco_box(rle) for rle in rles_from_label_image(labels)], dtype=np.float32).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    return {
        "instances": Instances(
            labels.shape,
            pred_boxes=Boxes(torch.from_numpy(boxes)),
            scores=torch.as_tensor(scores),
            pred_classes=torch.zeros(len(masks), dtype=torch.int64),
            pred_masks=torch.from_numpy(masks),
        )
    }


def perfect(image_id: int) -> dict[str, Instances]:
    labels = TRUTHS[image_id]
    return instances(labels, [0.9] * int(labels.max()))


def process_all(evaluator: NucleusEvaluator, **changed: dict[str, Instances]) -> None:
    for image_id in TRUTHS:
        evaluator.process([{"image_id": image_id}], [changed.get(f"image_{image_id}", perfect(image_id))])


def test_perfect_predictions(json_file, tmp_path, caplog):
    evaluator = NucleusEvaluator(NAME, tmp_path / "scores")
    process_all(evaluator)
    with caplog.at_level(logging.INFO, logger="nucleus"):
        results = evaluator.evaluate()
    assert list(results) == ["nucleus", "seed_protocol", "coco_bbox", "coco_segm", "threshold"]
    assert set(results["nucleus"].values()) == set(results["seed_protocol"].values()) == {1.0}
    assert {f"DSB score ({kind})" for kind in ("image mean", "pooled")} < set(results["nucleus"])
    assert results["coco_segm"]["COCO AP (masks)"] == pytest.approx(1)
    assert results["coco_bbox"]["COCO AP50 (boxes)"] == pytest.approx(1)
    assert math.isnan(results["coco_segm"]["COCO AP large (masks)"])
    assert "DSB score" in caplog.text
    assert "small" in caplog.text
    assert {path.name for path in (tmp_path / "scores").iterdir()} == {
        "scores.json", "scores.csv", "images.csv", "coco_instances_results.json", "threshold.csv", "threshold.png"
    }  # fmt: skip
    print_csv_format(results)  # Detectron2's own printing takes the result as it is


def test_agrees_with_the_parts_and_with_detectron2(random_pairs, tmp_path, agree):
    pairs = dict(enumerate(random_pairs, start=1))
    path = write_truth(tmp_path, {image_id: truth for image_id, (truth, _) in pairs.items()})
    MetadataCatalog.get("test_evaluator_random").set(
        json_file=str(path), thing_classes=["nucleus"], thing_dataset_id_to_contiguous_id={1: 0}
    )
    ours = NucleusEvaluator("test_evaluator_random", score_threshold=0.0)
    theirs = COCOEvaluator("test_evaluator_random", ("bbox", "segm"), max_dets_per_image=1000, use_fast_impl=False)
    theirs.reset()
    rng = np.random.default_rng(0)
    for image_id, (_, prediction) in pairs.items():
        output = instances(prediction, rng.integers(1, 20, size=len(np.unique(prediction[prediction > 0]))) / 20)
        for evaluator in (ours, theirs):
            evaluator.process([{"image_id": image_id}], [output])
    found, expected = ours.evaluate(), theirs.evaluate()
    MetadataCatalog.remove("test_evaluator_random")

    for task in ("bbox", "segm"):  # Detectron2 gives percent: AP, AP50, AP75, small, medium, large
        percent = list(expected[task].values())[:6]
        agree(f"COCO AP, {task}", "Detectron2's COCOEvaluator, 200 random images",
              list(found[f"coco_{task}"].values())[:6], np.array(percent) / 100, 1e-12)  # fmt: skip
    scores = [score_image(*pair) for pair in random_pairs]
    for name in ("DSB score", "PQ"):  # not AJI, whose rule for ties looks at labels, which the evaluator gives by score
        mean = sum(SCORES[name](one) for one in scores) / len(scores)
        agree(name, "scores of the label images", [found["nucleus"][f"{name} (image mean)"]], [mean], 1e-12)


def test_the_score_threshold_and_the_owner_of_a_pixel(json_file, tmp_path):
    evaluator = NucleusEvaluator(NAME, tmp_path, score_threshold=0.5)
    output = perfect(3)["instances"]
    output.scores = torch.tensor([0.9, 0.6, 0.4])  # the third is below the threshold
    output.pred_masks[1, :, 6:8] = True  # the second claims two columns of the first
    output.pred_boxes.tensor[1, 0] = 6
    process_all(evaluator, image_3={"instances": output})
    results = evaluator.evaluate()
    with (tmp_path / "images.csv").open(newline="") as file:
        row = next(csv.DictReader(file))
    assert row["image"] == "3.png"
    assert (row["true nuclei"], row["predicted nuclei"], row["true positives@0.95"]) == ("3", "2", "2")
    # COCO AP sees the detection below the threshold as well, and the second mask as the model gave it
    saved = json.loads((tmp_path / "coco_instances_results.json").read_text())
    assert [result["score"] for result in saved if result["image_id"] == 3] == pytest.approx([0.9, 0.6, 0.4])
    assert coco_area(saved[1]["segmentation"]) == 8 * 10
    assert saved[1]["bbox"] == [6, 0, 10, 8]  # XYWH
    assert results["coco_segm"]["COCO AR (masks)"] > 0.9
    assert results["nucleus"]["object F1@0.50 (pooled)"] == 2 * 3 / (4 + 3)


def test_parts_of_others_are_dropped_and_counted(json_file, tmp_path):
    doubled = Instances.cat([perfect(5)["instances"], perfect(5)["instances"]])
    evaluator = NucleusEvaluator(NAME, tmp_path)
    process_all(evaluator, image_5={"instances": doubled})
    assert evaluator.evaluate()["nucleus"]["DSB score (pooled)"] == 1
    settings = json.loads((tmp_path / "scores.json").read_text())["settings"]
    assert settings["detections dropped as parts of others"] == 1
    assert settings["detections"] == 5


def test_by_modality_and_seed_protocol(json_file, tmp_path):
    evaluator = NucleusEvaluator(NAME, tmp_path)
    process_all(evaluator, image_5=instances(np.zeros((20, 12), dtype=int), []))
    results = evaluator.evaluate()
    scores = json.loads((tmp_path / "scores.json").read_text())["scores"]
    assert list(scores) == ["overall", "purple_tissue", "small_fluorescent"]
    assert scores["purple_tissue"]["pooled"]["DSB score"] == 0
    assert scores["purple_tissue"]["pooled"]["COCO AP (masks)"] == 0
    assert scores["small_fluorescent"]["pooled"]["COCO AP (masks)"] == pytest.approx(1)
    assert scores["small_fluorescent"]["images"] == 2
    # nuclei 1 and 2 touch: two components in image 3, one of image 5 missed
    assert results["seed_protocol"]["seed protocol object F1@0.70 (pooled)"] == 2 * 2 / (3 + 2)
    assert results["nucleus"]["object F1@0.70 (pooled)"] == 2 * 3 / (4 + 3)


def test_the_detection_cap(json_file):
    evaluator = NucleusEvaluator(NAME, max_detections=1)
    process_all(evaluator)
    assert evaluator.evaluate()["coco_segm"]["COCO AR (masks)"] == 2 / 4  # one of three, and the one of image 5


def test_nothing_is_written_without_a_folder(json_file, tmp_path):
    evaluator = NucleusEvaluator(NAME)
    process_all(evaluator)
    evaluator.evaluate()
    assert {path.name for path in tmp_path.iterdir()} == {"truth.json"}


def test_reset_and_use_among_other_evaluators(json_file):
    evaluator = NucleusEvaluator(NAME)
    process_all(evaluator, image_3=instances(np.zeros((8, 32), dtype=int), []))
    evaluators = DatasetEvaluators([evaluator])
    evaluators.reset()
    evaluators.process([{"image_id": i} for i in TRUTHS], [perfect(i) for i in TRUTHS])
    assert evaluators.evaluate()["nucleus"]["AJI (pooled)"] == 1


def test_images_without_a_prediction_are_named(json_file):
    evaluator = NucleusEvaluator(NAME)
    evaluator.process([{"image_id": 5}], [perfect(5)])
    with pytest.raises(InputError, match=r"truth.json: expected predictions for all 3 .*none for 2: 3.png, 9.png"):
        evaluator.evaluate()


def test_a_data_set_without_images(tmp_path):
    path = tmp_path / "empty.json"
    write_coco(path, {}, [], [])
    MetadataCatalog.get("test_evaluator_empty").set(json_file=str(path))
    with pytest.raises(InputError, match="at least one"):
        NucleusEvaluator("test_evaluator_empty").evaluate()
    MetadataCatalog.remove("test_evaluator_empty")


@pytest.mark.parametrize(
    ("record", "output", "message"),
    [
        ({"image_id": 4}, perfect(3), "expected an image with id 4"),
        ({"image_id": 5}, perfect(3), "5.png: expected masks of 20 x 12 pixels.*found 8 x 32"),
        ({"image_id": 9}, {"instances": Instances((7, 5))}, "9.png: expected instances with pred_masks"),
    ],
)
def test_what_does_not_fit_the_data_set(json_file, record, output, message):
    with pytest.raises(InputError, match=message):
        NucleusEvaluator(NAME).process([record], [output])


def test_a_data_set_that_is_not_registered_with_a_coco_file():
    with pytest.raises(InputError, match="no_such_set: expected a data set registered with a COCO file"):
        NucleusEvaluator("no_such_set")


def test_crowds_and_other_classes_in_the_truth(json_file):
    coco = json.loads(json_file.read_text())
    for annotation in coco["annotations"]:
        annotation["category_id"] = 7
        del annotation["area"], annotation["iscrowd"]
    coco["annotations"][0]["iscrowd"] = 1  # the left one of image 3: no nucleus for label-image scores
    coco["categories"] = [{"id": 7, "name": "cell"}]
    json_file.write_text(json.dumps(coco))
    evaluator = NucleusEvaluator(NAME)
    process_all(evaluator)
    results = evaluator.evaluate()
    assert results["nucleus"]["object F1@0.50 (pooled)"] == 2 * 3 / (3 + 4)
    assert results["coco_segm"]["COCO AP (masks)"] == pytest.approx(1)  # COCO ignores what falls into a crowd


def evaluate_in_one_of_two_processes(rank: int, json_file: str, output: str) -> None:
    """Each process sees image 3, the first 5 and the second 9, as a sampler that pads shares would give them."""
    distributed.init_process_group("gloo", init_method=f"file://{output}/meeting", rank=rank, world_size=2)
    MetadataCatalog.get(NAME).set(json_file=json_file)
    evaluator = NucleusEvaluator(NAME, output)
    for image_id in ((3, 5), (9, 3))[rank]:
        evaluator.process([{"image_id": image_id}], [perfect(image_id)])
    results: dict[str, Any] = evaluator.evaluate()
    (Path(output) / f"rank_{rank}.json").write_text(json.dumps(results))
    distributed.destroy_process_group()


def test_two_processes(tmp_path):
    path = write_truth(tmp_path)
    multiprocessing.spawn(evaluate_in_one_of_two_processes, args=(str(path), str(tmp_path)), nprocs=2)
    first, second = (json.loads((tmp_path / f"rank_{rank}.json").read_text()) for rank in range(2))
    assert second == {}
    assert first["nucleus"]["DSB score (image mean)"] == 1
    with (tmp_path / "images.csv").open(newline="") as file:
        assert [row["image"] for row in csv.DictReader(file)] == ["3.png", "5.png", "9.png"]  # each once, in order
    saved = json.loads((tmp_path / "coco_instances_results.json").read_text())
    assert [result["image_id"] for result in saved] == [3, 3, 3, 5]


def test_all_but_the_evaluator_does_without_torch():
    modules = [path.stem for path in (Path(__file__).parents[2] / "nucleus" / "evaluation").glob("*.py")]
    assert "evaluator" in modules
    lines = [f"import nucleus.evaluation.{name}" for name in modules if name not in ("__init__", "evaluator")]
    lines += ["import sys", "assert not {'torch', 'detectron2'} & set(sys.modules)"]
    root = Path(__file__).parents[2]
    finished = subprocess.run([sys.executable, "-c", "\n".join(lines)], cwd=root, capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr


@pytest.fixture
def validation_set(tmp_path) -> Iterator[str]:
    path = write_truth(tmp_path)
    MetadataCatalog.get("set_for_validation").set(json_file=str(path))
    yield "set_for_validation"
    MetadataCatalog.remove("set_for_validation")


def process_with_scores(evaluator: NucleusEvaluator, true: float, false: float) -> None:
    """Every true nucleus with one score, and a false one with another in image 9."""
    for image_id, labels in TRUTHS.items():
        evaluator.process([{"image_id": image_id}], [instances(labels, [true] * int(labels.max()))])
    invented = np.zeros((7, 5), dtype=int)
    invented[2:5, 1:4] = 1
    evaluator.process([{"image_id": 9}], [instances(invented, [false])])


def test_the_threshold_is_chosen_on_a_validation_set(validation_set, tmp_path):
    evaluator = NucleusEvaluator(validation_set, tmp_path / "scores", score_threshold=None)
    process_with_scores(evaluator, true=0.801, false=0.309)
    results = evaluator.evaluate()
    # all is right from 0.31 to 0.80, and 0.41 to 0.70 have nothing else within 0.1
    assert results["threshold"] == {"score threshold": 0.55}
    assert evaluator.score_threshold == 0.55
    assert results["nucleus"]["DSB score (image mean)"] == 1
    settings = json.loads((tmp_path / "scores" / "scores.json").read_text())["settings"]
    assert (settings["score threshold"], settings["score threshold chosen on"]) == (0.55, validation_set)

    evaluator.reset()  # the next evaluation chooses anew
    process_with_scores(evaluator, true=0.601, false=0.309)
    assert evaluator.evaluate()["threshold"] == {"score threshold": 0.45}


def test_the_scores_are_those_of_the_chosen_threshold_given(validation_set, json_file):
    chosen, given = (NucleusEvaluator(name, score_threshold=t) for name, t in ((validation_set, None), (NAME, 0.55)))
    for evaluator in (chosen, given):
        process_with_scores(evaluator, true=0.801, false=0.309)
    assert json.dumps(chosen.evaluate()) == json.dumps(given.evaluate())  # as text, since NaN is not equal to itself


def test_no_threshold_is_chosen_on_a_test_set(json_file, tmp_path):
    with pytest.raises(InputError, match=r"test_evaluator: expected a data set to choose .* a test set"):
        NucleusEvaluator(NAME, score_threshold=None)
    write_truth(tmp_path).rename(tmp_path / "stage1_test.json")
    MetadataCatalog.get("my_set").set(json_file=str(tmp_path / "stage1_test.json"))
    with pytest.raises(InputError, match=r"my_set: .* a test set, by its name or that of its file"):
        NucleusEvaluator("my_set", score_threshold=None)
    MetadataCatalog.remove("my_set")


def test_intervals_are_written_over_the_groups_of_the_data_set(json_file, tmp_path):
    coco = json.loads(json_file.read_text())
    for image, group in zip(coco["images"], ("a", "a", "b"), strict=True):
        image["group"] = group
    json_file.write_text(json.dumps(coco))
    evaluator = NucleusEvaluator(NAME, tmp_path)
    process_all(evaluator, image_9=instances(np.eye(7, 5, dtype=int), [0.9]))
    evaluator.evaluate()
    scores = json.loads((tmp_path / "scores.json").read_text())
    assert scores["interval method"]["units"]["overall"] == 2
    assert scores["interval method"]["method"] == "BCa bootstrap over groups of images"
