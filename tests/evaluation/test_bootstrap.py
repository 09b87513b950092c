from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from nucleus.evaluation.bootstrap import MOST_UNITS, bca, describe, intervals, resampled_sums, sum_units
from nucleus.evaluation.image_scores import SCORES, score_image
from nucleus.evaluation.summary import ScoredImage, summarize


def mean(sums: np.ndarray) -> np.ndarray:
    """Of units (1, value, value, ...), sums over which are (number of units, sum, sum, ...)."""
    return sums[:, 1:] / sums[:, :1]


def with_ones(values: np.ndarray) -> np.ndarray:
    return np.concatenate([np.ones((len(values), 1)), values], axis=1)


def scored(pairs: list, group: str = "") -> list[ScoredImage]:
    return [ScoredImage(f"{i}.png", f"kind_{i % 2}", score_image(*pair), group) for i, pair in enumerate(pairs)]


def test_two_units_by_hand():
    """Of 0 and 1 the mean is 0, 1/2 or 1 in a quarter, a half and a quarter of the resamples: both ends are reached."""
    sums = resampled_sums(with_ones(np.array([[0.0], [1.0]])), 4000, seed=0)
    assert set(sums[:, 0]) == {2}
    np.testing.assert_allclose(np.bincount(sums[:, 1].astype(int)) / 4000, [1 / 4, 1 / 2, 1 / 4], atol=0.03)
    assert bca(with_ones(np.array([[0.0], [1.0]])), mean, 4000, 0.95, 0).tolist() == [[0, 1]]


@pytest.mark.parametrize("count", [5, 65, 300])
def test_equals_scipy_on_the_same_draws(count):
    """scipy.stats.bootstrap draws whole numbers as we do, so that the same seed gives the same resamples.

    All sums are exact, since scipy does not see through rounding which resamples equal the estimate.
    """
    rng = np.random.default_rng(count)
    part, whole = rng.integers(0, 50, size=(2, count))
    whole += part

    def pooled(part, whole, axis=-1):
        return part.sum(axis) / whole.sum(axis)

    arguments = {"n_resamples": 3000, "method": "BCa", "confidence_level": 0.9, "vectorized": True}
    by_image = stats.bootstrap((part / 64,), np.mean, rng=np.random.default_rng(7), **arguments)
    by_pixel = stats.bootstrap((part, whole), pooled, paired=True, rng=np.random.default_rng(7), **arguments)
    found = bca(with_ones((part / 64)[:, None]), mean, 3000, 0.9, 7)
    np.testing.assert_allclose(found[0], by_image.confidence_interval, rtol=0, atol=1e-12)
    found = bca(np.stack([part, whole], axis=1).astype(float), lambda sums: sums[:, :1] / sums[:, 1:], 3000, 0.9, 7)
    np.testing.assert_allclose(found[0], by_pixel.confidence_interval, rtol=0, atol=1e-12)


def simulated(rng: np.random.Generator, units: int, experiments: int) -> np.ndarray:
    """Skewed scores as real images have: most of them good, every seventh bad. Their mean is 0.7714."""
    good, bad = rng.beta(30, 5, (units, experiments)), rng.beta(2, 5, (units, experiments))
    return np.where(rng.random((units, experiments)) < 0.85, good, bad)


def coverage(found: np.ndarray, truth: float) -> float:
    return ((found[:, 0] <= truth) & (truth <= found[:, 1])).mean()


def test_95_percent_intervals_hold_the_truth_in_95_percent_of_experiments():
    rng, truth = np.random.default_rng(0), 0.85 * 30 / 35 + 0.15 * 2 / 7
    found = [bca(with_ones(simulated(rng, 65, 100)), mean, 1000, 0.95, seed) for seed in range(20)]
    assert coverage(np.concatenate(found), truth) == pytest.approx(0.95, abs=0.02)


def test_groups_are_drawn_together():
    """Four tiles with the score of their field: taken for independent, intervals are too narrow by half."""
    rng, truth = np.random.default_rng(0), 0.85 * 30 / 35 + 0.15 * 2 / 7
    by_group, by_image = [], []
    for seed in range(10):
        rows = with_ones(np.repeat(simulated(rng, 40, 100), 4, axis=0))
        by_group.append(bca(sum_units(rows, np.repeat(np.arange(40), 4).tolist()), mean, 1000, 0.95, seed))
        by_image.append(bca(rows, mean, 1000, 0.95, seed))
    assert coverage(np.concatenate(by_group), truth) == pytest.approx(0.95, abs=0.03)
    assert coverage(np.concatenate(by_image), truth) < 0.75


def test_many_units_brought_together_say_the_same():
    values = np.random.default_rng(0).beta(2, 5, (5 * MOST_UNITS, 1))
    together = sum_units(with_ones(values), range(len(values)))
    assert len(together) == MOST_UNITS and together[:, 0].tolist() == [5] * MOST_UNITS
    low, high = bca(together, mean, 2000, 0.95, 0)[0]
    error = values.std() / np.sqrt(len(values))
    assert (high - low) / (2 * 1.96 * error) == pytest.approx(1, abs=0.1)
    assert (high + low) / 2 == pytest.approx(values.mean(), abs=error / 2)


def test_every_score_of_every_stratum(random_pairs):
    images = scored(random_pairs[:60])
    found, summaries = intervals(images, resamples=2000), summarize(images)
    assert list(found) == ["overall", "kind_0", "kind_1"]
    for stratum, by_aggregation in found.items():
        assert list(by_aggregation) == ["image_mean", "pooled"]
        for attribute, by_score in by_aggregation.items():
            assert list(by_score) == list(SCORES)
            for name, (low, high) in by_score.items():
                assert 0 <= low < getattr(summaries[stratum], attribute)[name] < high <= 1
    overall, half = found["overall"]["image_mean"]["DSB score"], found["kind_0"]["image_mean"]["DSB score"]
    assert overall[1] - overall[0] < half[1] - half[0]
    assert found == intervals(images, resamples=2000)
    assert found != intervals(images, resamples=2000, seed=1)


def test_groups_given_or_known_to_the_images(random_pairs):
    pairs, names = random_pairs[:40], [str(i // 4) for i in range(40)]
    known = [ScoredImage(i.name, i.modality, i.scores, name) for i, name in zip(scored(pairs), names, strict=True)]
    found = intervals(known, resamples=500)
    assert found == intervals(scored(pairs), names, resamples=500) != intervals(scored(pairs), resamples=500)
    assert describe(known)["units"] == {"overall": 10, "kind_0": 10, "kind_1": 10}
    assert describe(known)["method"] == "BCa bootstrap over groups of images"
    assert describe(known, [""] * 40)["method"] == "BCa bootstrap over images"


def test_one_image_or_one_group_has_no_interval_and_equal_images_have_one_without_width(random_pairs):
    (one, two) = scored(random_pairs[:2])
    assert intervals([one]) == {"overall": {"image_mean": {}, "pooled": {}}, "kind_0": {"image_mean": {}, "pooled": {}}}
    assert intervals([one, two], ["a", "a"])["overall"] == {"image_mean": {}, "pooled": {}}
    assert describe([one])["units"] == {"overall": 1, "kind_0": 1}
    same = intervals([one, one, one], resamples=100)["overall"]
    for name, score in SCORES.items():
        assert same["image_mean"][name] == pytest.approx((score(one.scores),) * 2, abs=1e-15)
        assert same["pooled"][name] == pytest.approx((score(one.scores),) * 2, abs=1e-15)


def test_strata_of_any_kind(random_pairs):
    found = intervals(scored(random_pairs[:12]), strata={"first": [0, 1, 2], "last": [11]}, resamples=100)
    assert list(found) == ["first", "last"]
    assert found["first"]["pooled"]["PQ"] and not found["last"]["pooled"]
