import pytest
import torch
from detectron2.modeling import build_model
from torch import nn

from nucleus.config import load_config
from nucleus.engine.trainer import NucleusTrainer, load_trained_weights
from nucleus.errors import InputError

QUICK = "configs/quick/mask_rcnn_lite0_FPN.yaml"


@pytest.fixture
def cfg(pytestconfig):
    return load_config(pytestconfig.rootpath / QUICK, ["MODEL.TIMM.WEIGHTS", "", "MODEL.DEVICE", "cpu"])


def test_adamw_spares_norms_and_biases(cfg):
    optimizer = NucleusTrainer.build_optimizer(cfg, nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)))
    assert isinstance(optimizer, torch.optim.AdamW)
    decays = {
        parameter.ndim: group["weight_decay"] for group in optimizer.param_groups for parameter in group["params"]
    }
    assert decays == {4: cfg.SOLVER.WEIGHT_DECAY, 1: 0.0}


def test_unknown_optimizers_and_precisions_are_refused(cfg):
    cfg.SOLVER.OPTIMIZER = "Adam"
    with pytest.raises(InputError, match="SGD or AdamW"):
        NucleusTrainer.build_optimizer(cfg, nn.Linear(1, 1))


def test_the_averaged_weights_are_what_is_loaded(cfg, tmp_path):
    model = build_model(cfg)
    plain = model.state_dict()
    averaged = {f"module.{key}": value + 1 if value.is_floating_point() else value for key, value in plain.items()}
    torch.save({"model": plain, "ema": averaged | {"n_averaged": torch.tensor(3)}}, tmp_path / "both.pth")
    cfg.MODEL.WEIGHTS = str(tmp_path / "both.pth")
    load_trained_weights(model, cfg)
    key = "roi_heads.box_predictor.cls_score.bias"
    assert torch.equal(model.state_dict()[key], averaged[f"module.{key}"])


def test_weights_that_are_missing_are_an_error(cfg, tmp_path):
    model = nn.Linear(1, 1)
    cfg.MODEL.WEIGHTS = ""
    with pytest.raises(InputError, match=r"MODEL\.WEIGHTS"):
        load_trained_weights(model, cfg)
    cfg.MODEL.WEIGHTS = str(tmp_path / "nothing.pth")
    with pytest.raises(InputError, match=r"nothing\.pth"):
        load_trained_weights(model, cfg)


def test_weights_of_another_model_are_an_error(cfg, tmp_path):
    torch.save({"model": {"a": torch.ones(1)}}, tmp_path / "other.pth")
    cfg.MODEL.WEIGHTS = str(tmp_path / "other.pth")
    with pytest.raises(InputError, match=r"other\.pth.*config"):
        load_trained_weights(nn.Linear(1, 1), cfg)
