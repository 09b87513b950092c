"""One image of a source of nuclei, unread: what each kind of file needs to become a label image.

An entry is small, can be pickled (worker processes read them) and opens its file when it is read, so that memory holds
the pixels of one image. Where masks of one image overlap, pixels go to the mask with the highest score
(`nucleus.masks.resolve_overlaps`) or, without scores, to the first in the file.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from nucleus.errors import InputError
from nucleus.formats.coco import NUCLEUS, rle_from_segmentation
from nucleus.formats.geojson import read_geojson
from nucleus.formats.label_image import read_label_image
from nucleus.masks.box_masks import BoxMasks
from nucleus.masks.kaggle_runs import runs_from_kaggle
from nucleus.masks.resolve_overlaps import label_image_from_box_masks
from nucleus.masks.rle import Rle, coco_area, coco_box, label_image_from_coco, rles_from_label_image
from nucleus.masks.runs import label_image_from_runs

Size = tuple[int, int]
ALL = -math.inf  # a score threshold that leaves nothing out
DETECTIONS_THRESHOLD = 0.5
"""Lowest score of a COCO detection that counts where nobody said: such files hold every guess of a model. Nuclei of a
GeoJSON file all count then, since they were chosen when the file was written."""


@dataclass(frozen=True, eq=False, slots=True)
class Content:
    """What an entry holds.

    Attributes:
        labels: int32 (H, W), 0 background; of scored masks all are drawn, and the labels are 1..n.
        annotations: COCO annotations without ids (bbox XYWH in pixels, area, iscrowd, segmentation as compressed RLE,
            score where there are scores) of every mask; empty unless asked for.
        scores: float64 (n,), the score of label l at l - 1, NaN where a mask has none; None without scores.
        mask_scores: float64 (N,), of every mask, drawn or not; None without scores.
        shared: pixels that a mask without a score lost to an earlier one.
        vanished: masks without a score and without a pixel of their own.
        lost: masks with a score that others took most of, so that they are not drawn.
        crowds: crowd regions, which are not drawn.
    """

    labels: np.ndarray
    annotations: list[dict[str, Any]] = field(default_factory=list)
    scores: np.ndarray | None = None
    mask_scores: np.ndarray | None = None
    shared: int = 0
    vanished: int = 0
    lost: int = 0
    crowds: int = 0

    def at_threshold(self, score_threshold: float) -> tuple[np.ndarray, int]:
        """Leave out what scores below the threshold; what has no score stays.

        A mask is drawn or not by those with a higher score alone, so that this is what drawing only the masks at or
        above the threshold gives.

        Args:
            score_threshold: lowest score that counts.

        Returns:
            The label image, int32 (H, W), and how many masks at or above the threshold lost their pixels to others.
        """
        if self.scores is None or self.mask_scores is None:
            return self.labels, 0
        left_out = self.scores < score_threshold
        dropped = int((~(self.mask_scores < score_threshold)).sum() - (~left_out).sum())
        if not left_out.any():
            return self.labels, dropped
        kept = np.arange(len(left_out) + 1, dtype=np.int32)
        kept[1:][left_out] = 0
        return kept[self.labels], dropped


class Entry(Protocol):
    """One image of a source.

    Attributes:
        where: names the file, and the image in it, in messages.
        size: H and W in pixels, or None if the entry does not know.
        has_size: the entry can be read without being told the size.
        default_threshold: lowest score of a mask that becomes a nucleus where nobody said; None if this kind of file
            has no scores.
    """

    @property
    def where(self) -> str: ...
    @property
    def size(self) -> Size | None: ...
    @property
    def has_size(self) -> bool: ...
    @property
    def default_threshold(self) -> float | None: ...

    def read(self, size: Size | None, annotations: bool) -> Content:
        """Read the image.

        Args:
            size: H and W in pixels; None only if `has_size`.
            annotations: give COCO annotations, too.

        Raises:
            InputError: the file is broken, or does not hold what it should.
        """
        ...


@dataclass(frozen=True, slots=True)
class LabelFile:
    """A label image: PNG or TIFF."""

    path: Path
    size = None
    has_size = True
    default_threshold = None

    @property
    def where(self) -> str:
        return str(self.path)

    def read(self, size: Size | None, annotations: bool) -> Content:
        labels = read_label_image(self.path)
        return Content(labels, _annotations(rles_from_label_image(labels)) if annotations else [])


@dataclass(frozen=True, slots=True)
class GeoJsonFile:
    """Outlines of one image, with scores or without."""

    path: Path
    size = None
    has_size = False
    default_threshold = ALL

    @property
    def where(self) -> str:
        return str(self.path)

    def read(self, size: Size | None, annotations: bool) -> Content:
        assert size is not None
        labels, scores = read_geojson(self.path, *size)
        present = _drawn(labels)
        vanished = len(scores) - len(present)
        rles = rles_from_label_image(labels) if annotations else []
        if np.isnan(scores).all():
            return Content(labels, _annotations(rles), vanished=vanished)
        number = np.zeros(len(scores) + 1, dtype=np.int32)
        number[present] = np.arange(1, len(present) + 1)
        drawn = scores[present - 1]
        made = _annotations(rles, None if np.isnan(drawn).any() else drawn.tolist())
        return Content(number[labels], made, drawn, scores)


@dataclass(frozen=True, slots=True)
class CocoMasks:
    """The annotations of one image of a COCO file, or its COCO results.

    Attributes:
        where: the file and the image.
        size: H and W in pixels, or None for results without a list of images.
        items: annotations or results; crowd regions are no nuclei.
    """

    where: str
    size: Size | None
    items: tuple[dict[str, Any], ...]
    default_threshold = DETECTIONS_THRESHOLD

    @property
    def has_size(self) -> bool:
        return self.size is not None

    def read(self, size: Size | None, annotations: bool) -> Content:
        size = self.size or size
        assert size is not None
        rles = [self._rle(item, *size) for item in self.items]
        made = [_annotation(rle, item) for rle, item in zip(rles, self.items, strict=True)] if annotations else []
        nuclei = [position for position, item in enumerate(self.items) if not item.get("iscrowd")]
        crowds = len(rles) - len(nuclei)
        rles = [rles[position] for position in nuclei]
        scores: list[Any] = [self.items[position].get("score") for position in nuclei]
        if not any(score is not None for score in scores):
            unscored = _unscored(label_image_from_coco(rles, *size), sum(map(coco_area, rles)), len(rles), made)
            return replace(unscored, crowds=crowds)
        if not all(map(is_finite, scores)):
            raise InputError(self.where, expected="a finite score with each mask, or with none",
                             found="masks with and without")  # fmt: skip
        every = np.asarray(scores, dtype=np.float64)
        labels, drawn, _ = label_image_from_box_masks(BoxMasks.from_coco(rles, *size), every, score_threshold=ALL)
        return Content(labels, made, every[drawn], every, lost=len(rles) - len(drawn), crowds=crowds)

    def _rle(self, item: dict[str, Any], height: int, width: int) -> Rle:
        if "segmentation" not in item:
            raise InputError(self.where, expected="masks (segmentation)", found="boxes only",
                             remedy="Write the results of a model with masks.")  # fmt: skip
        number = f"annotation {item['id']} of " if "id" in item else ""
        box, area, crowd = item.get("bbox"), item.get("area"), item.get("iscrowd") or 0
        for key, right in (
            ("bbox", box is None or (isinstance(box, list) and len(box) == 4 and all(map(is_finite, box)))),
            ("area", area is None or is_finite(area)),
            ("iscrowd", crowd in (0, 1)),
        ):
            if not right:
                raise InputError(f"{number}{self.where}", expected=f"{key} as COCO has it",
                                 found=repr(item[key])[:80])  # fmt: skip
        try:
            return rle_from_segmentation(item["segmentation"], height, width)
        except ValueError as error:
            raise InputError(f"{number}{self.where}", expected=f"a COCO segmentation of {height} x {width} pixels",
                             found=str(error)[:160]) from error  # fmt: skip


def is_finite(value: Any) -> bool:
    """Whether a value from a file is a finite number, not too large for a float."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


@dataclass(frozen=True, slots=True)
class KaggleRows:
    """The lines of one image of a Kaggle CSV.

    Attributes:
        where: the file and the image.
        size: H and W in pixels, or None where the file does not say.
        rows: number of the line and its run lengths, of each nucleus.
    """

    where: str
    size: Size | None
    rows: tuple[tuple[int, str], ...]
    default_threshold = None

    @property
    def has_size(self) -> bool:
        return self.size is not None

    def read(self, size: Size | None, annotations: bool) -> Content:
        size = self.size or size
        assert size is not None
        masks = [self._runs(line, runs, *size) for line, runs in self.rows]
        labels = label_image_from_runs(masks, *size)
        made = _annotations(rles_from_label_image(labels)) if annotations else []
        area = sum(int((runs[:, 1] - runs[:, 0]).sum()) for runs in masks)
        return _unscored(labels, area, len(masks), made)

    def _runs(self, line: int, runs: str, height: int, width: int) -> np.ndarray:
        try:
            return runs_from_kaggle(runs, height, width)
        except ValueError as error:
            words = str(error).removeprefix("expected ")
            expected, _, found = words.partition(", found ")
            raise InputError(f"{self.where}, line {line}", expected=expected, found=found or "others") from error


@dataclass(frozen=True, slots=True)
class Nothing:
    """A missing prediction: an image without nuclei."""

    where: str
    size = None
    has_size = False
    default_threshold = None

    def read(self, size: Size | None, annotations: bool) -> Content:
        assert size is not None
        return Content(np.zeros(size, dtype=np.int32))


def _unscored(labels: np.ndarray, area: int, masks: int, annotations: list[dict[str, Any]]) -> Content:
    """Say what masks without scores lost to each other."""
    shared = area - int(np.count_nonzero(labels))
    return Content(labels, annotations, shared=shared, vanished=masks - len(_drawn(labels)))


def _drawn(labels: np.ndarray) -> np.ndarray:
    """The labels that have pixels, int64 (n,), ascending; none of them is larger than the number of masks."""
    return np.flatnonzero(np.bincount(labels.ravel(), minlength=1)[1:]) + 1


def _annotations(rles: Sequence[Rle], scores: Sequence[float] | None = None) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = [{} for _ in rles] if scores is None else [{"score": score} for score in scores]
    return list(map(_annotation, rles, items))


def _annotation(rle: Rle, item: dict[str, Any]) -> dict[str, Any]:
    """What COCO AP asks for, of the one class there is; box and area are the file's own where it gives them."""
    given: dict[str, Callable[[Rle], Any]] = {"bbox": coco_box, "area": coco_area}
    annotation = {key: of_mask(rle) if item.get(key) is None else item[key] for key, of_mask in given.items()}
    annotation |= {"category_id": NUCLEUS["id"], "iscrowd": int(item.get("iscrowd") or 0), "segmentation": rle}
    return annotation | ({"score": item["score"]} if "score" in item else {})
