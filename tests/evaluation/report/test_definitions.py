"""A definition for whatever is printed."""

from __future__ import annotations

from nucleus.evaluation.image_scores import SCORES
from nucleus.evaluation.report.definitions import DEFINITIONS, definitions_of


def test_every_score_is_defined() -> None:
    for name in (*SCORES, "COCO AP (masks)", "COCO AP75 (boxes)", "COCO AR (masks)"):
        assert definitions_of([name]), name


def test_only_what_is_asked_for_in_their_order() -> None:
    assert list(definitions_of(["PQ", "object F1@0.70"])) == ["object F1", "PQ"]
    assert list(definitions_of(DEFINITIONS)) == list(DEFINITIONS)
