"""One image of files against files: read both sides, score them, keep the counts. Runs in worker processes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from nucleus.errors import InputError
from nucleus.evaluation.image_scores import ImageScores, score_table
from nucleus.evaluation.label_checks import check_stored_labels
from nucleus.evaluation.source_entries import ALL, Content, Entry, LabelFile
from nucleus.evaluation.sources import Pair
from nucleus.evaluation.threshold import RankedNuclei, rank_nuclei
from nucleus.formats.image_source import open_image
from nucleus.masks.overlap import overlap_table

DROPPED = "detections dropped as parts of others"


@dataclass(frozen=True, slots=True)
class Job:
    """A pair, and its picture where one is known."""

    pair: Pair
    picture: Path | None = None


@dataclass(frozen=True, slots=True)
class Scored:
    """What a process gives back of one image.

    Attributes:
        scores: counts.
        size: H and W in pixels.
        scored: the predicted masks have scores; False without any mask.
        suspicions: of truth and prediction, keys of `label_checks.MEANING`.
        events: what happened in reading, by what it is; see `_events`.
        truth, detections: COCO annotations, for COCO AP.
        ranked: the predicted nuclei with their scores, if they have any.
    """

    scores: ImageScores
    size: tuple[int, ...]
    scored: bool
    suspicions: tuple[str | None, str | None]
    events: dict[str, int] = field(default_factory=dict)
    truth: list[dict[str, Any]] = field(default_factory=list)
    detections: list[dict[str, Any]] = field(default_factory=list)
    ranked: RankedNuclei | None = None


def read_labels(job: Job, score_threshold: float = ALL) -> tuple[np.ndarray, np.ndarray]:
    """Read truth and prediction of one image, for pictures.

    Args:
        job: one of `FileScores.jobs`.
        score_threshold: lowest score of a predicted mask that becomes a nucleus.

    Returns:
        Two label images, int32 (H, W) of one size.

    Raises:
        InputError: a file cannot be read.
    """
    truth, prediction = read_pair(job)
    return truth.labels, prediction.at_threshold(score_threshold)[0]


def read_pair(job: Job, annotations: bool = False) -> tuple[Content, Content]:
    """Read truth and prediction of one image.

    Args:
        job: the pair, and the image itself for its size, should neither side know it.
        annotations: give COCO annotations, too.

    Returns:
        Truth and prediction, label images of one size.

    Raises:
        InputError: sizes differ or are unknown, or a file cannot be read.
    """
    true, predicted = job.pair.truth, job.pair.prediction
    size = true.size or predicted.size
    if size is None and not (true.has_size or predicted.has_size):
        if job.picture is None:
            raise InputError(true.where, expected="a source that knows the size of the image on one side",
                             found="none: neither outlines nor bare run lengths do",
                             remedy="Name the folder of the images with --images.")  # fmt: skip
        with open_image(job.picture) as source:
            size = source.shape[0], source.shape[1]
    contents: dict[bool, Content] = {}
    for is_truth in sorted((True, False), key=lambda side: not (true if side else predicted).has_size):
        contents[is_truth] = (true if is_truth else predicted).read(size, annotations)
        height, width = contents[is_truth].labels.shape  # label images tell the size to what does not know it
        size = size or (height, width)
    truth, prediction = contents[True], contents[False]
    if truth.labels.shape != prediction.labels.shape:
        (height, width), found = truth.labels.shape, prediction.labels.shape
        raise InputError(predicted.where, expected=f"{height} x {width} pixels, as {true.where}",
                         found=f"{found[0]} x {found[1]}")  # fmt: skip
    return truth, prediction


@dataclass(frozen=True)
class ScoreChunk:
    """Scores a few images, in whatever process.

    Args:
        score_threshold: lowest score of a predicted mask that becomes a nucleus.
        with_masks: give back annotations for COCO AP.
    """

    score_threshold: float
    with_masks: bool

    def __call__(self, jobs: Sequence[Job]) -> list[Scored]:
        return [self._score(job) for job in jobs]

    def _score(self, job: Job) -> Scored:
        truth, prediction = read_pair(job, self.with_masks)
        labels, dropped = prediction.at_threshold(self.score_threshold)
        table = overlap_table(truth.labels, labels)
        ranked = None
        if prediction.scores is not None:
            complete = table if labels is prediction.labels else overlap_table(truth.labels, prediction.labels)
            ranked = rank_nuclei(complete, prediction.scores)
        elif len(table.prediction_ids) == 0:
            ranked = rank_nuclei(table, [])
        return Scored(
            score_table(table, truth.labels, labels),
            truth.labels.shape,
            prediction.scores is not None,
            (
                _suspicion(job.pair.truth, truth.labels, table.truth_ids),
                _suspicion(job.pair.prediction, labels, table.prediction_ids),
            ),
            _events(truth, prediction, dropped),
            truth.annotations,
            prediction.annotations,
            ranked,
        )


def _suspicion(entry: Entry, labels: np.ndarray, ids: np.ndarray) -> str | None:
    return check_stored_labels(labels, ids, entry.path) if isinstance(entry, LabelFile) else None


def _events(truth: Content, prediction: Content, dropped: int) -> dict[str, int]:
    """What happened in reading an image, without what did not."""
    events = {
        DROPPED: dropped,
        "Pixels claimed by several true nuclei, which the first in the file keeps": truth.shared,
        "Pixels claimed by several predicted nuclei, which the first in the file keeps": prediction.shared,
        "True nuclei without a pixel of their own, which do not count": truth.vanished,
        "Predicted nuclei without a pixel of their own, which do not count": prediction.vanished,
        "True nuclei with scores that lie mostly under better ones, which do not count": truth.lost,
        "Crowd regions of the truth; what is predicted there counts as false, but in COCO AP": truth.crowds,
    }
    return {what: count for what, count in events.items() if count}
