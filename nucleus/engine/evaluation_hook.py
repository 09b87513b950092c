"""What happens at every evaluation, and the evaluation itself."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from detectron2.engine import HookBase
from detectron2.evaluation.testing import flatten_results_dict
from detectron2.utils import comm
from detectron2.utils.events import EventWriter


class EvaluationHook(HookBase):
    """Base of the hooks that act every `period` steps and after the last step of a run that ended well.

    They stand before the periodic checkpoint in the list of hooks: a checkpoint then knows of the evaluation at its
    step, and a run that is killed in an evaluation repeats it.

    Args:
        period: steps; 0 acts after the last step only.
    """

    def __init__(self, period: int) -> None:
        self.period = period

    def after_step(self) -> None:
        """Act where the period asks for it, but for the last step."""
        done = self.trainer.iter + 1
        if self.period > 0 and done % self.period == 0 and done < self.trainer.max_iter:
            self.act()

    def after_train(self) -> None:
        """Act at the end, unless the run failed or was stopped early (right after an evaluation)."""
        if self.trainer.completed and not self.trainer.stop_reason:
            self.act()

    def act(self) -> None:
        """To be defined by each hook."""
        raise NotImplementedError


class ScoreHook(EvaluationHook):
    """Evaluate, and hand the scores to the writers by name.

    Args:
        period: see EvaluationHook.
        evaluate: gives scores by name, nested; empty in all processes but the first.
    """

    def __init__(self, period: int, evaluate: Callable[[], dict[str, Any]]) -> None:
        super().__init__(period)
        self.evaluate = evaluate

    def act(self) -> None:
        """Evaluate and log; scores that are undefined (NaN) are left out."""
        scores = {name: float(score) for name, score in flatten_results_dict(self.evaluate()).items()}
        defined = {name: score for name, score in scores.items() if not math.isnan(score)}
        self.trainer.storage.put_scalars(smoothing_hint=False, **defined)
        comm.synchronize()  # evaluation takes another time in each process


class LogHook(EvaluationHook):
    """Write what every evaluation gave at once, so that no later one replaces it and no kill loses it.

    Args:
        period: see EvaluationHook.
        writers: of files; those of the terminal follow their own period.
    """

    def __init__(self, period: int, writers: Sequence[EventWriter]) -> None:
        super().__init__(period)
        self.writers = writers

    def act(self) -> None:
        """Write what is new."""
        for writer in self.writers:
            writer.write()

    def after_train(self) -> None:
        """The writers' own hook writes the last of all and closes them."""
