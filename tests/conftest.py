"""What tests of several folders share: where the real data are, a small model that finds something, a browser."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

# A busy machine is no failure, and the same commit gives the same result in CI; elsewhere new cases are looked for.
settings.register_profile("nucleus", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("nucleus")


SAFE = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]  # Chromium in a container


@pytest.fixture(scope="session")
def bbbc038_source() -> Path:
    """The folder that $BBBC038_SOURCE names: the archives stage1_{train,test}.zip, stage1_solution.csv and index.csv.

    Skips the test where the variable is not set. A variable that names no folder is a mistake, not a reason to skip.
    """
    value = os.environ.get("BBBC038_SOURCE")
    if not value:
        pytest.skip("real data: set BBBC038_SOURCE to the folder that holds the BBBC038 archives")
    folder = Path(value)
    if not folder.is_dir():
        pytest.fail(f"BBBC038_SOURCE: expected a folder with the BBBC038 archives, found none at {value}")
    return folder


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Headless Chromium: the system's, or else the one that `playwright install chromium` fetches."""
    api = pytest.importorskip("playwright.sync_api", reason="the page in a browser: pip install playwright")
    system = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    with api.sync_playwright() as playwright:
        try:
            browser = playwright.chromium.launch(executable_path=system, args=SAFE)
        except api.Error as error:
            pytest.skip(f"the page in a browser: no Chromium starts ({str(error).splitlines()[0]}); install it, or run "
                        "playwright install chromium")  # fmt: skip
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def random_run(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> Callable[..., Path]:
    """Makes folders like that of a trained run: config.yaml, and model.pth of a random network that finds something."""

    def make(overrides: Sequence[str], *, spread: float = 0.5, bias: float = 0.0) -> Path:
        """The small model of configs/quick with these keys, a normal spread of its class weights, and a bias added to
        the score of being a nucleus."""
        import torch
        from detectron2.modeling import build_model
        from torch import nn

        import nucleus.modeling  # noqa: F401  registers the model parts
        from nucleus.config import load_config

        folder = tmp_path_factory.mktemp("run")
        cfg = load_config(pytestconfig.rootpath / "configs" / "quick" / "mask_rcnn_lite0_FPN.yaml", overrides)
        torch.manual_seed(0)
        model = build_model(cfg)
        nn.init.normal_(model.roi_heads.mask_head.predictor.weight, std=2.0)
        nn.init.normal_(model.roi_heads.box_predictor.cls_score.weight, std=spread)
        model.roi_heads.box_predictor.cls_score.bias.data[0] += bias
        torch.save({"model": model.state_dict()}, folder / "model.pth")
        (folder / "config.yaml").write_text(cfg.dump())
        return folder

    return make
