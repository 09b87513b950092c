"""From images to a data set: the scores overall and by modality, as image means and pooled."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from nucleus.errors import InputError
from nucleus.evaluation.counts import pool
from nucleus.evaluation.image_scores import COUNTS, SCORES, ImageScores
from nucleus.evaluation.nucleus_sizes import SIZES

OVERALL = "overall"


@dataclass(frozen=True, slots=True)
class ScoredImage:
    """One image with its counts.

    Attributes:
        name: what a person finds the image by: its file name.
        modality: kind of image, such as "small_fluorescent"; "unknown" where nobody said.
        scores: its counts.
        group: what images of one field of view, slide or patient share, so that they are no independent samples; ""
            where nobody said.
    """

    name: str
    modality: str
    scores: ImageScores
    group: str = ""


@dataclass(frozen=True)
class Summary:
    """Scores of several images.

    Attributes:
        images: how many.
        counts: nuclei and matches by name, summed over the images.
        image_mean: each score by name, the mean over the images.
        pooled: each score by name, from counts summed over the images; COCO AP, which ranks the detections of all
            images together, is here as well.
        outline_offset: pixels by which the outlines of matched predictions lie outside the true ones, the mean over the
            nuclei; NaN without a match.
        sizes: counts and pooled scores of the nuclei of each size; see `nucleus_sizes`.
    """

    images: int
    counts: dict[str, int]
    image_mean: dict[str, float]
    pooled: dict[str, float]
    outline_offset: float = math.nan
    sizes: dict[str, dict[str, float]] = field(default_factory=dict)


def by_modality(modalities: Sequence[str]) -> dict[str, list[int]]:
    """Positions of all images as "overall", then of those of each modality, the modalities by name.

    Raises:
        InputError: a modality is called "overall".
    """
    if OVERALL in modalities:
        raise InputError(
            "modality", expected=f"another name than {OVERALL}, which stands for all images", found=OVERALL
        )
    groups = {OVERALL: list(range(len(modalities)))}
    for position, modality in sorted(enumerate(modalities), key=lambda item: item[1]):
        groups.setdefault(modality, []).append(position)
    return groups


def summarize(
    images: Sequence[ScoredImage], coco_ap: Mapping[str, Mapping[str, float]] | None = None
) -> dict[str, Summary]:
    """Bring the scores of images together.

    Args:
        images: at least one.
        coco_ap: COCO AP by name, for "overall" and for each modality, if it was computed.

    Returns:
        The summary of "overall" and of each modality.

    Raises:
        ValueError: no image.
    """
    return summarize_groups(images, by_modality([image.modality for image in images]), coco_ap)


def summarize_groups(
    images: Sequence[ScoredImage],
    groups: Mapping[str, Sequence[int]],
    coco_ap: Mapping[str, Mapping[str, float]] | None = None,
) -> dict[str, Summary]:
    """Bring the scores of images together, by any grouping.

    Args:
        images: at least one.
        groups: positions in `images`, at least one, by the name of the group.
        coco_ap: COCO AP by name, for each group, if it was computed.

    Returns:
        The summary of each group.

    Raises:
        ValueError: no image.
    """
    if not images:
        raise ValueError("expected at least one scored image, found none")
    rows = [[score(image.scores) for score in SCORES.values()] for image in images]
    return {
        group: _summary(
            [images[position].scores for position in positions],
            [rows[position] for position in positions],
            (coco_ap or {}).get(group, {}),
        )
        for group, positions in groups.items()
    }


def _summary(members: list[ImageScores], rows: list[list[float]], coco_ap: Mapping[str, float]) -> Summary:
    """Bring images together; `rows` are their scores, in the order of SCORES."""
    pooled = pool(members)
    return Summary(
        images=len(members),
        counts={name: int(count(pooled)) for name, count in COUNTS.items()},
        image_mean={
            name: math.fsum(column) / len(members) for name, column in zip(SCORES, zip(*rows, strict=True), strict=True)
        },
        pooled={name: score(pooled) for name, score in SCORES.items()} | dict(coco_ap),
        outline_offset=pooled.outlines.offset,
        sizes={name: pooled.sizes.scores(position) for position, name in enumerate(SIZES)},
    )
