from __future__ import annotations

import numpy as np

from nucleus.evaluation.count_matrix import count_matrix, scores_of_counts
from nucleus.evaluation.counts import pool
from nucleus.evaluation.image_scores import SCORES, score_image


def test_every_score_of_rows_and_of_sums_is_that_of_the_counts(random_pairs):
    """Among the pairs are images without any nucleus on one side, or on both."""
    images = [score_image(*pair) for pair in random_pairs]
    counts = count_matrix(images)
    for found, image in zip(scores_of_counts(counts, images[0]), images, strict=True):
        np.testing.assert_allclose(found, [score(image) for score in SCORES.values()], rtol=0, atol=1e-15)
    sums = np.array([counts[:50].sum(axis=0), counts.sum(axis=0)])
    for found, pooled in zip(scores_of_counts(sums, images[0]), (pool(images[:50]), pool(images)), strict=True):
        np.testing.assert_allclose(found, [score(pooled) for score in SCORES.values()], rtol=0, atol=1e-15)


def test_counts_are_numbers_in_the_order_of_the_fields():
    image = score_image(np.array([[1, 1, 0, 2]]), np.array([[1, 1, 0, 0]]))
    objects, pixels = [2, 1, *[1] * 10], [2, 3, 2]
    assert count_matrix([image])[0, :15].tolist() == objects + pixels
