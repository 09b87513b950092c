"""Colours of labels."""

from __future__ import annotations

import colorsys
from itertools import pairwise

import numpy as np

from nucleus.visualization.colors import (
    FALSE,
    MATCHED,
    MISSED,
    colored_labels,
    group_colors,
    hex_color,
    label_colors,
    modality_color,
)


def test_a_label_has_one_colour_whatever_else_is_there() -> None:
    alone, among = label_colors(np.array([7])), label_colors(np.arange(1, 400))
    assert (alone[0] == among[6]).all()
    assert alone.dtype == np.uint8 and among.shape == (399, 3)


def test_no_labels_and_background() -> None:
    assert label_colors(np.zeros(0, dtype=int)).shape == (0, 3)
    assert label_colors(np.array([0])).tolist() == [[0, 0, 0]]


def test_successive_labels_are_far_apart() -> None:
    colors = label_colors(np.arange(1, 376)).astype(int)
    for step in (1, 2):
        assert np.abs(colors[step:] - colors[:-step]).sum(axis=1).min() > 60


def test_colours_are_bright_and_never_blue_or_violet() -> None:
    for red, green, blue in label_colors(np.arange(1, 2000)) / 255:
        hue, _, value = colorsys.rgb_to_hsv(red, green, blue)
        assert value == 1
        assert not 0.61 < hue < 0.82


def test_a_painted_label_image() -> None:
    labels = np.array([[0, 5], [5, 90_000]])
    painted = colored_labels(labels)
    assert painted[0, 0].tolist() == [0, 0, 0]
    assert (painted[0, 1] == painted[1, 0]).all()
    assert (painted[1, 1] == label_colors(np.array([90_000]))[0]).all()
    assert painted.shape == (2, 2, 3) and painted.dtype == np.uint8


def test_the_error_colours_differ_in_brightness_too() -> None:
    """So that they stay apart in grey, and without red or green."""
    luminance = sorted(0.2126 * r + 0.7152 * g + 0.0722 * b for r, g, b in (MATCHED, MISSED, FALSE))
    assert all(bright - dark > 40 for dark, bright in pairwise(luminance))


def test_every_modality_has_a_colour() -> None:
    assert modality_color("purple_tissue") != modality_color("small_fluorescent")
    assert len(modality_color("something of a user's own")) == 3


def test_groups_of_a_plot_have_colours_of_their_own() -> None:
    names = ["confocal", "purple_tissue", "widefield", "a", "b", "c", "d"]
    colors = group_colors(names)
    assert list(colors) == names and len(set(colors.values())) == 7
    assert colors["purple_tissue"] == modality_color("purple_tissue")
    assert len(group_colors([str(number) for number in range(20)])) == 20


def test_a_colour_as_css_writes_it() -> None:
    assert hex_color((0, 128, 255)) == "#0080ff"
