"""A user's own images as a data set: a COCO file beside them. No image is copied.

The truth comes as one label image an image, or as any COCO file.
"""

from __future__ import annotations

import logging
import os
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from nucleus.data.groups import find_groups
from nucleus.data.image_record import counts_from_edges
from nucleus.data.modality import modality_of
from nucleus.data.seams import Borders, borders_of
from nucleus.errors import InputError
from nucleus.evaluation.image_names import name_of
from nucleus.evaluation.label_checks import check_stored_labels, refuse_binary, suspicion_warnings
from nucleus.formats.coco import NUCLEUS, read_coco, rle_from_segmentation, write_coco
from nucleus.formats.image import read_image, to_rgb8
from nucleus.formats.label_image import read_label_image
from nucleus.masks.rle import Rle, coco_area, coco_box
from nucleus.processes import in_order

IMAGE_SUFFIXES = (".png", ".tif", ".tiff", ".jpg", ".jpeg", ".webp", ".bmp")
LABEL_SUFFIXES = (".png", ".tif", ".tiff")
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class OwnImage:
    """One image and where its truth is.

    Attributes:
        path: the image.
        file_name: relative to the folder of the images.
        labels: its label image, or None if the masks are given.
        size: H and W in pixels that the COCO file gives, or None.
        masks: (segmentation, iscrowd, id) from the COCO file.
    """

    path: Path
    file_name: str
    labels: Path | None = None
    size: tuple[int, int] | None = None
    masks: tuple[tuple[Any, int, Any], ...] = ()


@dataclass(frozen=True)
class Truth:
    """What became of an image.

    Attributes:
        file_name: relative to the folder of the images.
        height, width: in pixels.
        modality: its kind.
        masks: RLE and iscrowd of each.
        borders: for finding its group.
        suspicion: of its label image; see `nucleus.evaluation.label_checks`.
    """

    file_name: str
    height: int
    width: int
    modality: str
    masks: tuple[tuple[Rle, int], ...]
    borders: Borders
    suspicion: str | None = None


def convert_label_images(
    images: str | Path,
    labels: str | Path,
    output: str | Path,
    *,
    label_suffix: str = "",
    workers: int = 1,
    progress: bool = False,
) -> dict[str, int]:
    """Make a data set of images and label images.

    Args:
        images: folder of images: PNG, TIFF, JPEG, WebP or BMP, in subfolders or not.
        labels: folder of label images, PNG or TIFF of 8, 16 or 32 bit, with the same names but for the suffix. May be
            the same folder if `label_suffix` tells them apart.
        output: the COCO file to write.
        label_suffix: what the names of the label images have at their end, before the dot: "_masks" for Cellpose.
        workers: processes.
        progress: show a bar where stderr is a terminal.

    Returns:
        "images" and "nuclei": how many were written. What looks wrong in the label images is logged.

    Raises:
        InputError: no images, an image without label image or the reverse, two files of one name, another size than
            the image, labels that are no whole numbers, binary masks, labels that 8 bits have cut, or a file that
            cannot be decoded.
        OSError: the output cannot be written.
    """
    images, labels = Path(images), Path(labels)
    found = _by_stem(images, IMAGE_SUFFIXES)
    truths = _by_stem(labels, LABEL_SUFFIXES)
    if images.resolve() == labels.resolve() and not label_suffix:
        raise InputError("--label-suffix", expected="what tells label images from images in one folder", found="none")
    if label_suffix:
        truths = {stem.removesuffix(label_suffix): p for stem, p in truths.items() if stem.endswith(label_suffix)}
        if images.resolve() == labels.resolve():
            found = {stem: path for stem, path in found.items() if not stem.endswith(label_suffix)}
    if not found:
        raise InputError(images, expected="images", found=f"no {', '.join(IMAGE_SUFFIXES)}")
    _check_matched(images, labels, set(found), set(truths))
    jobs = [
        OwnImage(path, path.relative_to(images).as_posix(), labels=truths[stem]) for stem, path in sorted(found.items())
    ]
    read = _read(jobs, workers, progress)
    refuse_binary(labels, [(one.suspicion, len(one.masks)) for one in read])
    for warning in suspicion_warnings((one.suspicion, one.file_name) for one in read):
        logger.warning(warning)
    return _write(read, Path(output))


def convert_coco(
    coco: str | Path,
    images: str | Path,
    output: str | Path,
    *,
    category: str | None = None,
    workers: int = 1,
    progress: bool = False,
) -> dict[str, int]:
    """Make a data set of images and any COCO file.

    Polygons and RLE of either form become compressed RLE. All categories become "nucleus". Crowd regions stay crowd
    regions: they are no nuclei, and only COCO AP forgives what is found there. Of equal masks one is kept.

    Args:
        coco: the COCO file.
        images: the folder that its file names are relative to.
        output: the COCO file to write; another file than `coco`.
        category: take the categories of this name only.
        workers: processes.
        progress: show a bar where stderr is a terminal.

    Returns:
        "images" and "nuclei": how many were written; crowd regions are not counted.

    Raises:
        InputError: the file is no COCO file, has no such category, names an image twice or one outside the folder or
            that is not there or is of another size, or has a mask that cannot be decoded or is empty.
        OSError: the output cannot be written.
    """
    coco, images, output = Path(coco), Path(images), Path(output)
    if coco.resolve() == output.resolve():
        raise InputError("--output", expected="another file than --coco", found=str(output))
    content = read_coco(coco)
    names = defaultdict(set)
    for item in content["categories"]:
        names[item["name"]].add(item["id"])
    if category is not None and category not in names:
        raise InputError(coco, expected=f"a category {category!r}", found=", ".join(map(repr, sorted(names))))
    masks: dict[Any, list[tuple[Any, int, Any]]] = defaultdict(list)
    for item in content["annotations"]:
        if category is None or item["category_id"] in names[category]:
            masks[item["image_id"]].append((item["segmentation"], int(item.get("iscrowd") or 0), item["id"]))
    jobs: dict[Path, OwnImage] = {}
    for item in content["images"]:
        path = _inside(images, item["file_name"], coco)
        if path in jobs:
            raise InputError(coco, expected="each image once", found=f"{item['file_name']} under two ids")
        if not path.is_file():
            raise InputError(path, expected=f"the image that {coco.name} names", found="nothing there",
                             remedy="Name the folder of the images with --images.")  # fmt: skip
        size = (item["height"], item["width"])
        jobs[path] = OwnImage(path, path.relative_to(images).as_posix(), size=size, masks=tuple(masks[item["id"]]))
    truths = _read(list(jobs.values()), workers, progress)
    if equal := sum(len(job.masks) - len(one.masks) for job, one in zip(jobs.values(), truths, strict=True)):
        logger.warning("Masks that equal another one of their image, which are left out: %d", equal)
    return _write(truths, output)


def _inside(images: Path, name: str, coco: Path) -> Path:
    """The image of a name, which must not leave the folder; links in the folder are followed."""
    inside = os.path.relpath(images / name, images) if "\0" not in name else os.pardir
    if Path(inside).parts[:1] == (os.pardir,):
        raise InputError(coco, expected=f"images inside {images}", found=repr(name)[:120],
                         remedy="Name the folder above them all with --images.")  # fmt: skip
    return images / inside


def _by_stem(folder: Path, suffixes: Sequence[str]) -> dict[str, Path]:
    """Files by their path in the folder without suffix; hidden ones are passed over."""
    if not folder.is_dir():
        raise InputError(folder, expected="a folder", found="a file" if folder.exists() else "nothing there")
    found: dict[str, Path] = {}
    for path in sorted(folder.rglob("*")):
        relative = path.relative_to(folder)
        if path.suffix.lower() in suffixes and not any(part.startswith(".") for part in relative.parts):
            stem = name_of(relative.as_posix())
            if stem in found:
                raise InputError(path, expected="one file of each name", found=f"{found[stem].name}, too",
                                 remedy="Keep one of them.")  # fmt: skip
            found[stem] = path
    return found


def _check_matched(images: Path, labels: Path, found: set[str], truths: set[str]) -> None:
    for folder, here, there in ((images, found - truths, labels), (labels, truths - found, images)):
        if here:
            some = ", ".join(sorted(here)[:3]) + (", ..." if len(here) > 3 else "")
            raise InputError(folder, expected="a label image for every image and the reverse",
                             found=f"{len(here)} without partner in {there}: {some}",
                             remedy="Files are matched by name without suffix; see --label-suffix.")  # fmt: skip


def _read(jobs: Sequence[OwnImage], workers: int, progress: bool) -> list[Truth]:
    results = in_order(read_truth, jobs, workers)
    return list(tqdm(results, "images", len(jobs), disable=None if progress else True))


def _write(truths: Sequence[Truth], output: Path) -> dict[str, int]:
    groups = find_groups([truth.file_name for truth in truths], [truth.borders for truth in truths])
    images = [
        {
            "id": number,
            "file_name": truth.file_name,
            "height": truth.height,
            "width": truth.width,
            "modality": truth.modality,
            "group": group,
        }
        for number, (truth, group) in enumerate(zip(truths, groups, strict=True), start=1)
    ]
    annotations = [
        {
            "image_id": number,
            "category_id": NUCLEUS["id"],
            "bbox": coco_box(rle),
            "area": coco_area(rle),
            "iscrowd": crowd,
            "segmentation": rle,
        }
        for number, truth in enumerate(truths, start=1)
        for rle, crowd in truth.masks
    ]
    info = {"description": "own images, converted by nucleus"}
    write_coco(output, info, images, ({"id": n} | item for n, item in enumerate(annotations, start=1)))
    return {"images": len(images), "nuclei": sum(not item["iscrowd"] for item in annotations)}


def read_truth(job: OwnImage) -> Truth:
    """Read an image and its masks.

    Raises:
        InputError: a file cannot be decoded, sizes differ, a mask is broken or empty, or a label image is a binary mask
            or was cut to 8 bits.
    """
    image = read_image(job.path)
    height, width = image.shape[:2]
    suspicion = None
    if job.labels is not None:
        labels = read_label_image(job.labels)
        masks = tuple((rle, 0) for rle in _masks_of_labels(labels, job.labels, height, width))
        suspicion = check_stored_labels(labels, np.unique(labels[labels > 0]), job.labels)
    else:
        masks = _masks_of_coco(job, height, width)
    areas = [coco_area(rle) for rle, crowd in masks if not crowd]
    modality = modality_of(to_rgb8(image), areas)
    return Truth(job.file_name, height, width, modality, masks, borders_of(image), suspicion)


def _masks_of_labels(labels: np.ndarray, path: Path, height: int, width: int) -> Iterable[Rle]:
    """One RLE a label, ascending."""
    if labels.shape != (height, width):
        found = f"{labels.shape[0]} x {labels.shape[1]}"
        raise InputError(path, expected=f"labels of {height} x {width} pixels, as the image", found=found)
    columns = labels.T.ravel()  # RLE runs down the columns
    edges = np.flatnonzero(np.diff(columns)) + 1
    starts, stops = np.r_[0, edges], np.r_[edges, columns.size]
    labelled = columns[starts] > 0
    starts, stops = starts[labelled], stops[labelled]
    order = np.argsort(columns[starts], kind="stable")
    runs = np.stack([starts, stops], axis=1)[order]
    for of_label in np.split(runs, np.flatnonzero(np.diff(columns[starts][order])) + 1):
        if of_label.size:
            yield {"size": [height, width], "counts": counts_from_edges(of_label.ravel(), height, width)}


def _masks_of_coco(job: OwnImage, height: int, width: int) -> tuple[tuple[Rle, int], ...]:
    if job.size != (height, width):
        raise InputError(job.path, expected="an image of {} x {} pixels, as in the COCO file".format(*job.size or ()),
                         found=f"{height} x {width}")  # fmt: skip
    masks = []
    for segmentation, crowd, number in job.masks:
        try:
            rle = rle_from_segmentation(segmentation, height, width)
        except ValueError as error:
            raise InputError(f"annotation {number} of {job.file_name}", expected="a COCO segmentation",
                             found=str(error)[:160]) from error  # fmt: skip
        if coco_area(rle) == 0:
            raise InputError(f"annotation {number} of {job.file_name}", expected="a mask with pixels",
                             found="an empty one", remedy="Delete the annotation.")  # fmt: skip
        masks.append((rle, crowd))
    return tuple({(str(rle["counts"]), crowd): (rle, crowd) for rle, crowd in masks}.values())
