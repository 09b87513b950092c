"""Random numbers of a step as a function of the seed and the iteration."""

from __future__ import annotations

import random

import numpy as np
import torch
from detectron2.engine import HookBase
from detectron2.utils import comm

from nucleus.data.stream import MODEL, random_source


class ReseedHook(HookBase):
    """Seed every global generator before each step, from (seed, iteration, process).

    The heads draw proposals with torch's global generator, so that a resumed run is exact only if that generator is
    where it was. Its state could be stored in checkpoints; a fresh seed a step needs no storing, holds on any device
    and for any number of generators, and does not depend on what an evaluation in between has drawn.

    Args:
        seed: of the run, 0 or more.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def before_step(self) -> None:
        """Seed torch (all devices), NumPy and Python."""
        seed_everything(random_source(self.seed, MODEL, self.trainer.iter, comm.get_rank()))


def seed_everything(source: np.random.Generator) -> None:
    """Seed the global generators of torch (all devices), NumPy and Python from one generator."""
    value = int(source.integers(2**32))
    torch.manual_seed(value)
    np.random.seed(value)
    random.seed(value)
