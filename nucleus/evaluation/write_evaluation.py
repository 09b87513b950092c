"""Everything that an evaluation leaves: tables for people, files for programs, curves and the report."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nucleus.evaluation.bootstrap import Intervals, describe, intervals
from nucleus.evaluation.report import write_report
from nucleus.evaluation.report.pictures import Pictures
from nucleus.evaluation.report.write import PICTURES
from nucleus.evaluation.scored_set import ScoredSet
from nucleus.evaluation.strata import density_strata, summarize_densities
from nucleus.evaluation.summary import OVERALL, ScoredImage, Summary, by_modality
from nucleus.evaluation.table import format_densities, format_intervals, format_table, write_scores
from nucleus.evaluation.threshold_files import CURVE_FILES, write_curve

FILES = ("scores.json", "scores.csv", "images.csv")
REPORT_FILES = ("report.html", "report.md")


def write_evaluation(
    scored: ScoredSet,
    output: Path,
    name: str,
    *,
    report: bool = True,
    pictures: Pictures | None = None,
    command: str = "",
) -> tuple[str, list[Path]]:
    """Write an evaluation.

    Args:
        scored: what was scored.
        output: folder, made if missing: scores.json, scores.csv, images.csv; of scored detections threshold.csv and
            threshold.png; report.html, report.md and report_pictures/.
        name: of what was scored, for the picture of the curve.
        report: write the report.
        pictures: see `nucleus.evaluation.report.write_report`.
        command: how it was started, for the report.

    Returns:
        The tables, for people, and the files that were written.

    Raises:
        OSError: the folder cannot be written. Each file is either the old one or complete.
    """
    images, summaries = scored.images, scored.summaries
    is_ours = (output / FILES[0]).is_file()  # else what is there may be of anybody
    (known, density_intervals), method = _intervals(images), describe(images)
    densities = summarize_densities(images)
    write_scores(
        output,
        images,
        summaries,
        scored.settings,
        warnings=scored.warnings,
        intervals=known,
        densities=densities,
        density_intervals=density_intervals,
        interval_method=method,
    )
    files = list(FILES)
    if scored.ranked:
        used = max(scored.score_threshold, 0.0)
        write_curve(output, scored.ranked, [image.modality for image in images], used, name)
        files += CURVE_FILES
    if report:
        write_report(
            output,
            images=images,
            summaries=summaries,
            intervals=known,
            density=densities,
            density_intervals=density_intervals,
            ranked=scored.ranked,
            score_threshold=scored.score_threshold,
            pictures=pictures,
            settings={
                **scored.settings,
                "intervals": f"{method['level']:.0%}, {method['method']}",
                **({"command": command} if command else {}),
            },
            warnings=scored.warnings,
        )
        files += REPORT_FILES
    if is_ours:
        for stale in {*CURVE_FILES, *REPORT_FILES} - set(files):  # of an earlier evaluation, with other scores
            (output / stale).unlink(missing_ok=True)
        if not report:
            shutil.rmtree(output / PICTURES, ignore_errors=True)
    tables = [format_table(summaries), format_densities(densities), *_interval_table(summaries[OVERALL], known, method)]
    return "\n\n".join(tables), [output / file for file in files]


def _interval_table(overall: Summary, known: Intervals, method: dict[str, Any]) -> list[str]:
    """The table of intervals and how they were made; empty where there are too few images for any."""
    if not known[OVERALL]["image_mean"]:
        return []
    kind = f"{method['method']}, {method['units'][OVERALL]} of them"
    return [f"{format_intervals(overall, known[OVERALL], method['level'])}\n  ({kind})"]


def _intervals(images: Sequence[ScoredImage]) -> tuple[Intervals, dict[str, Intervals]]:
    """Intervals overall and by modality, and by density; in one call, since laying out the counts takes longest."""
    modalities, densities = by_modality([image.modality for image in images]), density_strata(images)
    flat = {f"{what}\0{name}": members for what, bins in densities.items() for name, members in bins.items()}
    found = intervals(images, strata=modalities | flat)
    return (
        {name: found[name] for name in modalities},
        {what: {name: found[f"{what}\0{name}"] for name in bins} for what, bins in densities.items()},
    )
