"""Stacks of masks, as Detectron2's models give them: N whole images with one small nucleus each."""

from __future__ import annotations

import numpy as np

from nucleus.masks.box_masks import BoxMasks

_MARGIN = 2  # pixels around a box in which a mask pasted by interpolation may still be set


def box_masks_from_stack(masks: np.ndarray, boxes: np.ndarray) -> BoxMasks:
    """Cut N masks out of their stack, looking at the surroundings of each mask's box only.

    No pixel is lost whatever the boxes say: where a mask has pixels outside of its box, the whole mask is kept.

    Args:
        masks: bool (N, H, W).
        boxes: (N, 4) XYXY in pixels, where each mask should lie.

    Returns:
        The same N masks.
    """
    height, width = masks.shape[1:]
    low = np.floor(np.nan_to_num(boxes[:, :2])) - _MARGIN
    high = np.ceil(np.nan_to_num(boxes[:, 2:])) + _MARGIN
    size = np.array([width, height])
    low, high = np.clip(low, 0, size), np.clip(high, 0, size)
    corners = np.concatenate([low, np.maximum(low, high)], axis=1).astype(np.int64)
    crops = []
    for index, mask in enumerate(masks):
        left, top, right, bottom = corners[index]
        crop = mask[top:bottom, left:right]
        if np.count_nonzero(crop) != np.count_nonzero(mask):
            crop, corners[index] = mask, (0, 0, width, height)
        crops.append(crop)
    return BoxMasks(corners, crops, height, width)
