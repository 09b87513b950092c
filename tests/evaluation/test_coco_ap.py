from __future__ import annotations

import contextlib
import io
import json
import math
import sys
from copy import deepcopy
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from nucleus.evaluation.coco_ap import coco_average_precision
from nucleus.masks.rle import coco_area, coco_box, encode_coco, rles_from_label_image, runs_from_coco

BACKENDS = ["hotcoco", "pycocotools"]


def square(left: int, top: int, side: int = 4, size: tuple[int, int] = (40, 60)) -> dict[str, Any]:
    """Box, area and mask of a square."""
    mask = np.zeros(size, dtype=bool)
    mask[top : top + side, left : left + side] = True
    return {"bbox": [left, top, side, side], "area": side**2, "segmentation": encode_coco(mask)}


def coco_file(nuclei: dict[int, list[dict[str, Any]]], size: tuple[int, int] = (40, 60)) -> dict[str, Any]:
    """Content of a COCO file from the nuclei of each image id."""
    annotations = [
        {"image_id": image_id, "category_id": 1, "iscrowd": 0, **nucleus}
        for image_id, members in nuclei.items()
        for nucleus in members
    ]
    return {
        "images": [{"id": image_id, "height": size[0], "width": size[1]} for image_id in nuclei],
        "annotations": [{"id": number, **annotation} for number, annotation in enumerate(annotations, start=1)],
        "categories": [{"id": 1, "name": "nucleus"}],
    }


def detection(image_id: int, score: float, nucleus: dict[str, Any]) -> dict[str, Any]:
    shape = {key: nucleus[key] for key in ("bbox", "segmentation")}
    return {"image_id": image_id, "category_id": 1, "score": score, **shape}


def row_of_squares(count: int) -> list[dict[str, Any]]:
    return [square(2 * (i % 30), 2 * (i // 30), side=2) for i in range(count)]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("iou_type", "subject"), [("bbox", "boxes"), ("segm", "masks")])
def test_one_of_two_found(backend, iou_type, subject):
    truth = coco_file({1: [square(0, 0), square(10, 10)]})
    scores = coco_average_precision(truth, [detection(1, 0.9, square(0, 0))], iou_type, backend=backend)["overall"]
    # precision is 1 at the recalls 0, 0.01 ... 0.50 and 0 at the other 50
    expected = {name: pytest.approx(51 / 101) for name in ("COCO AP", "COCO AP50", "COCO AP75", "COCO AP small")}
    expected |= {"COCO AP medium": math.nan, "COCO AP large": math.nan, "COCO AR": 0.5}
    assert scores == pytest.approx({f"{name} ({subject})": value for name, value in expected.items()}, nan_ok=True)


@pytest.mark.parametrize("backend", BACKENDS)
def test_detections_beyond_the_hundredth_count(backend):
    nuclei = row_of_squares(150)
    truth = coco_file({1: nuclei})
    results = [detection(1, 1 - i / 1000, nucleus) for i, nucleus in enumerate(nuclei)]
    for cap, expected in ((1000, 1.0), (100, 67 / 101)):  # 100 of 150: recalls 0 to 0.66
        scores = coco_average_precision(truth, results, "segm", max_detections=cap, backend=backend)["overall"]
        assert scores["COCO AP (masks)"] == pytest.approx(expected)
        assert scores["COCO AR (masks)"] == pytest.approx(min(cap, 150) / 150)


@pytest.mark.parametrize("backend", BACKENDS)
def test_subsets_are_scored_by_themselves(backend):
    truth = coco_file({1: [square(0, 0)], 2: [square(0, 0)], 3: []})
    results = [detection(1, 0.9, square(0, 0)), detection(2, 0.95, square(20, 20))]
    scores = coco_average_precision(
        truth, results, "segm", subsets={"both": [2, 1], "good": [1], "bad": [2], "empty": [3]}, backend=backend
    )
    found = {subset: values["COCO AP (masks)"] for subset, values in scores.items()}
    assert found == pytest.approx({"both": 51 / 101 / 2, "good": 1, "bad": 0, "empty": math.nan}, nan_ok=True)


@pytest.mark.parametrize("backend", BACKENDS)
def test_subsets_may_share_images_and_bear_any_name(backend):
    truth = coco_file({1: [square(0, 0)], 2: [square(0, 0)]})
    results = [detection(1, 0.9, square(0, 0)), detection(2, 0.95, square(20, 20))]
    scores = coco_average_precision(truth, results, "segm", subsets={"_overall": [1], "x": [1, 2]}, backend=backend)
    assert scores["_overall"]["COCO AP (masks)"] == pytest.approx(1)
    assert scores["x"]["COCO AP (masks)"] == pytest.approx(51 / 101 / 2)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_match_with_annotation_0_counts(backend):
    truth = coco_file({1: [square(0, 0), square(10, 10)]})
    for annotation in truth["annotations"]:
        annotation["id"] -= 1  # from 0, as many converters number them; pycocotools alone takes such a match for none
    results = [detection(1, 0.9, square(0, 0)), detection(1, 0.8, square(10, 10))]
    scores = coco_average_precision(truth, results, "segm", backend=backend)["overall"]
    assert scores["COCO AP (masks)"] == pytest.approx(1)


@pytest.mark.parametrize("backend", BACKENDS)
def test_no_detections_and_no_truth(backend):
    missed = coco_average_precision(coco_file({1: [square(0, 0)]}), [], "segm", backend=backend)["overall"]
    assert missed["COCO AP (masks)"] == missed["COCO AR (masks)"] == 0
    nothing = coco_average_precision(coco_file({1: []}), [], "bbox", backend=backend)["overall"]
    assert all(math.isnan(value) for value in nothing.values())
    invented = coco_average_precision(coco_file({1: []}), [detection(1, 0.9, square(0, 0))], "bbox", backend=backend)
    assert math.isnan(invented["overall"]["COCO AP (boxes)"])


@pytest.mark.parametrize("backend", BACKENDS)
def test_masks_are_sorted_into_sizes_by_their_own_area(backend):
    # a ring of 1,000 pixels in a box of 40 x 40: small as a mask, medium as a box
    ring = np.zeros((60, 60), dtype=bool)
    ring[5:45, 5:45] = True
    ring[13:37, 13:38] = False
    rle = encode_coco(ring)
    shape = {"bbox": coco_box(rle), "area": coco_area(rle), "segmentation": rle}
    truth = coco_file({1: [shape]}, size=(60, 60))
    far = detection(1, 0.95, {"bbox": [0, 0, 40, 40], "segmentation": encode_coco(np.roll(ring, 16, axis=(0, 1)))})
    scores = coco_average_precision(truth, [far, detection(1, 0.9, shape)], "segm", backend=backend)["overall"]
    assert coco_area(rle) < 32**2
    assert scores["COCO AP small (masks)"] == pytest.approx(0.5)  # the false one is small, too, and comes first


@pytest.mark.parametrize("backend", BACKENDS)
def test_input_is_left_as_it_was(backend):
    truth, results = coco_file({1: [square(0, 0)]}), [detection(1, 0.9, square(0, 0))]
    before = deepcopy((truth, results))
    for iou_type in ("bbox", "segm"):
        coco_average_precision(truth, results, iou_type, backend=backend)
    assert (truth, results) == before


def test_pycocotools_serves_where_hotcoco_is_missing(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setitem(sys.modules, "hotcoco", None)
    truth, results = coco_file({1: [square(0, 0)]}), [detection(1, 0.9, square(0, 0))]
    assert coco_average_precision(truth, results, "segm")["overall"]["COCO AP (masks)"] == pytest.approx(1)
    with pytest.raises(ImportError):
        coco_average_precision(truth, results, "segm", backend="hotcoco")


def reference(truth: dict[str, Any], results: list[dict[str, Any]], iou_type: str, cap: int) -> list[float]:
    """pycocotools alone, its own summary where it can be trusted: all but AP, which it takes at 100 detections."""
    results = deepcopy(results)
    if iou_type == "segm":
        for result in results:
            del result["bbox"]
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = deepcopy(truth)
        coco.createIndex()
        evaluation = COCOeval(coco, coco.loadRes(results), iou_type)
        evaluation.params.maxDets = [1, 10, cap]
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    precision = evaluation.eval["precision"][:, :, :, 0, 2]
    average = precision[precision > -1].mean() if (precision > -1).any() else math.nan
    return [average, *(math.nan if value == -1 else value for value in evaluation.stats[[1, 2, 3, 4, 5, 8]])]


def compare(agree, kind: str, coco: tuple[dict[str, Any], list[dict[str, Any]]], cap: int = 1000, backends=BACKENDS):
    truth, results = coco
    for iou_type in ("bbox", "segm"):
        expected = reference(truth, results, iou_type, cap)
        for backend in backends:
            scores = coco_average_precision(truth, results, iou_type, max_detections=cap, backend=backend)["overall"]
            agree(f"COCO AP, {iou_type}, {backend}", f"pycocotools, {kind}", list(scores.values()), expected, 1e-12)


def as_coco(pairs: list[tuple[np.ndarray, np.ndarray]], seed: int) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Truth and detections with random scores, many of them equal."""
    rng = np.random.default_rng(seed)

    def shapes(labels: np.ndarray) -> list[dict[str, Any]]:
        return [
            {"bbox": coco_box(rle), "area": coco_area(rle), "segmentation": rle}
            for rle in rles_from_label_image(labels)
        ]

    truth = coco_file({image_id: shapes(pair[0]) for image_id, pair in enumerate(pairs, start=1)})
    for image, (labels, _) in zip(truth["images"], pairs, strict=True):
        image["height"], image["width"] = labels.shape
    results = [
        detection(image_id, round(float(rng.random()), 2), shape)
        for image_id, (_, prediction) in enumerate(pairs, start=1)
        for shape in shapes(prediction)
    ]
    return truth, results


def test_agrees_with_pycocotools_on_random_images(random_pairs, agree):
    compare(agree, "200 random images", as_coco(random_pairs, seed=0))


def test_agrees_with_pycocotools_on_the_real_test_set(real_pairs, agree):
    compare(agree, "65 real images", as_coco(real_pairs[:65], seed=1), backends=["hotcoco"])


def test_agrees_with_pycocotools_on_more_than_a_thousand_detections_and_a_crowd(agree):
    rng = np.random.default_rng(2)
    nuclei = {1: row_of_squares(120), 2: [], 3: [square(0, 0, side=30) | {"iscrowd": 1}, square(40, 2)]}
    results = [
        detection(image_id, score / 50, square(left, top, side))
        for image_id, count in ((1, 1300), (2, 20), (3, 50))
        for score, left, top, side in rng.integers([0, 0, 0, 1], [50, 56, 36, 5], size=(count, 4)).tolist()
    ]
    for cap in (100, 1000):
        compare(agree, f"crowd, ties, 1,300 detections, cap {cap}", (coco_file(nuclei), results), cap)


def both_backends(truth: dict[str, Any], results: list[dict[str, Any]], **options: Any) -> None:
    """Scores of hotcoco and pycocotools are the same, of boxes and of masks."""
    for iou_type in ("bbox", "segm"):
        fast, slow = (coco_average_precision(truth, results, iou_type, backend=name, **options) for name in BACKENDS)
        assert list(fast) == list(slow)
        for subset in fast:
            assert fast[subset] == pytest.approx(slow[subset], abs=1e-12, nan_ok=True)


def nuclei_of_images(data: st.DataObject, largest: int) -> dict[int, list[dict[str, Any]]]:
    """Up to three images of up to five squares, a quarter of them crowds; some images have none."""
    squares = st.builds(square, st.integers(0, 8), st.integers(0, 8), st.integers(1, largest))
    crowds = st.sampled_from([0, 0, 0, 1])
    nuclei = st.builds(lambda shape, crowd: shape | {"iscrowd": crowd}, squares, crowds)
    return data.draw(st.dictionaries(st.integers(1, 50), st.lists(nuclei, max_size=5), min_size=1, max_size=3))


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_backends_agree_on_made_up_images(data):
    largest = data.draw(st.sampled_from([6, 34]))  # up to 34 x 34 pixels, so that small and medium ones meet
    nuclei = nuclei_of_images(data, largest)
    shapes = st.builds(square, st.integers(0, 8), st.integers(0, 8), st.integers(1, largest))
    scores = st.sampled_from([-1.0, 0, 0.1, 0.5, 0.5, 0.9])  # ties are the rule
    results = data.draw(st.lists(st.builds(detection, st.sampled_from(sorted(nuclei)), scores, shapes), max_size=12))
    truth = json.loads(json.dumps(coco_file(nuclei)))
    subset = data.draw(st.lists(st.sampled_from(sorted(nuclei)), min_size=1, unique=True))
    both_backends(
        truth,
        results,
        subsets={"all": list(nuclei), "some": subset},
        max_detections=data.draw(st.sampled_from([1, 2, 1000])),
    )


@settings(max_examples=20, deadline=None)
@given(st.data())
def test_backends_agree_on_polygons_uncompressed_masks_and_boxes_between_pixels(data):
    nuclei = nuclei_of_images(data, 6)
    results = [detection(image_id, 0.5, nucleus) for image_id, members in nuclei.items() for nucleus in members]
    results += [detection(image_id, 0.5, square(3, 3)) for image_id in nuclei]
    shift = data.draw(st.floats(0, 0.9))
    for member in (nucleus for members in nuclei.values() for nucleus in members):
        left, top, width, height = member["bbox"]
        member["bbox"] = [left + shift, top, width, height - shift / 2]
        right, bottom = left + width, top + height
        if member["iscrowd"]:
            edges = runs_from_coco(member["segmentation"]).ravel()
            counts = np.diff(edges, prepend=0, append=40 * 60).tolist()
            member["segmentation"] = {"size": [40, 60], "counts": counts}
        else:
            member["segmentation"] = [[left, top + shift, right, top, right - shift, bottom, left, bottom]]
    both_backends(coco_file(nuclei), results)


@settings(max_examples=5, deadline=None)
@given(st.data())
def test_backends_agree_on_more_than_a_thousand_detections(data):
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    count = data.draw(st.integers(1001, 1100))
    nuclei = {1: row_of_squares(30), 2: [], 3: [square(0, 0, side=30) | {"iscrowd": 1}, square(40, 2)]}
    places = rng.integers([0, 0, 1], [56, 36, 5], size=(count, 3)).tolist()
    levels = data.draw(st.sampled_from([3, 1000]))  # of the score: few make many ties
    results = [
        detection(image_id, int(rng.integers(levels)) / levels, square(*place))
        for number, place in enumerate(places)
        for image_id in ([1, 3] if number < 40 else [1])
    ]
    both_backends(coco_file(nuclei), results, max_detections=data.draw(st.sampled_from([100, 1000, 2000])))
