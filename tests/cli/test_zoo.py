"""`nucleus zoo`, and the commands that take a model by its name."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from nucleus.cli.main import run_command

SCORE = {"value": 0.5, "low": 0.25, "high": 0.75}
GROUP = {"images": 3, "nuclei": 30, "image_mean": {"DSB score": SCORE}, "pooled": {}}


@pytest.fixture
def zoo(tmp_path, monkeypatch) -> Path:
    """A zoo with the model tiny, whose weights are seven bytes that are none."""
    folder = tmp_path / "zoo" / "tiny"
    folder.mkdir(parents=True)
    content = {
        "format": "nucleus model 1",
        "name": "tiny",
        "summary": "Mask R-CNN on something",
        "weights": {"file": "weights.safetensors", "bytes": 7, "precision": "float16",
                    "sha256": hashlib.sha256(b"weights").hexdigest()},
        "parameters": 4_000_000,
        "score_threshold": {"value": 0.55, "data_set": "bbbc038_val"},
        "licence": {"weights": "Apache-2.0", "data": "BBBC038, CC0-1.0"},
        "trained_on": ["bbbc038_train"],
        "training": [],
        "scores": {"bbbc038_test": {"threshold": 0.55, "interval": "", "groups": {"overall": GROUP}}},
    }  # fmt: skip
    (folder / "model.json").write_text(json.dumps(content))
    (folder / "weights.safetensors").write_bytes(b"weights")
    (folder / "config.yaml").write_text("VERSION: 2\n")
    monkeypatch.setenv("NUCLEUS_ZOO", str(folder.parent))
    return folder.parent


def test_list_and_one(zoo, capsys):
    assert run_command("zoo", []) == 0
    listed = capsys.readouterr().out
    assert listed.startswith("tiny: Mask R-CNN on something\n  size       0.0 MB, 4.0 M parameters, nothing to fetch\n")
    assert "DSB score 0.500 (0.250 to 0.750) on bbbc038_test" in listed
    assert run_command("zoo", ["tiny"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith(listed.rstrip()) and str(zoo / "tiny" / "weights.safetensors") in shown


def test_json(zoo, capsys):
    assert run_command("zoo", ["--json"]) == 0
    every = json.loads(capsys.readouterr().out)
    assert run_command("zoo", ["tiny", "--json"]) == 0
    assert every == [json.loads(capsys.readouterr().out)]
    assert every[0]["scores"]["bbbc038_test"]["groups"]["overall"]["image_mean"]["DSB score"] == SCORE


def test_fetch_checks_what_ships(zoo, capsys):
    assert run_command("zoo", ["tiny", "--fetch"]) == 0
    (zoo / "tiny" / "weights.safetensors").write_bytes(b"Weights")
    for arguments in (["tiny", "--fetch"], ["--fetch"]):
        assert run_command("zoo", arguments) == 2
        assert "expected 7 bytes with SHA-256" in capsys.readouterr().err


def test_an_empty_zoo_and_an_unknown_name(tmp_path, zoo, monkeypatch, capsys):
    assert run_command("zoo", ["tini"]) == 2
    assert "model tini: expected one of tiny, found none of this name. Did you mean tiny?" in capsys.readouterr().err
    (tmp_path / "empty").mkdir()
    monkeypatch.setenv("NUCLEUS_ZOO", str(tmp_path / "empty"))
    assert run_command("zoo", []) == 0
    assert capsys.readouterr().out.startswith("No model ships with this version yet. Train one")
    assert run_command("zoo", ["--json"]) == 0
    assert json.loads(capsys.readouterr().out) == []


def test_no_torch_for_it_nor_for_a_wrong_model(zoo, tmp_path):
    """Of the commands that take a model, each says what is wrong before it imports what takes seconds."""
    (tmp_path / "a.png").touch()
    (tmp_path / "model.pth").touch()
    predict = [str(tmp_path / "a.png"), "--output", str(tmp_path / "out")]
    own = ["--weights", str(tmp_path / "model.pth")]
    cases = [
        ("zoo", [], ""),
        ("zoo", ["tiny", "--fetch", "--json"], ""),
        ("predict", predict, "model lite: expected one of tiny, found none of this name"),
        ("predict", [*predict, "--model", "tini"], "Did you mean tiny?"),
        ("predict", [*predict, "--model", "tiny", *own], "found a name and weights. Leave one out"),
        ("predict", [*predict, "--model", "tiny", "--config-file", "c.yaml"], "found a name and a config"),
        ("predict", [*predict, "--config-file", "c.yaml"], "c.yaml: expected weights that were trained with this"),
        ("predict", [*predict, *own], "config.yaml: expected the config that the weights were trained with"),
        ("predict", [*predict, *own, "--config-file", str(zoo / "tiny" / "config.yaml"), "--tile", "1"], "256 or more"),
        ("predict", [*predict, "--weights", "detectron2://x.pth", "--config-file", str(zoo / "tiny" / "config.yaml")],
         "detectron2://x.pth: expected a file, found an address"),
        ("train", ["--config-file", "nucleus://tini"], "Did you mean tiny?"),
    ]  # fmt: skip
    code = """
import contextlib, io, json, sys
from nucleus.cli.main import run_command
for name, arguments, expected in json.loads(sys.argv[1]):
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
        try:
            code = run_command(name, arguments)
        except SystemExit as end:
            code = end.code
    assert code == (2 if expected else 0) and expected in said.getvalue(), (name, arguments, code, said.getvalue())
print(*sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code, json.dumps(cases)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert not {"torch", "detectron2", "torchvision", "timm"} & set(done.stdout.split())


def test_the_page_without_a_model(zoo, capsys):
    pytest.importorskip("starlette", reason="the page needs its extra")
    assert run_command("app", ["--port", "0"]) == 2
    assert "model lite: expected one of tiny" in capsys.readouterr().err
