"""An image seen several times, mirrored and turned, and what was found put together: test-time augmentation.

Nuclei have no upright position, so each of the eight symmetries of the square is as good a view as another, and with
`INPUT.FLIP_AND_TURN` the network has trained on all of them. Detections are put together by agreement: the score of one
is the mean over the views of the best that each has in its place, 0 where a view has none, and its box the mean
weighted by score (Solovyev et al. 2021, "Weighted boxes fusion", section 3). Each mask is the mean of the mask head's
probabilities for this box in all views (as Detectron2's GeneralizedRCNNWithTTA, which takes the score of one view).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from detectron2.layers import batched_nms
from detectron2.modeling import GeneralizedRCNN, StandardROIHeads
from detectron2.modeling.roi_heads.fast_rcnn import FastRCNNOutputLayers
from detectron2.structures import Boxes, ImageList, Instances, pairwise_iou
from torch import nn

COUNTS = (1, 2, 4, 8)
SAME = 0.5  # IoU from which boxes of two views are of one nucleus


@dataclass(frozen=True)
class View:
    """A symmetry of the square: rows and columns exchanged, then mirrored left to right, then top to bottom."""

    exchange: bool = False
    mirror: bool = False
    flip: bool = False

    def of_pixels(self, pixels: torch.Tensor) -> torch.Tensor:
        """The view of (..., H, W)."""
        if self.exchange:
            pixels = pixels.transpose(-1, -2)
        return pixels.flip([axis for axis, turned in ((-1, self.mirror), (-2, self.flip)) if turned])

    def pixels_back(self, pixels: torch.Tensor) -> torch.Tensor:
        """From the view to the image: the inverse of `of_pixels`."""
        pixels = pixels.flip([axis for axis, turned in ((-1, self.mirror), (-2, self.flip)) if turned])
        return pixels.transpose(-1, -2) if self.exchange else pixels

    def of_boxes(self, boxes: torch.Tensor, height: int, width: int) -> torch.Tensor:
        """The view of boxes (N, 4), XYXY in pixels of an image of H x W."""
        if self.exchange:
            boxes, height, width = boxes[:, [1, 0, 3, 2]], width, height
        return self._mirrored(boxes, height, width)

    def boxes_back(self, boxes: torch.Tensor, height: int, width: int) -> torch.Tensor:
        """From the view to the image of H x W: the inverse of `of_boxes`."""
        if self.exchange:
            return self._mirrored(boxes, width, height)[:, [1, 0, 3, 2]]
        return self._mirrored(boxes, height, width)

    def _mirrored(self, boxes: torch.Tensor, height: int, width: int) -> torch.Tensor:
        left, top, right, bottom = boxes.unbind(dim=1)
        if self.mirror:
            left, right = width - right, width - left
        if self.flip:
            top, bottom = height - bottom, height - top
        return torch.stack([left, top, right, bottom], dim=1)


def views(count: int) -> list[View]:
    """The first 1, 2 (mirrored), 4 (mirrored both ways) or 8 (and exchanged) symmetries; the first is the image."""
    return [View(bool(number & 4), bool(number & 1), bool(number & 2)) for number in range(count)]


def detect_in_views(
    network: GeneralizedRCNN, records: Sequence[Mapping[str, torch.Tensor]], count: int
) -> list[Instances]:
    """What a network finds in several views of each image: raw detections, as its own inference gives them.

    The padded batch is what is turned, so that the strides of the network fall on the same pixels in all tiles of an
    image in each view. Feature maps of all views are held until the masks are made.

    Args:
        network: with heads whose box branch is `_forward_box`, as all of Detectron2's; in evaluation mode.
        records: "image" of each, uint8 (3, H, W).
        count: of views; 1, 2, 4 or 8.
    """
    heads = network.roi_heads
    images = network.preprocess_image(records)
    height, width = images.tensor.shape[-2:]
    features, found = [], []
    for view in views(count):
        seen = view.of_pixels(images.tensor)
        seen = ImageList(seen.contiguous(memory_format=_layout(images.tensor)), [tuple(seen.shape[-2:])] * len(seen))
        features.append(network.backbone(seen.tensor))
        proposals, _ = network.proposal_generator(seen, features[-1], None)
        one = heads._forward_box(features[-1], proposals)
        for instances in one:
            instances.pred_boxes = Boxes(view.boxes_back(instances.pred_boxes.tensor, height, width))
        found.append(one)
    last = heads.box_predictor[-1] if isinstance(heads.box_predictor, nn.ModuleList) else heads.box_predictor
    box_predictor: FastRCNNOutputLayers = last
    limits = box_predictor.test_nms_thresh, box_predictor.test_score_thresh, box_predictor.test_topk_per_image
    agreed = [
        agree(of_image, size, *limits)
        for of_image, size in zip(zip(*found, strict=True), images.image_sizes, strict=True)
    ]
    if heads.mask_on:
        for one, fields in zip(agreed, _mean_masks(heads, agreed, features, (height, width)), strict=True):
            for name, value in fields.items():
                one.set(name, value)
    return agreed


def _mean_masks(
    heads: StandardROIHeads,
    agreed: Sequence[Instances],
    features: Sequence[Mapping[str, torch.Tensor]],
    size: tuple[int, int],
) -> list[dict[str, torch.Tensor]]:
    """What the mask branch says of each image's boxes, the mean over the views.

    Args:
        heads: with a mask branch.
        agreed: pred_boxes and pred_classes of each image.
        features: maps of each view.
        size: H and W of the padded batch.

    Returns:
        pred_masks, probabilities (N, 1, M, M), and mask_ious (N,) where the heads expect some.
    """
    found: list[list[Instances]] = [[] for _ in agreed]
    for view, maps in zip(views(len(features)), features, strict=True):
        in_view = [
            Instances(
                size, pred_classes=one.pred_classes, pred_boxes=Boxes(view.of_boxes(one.pred_boxes.tensor, *size))
            )
            for one in agreed
        ]
        for of_image, one in zip(found, heads.forward_with_given_boxes(maps, in_view), strict=True):
            one.pred_masks = view.pixels_back(one.pred_masks)
            of_image.append(one)
    names = [name for name in ("pred_masks", "mask_ious") if all(one.has(name) for one in found[0])]
    return [
        {name: torch.stack([one.get(name) for one in of_image]).mean(dim=0) for name in names} for of_image in found
    ]


def agree(
    found: Sequence[Instances], size: tuple[int, int], nms_threshold: float, score_threshold: float, most: int
) -> Instances:
    """Put together what V views found in one image.

    Args:
        found: of each view, with pred_boxes (brought back to the image), scores and pred_classes.
        size: of the image, H and W, to which boxes are clipped.
        nms_threshold: IoU above which the lower scored of two boxes is left out, after their scores were agreed on.
        score_threshold: agreed scores up to this are left out.
        most: detections that are kept.

    Returns:
        pred_boxes, scores and pred_classes, from the highest score down.
    """
    boxes = torch.cat([one.pred_boxes.tensor for one in found])
    classes = torch.cat([one.pred_classes for one in found])
    scores = torch.zeros(len(boxes), device=boxes.device)
    places = torch.zeros_like(boxes)
    for one in found:
        if not len(one):
            continue
        iou = pairwise_iou(Boxes(boxes), one.pred_boxes)
        iou[classes[:, None] != one.pred_classes] = 0
        best, index = iou.max(dim=1)
        own = torch.where(best >= SAME, one.scores[index], 0)
        scores += own
        places += own[:, None] * one.pred_boxes.tensor[index]
    places = Boxes(places / scores.clamp(min=torch.finfo(scores.dtype).tiny)[:, None])
    scores = scores / len(found)
    places.clip(size)
    usable = (scores > score_threshold) & places.nonempty()
    places, scores, classes = places[usable], scores[usable], classes[usable]
    kept = batched_nms(places.tensor, scores, classes, nms_threshold)[:most]
    return Instances(size, pred_boxes=places[kept], scores=scores[kept], pred_classes=classes[kept])


def _layout(pixels: torch.Tensor) -> torch.memory_format:
    """Channels last where the tensor has it."""
    last = pixels.is_contiguous(memory_format=torch.channels_last) and not pixels.is_contiguous()
    return torch.channels_last if last else torch.contiguous_format
