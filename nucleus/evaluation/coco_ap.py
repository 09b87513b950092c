"""COCO average precision of boxes and masks, with a detection cap that fits images of several hundred nuclei.

Lin et al. 2014, "Microsoft COCO: Common Objects in Context", and the evaluation code of that data set: mean over IoU
0.50:0.05:0.95 and 101 recalls of the interpolated precision, all detections of all images ranked together by score.

`hotcoco` computes it; pycocotools, the reference, gives the same scores, slower, and serves where hotcoco is missing.
Of pycocotools the arrays are read: its own summary prints AP at 100 detections whatever the cap. Its annotations are
numbered from 1, since it takes a match with an annotation whose id is 0 for none: the one difference that was found.
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
_NAMES = {  # hotcoco's key: our name
    "AP": "COCO AP",
    "AP50": "COCO AP50",
    "AP75": "COCO AP75",
    "APs": "COCO AP small",  # up to 32 x 32 pixels
    "APm": "COCO AP medium",  # up to 96 x 96
    "APl": "COCO AP large",
    "AR100": "COCO AR",  # it says 100 whatever the cap
}


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
    # Copied, since pycocotools writes into what it is given. Without boxes for masks, since both libraries would sort a
    # detection that has a box by the area of the box.
    left_out = "bbox" if iou_type == "segm" else None
    detections = [{key: value for key, value in result.items() if key != left_out} for result in results]
    if subsets is None:
        subsets = {"overall": [image["id"] for image in truth["images"]]}
    score = _hotcoco if _has_hotcoco(backend) else _pycocotools
    scores = score(truth, detections, iou_type, subsets, max_detections)
    return {
        subset: {f"{_NAMES[key]} ({_SUBJECT[iou_type]})": value for key, value in values.items()}
        for subset, values in scores.items()
    }


def _has_hotcoco(backend: Backend) -> bool:
    if backend == "auto":
        return importlib.util.find_spec("hotcoco") is not None
    return backend == "hotcoco"


def _hotcoco(
    truth: Mapping[str, Any],
    results: list[dict[str, Any]],
    iou_type: IouType,
    subsets: Mapping[str, Sequence[int]],
    max_detections: int,
) -> dict[str, dict[str, float]]:
    """The scores of each subset by the keys of _NAMES; images are compared once, whatever subsets they belong to."""
    import hotcoco

    coco = hotcoco.COCO(dict(truth))
    evaluation = hotcoco.COCOeval(coco, coco.loadRes(results), iou_type)
    evaluation.params.maxDets = [max_detections]
    evaluation.evaluate()
    numbered = {str(number): list(image_ids) for number, image_ids in enumerate(subsets.values())}
    slices = evaluation.slice_by(numbered)  # has a slice of its own, "_overall"
    return {
        subset: {key: math.nan if slices[number][key] == -1 else slices[number][key] for key in _NAMES}
        for subset, number in zip(subsets, numbered, strict=True)
    }


def _pycocotools(
    truth: Mapping[str, Any],
    results: list[dict[str, Any]],
    iou_type: IouType,
    subsets: Mapping[str, Sequence[int]],
    max_detections: int,
) -> dict[str, dict[str, float]]:
    """The same with pycocotools."""
    from pycocotools.cocoeval import COCOeval

    scores = {}
    with contextlib.redirect_stdout(io.StringIO()):  # it prints its progress
        evaluation = COCOeval(*_coco_of_pycocotools(truth, results), iou_type)
        for subset, image_ids in subsets.items():
            evaluation.params.maxDets = [max_detections]
            evaluation.params.imgIds = sorted(image_ids)
            evaluation.evaluate()
            evaluation.accumulate()
            scores[subset] = _read(evaluation.eval["precision"], evaluation.eval["recall"])
    return scores


def _coco_of_pycocotools(truth: Mapping[str, Any], results: list[dict[str, Any]]) -> tuple[Any, Any]:
    """Truth, copied, and detections."""
    from pycocotools.coco import COCO

    coco, detections = COCO(), COCO()
    annotations = [{**annotation, "id": number} for number, annotation in enumerate(truth["annotations"], start=1)]
    coco.dataset = dict(truth) | {"annotations": annotations}
    coco.createIndex()
    if results:
        detections = coco.loadRes(results)
    else:  # loadRes looks at the first detection
        detections.dataset = dict(truth) | {"annotations": []}
        detections.createIndex()
    return coco, detections


def _read(precision: np.ndarray, recall: np.ndarray) -> dict[str, float]:
    """Take the scores out of COCO's arrays of one class and one cap; -1 in them means that there was no truth.

    Args:
        precision: float64 (10 IoUs, 101 recalls, 1 class, 4 areas, 1 cap).
        recall: float64 (10 IoUs, 1 class, 4 areas, 1 cap).
    """
    whole, *by_size = (_mean(precision[:, :, :, area]) for area in range(4))
    at_50, at_75 = _mean(precision[0, :, :, 0]), _mean(precision[5, :, :, 0])
    return dict(zip(_NAMES, [whole, at_50, at_75, *by_size, _mean(recall[:, :, 0])], strict=True))


def _mean(values: np.ndarray) -> float:
    values = values[values > -1]
    return float(values.mean()) if values.size else math.nan
