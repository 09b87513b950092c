from __future__ import annotations

import numpy as np

from nucleus.evaluation.image_scores import score_image
from nucleus.evaluation.strata import density_strata, summarize_densities
from nucleus.evaluation.summary import ScoredImage


def image(name: str, nuclei: int, pixels: int) -> ScoredImage:
    labels = np.zeros((1, pixels), dtype=int)
    labels[0, 1 : 2 * nuclei : 2] = np.arange(1, nuclei + 1)
    return ScoredImage(name, "unknown", score_image(labels, labels))


def test_by_hand():
    images = [image("a", 10, 100_000), image("b", 11, 11_000), image("c", 0, 10), image("d", 101, 101_000)]
    assert density_strata(images) == {
        "true nuclei an image": {"to 10": [0, 2], "10 to 30": [1], "above 100": [3]},
        "true nuclei a megapixel": {"to 250": [0, 2], "500 to 1000": [1, 3]},
    }
    summaries = summarize_densities(images)
    assert [one.images for one in summaries["true nuclei an image"].values()] == [2, 1, 1]
    assert summaries["true nuclei a megapixel"]["500 to 1000"].counts["true nuclei"] == 112
