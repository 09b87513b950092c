"""What scoring a set of images gives, whoever scored it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from nucleus.evaluation.summary import ScoredImage, Summary
from nucleus.evaluation.threshold import RankedNuclei


@dataclass(frozen=True)
class ScoredSet:
    """Scores of a set of images.

    Attributes:
        images: each image with its counts.
        summaries: overall and by modality; see `summary.summarize`.
        settings: what the scores depend on, by name.
        warnings: what a reader must know before trusting the scores, a sentence each.
        ranked: the predicted nuclei of each image with their scores, for the curve over the score threshold; empty
            unless all predictions have scores.
        score_threshold: lowest score of what counts here; -inf without scores.
    """

    images: list[ScoredImage]
    summaries: dict[str, Summary]
    settings: dict[str, Any]
    warnings: list[str]
    ranked: list[RankedNuclei]
    score_threshold: float
