"""metrics.json of a run that goes on: what the steps to be repeated had written is taken out."""

from __future__ import annotations

import json
import logging
from pathlib import Path

from nucleus.formats.atomic import atomic_write

logger = logging.getLogger(__name__)


def trim_metrics(path: str | Path, start: int) -> int:
    """Drop the lines of iteration `start` and later, which the run will write again, and a line cut off by a kill.

    Args:
        path: one JSON object with "iteration" a line; may be missing.
        start: first iteration that is to come.

    Returns:
        How many lines were dropped.
    """
    path = Path(path)
    if not path.is_file():
        return 0
    lines = path.read_text(encoding="utf-8").splitlines()
    kept = [line for line in lines if _iteration(line) < start]
    if len(kept) < len(lines):
        with atomic_write(path) as temporary:
            temporary.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")
        logger.info("%s: %d lines of iteration %d and later dropped", path, len(lines) - len(kept), start)
    return len(lines) - len(kept)


def _iteration(line: str) -> float:
    try:
        return json.loads(line)["iteration"]
    except (ValueError, KeyError, TypeError):
        return float("inf")
