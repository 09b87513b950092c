"""Detectron2's GeneralizedRCNN with the end of inference made for hundreds of small masks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode, configurable
from detectron2.modeling import META_ARCH_REGISTRY, ROI_HEADS_REGISTRY, GeneralizedRCNN
from detectron2.structures import Boxes, Instances
from torch.nn import functional as F

from nucleus.errors import InputError
from nucleus.masks.box_masks import BoxMasks
from nucleus.masks.paste import paste_masks, pixels_touched
from nucleus.modeling.batched_roi_heads import BatchedROIHeads
from nucleus.modeling.mask_regions import widened
from nucleus.modeling.mask_scoring import weigh_by_mask_iou
from nucleus.modeling.mask_stability import weigh_by_stability
from nucleus.modeling.views import COUNTS, detect_in_views

MOST_EXPANDED = 20  # pixels, less than what a tile shows beyond its nuclei


@META_ARCH_REGISTRY.register()
class NucleusRCNN(GeneralizedRCNN):
    """GeneralizedRCNN whose predictions have BoxMasks for `pred_masks`, and lie on the host.

    Network, parameter names and training are those of GeneralizedRCNN; a checkpoint of one loads into the other.
    Boxes, scores and classes are the same, without the arguments below. Masks are, too, but for pixels whose
    probability is on the threshold to within the rounding of float32; they are pasted inside their boxes only, so that
    memory grows with the image and not with N x H x W. On a GPU the host waits twice a batch: for the boxes, and for
    the masks in one buffer.

    Args:
        views: in how many symmetries each image is seen at test time, 1, 2, 4 or 8 (`nucleus.modeling.views`).
        mask_stability: multiply scores by how sure the masks are of their outlines (`nucleus.modeling.mask_stability`).
        expand: pixels of the image by which the box of each nucleus grows on each side, and the mask with it.
        settings: of GeneralizedRCNN.
    """

    @configurable
    def __init__(self, *, views: int = 1, mask_stability: bool = False, expand: float = 0.0, **settings: Any) -> None:
        super().__init__(**settings)
        self.views = views
        self.mask_stability = mask_stability
        self.expand = expand

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """As GeneralizedRCNN.

        Raises:
            InputError: the model predicts keypoints, too, or a key of TEST is out of range or not for such a model.
        """
        if cfg.MODEL.KEYPOINT_ON:
            raise InputError("MODEL.KEYPOINT_ON", expected="False", found="True",
                             remedy='Set MODEL.META_ARCHITECTURE "GeneralizedRCNN".')  # fmt: skip
        if cfg.TEST.VIEWS not in COUNTS:
            raise InputError("TEST.VIEWS", expected="1, 2, 4 or 8", found=str(cfg.TEST.VIEWS))
        if not abs(cfg.TEST.EXPAND) <= MOST_EXPANDED:
            raise InputError("TEST.EXPAND", expected=f"from -{MOST_EXPANDED} to {MOST_EXPANDED} pixels",
                             found=f"{cfg.TEST.EXPAND:g}")  # fmt: skip
        heads = ROI_HEADS_REGISTRY.get(cfg.MODEL.ROI_HEADS.NAME)
        margin, scoring = cfg.MODEL.ROI_MASK_HEAD.MARGIN, cfg.MODEL.ROI_MASK_HEAD.SCORING
        for key, value, without in (
            ("TEST.BOX_VOTING", cfg.TEST.BOX_VOTING, 0.0),
            ("MODEL.ROI_MASK_HEAD.MARGIN", margin, 0.0),
            ("MODEL.ROI_MASK_HEAD.SCORING", scoring, False),
        ):
            if value and not issubclass(heads, BatchedROIHeads):
                raise InputError("MODEL.ROI_HEADS.NAME", expected=f"BatchedROIHeads with {key}",
                                 found=cfg.MODEL.ROI_HEADS.NAME, remedy=f"Set {key} {without}, or these heads.",
                                 )  # fmt: skip
        for key, value, without in (
            ("TEST.MASK_STABILITY", cfg.TEST.MASK_STABILITY, False),
            ("MODEL.ROI_MASK_HEAD.MARGIN", margin, 0.0),
            ("MODEL.ROI_MASK_HEAD.SCORING", scoring, False),
        ):
            if value != without and not cfg.MODEL.MASK_ON:
                raise InputError(key, expected=f"{without} without masks", found=str(value),
                                 remedy="Set MODEL.MASK_ON True.")  # fmt: skip
        return super().from_config(cfg) | {
            "views": cfg.TEST.VIEWS, "mask_stability": cfg.TEST.MASK_STABILITY, "expand": cfg.TEST.EXPAND,
        }  # fmt: skip

    @property
    def mask_margin(self) -> float:
        """How much wider than their boxes the masks are drawn (`nucleus.modeling.mask_regions`); 0 for other heads."""
        return getattr(self.roi_heads, "mask_margin", 0.0)

    def inference(
        self,
        batched_inputs: list[dict[str, Any]],
        detected_instances: list[Instances] | None = None,
        do_postprocess: bool = True,
    ) -> list[Any]:
        """As GeneralizedRCNN.

        Returns:
            One {"instances": Instances} an image, of its size "height" x "width", with pred_boxes (XYXY, pixels),
            scores, pred_classes and, with MODEL.MASK_ON, pred_masks (BoxMasks), all on the host. Without
            `do_postprocess` the raw Instances, as GeneralizedRCNN gives them.
        """
        if self.views > 1 and detected_instances is None:
            results = detect_in_views(self, batched_inputs, self.views)
        else:
            results = super().inference(batched_inputs, detected_instances, do_postprocess=False)
        if detected_instances is None:
            if self.mask_stability:
                results = [weigh_by_stability(found) for found in results]
            results = [weigh_by_mask_iou(found) if found.has("mask_ious") else found for found in results]
        if not do_postprocess:
            return results
        return [{"instances": one} for one in postprocess(results, batched_inputs, self.expand, self.mask_margin)]


def postprocess(
    results: Sequence[Instances], records: Sequence[Mapping[str, Any]], expand: float = 0.0, mask_margin: float = 0.0
) -> list[Instances]:
    """Bring raw detections to the size of their images: Detectron2's `detector_postprocess` for a batch.

    Args:
        results: raw detections of each image, on any device, of the size at which the network saw it; pred_masks are
            probabilities (N, 1, M, M).
        records: "height" and "width" of each image in pixels; without them the size stays. Where the network saw a part
            of an enlarged image, "to_image" says where it lies (`nucleus.inference.frames`): by what x and y are
            multiplied, then what is added to them; else the size says it.
        expand: see `NucleusRCNN`.
        mask_margin: of the network that gave the masks.

    Returns:
        Instances on the host, as `NucleusRCNN.inference` says. Boxes that have no extent inside the image are left out.
    """
    sizes = [
        (record.get("height", found.image_size[0]), record.get("width", found.image_size[1]))
        for found, record in zip(results, records, strict=True)
    ]
    counts = [len(found) for found in results]
    # One copy for the whole batch. A float32 holds any number of classes that there could be.
    columns = [(found.pred_boxes.tensor, found.scores[:, None], found.pred_classes[:, None]) for found in results]
    table = torch.cat([torch.cat([column.float() for column in one], dim=1) for one in columns]).cpu()
    found_in = [
        _to_image(part, size, record.get("to_image") or _stretched(found.image_size, size))
        for part, found, size, record in zip(table.split(counts), results, sizes, records, strict=True)
    ]
    if expand:
        for found in found_in:
            _expand(found.pred_boxes.tensor, expand)
    if all(found.has("pred_masks") for found in results):
        probabilities = [found.pred_masks[:, 0] for found in results]
        boxes = [widened(found.pred_boxes.tensor, mask_margin) for found in found_in]
        on_host = all(part.device.type == "cpu" for part in probabilities)
        paste = paste_on_host if on_host else paste_on_device
        for found, masks in zip(found_in, paste(probabilities, boxes, sizes), strict=True):
            found.pred_masks = masks
    if expand:
        for found, size in zip(found_in, sizes, strict=True):
            found.pred_boxes.clip(size)
    nonempty = [found.pred_boxes.nonempty() for found in found_in]
    return [found if keep.all() else found[keep] for found, keep in zip(found_in, nonempty, strict=True)]


def _stretched(seen: tuple[int, int], size: tuple[int, int]) -> tuple[float, float, float, float]:
    """The whole of what was seen, height and width, to the whole image."""
    return size[1] / seen[1], size[0] / seen[0], 0.0, 0.0


def _to_image(table: torch.Tensor, size: tuple[int, int], to_image: tuple[float, float, float, float]) -> Instances:
    """Boxes, scores and classes, float32 (N, 6), in pixels of the image."""
    boxes = Boxes(table[:, :4].clone())
    boxes.scale(*to_image[:2])
    boxes.tensor += torch.tensor(to_image[2:] * 2)
    boxes.clip(size)
    return Instances(size, pred_boxes=boxes, scores=table[:, 4], pred_classes=table[:, 5].long())


def _expand(boxes: torch.Tensor, by: float) -> None:
    """Move the sides of boxes (N, 4), XYXY, outwards by so many pixels, in place.

    No side comes closer to the centre than half a pixel, and boxes without extent have none after. What fills a box
    grows with it: an ellipse by as much at both axes, and nearly so between.
    """
    centres, half = (boxes[:, 2:] + boxes[:, :2]) / 2, (boxes[:, 2:] - boxes[:, :2]) / 2
    half = torch.where(half > 0, torch.maximum(half + by, half.clamp(max=0.5)), half)
    boxes[:, :2], boxes[:, 2:] = centres - half, centres + half


def paste_on_host(
    probabilities: Sequence[torch.Tensor], boxes: Sequence[torch.Tensor], sizes: Sequence[tuple[int, int]]
) -> list[BoxMasks]:
    """Paste the masks (N, M, M) of each image into its boxes, float32 (N, 4) XYXY in pixels; all on the host."""
    return [
        paste_masks(part.float().numpy(), one.numpy(), *size)
        for part, one, size in zip(probabilities, boxes, sizes, strict=True)
    ]


def paste_on_device(
    probabilities: Sequence[torch.Tensor], boxes: Sequence[torch.Tensor], sizes: Sequence[tuple[int, int]]
) -> list[BoxMasks]:
    """The same for masks on a device: pasted there all at once, and brought to the host in one copy."""
    corners = [pixels_touched(one.numpy(), *size) for one, size in zip(boxes, sizes, strict=True)]
    drawn = paste_packed(
        torch.cat(list(probabilities)), torch.cat(list(boxes)), torch.from_numpy(np.concatenate(corners))
    )
    areas = [int(np.prod(one[:, 2:] - one[:, :2], axis=1).sum()) for one in corners]
    pixels = np.split(drawn.cpu().numpy(), np.cumsum(areas)[:-1])
    return [BoxMasks(one, part, *size) for one, part, size in zip(corners, pixels, sizes, strict=True)]


def paste_packed(
    probabilities: torch.Tensor, boxes: torch.Tensor, corners: torch.Tensor, threshold: float = 0.5
) -> torch.Tensor:
    """`nucleus.masks.paste.paste_masks` in few operations on whole batches, without waiting for the device.

    Args:
        probabilities: (N, M, M), on any device.
        boxes: float32 (N, 4), XYXY in pixels, on the host.
        corners: int64 (N, 4), `pixels_touched` of the boxes, on the host.
        threshold: lowest probability of a pixel of a mask.

    Returns:
        bool (P,) on the device of the probabilities: the pixels between the corners, box after box, each down its
        columns.
    """
    side, device = probabilities.shape[-1], probabilities.device
    extents = corners[:, 2:] - corners[:, :2]
    columns, rows, pixels = int(extents[:, 0].sum()), int(extents[:, 1].sum()), int(extents.prod(dim=1).sum())
    boxes, corners, extents = (each.to(device, non_blocking=True) for each in (boxes, corners, extents))

    owner, left, across = _samples(boxes[:, 0], boxes[:, 2], corners[:, 0], extents[:, 0], columns, side)
    _, above, down = _samples(boxes[:, 1], boxes[:, 3], corners[:, 1], extents[:, 1], rows, side)
    # Zeros outside; columns first, so that what is taken for a column lies together.
    padded = F.pad(probabilities.float().transpose(1, 2), (1, 2, 1, 2))
    drawn = torch.lerp(padded[owner, left], padded[owner, left + 1], across[:, None])

    column = torch.repeat_interleave(extents[owner, 1], output_size=pixels)
    first_of_column = torch.cumsum(extents[owner, 1], 0) - extents[owner, 1]
    first_row = torch.cumsum(extents[:, 1], 0) - extents[:, 1]
    row = torch.arange(pixels, device=device) + (first_row[owner] - first_of_column)[column]
    above, down = above[row], down[row]
    return torch.lerp(drawn[column, above], drawn[column, above + 1], down) >= threshold


def _samples(
    low: torch.Tensor, high: torch.Tensor, first: torch.Tensor, extents: torch.Tensor, total: int, side: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Where the pixels along one side of the boxes lie among the M samples of a mask, padded with one zero before.

    Returns:
        For each pixel, side after side: its box; the sample before it; and how far it is on the way to the next, in
        [0, 1).
    """
    owner = torch.repeat_interleave(extents, output_size=total)
    place = torch.arange(total, device=extents.device) - (torch.cumsum(extents, 0) - extents)[owner]
    centre = (place + first[owner]).float() + 0.5
    position = (centre - low[owner]) / (high - low)[owner] * 2 - 1  # step by step as in grid_sample
    position = (((position + 1) * side - 1) / 2).clamp(-1, side)
    before = position.floor()
    return owner, before.long() + 1, position - before
