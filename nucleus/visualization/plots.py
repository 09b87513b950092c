"""Sizes of the images and numbers and areas of the nuclei of a data set, as plots."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes

from nucleus.visualization.colors import modality_color
from nucleus.visualization.figure import Figure, pixels_of
from nucleus.visualization.statistics import ModalityData

INCHES = (15.0, 4.8)
DPI = 110
SIZES = 10  # the most frequent image sizes, which get a bar each


def sizes_and_counts(data: Mapping[str, ModalityData], title: str = "") -> np.ndarray:
    """Plot image sizes, nuclei an image and nucleus areas by modality.

    Args:
        data: from `nucleus.visualization.statistics.by_modality`.
        title: above the plots.

    Returns:
        uint8 (H, W, 3), RGB.
    """
    figure = Figure(figsize=INCHES, dpi=DPI, layout="constrained")
    sizes, counts, areas = figure.subplots(1, 3)
    _plot_sizes(sizes, data)
    _plot_boxes(counts, {name: one.counts for name, one in data.items()}, "nuclei an image (the number: median)")
    _plot_boxes(
        areas, {name: one.areas for name, one in data.items()}, "area of a nucleus [pixels] (the number: median)"
    )
    return pixels_of(figure, title)


def _plot_sizes(axes: Axes, data: Mapping[str, ModalityData]) -> None:
    """A bar for each of the most frequent sizes, in pieces by modality; the other sizes share the last bar."""
    sizes = {name: Counter(zip(one.heights.tolist(), one.widths.tolist(), strict=True)) for name, one in data.items()}
    total = sum(sizes.values(), Counter())
    frequent = [size for size, _ in total.most_common(SIZES)]
    left = np.zeros(len(frequent) + 1)
    for name, counter in sizes.items():
        images = [counter[size] for size in frequent]
        images.append(counter.total() - sum(images))
        color = np.array(modality_color(name)) / 255
        axes.barh(range(len(images)), images, left=left, height=0.7, color=color, alpha=0.8, label=_words(name))
        left += images
    names = [f"{height} x {width}" for height, width in frequent] + ["other"]
    axes.set_yticks(range(len(names)), names)
    for position, bar_end in enumerate(left.tolist()[: None if left[-1] else -1]):
        axes.text(bar_end, position, f" {bar_end:.0f}", va="center", fontsize=8)
    axes.set_xlim(0, 1.12 * max(left.max(), 1))
    axes.set_ylim(-0.6, len(frequent) + (0.6 if left[-1] or not frequent else -0.4))  # "other" only where there are any
    axes.invert_yaxis()
    axes.set_title("images by height x width [pixels]", fontsize=10)
    axes.grid(axis="x", alpha=0.25)
    if data:
        axes.legend(fontsize=8, loc="lower right")


def _plot_boxes(axes: Axes, values: Mapping[str, np.ndarray], title: str) -> None:
    """A box a modality on a logarithmic scale: quartiles, with whiskers to the extremes; the number is the median."""
    names = [name for name, one in values.items() if (one > 0).any()]
    if not names:
        axes.set_axis_off()
        return
    for position, name in enumerate(names):
        least, first, middle, third, most = np.percentile(values[name][values[name] > 0], (0, 25, 50, 75, 100))
        axes.hlines(position, least, most, color="black", linewidth=1)
        axes.vlines((least, most), position - 0.15, position + 0.15, color="black", linewidth=1)
        color = np.array(modality_color(name)) / 255
        axes.barh(position, third - first, left=first, height=0.6, color=color, edgecolor="black", zorder=2)
        axes.vlines(middle, position - 0.3, position + 0.3, color="black", linewidth=2)
        axes.text(most, position, f" {middle:.4g}", va="center", fontsize=8)
    axes.set_yticks(range(len(names)), [_words(name) for name in names])
    axes.set_xscale("log")
    axes.margins(x=0.12)
    axes.invert_yaxis()
    axes.set_title(title, fontsize=10)
    axes.grid(axis="x", which="both", alpha=0.25)


def _words(modality: str) -> str:
    return modality.replace("_", " ")
