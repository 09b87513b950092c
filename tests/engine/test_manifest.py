import hashlib
import json
import subprocess
from pathlib import Path

import pytest
from detectron2.data import MetadataCatalog

from nucleus.config import load_config
from nucleus.engine.manifest import _source, describe_run, run_manifest


@pytest.fixture
def cfg(pytestconfig, squares, tmp_path):
    overrides = ["OUTPUT_DIR", str(tmp_path), "DATASETS.TRAIN", f"('{squares}',)", "DATASETS.TEST", f"('{squares}',)"]
    return load_config(pytestconfig.rootpath / "configs/quick/mask_rcnn_lite0_FPN.yaml", overrides)


def entries(cfg):
    return json.loads((Path(cfg.OUTPUT_DIR) / "run.json").read_text())["starts"]


def test_an_entry_says_what_ran_and_reproduces_its_config(cfg, tmp_path):
    with run_manifest(cfg) as entry:
        assert entries(cfg)[0]["end"] is None  # what a killed run leaves
        entry["scores"] = {"DSB score": 0.5, "undefined": float("nan")}
    (found,) = entries(cfg)
    assert found["outcome"] == "finished" and found["start"] <= found["end"]
    assert found["scores"] == {"DSB score": 0.5, "undefined": None}
    assert found["seed"] == 0 and found["versions"]["torch"]
    json_file = Path(MetadataCatalog.get("squares").json_file)
    assert found["data"]["squares"]["sha256"] == hashlib.sha256(json_file.read_bytes()).hexdigest()
    (tmp_path / "again.yaml").write_text(found["config"])
    again = load_config(tmp_path / "again.yaml")
    assert describe_run(again)["config sha256"] == found["config sha256"]
    again.SOLVER.MAX_ITER += 1
    assert describe_run(again)["config sha256"] != found["config sha256"]


def test_every_start_adds_an_entry_and_a_failure_is_recorded(cfg):
    with run_manifest(cfg):
        pass
    with pytest.raises(ValueError, match="broken"), run_manifest(cfg):
        raise ValueError("broken")
    assert [entry["outcome"] for entry in entries(cfg)] == ["finished", "ValueError: broken"]


def test_a_file_that_is_no_manifest_is_kept(cfg, tmp_path):
    (tmp_path / "run.json").write_text("mine")
    with run_manifest(cfg):
        pass
    assert len(entries(cfg)) == 1
    assert (tmp_path / "run.unreadable.json").read_text() == "mine"


def test_the_commit_of_a_checkout_and_whether_it_was_changed(tmp_path):
    def git(*arguments):
        identity = ["-c", "user.name=n", "-c", "user.email=e@example.org"]
        command = ["git", "-C", str(tmp_path), *identity, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    assert _source(tmp_path) is None
    git("init", "-q")
    (tmp_path / "__init__.py").write_text("")
    assert _source(tmp_path) is None  # a folder inside a checkout, not part of it
    git("add", "__init__.py")
    git("commit", "-q", "-m", "first")
    assert _source(tmp_path) == {"commit": git("rev-parse", "HEAD"), "modified": False}
    (tmp_path / "__init__.py").write_text("changed")
    assert _source(tmp_path)["modified"]
