"""Is B better than A: the paired difference of every score, its interval and its p value.

Both were scored on the same images, so that the difference is taken image by image: what makes an image hard does not
count, and far fewer images tell two models apart than two intervals would. Units are as in `bootstrap`: images, or
groups of images that are no independent samples.

- The *interval* of the difference B - A is the BCa bootstrap's, each unit drawn with both its results.
- The *p value* is that of the paired permutation test (Fisher's randomization test; Good 2005, "Permutation, Parametric
  and Bootstrap Tests of Hypotheses"): if A and B were equally good, every unit could as well have its two results
  exchanged. p is the share of all exchanges whose difference is as large as the one found, on either side. Where up to
  EXACT_UNITS units differ all exchanges are gone through; above, as many are drawn at random as there are resamples,
  and the one found counts among them, so that p is never 0 (Phipson and Smyth 2010, "Permutation P-values Should Never
  Be Zero"). With n units p is 2 / 2**n at the least: of four images nothing is ever significant.

The two answer different questions and may disagree about a difference close to the border. p values are not corrected
for the number of scores looked at: decide before which one counts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nucleus.evaluation.bootstrap import (
    DRAWN_AT_ONCE,
    LEVEL,
    RESAMPLES,
    ROUNDING,
    Interval,
    Statistic,
    bca,
    both_aggregations,
    by_aggregation,
    describe,
    score_rows,
    sum_units,
    unit_names,
)
from nucleus.evaluation.image_scores import SCORES
from nucleus.evaluation.summary import ScoredImage, by_modality

EXACT_UNITS = 13  # 8,192 exchanges


@dataclass(frozen=True)
class Difference:
    """One score of A and of B.

    Attributes:
        a, b: the score of each.
        difference: b - a; above 0 B is better.
        interval: of the difference; None with one unit.
        p: of the paired permutation test, two-sided; 1 with one unit.
    """

    a: float
    b: float
    difference: float
    interval: Interval | None
    p: float


@dataclass(frozen=True)
class ImagePair:
    """The DSB score of one image in A and in B."""

    name: str
    modality: str
    a: float
    b: float

    @property
    def difference(self) -> float:
        """b - a."""
        return self.b - self.a


@dataclass(frozen=True)
class Comparison:
    """What came out.

    Attributes:
        scores: by stratum, attribute of AGGREGATIONS and score.
        images: all, those that differ most first.
        method: how intervals and p values were computed; see `bootstrap.describe`.
    """

    scores: dict[str, dict[str, dict[str, Difference]]]
    images: list[ImagePair]
    method: dict[str, Any]


def compare(
    a: Sequence[ScoredImage],
    b: Sequence[ScoredImage],
    groups: Sequence[str] | None = None,
    *,
    strata: Mapping[str, Sequence[int]] | None = None,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
    seed: int = 0,
) -> Comparison:
    """Compare two results on the same images.

    Args:
        a: at least one image.
        b: the same images with the same truth, in any order.
        groups: of the images of `a`; see `bootstrap.intervals`.
        strata: positions in `a` of the images of each stratum; overall and each modality if not given.
        resamples: how often units are drawn, and exchanged.
        level: of confidence, in (0, 1).
        seed: the same input and the same seed give the same comparison.

    Raises:
        ValueError: no images, not the same images, or not the same truth.
    """
    by_name = {image.name: image for image in b}
    if not a or len(by_name) != len(b) or sorted(by_name) != sorted(image.name for image in a):
        raise ValueError(f"expected the same images twice, at least one, found {len(a)} and {len(b)}")
    b = [by_name[image.name] for image in a]
    for one, other in zip(a, b, strict=True):
        if one.scores.objects.truths != other.scores.objects.truths:
            raise ValueError(f"expected the same truth, found {one.scores.objects.truths} and "
                             f"{other.scores.objects.truths} true nuclei in {one.name}")  # fmt: skip
    if strata is None:
        strata = by_modality([image.modality for image in a])
    names = unit_names(a, groups)
    rows = np.stack([score_rows(a), score_rows(b)], axis=1)
    scores = {}
    for stratum, positions in strata.items():
        members = [names[position] for position in positions]
        units = sum_units(rows[positions].reshape(len(members), -1), members)
        scores[stratum] = _differences(units, a[0], resamples, level, seed)
    pairs = [
        ImagePair(one.name, one.modality, one.scores.objects.dsb_score, other.scores.objects.dsb_score)
        for one, other in zip(a, b, strict=True)
    ]
    pairs.sort(key=lambda pair: (-abs(pair.difference), pair.name))
    method = describe(a, groups, strata=strata, resamples=resamples, level=level, seed=seed)
    test = f"paired permutation test, two-sided, exact where up to {EXACT_UNITS} units differ"
    return Comparison(scores, pairs, {"interval": method.pop("method"), "p": test, **method})


def _differences(
    units: np.ndarray, like: ScoredImage, resamples: int, level: float, seed: int
) -> dict[str, dict[str, Difference]]:
    """From the sums of each unit, those of A and then those of B, float64 (U, 2 K)."""
    half = units.shape[1] // 2

    def scores(sums: np.ndarray) -> np.ndarray:
        return both_aggregations(sums, like)

    def change(sums: np.ndarray) -> np.ndarray:
        return scores(sums[:, half:]) - scores(sums[:, :half])

    total = units.sum(axis=0, keepdims=True)
    found: Sequence[Interval | None] = [None] * 2 * len(SCORES)
    if len(units) > 1:
        found = [(low, high) for low, high in bca(units, change, resamples, level, seed).tolist()]
    columns = (scores(total[:, :half])[0], scores(total[:, half:])[0], change(total)[0])
    p = permutation_p(units[:, :half], units[:, half:], scores, resamples, seed)
    return by_aggregation(
        [Difference(*one) for one in zip(*(column.tolist() for column in columns), found, p.tolist(), strict=True)]
    )


def permutation_p(a: np.ndarray, b: np.ndarray, statistic: Statistic, resamples: int, seed: int) -> np.ndarray:
    """Compute p values of the paired permutation test; see the top of this module.

    Args:
        a: float64 (U, K), sums of each unit.
        b: likewise.
        statistic: takes the sums over all units, (R, K), gives S values of each, (R, S).
        resamples: how many exchanges are drawn where there are more than EXACT_UNITS units.
        seed: of the draws.

    Returns:
        float64 (S,), in (0, 1].
    """
    total_a, total_b = a.sum(axis=0), b.sum(axis=0)
    found = np.abs(statistic(total_b[None]) - statistic(total_a[None]))[0]
    changes = (b - a)[(a != b).any(axis=1)]
    exact = len(changes) <= EXACT_UNITS
    rng = np.random.default_rng(seed)
    count = 2 ** len(changes) if exact else resamples
    at_once = max(1, DRAWN_AT_ONCE // max(1, len(changes)))
    as_large = np.zeros(len(found), dtype=np.int64)
    for first in range(0, count, at_once):
        numbers = np.arange(first, min(first + at_once, count))
        if exact:
            exchanged = (numbers[:, None] >> np.arange(len(changes))) & 1
        else:
            exchanged = rng.integers(2, size=(len(numbers), len(changes)))
        moved = exchanged.astype(np.float64) @ changes
        differences = np.abs(statistic(total_b - moved) - statistic(total_a + moved))
        as_large += (differences >= found - ROUNDING).sum(axis=0)
    return as_large / count if exact else (1 + as_large) / (1 + count)
