"""Which images are drawn, what is called an error in them, and how large the files are."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from nucleus.evaluation.report.pictures import BYTES, SIDE, WINDOW, LabelPair, choose, draw_example, encode, errors_of
from nucleus.masks.overlap import overlap_table


def test_the_worst_and_those_around_the_median() -> None:
    scores = [0.5, 0.1, 0.9, 0.3, 0.7, 0.2, 0.8]
    assert choose(scores, 2, 1) == [("worst", 1), ("2nd worst", 5), ("around the median", 0)]
    assert [at for _, at in choose(scores, 3, 3)] == [1, 5, 3, 0, 4, 6]  # no image twice
    assert [at for _, at in choose([0.4, 0.4], 4, 2)] == [0, 1]


def test_errors_by_hand(case: Any) -> None:
    pair = case.pairs[0]
    errors = errors_of(overlap_table(pair.truth, pair.prediction))
    # Halves have an IoU of exactly 1/2 with the whole, which no match has.
    assert (errors.matched_truth, errors.matched_prediction) == ([1], [1])
    assert (errors.split_truth, errors.pieces) == ([3], [2, 3])
    assert (errors.merged_truth, errors.merging_prediction) == ([4, 5], [4])


def test_example_counts_and_alternatives(case: Any) -> None:
    example = draw_example("worst", case.images[0], case.pairs[0])
    assert example.counts == {
        "true": 5, "predicted": 5, "matched": 1, "missed": 4, "false": 4, "splits": 1, "merges": 1
    }  # fmt: skip
    assert [picture.kind for picture in example.pictures] == ["truth", "prediction", "errors"]
    assert example.pictures[2].alt == "image_0.png: 1 matched, 4 missed, 4 false nuclei, 1 splits, 1 merges"
    for picture in example.pictures:
        opened = Image.open(io.BytesIO(picture.content))
        assert opened.format == "JPEG" and opened.size == (SIDE, SIDE * 60 // 80) == (picture.width, picture.height)


def test_without_labels_there_are_words_only(case: Any) -> None:
    assert draw_example("worst", case.images[0], None).pictures == ()


def test_of_a_large_image_the_part_with_the_errors_is_shown(case: Any) -> None:
    truth = np.zeros((WINDOW + 400, 3 * WINDOW), np.uint16)
    truth[-30:-10, -40:-20] = 7  # missed, in the last corner
    example = draw_example("worst", case.images[0], LabelPair(truth, np.zeros_like(truth)))
    assert example.part == f"{WINDOW} x {WINDOW} of {WINDOW + 400} x {3 * WINDOW} pixels, where most is wrong"
    shown = np.asarray(Image.open(io.BytesIO(example.pictures[2].content)))
    assert (shown.max(axis=2) > 80).any()  # black but for the missed nucleus


@pytest.mark.parametrize("shape", [(12, 2 * WINDOW), (2 * WINDOW, 12)])
def test_of_a_strip_the_part_with_the_errors_is_shown(case: Any, shape: tuple[int, int]) -> None:
    truth = np.zeros(shape, np.uint16)
    truth[-9:, -9:] = 1
    example = draw_example("worst", case.images[0], LabelPair(truth, np.zeros_like(truth)))
    shown = np.asarray(Image.open(io.BytesIO(example.pictures[2].content)))
    assert (shown.max(axis=2) > 80).any()


@pytest.mark.parametrize("limit", [BYTES, 20_000])
def test_no_picture_is_larger_than_the_limit(limit: int) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    assert len(encode(noise, limit)) <= limit


def test_thin_lines_keep_their_colour() -> None:
    """Chroma at full resolution: a line of two pixels is as yellow as an area."""
    picture = np.full((64, 64, 3), 40, np.uint8)
    picture[:, 31:33] = (240, 228, 66)
    shown = np.asarray(Image.open(io.BytesIO(encode(picture)))).astype(int)
    assert np.abs(shown[32, 31] - (240, 228, 66)).max() < 25
