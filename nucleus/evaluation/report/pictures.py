"""Pictures of a few images, small enough for one page: truth, prediction and errors of the worst and the median."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image

from nucleus.evaluation.matching import exceeds, matched_pairs
from nucleus.evaluation.splits_merges import SHARED_ABOVE, splits_and_merges
from nucleus.evaluation.summary import ScoredImage
from nucleus.masks.overlap import OverlapTable, overlap_table
from nucleus.visualization.canvas import resized
from nucleus.visualization.colors import TRUTH, colored_labels
from nucleus.visualization.error_map import LINE, Errors, error_map
from nucleus.visualization.overlay import for_display, outline

SIDE = 720  # pixels of the longer side of a picture: twice what a third of a page is wide
WINDOW = 1440  # pixels; of a larger image the part with the most errors is shown
BLOCK = 16  # pixels; the part is looked for in steps of this
BYTES = 130_000  # of one picture at the most, so that a page stays below 5 MB
GROUND, NUCLEUS = 28, 120  # grey levels where there is no image to draw on


@dataclass(frozen=True, eq=False)
class LabelPair:
    """What is drawn of one image.

    Attributes:
        truth: integers (H, W), 0 background.
        prediction: integers (H, W), 0 background.
        image: uint8 or uint16, (H, W) or (H, W, C); None where only the labels are known.
    """

    truth: np.ndarray
    prediction: np.ndarray
    image: np.ndarray | None = None


Pictures = Callable[[int], LabelPair]  # from the position of an image among those scored


@dataclass(frozen=True)
class Picture:
    """One picture of the report: an encoded file.

    Attributes:
        kind: "truth", "prediction" or "errors".
        alt: what it shows, in words.
        content: bytes of a JPEG file.
        width: in pixels.
        height: in pixels.
    """

    kind: str
    alt: str
    content: bytes
    width: int
    height: int

    @property
    def data_uri(self) -> str:
        """The file inside an address, so that the page asks for nothing."""
        return "data:image/jpeg;base64," + base64.b64encode(self.content).decode("ascii")


@dataclass(frozen=True)
class Example:
    """One image of the report.

    Attributes:
        rank: "worst", "median" ... as the heading says it.
        name: of the image.
        modality: of the image.
        dsb_score: of the image.
        counts: matched, missed, false, splits, merges by name.
        part: which part of a large image is shown; empty for all of it.
        pictures: truth, prediction, errors; none where there are no label images at hand.
    """

    rank: str
    name: str
    modality: str
    dsb_score: float
    counts: dict[str, int]
    part: str
    pictures: tuple[Picture, ...]


def choose(scores: Sequence[float], worst: int, median: int) -> list[tuple[str, int]]:
    """Choose the worst images, and those around the median that are not among them.

    Args:
        scores: one an image, higher is better; of equal ones the earlier is worse.
        worst: how many.
        median: how many.

    Returns:
        Rank in words and position in `scores`, from the worst up.
    """
    ranked = np.argsort(np.asarray(scores, dtype=np.float64), kind="stable").tolist()
    chosen = [
        ("worst" if place == 0 else f"{_ordinal(place + 1)} worst", at) for place, at in enumerate(ranked[:worst])
    ]
    start = max(worst, (len(ranked) - median + 1) // 2)
    return chosen + [("around the median", at) for at in ranked[start : start + median]]


def draw_example(rank: str, image: ScoredImage, pair: LabelPair | None) -> Example:
    """Draw one image.

    Args:
        rank: of the image among all, in words.
        image: its scores.
        pair: its label images; None for words alone.

    Raises:
        ValueError: the shapes differ.
    """
    counts = {
        "true": image.scores.objects.truths,
        "predicted": image.scores.objects.predictions,
        "matched": image.scores.objects.true_positives[0],
        "missed": image.scores.objects.false_negatives[0],
        "false": image.scores.objects.false_positives[0],
        "splits": image.scores.splits_merges.splits,
        "merges": image.scores.splits_merges.merges,
    }
    part, pictures = _draw(pair, image.name, counts) if pair is not None else ("", ())
    return Example(rank, image.name, image.modality, image.scores.objects.dsb_score, counts, part, pictures)


def errors_of(table: OverlapTable) -> Errors:
    """Which labels are right and which are wrong, at IoU > 0.5; splits and merges as `splits_merges` has them."""
    pairs = matched_pairs(table)
    shared = exceeds(table, SHARED_ABOVE)
    split, merging = splits_and_merges(table)
    in_split = shared & np.isin(table.truth_index, split)
    in_merge = shared & np.isin(table.prediction_index, merging)
    return Errors(
        matched_truth=table.truth_ids[table.truth_index[pairs]].tolist(),
        matched_prediction=table.prediction_ids[table.prediction_index[pairs]].tolist(),
        split_truth=table.truth_ids[split].tolist(),
        pieces=table.prediction_ids[table.prediction_index[in_split]].tolist(),
        merged_truth=table.truth_ids[table.truth_index[in_merge]].tolist(),
        merging_prediction=table.prediction_ids[merging].tolist(),
    )


def _draw(pair: LabelPair, name: str, counts: dict[str, int]) -> tuple[str, tuple[Picture, ...]]:
    errors = errors_of(overlap_table(pair.truth, pair.prediction))
    rows, columns = _window(pair, errors)
    truth, prediction = pair.truth[rows, columns], pair.prediction[rows, columns]
    height, width = pair.truth.shape
    cut = truth.shape != (height, width)
    part = f"{truth.shape[0]} x {truth.shape[1]} of {height} x {width} pixels, where most is wrong" if cut else ""
    bright = None if pair.image is None else for_display(pair.image[rows, columns])
    ground = np.zeros((*truth.shape, 3), dtype=np.uint8) if bright is None else bright
    shown, large_truth = resized(ground, truth, SIDE)
    large_prediction = resized(ground, prediction, SIDE)[1]

    def on(labels: np.ndarray) -> np.ndarray:
        return shown if bright is not None else _plain(labels)

    drawn = {
        "truth": _outlined(on(large_truth), large_truth, np.array(TRUTH)),
        "prediction": _outlined(on(large_prediction), large_prediction, colored_labels(large_prediction)),
        "errors": error_map(on((large_truth > 0) | (large_prediction > 0)), large_truth, large_prediction, errors),
    }
    alts = {
        "truth": f"{name} with the outlines of its {counts['true']} true nuclei",
        "prediction": f"{name} with the outlines of {counts['predicted']} predicted nuclei",
        "errors": f"{name}: {counts['matched']} matched, {counts['missed']} missed, {counts['false']} false nuclei, "
        f"{counts['splits']} splits, {counts['merges']} merges",
    }
    return part, tuple(
        Picture(kind, alts[kind], encode(picture), picture.shape[1], picture.shape[0])
        for kind, picture in drawn.items()
    )


def _outlined(picture: np.ndarray, labels: np.ndarray, colors: np.ndarray) -> np.ndarray:
    """Nuclei outlined in one colour, (3,), or in those of a picture, (H, W, 3)."""
    return np.where(outline(labels, LINE)[..., None], colors, picture).astype(np.uint8)


def _plain(labels: np.ndarray) -> np.ndarray:
    """A dark ground with the nuclei in grey, for label images without their image."""
    return np.repeat(np.where(labels > 0, NUCLEUS, GROUND).astype(np.uint8)[..., None], 3, axis=2)


def _window(pair: LabelPair, errors: Errors) -> tuple[slice, slice]:
    """The part of an image to show: all of it, or the WINDOW x WINDOW pixels with the most wrong ones."""
    height, width = pair.truth.shape
    tall, wide = min(height, WINDOW), min(width, WINDOW)
    if (tall, wide) == (height, width):
        return slice(0, height), slice(0, width)
    wrong = (pair.truth != 0) & ~np.isin(pair.truth, list(errors.matched_truth))
    wrong |= (pair.prediction != 0) & ~np.isin(pair.prediction, list(errors.matched_prediction))
    blocks = (-(-height // BLOCK), -(-width // BLOCK))
    share = cv2.resize(wrong.astype(np.float32), blocks[::-1], interpolation=cv2.INTER_AREA)
    sums = cv2.integral(share, sdepth=cv2.CV_64F)
    rows, columns = min(max(1, tall // BLOCK), blocks[0]), min(max(1, wide // BLOCK), blocks[1])
    inside = sums[rows:, columns:] - sums[:-rows, columns:] - sums[rows:, :-columns] + sums[:-rows, :-columns]
    best = np.argwhere(inside >= inside.max() - 1e-6)
    top, left = best[np.square(best - best.mean(axis=0)).sum(axis=1).argmin()] * BLOCK  # the middle one of equals
    top, left = min(int(top), height - tall), min(int(left), width - wide)
    return slice(top, top + tall), slice(left, left + wide)


def encode(picture: np.ndarray, limit: int = BYTES) -> bytes:
    """Encode a picture as JPEG, as well as the limit allows: first the quality gives way, then the size.

    Colours are kept at full resolution, since thin coloured lines are what there is to see.

    Args:
        picture: uint8 (H, W, 3), RGB.
        limit: bytes.

    Returns:
        The file.
    """
    drawn = Image.fromarray(picture)
    while True:
        for quality in (88, 78, 65, 50):
            file = io.BytesIO()
            drawn.save(file, format="JPEG", quality=quality, subsampling=0)
            if file.tell() <= limit or max(drawn.size) <= 64:
                return file.getvalue()
        drawn = drawn.resize((max(1, drawn.width * 3 // 4), max(1, drawn.height * 3 // 4)), Image.Resampling.LANCZOS)


def _ordinal(number: int) -> str:
    endings = {1: "st", 2: "nd", 3: "rd"}
    return f"{number}{'th' if 10 <= number % 100 <= 20 else endings.get(number % 10, 'th')}"
