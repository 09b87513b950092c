"""Pictures of an evaluation: truth, prediction and errors of a few images, from the worst to the best."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from nucleus.evaluation.matching import matched_pairs
from nucleus.evaluation.object_scores import object_counts
from nucleus.formats.image import read_image
from nucleus.masks.overlap import overlap_table
from nucleus.visualization.panel import prediction_panel

MATCHED_ABOVE = 0.5  # IoU


def worst_to_best(scores: Sequence[float], count: int) -> list[int]:
    """Choose images evenly spaced in rank: the worst, the best, and `count` - 2 between.

    Args:
        scores: one an image, higher is better.
        count: how many to choose; all are chosen where there are no more.

    Returns:
        Positions in `scores`, worst first; of equal scores the earlier first.
    """
    ranked = np.argsort(np.asarray(scores, dtype=np.float64), kind="stable")
    places = np.linspace(0, len(ranked) - 1, min(count, len(ranked))).round().astype(int)
    return ranked[places].tolist()


def error_panel(image_file: str | Path, truth: np.ndarray, prediction: np.ndarray, name: str) -> np.ndarray:
    """Draw one image, its truth, its prediction and the errors; a match has an IoU above 0.5.

    Args:
        image_file: the image.
        truth: integers (H, W), 0 background.
        prediction: integers (H, W), 0 background.
        name: stands in the title, before the DSB score.

    Returns:
        uint8 (h, w, 3), RGB.

    Raises:
        InputError: the image cannot be read.
    """
    table = overlap_table(truth, prediction)
    pairs = matched_pairs(table, MATCHED_ABOVE)
    return prediction_panel(
        read_image(image_file),
        truth,
        prediction,
        table.truth_ids[table.truth_index[pairs]].tolist(),
        table.prediction_ids[table.prediction_index[pairs]].tolist(),
        title=f"{name}: DSB score {object_counts(table).dsb_score:.3f}",
    )
