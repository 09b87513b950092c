"""Score tables: as text for people, as scores.json, scores.csv and images.csv for programs."""

from __future__ import annotations

import csv
import io
import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from nucleus.evaluation.image_scores import COUNTS, SCORES
from nucleus.evaluation.summary import ScoredImage, Summary
from nucleus.formats.atomic import atomic_write

AGGREGATIONS = {"image mean": "image_mean", "pooled": "pooled"}  # as people read it: the attribute of Summary
PRINTED_THRESHOLDS = ("0.50", "0.70", "0.90")  # the files hold all ten


def format_table(summaries: Mapping[str, Summary]) -> str:
    """Lay the scores out as text, a row a score and a column a modality.

    Args:
        summaries: as `summary.summarize` returns them.

    Returns:
        Two blocks of aligned lines, image means and pooled values; scores to four decimals, "-" for what is undefined.
    """
    groups = list(summaries.values())
    rows: list[list[str]] = _heading(list(summaries))
    rows.append(["images", *(f"{group.images:,}" for group in groups)])
    for name in ("true nuclei", "predicted nuclei"):
        rows.append([name, *(f"{group.counts[name]:,}" for group in groups)])
    for title, attribute in AGGREGATIONS.items():
        rows.append([])
        rows.append([title])
        values = [getattr(group, attribute) for group in groups]
        rows.extend(
            [f"  {name}", *(_four_decimals(value.get(name, math.nan)) for value in values)]
            for name in values[0]
            if "@" not in name or name.endswith(PRINTED_THRESHOLDS)
        )
    return _align(rows)


def write_scores(
    folder: str | os.PathLike[str],
    images: Sequence[ScoredImage],
    summaries: Mapping[str, Summary],
    settings: Mapping[str, Any] | None = None,
) -> None:
    """Write scores.json, scores.csv (a row a modality and aggregation) and images.csv (a row an image).

    Args:
        folder: made if missing.
        images: what was scored.
        summaries: as `summary.summarize` returns them.
        settings: what the scores depend on, for scores.json: data set, score threshold, detection cap.

    Raises:
        OSError: the folder cannot be written. Each file is either the old one or complete.
    """
    folder = Path(folder)
    scores = {group: asdict(summary) for group, summary in summaries.items()}
    _write_json(folder / "scores.json", {"settings": dict(settings or {}), "scores": scores})
    columns = ["images", *COUNTS, *next(iter(summaries.values())).pooled]
    rows = []
    for group, summary in summaries.items():
        for title, attribute in AGGREGATIONS.items():
            row = {"images": summary.images} | summary.counts | getattr(summary, attribute)
            rows.append([group, title, *(row.get(column, "") for column in columns)])
    _write_csv(folder / "scores.csv", ["modality", "aggregation", *columns], rows)
    _write_csv(
        folder / "images.csv",
        ["image", "modality", *COUNTS, *SCORES],
        (
            [image.name, image.modality, *(column(image.scores) for column in (COUNTS | SCORES).values())]
            for image in images
        ),
    )


def _heading(groups: list[str]) -> list[list[str]]:
    """Column titles, each word of "small_fluorescent" on a line of its own."""
    words = [group.split("_") for group in groups]
    height = max(map(len, words))
    return [["", *(word[line] if line < len(word) else "" for word in words)] for line in range(height)]


def _four_decimals(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.4f}"


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
    return None if isinstance(value, float) and math.isnan(value) else value


def _write_csv(path: Path, header: list[str], rows: Iterable[list[Any]]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(["" if isinstance(cell, float) and math.isnan(cell) else cell for cell in row] for row in rows)
    with atomic_write(path) as temporary:
        temporary.write_text(text.getvalue(), encoding="utf-8")
