"""Sizes and counts by modality."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from nucleus.masks.rle import encode_coco
from nucleus.visualization.statistics import (
    HEADER,
    areas_by_image,
    by_modality,
    format_statistics,
    statistics_table,
    write_statistics,
)

COCO = {
    "images": [
        {"id": 1, "file_name": "a", "height": 10, "width": 20, "modality": "purple_tissue"},
        {"id": 2, "file_name": "b", "height": 30, "width": 20, "modality": "purple_tissue"},
        {"id": 7, "file_name": "c", "height": 50, "width": 60},
    ],
    "annotations": [
        {"id": 1, "image_id": 1, "area": 30},
        {"id": 2, "image_id": 1, "area": 50},
        {"id": 3, "image_id": 2, "area": 100},
    ],
    "categories": [],
}


def test_by_hand() -> None:
    table = {row[0]: dict(zip(HEADER, row, strict=True)) for row in statistics_table(by_modality(COCO))}
    assert list(table) == ["purple_tissue", "unknown", "all"]
    purple = table["purple_tissue"]
    assert (purple["images"], purple["nuclei"]) == (2, 3)
    assert (purple["height min"], purple["height max"], purple["width min"], purple["width max"]) == (10, 30, 20, 20)
    assert [purple[f"nuclei/image {name}"] for name in ("min", "median", "max")] == [1, 1.5, 2]
    assert [purple[f"area {name} [px]"] for name in ("min", "median", "max")] == [30, 50, 100]
    assert (table["unknown"]["images"], table["unknown"]["nuclei"]) == (1, 0)
    assert table["unknown"]["area median [px]"] is None
    assert (table["all"]["images"], table["all"]["nuclei"], table["all"]["height max"]) == (3, 3, 50)


def test_the_five_modalities_come_in_their_order() -> None:
    names = ["zebra", "grayscale_tissue", "small_fluorescent", "apple", "purple_tissue"]
    images = [{"id": i, "height": 1, "width": 1, "modality": name} for i, name in enumerate(names)]
    table = statistics_table(by_modality({"images": images, "annotations": []}))
    assert [row[0] for row in table] == [
        "small_fluorescent", "purple_tissue", "grayscale_tissue", "apple", "zebra", "all",
    ]  # fmt: skip


def test_an_area_that_is_not_given_is_counted() -> None:
    mask = np.zeros((10, 20), dtype=bool)
    mask[2:5, 3:9] = True
    square = [1, 1, 5, 1, 5, 5, 1, 5]  # a polygon of 4 x 4 pixels
    annotations = [{"id": i, "image_id": 1, "segmentation": s} for i, s in enumerate([encode_coco(mask), [square]])]
    assert areas_by_image({**COCO, "annotations": annotations}) == {1: [18, 16], 2: [], 7: []}


def test_an_empty_set() -> None:
    table = statistics_table(by_modality({"images": [], "annotations": []}))
    assert table == [("all", 0, 0, *[None] * (len(HEADER) - 3))]
    assert "all" in format_statistics(table)


def test_the_csv_holds_the_table(tmp_path: Path) -> None:
    table = statistics_table(by_modality(COCO))
    with write_statistics(tmp_path / "s.csv", table).open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == HEADER
    assert rows[0]["nuclei/image median"] == "1.5" and rows[0]["area max [px]"] == "100"
    assert rows[1]["area max [px]"] == ""


@pytest.mark.parametrize("word", ["purple_tissue", "unknown", "1.5", "100"])
def test_the_text_shows_the_table(word: str) -> None:
    assert word in format_statistics(statistics_table(by_modality(COCO)))
