"""Scores of found, missed and invented nuclei: object F1 and the DSB score."""

from __future__ import annotations

from dataclasses import dataclass

from nucleus.evaluation.counts import mean, share
from nucleus.evaluation.matching import matches_by_threshold
from nucleus.masks.overlap import OverlapTable


@dataclass(frozen=True)
class ObjectCounts:
    """Nuclei of one image, or of many when pooled.

    Attributes:
        truths: true nuclei.
        predictions: predicted nuclei.
        true_positives: matches at each of `matching.IOU_THRESHOLDS`.
    """

    truths: int
    predictions: int
    true_positives: tuple[int, ...]

    @property
    def false_positives(self) -> tuple[int, ...]:
        """Predicted nuclei without a match, at each threshold."""
        return tuple(self.predictions - matched for matched in self.true_positives)

    @property
    def false_negatives(self) -> tuple[int, ...]:
        """True nuclei without a match, at each threshold."""
        return tuple(self.truths - matched for matched in self.true_positives)

    @property
    def f1(self) -> tuple[float, ...]:
        """Object F1 = 2 TP / (2 TP + FP + FN) at each threshold; 1 without any nucleus. Pooled: of summed counts."""
        return tuple(map(self.f1_at, range(len(self.true_positives))))

    def f1_at(self, index: int) -> float:
        """Object F1 at one threshold.

        Args:
            index: position in `matching.IOU_THRESHOLDS`.
        """
        return share(2 * self.true_positives[index], self.truths + self.predictions)

    @property
    def dsb_score(self) -> float:
        """Score of the 2018 Data Science Bowl: the mean over the thresholds of TP / (TP + FP + FN).

        An image without any nucleus, true or predicted, has 1. The competition took the image mean; pooled, the counts
        are summed over images at each threshold before the mean over thresholds.
        """
        shares = [share(matched, self.truths + self.predictions - matched) for matched in self.true_positives]
        return mean(shares)


def object_counts(table: OverlapTable) -> ObjectCounts:
    """Count true, predicted and matched nuclei of one image."""
    return ObjectCounts(len(table.truth_ids), len(table.prediction_ids), matches_by_threshold(table))
