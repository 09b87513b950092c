"""Detectron2's region proposal network with its work around the network done for all images at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec
from detectron2.modeling import PROPOSAL_GENERATOR_REGISTRY
from detectron2.modeling.anchor_generator import DefaultAnchorGenerator
from detectron2.modeling.box_regression import _dense_box_regression_loss
from detectron2.modeling.proposal_generator import RPN
from detectron2.modeling.proposal_generator.rpn import StandardRPNHead
from detectron2.structures import Boxes, ImageList, Instances
from torch.nn import functional as F

from nucleus.errors import InputError
from nucleus.modeling.anchor_matching import AnchorGrids, anchor_grids, match_anchors
from nucleus.modeling.batched_nms import keep_best
from nucleus.modeling.box_coding import decode, encode
from nucleus.modeling.sampling import Sample, draw
from nucleus.modeling.step_log import log_scalars

Maps = list[torch.Tensor]


@PROPOSAL_GENERATOR_REGISTRY.register()
class BatchedRPN(RPN):
    """RPN (Ren et al. 2015, "Faster R-CNN"): Detectron2's mathematics and parameters, without loops over images.

    Anchors are matched with what they overlap only, losses are computed on the sampled anchors only, and boxes are
    decoded for the best PRE_NMS_TOPK anchors of a level only. A checkpoint of RPN loads into this and the other way.

    On a GPU the host waits for the number of proposals, for the number of overlapping pairs, and in the rounds of
    non-maximum suppression; not once an image or level.
    """

    @configurable
    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self._grids: dict[tuple[Any, ...], tuple[Maps, AnchorGrids]] = {}

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> dict[str, Any]:
        """As RPN.

        Raises:
            InputError: rotated anchors, or anchors at the border left out (MODEL.RPN.BOUNDARY_THRESH).
        """
        settings = super().from_config(cfg, input_shape)
        if not isinstance(settings["anchor_generator"], DefaultAnchorGenerator) or cfg.MODEL.RPN.BOUNDARY_THRESH >= 0:
            raise InputError(
                "MODEL.PROPOSAL_GENERATOR.NAME",
                expected="DefaultAnchorGenerator and MODEL.RPN.BOUNDARY_THRESH -1 with BatchedRPN",
                found=f"{cfg.MODEL.ANCHOR_GENERATOR.NAME} and {cfg.MODEL.RPN.BOUNDARY_THRESH}",
                remedy='Set MODEL.PROPOSAL_GENERATOR.NAME "RPN" (or "RRPN").',
            )
        return settings

    def forward(
        self, images: ImageList, features: Mapping[str, torch.Tensor], gt_instances: list[Instances] | None = None
    ) -> tuple[list[Instances], dict[str, torch.Tensor]]:
        """As RPN: proposals of each image, and in training the losses."""
        maps = [features[name] for name in self.in_features]
        anchors, grids = self._anchors(maps)
        logits, deltas = self._predict(maps)
        # First what the host has to wait for, then what it can queue.
        proposals = self._propose(anchors, logits, deltas, images.image_sizes)
        if not self.training:
            return proposals, {}
        assert gt_instances is not None, "RPN requires gt_instances in training!"
        boxes = [one.gt_boxes.tensor for one in gt_instances]
        return proposals, self._losses(torch.cat(anchors), grids, torch.cat(logits, 1), torch.cat(deltas, 1), boxes)

    def _anchors(self, maps: Maps) -> tuple[Maps, AnchorGrids]:
        """The anchors of each level, (A_l, 4), and the grids they stand on; made once for each size of image."""
        key = (maps[0].device, *(one.shape[-2:] for one in maps))
        if key not in self._grids:
            if len(self._grids) > 16:  # at test every image can have its own size
                self._grids.clear()
            anchors = [one.tensor for one in self.anchor_generator(maps)]
            sizes = [(one.shape[2], one.shape[3]) for one in maps]
            self._grids[key] = anchors, anchor_grids(self.anchor_generator, sizes)
        return self._grids[key]

    def _predict(self, maps: Maps) -> tuple[Maps, Maps]:
        """Logits (N, A_l) and deltas (N, A_l, 4) of each level.

        The two 1 x 1 convolutions of the head are one matrix for all levels, with a product in the order of anchors.
        """
        count, dimensions = len(maps[0]), self.anchor_generator.box_dim
        if type(self.rpn_head) is not StandardRPNHead:
            logits, deltas = self.rpn_head(maps)
            return (
                [one.permute(0, 2, 3, 1).flatten(1) for one in logits],
                [one.permute(0, 2, 3, 1).reshape(count, -1, dimensions) for one in deltas],
            )
        head = self.rpn_head
        hidden = [head.conv(one).permute(0, 2, 3, 1) for one in maps]
        weight = torch.cat([head.objectness_logits.weight, head.anchor_deltas.weight])[:, :, 0, 0]
        bias = torch.cat([head.objectness_logits.bias, head.anchor_deltas.bias])
        rows = F.linear(torch.cat([one.flatten(0, 2) for one in hidden]), weight, bias)
        shapes = head.objectness_logits.out_channels
        by_level = rows.split([one[..., 0].numel() for one in hidden])
        return (
            [one[:, :shapes].reshape(count, -1) for one in by_level],
            [one[:, shapes:].reshape(count, -1, dimensions) for one in by_level],
        )

    @torch.no_grad()
    def _propose(
        self, anchors: Sequence[torch.Tensor], logits: Maps, deltas: Maps, image_sizes: Sequence[tuple[int, int]]
    ) -> list[Instances]:
        """The best proposals of each image after non-maximum suppression by level, the best first.

        Raises:
            FloatingPointError: in training, a box or score that is not finite.
        """
        most, left = self.pre_nms_topk[self.training], self.post_nms_topk[self.training]
        limits = torch.tensor([(w, h, w, h) for h, w in image_sizes]).to(logits[0].device, non_blocking=True).float()
        all_boxes, all_scores, all_kept, finite = [], [], [], []
        for own_anchors, own_logits, own_deltas in zip(anchors, logits, deltas, strict=True):
            scores, chosen = own_logits.topk(min(own_logits.shape[1], most), dim=1)
            picked = own_deltas.gather(1, chosen[..., None].expand(-1, -1, own_deltas.shape[2]))
            boxes = decode(self.box2box_transform, picked, own_anchors[chosen])
            sound = boxes.isfinite().all(dim=2) & scores.isfinite()
            boxes = torch.minimum(boxes.clamp(min=0), limits[:, None])
            valid = sound & ((boxes[..., 2:] - boxes[..., :2]) > self.min_box_size).all(dim=2)
            all_boxes.append(boxes)
            all_scores.append(scores)
            all_kept.append(keep_best(boxes, valid, self.nms_thresh))
            finite.append(sound.all())
        boxes, scores, kept = torch.cat(all_boxes, 1), torch.cat(all_scores, 1), torch.cat(all_kept, 1)
        order = scores.float().masked_fill(~kept, -torch.inf).sort(dim=1, descending=True, stable=True).indices
        order = order[:, :left]
        boxes, scores = boxes.gather(1, order[..., None].expand(-1, -1, 4)), scores.gather(1, order)
        *counts, all_finite = torch.cat([kept.sum(dim=1), torch.stack(finite).all()[None]]).tolist()
        if self.training and not all_finite:
            raise FloatingPointError("Predicted boxes or scores contain Inf/NaN. Training has diverged.")
        return [
            Instances(size, proposal_boxes=Boxes(boxes[i, :count]), objectness_logits=scores[i, :count])
            for i, (size, count) in enumerate(zip(image_sizes, counts, strict=True))
        ]

    @torch.no_grad()
    def _sample(
        self, anchors: torch.Tensor, grids: AnchorGrids, boxes: Sequence[torch.Tensor]
    ) -> tuple[Sample, torch.Tensor]:
        """Anchors for the losses, and the box each of the positives shall become, float (N, P, 4)."""
        matcher = self.anchor_matcher
        labels, matched = match_anchors(boxes, anchors, grids, matcher.thresholds, matcher.labels)
        sample = draw(labels == 1, labels == 0, self.batch_size_per_image, self.positive_fraction)
        chosen = sample.index[:, : sample.positives]
        padded = torch.nn.utils.rnn.pad_sequence([F.pad(one, (0, 0, 0, 1)) for one in boxes], batch_first=True)
        return sample, padded.gather(1, matched.gather(1, chosen)[..., None].expand(-1, -1, 4))

    def _losses(
        self,
        anchors: torch.Tensor,
        grids: AnchorGrids,
        logits: torch.Tensor,
        deltas: torch.Tensor,
        boxes: Sequence[torch.Tensor],
    ) -> dict[str, torch.Tensor]:
        """The two losses on a sample of the anchors.

        Args:
            anchors: (A, 4).
            grids: where they stand.
            logits: (N, A).
            deltas: (N, A, 4).
            boxes: ground truth of each image, (G_n, 4).
        """
        sample, targets = self._sample(anchors, grids, boxes)
        valid, some = sample.valid, sample.positives
        log_scalars(
            rpn__num_pos_anchors=valid[:, :some].sum() / len(logits),
            rpn__num_neg_anchors=valid[:, some:].sum() / len(logits),
        )
        is_positive = torch.arange(valid.shape[1], device=valid.device) < some
        scores = logits.gather(1, sample.index).float()
        objectness = F.binary_cross_entropy_with_logits(
            scores, is_positive.float().expand_as(scores), weight=valid.float(), reduction="sum"
        )
        chosen, valid = sample.index[:, :some], valid[:, :some]
        found = deltas.gather(1, chosen[..., None].expand(-1, -1, deltas.shape[2]))
        normalizer = self.batch_size_per_image * len(logits)
        losses = {
            "loss_rpn_cls": objectness / normalizer,
            "loss_rpn_loc": self._box_loss(anchors[chosen], found, targets, valid) / normalizer,
        }
        return {name: loss * self.loss_weight.get(name, 1.0) for name, loss in losses.items()}

    def _box_loss(
        self, anchors: torch.Tensor, deltas: torch.Tensor, targets: torch.Tensor, valid: torch.Tensor
    ) -> torch.Tensor:
        """Sum of the box losses of the valid of (N, P) anchors."""
        if self.box_reg_loss_type != "smooth_l1":
            return _dense_box_regression_loss(
                [anchors[valid]], self.box2box_transform, [deltas[valid][None]], [targets[valid]], ...,
                self.box_reg_loss_type, self.smooth_l1_beta,
            )  # fmt: skip
        wanted = encode(self.box2box_transform, anchors, torch.where(valid[..., None], targets, anchors))
        return (smooth_l1(deltas, wanted, self.smooth_l1_beta) * valid[..., None]).sum()


def smooth_l1(found: torch.Tensor, wanted: torch.Tensor, beta: float) -> torch.Tensor:
    """Smooth L1 (Girshick 2015, "Fast R-CNN", eq. 3) of each element; plain L1 where beta is 0, as in Detectron2."""
    if beta < 1e-5:
        return (found.float() - wanted).abs()
    return F.smooth_l1_loss(found.float(), wanted, reduction="none", beta=beta)
