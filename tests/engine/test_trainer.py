import json
import math
import re

import pytest
import torch
from detectron2.modeling import build_model
from torch import nn

from nucleus.config import load_config
from nucleus.data.catalog import register
from nucleus.engine.trainer import NucleusTrainer
from nucleus.errors import InputError
from nucleus.inference.weights import load_trained_weights
from nucleus.modeling.score_threshold import read_threshold_record

QUICK = "configs/quick/mask_rcnn_lite0_FPN.yaml"


@pytest.fixture
def cfg(pytestconfig):
    return load_config(pytestconfig.rootpath / QUICK, ["MODEL.TIMM.WEIGHTS", "", "MODEL.DEVICE", "cpu"])


@pytest.fixture
def small(cfg, squares, tmp_path):
    """A config that trains a few seconds."""
    cfg.merge_from_list(["OUTPUT_DIR", str(tmp_path), "DATASETS.TRAIN", (squares,), "DATASETS.TEST", (squares,)])
    cfg.merge_from_list(["INPUT.CROP_SIZE", 64, "INPUT.UPSCALE_SHORT_EDGE", 0, "DATALOADER.NUM_WORKERS", 0])
    cfg.merge_from_list(["SOLVER.IMS_PER_BATCH", 1, "SOLVER.MAX_ITER", 9, "MODEL.RPN.POST_NMS_TOPK_TEST", 5])
    cfg.merge_from_list(["TEST.EVAL_PERIOD", 1, "TEST.PANELS", 0, "TEST.SCORE_THRESHOLD", 1.0])  # no nuclei: score 0
    return cfg


def run(cfg, resume=False):
    trainer = NucleusTrainer(cfg)
    trainer.resume_or_load(resume)
    return trainer, trainer.train()


def test_a_run_that_gets_no_better_stops_and_stays_stopped(small, tmp_path):
    small.TEST.PATIENCE = 2
    trainer, scores = run(small)
    assert trainer.iter == 3 and "2 evaluations without a better" in trainer.stop_reason
    assert scores["nucleus"]["DSB score (image mean)"] == 0
    assert (tmp_path / "last_checkpoint").read_text() == "model_final.pth"
    assert torch.load(tmp_path / "model_best.pth", weights_only=True)["iteration"] == 0

    stopped, scores = run(small, resume=True)
    assert stopped.iter == 3 and scores == {}

    small.TEST.PATIENCE, small.SOLVER.MAX_ITER = 5, 4
    longer, _ = run(small, resume=True)
    assert longer.iter == 4 and longer.completed and longer.stop_reason == ""


def test_a_failing_step_is_neither_evaluated_nor_saved(small, tmp_path):
    small.SOLVER.MAX_ITER, small.TEST.EVAL_PERIOD = 1, 0
    trainer = NucleusTrainer(small)
    trainer.resume_or_load(False)
    torch.nn.init.constant_(trainer.bare_model.roi_heads.mask_head.predictor.bias, torch.nan)
    with pytest.raises(InputError, match=r"\d\.png.*iteration 0.*loss_mask nan"):
        trainer.train()
    assert not trainer.completed
    assert not (tmp_path / "evaluation").exists() and not list(tmp_path.glob("*.pth"))


def test_the_threshold_chosen_on_the_first_set_holds_for_all_and_for_the_checkpoints(small, tmp_path):
    register("squares_test", tmp_path / "squares.json", tmp_path)
    small.merge_from_list(["TEST.SCORE_THRESHOLD", -1.0, "DATASETS.TEST", ("squares", "squares_test")])
    small.merge_from_list(["SOLVER.MAX_ITER", 1, "TEST.EVAL_PERIOD", 0])
    trainer, scores = run(small)
    (chosen,) = {scores[name]["threshold"]["score threshold"] for name in ("squares", "squares_test")}
    for name in ("model_final.pth", "model_best.pth"):
        record = {"value": chosen, "data set": "squares", "iteration": 0}
        assert read_threshold_record(tmp_path / name) == record
    settings = json.loads((tmp_path / "evaluation" / "squares_test" / "scores.json").read_text())["settings"]
    assert settings["score threshold"] == chosen and "score threshold chosen on" not in settings

    small.DATASETS.TEST = ("squares_test",)
    scores = NucleusTrainer.test(small, trainer.evaluated_model, recorded_threshold=0.25)
    assert scores["threshold"] == {"score threshold": 0.25}
    scores = NucleusTrainer.test(small, trainer.evaluated_model)
    assert scores["threshold"] == {"score threshold": 0.5}


def test_a_longer_run_goes_on_after_the_last_step_and_keeps_the_scores_of_the_last_evaluation(small, tmp_path):
    def state(name):
        return torch.load(tmp_path / f"{name}.pth", weights_only=True)

    def evaluated():
        lines = map(json.loads, (tmp_path / "metrics.json").read_text().splitlines())
        return [line["iteration"] for line in lines if "nucleus/DSB score (image mean)" in line]

    small.merge_from_list(["SOLVER.MAX_ITER", 2, "TEST.EVAL_PERIOD", 2, "SOLVER.CHECKPOINT_PERIOD", 2])
    run(small)
    (tmp_path / "model_final.pth").unlink()  # as if killed between the last two saves
    (tmp_path / "last_checkpoint").write_text("model_0000001.pth")
    run(small, resume=True)
    for name in ("model_0000001", "model_best", "model_final"):
        assert state(name)["iteration"] == state(name)["trainer"]["iteration"] == 1
    assert evaluated() == [2]
    small.SOLVER.MAX_ITER = 4
    longer, _ = run(small, resume=True)
    assert longer.start_iter == 2 and state("model_final")["trainer"]["iteration"] == 3
    assert evaluated() == [2, 4]


def test_a_new_run_in_an_old_folder_cannot_be_gone_on_with_as_the_old_one(small, tmp_path):
    small.merge_from_list(["SOLVER.MAX_ITER", 1, "TEST.EVAL_PERIOD", 0])
    run(small)
    trainer = NucleusTrainer(small)
    trainer.resume_or_load(False)  # and killed here
    with pytest.raises(InputError, match=r"found none: a run without --resume has begun .*Rename .*before to last"):
        run(small, resume=True)
    (tmp_path / "last_checkpoint.before").rename(tmp_path / "last_checkpoint")
    assert run(small, resume=True)[0].start_iter == 1
    assert run(small)[0].start_iter == 0
    assert not (tmp_path / "last_checkpoint.before").exists()


def learning_rates(cfg, steps):
    """The factor on the base rate before each of some steps."""
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = NucleusTrainer.build_lr_scheduler(cfg, optimizer)
    rates = []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return rates


def test_cosine_and_steps_after_a_linear_warm_up(cfg):
    cfg.SOLVER.MAX_ITER, cfg.SOLVER.WARMUP_ITERS, cfg.SOLVER.WARMUP_FACTOR = 8, 2, 0.5
    cfg.SOLVER.LR_SCHEDULER_NAME, cfg.SOLVER.STEPS, cfg.SOLVER.GAMMA = "WarmupMultiStepLR", (4, 6), 0.1
    assert learning_rates(cfg, 8) == pytest.approx([0.5, 0.75, 1, 1, 0.1, 0.1, 0.01, 0.01])
    cfg.SOLVER.LR_SCHEDULER_NAME, cfg.SOLVER.WARMUP_ITERS = "WarmupCosineLR", 0
    expected = [(1 + math.cos(math.pi * step / 8)) / 2 for step in range(8)]
    assert learning_rates(cfg, 8) == pytest.approx(expected)


def test_settings_that_would_be_left_out_in_silence_are_refused(cfg):
    cfg.SOLVER.LR_SCHEDULER_NAME = "Cosine"
    with pytest.raises(InputError, match="WarmupCosineLR"):
        learning_rates(cfg, 1)
    cfg.SOLVER.OPTIMIZER = "AdamW"
    for key in ("TEST.PRECISE_BN.ENABLED", "SOLVER.AMP.ENABLED", "SOLVER.CLIP_GRADIENTS.ENABLED"):
        other = cfg.clone()
        other.merge_from_list([key, True])
        with pytest.raises(InputError, match=key):
            NucleusTrainer(other)
    not_read = {"INPUT.CROP.ENABLED": True, "INPUT.RANDOM_FLIP": "none", "INPUT.MIN_SIZE_TEST": 1600,
                "DATALOADER.SAMPLER_TRAIN": "RepeatFactorTrainingSampler", "TEST.AUG.ENABLED": True}  # fmt: skip
    for key, value in (not_read | {"INPUT.FORMAT": "L"}).items():
        other = cfg.clone()
        other.merge_from_list([key, value])
        with pytest.raises(InputError, match=rf"{key}: expected .*, found {value}"):
            NucleusTrainer.build_model(other)
    for key, value in {"DATALOADER.FILTER_EMPTY_ANNOTATIONS": True, "SOLVER.CHECKPOINT_PERIOD": 0}.items():
        other = cfg.clone()
        other.merge_from_list([key, value])
        with pytest.raises(InputError, match=rf"{key}: expected .*, found {value}"):
            NucleusTrainer(other)
    other = cfg.clone()
    other.merge_from_list(["TEST.PATIENCE", 3, "TEST.EVAL_PERIOD", 0])
    with pytest.raises(InputError, match=r"TEST\.PATIENCE: expected 0 without evaluations"):
        NucleusTrainer(other)
    other = cfg.clone()
    other.merge_from_list(["MODEL.ROI_MASK_HEAD.SCORING", True, "INPUT.MASK_FORMAT", "bitmask"])
    with pytest.raises(InputError, match=r"INPUT\.MASK_FORMAT: expected label with MODEL\.ROI_MASK_HEAD\.SCORING"):
        NucleusTrainer(other)
    for key in ("BIAS_LR_FACTOR", "WEIGHT_DECAY_NORM", "WEIGHT_DECAY_BIAS"):
        other = cfg.clone()
        other.merge_from_list([f"SOLVER.{key}", 0.5])
        with pytest.raises(InputError, match=rf"SOLVER\.{key}: expected . with AdamW, found 0\.5"):
            NucleusTrainer(other)
    cfg.MODEL.META_ARCHITECTURE = "GeneralizedRCNN"
    for key, value in {"TEST.VIEWS": 2, "TEST.EXPAND": 0.5, "TEST.MASK_STABILITY": True, "TEST.BOX_VOTING": 0.8,
                       "MODEL.ROI_MASK_HEAD.MARGIN": 0.1, "MODEL.ROI_MASK_HEAD.SCORING": True}.items():  # fmt: skip
        other = cfg.clone()
        other.merge_from_list([key, value])
        with pytest.raises(InputError, match=f"META_ARCHITECTURE: expected NucleusRCNN with {re.escape(key)}"):
            NucleusTrainer.build_model(other)


def test_only_what_is_to_be_trained_is(small, tmp_path):
    small.merge_from_list(["MODEL.ROI_MASK_HEAD.SCORING", True, "SOLVER.TRAIN_ONLY", "roi_heads.mask_scoring."])
    small.merge_from_list(["SOLVER.MAX_ITER", 2, "SOLVER.WARMUP_ITERS", 0, "TEST.EVAL_PERIOD", 0])
    small.merge_from_list(["SOLVER.EMA_DECAY", 0.9, "MODEL.ROI_HEADS.SCORE_THRESH_TEST", 0.0])
    trainer = NucleusTrainer(small)
    before = {name: one.clone() for name, one in trainer.bare_model.named_parameters()}
    trainer.train()
    for model in (trainer.bare_model, trainer.evaluated_model):
        moved = {name for name, one in model.named_parameters() if not torch.equal(one, before[name])}
        assert moved == {name for name in before if "mask_scoring" in name} and len(moved) == 14
    small.SOLVER.TRAIN_ONLY = "roi_head."
    with pytest.raises(InputError, match=r"TRAIN_ONLY: expected the beginning of parameters of .*roi_heads, found"):
        NucleusTrainer(small)
    small.SOLVER.TRAIN_ONLY = "roi_heads."
    small.merge_from_list(["MODEL.TIMM.NORM", "BN", "MODEL.FAST_CONVOLUTIONS", False])
    with pytest.raises(InputError, match=r"TRAIN_ONLY: expected frozen norms .* found backbone\..*FrozenBN"):
        NucleusTrainer(small)


@pytest.mark.parametrize("channels_last", [True, False])
def test_the_memory_layout_is_as_configured(cfg, channels_last):
    cfg.MODEL.CHANNELS_LAST = channels_last
    weight = NucleusTrainer.build_model(cfg).roi_heads.mask_head.mask_fcn1.weight
    assert weight.is_contiguous(memory_format=torch.channels_last) == channels_last


def test_adamw_spares_norms_biases_and_position_tables(cfg):
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
    model.relative_position_bias_table = nn.Parameter(torch.zeros(5, 2))
    optimizer = NucleusTrainer.build_optimizer(cfg, model)
    assert isinstance(optimizer, torch.optim.AdamW)
    decays = {
        parameter.ndim: group["weight_decay"] for group in optimizer.param_groups for parameter in group["params"]
    }
    assert decays == {4: cfg.SOLVER.WEIGHT_DECAY, 2: 0.0, 1: 0.0}


def test_unknown_optimizers_and_precisions_are_refused(cfg):
    cfg.SOLVER.OPTIMIZER = "Adam"
    with pytest.raises(InputError, match="SGD or AdamW"):
        NucleusTrainer.build_optimizer(cfg, nn.Linear(1, 1))


def test_the_averaged_weights_are_what_is_loaded(small, tmp_path):
    cfg = small
    model = build_model(cfg)
    plain = model.state_dict()
    averaged = {f"module.{key}": value + 1 if value.is_floating_point() else value for key, value in plain.items()}
    torch.save({"model": plain, "ema": averaged | {"n_averaged": torch.tensor(3)}}, tmp_path / "both.pth")
    cfg.MODEL.WEIGHTS = str(tmp_path / "both.pth")
    load_trained_weights(model, cfg.MODEL.WEIGHTS)
    key = "roi_heads.box_predictor.cls_score.bias"
    assert torch.equal(model.state_dict()[key], averaged[f"module.{key}"])

    cfg.OUTPUT_DIR = str(tmp_path)
    trainer = NucleusTrainer(cfg)
    trainer.resume_or_load(False)  # trained on from what was evaluated
    assert torch.equal(trainer.bare_model.state_dict()[key], averaged[f"module.{key}"])


def test_weights_that_are_missing_are_an_error(cfg, tmp_path):
    model = nn.Linear(1, 1)
    cfg.MODEL.WEIGHTS = ""
    with pytest.raises(InputError, match=r"MODEL\.WEIGHTS"):
        load_trained_weights(model, cfg.MODEL.WEIGHTS)
    cfg.MODEL.WEIGHTS = str(tmp_path / "nothing.pth")
    with pytest.raises(InputError, match=r"nothing\.pth"):
        load_trained_weights(model, cfg.MODEL.WEIGHTS)


def test_weights_of_another_model_are_an_error(cfg, tmp_path):
    torch.save({"model": {"a": torch.ones(1)}}, tmp_path / "other.pth")
    cfg.MODEL.WEIGHTS = str(tmp_path / "other.pth")
    with pytest.raises(InputError, match=r"other\.pth.*config"):
        load_trained_weights(nn.Linear(1, 1), cfg.MODEL.WEIGHTS)
