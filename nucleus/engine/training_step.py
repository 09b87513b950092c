"""One step of training: forward, backward, clip, step; in parts and in mixed precision where asked for."""

from __future__ import annotations

import itertools
import math
import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from detectron2.engine import SimpleTrainer
from detectron2.utils import comm
from detectron2.utils.events import get_event_storage
from torch import nn

from nucleus.engine.diverged import diverged, file_names
from nucleus.errors import InputError
from nucleus.modeling.precision import computes_in_bfloat16

DTYPES = {"": None, "bfloat16": torch.bfloat16, "float16": torch.float16}
AUTO = "auto"
Batch = list[dict[str, Any]]


@dataclass
class StepReport:
    """What one process tells the others about a step: losses by name, seconds, and what was not finite."""

    losses: dict[str, float]
    data_time: float
    broken: list[str]  # what was not finite, such as "loss_mask nan"
    images: list[str]  # file names; only where something is broken


class TrainingStep(SimpleTrainer):
    """One training step on any device and any number of processes.

    Detectron2's AMPTrainer is for CUDA's float16 alone; bfloat16 has float32's range and needs no loss scaling. Its
    CLIP_GRADIENTS clips parameter by parameter, which turns the direction of the step; this clips the norm over all.

    Args:
        model: gives a dict of losses in training mode, each a mean over its batch.
        data_loader: endless batches, lists of samples.
        optimizer: over the model's parameters.
        autocast: dtype of the forward pass, None for float32 throughout. float16 scales the loss and needs a GPU.
        clip_norm: largest 2-norm of the whole gradient; 0 for no limit.
        accumulate: parts into which a batch is cut, one forward and backward pass each before the one step. Each part
            counts by its images. Losses that are means over the regions of a part weigh these a little differently
            than over the whole batch, as with one process a part.
    """

    def __init__(
        self,
        model: nn.Module,
        data_loader: Any,
        optimizer: torch.optim.Optimizer,
        autocast: torch.dtype | None = None,
        clip_norm: float = 0.0,
        accumulate: int = 1,
    ) -> None:
        super().__init__(model, data_loader, optimizer)
        self.autocast = autocast
        self.clip_norm = clip_norm
        self.accumulate = accumulate
        self.device_type = next(model.parameters()).device.type
        self.scaler = torch.amp.GradScaler(self.device_type, enabled=autocast == torch.float16)

    def run_step(self) -> None:
        """Forward, backward, clip, step.

        Raises:
            InputError: a loss or the gradient is not finite; the weights are as they were before the step.
        """
        start = time.perf_counter()
        data: Batch = next(self._data_loader_iter)
        data_time = time.perf_counter() - start

        self.optimizer.zero_grad()
        parts = _cut(data, self.accumulate)
        losses: dict[str, torch.Tensor] = {}
        for number, part in enumerate(parts, start=1):
            share = len(part) / len(data)
            with self._without_sync(number < len(parts)):
                for name, loss in self._forward_and_backward(part, share).items():
                    losses[name] = losses.get(name, 0) + share * loss.detach()
        self.scaler.unscale_(self.optimizer)
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.clip_norm or math.inf)
        self._report(data, losses, norm, data_time)
        self.scaler.step(self.optimizer)
        self.scaler.update()

    def _forward_and_backward(self, part: Batch, share: float) -> dict[str, torch.Tensor]:
        with torch.autocast(self.device_type, self.autocast, enabled=self.autocast is not None):
            try:
                losses = self.model(part)
            except FloatingPointError as error:  # Detectron2's proposal generator looks for itself
                raise diverged(file_names(part), self.iter, str(error).rstrip(".")) from error
        self.scaler.scale(sum(losses.values()) * share).backward()
        return losses

    def _without_sync(self, more_to_come: bool) -> AbstractContextManager[Any]:
        """Processes add up their gradients once a step, not once a part."""
        if more_to_come and isinstance(self.model, nn.parallel.DistributedDataParallel):
            return self.model.no_sync()
        return nullcontext()

    def _report(self, data: Batch, losses: dict[str, torch.Tensor], norm: torch.Tensor, data_time: float) -> None:
        """Bring the losses of all processes together, stop all of them if one is broken, and log."""
        values = dict(zip(losses, torch.stack([*losses.values()]).tolist(), strict=True))
        gradient = float(norm)
        # With float16, a step whose gradient is not finite is skipped and the scale halved; below 1, that is no cure.
        skipped = self.scaler.is_enabled() and self.scaler.get_scale() >= 1
        checked = values if skipped else values | {"gradient": gradient}
        broken = [f"{name} {value}" for name, value in checked.items() if not math.isfinite(value)]
        own = StepReport(values, data_time, broken, file_names(data) if broken else [])
        reports: list[StepReport] = comm.all_gather(own)
        if any(report.broken for report in reports):
            images = [image for report in reports for image in report.images]
            found = sorted({one for report in reports for one in report.broken})
            raise diverged(images, self.iter, ", ".join(found))

        storage = get_event_storage()
        means = {name: sum(report.losses[name] for report in reports) / len(reports) for name in values}
        storage.put_scalar("data_time", max(report.data_time for report in reports), cur_iter=self.iter)
        storage.put_scalars(cur_iter=self.iter, **means, total_loss=sum(means.values()), gradient_norm=gradient)

    def state_dict(self) -> dict[str, Any]:
        """Optimizer and, with float16, the scale of the loss."""
        return super().state_dict() | ({"scaler": self.scaler.state_dict()} if self.scaler.is_enabled() else {})

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a state."""
        super().load_state_dict(state_dict)
        if self.scaler.is_enabled() and "scaler" in state_dict:
            self.scaler.load_state_dict(state_dict["scaler"])


def autocast_dtype(name: str, device: str) -> torch.dtype | None:
    """SOLVER.AUTOCAST as a dtype; None for float32 throughout.

    Raises:
        InputError: an unknown name, or float16 without a GPU.
    """
    if name == AUTO:
        return torch.bfloat16 if computes_in_bfloat16(device) else None
    if name not in DTYPES:
        known = " or ".join(f'"{known}"' for known in (*DTYPES, AUTO))
        raise InputError("SOLVER.AUTOCAST", expected=known, found=f'"{name}"')
    if name == "float16" and not device.startswith("cuda"):
        raise InputError(
            "SOLVER.AUTOCAST", expected="a GPU for float16", found=f"MODEL.DEVICE {device}", remedy="Use bfloat16."
        )
    return DTYPES[name]


def _cut(data: Batch, parts: int) -> list[Batch]:
    """Cut a batch into at most `parts` runs of samples, as even as they go."""
    parts = min(parts, len(data))
    bounds = [len(data) * part // parts for part in range(parts + 1)]
    return [data[first:last] for first, last in itertools.pairwise(bounds)]
