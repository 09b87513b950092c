"""What is known of models as text for a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from nucleus.zoo.files import cached_file
from nucleus.zoo.manifest import CONFIG
from nucleus.zoo.zoo_model import OVERALL, Evaluation, Group, Score, ZooModel

NONE = """No model ships with this version yet. Train one (nucleus train), and give its weights to the commands:
  nucleus predict images/ --output nuclei/ --weights output/quick/model_final.pth"""
HEADLINES = ("DSB score", "object F1@0.70", "pixel Dice")  # of the list
# Of one model, by kind of image: name, and whether it is pooled over nuclei in place of a mean over images.
SCORES = (
    ("DSB score", False),
    ("object F1@0.50", False),
    ("object F1@0.70", False),
    ("pixel Dice", False),
    ("AJI", False),
    ("PQ", False),
    ("seed protocol DSB score", False),
    ("seed protocol object F1@0.70", False),
    ("seed protocol pixel Dice", False),
    ("COCO AP (boxes)", True),
    ("COCO AP (masks)", True),
)


def list_models(models: Sequence[ZooModel]) -> str:
    """A block of lines a model: size, scores with intervals, threshold, speed, licence, data."""
    if not models:
        return NONE
    return "\n\n".join("\n".join([f"{model.name}: {model.summary}", *_facts(model)]) for model in models)


def describe(model: ZooModel, folder: Path) -> str:
    """All that is known of a model.

    Args:
        model: which.
        folder: of all models.
    """
    cached = cached_file(model)
    place = folder / model.name / model.weights.file if cached is None else cached
    state = "" if cached is None or cached.is_file() else f" (not here yet; from {model.weights.url})"
    lines = [f"{model.name}: {model.summary}", *_facts(model), "", "Files"]
    lines += [f"  {place}{state}", f"  {folder / model.name / CONFIG}", f"  SHA-256 {model.weights.sha256}"]
    for name, evaluation in model.scores.items():
        lines += ["", *score_lines(name, evaluation)]
    lines += ["", "Training, on " + ", ".join(model.trained_on)]
    for run in model.training:
        lines += [f"  {run.command}", f"  {training_words(run.hours, run.steps, run.images)}",
                  f"  seed {run.seed}, {run.hardware}"]  # fmt: skip
    return "\n".join(lines)


def score_lines(name: str, evaluation: Evaluation) -> list[str]:
    """A table of the scores on one data set, a column a kind of image, intervals below."""
    groups = evaluation.groups
    rows = [[f"{name}, score threshold {evaluation.threshold:g}", *(words(group) for group in groups)]]
    rows.append(["  images", *(f"{group.images:,}" for group in groups.values())])
    rows.append(["  true nuclei", *(f"{group.nuclei:,}" for group in groups.values())])
    for score, pooled in SCORES:
        cells = [score_of(group, score, pooled) for group in groups.values()]
        if any(cells):
            rows.append([f"  {score}", *(score_text(cell) for cell in cells)])
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "  ".join([row[0].ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(row[1:], widths[1:], strict=True))])
        for row in rows
    ]
    method = f"; in brackets {evaluation.interval}" if evaluation.interval else ""
    return [*lines, f"  Means over images, COCO AP over all nuclei{method}."]


def score_of(group: Group, name: str, pooled: bool) -> Score | None:
    """A score of a kind of image, or None."""
    scores: Mapping[str, Score] = group.pooled if pooled else group.image_mean
    return scores.get(name)


def score_text(score: Score | None) -> str:
    """To three decimals, with the interval where there is one."""
    if score is None:
        return "-"
    interval = "" if score.low is None or score.high is None else f" ({score.low:.3f} to {score.high:.3f})"
    return f"{score.value:.3f}{interval}"


def training_words(hours: float, steps: int, images: int) -> str:
    """How long a run took, and how much it saw."""
    time = f"{hours:.1f} hours" if hours >= 1 else f"{60 * hours:.0f} minutes"
    return f"{time}, {steps:,} steps, {images:,} crops"


def speed_words(model: ZooModel) -> str:
    """How fast it is; empty where that was not measured."""
    speed = model.speed
    if speed is None:
        return ""
    return (f"{speed.images_per_second:.3g} images of {speed.side} x {speed.side} pixels a second "
            f"({speed.hardware}, {speed.precision})")  # fmt: skip


def words(group: str) -> str:
    """The name of a kind of image as people read it."""
    return "all images" if group == OVERALL else group.replace("_", " ")


def _facts(model: ZooModel) -> list[str]:
    weights = model.weights
    lines = [
        f"  size       {weights.bytes / 1e6:.1f} MB, {model.parameters / 1e6:.1f} M parameters, "
        + ("nothing to fetch" if weights.url is None else "fetched when it is first used")
    ]
    if model.tested_on:
        overall = model.scores[model.tested_on].groups[OVERALL]
        found = [(name, score_of(overall, name, False)) for name in HEADLINES]
        scores = ", ".join(f"{name} {score_text(score)}" for name, score in found if score is not None)
        lines.append(f"  scores     {scores} on {model.tested_on}")
    threshold = model.score_threshold
    lines.append(f"  threshold  {threshold.value:g}, chosen on {threshold.data_set}")
    if model.speed is not None:
        lines.append(f"  speed      {speed_words(model)}")
    lines.append(f"  licence    {model.licence.weights}; data: {model.licence.data}")
    return [*lines, f"  data       {', '.join(model.trained_on)}"]
