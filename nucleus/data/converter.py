"""BBBC038 to COCO: every image converted, grouped, split and written, and a report of all that was found."""

from __future__ import annotations

import errno
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from nucleus.data.archives import install, open_source
from nucleus.data.bbbc038 import SOLUTION, TEST, TRAIN, list_images, locate, read_solution
from nucleus.data.convert_image import Converted, ImageConverter, Job
from nucleus.data.groups import find_groups
from nucleus.data.image_record import ImageRecord, coco_annotation, coco_image
from nucleus.data.lock import only_writer
from nucleus.data.modality import MODALITIES
from nucleus.data.registry import SPLITS
from nucleus.data.repairs import KINDS, Repairs
from nucleus.data.splits import validation_groups
from nucleus.errors import InputError
from nucleus.formats.atomic import atomic_write
from nucleus.formats.coco import write_coco
from nucleus.processes import in_order

ANNOTATIONS = "annotations"
REPORT = "report.json"
INFO = {
    "description": "BBBC038 (2018 Data Science Bowl, stage 1): nuclei in microscope images, one mask each",
    "url": "https://bbbc.broadinstitute.org/BBBC038",
    "license": "CC0",
}
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@dataclass(frozen=True)
class Dataset:
    """The converted data set.

    Attributes:
        records: of each split, ascending by ImageId.
        shared_pixels: pixels of later masks that earlier ones of the same image hold.
        repairs: what was wrong.
    """

    records: dict[str, list[ImageRecord]]
    shared_pixels: int
    repairs: Repairs


def prepare(
    source: str | Path, root: str | Path, *, workers: int = 1, strict: bool = False, progress: bool = False
) -> dict[str, Any]:
    """Convert BBBC038, or a set in its layout, to COCO files.

    Writes `ROOT/stage1_train`, `ROOT/stage1_test` and `ROOT/stage1_solution.csv` (unless they are the source),
    `ROOT/annotations/bbbc038_{train,val,trainval,test}.json` and `ROOT/annotations/report.json`. The same input gives
    the same bytes, whatever the number of workers and whatever an earlier run left behind: a killed run is completed.

    An image has the same id in train, val and trainval.

    Args:
        source: folder with the archives or the extracted folders, or one folder above them; may be `root` itself.
        root: the data root, for instance `datasets/bbbc038`.
        workers: processes.
        strict: stop at the first thing that is wrong instead of mending it.
        progress: show a bar where stderr is a terminal.

    Returns:
        The report: what `report.json` holds.

    Raises:
        InputError: a part of the source is missing or damaged as a whole, something is wrong and `strict`, or the data
            root cannot be written.
    """
    source, root = Path(source).resolve(), Path(root).resolve()
    try:
        with only_writer(root):
            for leftover in (root / ANNOTATIONS).glob(".*.tmp.*"):  # of killed runs
                leftover.unlink()
            data = _convert(source, root, workers, strict, progress)
            _write_annotations(root / ANNOTATIONS, data.records)
            report = make_report(data)
            with atomic_write(root / ANNOTATIONS / REPORT) as temporary:
                temporary.write_text(json.dumps(report, indent=1) + "\n")
    except OSError as error:
        full = error.errno in NO_ROOM
        raise InputError(error.filename or root,
                         expected="room to write" if full else "a folder that can be written to",
                         found=error.strerror or str(error),
                         remedy="Free some and run it again: what is written stays." if full else "",
                         ) from error  # fmt: skip
    return report


def _convert(source: Path, root: Path, workers: int, strict: bool, progress: bool) -> Dataset:
    repairs = Repairs(strict)
    places = {part: locate(source, part) for part in (TRAIN, TEST)}
    solution = locate(source, SOLUTION)
    sources = {part: open_source(place, repairs) for part, place in places.items()}
    files = {part: list_images(sources[part], part, repairs) for part in places}
    rows = read_solution(solution, files[TEST], repairs)
    jobs = [Job(TEST, image, tuple(rows[image.image_id])) for image in files[TEST] if image.image_id in rows]
    in_test = {image.image_id for image in files[TEST]}
    for image in files[TRAIN]:
        if image.image_id in in_test:
            repairs.add("train_image_in_test", f"{TRAIN}/{image.image_id}", f"it in {TEST}, too")
        else:
            jobs.append(Job(TRAIN, image))

    converter = ImageConverter(sources, root, strict)
    converted = []
    for image in tqdm(in_order(converter, jobs, workers), "images", len(jobs), disable=None if progress else True):
        repairs.extend(image.repairs)
        converted.append(image)
    if solution != root / SOLUTION:
        install(solution.read_bytes(), root, SOLUTION)
    return _grouped(converted, repairs)


def _grouped(converted: Sequence[Converted], repairs: Repairs) -> Dataset:
    """Find the groups and split the training images by them."""
    kept = sorted((image for image in converted if image.borders is not None), key=lambda image: image.image_id)
    groups = find_groups([image.image_id for image in kept], [image.borders for image in kept if image.borders])
    records: dict[str, list[ImageRecord]] = {split: [] for split in SPLITS}
    for image, group in zip(kept, groups, strict=True):
        record = ImageRecord(
            image.image_id, image.file_name, image.height, image.width, image.modality, group, image.nuclei
        )
        records["trainval" if image.part == TRAIN else "test"].append(record)
    trainval = records["trainval"]
    validation = validation_groups([r.group for r in trainval], [r.modality for r in trainval])
    for record in trainval:
        records["val" if record.group in validation else "train"].append(record)
    return Dataset(records, sum(image.shared_pixels for image in kept), repairs)


def _write_annotations(folder: Path, records: dict[str, list[ImageRecord]]) -> None:
    numbers = {
        record.image_id: number
        for split in ("trainval", "test")
        for number, record in enumerate(records[split], start=1)
    }
    for split in SPLITS:
        write_coco(
            folder / f"bbbc038_{split}.json",
            INFO | {"split": split},
            (coco_image(record, numbers[record.image_id]) for record in records[split]),
            _annotations(records[split], numbers),
        )


def _annotations(records: Iterable[ImageRecord], numbers: dict[str, int]) -> Iterator[dict[str, Any]]:
    count = 0
    for record in records:
        for nucleus in record.nuclei:
            count += 1
            yield coco_annotation(record, nucleus, count, numbers[record.image_id])


def make_report(data: Dataset) -> dict[str, Any]:
    """Count what a converted data set holds and what was mended in it.

    Returns:
        "splits": of each, images, nuclei and groups, and images and nuclei of each modality; "groups across train and
        test": fields of view of which the publisher put tiles on both sides, which are left as they are; "pixels shared
        by masks"; "repairs": of each kind that occurred, what was expected, what was done, how often and where.
    """
    return {
        "splits": {split: _count(data.records[split]) for split in SPLITS},
        "groups across train and test": _across(data.records),
        "pixels shared by masks": data.shared_pixels,
        "repairs": {
            kind: {
                "expected": KINDS[kind].expected,
                "action": KINDS[kind].action,
                "count": count,
                "cases": [
                    {"where": repair.where, "found": repair.found}
                    for repair in data.repairs.found
                    if repair.kind == kind
                ],
            }
            for kind, count in data.repairs.counts().items()
        },
    }


def _count(records: Sequence[ImageRecord]) -> dict[str, Any]:
    by_modality = {modality: [r for r in records if r.modality == modality] for modality in MODALITIES}
    return {
        "images": len(records),
        "nuclei": sum(len(record.nuclei) for record in records),
        "groups": len({record.group for record in records}),
        "modalities": {
            modality: {"images": len(members), "nuclei": sum(len(record.nuclei) for record in members)}
            for modality, members in by_modality.items()
        },
    }


def _across(records: dict[str, list[ImageRecord]]) -> dict[str, dict[str, list[str]]]:
    members: dict[str, dict[str, list[str]]] = defaultdict(lambda: {"train": [], "test": []})
    for side, split in (("train", "trainval"), ("test", "test")):
        for record in records[split]:
            members[record.group][side].append(record.image_id)
    return {group: sides for group, sides in sorted(members.items()) if sides["train"] and sides["test"]}
