"""Anyone's truth or predictions as label images by image name.

A source is one of:

- a folder of label images (TIFF or PNG of 8, 16 or 32 bit), in subfolders or not, or one label image;
- a folder of GeoJSON files, one an image, or one GeoJSON file;
- a COCO file, its annotations with scores (detections) or without;
- COCO results (a JSON list), whose images are those of the other side;
- the competition's CSV of run lengths, with or without the sizes of the images.

Two sources are matched by the names of their images; see `nucleus.evaluation.image_names`.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nucleus.errors import InputError
from nucleus.evaluation.image_names import (
    GEOJSON_SUFFIXES,
    LABEL_SUFFIXES,
    files_by_name,
    listed,
    match_names,
    name_of,
)
from nucleus.evaluation.source_entries import (
    CocoMasks,
    Entry,
    GeoJsonFile,
    KaggleRows,
    LabelFile,
    Nothing,
    Size,
    is_finite,
)
from nucleus.formats.coco import MOST_PIXELS, read_coco
from nucleus.formats.kaggle_csv import RunRow, read_kaggle_csv

HEAD = 4096  # characters of a JSON file that tell what it is


@dataclass(frozen=True)
class Source:
    """Images of nuclei by name, none of them read yet.

    Attributes:
        path: the file or folder.
        kind: what it is, in words.
        entries: what is known of each image, by its name.
        modalities: kind of the image, by name, where the source says.
        groups: group of the image, by name, where the source says.
        ids: name of the image by its id in a COCO file.
        single: one file that is one image, so that its name need not match.
    """

    path: Path
    kind: str
    entries: Mapping[str, Entry]
    modalities: Mapping[str, str] = field(default_factory=dict)
    groups: Mapping[str, str] = field(default_factory=dict)
    ids: Mapping[Any, str] = field(default_factory=dict)
    single: bool = False


@dataclass(frozen=True, slots=True)
class Pair:
    """One image to score, its name being the truth's."""

    name: str
    truth: Entry
    prediction: Entry


def open_source(path: str | Path, *, suffix: str = "", truth: Source | None = None) -> Source:
    """Open truth or predictions.

    Args:
        path: a file or folder; see the top of this module.
        suffix: end of the names that is no part of them, as "_cp_masks"; images without it are passed over.
        truth: for predictions, the source that they will be compared with: COCO results name their images by its ids.

    Returns:
        The source. Pixels are not read yet; a COCO file, results and a CSV are, since they hold all images.

    Raises:
        InputError: nothing there, no such kind of file, two files of one name, or a file that cannot be read.
    """
    path = Path(path)
    if path.is_dir():
        source = _folder(path)
    elif not path.is_file():
        raise InputError(path, expected="a file or folder with nuclei", found="nothing there")
    elif path.suffix.lower() in LABEL_SUFFIXES:
        source = Source(path, "one label image", {name_of(path.name): LabelFile(path)}, single=True)
    elif path.suffix.lower() == ".csv":
        source = _kaggle(path)
    elif path.suffix.lower() in (".json", *GEOJSON_SUFFIXES):
        source = _json(path, truth)
    else:
        raise InputError(path, expected="label images (PNG, TIFF), COCO or GeoJSON (.json, .geojson) or a .csv",
                         found=f"a file {path.suffix or 'without ending'}")  # fmt: skip
    return _without_suffix(source, suffix) if suffix and not source.single else source


def match_pairs(truth: Source, predictions: Source, *, allow_missing: bool = False) -> list[Pair]:
    """Match the images of two sources.

    Args:
        truth: says which images there are.
        predictions: one for each of them, and no other.
        allow_missing: a missing prediction counts as an image without nuclei.

    Returns:
        A pair an image, in the order of the truth.

    Raises:
        InputError: images of one side are missing on the other.
    """
    if truth.single and predictions.single:
        (name, true), (predicted,) = next(iter(truth.entries.items())), predictions.entries.values()
        return [Pair(name, true, predicted)]
    matched = match_names(truth.entries, predictions.entries)
    unknown = set(predictions.entries) - set(matched.values())
    if unknown:
        raise InputError(predictions.path, expected=f"images of {truth.path} only",
                         found=f"{len(unknown)} of {len(predictions.entries)} that it does not have: {listed(unknown)}",
                         remedy="Images are matched by name without ending; see the flags that end in "
                                "-suffix.")  # fmt: skip
    missing = [name for name in truth.entries if name not in matched]
    if missing and not allow_missing:
        raise InputError(predictions.path, expected=f"a prediction for each image of {truth.path}",
                         found=f"none for {len(missing)} of {len(truth.entries)}: {listed(missing)}",
                         remedy="With --allow-missing they count as images without nuclei.")  # fmt: skip
    nothing = Nothing(f"{predictions.path} (missing)")
    return [
        Pair(name, truth.entries[name], predictions.entries[matched[name]] if name in matched else nothing)
        for name in truth.entries
    ]


def _without_suffix(source: Source, suffix: str) -> Source:
    def stripped(values: Mapping[str, Any]) -> dict[str, Any]:
        return {name.removesuffix(suffix): value for name, value in values.items() if name.endswith(suffix)}

    entries = stripped(source.entries)
    if not entries:
        raise InputError(source.path, expected=f"images whose names end with {suffix}",
                         found=f"none, but {listed(source.entries)}")  # fmt: skip
    ids = {key: name.removesuffix(suffix) for key, name in source.ids.items() if name.endswith(suffix)}
    return Source(source.path, source.kind, entries, stripped(source.modalities), stripped(source.groups), ids)


def _folder(path: Path) -> Source:
    labels = files_by_name(path, LABEL_SUFFIXES)
    if labels:
        return Source(path, "label images", {name: LabelFile(file) for name, file in labels.items()})
    outlines = files_by_name(path, GEOJSON_SUFFIXES)
    if outlines:
        return Source(path, "GeoJSON files", {name: GeoJsonFile(file) for name, file in outlines.items()})
    raise InputError(path, expected="label images (PNG or TIFF) or .geojson files", found="none",
                     remedy="JPEG cannot hold labels: save them as PNG or TIFF.")  # fmt: skip


def _kaggle(path: Path) -> Source:
    rows: dict[str, list[RunRow]] = defaultdict(list)
    for row in read_kaggle_csv(path):
        if row.fault is not None:
            raise InputError(f"{path}, line {row.line}", expected="an image and its run lengths", found=row.fault)
        rows[name_of(row.image_id)].append(row)
    if not rows:
        raise InputError(path, expected="at least one image", found="a header only")
    entries = {name: _kaggle_entry(f"{path}, image {name}", of_image) for name, of_image in rows.items()}
    return Source(path, "a CSV of run lengths", entries)


def _kaggle_entry(where: str, rows: list[RunRow]) -> KaggleRows:
    sizes = {(row.height, row.width) for row in rows}
    if len(sizes) > 1:
        raise InputError(where, expected="one size of the image", found=" and ".join(map(str, sorted(sizes))))
    height, width = sizes.pop()
    size = None if height is None or width is None else (height, width)
    if size is not None and size[0] * size[1] > MOST_PIXELS:
        raise InputError(where, expected=f"at most {MOST_PIXELS:,} pixels", found=f"{size[0]:,} x {size[1]:,}",
                         remedy="Cut the image into parts.")  # fmt: skip
    return KaggleRows(where, size, tuple((row.line, row.runs) for row in rows if row.runs))


def _json(path: Path, truth: Source | None) -> Source:
    try:
        with path.open(encoding="utf-8-sig", errors="replace") as file:
            head = file.read(HEAD)
    except OSError as error:
        raise InputError(path, expected="a readable file", found=error.strerror or str(error)) from error
    geojson = any(word in head for word in ('"FeatureCollection"', '"Feature"', '"Polygon"', '"MultiPolygon"'))
    if path.suffix.lower() in GEOJSON_SUFFIXES or geojson:
        return Source(path, "one GeoJSON file", {name_of(path.name): GeoJsonFile(path)}, single=True)
    return _results(path, truth) if head.lstrip().startswith("[") else _coco(path)


def _coco(path: Path) -> Source:
    coco = read_coco(path)
    ids: dict[Any, str] = {}
    items: dict[str, list[dict[str, Any]]] = {}
    for image in coco["images"]:
        name = ids[image["id"]] = name_of(str(image["file_name"]))
        if name in items:
            raise InputError(path, expected="images of different names", found=f"{name} twice")
        items[name] = []
    for annotation in coco["annotations"]:
        items[ids[annotation["image_id"]]].append(annotation)
    if not items:
        raise InputError(path, expected="at least one image", found="none")
    images = {ids[image["id"]]: image for image in coco["images"]}
    return Source(
        path,
        "a COCO file",
        {
            name: CocoMasks(f"{path}, image {name}", _size(path, image), tuple(items[name]))
            for name, image in images.items()
        },
        {name: str(image["modality"]) for name, image in images.items() if image.get("modality")},
        {name: str(image["group"]) for name, image in images.items() if image.get("group") not in (None, "")},
        ids,
    )


def _size(path: Path, image: Mapping[str, Any]) -> Size:
    height, width = image["height"], image["width"]
    if not all(isinstance(side, int) and side > 0 for side in (height, width)):
        raise InputError(path, expected="height and width of each image in pixels",
                         found=f"{height!r} x {width!r} for {image['file_name']}")  # fmt: skip
    return height, width


def _results(path: Path, truth: Source | None) -> Source:
    if truth is None:
        raise InputError(path, expected="truth that names its images", found="COCO results (a list of detections)",
                         remedy="Give a COCO file, label images or a CSV.")  # fmt: skip
    try:
        results = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        found = "brackets nested without end" if isinstance(error, RecursionError) else str(error)[:120]
        raise InputError(path, expected="COCO results, a JSON list", found=found,
                         remedy="The file may be truncated: write or copy it again.") from error  # fmt: skip
    for number, result in enumerate(results):
        _check_result(path, number, result)
    by_name = {result["image_id"] for result in results if isinstance(result["image_id"], str)}  # of `nucleus predict`
    names = {**match_names(by_name, truth.entries), **truth.ids}
    items: dict[str, list[dict[str, Any]]] = {name: [] for name in truth.entries}
    for result in results:
        if result["image_id"] not in names:
            remedy = "Results know images by number: give the COCO file with these numbers as the truth."
            raise InputError(path, expected=f"images of {truth.path}", found=f"image_id {result['image_id']!r}",
                             remedy="" if truth.ids else remedy)  # fmt: skip
        items[names[result["image_id"]]].append(result)
    entries = {
        name: CocoMasks(f"{path}, image {name}", truth.entries[name].size, tuple(of_image))
        for name, of_image in items.items()
    }
    return Source(path, "COCO results", entries, ids=truth.ids)


def _check_result(path: Path, number: int, result: Any) -> None:
    for key in ("image_id", "score", "segmentation"):
        if not isinstance(result, dict) or key not in result:
            remedy = "Boxes without masks cannot be scored." if key == "segmentation" else ""
            raise InputError(path, expected=f'"{key}" in each COCO result', found=f"none in result {number}",
                             remedy=remedy)  # fmt: skip
    score = result["score"]
    if not is_finite(score):
        raise InputError(path, expected="a finite score in each COCO result",
                         found=f"{repr(score)[:80]} in result {number}")  # fmt: skip
    if not isinstance(result["image_id"], int | float | str):
        raise InputError(path, expected="a number or text as image_id in each COCO result",
                         found=f"{repr(result['image_id'])[:80]} in result {number}")  # fmt: skip
