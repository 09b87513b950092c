"""What a stored label image cannot be: more than 255 nuclei in 8 bits, or a binary mask.

Saved in 8 bits, the 256th nucleus becomes background or 255, and those after it take the labels of others: then all of
1..255 are used and some labels lie in two places. *Two places*: pieces of one label of which the smaller has at least a
quarter of the pixels of the larger, apart by more than the larger is long. Stray pixels, and nuclei that another one
cuts in two, do not look so.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import ndimage

from nucleus.errors import InputError
from nucleus.evaluation.image_names import listed
from nucleus.formats.label_image import has_8_bits

COMPARABLE = 0.25  # of the pixels of the larger piece
EIGHT_BIT = 255
SUSPICIOUS_FROM = 128  # labels; an image with fewer is not looked at for 8 bits
BINARY = "one label for everything"
CUT = "all of 1..255 used"
TWO_PLACES = "labels in two places"
MEANING = {
    BINARY: "Label images in which all nuclei have one label, in pieces far from each other, so that they count as one "
    "nucleus (binary masks? Then label their connected components first)",
    CUT: "Label images that use all of 1..255 (if there were more than 255 nuclei, 8 bits have cut them)",
    TWO_PLACES: "Label images with more than 127 labels up to 255, some of them in two places far from each other (did "
    "labels not fit into 8 bits?)",
}
"""What each suspicion means, as it is printed."""


@dataclass(frozen=True)
class Pieces:
    """8-connected pieces of each label: their labels, pixels and boxes (top, left, bottom, right)."""

    labels: np.ndarray
    areas: np.ndarray
    boxes: np.ndarray


def check_stored_labels(labels: np.ndarray, ids: np.ndarray, path: Path) -> str | None:
    """Look for what 8 bits do to labels, and for binary masks.

    Args:
        labels: int (H, W), as read from a label image.
        ids: its labels without background, ascending.
        path: the file.

    Returns:
        A suspicion, one of the keys of MEANING, or None.

    Raises:
        InputError: it is certain: stored in 8 bits, and all of 1..255 used and one of them in two places, or nothing
            but 255, in two places.
    """
    if len(ids) == 1:
        if labels_in_two_places(labels) == 0:
            return None
        if ids[0] == EIGHT_BIT and has_8_bits(path):
            raise InputError(path, expected="one label a nucleus", found="a binary mask (0 and 255)",
                             remedy="Label its connected components first, for example with skimage.measure.label; "
                                    "nuclei that touch will count as one.")  # fmt: skip
        return BINARY
    if len(ids) < SUSPICIOUS_FROM or ids[-1] > EIGHT_BIT:
        return None
    doubled = labels_in_two_places(labels)
    if len(ids) < EIGHT_BIT:
        return TWO_PLACES if doubled else None
    if doubled and not has_8_bits(path):
        return TWO_PLACES
    if doubled:
        raise InputError(path, expected="one label a nucleus",
                         found=f"all of 1..255 used, {doubled} of them in two places: more nuclei than 8 bits hold",
                         remedy="Save label images with 16 or 32 bits.")  # fmt: skip
    return CUT


def refuse_binary(where: Path, images: Iterable[tuple[str | None, int]]) -> None:
    """Refuse label images of which none has two labels, and most of those that have one look like binary masks.

    Args:
        where: the folder.
        images: the suspicion and the number of labels of each.

    Raises:
        InputError: so it is.
    """
    with_nuclei = [(suspicion, nuclei) for suspicion, nuclei in images if nuclei]
    binary = sum(suspicion == BINARY for suspicion, _ in with_nuclei)
    if len(with_nuclei) > 1 and max(nuclei for _, nuclei in with_nuclei) == 1 and 2 * binary > len(with_nuclei):
        raise InputError(where, expected="label images, one whole number a nucleus",
                         found=f"binary masks: one label an image, in pieces far from each other in {binary} of "
                               f"{len(with_nuclei)} images",
                         remedy="Label their connected components first, for example with skimage.measure.label; "
                                "nuclei that touch will count as one.")  # fmt: skip


def suspicion_warnings(suspicions: Iterable[tuple[str | None, str]]) -> list[str]:
    """One sentence a kind of suspicion, with the images it is of.

    Args:
        suspicions: of each image, and where it is.
    """
    suspicious: dict[str, list[str]] = defaultdict(list)
    for suspicion, where in suspicions:
        if suspicion is not None:
            suspicious[suspicion].append(where)
    return [f"{MEANING[what]}: {len(where)}: {listed(where)}" for what, where in suspicious.items()]


def labels_in_two_places(labels: np.ndarray) -> int:
    """Count the labels that lie in two places, as the top of this module says."""
    pieces = _pieces(labels)
    order = np.lexsort((-pieces.areas, pieces.labels))  # of each label, the largest piece first
    count = 0
    for of_label in np.split(order, np.flatnonzero(np.diff(pieces.labels[order])) + 1) if order.size else ():
        largest, others = of_label[0], of_label[1:]
        others = others[pieces.areas[others] >= COMPARABLE * pieces.areas[largest]]
        if others.size:
            top, left, bottom, right = pieces.boxes[largest]
            vertical = np.maximum(pieces.boxes[others, 0] - bottom, top - pieces.boxes[others, 2])
            horizontal = np.maximum(pieces.boxes[others, 1] - right, left - pieces.boxes[others, 3])
            count += bool((np.maximum(vertical, horizontal) > max(bottom - top, right - left)).any())
    return count


def _pieces(labels: np.ndarray) -> Pieces:
    from skimage.measure import label  # takes long to import, and is rarely needed

    pieces = label(labels, connectivity=2)
    boxes = [(rows.start, columns.start, rows.stop, columns.stop) for rows, columns in ndimage.find_objects(pieces)]
    number, first = np.unique(pieces, return_index=True)
    return Pieces(
        labels=labels.ravel()[first[number > 0]],
        areas=np.bincount(pieces.ravel())[1:],
        boxes=np.array(boxes, dtype=np.int64).reshape(-1, 4),
    )
