"""The benchmark of backbones, with one of the nine."""

import importlib.util
import json
import sys

import pytest


@pytest.fixture
def backbones(pytestconfig, monkeypatch):
    spec = importlib.util.spec_from_file_location("backbones", pytestconfig.rootpath / "benchmarks/backbones.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "backbones", module)  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def test_nine_backbones_by_one_override_each(backbones, tmp_path):
    plain = backbones.config_of("resnet18", tmp_path)
    assert len(backbones.BACKBONES) == 9
    for name, key in backbones.BACKBONES.items():
        group = backbones.config_of(name, tmp_path)
        for part in key.split("."):
            group = group[part]
        assert group == name
    assert plain.MODEL.TIMM.NORM == "BN" and not plain.MODEL.TIMM.WEIGHTS


def test_one_is_trained_and_timed_and_one_that_fails_is_named(backbones, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(backbones, "BACKBONES", {"resnet18": "MODEL.TIMM.NAME", "resnet19": "MODEL.TIMM.NAME"})
    assert backbones.main(["--json", str(tmp_path / "rows.json")]) == 1
    good, bad = json.loads((tmp_path / "rows.json").read_text())
    assert good["ok"] and good["weights"] == "random" and 11 < good["parameters"] < 14
    assert good["step"] > 0 and good["image"] > 0
    assert not bad["ok"] and "resnet19" in bad["reason"]
    assert "resnet18" in capsys.readouterr().out
