"""The charts' lines and their numbers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from nucleus.evaluation.report.curves import POINTS, f1_chart, precision_recall_chart, spread_chart, threshold_chart
from nucleus.evaluation.summary import OVERALL


def test_f1_lines_are_the_scores(case: Any) -> None:
    chart = f1_chart(case.summaries, None)
    assert [series.name for series in chart.series] == ["purple tissue", "confocal", "overall"]  # all images on top
    points = dict(chart.series[-1].points)
    assert points[0.7] == case.summaries[OVERALL].image_mean["object F1@0.70"]
    assert len(chart.rows) == 10 and chart.rows[4][:2] == ["0.70", f"{points[0.7]:.3f}"]
    assert len({series.color for series in chart.series}) == len({series.dash for series in chart.series}) == 3


def test_f1_band_needs_all_intervals(case: Any) -> None:
    names = [f"object F1@{0.5 + 0.05 * step:.2f}" for step in range(10)]
    whole = {OVERALL: {"image_mean": dict.fromkeys(names, (0.1, 0.2))}}
    assert f1_chart(case.summaries, whole).series[-1].band[2] == (0.6, 0.1, 0.2)
    part = {OVERALL: {"image_mean": {names[0]: (0.1, 0.2)}}}
    assert not f1_chart(case.summaries, part).series[-1].band


def test_without_scores_precision_and_recall_are_points(case: Any) -> None:
    chart = precision_recall_chart(case.summaries, [])
    (point, says) = chart.series[-1].marked[0]
    counts = case.summaries[OVERALL].counts
    assert point == (counts["true positives@0.50"] / counts["true nuclei"],
                     counts["true positives@0.50"] / counts["predicted nuclei"])  # fmt: skip
    assert says.startswith("overall at IoU 0.50")


def test_with_scores_the_scored_nuclei_lie_on_the_curve(case: Any) -> None:
    """All nuclei count here, so that the point of each curve is its end."""
    for series in precision_recall_chart(case.summaries, case.ranked).series:
        assert series.marked[0][0] == pytest.approx(series.points[-1])
        assert len(series.points) <= POINTS


def test_threshold_curve_starts_at_the_score_of_all_detections(case: Any) -> None:
    chart = threshold_chart(case.images, case.summaries, case.ranked, 0.3)
    overall = chart.series[-1]
    score = case.summaries[OVERALL].image_mean["DSB score"]
    assert overall.points[0] == (0.0, pytest.approx(score))
    assert overall.marked[0][0] == (0.3, score)
    assert not threshold_chart(case.images, case.summaries, case.ranked, None).series[-1].marked


def test_spread_falls_from_all_to_none(case: Any) -> None:
    chart = spread_chart(case.images, case.summaries)
    for series in chart.series:
        heights = [height for _, height in series.points]
        assert heights[0] == 1 and heights == sorted(heights, reverse=True)
    perfect = [replace(image, scores=case.images[1].scores) for image in case.images]
    assert all(height == 1 for _, height in spread_chart(perfect, case.summaries).series[-1].points)
