"""The card of a model: one page of Markdown with two pictures, made of the files that training and evaluation wrote."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from nucleus.config import load_config
from nucleus.errors import InputError
from nucleus.evaluation.image_names import name_of
from nucleus.evaluation.panels import error_panel
from nucleus.evaluation.sources import match_pairs, open_source
from nucleus.formats.atomic import atomic_write
from nucleus.formats.image import read_image
from nucleus.modeling.mask_scoring import PARAMETERS
from nucleus.visualization.canvas import save_picture
from nucleus.visualization.learning_curve import learning_curve
from nucleus.visualization.panel import save_panels
from nucleus.zoo.evidence import curve, read_metrics, read_scores
from nucleus.zoo.listing import SCORES, score_of, score_text, speed_words, training_words, words
from nucleus.zoo.manifest import CONFIG
from nucleus.zoo.zoo_model import OVERALL, Evaluation, Run, ZooModel

FAILURES = 4  # images
SHRUNK = 0.7  # of the panels, so that the file stays small
SHOWN = 8  # characters of an image's name
RECALL = "recall@0.50"
UNSEEN = "which was used neither for training nor to choose the threshold"
SEEN = "on which training was watched and the threshold chosen, so that it flatters"


def write_card(
    path: Path,
    model: ZooModel,
    *,
    run: Path,
    test_scores: Path,
    truth: Path | None = None,
    images: Path | None = None,
) -> list[Path]:
    """Write the card and its pictures beside it.

    Args:
        path: of the card, NAME.md.
        model: what is known of it.
        run: folder of its last training run, for the learning curve.
        test_scores: scores.json on the test set; images.csv and the detections lie beside it.
        truth: the COCO file of the test set; None to leave the failures out.
        images: the folder that the file names in it are relative to.

    Returns:
        The files.

    Raises:
        InputError: a file is missing or broken.
    """
    pictures = {"curve": path.with_name(f"{path.stem}_curve.png"), "failures": path.with_name(f"{path.stem}_worst.jpg")}
    rows = read_metrics(run)
    losses = {"training": curve(rows, "total_loss"), "validation": curve(rows, "validation/total_loss")}
    if load_config(run / CONFIG).SOLVER.TRAIN_ONLY == PARAMETERS:  # no other loss changes
        losses = {"mask scoring, training": curve(rows, "loss_mask_scoring")}
    scores = {name: curve(rows, f"nucleus/{name} (image mean)") for name in ("DSB score", "object F1@0.70")}
    save_picture(pictures["curve"], learning_curve(losses, scores))
    failures: list[dict[str, str]] = []
    if truth is not None and images is not None:
        failures = worst_to_best(test_scores.with_name("images.csv"))[:FAILURES]
        panels = image_panels(failures, model, test_scores, truth, images)
        save_panels(pictures["failures"], [cv2.resize(one, None, fx=SHRUNK, fy=SHRUNK, interpolation=cv2.INTER_AREA)
                                           for one in panels])  # fmt: skip
    else:
        del pictures["failures"]
    content = read_scores(test_scores)
    sections = [
        f"# {model.name}", f"{model.summary}.", *_facts(model), *_use(model), *_scores(model),
        *_failures(failures, content, pictures), *_training(model, pictures), *_limits(model, content),
    ]  # fmt: skip
    with atomic_write(path) as temporary:
        temporary.write_text("\n\n".join(sections) + "\n", encoding="utf-8")
    return [path, *pictures.values()]


def worst_to_best(path: Path) -> list[dict[str, str]]:
    """The rows of images.csv by DSB score, worst first.

    Raises:
        InputError: the file is missing or broken.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return sorted(csv.DictReader(file), key=lambda row: float(row["DSB score"]))
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise InputError(path, expected="the scores of each image", found=str(error)[:160]) from error


def image_panels(
    rows: Sequence[Mapping[str, str]], model: ZooModel, test_scores: Path, truth: Path, images: Path
) -> list[np.ndarray]:
    """Draw truth, prediction and errors of some images, from the detections that the evaluation wrote.

    Returns:
        uint8 (H, W, 3) each, RGB.

    Raises:
        InputError: a file is missing or broken, or the truth does not have these images.
    """
    true = open_source(truth)
    found = open_source(test_scores.with_name("coco_instances_results.json"), truth=true)
    pairs = {pair.name: pair for pair in match_pairs(true, found, allow_missing=True)}
    panels = []
    for row in rows:
        name = name_of(row["image"])
        if name not in pairs:
            raise InputError(truth, expected=f"the image {name}", found="others",
                             remedy="Give the COCO file that was evaluated: --truth.")  # fmt: skip
        labels = pairs[name].truth.read(None, False).labels
        content = pairs[name].prediction.read(labels.shape, False)
        predicted, _ = content.at_threshold(model.score_threshold.value)
        title = f"{words(row['modality'])}, {Path(name).name[:SHOWN]}"
        panels.append(error_panel(read_image(images / row["image"]), labels, predicted, title))
    return panels


def _facts(model: ZooModel) -> list[str]:
    weights = model.weights
    place = "nothing to fetch" if weights.url is None else f"fetched from {weights.url} when it is first used"
    size = f"{model.parameters / 1e6:.2f} M parameters, {weights.bytes / 1e6:.1f} MB ({weights.precision}), {place}"
    rows = {
        "size": size,
        "score threshold": f"{model.score_threshold.value:g}, chosen on `{model.score_threshold.data_set}`",
        "speed": speed_words(model),
        "licence": f"weights {model.licence.weights}; data: {model.licence.data}",
        "SHA-256": f"`{weights.sha256}`",
    }
    return [_table(["", ""], [[name, text] for name, text in rows.items() if text])]


def _use(model: ZooModel) -> list[str]:
    commands = [
        f"nucleus predict images/ --output nuclei/ --model {model.name}",
        f"nucleus train --config-file nucleus://{model.name} --eval-only DATASETS.TEST \"('{model.tested_on}',)\"",
        f"nucleus train --config-file nucleus://{model.name} DATASETS.TRAIN \"('mine',)\" "
        "DATASETS.TEST \"('mine_val',)\" OUTPUT_DIR output/mine",
    ]
    return ["## Use", "\n".join(f"    {command}" for command in commands),
            "find nuclei, score it, and train on from it. In Python: "
            f'`nucleus.load_model("{model.name}").predict(image)`.']  # fmt: skip


def _scores(model: ZooModel) -> list[str]:
    sections = ["## Scores"]
    for number, (name, evaluation) in enumerate(model.scores.items()):
        role = SEEN if number else UNSEEN
        sections += [f"On `{name}`, {role}; score threshold {evaluation.threshold:g}.", _score_table(evaluation)]
    method = next(iter(model.scores.values())).interval
    sections.append("Means over images, COCO AP over all nuclei" + (f"; in brackets {method}." if method else "."))
    if model.agreement is not None:
        same = model.agreement
        sections.append(
            f"The scores are those of the weights as trained. The stored ones, in {model.weights.precision}, find the "
            f"same nuclei: object F1@0.90 of {same.object_f1:.4f} between the two on {same.images} images "
            f"({same.source}) with {same.nuclei:,} nuclei."
        )
    return sections


def _score_table(evaluation: Evaluation) -> str:
    groups = evaluation.groups
    rows = [["images", *(f"{group.images:,}" for group in groups.values())]]
    if any(group.units is not None for group in groups.values()):
        rows.append(
            ["fields of view", *("-" if group.units is None else f"{group.units}" for group in groups.values())]
        )
    rows.append(["true nuclei", *(f"{group.nuclei:,}" for group in groups.values())])
    for name, pooled in SCORES:
        cells = [score_of(group, name, pooled) for group in groups.values()]
        if any(cells):
            rows.append([name, *map(score_text, cells)])
    return _table(["", *map(words, groups)], rows)


def _failures(rows: Sequence[Mapping[str, str]], content: Mapping[str, Any], pictures: Mapping[str, Path]) -> list[str]:
    counts = content["scores"][OVERALL]["counts"]
    text = (
        f"Of {counts['true nuclei']:,} nuclei {counts['false negatives@0.50']:,} are missed at IoU 0.5, and "
        f"{counts['false positives@0.50']:,} of {counts['predicted nuclei']:,} predicted ones are false; "
        f"{counts['merges']:,} predictions merge several nuclei, {counts['splits']:,} nuclei are split."
    )
    sections = ["## Where it fails", text]
    sizes = content["scores"][OVERALL]["sizes"]
    if sizes:
        table = [[_area(size), f"{one['true nuclei']:,}", f"{one[RECALL]:.3f}"] for size, one in sizes.items()
                 if one["true nuclei"]]  # fmt: skip
        sections.append(_table(["area of the nucleus", "true nuclei", "found at IoU 0.5"], table))
    if rows:
        sections += [f"The {len(rows)} test images with the lowest DSB score: image, truth, prediction, errors.",
                     f"![Image, truth, prediction and errors]({pictures['failures'].name})"]  # fmt: skip
    return sections


def _training(model: ZooModel, pictures: Mapping[str, Path]) -> list[str]:
    sections = ["## Training", f"On {', '.join(f'`{name}`' for name in model.trained_on)}, with these commands:"]
    sections.append("\n".join(f"    {run.command}" for run in model.training))
    sections += [_run_table(model, run) for run in model.training]
    return [*sections, f"![Losses and scores by step]({pictures['curve'].name})"]


def _run_table(model: ZooModel, run: Run) -> str:
    commit = run.commit or "unknown"
    rows = [
        ["time", training_words(run.hours, run.steps, run.images)],
        ["hardware", run.hardware],
        ["seed", str(run.seed)],
        ["source", f"commit `{commit[:12]}`" + (", with changes" if run.modified else "")],
        ["versions", ", ".join(f"{name} {version}" for name, version in run.versions.items() if version)],
        *([f"SHA-256 of {name}", f"`{digest}`"] for name, digest in run.data.items() if digest),
        ["SHA-256 of the config", f"`{run.config_sha256}`"],
    ]
    return _table(["", ""], rows)


def _limits(model: ZooModel, content: Mapping[str, Any]) -> list[str]:
    overall, kinds = content["scores"][OVERALL], {k: v for k, v in content["scores"].items() if k != OVERALL}
    lines = [
        "Made for nuclei in light-microscope images of cultured cells and tissue, fluorescent or stained, as in the "
        "data that it was trained on. It is for research: it has not been validated for diagnosis or any other "
        "clinical use.",
    ]
    if len(kinds) > 1:
        ranked = sorted(kinds, key=lambda kind: kinds[kind]["image_mean"]["DSB score"])
        low, high = ({"name": words(kind), "score": kinds[kind]["image_mean"]["DSB score"],
                      "images": kinds[kind]["images"]} for kind in (ranked[0], ranked[-1]))  # fmt: skip
        lines.append(
            f"It is weakest on images of the kind {low['name']} (DSB score {low['score']:.3f} on {low['images']}) and "
            f"strongest on {high['name']} ({high['score']:.3f} on {high['images']}). Stains, magnifications and "
            "instruments that the training data lack can do worse still: look at its results on a few of your images "
            "(`--format overlay`) before you count."
        )
    sizes = {size: one for size, one in overall["sizes"].items() if one["true nuclei"]}
    if len(sizes) > 1:
        worst = min(sizes, key=lambda size: sizes[size][RECALL])
        lines.append(
            f"By area it is weakest on nuclei of {_area(worst)}: {sizes[worst][RECALL]:.0%} are found at IoU 0.5."
        )
    return ["## Intended use and limits", *lines]


def _area(size: str) -> str:
    """A class of nucleus areas: "to 100", "100 to 300", "above 1000"."""
    return f"{'up ' if size.startswith('to ') else ''}{size} pixels"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [list(header), ["---"] * len(header), *map(list, rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
