"""What the tests of the zoo share: a model that finds something, what is known of it, a server with its weights."""

from __future__ import annotations

import contextlib
import hashlib
import http.server
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import nucleus.modeling  # noqa: F401  registers the model parts
from nucleus.config import load_config
from nucleus.data import download
from nucleus.zoo.files import sha256_of
from nucleus.zoo.ship import half_precision, standing_alone, write_weights

OVERRIDES = [
    *("MODEL.TIMM.WEIGHTS", "", "MODEL.TIMM.NORM", "BN", "INPUT.UPSCALE_SHORT_EDGE", "96"),
    *("TEST.DETECTIONS_PER_IMAGE", "60", "SOLVER.AUTOCAST", ""),
]
THRESHOLD = {"value": 0.55, "data set": "bbbc038_val", "iteration": 9}


@pytest.fixture(scope="session")
def run_folder(random_run) -> Path:
    """A run: config.yaml and model.pth, a random network that finds something, whose average is its own weights."""
    folder = random_run(OVERRIDES)
    state = torch.load(folder / "model.pth")["model"]
    averaged = {f"module.{name}": value for name, value in state.items()} | {"n_averaged": torch.tensor(3)}
    plain = {name: torch.zeros_like(value) for name, value in state.items()}
    torch.save({"model": plain, "ema": averaged, "score_threshold": THRESHOLD, "iteration": 9}, folder / "model.pth")
    return folder


@pytest.fixture(scope="session")
def stored(run_folder, tmp_path_factory) -> Path:
    """The same as a model of the zoo: weights.safetensors and config.yaml."""
    folder = tmp_path_factory.mktemp("stored")
    averaged = torch.load(run_folder / "model.pth")["ema"]
    state = {name.removeprefix("module."): value for name, value in averaged.items() if name != "n_averaged"}
    write_weights(folder / "weights.safetensors", half_precision(state), THRESHOLD)
    (folder / "config.yaml").write_text(standing_alone(load_config(run_folder / "config.yaml"), "tiny").dump())
    return folder


@pytest.fixture
def facts() -> Callable[..., dict[str, Any]]:
    """What model.json says, for weights of some bytes; keys given replace those at the top."""

    def make(name: str = "tiny", weights: bytes = b"weights", url: str | None = None, **changes: Any) -> dict[str, Any]:
        score = {"value": 0.5, "low": 0.25, "high": 0.75}
        group = {
            "images": 3,
            "nuclei": 30,
            "image_mean": {"DSB score": score},
            "pooled": {"COCO AP (masks)": {"value": 0.4}},
            "units": 2,
        }
        evaluation = {
            "threshold": 0.55,
            "interval": "95% intervals",
            "groups": {"overall": group, "purple_tissue": group},
        }
        run = {
            "command": "nucleus train",
            "config_sha256": "0" * 64,
            "seed": 0,
            "hardware": "cpu, 2 threads",
            "hours": 1.5,
            "steps": 10,
            "images": 40,
            "data": {"bbbc038_train": None},
            "versions": {"torch": "2.4"},
        }
        return {
            "format": "nucleus model 1",
            "name": name,
            "summary": "Mask R-CNN on something",
            "weights": {"file": "weights.safetensors", "bytes": len(weights), "precision": "float16", "url": url,
                        "sha256": hashlib.sha256(weights).hexdigest()},
            "parameters": 4_000_000,
            "score_threshold": {"value": 0.55, "data_set": "bbbc038_val"},
            "licence": {"weights": "Apache-2.0", "data": "BBBC038, CC0-1.0"},
            "trained_on": ["bbbc038_train"],
            "training": [run],
            "scores": {"bbbc038_test": evaluation},
        } | changes  # fmt: skip

    return make


@pytest.fixture
def zoo(tmp_path, monkeypatch) -> Path:
    """An empty folder that $NUCLEUS_ZOO names, and a cache beside it."""
    folder = tmp_path / "zoo"
    folder.mkdir()
    monkeypatch.setenv("NUCLEUS_ZOO", str(folder))
    monkeypatch.setenv("NUCLEUS_CACHE", str(tmp_path / "cache"))
    return folder


@pytest.fixture
def add(zoo, facts) -> Callable[..., Path]:
    """Put a model into the zoo: model.json, an empty config and the weights, unless they have an address."""

    def put(name: str = "tiny", weights: bytes = b"weights", url: str | None = None, **changes: Any) -> Path:
        folder = zoo / name
        folder.mkdir()
        (folder / "model.json").write_text(json.dumps(facts(name, weights, url, **changes)))
        (folder / "config.yaml").write_text("VERSION: 2\n")
        if url is None:
            (folder / "weights.safetensors").write_bytes(weights)
        return folder

    return put


@pytest.fixture
def tiny(zoo, facts, stored) -> Path:
    """A model that works, named tiny, in the zoo."""
    folder = zoo / "tiny"
    folder.mkdir()
    for name in ("weights.safetensors", "config.yaml"):
        (folder / name).write_bytes((stored / name).read_bytes())
    path = folder / "weights.safetensors"
    known = facts() | {"weights": facts()["weights"] | {"bytes": path.stat().st_size, "sha256": sha256_of(path)}}
    (folder / "model.json").write_text(json.dumps(known))
    return folder


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves server.content at server.address, from where it is asked for, and hangs up after server.cut bytes."""

    def do_GET(self) -> None:
        server: Any = self.server
        server.requests.append(self.path)
        if self.path != "/models/weights.safetensors":
            self.send_error(404)
            return
        start = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").rstrip("-"))
        content = server.content[start:]
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(server.content) - 1}/{len(server.content)}")
        self.send_header("ETag", '"1"')
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        with contextlib.suppress(ConnectionError):  # who asked may have hung up
            self.wfile.write(content if server.cut is None else content[: server.cut])

    def log_message(self, *arguments: Any) -> None:
        pass


@pytest.fixture
def server(monkeypatch) -> Iterator[Any]:
    """A web server on this machine."""
    monkeypatch.setattr(download, "PAUSE", 0.01)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    made: Any = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.content, made.cut, made.requests = b"weights", None, []
    made.address = f"http://127.0.0.1:{made.server_port}/models/weights.safetensors"
    thread = threading.Thread(target=made.serve_forever, args=(0.01,))
    thread.start()
    yield made
    made.shutdown()
    thread.join()
    made.server_close()
