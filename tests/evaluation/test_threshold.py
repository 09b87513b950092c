from __future__ import annotations

import csv

import numpy as np
import pytest

from nucleus.evaluation.image_scores import score_image
from nucleus.evaluation.matching import IOU_THRESHOLDS
from nucleus.evaluation.summary import ScoredImage, summarize
from nucleus.evaluation.threshold import (
    DSB,
    THRESHOLDS,
    RankedNuclei,
    choose_threshold,
    counts_by_threshold,
    is_test_set,
    rank_nuclei,
    smoothed,
    threshold_curve,
)
from nucleus.evaluation.threshold_files import write_curve
from nucleus.formats.image import read_image
from nucleus.masks.box_masks import BoxMasks
from nucleus.masks.overlap import overlap_table
from nucleus.masks.resolve_overlaps import label_image_from_box_masks
from nucleus.masks.rle import encode_coco


def image(truths: int, *nuclei: tuple[float, int]) -> RankedNuclei:
    """Nuclei as (score, number of IoU thresholds that the match exceeds)."""
    return RankedNuclei(
        truths, np.array([score for score, _ in nuclei]), np.array([level for _, level in nuclei], dtype=int)
    )


def detections(rng: np.random.Generator, truth: np.ndarray) -> tuple[BoxMasks, np.ndarray]:
    """True nuclei shifted a little, some twice, so that detections overlap, and invented ones; scores with ties."""
    masks = [
        np.roll(truth == label, tuple(rng.integers(-1, 2, size=2)), axis=(0, 1))
        for label in np.unique(truth[truth > 0])
        for _ in range(rng.integers(0, 3))
    ]
    for _ in range(rng.integers(0, 4)):
        mask = np.zeros(truth.shape, dtype=bool)
        row, column = rng.integers(truth.shape[0]), rng.integers(truth.shape[1])
        mask[row : row + 5, column : column + 4] = True
        masks.append(mask)
    scores = rng.integers(0, 101, size=len(masks)) / 100
    return BoxMasks.from_coco([encode_coco(mask) for mask in masks], *truth.shape), scores


def test_by_hand():
    """Two images, one with a good and a false nucleus, one with a nucleus that only the lowest IoU calls found."""
    images = [image(1, (0.9, 10), (0.4, 0)), image(2, (0.6, 1))]
    curve = threshold_curve(images, (0.0, 0.4, 0.41, 0.6, 0.7, 0.95))
    first, second = np.array([1 / 2, 1 / 2, 1, 1, 1, 0]), np.array([1, 1, 1, 1, 0, 0]) * (1 / 2) / 10
    np.testing.assert_allclose(curve[DSB], (first + second) / 2)
    found, at_half = np.array([1, 1, 1, 1, 1, 0]), np.array([2, 2, 2, 2, 1, 0])
    predicted = np.array([3, 3, 2, 2, 1, 0])
    np.testing.assert_allclose(curve["object F1@0.50 (pooled)"], 2 * at_half / (3 + predicted))
    np.testing.assert_allclose(curve["object F1@0.70 (pooled)"], 2 * found / (3 + predicted))
    np.testing.assert_allclose(curve["count error"], np.array([2, 2, 1, 1, 2, 3]) / 3)  # one too many, one too few ...


def test_equals_an_evaluation_at_every_threshold(random_pairs):
    rng = np.random.default_rng(0)
    pairs = [(truth, detections(rng, truth)) for truth, _ in random_pairs[:60]]
    ranked = []
    for truth, (masks, scores) in pairs:
        labels, kept, _ = label_image_from_box_masks(masks, scores)
        ranked.append(rank_nuclei(overlap_table(truth, labels), scores[kept]))
    counts, curve = counts_by_threshold(ranked), threshold_curve(ranked)
    assert counts.predictions.max() > 20
    for position, threshold in list(enumerate(THRESHOLDS))[::9]:
        plain = [
            score_image(truth, label_image_from_box_masks(masks, scores, score_threshold=threshold)[0])
            for truth, (masks, scores) in pairs
        ]
        assert counts.predictions[position].tolist() == [one.objects.predictions for one in plain]
        for level, _ in enumerate(IOU_THRESHOLDS):
            found = counts.true_positives[level][position].tolist()
            assert found == [one.objects.true_positives[level] for one in plain]
        overall = summarize([ScoredImage(str(i), "", one) for i, one in enumerate(plain)])["overall"]
        for name in ("DSB score", "object F1@0.50", "object F1@0.70"):
            assert curve[f"{name} (image mean)"][position] == pytest.approx(overall.image_mean[name], abs=1e-14)
            assert curve[f"{name} (pooled)"][position] == pytest.approx(overall.pooled[name], abs=1e-14)


def test_nuclei_without_a_score_and_labels_without_a_pixel():
    truth, prediction = np.array([[1, 1, 0, 2, 2]]), np.array([[1, 1, 0, 4, 4]])
    ranked = rank_nuclei(overlap_table(truth, prediction), [0.8, 0.7, 0.6, np.nan])  # labels 2 and 3 are hidden
    assert ranked.levels.tolist() == [10, 10]
    assert threshold_curve([ranked], (0.0, 0.8, 0.9))["object F1@0.50 (pooled)"].tolist() == [2 / 3, 2 / 3, 0]


def test_the_middle_of_a_plateau_is_chosen():
    """0.30 to 0.79 are best, and smoothing leaves 0.40 to 0.69 of them."""
    assert choose_threshold([image(1, (0.79, 10), (0.29, 0))]) == 0.54


def test_a_single_high_point_beside_a_cliff_is_not_chosen():
    """The second nucleus of score 0.81 makes 0.81 the best, just before everything is lost."""
    images = [image(1, (0.81, 10), (0.805, 0)), image(1, (0.81, 10), (0.2, 0)), image(1, (0.81, 10), (0.2, 0))]
    assert THRESHOLDS[int(threshold_curve(images)[DSB].argmax())] == 0.81
    assert 0.3 < choose_threshold(images) < 0.72


def test_smoothing_is_the_mean_of_the_neighbours_there_are():
    values = np.random.default_rng(0).random(100)
    expected = [values[max(i - 10, 0) : i + 11].mean() for i in range(100)]
    np.testing.assert_allclose(smoothed(values), expected, rtol=0, atol=1e-14)


def test_no_detections_and_no_nuclei():
    nothing, missed = image(0), image(3)
    assert threshold_curve([nothing])[DSB].tolist() == [1] * 100
    assert np.isnan(threshold_curve([nothing])["count error"]).all()
    assert threshold_curve([missed])["count error"].tolist() == [1] * 100
    assert choose_threshold([nothing, missed]) == 0.49


@pytest.mark.parametrize("name", ["bbbc038_test", "Test", "my-test2", "stage1.test", "a_TEST"])
def test_test_sets(name):
    assert is_test_set(name)


@pytest.mark.parametrize("name", ["bbbc038_val", "mine", "latest", "contest_val", "attested", "trainval"])
def test_other_sets(name):
    assert not is_test_set(name)


def test_the_curve_as_a_table_and_as_a_picture(tmp_path):
    images = [image(1, (0.9, 10), (0.4, 0)), image(2, (0.6, 1)), image(0)]
    write_curve(tmp_path, images, ["a", "b", "b"], used=0.5, title="a curve")
    with (tmp_path / "threshold.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["score threshold"]) for row in rows] == list(THRESHOLDS)
    assert [float(row[DSB]) for row in rows] == threshold_curve(images)[DSB].tolist()
    assert [float(row[f"{DSB}, b"]) for row in rows] == threshold_curve(images[1:])[DSB].tolist()
    picture = read_image(tmp_path / "threshold.png")
    write_curve(tmp_path, images, ["a", "b", "b"], used=0.7, title="a curve")
    assert picture.shape[1] > 1000 and (picture != read_image(tmp_path / "threshold.png")).any()
