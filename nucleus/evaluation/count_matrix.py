"""The counts of many images as one matrix, so that the scores of thousands of sums of them are array operations."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import fields, is_dataclass, replace
from typing import Any

import numpy as np

from nucleus.evaluation.image_scores import SCORES, ImageScores

PARTS = ("objects", "pixels", "aji", "panoptic", "seed_protocol")  # of ImageScores; SCORES looks at no other


def count_matrix(images: Sequence[ImageScores]) -> np.ndarray:
    """Lay the counts of each image out in a row.

    Args:
        images: N, at least one.

    Returns:
        float64 (N, C): every number in PARTS, in their order. Whole numbers stay exact.
    """
    return np.array([[*_numbers([getattr(image, part) for part in PARTS])] for image in images], dtype=np.float64)


def scores_of_counts(counts: np.ndarray, like: ImageScores) -> np.ndarray:
    """Take every score from many rows of counts at once.

    Args:
        counts: float64 (R, C), rows of `count_matrix` or sums of such rows.
        like: any image, which says what the columns are.

    Returns:
        float64 (R, S): the S scores of SCORES, in its order.
    """
    columns = iter(np.ascontiguousarray(counts.T))
    scores = replace(like, **{part: _rebuild(getattr(like, part), columns) for part in PARTS})
    return np.stack([score(scores) for score in SCORES.values()], axis=1)


def _numbers(value: Any) -> Iterator[float]:
    if is_dataclass(value):
        for field in fields(value):
            yield from _numbers(getattr(value, field.name))
    elif isinstance(value, tuple | list):
        for inner in value:
            yield from _numbers(inner)
    else:
        yield value


def _rebuild(like: Any, columns: Iterator[np.ndarray]) -> Any:
    """Counts with an array of R numbers in place of each number."""
    if is_dataclass(like):
        kind: Any = type(like)
        return kind(*(_rebuild(getattr(like, field.name), columns) for field in fields(like)))
    if isinstance(like, tuple):
        return tuple(_rebuild(inner, columns) for inner in like)
    return next(columns)
