"""Writing the report of an evaluation."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from nucleus import __version__
from nucleus.evaluation.report.chart import Chart
from nucleus.evaluation.report.curves import f1_chart, precision_recall_chart, spread_chart, threshold_chart
from nucleus.evaluation.report.definitions import definitions_of
from nucleus.evaluation.report.facts import (
    COLUMNS,
    OVERALL,
    Intervals,
    coco_tables,
    count_table,
    headline_cards,
    lead_sentences,
    score_tables,
    seed_protocol_table,
    setting_rows,
    size_table,
    threshold_table,
    without_repetition,
    worst_table,
)
from nucleus.evaluation.report.markdown import markdown
from nucleus.evaluation.report.page import page
from nucleus.evaluation.report.pictures import Example, Pictures, choose, draw_example
from nucleus.evaluation.summary import ScoredImage, Summary
from nucleus.evaluation.threshold import RankedNuclei
from nucleus.formats.atomic import atomic_write
from nucleus.visualization.colors import FALSE, MATCHED, MERGED, MISSED, SPLIT, TRUTH, hex_color

PICTURES = "report_pictures"  # folder of the pictures of report.md
WORST = 4  # images with the lowest DSB score that are drawn
MEDIAN = 2  # images around the median that are drawn
TERMS = (
    "true positives",
    "split",
    "merge",
    "outline offset",
    "image mean",
    "pooled",
    "IoU",
)  # used whatever was computed


def write_report(
    folder: str | os.PathLike[str],
    *,
    images: Sequence[ScoredImage],
    summaries: Mapping[str, Summary],
    intervals: Intervals | None = None,
    density: Mapping[str, Mapping[str, Summary]] | None = None,
    density_intervals: Mapping[str, Intervals] | None = None,
    ranked: Sequence[RankedNuclei] = (),
    score_threshold: float | None = None,
    pictures: Pictures | None = None,
    settings: Mapping[str, Any] | None = None,
    warnings: Sequence[str] = (),
    title: str = "Evaluation of predicted nuclei",
) -> Path:
    """Write report.html, one file of a few MB at most that needs no other, and report.md with report_pictures/.

    Args:
        folder: made if missing.
        images: what was scored.
        summaries: of "overall" and of each modality, as `summary.summarize` returns them.
        intervals: as `bootstrap.intervals` returns them; whatever is missing is not printed.
        density: summaries of images with few, some and many nuclei, as `strata.summarize_densities` returns them.
        density_intervals: those of each group of `density`, by the same names.
        ranked: the predicted nuclei of each image with their scores, as `threshold.rank_nuclei` returns them, for
            the curves over the score. Without them precision and recall are drawn as points of the label images.
        score_threshold: at which the nuclei were taken that are scored here; marked in the curve if it is
            finite.
        pictures: gives the label images of one scored image, and the image where it is known, by its position in
            `images`; called for those that are drawn only. None draws none.
        settings: what the scores depend on, by name: data sets, score threshold, command; printed as text.
        warnings: what a reader must know before trusting the scores, a sentence each.
        title: of the page.

    Returns:
        The path of report.html.

    Raises:
        ValueError: no image, or ranked nuclei of some images only.
        OSError: the folder cannot be written. Each file is either the old one or complete.
    """
    folder = Path(folder)
    if not images:
        raise ValueError("expected at least one scored image, found none")
    if len(ranked) not in (0, len(images)):
        raise ValueError(f"expected ranked nuclei of all {len(images)} images, found those of {len(ranked)}")
    summaries = without_repetition(summaries)
    images = _with_short_names(images)
    dsb_scores = [image.scores.objects.dsb_score for image in images]
    examples = [
        draw_example(rank, images[position], pictures(position) if pictures is not None else None)
        for rank, position in choose(dsb_scores, WORST, MEDIAN)
    ]
    facts = {
        "title": title,
        "version": __version__,
        "warnings": list(warnings),
        "lead": lead_sentences(images, summaries),
        "settings": setting_rows(settings or {}),
        "charts": _charts(images, summaries, intervals, ranked, score_threshold),
        "spread": spread_chart(images, summaries),
        "examples": examples,
        "drawn": any(example.pictures for example in examples),
        "worst": worst_table(images),
        "colors": {name: hex_color(color) for name, color in _COLORS.items()},
        "pictures_folder": PICTURES,
        **_score_facts(summaries, intervals, density or {}, density_intervals or {}),
    }
    _write_pictures(folder / PICTURES, examples)
    for name, text in (("report.md", markdown(facts)), ("report.html", page(facts))):
        with atomic_write(folder / name) as temporary:
            temporary.write_text(text, encoding="utf-8", errors="backslashreplace")  # names may be in another code
    return folder / "report.html"


_COLORS = {"matched": MATCHED, "missed": MISSED, "false": FALSE, "split": SPLIT, "merged": MERGED, "truth": TRUTH}


def _charts(
    images: Sequence[ScoredImage],
    summaries: Mapping[str, Summary],
    intervals: Intervals | None,
    ranked: Sequence[RankedNuclei],
    score_threshold: float | None,
) -> list[Chart]:
    charts = [f1_chart(summaries, intervals), precision_recall_chart(summaries, ranked)]
    if ranked:
        marked = score_threshold if score_threshold is not None and math.isfinite(score_threshold) else None
        charts.append(threshold_chart(images, summaries, ranked, marked))
    return charts


def _score_facts(
    summaries: Mapping[str, Summary],
    intervals: Intervals | None,
    density: Mapping[str, Mapping[str, Summary]],
    density_intervals: Mapping[str, Intervals],
) -> dict[str, Any]:
    """The tables, and the words that explain their columns."""
    return {
        "cards": headline_cards(summaries, intervals),
        "tables": score_tables("Scores by kind of image", "kind of image", summaries, intervals),
        "has_intervals": bool(intervals or density_intervals),
        "density_tables": [
            score_tables(f"Scores by {what}", what, groups, density_intervals.get(what))
            for what, groups in density.items()
        ],
        "coco_tables": coco_tables(summaries),
        "size_table": size_table(summaries[OVERALL]),
        "seed_table": seed_protocol_table(summaries),
        "counts": count_table(summaries),
        "thresholds": threshold_table(summaries[OVERALL]),
        "definitions": definitions_of(
            [*COLUMNS, "SQ", "RQ", "seed protocol", *TERMS, *summaries[OVERALL].pooled]
            + (["interval"] if intervals else [])
        ),
    }


def _with_short_names(images: Sequence[ScoredImage]) -> list[ScoredImage]:
    """Images named by their file alone, where that tells them apart."""
    names = [image.name.rsplit("/", 1)[-1] for image in images]
    if len(set(names)) < len(names):
        return list(images)
    return [replace(image, name=name) for image, name in zip(images, names, strict=True)]


def _write_pictures(folder: Path, examples: Sequence[Example]) -> None:
    """Write 1-truth.jpg, 1-prediction.jpg ...; those of an earlier report go."""
    for old in folder.glob("[1-9]*-*.jpg"):
        old.unlink()
    for place, example in enumerate(examples, start=1):
        for picture in example.pictures:
            with atomic_write(folder / f"{place}-{picture.kind}.jpg") as temporary:
                temporary.write_bytes(picture.content)
