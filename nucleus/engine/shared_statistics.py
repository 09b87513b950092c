"""Running statistics of batch norms that are the same in all processes."""

from __future__ import annotations

import torch
import torch.distributed as dist
from detectron2.engine import HookBase
from detectron2.utils import comm
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


class SharedStatistics(HookBase):
    """After every step, take the mean over the processes of the running statistics of the model's batch norms.

    Each process sees its own part of a batch, and would evaluate its part of a data set with statistics of its own,
    of which a checkpoint holds those of the first process alone. Stands before the hook that averages the weights.

    Args:
        model: being trained; the same in all processes.
    """

    def __init__(self, model: nn.Module) -> None:
        norms = [one for one in model.modules() if isinstance(one, _BatchNorm) and one.track_running_stats]
        self.statistics = [one for norm in norms for one in (norm.running_mean, norm.running_var) if one is not None]

    @torch.no_grad()
    def after_step(self) -> None:
        """One exchange for all of them."""
        if not self.statistics:
            return
        flat = torch.cat([one.flatten() for one in self.statistics])
        dist.all_reduce(flat)
        flat /= comm.get_world_size()
        for one, mean in zip(self.statistics, flat.split([one.numel() for one in self.statistics]), strict=True):
            one.copy_(mean.view_as(one))
