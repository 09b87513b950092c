#!/usr/bin/env python
"""One training step: stock Detectron2 and nucleus in turn, by part, on real crops and on dense ones by themselves.

    DETECTRON2_DATASETS=datasets python benchmarks/training_step.py --json training_step.json

Needs BBBC038, converted (`nucleus prepare`), in $DETECTRON2_DATASETS. Both get the same crops, ready in memory, of the
training mapper (stock with BitMasks, as Detectron2's mapper makes them) and the same weights. A step is forward,
backward, clipping, optimizer and, where the config has one, the average of the weights.

- quick: configs/quick/mask_rcnn_lite0_FPN.yaml, batches of 4 crops of 256 x 256 pixels; `--weights` for a trained one.
  Stock is float32, which is faster for it than bfloat16. Where the config has ours compute in bfloat16, rows "float32"
  have it in the precision of stock.
- R50-FPN: configs/mask_rcnn_R50_FPN.yaml, batches of 2 crops of 512 x 512, random weights with norms fitted to a batch.
  "bfloat16" is ours with SOLVER.AUTOCAST bfloat16 and MODEL.CHANNELS_LAST True, against stock as it comes (float32);
  left out on a processor that does not compute in bfloat16.
- torchvision's maskrcnn_resnet50_fpn, which the seed of this project used, is the stock of one row for each set.

"Network" is what no way of training goes without: the layers with parameters, forward and backward, on ready inputs
(images, and regions of the right number). "Outside" is the step without it, a difference of medians, left out where the
machine is too busy to see it; "forward outside" is measured within the steps. "Step over floor" is how many times
longer the step is than its own network. The parts of the forward pass are timed within the steps, each without the
parts inside it.
"""

from __future__ import annotations

import argparse
import functools
import statistics
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog
from detectron2.layers import FrozenBatchNorm2d
from detectron2.structures import Instances
from detectron2.utils.events import EventStorage
from measure import comparison, in_turn, print_rows, quartiles, write_rows
from torch import nn
from torchvision.models.detection import maskrcnn_resnet50_fpn

import nucleus.modeling  # noqa: F401  registers the parts
from nucleus.config import load_config
from nucleus.data.catalog import register_all
from nucleus.data.mapper import NucleusMapper
from nucleus.engine.ema import build_ema
from nucleus.engine.trainer import NucleusTrainer
from nucleus.engine.training_step import TrainingStep, autocast_dtype
from nucleus.modeling.precision import computes_in_bfloat16
from nucleus.modeling.pretrained import read_weights

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
STOCK = [
    *("MODEL.META_ARCHITECTURE", "GeneralizedRCNN", "MODEL.PROPOSAL_GENERATOR.NAME", "RPN"),
    *("MODEL.ROI_HEADS.NAME", "StandardROIHeads", "MODEL.ROI_MASK_HEAD.NAME", "MaskRCNNConvUpsampleHead"),
    *("MODEL.FAST_CONVOLUTIONS", "False", "SOLVER.AUTOCAST", ""),
]
BFLOAT16 = ["SOLVER.AUTOCAST", "bfloat16", "MODEL.CHANNELS_LAST", "True"]
DENSE = 100  # nuclei in an image, more than which make it dense
# Methods of stock and of ours that are timed, by the name of the part; "model" and so on stand for the modules.
PARTS = {
    "backbone": ["backbone.forward"],
    "RPN head": ["generator.rpn_head.forward", "generator._predict"],
    "anchor labels": ["generator.label_and_sample_anchors", "generator._sample"],
    "RPN losses": ["generator.losses", "generator._losses"],
    "proposals": ["generator.predict_proposals", "generator._propose"],
    "region sampling": ["heads.label_and_sample_proposals", "heads.sample"],
    "ROIAlign": ["heads.box_pooler.forward", "heads.mask_pooler.forward", "heads.box_pooler.pool",
                 "heads.mask_pooler.pool"],
    "box head": ["heads.box_head.forward", "heads.box_predictor.forward"],
    "box losses": ["heads._forward_box", "heads._box_losses"],
    "mask head": ["heads.mask_head.layers"],
    "mask targets and loss": ["heads._forward_mask", "heads._mask_losses"],
    "rest of forward": ["model.forward"],
    "optimizer": ["optimizer.step"],
    "average of weights": ["ema.update_parameters"],
}  # fmt: skip
OUTSIDE = ("anchor labels", "RPN losses", "proposals", "region sampling", "ROIAlign", "box losses",
           "mask targets and loss", "rest of forward")  # fmt: skip
Batch = list[dict[str, Any]]
Seconds = dict[str, float]  # by part


class PartClock:
    """Seconds spent in methods during a step, without those in other timed methods that they call."""

    def __init__(self, modules: dict[str, Any]) -> None:
        self.steps: list[Seconds] = []
        self._now: Seconds | None = None  # of the step that runs
        self._inner = [0.0]
        for part, methods in PARTS.items():
            for path in methods:
                owner, *names, method = path.split(".")
                module = functools.reduce(getattr, names, modules[owner])
                if hasattr(module, method):
                    setattr(module, method, self._timed(part, getattr(module, method)))

    def _timed(self, part: str, method: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(method)
        def timed(*args: Any, **settings: Any) -> Any:
            if self._now is None:
                return method(*args, **settings)
            start = time.perf_counter()
            self._inner.append(0.0)
            try:
                return method(*args, **settings)
            finally:
                whole = time.perf_counter() - start
                self._now[part] = self._now.get(part, 0.0) + whole - self._inner.pop()
                self._inner[-1] += whole

        return timed

    @contextmanager
    def step(self) -> Iterator[None]:
        """What is run inside is one step; what no part takes is backward."""
        self._now, self._inner = {}, [0.0]
        start = time.perf_counter()
        yield
        self._now["backward and clipping"] = time.perf_counter() - start - self._inner[0]
        self.steps.append(self._now)
        self._now = None


class Candidate:
    """A model with its optimizer, and batches to step on in turn."""

    def __init__(self, cfg: CfgNode, batches: Sequence[Batch], weights: dict[str, torch.Tensor] | None = None) -> None:
        self.cfg, self.batches = cfg, batches
        torch.manual_seed(0)
        self.model = NucleusTrainer.build_model(cfg).train()
        if weights:
            self.model.load_state_dict(weights)
        self.autocast = autocast_dtype(cfg.SOLVER.AUTOCAST, cfg.MODEL.DEVICE)
        optimizer = NucleusTrainer.build_optimizer(cfg, self.model)
        for group in optimizer.param_groups:
            group["lr"] = 1e-9  # the weights stay what they are
            if cfg.MODEL.PROPOSAL_GENERATOR.NAME == "RPN":
                group["fused"] = None  # as torch and Detectron2 build it
        self.ema = build_ema(self.model, cfg.SOLVER.EMA_DECAY) if cfg.SOLVER.EMA_DECAY else None
        self.training = TrainingStep(
            self.model, self._endless(), optimizer, self.autocast, cfg.SOLVER.CLIP_TOTAL_NORM or 1.0
        )
        self.training.iter = 0
        self.ready = [self._ready(batch) for batch in batches]
        self.clock = PartClock(
            {"model": self.model, "backbone": self.model.backbone, "generator": self.model.proposal_generator,
             "heads": self.model.roi_heads, "optimizer": optimizer, "ema": self.ema}
        )  # fmt: skip
        self.turn = 0

    def _endless(self) -> Iterator[Batch]:
        while True:
            yield from self.batches

    def _mixed(self) -> Any:
        return torch.autocast("cpu", self.autocast, enabled=self.autocast is not None)

    def step(self) -> None:
        """One whole step."""
        with EventStorage(), self.clock.step():
            self.training.run_step()
            if self.ema is not None:
                self.ema.update_parameters(self.model)

    @torch.no_grad()
    def _ready(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Images, and the inputs of box head and mask head, as a step on the batch has them."""
        found: dict[str, torch.Tensor] = {}
        heads = self.model.roi_heads
        layers = heads.mask_head.layers

        def keep_masks(x: torch.Tensor) -> torch.Tensor:
            found["masks"] = x
            return layers(x)

        heads.mask_head.layers = keep_masks
        hook = heads.box_head.register_forward_pre_hook(lambda _, inputs: found.update(boxes=inputs[0]))
        with EventStorage(), self._mixed():
            self.model(batch)
        hook.remove()
        del heads.mask_head.layers
        return self.model.preprocess_image(batch).tensor, found["boxes"], found["masks"]

    def network(self) -> None:
        """The layers with parameters, forward and backward, on ready inputs."""
        images, boxes, masks = self.ready[self.turn % len(self.ready)]
        self.turn += 1
        generator, heads = self.model.proposal_generator, self.model.roi_heads
        with self._mixed():
            maps = self.model.backbone(images)
            predict = getattr(generator, "_predict", generator.rpn_head)
            outputs = [one for kind in predict([maps[name] for name in generator.in_features]) for one in kind]
            outputs += heads.box_predictor(heads.box_head(boxes.detach().requires_grad_()))
            outputs.append(heads.mask_head.layers(masks.detach().requires_grad_()))
            loss = sum(one.float().mean() for one in outputs)
        loss.backward()
        self.model.zero_grad()


class TorchvisionCandidate:
    """torchvision's model on the same crops, at their own size."""

    def __init__(self, batches: Sequence[Batch]) -> None:
        side = batches[0][0]["image"].shape[-1]
        self.model = maskrcnn_resnet50_fpn(
            weights=None, weights_backbone=None, num_classes=2, min_size=side, max_size=side
        ).train()
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=1e-9, momentum=0.9)
        self.batches = [self._convert(batch) for batch in batches]
        self.turn = 0

    @staticmethod
    def _convert(batch: Batch) -> tuple[list[torch.Tensor], list[dict[str, torch.Tensor]]]:
        truth = [sample["instances"] for sample in batch]
        targets = [
            {"boxes": one.gt_boxes.tensor, "labels": one.gt_classes + 1, "masks": one.gt_masks.tensor.to(torch.uint8)}
            for one in truth
        ]
        return [sample["image"].float() / 255 for sample in batch], targets

    def step(self) -> None:
        """Forward, backward, clip, optimizer."""
        images, targets = self.batches[self.turn % len(self.batches)]
        self.turn += 1
        self.optimizer.zero_grad()
        sum(self.model(images, targets).values()).backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()


def make_batches(cfg: CfgNode, size: int, count: int, dense: bool) -> list[Batch]:
    """Crops of bbbc038_train; the dense ones of images with more than 100 nuclei."""
    records = [one for one in DatasetCatalog.get("bbbc038_train") if not dense or len(one["rles"]) > DENSE]
    mapper, rng = NucleusMapper(cfg, is_train=True), np.random.default_rng(0)
    return [[mapper(records[rng.integers(len(records))], rng) for _ in range(size)] for _ in range(count)]


def with_bit_masks(batches: Sequence[Batch]) -> list[Batch]:
    """The same with Detectron2's structure of masks."""
    converted = []
    for batch in batches:
        samples = []
        for sample in batch:
            fields = dict(sample["instances"].get_fields())
            if hasattr(fields["gt_masks"], "to_bit_masks"):
                fields["gt_masks"] = fields["gt_masks"].to_bit_masks()
            samples.append({**sample, "instances": Instances(sample["instances"].image_size, **fields)})
        converted.append(samples)
    return converted


@torch.no_grad()
def fit_norms(model: nn.Module, batch: Batch) -> None:
    """Give frozen norms the statistics of a batch, so that random weights have activations of the usual size."""

    def fit(norm: FrozenBatchNorm2d, inputs: tuple[torch.Tensor, ...]) -> None:
        norm.running_mean.copy_(inputs[0].mean(dim=(0, 2, 3)))
        norm.running_var.copy_(inputs[0].var(dim=(0, 2, 3)) + 1e-3)

    hooks = [one.register_forward_pre_hook(fit) for one in model.modules() if isinstance(one, FrozenBatchNorm2d)]
    model.backbone(model.preprocess_image(batch).tensor)
    for hook in hooks:
        hook.remove()


def compare(
    name: str, stock: Candidate, ours: dict[str, Candidate], others: dict[str, Any], rounds: int
) -> list[dict[str, Any]]:
    """Rows of steps, networks, what is outside of them, and parts."""
    crops, count = len(stock.batches[0]), len(stock.batches)
    cases: dict[str, Callable[[], object]] = {}
    for key, one in {"stock": stock, **ours}.items():
        cases |= {key: one.step, f"{key} network": one.network}
    cases |= others
    candidates = [stock, *ours.values()]
    for one in candidates:
        one.step()
        one.clock.steps.clear()
    times = in_turn(cases, rounds, warm_up=0)
    rows = []
    for key in ours:
        label = f"{name}{'' if key == 'ours' else f', {key}'}"
        seconds = {"stock": times["stock"], "ours": times[key]}
        networks = {"stock": times["stock network"], "ours": times[f"{key} network"]}
        per_second = {
            f"{who}_crops_per_second": round(crops / statistics.median(all_), 2) for who, all_ in seconds.items()
        }
        rows += [
            comparison(f"{label}: step", *seconds.values(), batch=crops, batches=count, **per_second),
            comparison(f"{label}: network", *networks.values()),
            *_outside(f"{label}: outside the network", seconds, networks),
            _forward_outside(f"{label}: forward outside the network", stock.clock.steps, ours[key].clock.steps),
            _over_floor(f"{label}: step over floor", seconds, networks),
        ]
    for key in others:
        rows.append(comparison(f"{name}: step, {key} as stock", times[key], times["ours"]))
    return rows + _parts(name, stock.clock.steps, ours["ours"].clock.steps)


def _parts(name: str, stock: Sequence[Seconds], ours: Sequence[Seconds]) -> list[dict[str, Any]]:
    """Where the time of a step goes."""
    rows = []
    for part in dict.fromkeys(part for step in (*stock, *ours) for part in step):
        seconds = [[step.get(part, 0.0) for step in steps] for steps in (stock, ours)]
        if all(any(one) for one in seconds):
            rows.append(comparison(f"{name}, part: {part}", *seconds))
    return rows


def _outside(case: str, seconds: dict[str, list[float]], networks: dict[str, list[float]]) -> list[dict[str, Any]]:
    """One row; none where the difference is lost in the noise of a busy machine."""
    values = [statistics.median(seconds[who]) - statistics.median(networks[who]) for who in seconds]
    return [comparison(case, *([value] for value in values))] if min(values) > 0 else []


def _forward_outside(case: str, stock: Sequence[Seconds], ours: Sequence[Seconds]) -> dict[str, Any]:
    sums = [[sum(step.get(part, 0.0) for part in OUTSIDE) for step in steps] for steps in (stock, ours)]
    return comparison(case, *sums)


def _over_floor(case: str, seconds: dict[str, list[float]], networks: dict[str, list[float]]) -> dict[str, Any]:
    values = {who: [one / other for one, other in zip(seconds[who], networks[who], strict=True)] for who in seconds}
    stock, ours = (statistics.median(values[who]) for who in ("stock", "ours"))
    return {
        "case": case,
        "stock": round(stock, 3),
        "ours": round(ours, 3),
        "ratio": round(stock / ours, 3),
        "unit": "times",
        "stock_spread": quartiles(values["stock"]),
        "ours_spread": quartiles(values["ours"]),
        "rounds": len(values["ours"]),
    }


def quick(weights: Path | None, rounds: int) -> list[dict[str, Any]]:
    """Rows of the quick model, on crops of all images and of dense ones."""
    overrides = [] if weights is None else ["MODEL.TIMM.WEIGHTS", ""]
    config = CONFIGS / "quick" / "mask_rcnn_lite0_FPN.yaml"
    state = None if weights is None else read_weights(weights)
    rows = []
    for dense in (False, True):
        cfg = load_config(config, overrides)
        batches = make_batches(cfg, cfg.SOLVER.IMS_PER_BATCH, 4, dense)
        stock = Candidate(load_config(config, [*overrides, *STOCK]), with_bit_masks(batches), state)
        state = stock.model.state_dict()
        ours = {"ours": Candidate(cfg, batches, state)}
        if autocast_dtype(cfg.SOLVER.AUTOCAST, cfg.MODEL.DEVICE) is not None:
            ours["float32"] = Candidate(load_config(config, [*overrides, "SOLVER.AUTOCAST", ""]), batches, state)
        rows += compare(f"quick{', dense' if dense else ''}", stock, ours, {}, rounds)
    return rows


def r50(rounds: int) -> list[dict[str, Any]]:
    """Rows of R50-FPN, with torchvision's model."""
    config = CONFIGS / "mask_rcnn_R50_FPN.yaml"
    base = ["MODEL.WEIGHTS", "", "MODEL.DEVICE", "cpu"]
    rows = []
    for dense in (False, True):
        cfg = load_config(config, base)
        batches = make_batches(cfg, 2, 2, dense)
        stock_cfg = load_config(config, [*base, *STOCK, "MODEL.BACKBONE.NAME", "build_resnet_fpn_backbone"])
        torch.manual_seed(0)
        model = NucleusTrainer.build_model(stock_cfg)
        fit_norms(model, batches[0])
        state = model.state_dict()
        stock = Candidate(stock_cfg, with_bit_masks(batches), state)
        ours = {"ours": Candidate(cfg, batches, state)}
        if computes_in_bfloat16("cpu"):
            ours["bfloat16"] = Candidate(load_config(config, [*base, *BFLOAT16]), batches, state)
        others = {"torchvision": TorchvisionCandidate(batches).step}
        rows += compare(f"R50-FPN{', dense' if dense else ''}", stock, ours, others, rounds)
    return rows


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the rows to this file")
    parser.add_argument("--weights", type=Path, help="a checkpoint of the quick model; without, ImageNet's backbone")
    parser.add_argument("--models", nargs="+", choices=("quick", "r50"), default=("quick", "r50"))
    parser.add_argument("--rounds", type=int, nargs=2, default=(8, 2), metavar=("QUICK", "R50"))
    options = parser.parse_args(arguments)
    warnings.filterwarnings("ignore")  # of torch, about what Detectron2 and timm call
    register_all()
    rows = []
    if "quick" in options.models:
        rows += quick(options.weights, options.rounds[0])
    if "r50" in options.models:
        rows += r50(options.rounds[1])
    print_rows(rows)
    if options.json:
        write_rows(options.json, rows)


if __name__ == "__main__":
    main()
