"""An evaluation of files from end to end: score, say how sure it is, write tables and report."""

from __future__ import annotations

import functools
import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nucleus.errors import InputError
from nucleus.evaluation.groups import read_groups
from nucleus.evaluation.report import LabelPair
from nucleus.evaluation.score_files import MAX_DETECTIONS, FileScores, score_files
from nucleus.evaluation.score_pair import read_labels
from nucleus.evaluation.sources import open_source
from nucleus.evaluation.write_evaluation import write_evaluation
from nucleus.formats.image_source import open_image

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Evaluation:
    """What came out.

    Attributes:
        scores: the scores of each image and their summaries.
        text: the tables, for people.
        files: what was written, if anything.
    """

    scores: FileScores
    text: str
    files: list[Path]


def evaluate_files(
    truth: str | Path,
    predictions: str | Path,
    output: str | Path,
    *,
    truth_suffix: str = "",
    prediction_suffix: str = "",
    score_threshold: float | None = None,
    allow_missing: bool = False,
    groups: str | Path | None = None,
    pictures: str | Path | None = None,
    coco_ap: bool = True,
    max_detections: int = MAX_DETECTIONS,
    report: bool = True,
    command: str = "",
    workers: int = 1,
    progress: bool = False,
) -> Evaluation:
    """Score files against files and write what came out.

    Args:
        truth: a source of label images; see `nucleus.evaluation.sources`.
        predictions: likewise.
        output: folder, made if missing: scores.json, scores.csv, images.csv; of scored detections threshold.csv and
            threshold.png; report.html, report.md and report_pictures/.
        truth_suffix: end of the truth's image names that is no part of them.
        prediction_suffix: likewise, such as "_cp_masks".
        score_threshold: lowest score of a predicted mask that becomes a nucleus; None for the default of its kind of
            file, see `nucleus.evaluation.source_entries`.
        allow_missing: a missing prediction counts as an image without nuclei.
        groups: CSV with modality and group of the images; see `nucleus.evaluation.groups`.
        pictures: folder of the images, to draw on in the report; also tells sizes that nobody else knows.
        coco_ap: compute COCO AP of scored detections, which holds all run lengths in memory.
        max_detections: highest-scored detections of an image that count for COCO AP.
        report: write the report.
        command: how it was started, for the report.
        workers: processes.
        progress: show a bar where stderr is a terminal.

    Returns:
        The scores, the text of the tables, and the files.

    Raises:
        InputError: see `score_files`.
        OSError: the folder cannot be written. Each file is either the old one or complete.
    """
    if Path(output).exists() and not Path(output).is_dir():  # before the work
        raise InputError(output, expected="a folder to write into", found="a file")
    for side, source in (("--truth", truth), ("--pred", predictions)):
        if Path(source).is_dir() and Path(output).resolve() == Path(source).resolve():
            raise InputError("--output", expected=f"another folder than {side}", found=str(output))
    true = open_source(truth, suffix=truth_suffix)
    scores = score_files(
        true,
        open_source(predictions, suffix=prediction_suffix, truth=true),
        score_threshold=score_threshold,
        allow_missing=allow_missing,
        groups=None if groups is None else read_groups(groups),
        pictures=None if pictures is None else Path(pictures),
        coco_ap=coco_ap,
        max_detections=max_detections,
        workers=workers,
        progress=progress,
    )
    name = Path(scores.settings["predictions"]).name
    pictures_of = functools.partial(_label_pair, scores)
    text, files = write_evaluation(scores, Path(output), name, report=report, pictures=pictures_of, command=command)
    return Evaluation(scores, text, files)


def _label_pair(scores: FileScores, position: int) -> LabelPair:
    job = scores.jobs[position]
    truth, prediction = read_labels(job, scores.score_threshold)
    image = None if job.picture is None else _picture(job.picture)
    return LabelPair(truth, prediction, image if image is not None and image.shape[:2] == truth.shape else None)


def _picture(path: Path) -> np.ndarray | None:
    """What is drawn below the outlines, uint8 (H, W, 3); None where the file cannot be read."""
    try:
        with open_image(path) as source:
            return source.read_rgb8(0, 0, *source.shape[:2])
    except InputError as error:
        logger.warning("Drawn without its image: %s", error)
        return None
