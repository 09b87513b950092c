"""Plots: they are drawn, in the colours of the modalities, without a display."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from nucleus.visualization.colors import MODALITY_COLORS
from nucleus.visualization.plots import sizes_and_counts
from nucleus.visualization.statistics import ModalityData


def data(modalities: list[str]) -> dict[str, ModalityData]:
    rng = np.random.default_rng(0)
    return {
        name: ModalityData(
            rng.choice([256, 360], 20), rng.choice([256, 320], 20), rng.integers(0, 99, 20), rng.uniform(20, 900, 200)
        )
        for name in modalities
    }


def test_every_modality_shows_in_its_colour() -> None:
    picture = sizes_and_counts(data(list(MODALITY_COLORS)), "title")
    assert picture.dtype == np.uint8 and picture.ndim == 3 and picture.shape[2] == 3
    for color in MODALITY_COLORS.values():
        drawn = 0.8 * np.array(color) + 0.2 * 255  # the bars' opacity
        assert (np.abs(picture - drawn).max(axis=2) < 3).sum() > 300


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"a user's own": ModalityData(np.array([9]), np.array([9]), np.array([0]), np.zeros(0))},
        {"many sizes": ModalityData(np.arange(1, 40), np.arange(1, 40), np.ones(39, int), np.ones(39))},
    ],
)
def test_odd_sets_are_drawn(values: dict[str, ModalityData]) -> None:
    assert sizes_and_counts(values).std() > 1


def test_no_display_and_no_pyplot_is_needed() -> None:
    code = """
import sys
from nucleus.visualization.plots import sizes_and_counts
sizes_and_counts({})
sys.exit("matplotlib.pyplot" in sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", code], env={"PATH": ""}).returncode == 0
