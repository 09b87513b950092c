#!/usr/bin/env python
"""Where the score is lost: what it would be if one part of a model were perfect and the others as they are.

    DETECTRON2_DATASETS=datasets python benchmarks/bounds.py --dataset bbbc038_val

A predicted nucleus that matches a true one (IoU above 0.5) gets from the truth

- its box, in which the mask branch then draws;
- the pixels of its mask outside of its own box, where a mask branch cannot draw;
- all pixels of its mask, so that only what was missed, split, merged or made up is lost.

And all detections get from the truth the IoU of their masks as a factor of the scores of the box branch, with the best
score threshold after it: what a perfect mask scoring branch (Huang et al. 2019, "Mask Scoring R-CNN") would bring, in
place of the model's own where it has one. Only the truth knows any of this: these are bounds, not scores of a model.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from detectron2.structures import Instances
from measure import write_rows
from tqdm import tqdm

import nucleus
from nucleus.data.catalog import register_all
from nucleus.data.decoded import decode
from nucleus.evaluation.matching import IOU_THRESHOLDS
from nucleus.evaluation.threshold import THRESHOLDS, RankedNuclei, counts_by_threshold, rank_nuclei
from nucleus.inference.prediction import Prediction
from nucleus.inference.predictor import Model
from nucleus.masks.nuclei import boxes_of_labels
from nucleus.masks.overlap import largest_ious, overlap_table
from nucleus.modeling.mask_regions import widened
from nucleus.modeling.nucleus_rcnn import postprocess

SHOWN = (0.5, 0.7, 0.9)  # IoUs of the F1 that are printed


def matched(truth: np.ndarray, prediction: Prediction) -> list[tuple[int, int]]:
    """True and predicted label of each pair with an IoU above 0.5."""
    table = overlap_table(truth, prediction.label_image)
    pairs = table.iou > 0.5
    truths, found = table.truth_ids[table.truth_index[pairs]], table.prediction_ids[table.prediction_index[pairs]]
    return list(zip(truths.tolist(), found.tolist(), strict=True))


def true_boxes(truth: np.ndarray, plain: Prediction) -> tuple[np.ndarray, np.ndarray]:
    """Which detections are matched nuclei, int64 (M,), and the boxes of their true ones, (M, 4), XYXY in pixels."""
    labels, boxes = boxes_of_labels(truth)
    pairs = np.array(matched(truth, plain), dtype=np.int64).reshape(-1, 2)
    return plain.kept[pairs[:, 1] - 1], boxes[np.searchsorted(labels, pairs[:, 0])]


@torch.inference_mode()
def drawn_in(model: Model, record: dict[str, Any], raw: Instances, which: np.ndarray, boxes: np.ndarray) -> Prediction:
    """What the mask branch draws where some detections have other boxes.

    Args:
        model: the mask branch is of its network.
        record: "image", "height" and "width" as the network takes them.
        raw: detections, of the size at which the network sees the image.
        which: numbers of M detections.
        boxes: (M, 4), XYXY in pixels of the image.
    """
    height, width = raw.image_size
    to_network = np.array([width / record["width"], height / record["height"]] * 2)
    given = Instances(raw.image_size, **raw.get_fields())
    given.pred_boxes = raw.pred_boxes.clone()
    given.pred_boxes.tensor[which] = torch.from_numpy(boxes * to_network).to(given.pred_boxes.tensor)
    drawn = model.network.inference([record], [given], do_postprocess=False)
    return model._prediction(postprocess(drawn, [record], mask_margin=model.network.mask_margin)[0])


def from_truth(truth: np.ndarray, plain: Prediction, boxes: np.ndarray | None) -> np.ndarray:
    """The label image in which matched nuclei are as in the truth, all of them or what lies outside their boxes.

    Args:
        truth: label image (H, W).
        plain: what was predicted.
        boxes: (n, 4), in which the nuclei were drawn, XYXY in pixels; None for everywhere.
    """
    labels = plain.label_image.copy()
    rows, columns = (np.arange(side) + 0.5 for side in truth.shape)
    for true, found in matched(truth, plain):
        given = truth == true
        if boxes is None:
            labels[labels == found] = 0
        else:
            left, top, right, bottom = boxes[found - 1]
            inside = ((rows > top) & (rows < bottom))[:, None] & ((columns > left) & (columns < right))
            given &= ~inside
        labels[given] = found
    return labels


@torch.inference_mode()
def without_mask_scoring(model: Model, record: dict[str, Any]) -> Prediction:
    """The detections with the scores of the box branch."""
    heads = model.network.roi_heads
    branch = getattr(heads, "mask_scoring", None)
    heads.mask_scoring = None
    raw = model.network.inference([record], do_postprocess=False)
    heads.mask_scoring = branch
    return model._prediction(postprocess(raw, [record], mask_margin=model.network.mask_margin)[0])


def weighed(truth: np.ndarray, plain: Prediction) -> Prediction:
    """All detections with the largest IoU of their masks with a true nucleus as a factor of their scores."""
    return Prediction(plain.detections, plain.detection_scores * largest_ious(truth, plain.detections), 0.0)


def ranked(truth: np.ndarray, labels: np.ndarray, scores: np.ndarray) -> RankedNuclei:
    """One image for the counts."""
    return rank_nuclei(overlap_table(truth, labels), scores)


def main() -> None:
    """Predict, and print a row for each part."""
    from detectron2.data import DatasetCatalog

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="bbbc038_val", metavar="NAME")
    parser.add_argument("--model", default="lite", metavar="NAME")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the rows there")
    args = parser.parse_args()
    register_all()
    model = nucleus.load_model(args.model, precision="float32", views=1, expand=0.0)
    images: dict[str, list[RankedNuclei]] = defaultdict(list)
    errors: list[np.ndarray] = []
    for entry in tqdm(DatasetCatalog.get(args.dataset), "images", disable=None):
        decoded = decode(entry)
        truth = decoded.layers[0]
        record = {"image": model._prepare(decoded.image, None), "height": truth.shape[0], "width": truth.shape[1]}
        with torch.inference_mode():
            raw = [one[one.pred_boxes.nonempty()] for one in model.network.inference([record], do_postprocess=False)]
        found = postprocess(raw, [record], mask_margin=model.network.mask_margin)[0]
        plain = model._prediction(found)
        regions = widened(found.pred_boxes.tensor, model.network.mask_margin).numpy()[plain.kept]
        which, boxes = true_boxes(truth, plain)
        given = drawn_in(model, record, raw[0], which, boxes)
        extents = np.tile(boxes[:, 2:] - boxes[:, :2], 2)
        errors.append((np.abs(found.pred_boxes.tensor.numpy()[which] - boxes) / extents).ravel())
        scored = weighed(truth, without_mask_scoring(model, record))
        images["as it is"].append(ranked(truth, plain.label_image, plain.scores))
        images["boxes"].append(ranked(truth, given.label_image, given.scores))
        images["masks outside of their boxes"].append(ranked(truth, from_truth(truth, plain, regions), plain.scores))
        images["masks"].append(ranked(truth, from_truth(truth, plain, None), plain.scores))
        images["mask scores, best threshold"].append(ranked(truth, scored.label_image, scored.scores))
    rows = []
    for case, some in images.items():
        counts = counts_by_threshold(some, THRESHOLDS if "threshold" in case else (model.threshold,))
        best = counts.dsb_score.mean(axis=1).argmax()
        row: dict[str, Any] = {"perfect": case, "DSB score": round(float(counts.dsb_score[best].mean()), 4)}
        for iou in SHOWN:
            row[f"object F1@{iou:.2f}"] = round(float(counts.f1[IOU_THRESHOLDS.index(iou)][best].mean()), 4)
        rows.append(row)
        print(json.dumps(row), flush=True)
    quartiles = np.percentile(np.concatenate(errors), [25, 50, 75]).round(4).tolist()
    rows.append({"sides of boxes off by, of the extent of the nucleus": quartiles})
    print(json.dumps(rows[-1]))
    if args.json:
        write_rows(args.json, rows)


if __name__ == "__main__":
    main()
