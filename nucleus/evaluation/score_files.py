"""Scores of files against files: every image in one pass, in several processes, with memory for one image each.

Of an image only its counts are kept, and for COCO AP, which ranks the detections of all images together, the run
lengths of its masks. Sums are exact, so that the scores do not depend on how the images were divided.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from nucleus.errors import InputError
from nucleus.evaluation.coco_ap import coco_average_precision
from nucleus.evaluation.groups import Groups
from nucleus.evaluation.image_names import IMAGE_SUFFIXES, files_by_name, listed, match_names
from nucleus.evaluation.label_checks import refuse_binary, suspicion_warnings
from nucleus.evaluation.score_pair import DROPPED, Job, ScoreChunk, Scored
from nucleus.evaluation.scored_set import ScoredSet
from nucleus.evaluation.source_entries import ALL, Nothing
from nucleus.evaluation.sources import Pair, Source, match_pairs
from nucleus.evaluation.summary import ScoredImage, by_modality, summarize
from nucleus.formats.coco import NUCLEUS
from nucleus.masks.resolve_overlaps import MIN_KEPT
from nucleus.processes import in_order

UNKNOWN = "unknown"
MAX_DETECTIONS = 1000
CHUNK = 16  # images handed to a process at once
WORTH_A_PROCESS = 64  # images; a process takes a second to start


@dataclass(frozen=True)
class FileScores(ScoredSet):
    """What came out, each image in the order of `pairs`.

    Attributes:
        jobs: what was scored; `score_pair.read_labels` reads one again.
        sizes: H and W in pixels.
    """

    jobs: list[Job]
    sizes: list[tuple[int, ...]]


def score_files(
    truth: Source,
    predictions: Source,
    *,
    score_threshold: float | None = None,
    allow_missing: bool = False,
    groups: Groups | None = None,
    pictures: Path | None = None,
    coco_ap: bool = True,
    max_detections: int = MAX_DETECTIONS,
    workers: int = 1,
    progress: bool = False,
) -> FileScores:
    """Score predictions against truth, both in files.

    Args:
        truth: as `sources.open_source` gives it.
        predictions: likewise.
        score_threshold: lowest score of a mask that becomes a nucleus; None for what its kind of file asks for
            (`source_entries.DETECTIONS_THRESHOLD` for COCO detections). Masks without scores all count.
        allow_missing: a missing prediction counts as an image without nuclei.
        groups: modality and group of images; they come before what the truth says.
        pictures: folder of the images: for their sizes where neither truth nor predictions know them, and for reports.
        coco_ap: compute COCO AP, too, if every prediction has a score.
        max_detections: highest-scored detections of an image that count for COCO AP.
        workers: processes; fewer are started for a few hundred images. The scores are the same with any number.
        progress: show a bar where stderr is a terminal.

    Returns:
        The scores of each image, and their summaries.

    Raises:
        InputError: the images do not match, sizes differ, a file cannot be read or does not hold what it should, or
            label images are binary masks.
    """
    if max_detections < 1:
        raise InputError("--max-detections", expected="1 or more", found=str(max_detections))
    if score_threshold is not None and not math.isfinite(score_threshold):
        raise InputError("--score-threshold", expected="a finite number", found=str(score_threshold))
    pairs = match_pairs(truth, predictions, allow_missing=allow_missing)
    jobs = _jobs(pairs, pictures)
    default_threshold = next(iter(predictions.entries.values())).default_threshold
    threshold = next((value for value in (score_threshold, default_threshold) if value is not None), ALL)
    with_masks = coco_ap and default_threshold is not None
    scored = _score(jobs, ScoreChunk(threshold, with_masks), workers, progress)
    refuse_binary(truth.path, [(one.suspicions[0], one.scores.objects.truths) for one in scored])
    refuse_binary(predictions.path, [(one.suspicions[1], one.scores.objects.predictions) for one in scored])

    modality, group = _modalities_and_groups(pairs, truth, groups)
    images = [
        ScoredImage(pair.name, modality.get(pair.name, UNKNOWN), one.scores, group.get(pair.name, ""))
        for pair, one in zip(pairs, scored, strict=True)
    ]
    ap = _coco_average_precision(scored, images, max_detections) if with_masks else {}
    settings = {
        "truth": f"{truth.path} ({truth.kind})",
        "predictions": f"{predictions.path} ({predictions.kind})",
    }
    if any(one.scored for one in scored):
        settings |= _detection_settings(scored, threshold, max_detections if ap else None)
    ranked = [one.ranked for one in scored if one.ranked is not None]
    return FileScores(
        images,
        summarize(images, ap),
        settings,
        _warnings(pairs, scored) + _missing_groups(pairs, groups),
        ranked if len(ranked) == len(scored) and any(one.scored for one in scored) else [],
        threshold,
        jobs,
        [one.size for one in scored],
    )


def _score(jobs: Sequence[Job], score: ScoreChunk, workers: int, progress: bool) -> list[Scored]:
    """Every image, in order, in as many processes as are worth it."""
    chunks = [jobs[start : start + CHUNK] for start in range(0, len(jobs), CHUNK)]
    workers = min(workers, max(1, len(jobs) // WORTH_A_PROCESS)) if workers > 1 else workers
    scored: list[Scored] = []
    with tqdm(desc="images", total=len(jobs), disable=None if progress else True) as bar:
        for chunk in in_order(score, chunks, workers):
            scored.extend(chunk)
            bar.update(len(chunk))
    return scored


def _jobs(pairs: Sequence[Pair], pictures: Path | None) -> list[Job]:
    if pictures is None:
        return [Job(pair) for pair in pairs]
    if not pictures.is_dir():
        raise InputError(pictures, expected="the folder of the images", found="none")
    files = files_by_name(pictures, IMAGE_SUFFIXES)
    matched = match_names([pair.name for pair in pairs], files)
    if not matched:
        raise InputError(pictures, expected=f"images named as {listed(pair.name for pair in pairs)}",
                         found=f"others: {listed(files)}" if files else "none")  # fmt: skip
    return [Job(pair, files[matched[pair.name]] if pair.name in matched else None) for pair in pairs]


def _modalities_and_groups(
    pairs: Sequence[Pair], truth: Source, groups: Groups | None
) -> tuple[dict[str, str], dict[str, str]]:
    """By name: what was given, and else what the truth says."""
    if groups is None:
        return dict(truth.modalities), dict(truth.groups)
    matched = match_names([pair.name for pair in pairs], groups.names)
    if not matched:
        raise InputError(groups.path, expected=f"images of {truth.path}", found=f"others: {listed(groups.names)}")
    modality = {name: groups.modalities[other] for name, other in matched.items() if other in groups.modalities}
    group = {name: groups.groups[other] for name, other in matched.items() if other in groups.groups}
    return {**truth.modalities, **modality}, {**truth.groups, **group}


def _missing_groups(pairs: Sequence[Pair], groups: Groups | None) -> list[str]:
    if groups is None or not (missing := len(pairs) - len(match_names([pair.name for pair in pairs], groups.names))):
        return []
    return [f"Images that are not in {groups.path}, each a group of its own: {missing:,} of {len(pairs):,}"]


def _warnings(pairs: Sequence[Pair], scored: Sequence[Scored]) -> list[str]:
    """One sentence a kind of thing that happened."""
    events: Counter[str] = Counter()
    for one in scored:
        events.update({what: count for what, count in one.events.items() if what != DROPPED})
    warnings = suspicion_warnings(
        (suspicion, entry.where)
        for pair, one in zip(pairs, scored, strict=True)
        for entry, suspicion in zip((pair.truth, pair.prediction), one.suspicions, strict=True)
    )
    warnings += [f"{what}: {count:,}" for what, count in events.items()]
    missing = sum(isinstance(pair.prediction, Nothing) for pair in pairs)
    if missing:
        warnings.append(f"Images without prediction, which count as images without predicted nuclei: {missing:,}")
    unscored = sum(not one.scored and one.scores.objects.predictions > 0 for one in scored)
    if unscored and any(one.scored for one in scored):
        warnings.append(f"Images whose predictions have no scores, unlike those of others, and all count: {unscored:,}")
    return warnings


def _detection_settings(scored: Sequence[Scored], threshold: float, max_detections: int | None) -> dict[str, Any]:
    """What the scores of detections depend on, named as the evaluator of a model names it."""
    settings: dict[str, Any] = {
        "score threshold": threshold if math.isfinite(threshold) else None,
        DROPPED: sum(one.events.get(DROPPED, 0) for one in scored),
        "share of its pixels that a detection must keep": MIN_KEPT,
    }
    if max_detections is not None:
        settings["detections"] = sum(len(one.detections) for one in scored)
        settings["detections counted by COCO AP at most"] = max_detections
    return settings


def _coco_average_precision(
    scored: Sequence[Scored], images: Sequence[ScoredImage], max_detections: int
) -> dict[str, dict[str, float]]:
    """COCO AP of boxes and masks, overall and by modality; nothing unless all detections have scores."""
    if not any(one.scored for one in scored) or any(one.detections and not one.scored for one in scored):
        return {}
    numbered = list(enumerate(scored, start=1))
    annotations = [annotation | {"image_id": number} for number, one in numbered for annotation in one.truth]
    truth = {
        "images": [{"id": number, "height": one.size[0], "width": one.size[1]} for number, one in numbered],
        "annotations": [annotation | {"id": number} for number, annotation in enumerate(annotations, start=1)],
        "categories": [NUCLEUS],
    }
    kept = ("category_id", "bbox", "score", "segmentation")
    results = [
        {"image_id": number} | {key: detection[key] for key in kept}
        for number, one in numbered
        for detection in one.detections
    ]
    groups = by_modality([image.modality for image in images])
    subsets = {group: [position + 1 for position in positions] for group, positions in groups.items()}
    boxes, masks = (
        coco_average_precision(truth, results, kind, subsets=subsets, max_detections=max_detections)
        for kind in ("bbox", "segm")
    )
    return {group: boxes[group] | masks[group] for group in groups}
