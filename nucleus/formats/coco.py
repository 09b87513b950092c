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
from nucleus.masks.rle import ROOM, Rle, decode_coco, normal_coco, rle_from_runs

NUCLEUS = {"id": 1, "name": "nucleus"}
KEYS = {
    "images": ("id", "file_name", "height", "width"),
    "annotations": ("id", "image_id", "category_id", "segmentation"),
    "categories": ("id", "name"),
}
TEXT = ("name", "file_name")
SIDES = ("height", "width")
MOST_PIXELS = 1 << 28  # of an image whose size only the file declares, 16,384 x 16,384: 1 GiB as a label image
MOST_OUTLINE = 10_000_000  # pixels around all polygons of a mask: about 1 GB while they are drawn


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
        InputError: the file is missing, is no JSON, lacks a key or has another kind of value for it, declares an image
            of more than 268,435,456 pixels, repeats an id, or has an annotation of an image or a category that is not
            there.
    """
    path = Path(path)
    try:
        coco = json.loads(path.read_bytes())
    except OSError as error:
        raise InputError(path, expected="a COCO file", found=error.strerror or str(error)) from error
    except (ValueError, RecursionError) as error:
        found = "brackets nested without end" if isinstance(error, RecursionError) else str(error)[:120]
        raise InputError(path, expected="JSON", found=found,
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
            _check_values(path, f"{part}[{number}]", item)
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


def _check_values(path: Path, where: str, item: dict[str, Any]) -> None:
    """Ids are numbers or text, names text, sides whole numbers above 0, and iscrowd 0 or 1."""
    for key, value in item.items():
        if key in ("id", "image_id", "category_id"):
            right, expected = isinstance(value, int | float | str), "a number or text"
        elif key in TEXT:
            right, expected = isinstance(value, str), "text"
        elif key == "iscrowd":
            right, expected = value in (0, 1, None), "0 or 1"
        else:
            continue
        if not right:
            raise InputError(path, expected=f'{expected} as "{key}" in {where}', found=repr(value)[:80])
    sides = [item[key] for key in SIDES if key in item]
    found = f"{' x '.join(repr(side)[:40] for side in sides)} in {where}"
    if not all(isinstance(side, int) and side > 0 for side in sides):
        raise InputError(path, expected="height and width of each image in pixels", found=found)
    if len(sides) == 2 and sides[0] * sides[1] > MOST_PIXELS:
        raise InputError(path, expected=f"images of at most {MOST_PIXELS:,} pixels", found=found,
                         remedy="Cut the image into parts.")  # fmt: skip


def read_coco_rles(path: str | Path) -> dict[str, Any]:
    """Read a COCO file for training or evaluation: whatever its masks are, here they are compressed RLE.

    Args:
        path: a JSON file.

    Returns:
        As `read_coco`; each annotation has "segmentation" as compressed RLE and "iscrowd" 0 or 1.

    Raises:
        InputError: see `read_coco`; or a segmentation is none.
    """
    coco = read_coco(path)
    sizes = {image["id"]: (image["height"], image["width"]) for image in coco["images"]}
    for annotation in coco["annotations"]:
        annotation["iscrowd"] = int(annotation.get("iscrowd") or 0)
        segmentation, size = annotation["segmentation"], sizes[annotation["image_id"]]
        compressed = isinstance(segmentation, dict) and isinstance(segmentation.get("counts"), str)
        if compressed and segmentation.get("size") == [*size]:
            continue  # as it should be
        try:
            annotation["segmentation"] = rle_from_segmentation(segmentation, *size)
        except ValueError as error:
            raise InputError(path, expected="polygons or run lengths of every nucleus",
                             found=f"in annotation {annotation['id']}: {error}") from error  # fmt: skip
    return coco


def rle_from_segmentation(segmentation: Any, height: int, width: int) -> Rle:
    """Bring any COCO segmentation to compressed RLE.

    Args:
        segmentation: polygons [[x, y, x, y, ...], ...] in pixels, uncompressed RLE {"size", "counts": list} or
            compressed RLE {"size", "counts": str}.
        height: H of the image in pixels.
        width: W of the image in pixels.

    Returns:
        {"size": [H, W], "counts": str}, as `encode_coco` gives it for the mask. Several polygons become one mask.

    Raises:
        ValueError: the segmentation is none of these, is of another size than the image, leaves it (RLE) or goes
            around it more often than any nucleus (polygons).
    """
    if isinstance(segmentation, list):
        return _rle_of_polygons(segmentation, height, width)
    if not (isinstance(segmentation, dict) and "counts" in segmentation and "size" in segmentation):
        raise ValueError(f"expected polygons or an RLE, found {type(segmentation).__name__}")
    counts, size = segmentation["counts"], segmentation["size"]
    if size != [height, width] and size != (height, width):
        raise ValueError(f"expected a mask of {height} x {width} pixels, found {repr(size)[:40]}")
    if not isinstance(counts, list | str | bytes):
        raise ValueError(f"expected counts as a list or a string, found {type(counts).__name__}")
    if isinstance(counts, list) and (
        not all(isinstance(count, int) for count in counts) or sum(counts) != height * width
    ):
        raise ValueError(f"expected counts that add up to {height} x {width} pixels, found others")
    return normal_coco({"size": [height, width], "counts": counts})


def _rle_of_polygons(polygons: list[Any], height: int, width: int) -> Rle:
    """By pycocotools, which takes memory and time in proportion to the outline, wherever it runs."""
    if not polygons:
        raise ValueError("expected at least one polygon, found none")
    outline = 0.0
    for polygon in polygons:
        if not isinstance(polygon, list) or len(polygon) < 6 or len(polygon) % 2:
            raise ValueError("expected polygons of at least three points x, y, found another list")
        if not all(isinstance(value, int | float) and abs(value) <= MOST_OUTLINE for value in polygon):
            raise ValueError(f"expected finite coordinates up to {MOST_OUTLINE:,}, found others")
        points = np.array(polygon, dtype=np.float64).reshape(-1, 2)
        outline += float(np.abs(points - np.roll(points, 1, axis=0)).max(axis=1).sum()) + len(points)
    if outline > MOST_OUTLINE:
        raise ValueError(f"expected outlines of at most {MOST_OUTLINE:,} pixels, found {outline:,.0f}")
    if height * width >= ROOM:
        return _rle_of_box(polygons, height, width)
    rle = coco_mask.merge(coco_mask.frPyObjects(polygons, height, width))
    return {"size": [height, width], "counts": rle["counts"].decode("ascii")}


def _rle_of_box(polygons: list[list[float]], height: int, width: int) -> Rle:
    """The same in an image that is too large for pycocotools: drawn in the box around the polygons."""
    points = np.concatenate([np.array(polygon, dtype=np.float64).reshape(-1, 2) for polygon in polygons])
    left, top = np.maximum(np.floor(points.min(axis=0)) - 1, 0).astype(int).tolist()
    right, bottom = np.minimum(np.ceil(points.max(axis=0)) + 2, (width, height)).astype(int).tolist()
    if left >= right or top >= bottom:  # outside the image
        return rle_from_runs(np.zeros((0, 2), dtype=np.int64), height, width)
    rows, columns = bottom - top, right - left
    if rows * columns >= ROOM:
        raise ValueError(f"expected polygons in a box of less than {ROOM:,} pixels, found {rows} x {columns}")
    moved = [(np.reshape(polygon, (-1, 2)) - (left, top)).ravel().tolist() for polygon in polygons]
    inside = np.zeros((columns, rows + 2), dtype=np.int8)  # no run goes on from one column to the next
    inside[:, 1:-1] = decode_coco(_rle_of_polygons(moved, rows, columns)).T
    column, row = np.nonzero(np.diff(inside, axis=1))
    return rle_from_runs(((column + left) * height + row + top).reshape(-1, 2), height, width)
