import pytest
import torch
from detectron2.utils.events import EventStorage
from torch import nn

from nucleus.engine.training_step import TrainingStep, autocast_dtype
from nucleus.errors import InputError


class Slope(nn.Module):
    """A loss of which the gradient is known: 3 a + 4 b."""

    def __init__(self):
        super().__init__()
        self.a = nn.Parameter(torch.zeros(()))
        self.b = nn.Parameter(torch.zeros(()))

    def forward(self, batch):
        return {"loss": 3 * self.a + 4 * self.b}


@pytest.mark.parametrize(("limit", "step"), [(0.0, (-3.0, -4.0)), (1.0, (-0.6, -0.8)), (10.0, (-3.0, -4.0))])
def test_the_whole_gradient_is_clipped_and_keeps_its_direction(limit, step):
    model = Slope()
    training = TrainingStep(model, [[{}]], torch.optim.SGD(model.parameters(), lr=1.0), clip_norm=limit)
    with EventStorage():
        training.iter = 0
        training.run_step()
    assert (model.a.item(), model.b.item()) == pytest.approx(step, abs=1e-5)


class Regression(nn.Module):
    """Mean squared error over the samples of a batch: the same for a batch in parts as for the whole."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 1)
        nn.init.ones_(self.layer.weight)
        nn.init.zeros_(self.layer.bias)

    def forward(self, batch):
        inputs = torch.stack([sample["x"] for sample in batch])
        targets = torch.stack([sample["y"] for sample in batch])
        return {"loss": ((self.layer(inputs).squeeze(1) - targets) ** 2).mean()}


def one_step(batch, **settings):
    """The model after one step, and the logged losses."""
    model = Regression()
    training = TrainingStep(model, [batch], torch.optim.SGD(model.parameters(), lr=0.1), **settings)
    with EventStorage() as storage:
        training.iter = 0
        training.run_step()
    return model, {name: value for name, (value, _) in storage.latest().items()}


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(0)
    return [
        {"x": torch.randn(3, generator=generator), "y": torch.randn((), generator=generator), "file_name": f"{i}.png"}
        for i in range(5)
    ]


@pytest.mark.parametrize("parts", [2, 3, 5, 9])
def test_a_batch_in_parts_gives_the_step_of_the_whole(batch, parts):
    whole, expected = one_step(batch)
    model, logged = one_step(batch, accumulate=parts)
    assert torch.allclose(model.layer.weight, whole.layer.weight, atol=1e-6)
    assert torch.allclose(model.layer.bias, whole.layer.bias, atol=1e-6)
    for name in ("loss", "total_loss", "gradient_norm"):
        assert logged[name] == pytest.approx(expected[name], rel=1e-5)


def test_bfloat16_trains_float32_weights_on_the_cpu(batch):
    whole, _ = one_step(batch)
    model, _ = one_step(batch, autocast=torch.bfloat16)
    assert model.layer.weight.dtype == torch.float32
    assert not torch.equal(model.layer.weight, whole.layer.weight)
    assert torch.allclose(model.layer.weight, whole.layer.weight, atol=0.02)


def test_precisions_by_name():
    assert autocast_dtype("", "cpu") is None
    assert autocast_dtype("float16", "cuda") == torch.float16
    with pytest.raises(InputError, match="bfloat16"):
        autocast_dtype("float16", "cpu")
    with pytest.raises(InputError, match="half"):
        autocast_dtype("half", "cpu")


@pytest.mark.parametrize(("supported", "expected"), [(True, torch.bfloat16), (False, None)])
def test_auto_is_bfloat16_where_the_processor_has_it(supported, expected, monkeypatch):
    for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        monkeypatch.setattr(torch.cpu, name, lambda: supported, raising=False)
    assert autocast_dtype("auto", "cpu") == expected
    assert autocast_dtype("auto", "meta") is None


def test_a_broken_loss_names_the_images_and_leaves_the_weights(batch):
    batch[3]["y"] = torch.tensor(torch.nan)
    model = Regression()
    training = TrainingStep(model, [batch], torch.optim.SGD(model.parameters(), lr=0.1))
    training.iter = 12
    with EventStorage(), pytest.raises(InputError, match=r"0\.png.*3\.png.*iteration 12.*gradient nan, loss nan"):
        training.run_step()
    assert torch.equal(model.layer.weight, torch.ones(1, 3))


def test_a_broken_gradient_of_a_sound_loss_is_found(batch):
    class Root(Regression):
        def forward(self, batch):
            return {"loss": (self.layer.bias * 0).abs().sqrt().sum()}  # 0, with an infinite slope

    model = Root()
    training = TrainingStep(model, [batch], torch.optim.SGD(model.parameters(), lr=0.1))
    training.iter = 0
    with EventStorage(), pytest.raises(InputError, match="found gradient nan"):
        training.run_step()


def test_float16_skips_broken_gradients_until_its_scale_is_no_cure(batch):
    class Root(Regression):
        def forward(self, batch):
            return {"loss": (self.layer.bias * 0).abs().sqrt().sum()}

    model = Root()
    training = TrainingStep(model, [batch] * 4, torch.optim.SGD(model.parameters(), lr=0.1), torch.float16)
    training.scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    with EventStorage():
        for training.iter, scale in enumerate((2.0, 1.0, 0.5)):
            training.run_step()
            assert training.scaler.get_scale() == scale
        with pytest.raises(InputError, match="found gradient nan"):
            training.run_step()
    assert torch.equal(model.layer.weight, torch.ones(1, 3))


def test_detectron2s_own_complaint_names_the_images_too(batch):
    class Complaint(Regression):
        def forward(self, batch):
            raise FloatingPointError("Predicted boxes or scores contain Inf/NaN. Training has diverged.")

    model = Complaint()
    training = TrainingStep(model, [batch], torch.optim.SGD(model.parameters(), lr=0.1))
    training.iter = 0
    with EventStorage(), pytest.raises(InputError, match=r"4\.png.*Predicted boxes"):
        training.run_step()
