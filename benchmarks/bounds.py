#!/usr/bin/env python
"""Where the score is lost: what it would be if one part of a model were perfect and the others as they are.

    DETECTRON2_DATASETS=datasets python benchmarks/bounds.py --dataset bbbc038_val

A predicted nucleus that matches a true one (IoU above 0.5) gets from the truth

- its box, in which the mask branch then draws;
- the pixels of its mask outside of its own box, where a mask branch cannot draw;
- all pixels of its mask, so that only what was missed, split, merged or made up is lost.

And all detections get from the truth the IoU of their masks as a factor of their scores, with the best score threshold
after it: what a perfect mask scoring branch (Huang et al. 2019, "Mask Scoring R-CNN") would bring. Only the truth knows
any of this: these are bounds, not scores of a model.
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
from nucleus.masks.overlap import overlap_table
from nucleus.modeling.mask_regions import widened
from nucleus.modeling.nucleus_rcnn import postprocess

SHOWN = (0.5, 0.7, 0.9)  # IoUs of the F1 that are printed


def matched(truth: np.ndarray, prediction: Prediction) -> list[tuple[int, int]]:
    """True and predicted label of each pair with an IoU above 0.5."""
    table = overlap_table(truth, prediction.label_image)
    pairs = table.iou > 0.5
    truths, found = table.truth_ids[table.truth_index[pairs]], table.prediction_ids[table.prediction_index[pairs]]
    return list(zip(truths.tolist(), found.tolist(), strict=True))


@torch.inference_mode()
def with_true_boxes(
    model: Model, record: dict[str, Any], raw: Instances, plain: Prediction, truth: np.ndarray
) -> Prediction:
    """What the mask branch draws in the true boxes of the matched nuclei."""
    labels, boxes = boxes_of_labels(truth)
    box_of = dict(zip(labels.tolist(), boxes.tolist(), strict=True))
    height, width = raw.image_size
    to_network = torch.tensor([width / record["width"], height / record["height"]] * 2)
    given = Instances(raw.image_size, **raw.get_fields())
    given.pred_boxes = raw.pred_boxes.clone()
    for true, found in matched(truth, plain):
        given.pred_boxes.tensor[int(plain._drawn[1][found - 1])] = torch.tensor(box_of[true]) * to_network
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


def weighed(truth: np.ndarray, plain: Prediction) -> Prediction:
    """All detections with the largest IoU of their masks with a true nucleus as a factor of their scores."""
    areas = np.bincount(truth.ravel())
    factors = np.zeros(len(plain.detections))
    for number, (box, crop) in enumerate(zip(plain.detections.boxes, plain.detections.crops(), strict=True)):
        left, top, right, bottom = box
        shared = np.bincount(truth[top:bottom, left:right][crop], minlength=len(areas))[1:]
        factors[number] = (shared / (areas[1:] + crop.sum() - shared).clip(min=1)).max(initial=0)
    return Prediction(plain.detections, plain.detection_scores * factors, 0.0)


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
    model = nucleus.load_model(args.model)
    images: dict[str, list[RankedNuclei]] = defaultdict(list)
    for entry in tqdm(DatasetCatalog.get(args.dataset), "images", disable=None):
        decoded = decode(entry)
        truth = decoded.layers[0]
        record = {"image": model._prepare(decoded.image, None), "height": truth.shape[0], "width": truth.shape[1]}
        with torch.inference_mode():
            raw = [one[one.pred_boxes.nonempty()] for one in model.network.inference([record], do_postprocess=False)]
        found = postprocess(raw, [record], mask_margin=model.network.mask_margin)[0]
        plain = model._prediction(found)
        drawn_in = widened(found.pred_boxes.tensor, model.network.mask_margin).numpy()[plain._drawn[1]]
        given = with_true_boxes(model, record, raw[0], plain, truth)
        scored = weighed(truth, plain)
        images["as it is"].append(ranked(truth, plain.label_image, plain.scores))
        images["boxes"].append(ranked(truth, given.label_image, given.scores))
        images["masks outside of their boxes"].append(ranked(truth, from_truth(truth, plain, drawn_in), plain.scores))
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
    if args.json:
        write_rows(args.json, rows)


if __name__ == "__main__":
    main()
