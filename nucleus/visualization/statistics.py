"""How many images and nuclei a data set has and how large they are, by modality."""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from tabulate import tabulate

from nucleus.formats.atomic import atomic_write
from nucleus.formats.coco import rle_from_segmentation
from nucleus.masks.rle import coco_area
from nucleus.visualization.colors import MODALITY_COLORS

UNKNOWN = "unknown"  # the modality of images that have none noted
ALL = "all"
HEADER = (
    "modality", "images", "nuclei", "height min", "height max", "width min", "width max", "nuclei/image min",
    "nuclei/image median", "nuclei/image max", "area min [px]", "area median [px]", "area max [px]",
)  # fmt: skip


@dataclass(frozen=True)
class ModalityData:
    """The numbers of one modality, one entry an image or a nucleus.

    Attributes:
        heights: int (I,), pixels.
        widths: int (I,), pixels.
        counts: int (I,), nuclei of each image.
        areas: float (N,), pixels of each nucleus.
    """

    heights: np.ndarray
    widths: np.ndarray
    counts: np.ndarray
    areas: np.ndarray


def by_modality(coco: Mapping[str, Any]) -> dict[str, ModalityData]:
    """Sort the images and nuclei of a COCO data set by modality.

    Args:
        coco: the content of a COCO file; images may have a key "modality".

    Returns:
        Modality to numbers; BBBC038's five first, in their order.
    """
    areas = areas_by_image(coco)
    images = defaultdict(list)
    for image in coco["images"]:
        images[modality_of(image)].append(image)
    return {
        modality: ModalityData(
            np.array([image["height"] for image in members]),
            np.array([image["width"] for image in members]),
            np.array([len(areas[image["id"]]) for image in members]),
            np.array([area for image in members for area in areas[image["id"]]], dtype=float),
        )
        for modality, members in sorted(images.items(), key=lambda item: place_of(item[0]))
    }


def modality_of(image: Mapping[str, Any]) -> str:
    """The modality of a COCO image, or "unknown"."""
    return image.get("modality") or UNKNOWN


def place_of(modality: str) -> tuple[int, str]:
    """Where a modality stands in tables and plots, as a key to sort by."""
    known = list(MODALITY_COLORS)
    return (known.index(modality) if modality in known else len(known)), modality


def areas_by_image(coco: Mapping[str, Any]) -> dict[int, list[float]]:
    """The areas of each image's nuclei.

    Args:
        coco: the content of a COCO file; where an annotation has no "area" its mask is counted.

    Returns:
        Pixels of each nucleus by the image's id; an empty list for an image without nuclei.
    """
    areas: dict[int, list[float]] = {image["id"]: [] for image in coco["images"]}
    sizes = {image["id"]: (image["height"], image["width"]) for image in coco["images"]}
    for annotation in coco["annotations"]:
        area = annotation.get("area")
        if area is None:
            area = coco_area(rle_from_segmentation(annotation["segmentation"], *sizes[annotation["image_id"]]))
        areas[annotation["image_id"]].append(area)
    return areas


def statistics_table(data: Mapping[str, ModalityData]) -> list[tuple]:
    """Summarise each modality and all of them together.

    Args:
        data: from `by_modality`.

    Returns:
        One row a modality and a last one for all, with the columns of HEADER; None where there are no images or nuclei.
    """
    together = ModalityData(
        *(np.concatenate([getattr(one, field.name) for one in data.values()] or [[]]) for field in fields(ModalityData))
    )
    return [_row(name, one) for name, one in [*data.items(), (ALL, together)]]


def _row(name: str, data: ModalityData) -> tuple:
    def of(values: np.ndarray, *statistics: str) -> list[float | None]:
        return [float(getattr(np, statistic)(values)) if values.size else None for statistic in statistics]

    return (
        name, len(data.counts), int(data.counts.sum()), *of(data.heights, "min", "max"), *of(data.widths, "min", "max"),
        *of(data.counts, "min", "median", "max"), *of(data.areas, "min", "median", "max"),
    )  # fmt: skip


def format_statistics(table: Sequence[tuple]) -> str:
    """The table as text for a terminal."""
    short = [title.replace(" ", "\n", 1) for title in HEADER]
    return tabulate([[_short(value) for value in row] for row in table], headers=short, numalign="right")


def write_statistics(path: str | Path, table: Sequence[tuple]) -> Path:
    """Write the table as CSV with HEADER as its first line; empty fields where there is no value."""
    with atomic_write(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(HEADER)
        writer.writerows([["" if value is None else _short(value) for value in row] for row in table])
    return Path(path)


def _short(value: Any) -> Any:
    """Whole numbers without a decimal point."""
    return int(value) if isinstance(value, float) and value.is_integer() else value
