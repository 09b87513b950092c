"""The masks of one image: each checked as it comes, and encoded."""

from __future__ import annotations

import cv2
import numpy as np

from nucleus.data.image_record import Nucleus, nucleus_from_mask
from nucleus.data.repairs import Repairs
from nucleus.formats.declared import declared_pixels, why_endless

MOST_PIXELS = 178_000_000  # of a mask, as of an image decoded at once


def decode_mask(content: bytes) -> np.ndarray | None:
    """Decode a mask file.

    Args:
        content: of a PNG (or JPEG, WebP or JPEG 2000).

    Returns:
        Integers (H, W): its one channel, or the largest of its colour channels. None if it cannot be decoded.
    """
    declared = declared_pixels(content)
    if declared is None or declared > MOST_PIXELS or why_endless(content):  # not decoded: memory and time without end
        return None
    try:
        pixels = cv2.imdecode(np.frombuffer(content, dtype=np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        return None
    if pixels is not None and pixels.ndim == 3:
        return np.ascontiguousarray(pixels[..., :3].max(axis=2))  # the fourth would be alpha
    return pixels


class MaskCollector:
    """Takes the masks of one image and keeps them as nuclei.

    Where masks overlap, each is kept whole; in a label image the earlier one keeps the pixels.

    Args:
        height: of the image in pixels.
        width: of the image in pixels.
        repairs: takes what is wrong with the masks.

    Attributes:
        nuclei: the masks that were kept, in order.
        shared_pixels: pixels of later masks that earlier ones hold.
    """

    def __init__(self, height: int, width: int, repairs: Repairs) -> None:
        self.nuclei: list[Nucleus] = []
        self.shared_pixels = 0
        self._size = (height, width)
        self._repairs = repairs
        self._owner = np.zeros((height, width), dtype=np.int32)  # label image of the nuclei so far
        self._names: list[str] = []
        self._known: dict[str, str] = {}  # RLE -> name

    def add(self, mask: np.ndarray, name: str) -> None:
        """Check and take one mask.

        Args:
            mask: integers (H, W); 0 is background.
            name: for messages: the file, or the line of the solution.

        Raises:
            InputError: something is wrong with the mask, and the repairs are strict.
        """
        if mask.shape != self._size:
            found, wanted = (f"{height} x {width}" for height, width in (mask.shape, self._size))
            self._repairs.add("mask_size", name, f"{found} pixels for an image of {wanted}")
            return
        if mask.dtype != np.uint8:
            mask = self._binary(mask, name) if mask.any() else mask.astype(np.uint8)
        left, top, width, height = cv2.boundingRect(mask)
        if width == 0:
            self._repairs.add("empty_mask", name, "no pixel above 0")
            return
        window = mask[top : top + height, left : left + width]
        if cv2.countNonZero(window) * int(window.max()) != cv2.sumElems(window)[0]:  # not all equal the largest
            mask = self._binary(mask, name)
            left, top, width, height = cv2.boundingRect(mask)
            window = mask[top : top + height, left : left + width]
        box = (left, top, width, height)
        nucleus = nucleus_from_mask(mask, box)
        if nucleus.counts in self._known:
            self._repairs.add("duplicated_mask", name, f"the same pixels as {self._known[nucleus.counts]}")
            return
        self._known[nucleus.counts] = name
        self._claim(window, box, name)
        self.nuclei.append(nucleus)

    def _binary(self, mask: np.ndarray, name: str) -> np.ndarray:
        """The mask as uint8, 0 and 1: pixels of at least half the largest value."""
        peak = int(mask.max())
        if np.count_nonzero(mask) != np.count_nonzero(mask == peak):
            self._repairs.add("non_binary_mask", name, f"{len(np.unique(mask[mask > 0]))} values above 0")
        return (mask >= (peak + 1) // 2).astype(np.uint8)

    def _claim(self, window: np.ndarray, box: tuple[int, int, int, int], name: str) -> None:
        """Give the mask the pixels that no earlier one holds, and count the others."""
        left, top, width, height = box
        owners = self._owner[top : top + height, left : left + width]
        wanted = window > 0
        if owners.any():
            shared = wanted & (owners > 0)
            others = [self._names[owner - 1] for owner in np.unique(owners[shared])]
            if others:
                count = int(np.count_nonzero(shared))
                self._repairs.add("overlapping_mask", name, f"{count} pixels shared with {', '.join(others)}")
                self.shared_pixels += count
                wanted &= ~shared
        self._names.append(name)
        owners[wanted] = len(self._names)
