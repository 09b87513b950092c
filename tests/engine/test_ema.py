import pytest
import torch
from torch import nn

from nucleus.engine.ema import WARM_UP, build_ema


def test_the_average_follows_the_written_rule():
    model = nn.Linear(1, 1, bias=False)
    nn.init.constant_(model.weight, 0.0)
    ema = build_ema(model, decay=0.5)
    expected = 0.0
    for step in range(6):
        nn.init.constant_(model.weight, float(step + 1))
        ema.update_parameters(model)
        # AveragedModel copies the first weights; after that the decay grows with the number of averages taken.
        decay = min(0.5, (1 + step) / (WARM_UP + step)) if step else 0.0
        expected = decay * expected + (1 - decay) * (step + 1)
        assert ema.module.weight.item() == pytest.approx(expected)


def test_counters_are_copied_and_statistics_averaged():
    model = nn.BatchNorm1d(2)
    ema = build_ema(model, decay=0.9)
    for _ in range(3):
        model(torch.randn(8, 2))
        ema.update_parameters(model)
    assert ema.module.num_batches_tracked == 3
    assert not torch.equal(ema.module.running_mean, torch.zeros(2))


def test_the_average_goes_on_after_a_checkpoint():
    model = nn.Linear(3, 2)
    first = build_ema(model, decay=0.9)
    first.update_parameters(model)
    second = build_ema(nn.Linear(3, 2), decay=0.9)
    second.load_state_dict(first.state_dict())
    nn.init.ones_(model.weight)
    for ema in (first, second):
        ema.update_parameters(model)
    assert torch.equal(first.module.weight, second.module.weight)
