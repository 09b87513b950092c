"""A small evaluation with every kind of error: what all tests of the report start from."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest

from nucleus.evaluation.image_scores import score_image
from nucleus.evaluation.report import LabelPair
from nucleus.evaluation.summary import ScoredImage, Summary, summarize
from nucleus.evaluation.threshold import RankedNuclei, rank_nuclei
from nucleus.masks.overlap import overlap_table


def two_bars() -> LabelPair:
    """60 x 80: one nucleus found, one missed, one split in two halves, two merged into one, one false."""
    truth, prediction = np.zeros((60, 80), np.int32), np.zeros((60, 80), np.int32)
    truth[5:15, 5:15], prediction[5:15, 5:15] = 1, 1  # found
    truth[5:15, 30:40] = 2  # missed
    truth[30:40, 5:25] = 3  # split
    prediction[30:40, 5:15], prediction[30:40, 15:25] = 2, 3
    truth[30:40, 40:50], truth[30:40, 50:60] = 4, 5  # merged
    prediction[30:40, 40:60] = 4
    prediction[50:55, 70:78] = 5  # false
    return LabelPair(truth, prediction)


@dataclass
class Case:
    """What `write_report` takes."""

    images: list[ScoredImage]
    summaries: dict[str, Summary]
    pairs: list[LabelPair]
    ranked: list[RankedNuclei] = field(default_factory=list)


@pytest.fixture(scope="session")
def case() -> Case:
    """Five images of two kinds: the one above, one without any error, and three random ones."""
    pairs = [two_bars(), LabelPair(two_bars().truth, two_bars().truth)]
    for seed in range(3):
        rng = np.random.default_rng(seed)
        truth = np.kron(np.arange(1, 26).reshape(5, 5), np.pad(np.ones((8, 8), int), 2))
        prediction = np.where(rng.random(26)[truth] < 0.8, np.roll(truth, seed + 1, axis=1), 0)
        pairs.append(LabelPair(truth, prediction, rng.integers(0, 256, (60, 60, 3), dtype=np.uint8)))
    kinds = ["purple_tissue", "purple_tissue", "confocal", "confocal", "confocal"]
    images = [
        ScoredImage(f"image_{number}.png", kind, score_image(pair.truth, pair.prediction))
        for number, (pair, kind) in enumerate(zip(pairs, kinds, strict=True))
    ]
    ranked = [
        rank_nuclei(overlap_table(pair.truth, pair.prediction), np.linspace(0.95, 0.3, int(pair.prediction.max())))
        for pair in pairs
    ]
    return Case(images, summarize(images), pairs, ranked)
