"""The load on the page, for a few seconds: clients of both kinds, on the real server with a random network."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from detectron2.modeling import build_model

import nucleus.modeling  # noqa: F401  registers the architecture
from nucleus.config import load_config

pytest.importorskip("starlette", reason='the page: pip install "nucleus[app]"')
pytest.importorskip("uvicorn", reason='the page: pip install "nucleus[app]"')


def test_a_few_seconds(pytestconfig, tmp_path):
    root = Path(pytestconfig.rootpath)
    cfg = load_config(
        root / "configs" / "quick" / "mask_rcnn_lite0_FPN.yaml",
        ["MODEL.TIMM.WEIGHTS", "", "MODEL.TIMM.NORM", "BN", "INPUT.UPSCALE_SHORT_EDGE", "96"],
    )
    torch.manual_seed(0)
    torch.save({"model": build_model(cfg).state_dict()}, tmp_path / "model.pth")
    (tmp_path / "config.yaml").write_text(cfg.dump())
    command = [sys.executable, "benchmarks/page_load.py", "--weights", str(tmp_path / "model.pth"), "--clients", "8"]
    command += ["--seconds", "3", "--warm-up", "1", "--json", str(tmp_path / "figures.json")]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert figures["uploads"] >= 6 and figures["hostile requests"] >= 2
    assert figures["errors"] == figures["lost"] == figures["temporary files left"] == 0
