"""What is wrong with a data set, and what is done about it.

Every kind of bad input has a name here, and one thing that happens to it: nothing is mended in silence. `--strict`
stops at the first.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from nucleus.errors import InputError


class Kind(NamedTuple):
    """What was expected, and what is done where it is not so."""

    expected: str
    action: str


KINDS = {
    "unsafe_archive_entry": Kind("entries that stay inside the target folder", "not extracted"),
    "duplicated_id": Kind("each ImageId once", "the first one is kept"),
    "train_image_in_test": Kind("training images that are not test images", "left out of the training set"),
    "missing_image": Kind("an image in images/", "its masks are left out"),
    "several_images": Kind("one image in images/", "the one named as the folder is taken, else the first"),
    "missing_masks": Kind("a folder masks/, even if empty", "the image is left out: nobody said what is in it"),
    "unreadable_image": Kind("an image that can be decoded", "the image is left out with its masks"),
    "unreadable_mask": Kind("a mask that can be decoded", "the mask is left out"),
    "mask_size": Kind("a mask as large as its image", "the mask is left out"),
    "empty_mask": Kind("a mask with a nucleus", "the mask is left out"),
    "non_binary_mask": Kind("a mask of one value on 0", "pixels of at least half the largest value are the nucleus"),
    "duplicated_mask": Kind("each nucleus once", "the first of equal masks is kept"),
    "overlapping_mask": Kind(
        "masks that share no pixel",
        "both masks are kept whole in the COCO file; in label images the earlier one keeps the pixels",
    ),
    "bad_run": Kind("increasing pairs of start and length inside the image", "the mask is left out"),
    "solution_without_image": Kind("lines of images in stage1_test", "the lines are left out"),
    "image_without_solution": Kind("lines in stage1_solution.csv for each test image", "the image is left out"),
}


@dataclass(frozen=True)
class Repair:
    """One thing that was wrong.

    Attributes:
        kind: a key of `KINDS`.
        where: the file, relative to its source, or the line of the CSV.
        found: what was there.
    """

    kind: str
    where: str
    found: str


class Repairs:
    """Collects what was wrong, or stops at the first of it.

    Args:
        strict: raise instead of collecting.
    """

    def __init__(self, strict: bool = False) -> None:
        self.strict = strict
        self.found: list[Repair] = []

    def add(self, kind: str, where: str, found: str) -> None:
        """Note one repair.

        Raises:
            InputError: the collection is strict.
        """
        if self.strict:
            raise InputError(where, expected=KINDS[kind].expected, found=found,
                             remedy=f"Mend it, or run without --strict: {KINDS[kind].action}.")  # fmt: skip
        self.found.append(Repair(kind, where, found))

    def extend(self, repairs: Iterable[Repair]) -> None:
        """Take over what another process collected."""
        self.found.extend(repairs)

    def counts(self) -> dict[str, int]:
        """How many of each kind, in the order of `KINDS`; kinds that did not occur are absent."""
        counted = Counter(repair.kind for repair in self.found)
        return {kind: counted[kind] for kind in KINDS if counted[kind]}
