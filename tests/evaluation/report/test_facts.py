"""The numbers and words of a report."""

from __future__ import annotations

import math
from typing import Any

from nucleus.evaluation.report.facts import (
    count_table,
    headline_cards,
    lead_sentences,
    number,
    score_tables,
    setting_rows,
    size_table,
    threshold_table,
    without_repetition,
    worst_table,
)
from nucleus.evaluation.summary import OVERALL, summarize


def test_numbers() -> None:
    assert (number(0.12345), number(1.0), number(math.nan)) == ("0.123", "1.000", "\N{EN DASH}")


def test_cards(case: Any) -> None:
    intervals = {OVERALL: {"image_mean": {"DSB score": (0.25, 0.5)}, "pooled": {}}}
    first, second, *_, last = headline_cards(case.summaries, intervals)
    assert (first.name, first.aggregation, first.interval_text) == ("DSB score", "image mean", "0.250\N{EN DASH}0.500")
    assert first.value == case.summaries[OVERALL].image_mean["DSB score"]
    assert (second.name, second.interval_text) == ("object F1@0.50", "")
    assert last.name == "object F1@0.90"
    coco = summarize(case.images, {OVERALL: {"COCO AP (masks)": 0.3, "COCO AP (boxes)": 0.4}})
    last = headline_cards(coco, None)[-1]
    assert (last.name, last.aggregation, last.text, last.beside) == (
        "COCO AP (masks)",
        "pooled",
        "0.300",
        "boxes 0.400",
    )


def test_lead_counts(case: Any) -> None:
    one = [case.images[0]]
    assert lead_sentences(one, summarize(one)) == [
        "Of 5 true nuclei in 1 image, 1 (20%) were found at an IoU above 0.5 and 4 missed; 4 of 5 predicted nuclei are "
        "false. 1 nucleus is split, 1 prediction merges several."
    ]
    assert "Weakest on " in lead_sentences(case.images, case.summaries)[1]


def test_score_tables(case: Any) -> None:
    intervals = {"confocal": {"pooled": {"AJI": (0.1, 0.2)}}}
    tables = score_tables("Scores", "kind", case.summaries, intervals)
    header, rows = tables["pooled"].header, tables["pooled"].rows
    assert [row[0].text for row in rows] == ["overall", "confocal", "purple tissue"]
    cell = rows[1][header.index("AJI")]
    assert cell.text == number(case.summaries["confocal"].pooled["AJI"]) and cell.below == "0.100\N{EN DASH}0.200"
    assert tables["image mean"].rows[1][header.index("AJI")].below == ""


def test_count_tables(case: Any) -> None:
    one = summarize([case.images[0]])
    assert [cell.text for cell in count_table(one).rows[0]] == ["overall", "5", "5", "1", "4", "4", "1", "1", "+0.00"]
    assert count_table(one).rows[0][0].bar == (("matched", 1 / 9), ("missed", 4 / 9), ("false", 4 / 9))
    rows = threshold_table(one[OVERALL]).rows
    assert len(rows) == 10 and [cell.text for cell in rows[0]] == ["IoU > 0.50", "1", "4", "4"]
    sizes = size_table(one[OVERALL])
    assert sizes is not None and [cell.text for cell in sizes.rows[0][:5]] == ["to 100", "4", "1", "3", "3"]


def test_one_kind_alone_is_not_repeated(case: Any) -> None:
    assert list(without_repetition(summarize(case.images[:2]))) == [OVERALL]
    assert list(without_repetition(case.summaries)) == [OVERALL, "confocal", "purple_tissue"]


def test_worst_images_first(case: Any) -> None:
    scores = [float(row[2].text) for row in worst_table(case.images).rows]
    assert scores == sorted(scores) and len(scores) == 5


def test_settings_as_text() -> None:
    assert setting_rows({"score_threshold": None, "sets": ["a", "b"], "interval": {"level": 0.95}}) == [
        ("score threshold", "none"), ("sets", "a, b"), ("interval", "level: 0.95")
    ]  # fmt: skip
