"""The checkpoint with the best score so far, kept as model_best.pth."""

from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import Any

from detectron2.utils import comm

from nucleus.engine.checkpointer import NucleusCheckpointer
from nucleus.engine.evaluation_hook import EvaluationHook
from nucleus.modeling.pretrained import load_plain

logger = logging.getLogger(__name__)

BEST = "model_best"


class BestCheckpoint(EvaluationHook):
    """Save a checkpoint whenever a score is higher than ever before.

    Detectron2's BestCheckpointer forgets the best value on resume; here it is part of every checkpoint. Stands after
    the hook that evaluates. Only the first process has scores and saves.

    Args:
        period: see EvaluationHook.
        checkpointer: writes the file; `--resume` does not go on from it.
        score: name of the score among the logged scalars; higher is better.

    Attributes:
        value: the best score, -inf before the first evaluation.
        iteration: the last step of training before it, -1 before the first evaluation.
        worse_since: evaluations after the best one.
    """

    def __init__(self, period: int, checkpointer: NucleusCheckpointer, score: str) -> None:
        super().__init__(period)
        self.checkpointer = checkpointer
        self.score = score
        self.value = -math.inf
        self.iteration = -1
        self.worse_since = 0

    def before_train(self) -> None:
        """Of a run that goes on, take over the best value if the evaluation after its last checkpoint found it.

        model_final.pth is written before the last evaluation. Values of other steps are in the last checkpoint, or
        will be found again, or are those of another run that was in the folder before.
        """
        path = Path(self.checkpointer.save_dir) / f"{BEST}.pth"
        if not (self.trainer.start_iter and comm.is_main_process() and path.is_file()):
            return
        try:
            state = load_plain(path)["trainer"]["hooks"][type(self).__qualname__]
            if state["iteration"] == self.trainer.start_iter - 1 and state["value"] > self.value:
                self.load_state_dict(state)
        except Exception as error:  # whatever unpickling a broken file ends in
            logger.warning("%s cannot be read (%s), so that the next best checkpoint replaces it", path, error)

    def act(self) -> None:
        """Compare the score of this evaluation with the best one."""
        storage = self.trainer.storage
        value, iteration = storage.latest().get(self.score, (math.nan, storage.iter))
        if not comm.is_main_process():
            return
        if iteration == storage.iter and value > self.value:  # False where the score is undefined
            self.value, self.iteration, self.worse_since = value, min(storage.iter, self.trainer.max_iter - 1), 0
            logger.info("Best %s so far: %.4f", self.score, value)
            self.checkpointer.save(BEST, last=False, iteration=self.iteration)
        else:
            self.worse_since += 1
            logger.info("%s: no better than %.4f after iteration %d", self.score, self.value, self.iteration)

    def state_dict(self) -> dict[str, Any]:
        """Best value, its iteration, and the evaluations since."""
        return {"value": self.value, "iteration": self.iteration, "worse_since": self.worse_since}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        self.value, self.iteration, self.worse_since = state["value"], state["iteration"], state["worse_since"]
