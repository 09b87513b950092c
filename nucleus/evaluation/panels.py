"""Pictures of an evaluation: truth, prediction and errors of a few images, from the worst to the best."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from nucleus.evaluation.matching import matched_pairs
from nucleus.evaluation.object_scores import object_counts
from nucleus.evaluation.report.pictures import Pictures
from nucleus.evaluation.summary import ScoredImage
from nucleus.masks.overlap import overlap_table
from nucleus.visualization.panel import prediction_panel, save_panels

MATCHED_ABOVE = 0.5  # IoU
NAME_SHOWN = 16  # characters of the name of an image


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


def save_worst_to_best(
    path: str | Path, images: Sequence[ScoredImage], pictures: Pictures, count: int, name: str
) -> None:
    """Draw images from the worst to the best DSB score, one below the other.

    Args:
        path: ends in .png (or .jpg).
        images: what was scored.
        pictures: gives the label images and the image of one of them, by its position.
        count: how many are drawn.
        name: of the data set, for the title.

    Raises:
        InputError: an image cannot be read.
        OSError: the file cannot be written.
    """
    panels = []
    for position in worst_to_best([image.scores.objects.dsb_score for image in images], count):
        pair = pictures(position)
        assert pair.image is not None
        title = f"{Path(images[position].name).stem[:NAME_SHOWN]} ({images[position].modality})"
        panels.append(error_panel(pair.image, pair.truth, pair.prediction, title))
    save_panels(path, panels, f"{name}, from the worst image to the best")


def error_panel(image: np.ndarray, truth: np.ndarray, prediction: np.ndarray, name: str) -> np.ndarray:
    """Draw one image, its truth, its prediction and the errors; a match has an IoU above 0.5.

    Args:
        image: uint8 or uint16, (H, W) or (H, W, C).
        truth: integers (H, W), 0 background.
        prediction: integers (H, W), 0 background.
        name: stands in the title, before the DSB score.

    Returns:
        uint8 (h, w, 3), RGB.
    """
    table = overlap_table(truth, prediction)
    pairs = matched_pairs(table, MATCHED_ABOVE)
    return prediction_panel(
        image,
        truth,
        prediction,
        table.truth_ids[table.truth_index[pairs]].tolist(),
        table.prediction_ids[table.prediction_index[pairs]].tolist(),
        title=f"{name}: DSB score {object_counts(table).dsb_score:.3f}",
    )
