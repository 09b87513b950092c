import copy
import types

import pytest
import torch
from detectron2.modeling import build_model
from detectron2.utils.events import EventStorage
from timm.layers import DropPath
from torch import nn

from nucleus.config import load_config
from nucleus.engine.validation_loss import build_validation_loss, giving_losses


@pytest.fixture
def cfg(pytestconfig, squares):
    overrides = ["MODEL.TIMM.WEIGHTS", "", "MODEL.TIMM.NORM", "BN", "INPUT.CROP_SIZE", "64", "TEST.LOSS_IMAGES", "3",
                 "INPUT.UPSCALE_SHORT_EDGE", "0", "DATASETS.TEST", f"('{squares}',)"]  # fmt: skip
    return load_config(pytestconfig.rootpath / "configs/quick/mask_rcnn_lite0_FPN.yaml", overrides)


def test_the_same_losses_every_time_and_nothing_of_the_model_changes(cfg):
    torch.manual_seed(0)
    model = build_model(cfg)
    model.train()
    model.backbone.eval()  # a mode to be restored, too
    before, modes = copy.deepcopy(model.state_dict()), [module.training for module in model.modules()]
    hook = build_validation_loss(cfg, model)
    hook.trainer = types.SimpleNamespace(storage=EventStorage())

    hook.act()
    first = {name: value for name, (value, _) in hook.trainer.storage.latest().items()}
    torch.rand(5)  # another state of the generators
    hook.act()
    second = {name: value for name, (value, _) in hook.trainer.storage.latest().items()}

    assert first == second
    losses = {"loss_cls", "loss_box_reg", "loss_mask", "loss_rpn_cls", "loss_rpn_loc"}
    assert first.keys() == {f"validation/{name}" for name in losses | {"total_loss"}}
    parts = sum(first[f"validation/{name}"] for name in losses)
    assert first["validation/total_loss"] == pytest.approx(parts) and parts > 0
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert [module.training for module in model.modules()] == modes


def test_the_mean_is_that_over_images_however_they_are_shared_out(cfg):
    torch.manual_seed(0)
    hook = build_validation_loss(cfg, build_model(cfg))
    assert hook.measure(range(3)) == [*hook.measure([0]), *hook.measure([1]), *hook.measure([2])]


def test_a_subset_is_spread_over_the_data_set(cfg):
    cfg.TEST.LOSS_IMAGES = 2
    hook = build_validation_loss(cfg, nn.Identity())
    assert [record["image_id"] for record in hook.records] == [1, 3]


def test_only_statistics_and_noise_are_quiet():
    model = nn.Sequential(nn.BatchNorm2d(2), nn.Dropout(0.5), DropPath(0.5), nn.Conv2d(2, 2, 1)).eval()
    with giving_losses(model):
        assert [module.training for module in model] == [False, False, False, True]
        assert model.training and not torch.is_grad_enabled()
    assert not model.training and torch.is_grad_enabled()
