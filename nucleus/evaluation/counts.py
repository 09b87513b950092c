"""Counts of one image, from which scores follow, and their sums over many images.

A score is a property of its counts. Its value over images is then taken in two ways: the *image mean* is the mean of
the scores of the images, so that every image weighs the same; the *pooled* value is the score of the summed counts, so
that every nucleus (or pixel) weighs the same.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import fields, is_dataclass
from typing import Any, TypeVar

import numpy as np

Counts = TypeVar("Counts")


def share(part: Any, whole: Any) -> Any:
    """part / whole, and 1 where nothing was there to find and nothing was found (whole is 0).

    Args:
        part: a number, or an array of them: counts of many resamples (see `nucleus.evaluation.count_matrix`).
        whole: likewise.

    Returns:
        A float, or float64 of their shape.
    """
    if isinstance(whole, np.ndarray):
        return np.divide(part, whole, out=np.ones(whole.shape), where=whole != 0)
    return part / whole if whole else 1.0


def mean(values: Sequence[Any]) -> Any:
    """Mean of numbers, summed without rounding between the steps, or of arrays, element by element."""
    if isinstance(values[0], np.ndarray):
        return np.mean(values, axis=0)
    return math.fsum(values) / len(values)


def pool(counts: Sequence[Counts]) -> Counts:
    """Sum the counts of several images, field by field.

    Fractions are summed without rounding between the steps (`math.fsum`), so that neither the order of the images nor
    a division into pieces changes the last digit.

    Args:
        counts: at least one instance of one frozen dataclass whose fields are int, float, tuples of int or such
            dataclasses.

    Returns:
        One instance with the sums.
    """
    kind: Any = type(counts[0])
    return kind(*(_sum([getattr(one, field.name) for one in counts]) for field in fields(kind)))


def _sum(values: list[Any]) -> Any:
    first = values[0]
    if is_dataclass(first):
        return pool(values)
    if isinstance(first, tuple):
        return tuple(sum(column) for column in zip(*values, strict=True))
    return math.fsum(values) if isinstance(first, float) else sum(values)
