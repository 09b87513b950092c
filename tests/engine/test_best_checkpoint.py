"""The best checkpoint and the early stop, with the real loop and a model whose scores are written down beforehand."""

import types

import pytest
import torch
from detectron2.engine import TrainerBase
from detectron2.utils.events import EventStorage
from torch import nn

from nucleus.engine.best_checkpoint import BestCheckpoint
from nucleus.engine.checkpointer import NucleusCheckpointer
from nucleus.engine.early_stop import EarlyStop
from nucleus.engine.evaluation_hook import ScoreHook

SCORES = [0.1, 0.4, 0.3, float("nan"), 0.5, 0.4]  # of the evaluations after 1, 2, ... steps


class ScriptedTrainer(TrainerBase):
    """Steps that do nothing, and hooks as NucleusTrainer has them; evaluates after every step."""

    def __init__(self, folder, patience=0):
        super().__init__()
        self.checkpointer = NucleusCheckpointer(nn.Linear(1, 1), str(folder), trainer=self)
        self.completed, self.stop_reason, self.max_iter = False, "", len(SCORES)
        self.best = BestCheckpoint(1, self.checkpointer, "nucleus/score")
        hooks = [ScoreHook(1, lambda: {"nucleus": {"score": SCORES[self.evaluations()]}}), self.best]
        self.register_hooks(hooks + ([EarlyStop(1, patience, self.best)] if patience else []))

    def evaluations(self):
        return min(self.iter, self.max_iter - 1)

    def steps(self, start, end):
        self.iter = start
        with EventStorage(start) as self.storage:
            self.before_train()
            while self.iter < end and not self.stop_reason:
                self.storage.iter = self.iter
                self.after_step()
                self.checkpointer.save("model_last", iteration=self.iter)
                self.iter += 1
            if self.iter == self.max_iter:
                self.completed = True
            self.after_train()
        return self


def best_iteration(folder):
    return torch.load(folder / "model_best.pth", weights_only=True)["iteration"]


def test_the_best_checkpoint_is_that_of_the_highest_score(tmp_path):
    trainer = ScriptedTrainer(tmp_path).steps(0, 6)
    assert (trainer.best.value, trainer.best.iteration, trainer.best.worse_since) == (0.5, 4, 1)
    assert best_iteration(tmp_path) == 4
    assert (tmp_path / "last_checkpoint").read_text() == "model_last.pth"


def test_a_resumed_run_knows_the_best_value(tmp_path):
    ScriptedTrainer(tmp_path).steps(0, 2)
    resumed = ScriptedTrainer(tmp_path)
    resumed.checkpointer.resume_or_load("")
    assert (resumed.best.value, resumed.best.iteration) == (0.4, 1)
    resumed.steps(2, 4)  # 0.3 and an undefined score: a hook that forgot would save 0.3
    assert best_iteration(tmp_path) == 1
    assert resumed.best.worse_since == 2


def test_a_longer_run_knows_the_evaluation_after_the_last_checkpoint(tmp_path):
    """The last evaluation of a run comes after its last checkpoint; a run that goes on from that has to know it."""
    first = ScriptedTrainer(tmp_path).steps(0, 2)
    first.best.value, first.best.iteration = 0.9, 1
    first.checkpointer.save("model_best", last=False, iteration=1)  # as the evaluation at the end would
    resumed = ScriptedTrainer(tmp_path)
    resumed.checkpointer.resume_or_load("")
    assert resumed.best.value < 0.9  # of before that evaluation
    resumed.start_iter = 2
    resumed.steps(2, 4)
    assert (resumed.best.value, resumed.best.iteration) == (0.9, 1)
    for start in (1, 3):  # before it, it will evaluate that step itself; after it, this is another run's
        again = ScriptedTrainer(tmp_path)
        again.start_iter = start
        again.steps(start, start + 1)
        assert again.best.value != 0.9
        first.checkpointer.save("model_best", last=False, iteration=1)


@pytest.mark.parametrize("broken", ["cut off", "without a state"])
def test_a_broken_best_checkpoint_is_replaced(tmp_path, caplog, broken):
    ScriptedTrainer(tmp_path).steps(0, 2)
    best = tmp_path / "model_best.pth"
    if broken == "cut off":
        best.write_bytes(best.read_bytes()[:-500])
    else:
        torch.save({"model": {}}, best)
    resumed = ScriptedTrainer(tmp_path)
    resumed.checkpointer.resume_or_load("")
    resumed.start_iter = 2
    resumed.steps(2, 5)
    assert "model_best.pth cannot be read" in caplog.text
    assert best_iteration(tmp_path) == 4


@pytest.mark.parametrize(("patience", "steps"), [(1, 3), (2, 4), (3, 6)])
def test_training_stops_when_patience_runs_out(tmp_path, patience, steps):
    trainer = ScriptedTrainer(tmp_path, patience).steps(0, 6)
    assert trainer.iter == steps
    if patience < 3:
        assert "stopped early" in trainer.stop_reason
        assert torch.load(tmp_path / "model_final.pth", weights_only=True)["iteration"] == steps - 1
        again = ScriptedTrainer(tmp_path, patience)
        again.checkpointer.resume_or_load("")
        assert again.steps(steps, 6).iter == steps  # it does not go on
        more = ScriptedTrainer(tmp_path, patience + 3)
        more.checkpointer.resume_or_load("")
        assert more.steps(steps, 6).iter == 6
    else:
        assert trainer.stop_reason == "" and not (tmp_path / "model_final.pth").exists()


def test_a_score_that_was_not_measured_now_is_no_score(tmp_path):
    hook = BestCheckpoint(1, NucleusCheckpointer(nn.Linear(1, 1), str(tmp_path)), "nucleus/score")
    with EventStorage() as storage:
        hook.trainer = types.SimpleNamespace(storage=storage, max_iter=9)
        storage.put_scalar("nucleus/score", 0.7)
        storage.iter = 1
        hook.act()
    assert hook.iteration == -1
