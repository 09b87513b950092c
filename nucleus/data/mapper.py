"""From a data set record to what the network takes, with one label image in place of N masks."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import torch
from detectron2.config import CfgNode, configurable
from detectron2.structures import BitMasks, Boxes, Instances
from scipy import ndimage

from nucleus.data.decoded import Decoded, decode, decode_image
from nucleus.data.geometry import enlarge, random_view
from nucleus.data.label_masks import LabelMasks
from nucleus.data.photometric import AUGMENTATIONS, augment_photometrically
from nucleus.errors import InputError

MASK_FORMATS = ("label", "bitmask")


class NucleusMapper:
    """Read, scale and augment one image with its nuclei.

    The default mapper warps each of N masks, N x H x W pixels an image. Nuclei do not overlap, so that one label image
    goes through every transform here and is, with the ids of its nuclei, what the network gets. A grey image stays one
    channel until the end.

    Args:
        is_train: random views and photometric augmentation, with targets; else the whole image without.
        short_edge: shorter side, in pixels, to which smaller images are enlarged.
        crop_size: side of the training crop in pixels.
        scale_range: bounds of the random scale on top.
        flip_and_turn: one of the eight symmetries of the square.
        min_area: nuclei with fewer pixels left in the crop are no targets.
        photometric: probability of each photometric augmentation.
        bgr: give channels in BGR order (Detectron2's Caffe weights) in place of RGB.
        mask_format: "label", LabelMasks, or "bitmask", Detectron2's BitMasks. Masks that need more than one label image
            (see `nucleus.data.decoded`) are BitMasks either way.
    """

    @configurable
    def __init__(
        self,
        is_train: bool,
        *,
        short_edge: int,
        crop_size: int,
        scale_range: tuple[float, float],
        flip_and_turn: bool,
        min_area: int,
        photometric: dict[str, float],
        bgr: bool,
        mask_format: str = "label",
    ) -> None:
        if mask_format not in MASK_FORMATS:
            raise InputError("INPUT.MASK_FORMAT", expected=" or ".join(MASK_FORMATS), found=mask_format)
        self.is_train = is_train
        self.short_edge = short_edge
        self.crop_size = crop_size
        self.scale_range = scale_range
        self.flip_and_turn = flip_and_turn
        self.min_area = min_area
        self.photometric = photometric
        self.bgr = bgr
        self.mask_format = mask_format

    @classmethod
    def from_config(cls, cfg: CfgNode, is_train: bool = True) -> dict[str, Any]:
        """Constructor arguments from the INPUT keys."""
        return {
            "is_train": is_train,
            "short_edge": cfg.INPUT.UPSCALE_SHORT_EDGE,
            "crop_size": cfg.INPUT.CROP_SIZE,
            "scale_range": tuple(cfg.INPUT.SCALE_RANGE),
            "flip_and_turn": cfg.INPUT.FLIP_AND_TURN,
            "min_area": cfg.INPUT.MIN_NUCLEUS_AREA,
            "photometric": {name: cfg.INPUT.PHOTOMETRIC[name] for name in AUGMENTATIONS},
            "bgr": cfg.INPUT.FORMAT == "BGR",
            "mask_format": cfg.INPUT.MASK_FORMAT,
        }

    def __call__(self, record: dict[str, Any], rng: np.random.Generator | None = None) -> dict[str, Any]:
        """Map one record of the catalog.

        Args:
            record: as `nucleus.data.catalog.load_records` gives it.
            rng: source of all randomness in training; without one, every call differs.

        Returns:
            The record without its RLEs, with "image", uint8 tensor (3, H, W), and in training "instances" with
            gt_boxes (XYXY, pixels), gt_classes (all 0) and gt_masks (at the size of the crop).

        Raises:
            InputError: the image cannot be read, or its size is not the one in the annotations.
        """
        if self.is_train:
            return self.train(record, decode(record), rng or np.random.default_rng())
        return self._sample(record, enlarge(decode_image(record), self.short_edge))

    def train(self, record: dict[str, Any], decoded: Decoded, rng: np.random.Generator) -> dict[str, Any]:
        """Map a training record that is decoded already; see `__call__`."""
        image, layers = self._augment(decoded, rng)
        sample = self._sample(record, image)
        if len(layers) == 1:
            sample["instances"] = instances_from_label_image(layers[0], self.min_area, self.mask_format)
        else:
            sample["instances"] = Instances.cat(
                [instances_from_label_image(layer, self.min_area, "bitmask") for layer in layers]
            )
        return sample

    def _sample(self, record: dict[str, Any], image: np.ndarray) -> dict[str, Any]:
        if image.ndim == 2:
            channels = np.broadcast_to(image, (3, *image.shape))
        else:
            channels = (image[..., ::-1] if self.bgr else image).transpose(2, 0, 1)
        sample = {key: value for key, value in record.items() if key != "rles"}
        sample["image"] = torch.from_numpy(np.array(channels, order="C"))
        return sample

    def _augment(self, decoded: Decoded, rng: np.random.Generator) -> tuple[np.ndarray, list[np.ndarray]]:
        view = random_view(
            *decoded.image.shape[:2],
            short_edge=self.short_edge,
            scale_range=self.scale_range,
            crop_size=self.crop_size,
            flip_and_turn=self.flip_and_turn,
            rng=rng,
        )
        crop = augment_photometrically(view.apply(decoded.image), self.photometric, rng)
        return crop, [view.apply(layer, nearest=True) for layer in decoded.layers]


def instances_from_label_image(labels: np.ndarray, min_area: int = 1, mask_format: str = "label") -> Instances:
    """Detectron2 targets of a label image.

    Args:
        labels: int16 or int32 (H, W), 0 background, gaps allowed.
        min_area: smallest nucleus in pixels to become a target.
        mask_format: see `NucleusMapper`.

    Returns:
        Instances of size (H, W) with gt_boxes (XYXY: outer pixel edges), gt_classes (0) and gt_masks (LabelMasks that
        share the memory of `labels`, or BitMasks).
    """
    areas = _areas(labels)
    ids = np.flatnonzero(areas >= max(min_area, 1))
    slices = ndimage.find_objects(labels, max_label=len(areas) - 1)
    boxes = np.array(
        [(s[1].start, s[0].start, s[1].stop, s[0].stop) for s in (slices[i - 1] for i in ids)], dtype=np.float32
    ).reshape(-1, 4)
    instances = Instances(labels.shape)
    instances.gt_boxes = Boxes(torch.from_numpy(boxes))
    instances.gt_classes = torch.zeros(len(ids), dtype=torch.int64)
    if mask_format == "label":
        instances.gt_masks = LabelMasks(torch.from_numpy(labels), torch.from_numpy(ids))
    else:
        masks = np.zeros((len(ids), *labels.shape), dtype=bool)
        for mask, label in zip(masks, ids, strict=True):  # only inside each box
            box = slices[label - 1]
            mask[box] = labels[box] == label
        instances.gt_masks = BitMasks(torch.from_numpy(masks))
    return instances


def _areas(labels: np.ndarray) -> np.ndarray:
    """Pixels of each label from 0 to the largest, (n + 1,); 0 for the background."""
    count = int(labels.max(initial=0)) + 1
    if labels.dtype == np.int16 and labels.size < 2**24:  # what OpenCV counts in float32, four times as fast
        areas = cv2.calcHist([labels.view(np.uint16)], [0], None, [count], [0, count]).ravel()
    else:
        areas = np.bincount(labels.ravel())
    areas[0] = 0
    return areas
