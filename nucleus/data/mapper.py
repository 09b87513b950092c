"""From a data set record to what the network takes, with one label image in place of N masks."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode, configurable
from detectron2.structures import BitMasks, Boxes, Instances
from scipy import ndimage

from nucleus.data.geometry import enlarge, random_view
from nucleus.data.photometric import AUGMENTATIONS, augment_photometrically
from nucleus.errors import InputError
from nucleus.formats.image import read_image, to_rgb8
from nucleus.masks.rle import label_image_from_coco


class NucleusMapper:
    """Read, scale and augment one image with its nuclei.

    The default mapper warps each of N masks, N x H x W pixels an image. Nuclei do not overlap, so that one label image
    goes through every transform here, and masks are made from it at the end, at the size of the crop.

    Args:
        is_train: random views and photometric augmentation, with targets; else the whole image without.
        short_edge: shorter side, in pixels, to which smaller images are enlarged.
        crop_size: side of the training crop in pixels.
        scale_range: bounds of the random scale on top.
        flip_and_turn: one of the eight symmetries of the square.
        min_area: nuclei with fewer pixels left in the crop are no targets.
        photometric: probability of each photometric augmentation.
        bgr: give channels in BGR order (Detectron2's Caffe weights) in place of RGB.
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
    ) -> None:
        self.is_train = is_train
        self.short_edge = short_edge
        self.crop_size = crop_size
        self.scale_range = scale_range
        self.flip_and_turn = flip_and_turn
        self.min_area = min_area
        self.photometric = photometric
        self.bgr = bgr

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
        }

    def __call__(self, record: dict[str, Any], rng: np.random.Generator | None = None) -> dict[str, Any]:
        """Map one record of the catalog.

        Args:
            record: as `nucleus.data.catalog.load_records` gives it.
            rng: source of all randomness in training; without one, every call differs.

        Returns:
            The record without its RLEs, with "image", uint8 tensor (3, H, W), and in training "instances" with
            gt_boxes (XYXY, pixels), gt_classes (all 0) and gt_masks (BitMasks at the size of the crop).

        Raises:
            InputError: the image cannot be read, or its size is not the one in the annotations.
        """
        image = to_rgb8(read_image(record["file_name"]))
        if image.shape[:2] != (record["height"], record["width"]):
            raise InputError(
                record["file_name"],
                expected=f"{record['height']} x {record['width']} pixels",
                found=f"{image.shape[0]} x {image.shape[1]}",
                remedy="The image changed after the conversion: convert again.",
            )
        sample = {key: value for key, value in record.items() if key != "rles"}
        if self.is_train:
            labels = label_image_from_coco(record["rles"], *image.shape[:2])
            image, labels = self._augment(image, labels, rng or np.random.default_rng())
            sample["instances"] = instances_from_label_image(labels, self.min_area)
        else:
            image = enlarge(image, self.short_edge)
        if self.bgr:
            image = image[..., ::-1]
        sample["image"] = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))
        return sample

    def _augment(
        self, image: np.ndarray, labels: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        view = random_view(
            *image.shape[:2],
            short_edge=self.short_edge,
            scale_range=self.scale_range,
            crop_size=self.crop_size,
            flip_and_turn=self.flip_and_turn,
            rng=rng,
        )
        crop = augment_photometrically(view.apply(image), self.photometric, rng)
        return crop, view.apply(labels, nearest=True)


def instances_from_label_image(labels: np.ndarray, min_area: int = 1) -> Instances:
    """Detectron2 targets of a label image.

    Args:
        labels: integers (H, W), 0 background, gaps allowed.
        min_area: smallest nucleus in pixels to become a target.

    Returns:
        Instances of size (H, W) with gt_boxes (XYXY: outer pixel edges), gt_classes (0) and gt_masks (BitMasks).
    """
    height, width = labels.shape
    areas = np.bincount(labels.ravel())
    areas[0] = 0
    ids = np.flatnonzero(areas >= max(min_area, 1))
    slices = ndimage.find_objects(labels)
    boxes = np.array(
        [(s[1].start, s[0].start, s[1].stop, s[0].stop) for s in (slices[i - 1] for i in ids)], dtype=np.float32
    ).reshape(-1, 4)
    masks = np.zeros((len(ids), height, width), dtype=bool)
    for mask, label in zip(masks, ids, strict=True):  # only inside each box
        box = slices[label - 1]
        mask[box] = labels[box] == label
    instances = Instances((height, width))
    instances.gt_boxes = Boxes(torch.from_numpy(boxes))
    instances.gt_classes = torch.zeros(len(ids), dtype=torch.int64)
    instances.gt_masks = BitMasks(torch.from_numpy(masks))
    return instances
