"""Where the score threshold comes from and goes to, with the real loop and with evaluations written down beforehand."""

import pytest
import torch
from detectron2.data import MetadataCatalog
from detectron2.engine import TrainerBase
from detectron2.utils.events import EventStorage
from torch import nn

from nucleus.config import load_config
from nucleus.engine.checkpointer import NucleusCheckpointer
from nucleus.engine.evaluation_hook import ScoreHook
from nucleus.engine.score_threshold import ThresholdHook, ThresholdRecord, first_threshold
from nucleus.errors import InputError
from nucleus.modeling.score_threshold import KEY, read_threshold_record

CHOSEN = [0.3, 0.7, 0.6]  # by the evaluations after 1, 2 and 3 steps


class ScriptedTrainer(TrainerBase):
    """Three steps that do nothing, each evaluated and then saved, as NucleusTrainer does it."""

    def __init__(self, folder):
        super().__init__()
        self.record = ThresholdRecord()
        self.checkpointer = NucleusCheckpointer(nn.Linear(1, 1), str(folder), trainer=self)
        self.checkpointer.add_checkpointable(KEY, self.record)
        self.completed, self.stop_reason, self.max_iter = False, "", len(CHOSEN)
        scores = ScoreHook(1, lambda: {"threshold": {"score threshold": CHOSEN[min(self.iter, self.max_iter - 1)]}})
        name = "threshold/score threshold"
        self.register_hooks([scores, ThresholdHook(1, self.record, "squares", name, folder)])

    def steps(self, start, end):
        self.iter = start
        with EventStorage(start) as self.storage:
            while self.iter < end:
                self.storage.iter = self.iter
                self.after_step()
                self.checkpointer.save("model_final" if self.iter == 2 else f"model_{self.iter}", iteration=self.iter)
                self.iter += 1
            self.completed = self.iter == self.max_iter
            self.after_train()
        return self


def test_checkpoints_hold_the_threshold_of_the_evaluation_before_them(tmp_path):
    ScriptedTrainer(tmp_path).steps(0, 3)
    assert read_threshold_record(tmp_path / "model_0.pth") == {"value": 0.3, "data set": "squares", "iteration": 0}
    assert read_threshold_record(tmp_path / "model_1.pth") == {"value": 0.7, "data set": "squares", "iteration": 1}
    # saved before the last evaluation, and brought up to date after it; all else in it is as it was saved
    assert read_threshold_record(tmp_path / "model_final.pth") == {"value": 0.6, "data set": "squares", "iteration": 2}
    final = torch.load(tmp_path / "model_final.pth", weights_only=True)
    assert final["iteration"] == final["trainer"]["iteration"] == 2


def test_a_resumed_run_knows_the_threshold(tmp_path):
    ScriptedTrainer(tmp_path).steps(0, 2)
    resumed = ScriptedTrainer(tmp_path)
    resumed.checkpointer.resume_or_load("")
    assert resumed.record.content == {"value": 0.7, "data set": "squares", "iteration": 1}
    fresh = ScriptedTrainer(tmp_path)  # the weights alone, for another run
    fresh.checkpointer.resume_or_load(str(tmp_path / "model_1.pth"), resume=False)
    assert fresh.record.content == {}


@pytest.fixture
def cfg(pytestconfig):
    return load_config(pytestconfig.rootpath / "configs/quick/mask_rcnn_lite0_FPN.yaml")


def test_what_is_given_goes_before_what_is_recorded_before_what_is_chosen(cfg, squares):
    cfg.DATASETS.TEST = (squares,)
    assert first_threshold(cfg) is None
    assert first_threshold(cfg, recorded=0.7) == 0.7
    cfg.TEST.SCORE_THRESHOLD = 0.0
    assert first_threshold(cfg, recorded=0.7) == 0.0
    cfg.TEST.SCORE_THRESHOLD = 60.0
    with pytest.raises(InputError, match=r"TEST\.SCORE_THRESHOLD: expected a score from 0 to 1"):
        first_threshold(cfg)


def test_nothing_is_chosen_on_a_test_set(cfg):
    cfg.DATASETS.TEST = ("some_test",)
    assert first_threshold(cfg) == 0.5
    assert first_threshold(cfg, recorded=0.7) == 0.7
    MetadataCatalog.remove("some_test")
