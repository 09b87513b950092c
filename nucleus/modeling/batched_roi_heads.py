"""Detectron2's box and mask heads with their work around the network done for all images at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec, cross_entropy
from detectron2.modeling import ROI_HEADS_REGISTRY, StandardROIHeads
from detectron2.modeling.poolers import ROIPooler
from detectron2.modeling.roi_heads.fast_rcnn import FastRCNNOutputLayers, fast_rcnn_inference
from detectron2.modeling.roi_heads.mask_head import BaseMaskRCNNHead, mask_rcnn_inference
from detectron2.structures import Boxes, ImageList, Instances
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence

from nucleus.data.label_masks import crop_and_resize
from nucleus.errors import InputError
from nucleus.modeling.anchor_matching import labels_of_iou, paired_iou
from nucleus.modeling.batched_rpn import smooth_l1
from nucleus.modeling.box_coding import decode, encode
from nucleus.modeling.box_voting import vote
from nucleus.modeling.mask_regions import LARGEST_MARGIN, widened
from nucleus.modeling.mask_scoring import MOST_LEARNT, MaskScoring, true_mask_ious
from nucleus.modeling.sampled_regions import SampledRegions
from nucleus.modeling.sampling import draw, places
from nucleus.modeling.sparse_roi_align import SparseROIPooler
from nucleus.modeling.step_log import log_scalars


@ROI_HEADS_REGISTRY.register()
class BatchedROIHeads(StandardROIHeads):
    """StandardROIHeads (He et al. 2017, "Mask R-CNN") without loops over images.

    Parameters are the same; so is the mathematics, without the arguments below.

    Proposals of all images are matched and sampled together, both branches work on all regions at once, and mask
    targets are made for the sampled nuclei only. A checkpoint of StandardROIHeads loads into this and the other way.
    Cascade R-CNN has heads of its own (CascadeROIHeads), which stay Detectron2's.

    On a GPU the host waits in training once for the size of the sample, and once a branch for the sizes of the regions.

    Args:
        box_voting: IoU from which regions vote on a box at test time (`nucleus.modeling.box_voting`); 0 for no votes.
        mask_margin: by which share of its width and height the box of a mask is widened on each side
            (`nucleus.modeling.mask_regions`).
        mask_scoring: what expects the IoU of each mask at test time, as `mask_ious` of the instances
            (`nucleus.modeling.mask_scoring`); None for no such branch.
        settings: of StandardROIHeads.
    """

    @configurable
    def __init__(
        self,
        *,
        box_voting: float = 0.0,
        mask_margin: float = 0.0,
        mask_scoring: MaskScoring | None = None,
        **settings: Any,
    ) -> None:
        super().__init__(**settings)
        self.box_voting = box_voting
        self.mask_margin = mask_margin
        self.mask_scoring = mask_scoring

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> dict[str, Any]:
        """As StandardROIHeads.

        Raises:
            InputError: a head or setting that these heads do not know.
        """
        lowest = cfg.MODEL.ROI_HEADS.NMS_THRESH_TEST  # below it, the boxes of neighbours would vote on each other
        if cfg.TEST.BOX_VOTING and not lowest <= cfg.TEST.BOX_VOTING <= 1:
            raise InputError("TEST.BOX_VOTING", expected=f"0, or {lowest:g} (MODEL.ROI_HEADS.NMS_THRESH_TEST) to 1",
                             found=f"{cfg.TEST.BOX_VOTING:g}")  # fmt: skip
        if not 0 <= cfg.MODEL.ROI_MASK_HEAD.MARGIN <= LARGEST_MARGIN:
            raise InputError("MODEL.ROI_MASK_HEAD.MARGIN", expected=f"from 0 to {LARGEST_MARGIN:g} of the width",
                             found=f"{cfg.MODEL.ROI_MASK_HEAD.MARGIN:g}")  # fmt: skip
        refused = {"MODEL.KEYPOINT_ON": (cfg.MODEL.KEYPOINT_ON, False), "VIS_PERIOD": (cfg.VIS_PERIOD, 0)}
        for key, (found, expected) in refused.items():
            if found != expected:
                raise InputError(key, expected=f"{expected} with BatchedROIHeads", found=str(found), remedy=STOCK_HEADS)
        settings = super().from_config(cfg, input_shape)
        for name in ("box_pooler", "mask_pooler"):
            if type(settings.get(name)) is ROIPooler:
                settings[name] = _sparse(cfg, settings[name], name)
        if not isinstance(settings.get("mask_head"), BaseMaskRCNNHead | None):
            raise InputError("MODEL.ROI_MASK_HEAD.NAME", expected="a head like MaskRCNNConvUpsampleHead",
                             found=cfg.MODEL.ROI_MASK_HEAD.NAME, remedy=STOCK_HEADS)  # fmt: skip
        mask_scoring = None
        if cfg.MODEL.ROI_MASK_HEAD.SCORING:
            channels = input_shape[cfg.MODEL.ROI_HEADS.IN_FEATURES[0]].channels
            mask_scoring = MaskScoring(channels, cfg.MODEL.ROI_MASK_HEAD.POOLER_RESOLUTION)
        return settings | {"box_voting": cfg.TEST.BOX_VOTING, "mask_margin": cfg.MODEL.ROI_MASK_HEAD.MARGIN,
                           "mask_scoring": mask_scoring}  # fmt: skip

    def forward(
        self,
        images: ImageList,
        features: Mapping[str, torch.Tensor],
        proposals: list[Instances],
        targets: list[Instances] | None = None,
    ) -> tuple[list[Instances], dict[str, torch.Tensor]]:
        """As StandardROIHeads; in training the list of instances is empty."""
        if not self.training:
            return super().forward(images, features, proposals, targets)
        assert targets, "'targets' argument is required during training"
        regions = self.sample(proposals, targets)
        losses, drawn_in = self._box_losses([features[name] for name in self.box_in_features], regions)
        if self.mask_on:
            losses |= self._mask_losses([features[name] for name in self.mask_in_features], regions, drawn_in, targets)
        if self.mask_scoring is not None:
            losses |= self._mask_scoring_losses(self.mask_scoring, features, proposals, targets)
        return [], losses

    @torch.no_grad()
    def sample(self, proposals: Sequence[Instances], targets: Sequence[Instances]) -> SampledRegions:
        """Match the proposals of all images with their nuclei and draw from them.

        Args:
            proposals: of each image, with proposal_boxes.
            targets: of each image, with gt_boxes and gt_classes.
        """
        nuclei = [one.gt_boxes.tensor for one in targets]
        boxes = [one.proposal_boxes.tensor for one in proposals]
        if self.proposal_append_gt:
            boxes = [torch.cat(pair) for pair in zip(boxes, nuclei, strict=True)]
        counts = [len(one) for one in boxes]
        padded = pad_sequence(boxes, batch_first=True)
        # One empty box more, so that there is something to point at where an image has no nuclei.
        truth = pad_sequence([F.pad(one, (0, 0, 0, 1)) for one in nuclei], batch_first=True)
        classes = pad_sequence(
            [F.pad(one.gt_classes, (0, 1), value=self.num_classes) for one in targets], batch_first=True
        )
        iou, matched = paired_iou(truth[:, :, None], padded[:, None]).max(dim=1)
        matcher = self.proposal_matcher
        labels = labels_of_iou(iou, matcher.thresholds, matcher.labels)
        found = classes.gather(1, matched).masked_fill_(labels == 0, self.num_classes).masked_fill_(labels == -1, -1)
        empty = torch.tensor([not len(one) for one in nuclei]).to(padded.device, non_blocking=True)
        found = found.masked_fill_(empty[:, None], self.num_classes)
        limits = torch.tensor(counts).to(padded.device, non_blocking=True)
        found = found.masked_fill_(torch.arange(padded.shape[1], device=padded.device) >= limits[:, None], -1)

        is_background = found == self.num_classes
        sample = draw((found >= 0) & ~is_background, is_background, self.batch_size_per_image, self.positive_fraction)
        valid = sample.valid
        drawn = torch.stack([valid[:, : sample.positives].sum(dim=1), valid[:, sample.positives :].sum(dim=1)])
        positives, negatives = drawn.tolist()  # the host waits here
        place, image = places(positives, negatives, sample.positives, valid.shape[1], padded.device)
        at = sample.index.flatten()[place] + image * padded.shape[1]
        own = matched.flatten()[at]
        log_scalars(
            roi_head__num_fg_samples=sum(positives) / len(positives),
            roi_head__num_bg_samples=sum(negatives) / len(negatives),
        )
        return SampledRegions(
            torch.cat([image[:, None].to(padded.dtype), padded.flatten(0, 1)[at]], dim=1),
            found.flatten()[at],
            truth.flatten(0, 1)[own + image * truth.shape[1]],
            own,
            positives,
            negatives,
        )

    def label_and_sample_proposals(self, proposals: list[Instances], targets: list[Instances]) -> list[Instances]:
        """As StandardROIHeads: what `sample` draws, as Instances of each image."""
        regions = self.sample(proposals, targets)
        sizes = [sum(pair) for pair in zip(regions.nuclei, regions.background, strict=True)]
        parts = zip(proposals, targets, regions.rois.split(sizes), regions.classes.split(sizes),
                    regions.targets.split(sizes), strict=True)  # fmt: skip
        sampled = []
        for proposal, target, rois, classes, matched in parts:
            one = Instances(proposal.image_size, proposal_boxes=Boxes(rois[:, 1:]), gt_classes=classes)
            if len(target):
                for name, value in target.get_fields().items():
                    if name.startswith("gt_") and not one.has(name):
                        one.set(name, value[matched])
            sampled.append(one)
        return sampled

    def _forward_box(self, features: Mapping[str, torch.Tensor], proposals: list[Instances]) -> Any:
        """As StandardROIHeads; at test time with the votes of all regions on each box."""
        if self.training or not self.box_voting:
            return super()._forward_box(features, proposals)
        predictor: FastRCNNOutputLayers = self.box_predictor
        pooled = self.box_pooler(
            [features[name] for name in self.box_in_features], [one.proposal_boxes for one in proposals]
        )
        predictions = predictor(self.box_head(pooled))
        boxes, scores = predictor.predict_boxes(predictions, proposals), predictor.predict_probs(predictions, proposals)
        found, _ = fast_rcnn_inference(
            boxes,
            scores,
            [one.image_size for one in proposals],
            predictor.test_score_thresh,
            predictor.test_nms_thresh,
            predictor.test_topk_per_image,
        )
        for one, of_image, probabilities in zip(found, boxes, scores, strict=True):
            vote(one, of_image, probabilities, self.box_voting, predictor.test_score_thresh)
        return found

    def _forward_mask(self, features: Mapping[str, torch.Tensor], instances: list[Instances]) -> Any:
        """As StandardROIHeads; at test time each mask in its box with the margin, which `postprocess` gives it, too.

        With a mask scoring branch, the instances have the IoU that is expected of each, `mask_ious`, float32 (N,).
        """
        if self.training or not self.mask_on or not (self.mask_margin or self.mask_scoring):
            return super()._forward_mask(features, instances)
        pooled = self._mask_features(features, instances)
        found = self.mask_head(pooled, instances)
        if self.mask_scoring is not None:
            expected = self.mask_scoring(pooled, torch.cat([one.pred_masks for one in found]))
            for one, ious in zip(found, expected.split([len(one) for one in found]), strict=True):
                one.mask_ious = ious
        return found

    def _mask_features(self, features: Mapping[str, torch.Tensor], instances: Sequence[Instances]) -> torch.Tensor:
        """What the mask branch sees of the predicted boxes with the margin: (N, C, S, S), image after image."""
        boxes = [Boxes(widened(one.pred_boxes.tensor, self.mask_margin)) for one in instances]
        return self.mask_pooler([features[name] for name in self.mask_in_features], boxes)

    def _box_losses(
        self, features: list[torch.Tensor], regions: SampledRegions
    ) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        """Losses of the box branch, Girshick 2015, "Fast R-CNN", section 2.3; and the boxes (R, 4) for the masks."""
        predictor: FastRCNNOutputLayers = self.box_predictor
        scores, deltas = predictor(self.box_head(self.box_pooler.pool(features, regions.rois)))
        boxes, classes = regions.rois[:, 1:], regions.classes
        is_nucleus = classes < self.num_classes
        _log_classification(scores.detach(), classes, is_nucleus)
        of_class = deltas
        if deltas.shape[1] > 4:  # those of the true class
            own = classes.clamp(max=self.num_classes - 1)
            of_class = deltas.view(len(deltas), -1, 4)[torch.arange(len(deltas), device=deltas.device), own]
        drawn_in = boxes
        if self.train_on_pred_boxes:
            predicted = decode(predictor.box2box_transform, of_class.detach(), boxes)
            # What is no number ends the step by its loss, which names the images.
            drawn_in = torch.where(predicted.isfinite().all(dim=1, keepdim=True), predicted, boxes)
        if predictor.use_sigmoid_ce or predictor.box_reg_loss_type != "smooth_l1":
            together = Instances((1, 1), proposal_boxes=Boxes(boxes), gt_classes=classes)
            together.gt_boxes = Boxes(regions.target_boxes)
            return predictor.losses((scores, deltas), [together]), drawn_in
        wanted = encode(
            predictor.box2box_transform, boxes, torch.where(is_nucleus[:, None], regions.target_boxes, boxes)
        )
        distance = torch.where(is_nucleus[:, None], smooth_l1(of_class, wanted, predictor.smooth_l1_beta), 0).sum()
        losses = {
            "loss_cls": cross_entropy(scores, classes, reduction="mean"),
            "loss_box_reg": distance / max(len(classes), 1),
        }
        return {name: loss * predictor.loss_weight.get(name, 1.0) for name, loss in losses.items()}, drawn_in

    def _mask_losses(
        self, features: list[torch.Tensor], regions: SampledRegions, boxes: torch.Tensor, targets: Sequence[Instances]
    ) -> dict[str, torch.Tensor]:
        """Loss of the mask branch on the regions that are nuclei: He et al. 2017, "Mask R-CNN", section 3.

        Args:
            features: of each level, (N, C, H, W).
            regions: what was sampled.
            boxes: (R, 4), XYXY in pixels, in which the masks are drawn, without the margin.
            targets: of each image, with gt_masks.
        """
        chosen = regions.foreground()
        classes = regions.classes[chosen]
        rois = torch.cat([regions.rois[chosen, :1], widened(boxes[chosen], self.mask_margin)], dim=1)
        logits = self.mask_head.layers(self.mask_pooler.pool(features, rois))
        if not len(chosen):
            return {"loss_mask": logits.sum() * 0}
        present = [i for i, count in enumerate(regions.nuclei) if count]
        indices, parts = regions.targets[chosen].split(regions.nuclei), rois[:, 1:].split(regions.nuclei)
        masks = [targets[i].gt_masks[indices[i]] for i in present]
        if not all(hasattr(one, "crop_and_resize") for one in masks):
            raise TypeError(f"gt_masks: expected BitMasks, PolygonMasks or LabelMasks, got {type(masks[0]).__name__}")
        wanted = crop_and_resize(masks, [parts[i] for i in present], logits.shape[-1]).to(logits.device)
        logits = logits[:, 0] if logits.shape[1] == 1 else logits[torch.arange(len(logits)).to(classes), classes]
        _log_masks(logits.detach(), wanted)
        loss = F.binary_cross_entropy_with_logits(logits.float(), wanted.float(), reduction="mean")
        return {"loss_mask": loss * self.mask_head.loss_weight}

    def _mask_scoring_losses(
        self,
        scoring: MaskScoring,
        features: Mapping[str, torch.Tensor],
        proposals: Sequence[Instances],
        targets: Sequence[Instances],
    ) -> dict[str, torch.Tensor]:
        """Squared error of the expected IoU of what the heads detect now; nothing else learns from it.

        Args:
            scoring: the branch.
            features: maps by name, (N, C, H, W).
            proposals: of each image.
            targets: of each image, with gt_masks on a label image.
        """
        features = {name: one.detach().float() for name, one in features.items()}
        with torch.autocast(proposals[0].proposal_boxes.device.type, enabled=False):  # as at test time
            with torch.no_grad():
                pooled = self.box_pooler(
                    [features[name] for name in self.box_in_features], [one.proposal_boxes for one in proposals]
                )
                found, _ = self.box_predictor.inference(self.box_predictor(self.box_head(pooled)), proposals)
                found = [one[torch.randperm(len(one))[:MOST_LEARNT].to(one.scores.device)] for one in found]
                regions = self._mask_features(features, found)
                mask_rcnn_inference(self.mask_head.layers(regions), found)
                wanted = [true_mask_ious(*pair, self.mask_margin) for pair in zip(found, targets, strict=True)]
            expected = scoring(regions, torch.cat([one.pred_masks for one in found]))
            if not len(expected):
                return {"loss_mask_scoring": expected.sum() * 0}
            return {"loss_mask_scoring": F.mse_loss(expected, torch.cat(wanted).to(expected.device))}


STOCK_HEADS = 'Set MODEL.ROI_HEADS.NAME "StandardROIHeads".'


def _sparse(cfg: CfgNode, pooler: ROIPooler, name: str) -> SparseROIPooler:
    """The same pooler, with ROIAlign as a sparse matrix."""
    head = cfg.MODEL.ROI_BOX_HEAD if name == "box_pooler" else cfg.MODEL.ROI_MASK_HEAD
    scales = [one.spatial_scale for one in pooler.level_poolers]
    return SparseROIPooler(pooler.output_size, scales, head.POOLER_SAMPLING_RATIO, head.POOLER_TYPE)


def _log_classification(scores: torch.Tensor, classes: torch.Tensor, is_nucleus: torch.Tensor) -> None:
    """The numbers that Detectron2 logs of the box branch."""
    if not len(scores):
        return
    found = scores.argmax(dim=1)
    right, count = found == classes, is_nucleus.sum()
    log_scalars(
        fast_rcnn__cls_accuracy=right.float().mean(),
        fast_rcnn__fg_cls_accuracy=(right & is_nucleus).sum() / count,
        fast_rcnn__false_negative=((found == scores.shape[1] - 1) & is_nucleus).sum() / count,
    )


def _log_masks(logits: torch.Tensor, wanted: torch.Tensor) -> None:
    """The numbers that Detectron2 logs of the mask branch."""
    wrong, inside = (logits > 0) != wanted, wanted.sum()
    log_scalars(
        mask_rcnn__accuracy=1 - wrong.float().mean(),
        mask_rcnn__false_positive=(wrong & ~wanted).sum() / (wanted.numel() - inside).clamp(min=1),
        mask_rcnn__false_negative=(wrong & wanted).sum() / inside.clamp(min=1),
    )
