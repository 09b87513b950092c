from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from nucleus.evaluation.bootstrap import intervals
from nucleus.evaluation.comparison import EXACT_UNITS, compare, permutation_p
from nucleus.evaluation.comparison_files import format_comparison, write_comparison
from nucleus.evaluation.image_scores import SCORES, score_image
from nucleus.evaluation.summary import ScoredImage, summarize
from nucleus.formats.image import read_image


def mean(sums: np.ndarray) -> np.ndarray:
    return sums[:, 1:] / sums[:, :1]


def with_ones(values: np.ndarray) -> np.ndarray:
    return np.concatenate([np.ones((len(values), 1)), np.reshape(values, (len(values), -1))], axis=1)


def row(name: str, truth: list[int], prediction: list[int], group: str = "") -> ScoredImage:
    return ScoredImage(name, "kind", score_image(np.array([truth]), np.array([prediction])), group)


GOOD, BAD = ([1, 1, 0, 2], [1, 1, 0, 2]), ([1, 1, 0, 2], [0, 0, 0, 0])


@pytest.fixture
def two_results(random_pairs):
    """The same truth, predicted as it is in `random_pairs`, and with a part of the image without nuclei."""
    results: tuple[list[ScoredImage], list[ScoredImage]] = ([], [])
    for number, (truth, predicted) in enumerate(random_pairs[:40]):
        cut = predicted.copy()
        cut[: len(cut) // 3] = 0
        for images, prediction in zip(results, (cut, predicted), strict=True):
            scores = score_image(truth, prediction)
            images.append(ScoredImage(f"{number}.png", f"kind_{number % 2}", scores, str(number // 2)))
    return results


def test_three_units_by_hand():
    """Differences 1, 2 and 3: of the eight exchanges of signs, only none and all reach 6 in size."""
    a, b = with_ones(np.zeros(3)), with_ones(np.array([1.0, 2.0, 3.0]))
    assert permutation_p(a, b, mean, 100, 0).tolist() == [2 / 8]
    # Differences 1, 1 and -1 sum to 1, the least that any exchange can.
    assert permutation_p(a, with_ones(np.array([1.0, 1.0, -1.0])), mean, 100, 0).tolist() == [1]
    assert permutation_p(a, a, mean, 100, 0).tolist() == [1]


@pytest.mark.parametrize("count", [5, 12])
def test_exact_p_is_that_of_scipy(count):
    rng = np.random.default_rng(count)
    a, b = rng.integers(0, 64, size=(2, count)) / 64  # sums are exact
    expected = stats.permutation_test(
        (a, b),
        lambda x, y, axis: np.mean(y - x, axis=axis),
        permutation_type="samples",
        n_resamples=np.inf,
        vectorized=True,
    ).pvalue
    assert permutation_p(with_ones(a), with_ones(b), mean, 100, 0)[0] == pytest.approx(expected, abs=1e-12)


def test_drawn_exchanges_come_near_to_all_of_them():
    rng = np.random.default_rng(0)
    a, b = rng.random((2, EXACT_UNITS + 2))
    b += 0.1
    expected = stats.permutation_test(
        (a, b), lambda x, y, axis: np.mean(y - x, axis=axis), permutation_type="samples", n_resamples=np.inf,
        vectorized=True,
    ).pvalue  # fmt: skip
    found = permutation_p(with_ones(a), with_ones(b), mean, 20_000, 0)[0]
    assert 0.05 < expected < 0.6
    assert found == pytest.approx(expected, abs=0.015)


def test_p_is_never_0_and_units_that_are_equal_do_not_count():
    a, b = np.zeros(40), np.ones(40)
    assert permutation_p(with_ones(a), with_ones(b), mean, 999, 0).tolist() == [1 / 1000]
    b[3:] = 0
    assert permutation_p(with_ones(a), with_ones(b), mean, 999, 0).tolist() == [2 / 8]


def test_without_a_difference_p_is_small_as_seldom_as_it_says():
    rng = np.random.default_rng(0)
    hard = rng.random((30, 1))  # what A and B share
    a, b = (with_ones(hard + 0.1 * rng.standard_normal((30, 2000))) for _ in range(2))
    p = permutation_p(a, b, mean, 400, 0)
    for level in (0.05, 0.2, 0.5):
        assert (p <= level).mean() == pytest.approx(level, abs=0.03)


def test_scores_differences_and_images_by_hand():
    a, b = [row("1", *BAD), row("2", *GOOD), row("3", *GOOD)], [row("1", *GOOD), row("2", *GOOD), row("3", *GOOD)]
    found = compare(a, b[::-1])  # in any order
    dsb = found.scores["overall"]["image_mean"]["DSB score"]
    assert (dsb.a, dsb.b, dsb.difference, dsb.p) == (2 / 3, 1, pytest.approx(1 / 3), 1)
    assert found.scores["overall"]["pooled"]["object F1@0.50"].a == 2 * 4 / (6 + 4)
    assert [(pair.name, pair.difference) for pair in found.images] == [("1", 1), ("2", 0), ("3", 0)]
    assert list(found.scores) == ["overall", "kind"]


def test_agrees_with_the_summaries_and_is_sharper_than_two_intervals(two_results):
    a, b = two_results
    found, alone = compare(a, b), intervals(b)
    for stratum, summary in summarize(b).items():
        for attribute in ("image_mean", "pooled"):
            for name in SCORES:
                assert found.scores[stratum][attribute][name].b == pytest.approx(getattr(summary, attribute)[name])
    for name in ("DSB score", "PQ", "AJI"):
        one = found.scores["overall"]["image_mean"][name]
        assert one.interval is not None and one.interval[0] > 0 and one.p < 0.001
        low, high = alone["overall"]["image_mean"][name]
        assert one.interval[1] - one.interval[0] < high - low
    assert found.method["units"] == {"overall": 20, "kind_0": 20, "kind_1": 20}
    assert compare(a, b) == found
    turned = compare(b, a).scores["overall"]["pooled"]["DSB score"]
    assert turned.difference == -found.scores["overall"]["pooled"]["DSB score"].difference
    assert turned.p == found.scores["overall"]["pooled"]["DSB score"].p


def test_the_same_result_twice(two_results):
    found = compare(two_results[0], two_results[0])
    for by_score in found.scores["overall"].values():
        assert all((one.difference, one.interval, one.p) == (0, (0, 0), 1) for one in by_score.values())
    assert "the same DSB score in every image" in format_comparison(found)


def test_one_unit_has_no_interval(two_results):
    found = compare(*([replace(image, group="one") for image in images] for images in two_results))
    one = found.scores["overall"]["image_mean"]["DSB score"]
    assert one.interval is None and one.p == 1
    assert "overall (1 unit)" in format_comparison(found)


def test_what_cannot_be_compared(two_results):
    a, b = two_results
    for others in (a[:-1], [*a[:-1], a[0]], []):
        with pytest.raises(ValueError, match="the same images twice"):
            compare(others, b)
    with pytest.raises(ValueError, match=r"the same truth, found 2 and 1 true nuclei in 1"):
        compare([row("1", *GOOD)], [row("1", [1, 1, 0, 0], [1, 1, 0, 0])])


def test_files_and_text(two_results, tmp_path):
    found = compare(*two_results)
    text = format_comparison(found)
    assert "image mean, 40 images" in text and "kind_0 (20 units)" in text and found.images[0].name in text
    paths = write_comparison(tmp_path, found, {"A": "a", "B": "b"})
    assert [path.name for path in paths] == ["comparison.json", "comparison.png"]
    content = json.loads(paths[0].read_text())
    dsb = content["scores"]["overall"]["image_mean"]["DSB score"]
    assert dsb["difference"] == dsb["b"] - dsb["a"] and dsb["interval"][0] <= dsb["interval"][1]
    assert len(content["images"]) == 40 and content["settings"] == {"A": "a", "B": "b"}
    assert read_image(paths[1]).shape[1] > 1000
