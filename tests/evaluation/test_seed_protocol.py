from __future__ import annotations

import numpy as np

from nucleus.evaluation.object_scores import ObjectCounts
from nucleus.evaluation.pixel_scores import PixelCounts
from nucleus.evaluation.seed_protocol import SeedProtocolCounts, seed_protocol_counts


def test_touching_nuclei_count_as_one_even_at_a_corner():
    truth = np.array([[1, 1, 0, 0, 0],
                      [0, 0, 2, 0, 3]])  # fmt: skip
    prediction = np.array([[5, 5, 0, 0, 0],
                           [0, 0, 5, 0, 0]])  # fmt: skip
    counts = seed_protocol_counts(truth, prediction)
    assert counts.objects == ObjectCounts(truths=2, predictions=1, true_positives=(1,) * 10)  # 1 and 2 are one
    assert counts.pixels == PixelCounts(intersection=3, truth=4, prediction=3)
    assert counts.f1_at_70 == 2 / 3
    assert counts.dsb_score == 1 / 2
    assert counts.pixel_dice == 6 / 7


def test_a_nucleus_in_pieces_counts_as_several():
    truth = np.array([[1, 0, 1, 0, 1]])
    assert seed_protocol_counts(truth, truth).objects.truths == 3


def test_f1_is_taken_at_an_iou_above_seven_tenths():
    truth, prediction = np.ones((1, 10), dtype=int), (np.arange(10) < 7)[None].astype(int)
    assert seed_protocol_counts(truth, prediction).f1_at_70 == 0
    assert seed_protocol_counts(truth, truth).f1_at_70 == 1


def test_empty_images():
    empty, full = np.zeros((3, 3), dtype=int), np.ones((3, 3), dtype=int)
    both = seed_protocol_counts(empty, empty)
    assert both == SeedProtocolCounts(ObjectCounts(0, 0, (0,) * 10), PixelCounts(0, 0, 0))
    assert both.dsb_score == both.f1_at_70 == both.pixel_dice == 1
    for counts in (seed_protocol_counts(empty, full), seed_protocol_counts(full, empty)):
        assert counts.dsb_score == counts.f1_at_70 == counts.pixel_dice == 0
