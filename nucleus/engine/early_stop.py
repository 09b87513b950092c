"""The end of a run that does not get better any more."""

from __future__ import annotations

import logging

from detectron2.utils import comm

from nucleus.engine.best_checkpoint import BestCheckpoint
from nucleus.engine.evaluation_hook import EvaluationHook

logger = logging.getLogger(__name__)


class EarlyStop(EvaluationHook):
    """Stop after `patience` evaluations without a better score; model_final.pth is then written where it stopped.

    The count is part of the best checkpoint's state and so survives `--resume`. Stands after BestCheckpoint.

    Args:
        period: see EvaluationHook.
        patience: evaluations.
        best: keeps the count.
    """

    def __init__(self, period: int, patience: int, best: BestCheckpoint) -> None:
        super().__init__(period)
        self.patience = patience
        self.best = best

    def before_train(self) -> None:
        """Do not go on with a run that had stopped."""
        self._decide()

    def act(self) -> None:
        """Stop, where it is time."""
        if self._decide():
            self.trainer.checkpointer.save("model_final", iteration=self.trainer.iter)

    def after_train(self) -> None:
        """Nothing is left to be stopped."""

    def _decide(self) -> bool:
        stop = comm.all_gather(self.best.worse_since >= self.patience)[0]  # only the first process counts
        if stop:
            self.trainer.stop_reason = (
                f"stopped early: {self.patience} evaluations without a better {self.best.score} than "
                f"{self.best.value:.4f} after iteration {self.best.iteration}"
            )
            logger.info("%s. A higher TEST.PATIENCE goes on.", self.trainer.stop_reason.capitalize())
        return stop
