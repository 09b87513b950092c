"""What training and evaluation wrote, as facts of a model: nothing is typed in by hand. Needs no torch."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from nucleus.errors import InputError
from nucleus.evaluation.table import FORMAT as SCORES_FORMAT
from nucleus.zoo.zoo_model import Evaluation, Group, Run, Score

IMAGE_MEANS = (
    *("DSB score", "object F1@0.50", "object F1@0.70", "object F1@0.90", "pixel Dice", "AJI", "PQ"),
    *("seed protocol DSB score", "seed protocol object F1@0.70", "seed protocol pixel Dice"),
)
POOLED = (
    *("DSB score", "object F1@0.50", "object F1@0.70", "pixel Dice", "AJI", "PQ"),
    *("COCO AP (boxes)", "COCO AP50 (boxes)", "COCO AP (masks)", "COCO AP50 (masks)"),
)
DECIMALS = 5  # of scores
ROOTS = ("configs", "datasets", "output", "tools", "nucleus")  # folders of a clone, from which paths are written
PROGRAMS = {"train_net.py": "python tools/train_net.py", "__main__.py": "python -m nucleus"}
Curve = list[tuple[int, float]]  # step, value


def read_evaluation(path: Path) -> tuple[str, Evaluation]:
    """Read scores.json.

    Returns:
        The name of the data set, and its scores.

    Raises:
        InputError: the file is missing, or is no scores.json of a model on one data set.
    """
    content = read_scores(path)
    try:
        settings, method = content["settings"], content["interval method"]
        units = method.get("units", {})
        words = f"{method['level']:.0%} intervals, {method['method']}" if method else ""
        groups = {name: _group(group, units.get(name)) for name, group in content["scores"].items()}
        return settings["data set"], Evaluation(float(settings["score threshold"]), words, groups)
    except (KeyError, TypeError, AttributeError) as error:
        raise _no_scores(path, f"{type(error).__name__}: {error}") from error


def read_scores(path: Path) -> dict[str, Any]:
    """The content of scores.json.

    Raises:
        InputError: the file is missing, or is no scores.json.
    """
    content = _json(path)
    if not isinstance(content, dict) or content.get("format") != SCORES_FORMAT:
        raise _no_scores(path, "another file")
    return content


def read_run(folder: Path, last_iteration: int | None = None) -> Run:
    """Read run.json and metrics.json of a training run.

    Args:
        folder: OUTPUT_DIR of the run.
        last_iteration: of the weights; None for the last of the run.

    Raises:
        InputError: a file is missing or broken, or nothing was trained there.
    """
    path = folder / "run.json"
    try:
        starts = [start for start in _json(path)["starts"] if "--eval-only" not in start["command"]]
        rows = read_metrics(folder)
        steps = 1 + (max(step for step, _ in curve(rows, "total_loss")) if last_iteration is None else last_iteration)
        last = starts[-1]
        config = yaml.safe_load(last["config"])
        return Run(
            command=plain_command([one for one in last["command"] if one != "--resume"]),
            config_sha256=last["config sha256"],
            seed=last["seed"],
            hardware=_hardware(last),
            hours=round(_hours(starts, rows), 3),
            steps=steps,
            images=steps * config["SOLVER"]["IMS_PER_BATCH"],
            data={data: known["sha256"] for data, known in last["data"].items()},
            versions=last["versions"],
            commit=(last["source"] or {}).get("commit"),
            modified=(last["source"] or {}).get("modified"),
        )
    except (KeyError, IndexError, TypeError, ValueError, yaml.YAMLError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(path, expected="the record of a training run", found=f"{type(error).__name__}: {error}",
                         remedy="Name the folder that the run wrote into.") from error  # fmt: skip


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """The rows of metrics.json, a dict each.

    Raises:
        InputError: the file is missing or broken.
    """
    path = folder / "metrics.json"
    try:
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, ValueError) as error:
        raise InputError(path, expected="what a training run logs, a JSON object a line",
                         found=str(error)[:160]) from error  # fmt: skip


def curve(rows: Sequence[Mapping[str, Any]], name: str) -> Curve:
    """What was logged under a name, with or without the data set's before it, by step."""
    found = []
    for row in rows:
        keys = [key for key in row if key == name or key.endswith(f"/{name}")]
        if keys and isinstance(row[keys[0]], int | float):
            found.append((int(row["iteration"]), float(row[keys[0]])))
    return found


def plain_command(arguments: Sequence[str]) -> str:
    """A command as it is given in a clone, without the folders of the machine that it ran on.

    An absolute OUTPUT_DIR is left out: that of the config stands.

    Args:
        arguments: sys.argv.
    """
    program = PurePosixPath(arguments[0]).name
    words = list(map(_plain_path, arguments[1:]))
    for place, (key, value) in enumerate(pairwise(arguments[1:])):
        if key == "OUTPUT_DIR" and value.startswith("/"):
            del words[place : place + 2]
            break
    return " ".join([PROGRAMS.get(program, program), *map(shlex.quote, words)])


def _plain_path(word: str) -> str:
    """An absolute path from the last folder of a clone in it; its last part where there is none."""
    if not word.startswith("/"):
        return word
    parts = PurePosixPath(word).parts
    known = [place for place, part in enumerate(parts[:-1]) if part in ROOTS]
    return "/".join(parts[known[-1] :]) if known else parts[-1]


def _hours(starts: Sequence[Mapping[str, Any]], rows: Sequence[Mapping[str, Any]]) -> float:
    """Of all starts; of one that was killed, which has no end, the time of the steps that are left of it."""
    seconds = 0.0
    for number, start in enumerate(starts):
        if start["end"] is not None:
            begin, end = (datetime.fromisoformat(start[key]) for key in ("start", "end"))
            seconds += (end - begin).total_seconds()
            continue
        stop = starts[number + 1].get("first_iteration", 0) if number + 1 < len(starts) else None
        before = start.get("first_iteration", 0) - 1
        for step, per_step in curve(rows, "time"):
            if step > before and (stop is None or step < stop):
                seconds += per_step * (step - before)
                before = step
    return seconds / 3600


def _hardware(start: Mapping[str, Any]) -> str:
    processes, threads = start["processes"], start["threads"]
    several = f"{processes} processes of " if processes > 1 else ""
    return f"{start['device']}, {several}{threads} {'thread' if threads == 1 else 'threads'}"


def _group(group: Mapping[str, Any], units: int | None) -> Group:
    known = group.get("intervals", {})
    return Group(
        images=group["images"],
        nuclei=group["counts"]["true nuclei"],
        image_mean=_scores(group["image_mean"], known.get("image_mean", {}), IMAGE_MEANS),
        pooled=_scores(group["pooled"], known.get("pooled", {}), POOLED),
        units=units,
    )


def _scores(values: Mapping[str, Any], intervals: Mapping[str, Any], names: Sequence[str]) -> dict[str, Score]:
    return {
        name: Score(*(round(float(one), DECIMALS) for one in (values[name], *intervals.get(name, ()))))
        for name in names
        if values.get(name) is not None
    }


def _no_scores(path: Path, found: str) -> InputError:
    return InputError(path, expected="scores.json of a model on one data set", found=found,
                      remedy="Give the file that nucleus train --eval-only wrote.")  # fmt: skip


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(path, expected="a JSON file of a run or an evaluation", found=str(error)[:160]) from error


def is_absolute(text: str) -> bool:
    """Whether a text names a place on one machine."""
    return re.match(r"/|~|[A-Za-z]:[\\/]", text) is not None
