from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from cellseg_metrics import panoptic_quality
from hotcoco.panoptic import PanopticEval

from nucleus.evaluation.counts import pool
from nucleus.evaluation.panoptic import PanopticCounts, panoptic_counts
from nucleus.masks.overlap import overlap_table


def test_by_hand():
    # 1 has an IoU of 2/3 with 4; 2 has one of exactly 1/2 with 5, which is no match
    truth = np.array([[1, 1, 1, 2, 2]])
    prediction = np.array([[4, 4, 0, 5, 0]])
    counts = panoptic_counts(overlap_table(truth, prediction))
    assert counts == PanopticCounts(truths=2, predictions=2, true_positives=1, iou_sum=2 / 3)
    assert counts.sq == 2 / 3
    assert counts.rq == 1 / 2
    assert counts.pq == counts.sq * counts.rq == 1 / 3


def test_empty_images():
    nothing, missed, invented = PanopticCounts(0, 0, 0, 0.0), PanopticCounts(2, 0, 0, 0.0), PanopticCounts(0, 2, 0, 0.0)
    assert nothing.pq == nothing.sq == nothing.rq == 1
    for counts in (missed, invented):
        assert counts.pq == counts.sq == counts.rq == 0


@pytest.mark.parametrize("kind", ["random", "real"])
def test_agrees_with_cellseg_metrics(request, agree, kind):
    found, expected = [], []
    for truth, prediction in request.getfixturevalue(f"{kind}_pairs"):
        counts = panoptic_counts(overlap_table(truth, prediction))
        if counts.true_positives:
            reference = panoptic_quality(truth, prediction, eps=0)
            found += [counts.pq, counts.sq, counts.rq]
            expected += [reference["pq"], reference["sq"], reference["dq"]]
    assert len(found) > 180
    # it adds 1e-8 pixels to every union, whatever `eps` says
    agree("PQ, SQ, RQ", f"cellseg-metrics, {kind}", found, expected, 1e-8)


@pytest.mark.parametrize("kind", ["random", "real"])
def test_pooled_agrees_with_the_panoptic_api_of_coco(request, agree, tmp_path, kind):
    pairs = request.getfixturevalue(f"{kind}_pairs")
    files = [write_panoptic(tmp_path / name, [pair[side] for pair in pairs]) for side, name in enumerate(("gt", "dt"))]
    evaluation = PanopticEval(*files, gt_folder=str(tmp_path / "gt"), pred_folder=str(tmp_path / "dt"))
    evaluation.evaluate()
    reference = evaluation.results()["per_class"][1]

    pooled = pool([panoptic_counts(overlap_table(*pair)) for pair in pairs])
    assert pooled.true_positives == reference["tp"] > 100
    assert pooled.predictions - pooled.true_positives == reference["fp"]
    assert pooled.truths - pooled.true_positives == reference["fn"]
    agree("PQ, SQ, RQ pooled", f"hotcoco.panoptic, {kind}, {len(pairs)} images",
          [pooled.pq, pooled.sq, pooled.rq], [reference["pq"], reference["sq"], reference["rq"]], 1e-12)  # fmt: skip


def write_panoptic(folder: Path, images: list[np.ndarray]) -> str:
    """Write COCO's panoptic format, the background as a class of its own: as void, it would swallow false positives."""
    folder.mkdir()
    entries, annotations = [], []
    for image_id, labels in enumerate(images, start=1):
        shifted = labels.astype(np.int64) + 1
        name = f"{image_id}.png"
        bgr = np.stack([shifted >> 16, shifted >> 8 & 255, shifted & 255], axis=-1).astype(np.uint8)
        cv2.imwrite(str(folder / name), bgr)
        segments = [
            {"id": label, "category_id": 2 if label == 1 else 1, "area": area, "bbox": [0, 0, 1, 1], "iscrowd": 0}
            for label, area in np.stack(np.unique(shifted, return_counts=True), axis=1).tolist()
        ]
        entries.append({"id": image_id, "file_name": name, "height": labels.shape[0], "width": labels.shape[1]})
        annotations.append({"image_id": image_id, "file_name": name, "segments_info": segments})
    categories = [{"id": 1, "name": "nucleus", "isthing": 1}, {"id": 2, "name": "background", "isthing": 0}]
    file = folder.with_suffix(".json")
    file.write_text(json.dumps({"images": entries, "annotations": annotations, "categories": categories}))
    return str(file)
