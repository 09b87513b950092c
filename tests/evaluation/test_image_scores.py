from __future__ import annotations

import pickle
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from skimage.measure import label as label_with_scikit_image

from nucleus.evaluation.counts import pool
from nucleus.evaluation.image_scores import COUNTS, SCORES, ImageScores, score_image

THRESHOLDS = [Fraction(k, 20) for k in range(10, 20)]
SYMMETRIC = [name for name in SCORES if name != "AJI"]  # the same with truth and prediction exchanged


def values(scores: ImageScores) -> dict[str, float]:
    return {name: score(scores) for name, score in SCORES.items()}


def pixel_sets(labels: np.ndarray) -> dict[int, set[int]]:
    """Each nucleus as the set of its pixels."""
    nuclei: dict[int, set[int]] = {}
    for pixel, label in enumerate(labels.ravel().tolist()):
        if label:
            nuclei.setdefault(label, set()).add(pixel)
    return dict(sorted(nuclei.items()))


def overlaps(truths: dict[int, set[int]], predictions: dict[int, set[int]]) -> dict[int, dict[int, tuple[int, int]]]:
    """Intersection and union of each true nucleus with each prediction that it overlaps."""
    owner = {pixel: label for label, pixels in predictions.items() for pixel in pixels}
    found = {}
    for truth, pixels in truths.items():
        touched = sorted({owner[pixel] for pixel in pixels if pixel in owner})
        found[truth] = {p: (len(pixels & predictions[p]), len(pixels | predictions[p])) for p in touched}
    return found


def objects_by_brute_force(truth: np.ndarray, prediction: np.ndarray) -> tuple[float, list[float]]:
    """DSB score and object F1 at every threshold, each true nucleus looking for a prediction that nobody took yet."""
    truths, predictions = pixel_sets(truth), pixel_sets(prediction)
    pairs = overlaps(truths, predictions)
    shares, f1 = [], []
    for threshold in THRESHOLDS:
        taken: set[int] = set()
        for candidates in pairs.values():
            good = [p for p, (shared, union) in candidates.items() if Fraction(shared, union) > threshold]
            taken.update([p for p in good if p not in taken][:1])
        tp, fp, fn = len(taken), len(predictions) - len(taken), len(truths) - len(taken)
        shares.append(tp / (tp + fp + fn) if tp + fp + fn else 1.0)
        f1.append(2 * tp / (2 * tp + fp + fn) if tp + fp + fn else 1.0)
    return sum(shares) / len(shares), f1


def by_brute_force(truth: np.ndarray, prediction: np.ndarray) -> dict[str, float]:
    """Every score once more, from sets of pixels and with loops, nearest to the words of the definitions."""
    truths, predictions = pixel_sets(truth), pixel_sets(prediction)
    pairs = overlaps(truths, predictions)
    scores: dict[str, float] = {}
    scores["DSB score"], f1 = objects_by_brute_force(truth, prediction)
    scores |= {f"object F1@{float(threshold):.2f}": value for threshold, value in zip(THRESHOLDS, f1, strict=True)}

    foregrounds = np.count_nonzero(truth) + np.count_nonzero(prediction)
    scores["pixel Dice"] = 2 * np.count_nonzero((truth > 0) & (prediction > 0)) / foregrounds if foregrounds else 1.0

    matched = [s / u for candidates in pairs.values() for s, u in candidates.values() if Fraction(s, u) > THRESHOLDS[0]]
    nuclei = len(truths) + len(predictions)
    scores["RQ"] = 2 * len(matched) / nuclei if nuclei else 1.0
    scores["SQ"] = sum(matched) / len(matched) if matched else float(nuclei == 0)
    scores["PQ"] = scores["SQ"] * scores["RQ"]

    # Algorithm 1 of Kumar et al. 2017
    c = u = 0
    used = set()
    for label, candidates in pairs.items():
        if not candidates:
            u += len(truths[label])
            continue
        best = max(candidates, key=lambda p: (Fraction(*candidates[p]), -p))
        c, u = c + candidates[best][0], u + candidates[best][1]
        used.add(best)
    u += sum(len(pixels) for label, pixels in predictions.items() if label not in used)
    scores["AJI"] = c / u if u else 1.0

    components = [label_with_scikit_image(labels > 0, connectivity=2) for labels in (truth, prediction)]
    scores["seed protocol DSB score"], f1 = objects_by_brute_force(*components)
    scores["seed protocol object F1@0.70"] = f1[THRESHOLDS.index(Fraction(7, 10))]
    scores["seed protocol pixel Dice"] = scores["pixel Dice"]
    return scores


@pytest.mark.parametrize("kind", ["random", "real"])
def test_every_score_agrees_with_brute_force(request, agree, kind):
    pairs = request.getfixturevalue(f"{kind}_pairs")
    found = [values(score_image(*pair)) for pair in pairs]
    expected = [by_brute_force(*pair) for pair in pairs]
    for name in SCORES:
        agree(name, f"brute force, {kind}", [one[name] for one in found], [one[name] for one in expected], 1e-14)


@given(st.data())
def test_every_score_agrees_with_brute_force_on_made_up_images(data):
    shape = data.draw(st.tuples(st.integers(1, 5), st.integers(1, 5)))
    truth, prediction = (data.draw(arrays(np.int8, shape, elements=st.integers(0, 3))) for _ in range(2))
    assert values(score_image(truth, prediction)) == pytest.approx(by_brute_force(truth, prediction), abs=1e-14)


def test_names_are_full_terms():
    assert list(SCORES)[:2] == ["DSB score", "object F1@0.50"]
    assert not {"AP", "Dice", "F1", "mAP"} & set(SCORES)
    assert not set(SCORES) & set(COUNTS)


@given(st.data())
def test_labels_do_not_matter(data):
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    truth, prediction = rng.integers(0, 6, size=(2, 12, 12)) * (rng.random((2, 12, 12)) > 0.2)
    renamed = np.concatenate([[0], rng.permutation(np.arange(1, 90))[:5]])
    same = score_image(renamed[truth], prediction)
    assert same == score_image(truth, prediction)
    # Of the scores only AJI has a rule for ties that looks at labels; a renaming that keeps their order keeps the rule.
    assert score_image(truth, np.sort(renamed)[prediction]) == score_image(truth, prediction)
    found, expected = values(score_image(truth, renamed[prediction])), values(score_image(truth, prediction))
    for name in SYMMETRIC:
        assert found[name] == pytest.approx(expected[name], abs=1e-14)


@given(st.data())
def test_exchanging_truth_and_prediction(data):
    shape = data.draw(st.tuples(st.integers(1, 6), st.integers(1, 6)))
    truth, prediction = (data.draw(arrays(np.int8, shape, elements=st.integers(0, 3))) for _ in range(2))
    there, back = score_image(truth, prediction), score_image(prediction, truth)
    for name in SYMMETRIC:
        assert values(there)[name] == pytest.approx(values(back)[name], abs=1e-14)
    assert there.objects.false_positives == back.objects.false_negatives


@given(arrays(np.int8, st.tuples(st.integers(1, 6), st.integers(1, 6)), elements=st.integers(0, 4)))
def test_a_perfect_prediction_has_one_everywhere(labels):
    assert set(values(score_image(labels, labels.astype(np.int32) * 7)).values()) == {1.0}


@given(arrays(np.int8, st.tuples(st.integers(1, 6), st.integers(1, 6)), elements=st.integers(0, 4)))
def test_one_side_without_nuclei_has_zero_everywhere(labels):
    empty = np.zeros_like(labels)
    expected = {0.0} if labels.any() else {1.0}
    assert set(values(score_image(labels, empty)).values()) == expected
    assert set(values(score_image(empty, labels)).values()) == expected


def test_scores_lie_between_zero_and_one_and_f1_falls_with_the_threshold(random_pairs):
    for pair in random_pairs:
        scores = score_image(*pair)
        assert all(0 <= value <= 1 for value in values(scores).values())
        assert list(scores.objects.f1) == sorted(scores.objects.f1, reverse=True)


def test_scores_pickle_and_pool(random_pairs):
    scores = [score_image(*pair) for pair in random_pairs[:5]]
    assert pickle.loads(pickle.dumps(scores)) == scores
    pooled = pool(scores)
    assert COUNTS["true nuclei"](pooled) == sum(COUNTS["true nuclei"](one) for one in scores)
    assert pool([scores[0]] * 3).objects.f1 == scores[0].objects.f1


def test_counts_are_consistent(random_pairs):
    pooled = pool([score_image(*pair) for pair in random_pairs])
    counts = {name: count(pooled) for name, count in COUNTS.items()}
    for threshold in ("0.50", "0.75", "0.95"):
        matched = counts[f"true positives@{threshold}"]
        assert matched + counts[f"false positives@{threshold}"] == counts["predicted nuclei"]
        assert matched + counts[f"false negatives@{threshold}"] == counts["true nuclei"]
