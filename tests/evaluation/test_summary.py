from __future__ import annotations

import random

import numpy as np
import pytest

from nucleus.errors import InputError
from nucleus.evaluation.image_scores import SCORES, score_image
from nucleus.evaluation.summary import ScoredImage, by_modality, summarize


def scored(name: str, modality: str, truth: list[int], prediction: list[int]) -> ScoredImage:
    return ScoredImage(name, modality, score_image(np.array([truth]), np.array([prediction])))


def test_by_modality():
    groups = by_modality(["b", "a", "b"])
    assert groups == {"overall": [0, 1, 2], "a": [1], "b": [0, 2]}
    assert list(groups) == ["overall", "a", "b"]


def test_no_kind_of_image_is_called_as_all_of_them():
    with pytest.raises(InputError, match="expected another name than overall"):
        by_modality(["a", "overall"])


def test_by_hand():
    images = [
        scored("1.png", "purple_tissue", [1, 2, 3], [1, 2, 3]),  # all three found
        scored("2.png", "small_fluorescent", [1, 0, 0], [0, 0, 0]),  # the only one missed
    ]
    summaries = summarize(images)
    overall = summaries["overall"]
    assert list(summaries) == ["overall", "purple_tissue", "small_fluorescent"]
    assert overall.images == 2
    assert overall.counts["true nuclei"] == 4
    assert overall.counts["false negatives@0.95"] == 1
    assert overall.image_mean["object F1@0.50"] == (1 + 0) / 2
    assert overall.pooled["object F1@0.50"] == 2 * 3 / (4 + 3)
    assert overall.image_mean["DSB score"] == 1 / 2
    assert overall.pooled["DSB score"] == 3 / 4
    assert summaries["purple_tissue"].pooled["PQ"] == 1
    assert summaries["small_fluorescent"].image_mean["PQ"] == 0


def test_coco_ap_joins_the_pooled_scores():
    images = [scored("1.png", "a", [1], [1])]
    summaries = summarize(images, {"overall": {"COCO AP (masks)": 0.25}, "a": {"COCO AP (masks)": 0.75}})
    assert summaries["overall"].pooled["COCO AP (masks)"] == 0.25
    assert summaries["a"].pooled["COCO AP (masks)"] == 0.75
    assert set(summaries["overall"].image_mean) == set(SCORES)


def test_the_order_of_the_images_changes_nothing(random_pairs):
    images = [ScoredImage(str(i), f"kind_{i % 3}", score_image(*pair)) for i, pair in enumerate(random_pairs)]
    expected = summarize(images)
    random.Random(0).shuffle(images)
    assert summarize(images) == expected  # to the last digit


def test_no_images():
    with pytest.raises(ValueError, match="at least one scored image"):
        summarize([])
