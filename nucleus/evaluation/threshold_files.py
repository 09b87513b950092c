"""The curve of the scores against the score threshold, as a table and as a picture."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Sequence
from pathlib import Path

from nucleus.evaluation.summary import OVERALL, by_modality
from nucleus.evaluation.threshold import DSB, THRESHOLDS, RankedNuclei, smoothed, threshold_curve
from nucleus.formats.atomic import atomic_write
from nucleus.visualization.canvas import save_picture
from nucleus.visualization.threshold_plot import threshold_plot

CURVE_FILES = ("threshold.csv", "threshold.png")
DRAWN = ("object F1@0.50 (image mean)", "object F1@0.70 (image mean)", "count error")


def write_curve(
    folder: str | os.PathLike[str],
    images: Sequence[RankedNuclei],
    modalities: Sequence[str],
    used: float,
    title: str,
) -> None:
    """Write threshold.csv, a row a threshold, and threshold.png.

    Args:
        folder: made if missing.
        images: at least one.
        modalities: of each.
        used: the threshold that is marked.
        title: of the picture.

    Raises:
        OSError: the folder cannot be written. Each file is either the old one or complete.
    """
    curve = threshold_curve(images)
    by_kind = {
        kind: curve[DSB] if kind == OVERALL else threshold_curve([images[position] for position in positions])[DSB]
        for kind, positions in by_modality(modalities).items()
    }
    columns = curve | {f"{DSB}, smoothed": smoothed(curve[DSB])}
    columns |= {f"{DSB}, {kind}": values for kind, values in by_kind.items() if kind != OVERALL}
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["score threshold", *columns])
    writer.writerows(zip(THRESHOLDS, *(values.tolist() for values in columns.values()), strict=True))
    with atomic_write(Path(folder) / CURVE_FILES[0]) as temporary:
        temporary.write_text(text.getvalue(), encoding="utf-8")
    picture = threshold_plot(THRESHOLDS, by_kind, {name: curve[name] for name in DRAWN}, used, title)
    save_picture(Path(folder) / CURVE_FILES[1], picture)
