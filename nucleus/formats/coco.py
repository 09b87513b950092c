"""COCO files: images, one annotation a nucleus, masks as compressed RLE.

A file written here has one image and one annotation a line, so that two of them can be compared with `diff`. COCO
*results* are detections alone: a list of image_id, category_id, bbox, segmentation and score, which the COCO API loads
beside the file that has the images.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from nucleus.errors import InputError
from nucleus.formats.atomic import atomic_write
from nucleus.masks.nuclei import in_batches, iterate_nuclei
from nucleus.masks.rle import Rle, runs_from_coco

NUCLEUS = {"id": 1, "name": "nucleus"}
KEYS = {
    "images": ("id", "file_name", "height", "width"),
    "annotations": ("id", "image_id", "category_id", "segmentation"),
    "categories": ("id", "name"),
}


def write_coco(
    path: str | Path,
    info: dict[str, Any],
    images: Iterable[dict[str, Any]],
    annotations: Iterable[dict[str, Any]],
    categories: Sequence[dict[str, Any]] = (NUCLEUS,),
) -> None:
    """Write a COCO file; a killed run leaves the old file or the new one.

    Args:
        path: the file to write.
        info: free facts about the data set.
        images: dicts with id, file_name, height and width in pixels, and what else the reader wants.
        annotations: dicts with id, image_id, category_id, bbox (XYWH in pixels), area, iscrowd, segmentation. They may
            be generated while the file is written.
        categories: dicts with id and name.

    Raises:
        OSError: the disk is full or not writable.
    """
    with atomic_write(path) as temporary, temporary.open("w", encoding="ascii") as file:
        file.write(f'{{"info": {json.dumps(info)},\n"categories": {json.dumps(list(categories))},\n"images": [')
        _write_lines(file.write, images)
        file.write('],\n"annotations": [')
        _write_lines(file.write, annotations)
        file.write("]}\n")


def coco_results(
    image_id: int | str, label_image: np.ndarray, scores: Sequence[float] | np.ndarray | None = None
) -> Iterator[dict[str, Any]]:
    """The nuclei of one image as COCO results, in ascending order of their labels.

    Args:
        image_id: of the image in the COCO file that the results belong to.
        label_image: integers (H, W), 0 background; also an array on disk.
        scores: of label 1, 2, ..., in [0, 1]. COCO results must have one: 1 where unknown (None or NaN).

    Yields:
        {"image_id", "category_id", "bbox" (XYWH in pixels), "segmentation" (compressed RLE), "score"}.

    Raises:
        ValueError: there are fewer scores than the largest label.
    """
    height, width = label_image.shape
    for batch, masks in in_batches(iterate_nuclei(label_image, scores), height, width):
        for nucleus, rle in zip(batch, masks.encode(), strict=True):
            left, top, right, bottom = nucleus.box
            yield {
                "image_id": image_id,
                "category_id": NUCLEUS["id"],
                "bbox": [left, top, right - left, bottom - top],
                "segmentation": rle,
                "score": 1.0 if np.isnan(nucleus.score) else nucleus.score,
            }


def write_coco_results(path: str | Path, results: Iterable[dict[str, Any]]) -> None:
    """Write COCO results as they come; memory does not grow with their number.

    Args:
        path: the file to write; a killed run leaves the old file or the new one.
        results: as `coco_results` gives them, of one image or of several, one after the other.

    Raises:
        OSError: the disk is full or not writable.
    """
    with atomic_write(path) as temporary, temporary.open("w", encoding="ascii") as file:
        file.write("[")
        _write_lines(file.write, results)
        file.write("]\n")


def _write_lines(write: Any, items: Iterable[dict[str, Any]]) -> None:
    for index, item in enumerate(items):
        write((",\n" if index else "\n") + json.dumps(item))
    write("\n")


def read_coco(path: str | Path) -> dict[str, Any]:
    """Read a COCO file and check that it hangs together.

    Args:
        path: a JSON file.

    Returns:
        The file's content: "images", "annotations", "categories" and "info" (empty if absent).

    Raises:
        InputError: the file is missing, is no JSON, lacks a key, repeats an id, or has an annotation of an image or
            a category that is not there.
    """
    path = Path(path)
    try:
        coco = json.loads(path.read_bytes())
    except OSError as error:
        raise InputError(path, expected="a COCO file", found=error.strerror or str(error)) from error
    except ValueError as error:
        raise InputError(path, expected="JSON", found=str(error)[:120],
                         remedy="The file may be truncated: write or copy it again.") from error  # fmt: skip
    _check(path, coco)
    coco.setdefault("info", {})
    return coco


def _check(path: Path, coco: Any) -> None:
    if not isinstance(coco, dict):
        raise InputError(path, expected="a COCO object", found=type(coco).__name__)
    for part, keys in KEYS.items():
        items = coco.get(part)
        if not isinstance(items, list):
            raise InputError(path, expected=f"a list of {part}", found="none")
        for number, item in enumerate(items):
            missing = [key for key in keys if not isinstance(item, dict) or key not in item]
            if missing:
                raise InputError(path, expected=f'"{missing[0]}" in {part}[{number}]', found="none")
        seen: set[Any] = set()
        for item in items:
            if item["id"] in seen:
                raise InputError(path, expected=f"different ids of the {part}", found=f"{item['id']} twice")
            seen.add(item["id"])
    for key, part in (("image_id", "images"), ("category_id", "categories")):
        known = {item["id"] for item in coco[part]}
        for annotation in coco["annotations"]:
            if annotation[key] not in known:
                raise InputError(path, expected=f"annotations of the file's {part}",
                                 found=f"{key} {annotation[key]!r} in annotation {annotation['id']}")  # fmt: skip


def rle_from_segmentation(segmentation: Any, height: int, width: int) -> Rle:
    """Bring any COCO segmentation to compressed RLE.

    Args:
        segmentation: polygons [[x, y, x, y, ...], ...] in pixels, uncompressed RLE {"size", "counts": list} or
            compressed RLE {"size", "counts": str}.
        height: H of the image in pixels.
        width: W of the image in pixels.

    Returns:
        {"size": [H, W], "counts": str}. Several polygons become one mask.

    Raises:
        ValueError: the segmentation is none of these, or is of another size than the image.
    """
    if isinstance(segmentation, list):
        rle = coco_mask.merge(coco_mask.frPyObjects(_polygons(segmentation), height, width))
    elif isinstance(segmentation, dict) and "counts" in segmentation and "size" in segmentation:
        counts, size = segmentation["counts"], [int(side) for side in segmentation["size"]]
        if size != [height, width]:
            raise ValueError(f"expected a mask of {height} x {width} pixels, found {' x '.join(map(str, size))}")
        rle = _rle_of_counts(counts, size)
    else:
        raise ValueError(f"expected polygons or an RLE, found {type(segmentation).__name__}")
    counts = rle["counts"]
    return {"size": [height, width], "counts": counts.decode("ascii") if isinstance(counts, bytes) else counts}


def _polygons(segmentation: list[Any]) -> list[list[float]]:
    if not segmentation:
        raise ValueError("expected at least one polygon, found none")
    for polygon in segmentation:
        if not isinstance(polygon, list) or len(polygon) < 6 or len(polygon) % 2:
            raise ValueError("expected polygons of at least three points x, y, found another list")
        if not np.isfinite(np.asarray(polygon, dtype=float)).all():
            raise ValueError("expected finite coordinates")
    return segmentation


def _rle_of_counts(counts: Any, size: list[int]) -> Rle:
    if isinstance(counts, list):
        if any(not isinstance(count, int) or count < 0 for count in counts) or sum(counts) != size[0] * size[1]:
            raise ValueError(f"expected counts that add up to {size[0]} x {size[1]} pixels, found others")
        return coco_mask.frPyObjects({"size": size, "counts": counts}, *size)
    if not isinstance(counts, str | bytes):
        raise ValueError(f"expected counts as a list or a string, found {type(counts).__name__}")
    runs = runs_from_coco({"size": size, "counts": counts})
    if runs.size and (runs.min() < 0 or runs.max() > size[0] * size[1]):
        raise ValueError(f"expected runs inside {size[0]} x {size[1]} pixels, found one that leaves the image")
    return {"size": size, "counts": counts}
