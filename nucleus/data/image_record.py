"""What the converter knows of an image: the record that COCO files are written from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from nucleus.masks.rle import rle_from_counts


@dataclass(frozen=True)
class Nucleus:
    """One mask.

    Attributes:
        counts: COCO compressed RLE of the whole image.
        box: tight box XYWH in pixels.
        area: foreground pixels.
    """

    counts: str
    box: tuple[int, int, int, int]
    area: int


@dataclass(frozen=True)
class ImageRecord:
    """One image with its truth.

    Attributes:
        image_id: unique name.
        file_name: relative to the data root, with forward slashes.
        height, width: in pixels.
        modality: one of `nucleus.data.modality.MODALITIES`.
        group: the field of view that it belongs to.
        nuclei: in the order of their mask files, or of their lines in the solution.
    """

    image_id: str
    file_name: str
    height: int
    width: int
    modality: str
    group: str
    nuclei: tuple[Nucleus, ...]


def nucleus_from_mask(mask: np.ndarray, box: tuple[int, int, int, int]) -> Nucleus:
    """Encode a mask.

    Args:
        mask: uint8 (H, W), 0 background and one other value.
        box: its tight box XYWH in pixels.

    Returns:
        The nucleus.
    """
    left, _, width, _ = box
    rows, columns = mask.shape
    inside = cv2.transpose(mask[:, left : left + width]).ravel()  # runs go down the columns
    edges = (inside[1:] != inside[:-1]).nonzero()[0] + 1
    if inside[0]:
        edges = np.concatenate([[0], edges])
    if inside[-1]:
        edges = np.concatenate([edges, [inside.size]])
    area = int(edges[1::2].sum() - edges[::2].sum())
    return Nucleus(counts_from_edges(left * rows + edges, rows, columns), box, area)


def counts_from_edges(edges: np.ndarray, height: int, width: int) -> str:
    """Write runs as COCO's compressed counts.

    Args:
        edges: start and stop of each run in turn, as offsets down the columns, strictly increasing; at least one run.
        height: H of the image in pixels.
        width: W of the image in pixels.

    Returns:
        What pycocotools would give for the mask.
    """
    bounds = np.empty(edges.size + 2, dtype=np.int64)
    bounds[0], bounds[1:-1], bounds[-1] = 0, edges, height * width
    counts = (bounds[1:] - bounds[:-1]).tolist()
    if counts[-1] == 0:  # no background after the last run
        counts.pop()
    return str(rle_from_counts(counts, height, width)["counts"])


def coco_image(record: ImageRecord, number: int) -> dict[str, Any]:
    """The record's entry under "images" of a COCO file, with the id `number`."""
    return {
        "id": number,
        "file_name": record.file_name,
        "height": record.height,
        "width": record.width,
        "modality": record.modality,
        "group": record.group,
    }


def coco_annotation(record: ImageRecord, nucleus: Nucleus, number: int, image_number: int) -> dict[str, Any]:
    """A nucleus's entry under "annotations" of a COCO file, with the id `number`."""
    return {
        "id": number,
        "image_id": image_number,
        "category_id": 1,
        "bbox": list(nucleus.box),
        "area": nucleus.area,
        "iscrowd": 0,
        "segmentation": {"size": [record.height, record.width], "counts": nucleus.counts},
    }
