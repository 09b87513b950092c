"""Truth, prediction and errors of one image side by side."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np

from nucleus.visualization.canvas import (
    GAP,
    INK,
    SWATCH,
    above,
    beside,
    framed,
    line_of_text,
    resized,
    save_picture,
)
from nucleus.visualization.colors import FALSE, MATCHED, MISSED, TRUTH, Rgb
from nucleus.visualization.overlay import for_display, outline, overlay_outlines

SIDE = 512  # pixels of the longer side of one picture of a panel
DIMMED = 0.5  # brightness of the image under the errors
TINT = 0.45  # opacity of missed and false nuclei
LINE = 2  # pixels of an outline's width


def prediction_panel(
    image: np.ndarray,
    truth: np.ndarray,
    prediction: np.ndarray,
    matched_truth: Collection[int],
    matched_prediction: Collection[int],
    title: str = "",
    side: int = SIDE,
) -> np.ndarray:
    """Show an image, the outlines of its truth, those of the prediction, and the errors, with a legend below.

    Dark images are shown brighter. In the errors every matched nucleus has its predicted outline, missed ones (truth
    without a match) and false ones (prediction without one) are filled as well.

    Args:
        image: uint8 or uint16, (H, W) or (H, W, C).
        truth: integers (H, W), 0 background.
        prediction: integers (H, W), 0 background.
        matched_truth: labels of the truth that a prediction matches.
        matched_prediction: labels of the prediction that match a truth.
        title: a line above; empty for none.
        side: pixels of the longer side of each of the four pictures; images are enlarged or shrunk to it.

    Returns:
        uint8 (h, w, 3), RGB.

    Raises:
        ValueError: the shapes differ.
    """
    if not image.shape[:2] == truth.shape == prediction.shape:
        raise ValueError(f"expected one shape, got image {image.shape}, truth {truth.shape}, "
                         f"prediction {prediction.shape}")  # fmt: skip
    missed = np.where(np.isin(truth, list(matched_truth)), 0, truth)
    matches = np.isin(prediction, list(matched_prediction))
    matched, false = np.where(matches, prediction, 0), np.where(matches, 0, prediction)
    legend = line_of_text(error_legend(*(_count(labels) for labels in (matched, missed, false))))

    bright = for_display(image)
    shown, large_truth = resized(bright, truth, side)
    large_prediction, large_matched, large_missed, large_false = (
        resized(bright, labels, side)[1] for labels in (prediction, matched, missed, false)
    )
    pictures = {
        "image": shown,
        f"truth: {_count(truth)} nuclei": overlay_outlines(shown, large_truth, TRUTH, width=LINE),
        f"prediction: {_count(prediction)} nuclei": overlay_outlines(shown, large_prediction, width=LINE),
        "errors": error_picture(shown, large_matched, large_missed, large_false),
    }
    columns = [above(line_of_text(caption, width=picture.shape[1]), picture) for caption, picture in pictures.items()]
    panel = above(beside(*columns), legend, gap=GAP)
    return above(line_of_text(title, size=18, bold=True, width=panel.shape[1]), panel) if title else panel


def error_picture(image: np.ndarray, matched: np.ndarray, missed: np.ndarray, false: np.ndarray) -> np.ndarray:
    """Draw matched, missed and false nuclei in their colours over the image in dimmed grey.

    Args:
        image: uint8 (H, W, 3), RGB.
        matched: integers (H, W): nuclei to outline in MATCHED.
        missed: integers (H, W): nuclei to fill and outline in MISSED.
        false: integers (H, W): nuclei to fill and outline in FALSE; they cover missed ones.

    Returns:
        uint8 (H, W, 3), RGB.
    """
    grey = np.repeat(image.astype(np.float32).mean(axis=2, keepdims=True) * DIMMED, 3, axis=2)
    canvas = grey.copy()
    filled: list[tuple[np.ndarray, Rgb]] = [(missed, MISSED), (false, FALSE)]
    for labels, color in filled:
        inside = labels != 0
        canvas[inside] = grey[inside] * (1 - TINT) + np.asarray(color, dtype=np.float32) * TINT
    for labels, color in [(matched, MATCHED), *filled]:
        canvas[outline(labels, LINE)] = color
    return np.rint(canvas).astype(np.uint8)


def error_legend(matched: int, missed: int, false: int) -> list[tuple[str, Rgb]]:
    """The pieces of a legend line: a swatch and a word with its number for each of the three colours."""
    entries = [(MATCHED, f" matched: {matched}     "), (MISSED, f" missed: {missed}     "), (FALSE, f" false: {false}")]
    return [piece for color, words in entries for piece in ((SWATCH, color), (words, INK))]


def save_panels(path: str | Path, panels: Sequence[np.ndarray], title: str = "") -> Path:
    """Stack panels into one picture file.

    Args:
        path: ends in .png (or .jpg).
        panels: uint8 (H, W, 3) each, RGB; at least one.
        title: a line above all; empty for none.

    Returns:
        The path.

    Raises:
        ValueError: there are no panels.
        OSError: the file cannot be written.
    """
    if not panels:
        raise ValueError("expected at least one panel, got none")
    stacked = above(*panels, gap=3 * GAP)
    if title:
        stacked = above(line_of_text(title, size=22, bold=True, width=stacked.shape[1]), stacked, gap=GAP)
    return save_picture(path, framed(stacked))


def _count(labels: np.ndarray) -> int:
    return int(np.count_nonzero(np.unique(labels)))
