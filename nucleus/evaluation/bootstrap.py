"""How sure a score is: 95 % bootstrap intervals over images, or over groups of images that are no independent samples.

The bootstrap draws as many units as there are, with replacement, thousands of times, and looks at how the score varies.
A *unit* is an image, or all images of one group (field of view, slide, patient) where groups are known: tiles of one
field share cells and stain, and taking them for independent makes an interval too narrow (the cluster bootstrap;
Davison and Hinkley 1997, "Bootstrap Methods and their Application", section 3.8).

The interval is BCa, bias-corrected and accelerated (Efron and Tibshirani 1993, "An Introduction to the Bootstrap",
section 14.3): like the percentile interval it stays within [0, 1] and needs no formula for a standard error, but it
follows a skewed distribution, and scores near 1, with a few images far below, are skewed. Both are too narrow for few
units, as every bootstrap is: of simulated means of skewed scores, intervals of "95 %" held the truth in 95 % of the
cases with 65 units, 93 % with 20, 78 to 89 % with 10 and 60 to 83 % with 5 (percentile: 94, 90 to 92, 78 to 88 and 59
to 83 %).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
from scipy.special import ndtr, ndtri

from nucleus.evaluation.count_matrix import count_matrix, scores_of_counts
from nucleus.evaluation.image_scores import SCORES
from nucleus.evaluation.summary import ScoredImage, by_modality
from nucleus.evaluation.table import AGGREGATIONS

LEVEL = 0.95
RESAMPLES = 10_000
MOST_UNITS = 2_000  # more are brought together at random: that many say as much about the spread
ROUNDING = 1e-12  # scores that differ by less are equal
DRAWN_AT_ONCE = 2_000_000  # units; 16 MB

Interval = tuple[float, float]
Intervals = dict[str, dict[str, dict[str, Interval]]]
Value = TypeVar("Value")
Statistic = Callable[[np.ndarray], np.ndarray]


def intervals(
    images: Sequence[ScoredImage],
    groups: Sequence[str] | None = None,
    *,
    strata: Mapping[str, Sequence[int]] | None = None,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
    seed: int = 0,
) -> Intervals:
    """Compute a confidence interval of every score, as image mean and pooled.

    Args:
        images: at least one.
        groups: of each image; images of one group are drawn together, "" stands alone. `ScoredImage.group` if not
            given.
        strata: positions of the images of each stratum; overall and each modality if not given.
        resamples: how often units are drawn.
        level: of confidence, in (0, 1).
        seed: the same images in the same order, and the same seed, give the same intervals.

    Returns:
        For each stratum "image_mean" and "pooled", each with (low, high) in [0, 1] by the name of the score. Both are
        empty where a stratum has one unit only, from which nothing can be said. COCO AP has no interval.
    """
    names = unit_names(images, groups)
    if strata is None:
        strata = by_modality([image.modality for image in images])
    rows = score_rows(images)

    def statistic(sums: np.ndarray) -> np.ndarray:
        return both_aggregations(sums, images[0])

    found: Intervals = {}
    for stratum, positions in strata.items():
        units = sum_units(rows[positions], [names[position] for position in positions])
        pairs: list[Interval] = []
        if len(units) > 1:
            pairs = [(low, high) for low, high in bca(units, statistic, resamples, level, seed).tolist()]
        found[stratum] = by_aggregation(pairs)
    return found


def score_rows(images: Sequence[ScoredImage]) -> np.ndarray:
    """Lay out what is summed over images.

    Returns:
        float64 (N, 1 + S + C): a one, the S scores of SCORES and the C counts of each image.
    """
    counts = count_matrix([image.scores for image in images])
    return np.concatenate([np.ones((len(images), 1)), scores_of_counts(counts, images[0].scores), counts], axis=1)


def both_aggregations(sums: np.ndarray, like: ScoredImage) -> np.ndarray:
    """Take the image mean and the pooled value of every score from sums of `score_rows`.

    Args:
        sums: float64 (R, 1 + S + C).
        like: any image, which says what the columns are.

    Returns:
        float64 (R, 2 S): image means, then pooled values.
    """
    image_means = sums[:, 1 : 1 + len(SCORES)] / sums[:, :1]
    return np.concatenate([image_means, scores_of_counts(sums[:, 1 + len(SCORES) :], like.scores)], axis=1)


def by_aggregation(values: Sequence[Value]) -> dict[str, dict[str, Value]]:
    """Name 2 S values in the order of `both_aggregations`; without values both aggregations are empty."""
    return {
        attribute: dict(zip(SCORES, values[index * len(SCORES) :], strict=False))
        for index, attribute in enumerate(AGGREGATIONS.values())
    }


def describe(
    images: Sequence[ScoredImage],
    groups: Sequence[str] | None = None,
    *,
    strata: Mapping[str, Sequence[int]] | None = None,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
    seed: int = 0,
) -> dict[str, Any]:
    """Say how `intervals` computes those of the same arguments, for scores.json and reports.

    Returns:
        "method", "level", "resamples", "seed", and "units": how many are drawn in each stratum (1: no interval).
    """
    names = unit_names(images, groups)
    if strata is None:
        strata = by_modality([image.modality for image in images])
    kind = "images" if len(set(names)) == len(names) else "groups of images"
    return {
        "method": f"BCa bootstrap over {kind}",
        "level": level,
        "resamples": resamples,
        "seed": seed,
        "units": {stratum: len({names[position] for position in positions}) for stratum, positions in strata.items()},
    }


def unit_names(images: Sequence[ScoredImage], groups: Sequence[str] | None = None) -> list[tuple[str, str]]:
    """Name the unit of each image: its group, or, where nobody said, itself."""
    groups = [image.group for image in images] if groups is None else groups
    return [("group", group) if group else ("image", str(position)) for position, group in enumerate(groups)]


def sum_units(rows: np.ndarray, names: Sequence[Any]) -> np.ndarray:
    """Sum the rows of each unit.

    Args:
        rows: float64 (N, K), one an image.
        names: of the unit of each row.

    Returns:
        float64 (U, K), units in the order in which they first appear. More than MOST_UNITS are brought together at
        random (always alike) into that many: the sums of independent units are independent units again, so that an
        interval stays what it is, and a hundred thousand images take no longer than two thousand.
    """
    numbers = {name: number for number, name in enumerate(dict.fromkeys(names))}
    unit = np.array([numbers[name] for name in names])
    if len(numbers) > MOST_UNITS:
        unit = np.random.default_rng(len(numbers)).permutation(len(numbers))[unit] % MOST_UNITS
    sums = np.zeros((min(len(numbers), MOST_UNITS), rows.shape[1]))
    np.add.at(sums, unit, rows)
    return sums


def bca(units: np.ndarray, statistic: Statistic, resamples: int, level: float, seed: int) -> np.ndarray:
    """Compute BCa intervals of statistics of sums over units.

    Args:
        units: float64 (U, K), at least two.
        statistic: takes the sums over the units of R resamples, (R, K), gives S values of each, (R, S).
        resamples: how many.
        level: of confidence, in (0, 1).
        seed: of the draws.

    Returns:
        float64 (S, 2): low and high.
    """
    total = units.sum(axis=0)
    estimates = statistic(total[None])[0]
    left_one_out = statistic(total - units)
    resampled = statistic(resampled_sums(units, resamples, seed))
    # (14.15), from the skewness of what each unit contributes.
    contribution = left_one_out.mean(axis=0) - left_one_out
    spread = 6 * (contribution**2).sum(axis=0) ** 1.5
    acceleration = np.divide((contribution**3).sum(axis=0), spread, out=np.zeros_like(spread), where=spread > 0)
    # (14.14), with the half of those that equal the estimate; never 0 or 1, which would be infinitely far away.
    smaller = [(resampled < estimates + rounding).mean(axis=0) for rounding in (-ROUNDING, ROUNDING)]
    below = (smaller[0] + smaller[1]) / 2
    bias = ndtri(np.clip(below, 0.5 / resamples, 1 - 0.5 / resamples))
    tail = ndtri([(1 - level) / 2, (1 + level) / 2])[:, None] + bias
    ranks = ndtr(bias + tail / (1 - acceleration * tail))  # (14.10), (2, S)
    return np.array([np.quantile(values, rank) for values, rank in zip(resampled.T, ranks.T, strict=True)])


def resampled_sums(units: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    """Draw U of U units with replacement, R times, and sum each draw.

    Args:
        units: float64 (U, K).
        resamples: R.
        seed: of the draws.

    Returns:
        float64 (R, K).
    """
    rng = np.random.default_rng(seed)
    count = len(units)
    at_once = max(1, DRAWN_AT_ONCE // count)
    sums = np.empty((resamples, units.shape[1]))
    for first in range(0, resamples, at_once):
        part = sums[first : first + at_once]
        drawn = rng.integers(count, size=(len(part), count))
        drawn += count * np.arange(len(part))[:, None]
        times = np.bincount(drawn.ravel(), minlength=drawn.size).reshape(drawn.shape)
        np.matmul(times.astype(np.float64), units, out=part)
    return sums
