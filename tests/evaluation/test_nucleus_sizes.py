from __future__ import annotations

import math

import numpy as np
import pytest

from nucleus.evaluation.counts import pool
from nucleus.evaluation.nucleus_sizes import AREA_EDGES, SIZES, bin_names, size_counts
from nucleus.evaluation.object_scores import object_counts
from nucleus.masks.overlap import overlap_table


def sizes(truth: list[tuple[int, int]], prediction: list[tuple[int, int]]):
    """Nuclei as (start, stop) on a line of 5,000 pixels."""
    images = np.zeros((2, 1, 5000), dtype=int)
    for image, nuclei in zip(images, (truth, prediction), strict=True):
        for label, (start, stop) in enumerate(nuclei, start=1):
            image[0, start:stop] = label
    return size_counts(overlap_table(*images))


def test_names():
    assert bin_names((10, 30)) == ("to 10", "10 to 30", "above 30")
    assert SIZES == ("to 100", "100 to 300", "300 to 1000", "above 1000")


def test_edges_belong_to_the_bin_below():
    counts = sizes([(0, 100), (200, 301), (1000, 2001)], [])
    assert counts.truths == (1, 1, 0, 1)


def test_a_match_counts_by_the_true_nucleus_and_a_false_positive_by_its_own_area():
    counts = sizes([(0, 100), (1000, 1080)], [(0, 150), (3000, 3150)])  # the first is found (IoU 2/3), drawn too large
    small, middle = counts.scores(0), counts.scores(1)
    assert small["true nuclei"] == 2
    assert (small["true positives@0.50"], small["false negatives@0.50"], small["false positives@0.50"]) == (1, 1, 0)
    assert (middle["true nuclei"], middle["true positives@0.50"], middle["false positives@0.50"]) == (0, 0, 1)
    assert small["recall@0.50"] == small["recall@0.65"] == 0.5
    assert small["object F1@0.50"] == 2 / 3
    # Above its IoU the large drawing is a false positive, and 150 pixels large.
    assert (small["recall@0.70"], middle["object F1@0.70"]) == (0, 0)
    assert counts.false_positives[10:20] == (1, 1, 1, 1, 2, 2, 2, 2, 2, 2)
    assert small["DSB score"] == pytest.approx(4 / 10 * 1 / 2)


def test_an_empty_bin():
    scores = sizes([(0, 100)], [(0, 100)]).scores(3)
    assert scores["DSB score"] == 1
    assert math.isnan(scores["recall@0.50"])


@pytest.mark.parametrize("kind", ["random", "real"])
def test_the_bins_add_up_to_all_nuclei(request, kind):
    tables = [overlap_table(*pair) for pair in request.getfixturevalue(f"{kind}_pairs")]
    for table in tables:
        counts, objects = size_counts(table), object_counts(table)
        assert sum(counts.truths) == objects.truths
        assert tuple(np.reshape(counts.true_positives, (-1, 10)).sum(axis=0)) == objects.true_positives
        assert tuple(np.reshape(counts.false_positives, (-1, 10)).sum(axis=0)) == objects.false_positives
    pooled = pool([size_counts(table) for table in tables])
    truths = np.concatenate([table.truth_areas for table in tables])
    assert pooled.truths == tuple(np.bincount(np.searchsorted(AREA_EDGES, truths), minlength=len(SIZES)))
