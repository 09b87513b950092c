"""COCO average precision of boxes and masks, with a detection cap that fits images of several hundred nuclei.

Lin et al. 2014, "Microsoft COCO: Common Objects in Context", and the evaluation code of that data set: mean over IoU
0.50:0.05:0.95 and 101 recalls of the interpolated precision, all detections of all images ranked together by score.

`hotcoco` computes it; pycocotools, the reference, gives the same arrays, slower, and serves where hotcoco is missing.
The scores are read from those arrays: pycocotools' own summary prints AP at 100 detections whatever the cap.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

IouType = Literal["bbox", "segm"]
Backend = Literal["auto", "hotcoco", "pycocotools"]

_SUBJECT = {"bbox": "boxes", "segm": "masks"}
_AREAS = ("all", "small", "medium", "large")  # up to 32 x 32 pixels, up to 96 x 96, above


def coco_average_precision(
    truth: Mapping[str, Any],
    results: Sequence[Mapping[str, Any]],
    iou_type: IouType,
    *,
    subsets: Mapping[str, Sequence[int]] | None = None,
    max_detections: int = 1000,
    backend: Backend = "auto",
) -> dict[str, dict[str, float]]:
    """Compute COCO AP and AR of detections.

    Args:
        truth: content of a COCO file: images, annotations (boxes XYWH in pixels, RLE or polygons), categories.
        results: COCO results: image_id, category_id, score, bbox (XYWH) and, for "segm", segmentation (RLE).
        iou_type: "bbox" compares boxes, "segm" masks.
        subsets: image ids by name, each scored by itself; {"overall": every image} when not given.
        max_detections: highest-scored detections of an image that count.
        backend: "hotcoco", "pycocotools", or "auto" for hotcoco where it is installed and else pycocotools.

    Returns:
        For each subset, in [0, 1] or NaN where it has no true nucleus (of that size): "COCO AP (masks)", "COCO AP50
        (masks)", "COCO AP75 (masks)", the same AP for small, medium and large ones, and "COCO AR (masks)", the mean
        over IoUs of the recall at the cap; "(boxes)" for boxes.

    Raises:
        ImportError: the backend asked for is not installed.
    """
    if iou_type == "segm":  # given a box, both libraries would take its area for the mask's when sorting by size
        results = [{key: value for key, value in result.items() if key != "bbox"} for result in results]
    if subsets is None:
        subsets = {"overall": [image["id"] for image in truth["images"]]}
    build = _hotcoco if _has_hotcoco(backend) else _pycocotools
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints its progress
        evaluation = build(truth, results, iou_type)
        scores = {}
        for subset, image_ids in subsets.items():
            evaluation.params.maxDets = [max_detections]
            evaluation.params.imgIds = sorted(image_ids)
            evaluation.evaluate()
            evaluation.accumulate()
            scores[subset] = _read(evaluation.eval["precision"], evaluation.eval["recall"], _SUBJECT[iou_type])
    return scores


def _has_hotcoco(backend: Backend) -> bool:
    if backend == "auto":
        return importlib.util.find_spec("hotcoco") is not None
    return backend == "hotcoco"


def _hotcoco(truth: Mapping[str, Any], results: Sequence[Mapping[str, Any]], iou_type: IouType) -> Any:
    import hotcoco

    coco = hotcoco.COCO(dict(truth))
    return hotcoco.COCOeval(coco, coco.loadRes(list(map(dict, results))), iou_type)


def _pycocotools(truth: Mapping[str, Any], results: Sequence[Mapping[str, Any]], iou_type: IouType) -> Any:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    # Both sides are copied, since pycocotools writes into the annotations that it is given.
    coco = COCO()
    coco.dataset = dict(truth) | {"annotations": list(map(dict, truth["annotations"]))}
    coco.createIndex()
    if results:
        detections = coco.loadRes(list(map(dict, results)))
    else:  # loadRes looks at the first detection
        detections = COCO()
        detections.dataset = dict(truth) | {"annotations": []}
        detections.createIndex()
    return COCOeval(coco, detections, iou_type)


def _read(precision: np.ndarray, recall: np.ndarray, subject: str) -> dict[str, float]:
    """Take the scores out of COCO's arrays of one class and one cap; -1 in them means that there was no truth.

    Args:
        precision: float64 (10 IoUs, 101 recalls, 1 class, 4 areas, 1 cap).
        recall: float64 (10 IoUs, 1 class, 4 areas, 1 cap).
        subject: "boxes" or "masks".
    """
    scores = {
        f"COCO AP ({subject})": _mean(precision[:, :, :, 0]),
        f"COCO AP50 ({subject})": _mean(precision[0, :, :, 0]),
        f"COCO AP75 ({subject})": _mean(precision[5, :, :, 0]),
    }
    for index, area in enumerate(_AREAS[1:], start=1):
        scores[f"COCO AP {area} ({subject})"] = _mean(precision[:, :, :, index])
    scores[f"COCO AR ({subject})"] = _mean(recall[:, :, 0])
    return scores


def _mean(values: np.ndarray) -> float:
    values = values[values > -1]
    return float(values.mean()) if values.size else math.nan
