"""The score threshold of a run: where it comes from, and how it gets into the checkpoints.

- TEST.SCORE_THRESHOLD of 0 or more is used everywhere and recorded nowhere: it is in the config.
- Else each evaluation in training chooses it on the first of DATASETS.TEST, uses it for all of them, and records it:
  with every checkpoint that follows, and with model_final.pth once more after the last evaluation. The DSB score that
  decides which checkpoint is best is the one at the chosen threshold, at which the checkpoint will be used; at a fixed
  one it would depend on how sure of themselves the weights are.
- An evaluation alone uses what is recorded with MODEL.WEIGHTS, and chooses where nothing is.
- It is never chosen on a test set, known by its name or that of its file: there it is DEFAULT, and nothing is recorded.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from detectron2.config import CfgNode
from detectron2.utils import comm
from detectron2.utils.logger import log_first_n

from nucleus.engine.evaluation_hook import EvaluationHook
from nucleus.errors import InputError
from nucleus.evaluation.evaluator import may_choose_threshold
from nucleus.modeling.score_threshold import DEFAULT, record_score_threshold

USED = "threshold/score threshold"  # among the scores of one data set


def first_threshold(cfg: CfgNode, recorded: float | None = None) -> float | None:
    """Say which threshold the first of DATASETS.TEST is evaluated with.

    Args:
        cfg: TEST.SCORE_THRESHOLD and DATASETS.TEST.
        recorded: with the weights, if any is.

    Returns:
        In [0, 1], or None: chosen on that data set.

    Raises:
        InputError: TEST.SCORE_THRESHOLD is above 1.
    """
    given = cfg.TEST.SCORE_THRESHOLD
    if given > 1:
        raise InputError("TEST.SCORE_THRESHOLD", expected="a score from 0 to 1, or -1 to choose it", found=str(given))
    if given >= 0:
        return given
    if recorded is not None:
        return recorded
    if cfg.DATASETS.TEST and may_choose_threshold(cfg.DATASETS.TEST[0]):
        return None
    log_first_n(logging.WARNING, f"No score threshold is chosen on a test set: {DEFAULT:g} is used", name=__name__)
    return DEFAULT


class ThresholdRecord:
    """What checkpoints hold under "score_threshold"; empty before a threshold was chosen."""

    def __init__(self) -> None:
        self.content: dict[str, Any] = {}

    def state_dict(self) -> dict[str, Any]:
        """Plain values: "value", "data set" and "iteration"; see `nucleus.modeling.score_threshold`."""
        return dict(self.content)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        self.content = dict(state)


class ThresholdHook(EvaluationHook):
    """Take the threshold that an evaluation chose into the record. Stands right after the hook that evaluates.

    model_final.pth is written before the last evaluation, so that a run that is killed in it need not train again; its
    record is then brought up to date.

    Args:
        period: see EvaluationHook.
        record: part of every checkpoint.
        data_set: the one that thresholds are chosen on.
        score: name of the threshold among the logged scalars.
        folder: of model_final.pth.
    """

    def __init__(self, period: int, record: ThresholdRecord, data_set: str, score: str, folder: str | Path) -> None:
        super().__init__(period)
        self.record = record
        self.data_set = data_set
        self.score = score
        self.final = Path(folder) / "model_final.pth"

    def act(self) -> None:
        """Look up the threshold of this evaluation; only the first process knows it."""
        storage = self.trainer.storage
        if comm.is_main_process():
            value, iteration = storage.latest()[self.score]
            iteration = min(iteration, self.trainer.max_iter - 1)
            self.record.content = {"value": value, "data set": self.data_set, "iteration": iteration}

    def after_train(self) -> None:
        """Act, and record it with the last checkpoint."""
        super().after_train()
        if self.trainer.completed and not self.trainer.stop_reason and comm.is_main_process() and self.final.is_file():
            record_score_threshold(self.final, self.record.content)
