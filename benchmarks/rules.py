"""Scores by other rules than ours: brute force in fractions, and the rules of the references from our overlap table.

A reference that matches nuclei otherwise gives other numbers. Its rule, applied to our table, must give the same.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from fractions import Fraction

import numpy as np
from scipy.optimize import linear_sum_assignment
from scorers import AJI, OBJECTS, PQ, SEED

from nucleus.evaluation.matching import IOU_THRESHOLDS, TWENTIETHS
from nucleus.masks.overlap import OverlapTable

Rule = Callable[[OverlapTable, int], object]  # of the overlap table and the number of pixels of the image


def dense_iou(table: OverlapTable, precision: type = np.float64) -> np.ndarray:
    """IoU of every true with every predicted nucleus (T, P)."""
    iou = np.zeros((len(table.truth_ids), len(table.prediction_ids)), dtype=precision)
    iou[table.truth_index, table.prediction_index] = table.iou
    return iou


def assigned(iou: np.ndarray, threshold: float) -> tuple[np.ndarray, np.ndarray]:
    """stardist's and cellpose's assignment: as many pairs with IoU >= t as possible, then the largest sum of IoU."""
    costs = -(iou >= threshold).astype(float) - iou / (2 * max(min(iou.shape), 1))
    return linear_sum_assignment(costs)


def stardist_matches(table: OverlapTable, pixels: int) -> tuple[int, ...]:
    iou = dense_iou(table, np.float32)
    return tuple(int((iou[assigned(iou, t)] >= t).sum()) for t in IOU_THRESHOLDS)


def cellpose_matches(table: OverlapTable, pixels: int) -> tuple[int, ...]:
    background = table.prediction_areas.sum() < pixels
    if len(table.prediction_ids) + background - 1 == 0:  # it takes the number of values less one for that of nuclei
        return (0,) * len(IOU_THRESHOLDS)
    iou = dense_iou(table)
    return tuple(int((iou[assigned(iou, t)] >= t).sum()) for t in IOU_THRESHOLDS)


def stardist_pq(table: OverlapTable, pixels: int) -> float:
    iou = dense_iou(table, np.float32)
    matched = iou[assigned(iou, 0.5)]
    matched = matched[matched >= 0.5]
    nuclei = len(table.truth_ids) + len(table.prediction_ids)
    return float(2 * matched.sum() / nuclei) if nuclei else 0.0


def cellpose_aji(table: OverlapTable, pixels: int) -> float:
    iou = dense_iou(table)
    shared = np.zeros(iou.shape)
    shared[table.truth_index, table.prediction_index] = table.intersection
    union = table.truth_areas.sum() + table.prediction_areas.sum() - table.intersection.sum()
    return float(shared[assigned(iou, 0.5)].sum() / union) if union else math.nan


def cellseg_aji(table: OverlapTable, pixels: int) -> float:
    if not (table.truth_ids.size and table.prediction_ids.size):
        return 0.0
    largest = np.zeros(len(table.truth_ids))
    np.maximum.at(largest, table.truth_index, table.intersection)
    taken = table.intersection == largest[table.truth_index]
    missed = np.bincount(table.truth_index, minlength=len(table.truth_ids)) == 0
    unused = np.bincount(table.prediction_index[taken], minlength=len(table.prediction_ids)) == 0
    left = table.truth_areas[missed].sum() + table.prediction_areas[unused].sum()
    return float(table.intersection[taken].sum() / (table.union[taken].sum() + left))


def cellseg_pq(table: OverlapTable, pixels: int) -> float:
    iou = table.iou[20 * table.intersection > 10 * table.union]
    empty = not (table.truth_ids.size and table.prediction_ids.size)
    return 0.0 if empty else float(2 * iou.sum() / (len(table.truth_ids) + len(table.prediction_ids)))


SINGLE = "IoU >= t in single precision, matched by linear_sum_assignment"
DOUBLE = "IoU >= t, matched by linear_sum_assignment; one nucleus fewer in an image without background"
UNION = "one-to-one by linear_sum_assignment, over the union of the foregrounds; no nuclei: 0/0"
LARGEST = "the largest intersection, all of equal ones; an empty side: 0"
THEIR_RULES: dict[tuple[str, str], tuple[str, Rule]] = {
    (OBJECTS, "stardist matching"): (SINGLE, stardist_matches),
    (OBJECTS, "cellpose average_precision"): (DOUBLE, cellpose_matches),
    (AJI, "cellpose aggregated_jaccard_index"): (UNION, cellpose_aji),
    (AJI, "cellseg-metrics aggregated_jaccard_index"): (LARGEST, cellseg_aji),
    (PQ, "stardist matching"): (f"{SINGLE}; no nuclei: 0", stardist_pq),
    (PQ, "cellseg-metrics panoptic_quality"): ("an empty side: 0; unions + 1e-8", cellseg_pq),
    (SEED, "scikit-image label, stardist matching"): (SINGLE, stardist_matches),
}
"""By score and reference, where the rule is not ours: what it is, and the score by it."""


def brute_force(truth: np.ndarray, prediction: np.ndarray) -> dict[str, object]:
    """Scores of a pair from a count of its pixels' labels, in fractions, by loops near the words of the definitions."""
    shared = Counter(zip(truth.ravel().tolist(), prediction.ravel().tolist(), strict=True))
    truths, predictions = Counter(truth.ravel().tolist()), Counter(prediction.ravel().tolist())
    foregrounds = truth.size - truths.pop(0, 0), prediction.size - predictions.pop(0, 0)
    pairs = {(t, p): Fraction(count, truths[t] + predictions[p] - count) for (t, p), count in shared.items() if t and p}
    matches = tuple(sum(iou > Fraction(k, 20) for iou in pairs.values()) for k in TWENTIETHS)
    good = sum((iou for iou in pairs.values() if iou > Fraction(1, 2)), Fraction(0))
    nuclei = len(truths) + len(predictions)

    c = u = 0
    unused = set(predictions)
    for t, area in truths.items():
        best = max(((iou, -p) for (other, p), iou in pairs.items() if other == t), default=None)
        if best is None:
            u += area
            continue
        p = -best[1]
        c += shared[t, p]
        u += area + predictions[p] - shared[t, p]
        unused.discard(p)
    u += sum(predictions[p] for p in unused)
    both = sum(count for (t, p), count in shared.items() if t and p)
    return {
        OBJECTS: matches,
        PQ: float(2 * good / nuclei) if nuclei else 1.0,
        AJI: c / u if u else 1.0,
        "pixel Dice": 2 * both / sum(foregrounds) if nuclei else 1.0,
        "DSB score": float(sum(Fraction(tp, nuclei - tp) for tp in matches) / 10) if nuclei else 1.0,
        "object F1@0.70": 2 * matches[4] / nuclei if nuclei else 1.0,
    }
