"""A comparison as text, as comparison.json, and as a picture."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path, PurePosixPath
from typing import Any

from tabulate import tabulate

from nucleus.evaluation.comparison import Comparison, Difference
from nucleus.evaluation.summary import OVERALL
from nucleus.evaluation.table import AGGREGATIONS, HEADLINES
from nucleus.formats.atomic import atomic_write
from nucleus.visualization.canvas import save_picture
from nucleus.visualization.difference_plot import difference_plot

COMPARISON_FILES = ("comparison.json", "comparison.png")
SHOWN = 5  # images


def format_comparison(comparison: Comparison, images: int = SHOWN) -> str:
    """Lay a comparison out as text: the headline scores of all images, the DSB score of each modality, and images.

    Args:
        comparison: as `comparison.compare` returns it.
        images: how many of those that differ most are named.
    """
    overall, units = comparison.scores[OVERALL], comparison.method["units"]
    blocks = [
        _table(f"{title}, {len(comparison.images)} images", {name: overall[attribute][name] for name in HEADLINES})
        for title, attribute in AGGREGATIONS.items()
    ]
    by_kind = {
        f"{kind} ({units[kind]} unit{'s' * (units[kind] != 1)})": scores["image_mean"]["DSB score"]
        for kind, scores in comparison.scores.items()
    }
    blocks.append(_table("DSB score, image mean", by_kind))
    changed = [pair for pair in comparison.images[:images] if pair.difference]
    rows = [
        [PurePosixPath(pair.name).name, pair.modality, f"{pair.a:.4f}", f"{pair.b:.4f}", _signed(pair.difference)]
        for pair in changed
    ]
    if rows:
        header = ["largest differences, DSB score", "", "A", "B", "B - A"]
        blocks.append(tabulate(rows, header, tablefmt="plain", disable_numparse=True,
                               colalign=("left", "left", "right", "right", "right")))  # fmt: skip
    else:
        blocks.append("A and B have the same DSB score in every image.")
    return "\n\n".join(blocks)


def write_comparison(
    folder: str | os.PathLike[str], comparison: Comparison, settings: Mapping[str, Any] | None = None
) -> list[Path]:
    """Write comparison.json, with every score and every image, and comparison.png.

    Args:
        folder: made if missing.
        comparison: as `comparison.compare` returns it.
        settings: what was compared, for comparison.json.

    Returns:
        The files.

    Raises:
        OSError: the folder cannot be written. Each file is either the old one or complete.
    """
    path, picture = (Path(folder) / name for name in COMPARISON_FILES)
    content = {
        "settings": dict(settings or {}),
        "method": comparison.method,
        "scores": {
            stratum: {
                attribute: {name: asdict(one) for name, one in by_name.items()} for attribute, by_name in scores.items()
            }
            for stratum, scores in comparison.scores.items()
        },
        "images": [asdict(pair) | {"difference": pair.difference} for pair in comparison.images],
    }
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    overall = comparison.scores[OVERALL]["image_mean"]
    bars = {name: (overall[name].difference, overall[name].interval) for name in HEADLINES}
    save_picture(picture, difference_plot(bars, [(pair.difference, pair.modality) for pair in comparison.images]))
    return [path, picture]


def _table(title: str, differences: Mapping[str, Difference]) -> str:
    rows = []
    for name, one in differences.items():
        interval = "-" if one.interval is None else f"{_signed(one.interval[0])} to {_signed(one.interval[1])}"
        p = f"{one.p:.4f}" if one.p >= 0.0001 else "< 0.0001"
        rows.append([name, f"{one.a:.4f}", f"{one.b:.4f}", _signed(one.difference), interval, p])
    return tabulate(rows, [title, "A", "B", "B - A", "95 % interval", "p"], tablefmt="plain", disable_numparse=True,
                    colalign=("left", *("right",) * 5))  # fmt: skip


def _signed(value: float) -> str:
    return f"{value:+.4f}"
