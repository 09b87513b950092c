"""The validation split: fixed, stratified by modality, never through a field of view.

Each group belongs to the stratum of its commonest modality (the first by name if two are equally common). Within a
stratum the groups are put in the order of the SHA-256 of their names, and go to validation one after the other as long
as validation does not come to hold more than `VALIDATION_SHARE` of the stratum's images; a group too large for what is
left is passed over. So the split depends on the names of the groups alone: on no library's random numbers, and not on
the order of the files. A stratum whose groups are all larger than its share has no validation images: BBBC038's one
field of pink-and-purple tissue is trained on.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Sequence

VALIDATION_SHARE = 0.15


def validation_groups(groups: Sequence[str], modalities: Sequence[str]) -> set[str]:
    """Choose the groups whose images are for validation.

    Args:
        groups: the group of each training image.
        modalities: the modality of each, in the same order.

    Returns:
        Names of groups.
    """
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for group, modality in zip(groups, modalities, strict=True):
        counts[group][modality] += 1
    strata: dict[str, list[str]] = defaultdict(list)
    for group, found in counts.items():
        strata[min(found, key=lambda modality: (-found[modality], modality))].append(group)
    chosen: set[str] = set()
    for members in strata.values():
        left = round(VALIDATION_SHARE * sum(counts[group].total() for group in members))
        for group in sorted(members, key=_order):
            if counts[group].total() <= left:
                chosen.add(group)
                left -= counts[group].total()
    return chosen


def _order(group: str) -> str:
    return hashlib.sha256(f"nucleus validation split {group}".encode()).hexdigest()
