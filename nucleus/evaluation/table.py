"""Score tables: as text for people, as scores.json, scores.csv and images.csv for programs."""

from __future__ import annotations

import csv
import io
import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from importlib import resources
from pathlib import Path
from typing import Any

from nucleus import __version__
from nucleus.evaluation.image_scores import COUNTS, SCORES
from nucleus.evaluation.strata import summarize_densities
from nucleus.evaluation.summary import OVERALL, ScoredImage, Summary
from nucleus.formats.atomic import atomic_write

FORMAT = "nucleus scores 1"  # of scores.json; another number if a reader of this one would go wrong
AGGREGATIONS = {"image mean": "image_mean", "pooled": "pooled"}  # as people read it: the attribute of Summary
PRINTED_THRESHOLDS = ("0.50", "0.70", "0.90")  # the files hold all ten
PRINTED_COUNTS = {
    "true nuclei": "true nuclei",
    "predicted nuclei": "predicted nuclei",
    "found at IoU > 0.50": "true positives@0.50",
    "missed": "false negatives@0.50",
    "false": "false positives@0.50",
    "split": "splits",
    "predictions that merge": "merges",
}
HEADLINES = ("DSB score", "object F1@0.50", "object F1@0.70", "object F1@0.90", "pixel Dice", "AJI", "PQ")
SIZE = "nucleus area in pixels"
OFFSET = "outline offset in pixels"

Interval = tuple[float, float]
Intervals = Mapping[str, Mapping[str, Mapping[str, Interval]]]  # group: attribute of AGGREGATIONS: score: (low, high)


def format_table(summaries: Mapping[str, Summary]) -> str:
    """Lay the scores out as text, a row a score and a column a modality; below them those of all nuclei by their size.

    Args:
        summaries: as `summary.summarize` returns them, "overall" first.

    Returns:
        Blocks of aligned lines: counts, image means, pooled values, sizes; scores to four decimals, "-" for what is
        undefined.
    """
    groups = list(summaries.values())
    rows: list[list[str]] = _heading(list(summaries))
    rows.append(["images", *(f"{group.images:,}" for group in groups)])
    for title, name in PRINTED_COUNTS.items():
        rows.append([title, *(f"{group.counts[name]:,}" for group in groups)])
    rows.append([OFFSET, *(signed_pixels(group.outline_offset) for group in groups)])
    for title, attribute in AGGREGATIONS.items():
        rows.append([])
        rows.append([title])
        values = [getattr(group, attribute) for group in groups]
        rows.extend(
            [f"  {name}", *(_four_decimals(value.get(name, math.nan)) for value in values)]
            for name in values[0]
            if _is_printed(name)
        )
    sizes = groups[0].sizes
    return _align(rows) + (f"\n\n{_align(_size_rows(sizes))}" if sizes else "")


def format_densities(densities: Mapping[str, Mapping[str, Summary]]) -> str:
    """Lay out the headline scores of images by their density, a row a bin; image means.

    Args:
        densities: as `strata.summarize_densities` returns them.
    """
    rows: list[list[str]] = []
    for what, summaries in densities.items():
        rows.append([f"{what}, image mean", "images", "true nuclei", *HEADLINES])
        for name, summary in summaries.items():
            counts = [f"{summary.images:,}", f"{summary.counts['true nuclei']:,}"]
            rows.append([f"  {name}", *counts, *(_four_decimals(summary.image_mean[score]) for score in HEADLINES)])
        rows.append([])
    return _align(rows[:-1])


def format_intervals(summary: Summary, intervals: Mapping[str, Mapping[str, Interval]], level: float = 0.95) -> str:
    """Lay out the headline scores of one group with their intervals.

    Args:
        summary: of the group.
        intervals: of the group: by attribute of AGGREGATIONS, by score.
        level: of confidence.
    """
    rows = [[f"with {level:.0%} interval", *(cell for title in AGGREGATIONS for cell in (title, "low", "high"))]]
    for name in HEADLINES:
        cells = []
        for attribute in AGGREGATIONS.values():
            ends = intervals.get(attribute, {}).get(name, (math.nan, math.nan))
            cells += [getattr(summary, attribute)[name], *ends]
        rows.append([f"  {name}", *map(_four_decimals, cells)])
    return _align(rows)


def write_scores(
    folder: str | os.PathLike[str],
    images: Sequence[ScoredImage],
    summaries: Mapping[str, Summary],
    settings: Mapping[str, Any] | None = None,
    *,
    warnings: Sequence[str] = (),
    intervals: Intervals | None = None,
    densities: Mapping[str, Mapping[str, Summary]] | None = None,
    density_intervals: Mapping[str, Intervals] | None = None,
    interval_method: Mapping[str, Any] | None = None,
) -> None:
    """Write scores.json, scores.csv (a row a stratum and aggregation) and images.csv (a row an image).

    scores.json is described by `scores_schema`.

    Args:
        folder: made if missing.
        images: what was scored, at least one.
        summaries: as `summary.summarize` returns them.
        settings: what the scores depend on, for scores.json: data set, score threshold, detection cap.
        warnings: what a reader must know before trusting the scores, for scores.json.
        intervals: of groups of `summaries`, for scores.json.
        densities: as `strata.summarize_densities` returns them, if they are at hand.
        density_intervals: of the bins of each measure of density, likewise.
        interval_method: how they were computed, for scores.json.

    Raises:
        OSError: the folder cannot be written. Each file is either the old one or complete.
    """
    folder = Path(folder)
    densities = summarize_densities(images) if densities is None else densities
    content = {
        "format": FORMAT,
        "version": __version__,
        "settings": dict(settings or {}),
        "warnings": list(warnings),
        "interval method": dict(interval_method or {}),
        "scores": _group_objects(summaries, intervals or {}),
        "densities": {
            what: _group_objects(bins, (density_intervals or {}).get(what, {})) for what, bins in densities.items()
        },
    }
    _write_json(folder / "scores.json", content)
    _write_csv(folder / "scores.csv", *_score_rows(summaries, densities))
    _write_csv(
        folder / "images.csv",
        ["image", "modality", "group", *COUNTS, *SCORES, OFFSET],
        (
            [image.name, image.modality, image.group]
            + [column(image.scores) for column in (COUNTS | SCORES).values()]
            + [image.scores.outlines.offset]
            for image in images
        ),
    )


def scores_schema() -> dict[str, Any]:
    """The JSON schema (draft 2020-12) of scores.json."""
    text = resources.files("nucleus.evaluation").joinpath("scores.schema.json").read_text(encoding="utf-8")
    return json.loads(text)


def _group_objects(summaries: Mapping[str, Summary], intervals: Intervals) -> dict[str, Any]:
    return {
        group: asdict(summary) | ({"intervals": intervals[group]} if group in intervals else {})
        for group, summary in summaries.items()
    }


def _score_rows(
    summaries: Mapping[str, Summary], densities: Mapping[str, Mapping[str, Summary]]
) -> tuple[list[str], list[list[Any]]]:
    """Header and rows of scores.csv: all images, then modalities, densities and sizes."""
    columns = ["images", *COUNTS, *next(iter(summaries.values())).pooled, OFFSET]
    rows: list[list[Any]] = []
    groups = [("all" if name == OVERALL else "modality", name, summary) for name, summary in summaries.items()]
    groups += [(what, name, summary) for what, bins in densities.items() for name, summary in bins.items()]
    for by, name, summary in groups:
        for title, attribute in AGGREGATIONS.items():
            row = {"images": summary.images} | summary.counts | getattr(summary, attribute)
            if attribute == "pooled":
                row[OFFSET] = summary.outline_offset
            rows.append([by, name, title, *(row.get(column, "") for column in columns)])
    for name, scores in summaries[OVERALL].sizes.items() if OVERALL in summaries else ():
        rows.append([SIZE, name, "pooled", *(scores.get(column, "") for column in columns)])
    return ["by", "stratum", "aggregation", *columns], rows


def _size_rows(sizes: Mapping[str, Mapping[str, float]]) -> list[list[str]]:
    rows = [[f"by {SIZE}, pooled", *sizes]]
    for title, name in PRINTED_COUNTS.items():
        if name in next(iter(sizes.values())):
            rows.append([f"  {title}", *(f"{scores[name]:,.0f}" for scores in sizes.values())])
    names = [name for name in next(iter(sizes.values())) if name not in COUNTS and _is_printed(name)]
    return rows + [[f"  {name}", *(_four_decimals(scores[name]) for scores in sizes.values())] for name in names]


def _is_printed(name: str) -> bool:
    return "@" not in name or name.endswith(PRINTED_THRESHOLDS)


def _heading(groups: list[str]) -> list[list[str]]:
    """Column titles, each word of "small_fluorescent" on a line of its own."""
    words = [group.split("_") for group in groups]
    height = max(map(len, words))
    return [["", *(word[line] if line < len(word) else "" for word in words)] for line in range(height)]


def _four_decimals(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.4f}"


def signed_pixels(value: float) -> str:
    """A distance to two decimals, with its sign; a dash where it is undefined."""
    return "-" if math.isnan(value) else f"{value:+.2f}"


def _align(rows: list[list[str]]) -> str:
    """First column to the left, the others to the right."""
    widths = [max(len(row[i]) for row in rows if i < len(row)) for i in range(max(map(len, rows)))]
    lines = []
    for row in rows:
        cells = [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=False)]
        lines.append("  ".join([row[0].ljust(widths[0]), *cells]).rstrip() if row else "")
    return "\n".join(lines)


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(_without_nan(content), indent=2, allow_nan=False) + "\n", encoding="utf-8")


def _without_nan(value: Any) -> Any:
    """JSON has no NaN: what is undefined becomes null."""
    if isinstance(value, Mapping):
        return {key: _without_nan(inner) for key, inner in value.items()}
    if isinstance(value, tuple | list):
        return [_without_nan(inner) for inner in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def _write_csv(path: Path, header: list[str], rows: Iterable[list[Any]]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(["" if isinstance(cell, float) and math.isnan(cell) else cell for cell in row] for row in rows)
    with atomic_write(path) as temporary:
        temporary.write_text(text.getvalue(), encoding="utf-8", errors="surrogateescape")  # names as the disk has them
