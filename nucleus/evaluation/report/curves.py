"""The charts of a report: object F1 against IoU, precision against recall, and how the images' scores spread."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from nucleus.evaluation.matching import IOU_THRESHOLDS
from nucleus.evaluation.report.chart import DASHES, Chart, Point, Series
from nucleus.evaluation.report.facts import Intervals, number, words
from nucleus.evaluation.report.precision_recall import precision_recall
from nucleus.evaluation.summary import OVERALL, ScoredImage, Summary, by_modality
from nucleus.evaluation.threshold import THRESHOLDS, RankedNuclei, counts_by_threshold
from nucleus.visualization.colors import Rgb, group_colors

GROUPS = 7  # lines of a chart beside the one of all images; the colours are distinct up to seven
CURVES_AT = (0.5, 0.7, 0.9)  # IoU thresholds of the precision-recall curves
CURVE_COLORS: tuple[Rgb | None, ...] = (None, (0, 114, 178), (213, 94, 0))
POINTS = 240  # of a curve at the most: a third of the pixels it is wide
CHUNK = 2_000  # images whose counts at all thresholds are held at once: 18 MB
ISO_F1 = (0.2, 0.4, 0.6, 0.8)


def f1_chart(summaries: Mapping[str, Summary], intervals: Intervals | None) -> Chart:
    """Object F1 (image mean) against the IoU that a match must exceed, a line a kind of image."""
    names = [f"object F1@{threshold:.2f}" for threshold in IOU_THRESHOLDS]
    known = (intervals or {}).get(OVERALL, {}).get("image_mean", {})
    band = [(at, *known[name]) for at, name in zip(IOU_THRESHOLDS, names, strict=True) if name in known]
    series = []
    for group, color, dash in _styles(summaries):
        values = [summaries[group].image_mean[name] for name in names]
        points = list(zip(IOU_THRESHOLDS, values, strict=True))
        own_band = band if group == OVERALL and len(band) == len(names) else ()
        series.append(Series(words(group), points, color, dash, own_band, every_point=True))
    rows = [[f"{at:.2f}", *(number(one.points[place][1]) for one in series)] for place, at in enumerate(IOU_THRESHOLDS)]
    overall = summaries[OVERALL].image_mean
    return Chart(
        name="f1-curve",
        title="Object F1 against IoU",
        note="Image mean of object F1 at each IoU threshold: how far the outlines can be trusted, not only the finds."
        + (" The shade is the 95 % interval over all images." if series[0].band else ""),
        description=f"Object F1 of all images falls from {number(overall[names[0]])} at IoU 0.50 to "
        f"{number(overall[names[-1]])} at IoU 0.95; the numbers by kind of image are in the table below.",
        x_label="IoU that a match must exceed",
        y_label="object F1 (image mean)",
        x_range=(0.5, 0.95),
        x_ticks=(0.5, 0.6, 0.7, 0.8, 0.9),
        series=list(reversed(series)),  # that of all images on top
        header=["IoU", *(one.name for one in series)],
        rows=rows,
    )


def precision_recall_chart(summaries: Mapping[str, Summary], ranked: Sequence[RankedNuclei]) -> Chart:
    """Precision against recall: curves over the scores where there are any, else the points of the label images."""
    if any(image.scores.size for image in ranked):
        return _curves_over_scores(summaries[OVERALL], ranked)
    series = []
    for group, color, dash in _styles(summaries):
        counts = summaries[group].counts
        points = [_operating_point(counts, threshold) for threshold in IOU_THRESHOLDS]
        marked = [(points[0], f"{words(group)} at IoU 0.50: recall {points[0][0]:.3f}, precision {points[0][1]:.3f}")]
        series.append(Series(words(group), points, color, dash, marked=marked))
    rows = [[one.name, *(f"{one.points[at][1]:.3f} / {one.points[at][0]:.3f}" for at in (0, 4, 8))] for one in series]
    return _precision_recall_chart(
        "Pooled over all nuclei. The predictions carry no scores, so that each has one point, at IoU > 0.50; its line "
        "goes on to where it falls as matches must exceed an IoU of 0.55 to 0.95.",
        list(reversed(series)),
        ["precision / recall", "IoU > 0.50", "IoU > 0.70", "IoU > 0.90"],
        rows,
    )


def threshold_chart(
    images: Sequence[ScoredImage],
    summaries: Mapping[str, Summary],
    ranked: Sequence[RankedNuclei],
    score_threshold: float | None,
) -> Chart:
    """The DSB score (image mean) against the score threshold, a line a kind of image."""
    chunks = (ranked[start : start + CHUNK] for start in range(0, len(ranked), CHUNK))
    dsb_scores = np.concatenate([counts_by_threshold(chunk).dsb_score for chunk in chunks], axis=1)  # (T, images)
    positions = by_modality([image.modality for image in images])
    series = []
    for group, color, dash in _styles(summaries):
        means = dsb_scores[:, positions[group]].mean(axis=1).tolist()
        series.append(Series(words(group), list(zip(THRESHOLDS, means, strict=True)), color, dash))
    best = int(np.argmax([value for _, value in series[0].points]))
    at, value = series[0].points[best]
    if score_threshold is not None:
        score = summaries[OVERALL].image_mean["DSB score"]
        says = f"scored here: {number(score)} at the score threshold {score_threshold:g}"
        series[0] = replace(series[0], marked=[((score_threshold, score), says)])
    return Chart(
        name="threshold",
        title="DSB score against score threshold",
        note="What the DSB score (image mean) would be with another score threshold."
        + ("" if score_threshold is None else f" The dot is the one used here, {score_threshold:g}.")
        + " A threshold is to be chosen on a validation set: the best place on this curve says nothing about new"
        " images.",
        description=f"The DSB score of all images is highest, {number(value)}, at the score threshold {at:g}.",
        x_label="score threshold",
        y_label="DSB score (image mean)",
        x_range=(0.0, 1.0),
        x_ticks=(0, 0.2, 0.4, 0.6, 0.8, 1),
        series=list(reversed(series)),
        header=["score threshold", *(one.name for one in series)],
        rows=[
            [f"{at:.2f}", *(number(one.points[place][1]) for one in series)]
            for place, at in enumerate(THRESHOLDS)
            if place % 10 == 0 or place == best
        ],
    )


def spread_chart(images: Sequence[ScoredImage], summaries: Mapping[str, Summary]) -> Chart:
    """The share of the images that reach a DSB score, a line a kind of image."""
    dsb_scores = np.array([image.scores.objects.dsb_score for image in images])
    positions = by_modality([image.modality for image in images])
    levels = np.linspace(0, 1, 101)
    series, rows = [], []
    for group, color, dash in _styles(summaries):
        values = np.sort(dsb_scores[positions[group]])
        reached = (1 - np.searchsorted(values, levels - 1e-12) / values.size).tolist()
        before = zip(levels[1:].tolist(), reached[:-1], strict=True)  # a step stays level up to the next place
        steps = sorted([*zip(levels.tolist(), reached, strict=True), *before], key=lambda point: (point[0], -point[1]))
        series.append(Series(words(group), steps, color, dash))
        rows.append([words(group), *(number(float(value)) for value in np.quantile(values, (0, 0.25, 0.5, 0.75, 1)))])
    return Chart(
        name="spread",
        title="How the images spread",
        note="The share of the images whose DSB score is at least as high as the place below.",
        description=f"Half of all images reach a DSB score of {rows[0][3]}; the quartiles are in the table below.",
        x_label="DSB score of an image",
        y_label="share of the images",
        x_range=(0.0, 1.0),
        x_ticks=(0, 0.2, 0.4, 0.6, 0.8, 1),
        series=list(reversed(series)),
        header=["DSB score", "lowest", "first quarter", "median", "third quarter", "highest"],
        rows=rows,
    )


def _curves_over_scores(overall: Summary, ranked: Sequence[RankedNuclei]) -> Chart:
    series, rows = [], []
    for threshold, color, dash in zip(CURVES_AT, CURVE_COLORS, DASHES, strict=False):
        scores, recall, precision = precision_recall(ranked, threshold)
        point = _operating_point(overall.counts, threshold)
        says = f"the nuclei scored here, IoU > {threshold:.2f}: recall {point[0]:.3f}, precision {point[1]:.3f}"
        curve = _thin(list(zip(recall.tolist(), precision.tolist(), strict=True)))
        series.append(Series(f"IoU > {threshold:.2f}", curve, color, dash, marked=[(point, says)]))
        for level in (0.9, 0.7, 0.5, 0.3, 0.1):
            reached = int(np.searchsorted(-scores, -level, side="right")) - 1  # the lowest score still at the level
            if reached >= 0:
                rows.append([f"IoU > {threshold:.2f}", f"{level:.1f}", number(float(precision[reached])),
                             number(float(recall[reached]))])  # fmt: skip
    return _precision_recall_chart(
        "All predicted nuclei from the highest score down, each pixel with one owner, pooled over images; not "
        "interpolated. The dots are the nuclei scored in this report.",
        list(reversed(series)),
        ["match", "score of at least", "precision", "recall"],
        rows,
    )


def _precision_recall_chart(note: str, series: list[Series], header: list[str], rows: list[list[str]]) -> Chart:
    recalls = np.linspace(0, 1, 101)
    isolines = []
    for f1 in ISO_F1:
        reached = recalls[recalls > f1 / (2 - f1)]  # precision is at most 1
        points = [(float(recall), float(f1 * recall / (2 * recall - f1))) for recall in reached]
        isolines.append((f"F1 {f1:g}", points))
    return Chart(
        name="precision-recall",
        title="Precision against recall",
        note=note + " Faint lines join points of equal object F1.",
        description="Precision and recall; the numbers are in the table below.",
        x_label="recall: true nuclei that are found",
        y_label="precision: predictions that are right",
        x_range=(0.0, 1.0),
        x_ticks=(0, 0.2, 0.4, 0.6, 0.8, 1),
        series=series,
        isolines=isolines,
        header=header,
        rows=rows,
    )


def _operating_point(counts: Mapping[str, int], threshold: float) -> Point:
    """Recall and precision of label images; 1 where there was nothing to find, or nothing predicted."""
    matched = counts[f"true positives@{threshold:.2f}"]
    truths, predictions = counts["true nuclei"], counts["predicted nuclei"]
    return matched / truths if truths else 1.0, matched / predictions if predictions else 1.0


def _styles(summaries: Mapping[str, Summary]) -> list[tuple[str, Rgb | None, str]]:
    """Name, colour and dash of all images and of the kinds with the most images."""
    groups = sorted((name for name in summaries if name != OVERALL), key=lambda name: -summaries[name].images)[:GROUPS]
    colors = group_colors(groups)
    return [(OVERALL, None, ""), *((name, colors[name], DASHES[1 + place % 4]) for place, name in enumerate(groups))]


def _thin(points: list[Point]) -> list[Point]:
    """At most POINTS of a curve, first and last among them, at even distances along its order."""
    if len(points) <= POINTS:
        return points
    return [points[place] for place in np.linspace(0, len(points) - 1, POINTS).round().astype(int)]
