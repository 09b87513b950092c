"""Who computes which score of two label images, and by which definition: this package and the outside references.

`CONTESTANTS[score][name]()` imports what it needs and returns a function of a true and a predicted label image that
returns the score's values. Importing this module imports none of the references; a missing one raises ImportError.

The outside definitions, next to ours (a match has an IoU > t, compared in whole numbers; both images empty: 1; one
empty: 0):

- stardist `matching`: IoU >= t, IoU in single precision, so that an exact 7/10 is below its 0.7 and an exact 3/5 not
  below its 0.6; one-to-one by `linear_sum_assignment`; both images empty: 0.
- cellpose `average_precision`: IoU >= t in double precision; one-to-one by `linear_sum_assignment`; both images empty:
  0/0; an image without background counts as having one nucleus fewer. Its "average precision" is TP / (TP + FP + FN),
  whose mean over ten t is the DSB score; in single precision.
- cellpose `aggregated_jaccard_index`: nuclei matched one to one by `linear_sum_assignment`, which prefers an IoU of 0.5
  and more; shared pixels of the matched ones over the pixels of the union of the foregrounds. Ours is the index of
  Kumar et al. 2017: the largest IoU of each true nucleus, several of which may take one prediction, and a union in
  which a pixel counts once for each pair.
- cellseg-metrics `aggregated_jaccard_index`: Kumar's but for taking the largest intersection, all of equal ones; 0 if
  either image is empty.
- cellseg-metrics `panoptic_quality`: IoU > t as ours, one-to-one by `linear_sum_assignment`; 1e-8 pixels are added to
  each union; 0 if either image is empty.
- scikit-image has no instance score; `contingency_table` counts the pixels and the rest is written here by our rules.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from nucleus.evaluation.aji import aji_counts
from nucleus.evaluation.image_scores import score_image
from nucleus.evaluation.matching import IOU_THRESHOLDS
from nucleus.evaluation.object_scores import object_counts
from nucleus.evaluation.panoptic import panoptic_counts
from nucleus.evaluation.seed_protocol import seed_protocol_counts
from nucleus.masks.overlap import overlap_table

Scorer = Callable[[np.ndarray, np.ndarray], Any]
OURS = "nucleus"
OBJECTS, AJI, PQ, SEED, ALL = "matches at ten IoUs", "AJI", "PQ", "seed protocol", "all scores"


def our_matches() -> Scorer:
    return lambda truth, prediction: object_counts(overlap_table(truth, prediction)).true_positives


def our_aji() -> Scorer:
    return lambda truth, prediction: aji_counts(overlap_table(truth, prediction)).aji


def our_pq() -> Scorer:
    return lambda truth, prediction: panoptic_counts(overlap_table(truth, prediction)).pq


def our_seed_protocol() -> Scorer:
    return lambda truth, prediction: seed_protocol_counts(truth, prediction).objects.true_positives


def ours() -> Scorer:
    return score_image


def stardist_matches() -> Scorer:
    from stardist.matching import matching

    return lambda truth, prediction: tuple(match.tp for match in matching(truth, prediction, thresh=IOU_THRESHOLDS))


def stardist_pq() -> Scorer:
    from stardist.matching import matching

    return lambda truth, prediction: float(matching(truth, prediction, thresh=0.5).panoptic_quality)


def cellpose_matches() -> Scorer:
    from cellpose.metrics import average_precision

    thresholds = list(IOU_THRESHOLDS)
    return lambda truth, prediction: tuple(average_precision(truth, prediction, thresholds)[1].astype(int).tolist())


def cellpose_aji() -> Scorer:
    from cellpose.metrics import aggregated_jaccard_index

    return lambda truth, prediction: float(aggregated_jaccard_index([truth], [prediction])[0])


def cellseg_aji() -> Scorer:
    from cellseg_metrics import aggregated_jaccard_index

    return lambda truth, prediction: float(aggregated_jaccard_index(truth, prediction, eps=0))


def cellseg_pq() -> Scorer:
    from cellseg_metrics import panoptic_quality

    return lambda truth, prediction: float(panoptic_quality(truth, prediction, eps=0)["pq"])


def _counted_by_scikit_image() -> Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, ...]]:
    from skimage.metrics import contingency_table

    def overlaps(truth: np.ndarray, prediction: np.ndarray) -> tuple[np.ndarray, ...]:
        """Label pairs that overlap, shared pixels and union of each pair, and both sides' areas by label."""
        table = contingency_table(truth, prediction, sparse_type="array")
        truth_areas, prediction_areas = table.sum(axis=1), table.sum(axis=0)
        table = table.tocoo()
        rows, columns = table.coords
        both = (rows > 0) & (columns > 0) & (table.data > 0)
        rows, columns, shared = rows[both], columns[both], table.data[both]
        union = truth_areas[rows] + prediction_areas[columns] - shared
        return rows, columns, shared, union, truth_areas, prediction_areas

    return overlaps


def scikit_image_matches() -> Scorer:
    overlaps = _counted_by_scikit_image()

    def matches(truth: np.ndarray, prediction: np.ndarray) -> tuple[int, ...]:
        _, _, shared, union, _, _ = overlaps(truth, prediction)
        return tuple(int(np.count_nonzero(20 * shared > k * union)) for k in range(10, 20))

    return matches


def scikit_image_pq() -> Scorer:
    overlaps = _counted_by_scikit_image()

    def pq(truth: np.ndarray, prediction: np.ndarray) -> float:
        _, _, shared, union, truth_areas, prediction_areas = overlaps(truth, prediction)
        nuclei = np.count_nonzero(truth_areas[1:]) + np.count_nonzero(prediction_areas[1:])
        iou = shared / union
        return float(2 * iou[iou > 0.5].sum() / nuclei) if nuclei else 1.0

    return pq


def scikit_image_aji() -> Scorer:
    overlaps = _counted_by_scikit_image()

    def aji(truth: np.ndarray, prediction: np.ndarray) -> float:
        rows, columns, shared, union, truth_areas, prediction_areas = overlaps(truth, prediction)
        order = np.lexsort((columns, -shared / union, rows))
        taken = order[np.unique(rows[order], return_index=True)[1]]  # the first pair of each true nucleus
        truth_areas[0] = prediction_areas[0] = 0
        truth_areas[rows[taken]] = prediction_areas[columns[taken]] = 0
        whole = union[taken].sum() + truth_areas.sum() + prediction_areas.sum()
        return float(shared[taken].sum() / whole) if whole else 1.0

    return aji


def seed_protocol_with(matches: Callable[[], Scorer]) -> Callable[[], Scorer]:
    """Components of the foregrounds by scikit-image, matched by another."""

    def build() -> Scorer:
        from skimage.measure import label

        match = matches()
        return lambda *pair: match(*(label(image > 0, connectivity=2) for image in pair))

    return build


CONTESTANTS: dict[str, dict[str, Callable[[], Scorer]]] = {
    OBJECTS: {
        OURS: our_matches,
        "stardist matching": stardist_matches,
        "cellpose average_precision": cellpose_matches,
        "scikit-image contingency_table": scikit_image_matches,
    },
    AJI: {
        OURS: our_aji,
        "cellpose aggregated_jaccard_index": cellpose_aji,
        "scikit-image contingency_table": scikit_image_aji,
    },
    PQ: {OURS: our_pq, "stardist matching": stardist_pq, "scikit-image contingency_table": scikit_image_pq},
    SEED: {
        OURS: our_seed_protocol,
        "scikit-image label, stardist matching": seed_protocol_with(stardist_matches),
        "scikit-image label and contingency_table": seed_protocol_with(scikit_image_matches),
    },
    ALL: {OURS: ours},
}
"""Who computes a score, by the score; this package comes first."""
SLOW_CONTESTANTS = {
    AJI: {"cellseg-metrics aggregated_jaccard_index": cellseg_aji},
    PQ: {"cellseg-metrics panoptic_quality": cellseg_pq},
}
"""Left out of the race, being slower than all others by far; still references for the values."""
