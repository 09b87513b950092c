"""A clean end on SIGTERM, as schedulers send it before they take a machine back."""

from __future__ import annotations

import logging
import signal
import threading
from types import FrameType
from typing import Any

from detectron2.engine import HookBase
from detectron2.utils import comm

from nucleus.engine.checkpointer import NucleusCheckpointer

logger = logging.getLogger(__name__)

STOPPED = 128 + signal.SIGTERM  # exit code of a run that was stopped so, as a shell reports it


class StopOnTerminate(HookBase):
    """Finish the step under way on SIGTERM, save a checkpoint that `--resume` goes on from, and stop.

    It is enough that one of several processes gets the signal; all stop after the same step. An evaluation under way is
    finished before. Stands last in the list of hooks, so that the checkpoint knows of all that they did.

    Args:
        checkpointer: writes the checkpoint.

    Attributes:
        stopped: whether the run was stopped so.
    """

    def __init__(self, checkpointer: NucleusCheckpointer) -> None:
        self.checkpointer = checkpointer
        self.stopped = False
        self._asked = False
        self._before: Any = None  # what heard SIGTERM until now

    def before_train(self) -> None:
        """From now on SIGTERM is heard; Python allows that in the main thread alone."""
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGTERM, self._ask)

    def after_train(self) -> None:
        """Give SIGTERM back, unless it came: a second one must not break the end that the first one asked for."""
        if self._before is not None and not self._asked:
            signal.signal(signal.SIGTERM, self._before)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self._asked = True

    def after_step(self) -> None:
        """Stop where any process was asked to, all of them after this step."""
        iteration = self.trainer.iter
        last = iteration + 1 >= self.trainer.max_iter
        if last or not any(comm.all_gather(self._asked)):
            return
        self.stopped = True
        self.checkpointer.save(f"model_{iteration:07d}", iteration=iteration)
        self.trainer.stop_reason = f"stopped by SIGTERM after iteration {iteration}"
        logger.info("Training is %s; --resume goes on.", self.trainer.stop_reason)
        comm.synchronize()  # the first process has saved before any of them ends
