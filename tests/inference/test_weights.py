"""What can be loaded for prediction; checkpoints of training are in tests/engine/test_trainer.py."""

from __future__ import annotations

import pickle

import pytest
import torch
from torch import nn

from nucleus.errors import InputError
from nucleus.inference.weights import load_trained_weights


def test_half_precision_becomes_the_models(tmp_path):
    from safetensors.torch import save_file

    save_file({"weight": torch.full((2, 3), 0.1).half(), "bias": torch.ones(2)}, tmp_path / "w.safetensors")
    model = nn.Linear(3, 2)
    load_trained_weights(model, str(tmp_path / "w.safetensors"))
    assert model.weight.dtype == torch.float32
    assert torch.equal(model.weight, torch.full((2, 3), 0.1).half().float())


def test_mask_scoring_that_the_model_lacks_is_left_out(tmp_path):
    """And nothing else is."""
    model = nn.ModuleDict({"roi_heads": nn.ModuleDict({"predictor": nn.Linear(3, 2)})})
    state = {"roi_heads.predictor.weight": torch.ones(2, 3), "roi_heads.predictor.bias": torch.ones(2)}
    branch = {"roi_heads.mask_scoring.predictor.weight": torch.zeros(1, 4)}
    torch.save({"model": state | branch}, tmp_path / "w.pth")
    load_trained_weights(model, str(tmp_path / "w.pth"))
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    torch.save({"model": state | {"roi_heads.mask_scores": torch.zeros(1)}}, tmp_path / "w.pth")
    with pytest.raises(InputError, match=r"expected weights of the model that the config describes.*mask_scores"):
        load_trained_weights(model, str(tmp_path / "w.pth"))
    torch.save({"model": state}, tmp_path / "w.pth")
    model["roi_heads"]["mask_scoring"] = nn.Linear(3, 2)
    with pytest.raises(InputError, match=r"Missing key.*mask_scoring\.weight"):
        load_trained_weights(model, str(tmp_path / "w.pth"))


def test_a_pickle_of_detectron2(tmp_path):
    class Evil:
        def __reduce__(self):
            return (tmp_path.joinpath("witness").touch, ())

    model = nn.Linear(3, 2)
    arrays = {name: value.numpy() + 1 for name, value in model.state_dict().items()}
    (tmp_path / "good.pkl").write_bytes(pickle.dumps({"model": arrays, "__author__": "somebody"}))
    (tmp_path / "evil.pkl").write_bytes(pickle.dumps({"model": Evil(), "__author__": "somebody"}))
    load_trained_weights(model, str(tmp_path / "good.pkl"))
    assert torch.equal(model.weight, torch.from_numpy(arrays["weight"]))
    with pytest.raises(InputError, match=r"evil\.pkl: expected weights as arrays, found .*could run code"):
        load_trained_weights(model, str(tmp_path / "evil.pkl"))
    assert not (tmp_path / "witness").exists()


def test_a_model_that_is_not_there(tmp_path, monkeypatch):
    monkeypatch.setenv("NUCLEUS_ZOO", str(tmp_path))
    with pytest.raises(InputError, match="model lite: expected a model that ships, found none"):
        load_trained_weights(nn.Linear(3, 2), "nucleus://lite")
