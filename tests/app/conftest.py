"""What the tests of the page share: a model of random weights that finds something, and the page around it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from nucleus.app.examples import Example
from nucleus.inference.predictor import Model, load_model

OVERRIDES = [
    *("MODEL.TIMM.WEIGHTS", "", "MODEL.TIMM.NORM", "BN", "INPUT.UPSCALE_SHORT_EDGE", "96"),
    *("TEST.DETECTIONS_PER_IMAGE", "60", "TEST.SCORE_THRESHOLD", "0.5", "MODEL.ROI_HEADS.NMS_THRESH_TEST", "0.3"),
]


@pytest.fixture(scope="session")
def weights(random_run) -> Path:
    """Of a random network with confident, various scores, on both sides of 0.5."""
    return random_run(OVERRIDES, spread=0.04, bias=-4.0) / "model.pth"


@pytest.fixture(scope="session")
def model(weights) -> Model:
    return load_model(weights=weights, device="cpu")


@pytest.fixture(scope="session")
def image() -> np.ndarray:
    """96 x 128 pixels of RGB with some structure."""
    noise = np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)
    return cv2.resize(noise, (128, 96), interpolation=cv2.INTER_CUBIC)


@pytest.fixture(scope="session")
def png(image) -> bytes:
    return cv2.imencode(".png", image[..., ::-1])[1].tobytes()


@pytest.fixture(scope="session")
def examples(png) -> list[Example]:
    return [Example("first", "First <example>", png)]


class Server:
    """`nucleus app` as a user runs it, in a process of its own."""

    def __init__(self, weights: Path, *arguments: str) -> None:
        command = [sys.executable, "-m", "nucleus", "app", "--weights", str(weights), "--device", "cpu", "--port", "0"]
        env = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
        self.process = subprocess.Popen(
            [*command, *arguments], env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        self.said = self.process.stdout.readline()
        found = re.search(r"http://\S+:(\d+)", self.said)
        assert found, f"expected the address of the page, found {self.said!r}"
        self.port = int(found[1])
        self.address = f"http://127.0.0.1:{self.port}"


@pytest.fixture(scope="session")
def server(weights) -> Iterator[Server]:
    pytest.importorskip("starlette", reason='the page: pip install "nucleus[app]"')
    pytest.importorskip("uvicorn", reason='the page: pip install "nucleus[app]"')
    server = Server(weights)
    yield server
    server.process.terminate()
    server.process.wait(10)
