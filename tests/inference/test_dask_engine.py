"""The engine with two real worker processes and a small model of random weights: the files of a local run, also when
workers are killed."""

from __future__ import annotations

import hashlib
import os
import signal
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tifffile

from nucleus.cli.main import run_command
from nucleus.errors import InputError
from nucleus.formats.image_source import ImageSource
from nucleus.inference.exports import formats_named
from nucleus.inference.image_files import find_images
from nucleus.inference.output_folder import Output
from nucleus.inference.predict_files import Reading, Report, predict_files
from nucleus.zoo.files import ModelFiles, sha256_of

distributed = pytest.importorskip("distributed", reason="the extra dask is not installed")

from nucleus.inference import dask_engine  # noqa: E402
from nucleus.inference.dask_cluster import local_cluster  # noqa: E402
from nucleus.inference.dask_engine import predict_files_on_dask  # noqa: E402
from nucleus.inference.dask_tasks import ModelChoice  # noqa: E402

OVERRIDES = [
    *("MODEL.TIMM.WEIGHTS", "", "MODEL.TIMM.NORM", "BN", "INPUT.UPSCALE_SHORT_EDGE", "0", "SOLVER.AUTOCAST", ""),
    *("TEST.DETECTIONS_PER_IMAGE", "40", "TEST.SCORE_THRESHOLD", "0.0", "MODEL.RPN.POST_NMS_TOPK_TEST", "60"),
]
FORMATS = "labels,coco"
TILE = 256


class StoppedError(Exception):
    """In place of a user who has had enough."""


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    """uint8 (H, W, 3) with some structure."""
    noise = np.random.default_rng(seed).integers(0, 256, (height // 8, width // 8, 3), dtype=np.uint8)
    return cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)


@pytest.fixture(scope="module")
def choice(random_run) -> ModelChoice:
    from nucleus.config import load_config

    folder = random_run(OVERRIDES)
    config = hashlib.sha256(load_config(folder / "config.yaml").dump().encode()).hexdigest()
    files = ModelFiles(str(folder / "model.pth"), folder / "config.yaml")
    return ModelChoice(files, sha256_of(files.weights), config, "cpu", 0.0)


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> Path:
    """Small images, two of one name, a file that is no image, and a large image among them."""
    folder = tmp_path_factory.mktemp("images")
    (folder / "below").mkdir()
    for number in range(8):
        cv2.imwrite(str(folder / f"small_{number}.png"), picture(64, 64, seed=number))
    cv2.imwrite(str(folder / "below" / "small_3.png"), picture(64, 80, seed=99))
    (folder / "bad.png").write_bytes(b"no picture")
    tifffile.imwrite(folder / "large.tif", picture(400, 520), tile=(128, 128), compression="zlib", photometric="rgb")
    return folder


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """What --workers 2 starts."""
    with local_cluster(2, bool) as cluster:
        yield cluster


class Run:
    """Runs into one folder, locally and on Dask."""

    def __init__(self, choice: ModelChoice, images: Path, output: Path, cluster: Any = None) -> None:
        self.choice = choice
        self.images = images
        self.output = output
        self.cluster = cluster

    def _how(self, more: dict[str, Any]) -> dict[str, Any]:
        settings = {"weights": self.choice.weights_sha256}
        output = Output(self.output, formats_named(FORMATS), settings, overwrite=False)
        given = find_images([more.pop("input", self.images)])
        return {"images": given, "output": output, "reading": Reading(), "tile": TILE} | more

    def local(self, **more: Any) -> Report:
        import torch

        threads = torch.get_num_threads()
        torch.set_num_threads(self.choice.threads)  # on some processors the last digits depend on it
        try:
            return predict_files(model=self.choice.load(), **self._how(more))
        finally:
            torch.set_num_threads(threads)

    def dask(self, **more: Any) -> Report:
        return predict_files_on_dask(model=self.choice, **{"scheduler": self.cluster} | self._how(more))

    def files(self) -> dict[str, bytes]:
        """All files, also the hidden ones."""
        paths = sorted(path for path in self.output.rglob("*") if path.is_file())
        return {path.relative_to(self.output).as_posix(): path.read_bytes() for path in paths}


@pytest.fixture(scope="module")
def local(choice, images, tmp_path_factory) -> tuple[dict[str, bytes], Report]:
    """A local run: what it wrote and said."""
    run = Run(choice, images, tmp_path_factory.mktemp("expected") / "output")
    report = run.local()
    assert len(report.done) == 10 and len(report.failed) == 1
    assert max(done.tiles for done in report.done) > 9 and min(done.nuclei for done in report.done) > 3
    return run.files(), report


def test_a_worker_loads_what_was_asked_for(choice):
    model = replace(choice, threshold=0.3, views=2, expand=0.5, scale=0.7).load()
    assert (model.threshold, model.network.views, model.network.expand, model.scale) == (0.3, 2, 0.5, 0.7)


@pytest.fixture
def expected(local) -> dict[str, bytes]:
    return local[0]


@pytest.fixture
def run(choice, images, tmp_path, cluster) -> Run:
    return Run(choice, images, tmp_path / "output", cluster)


def summary(report: Report) -> tuple[list[str], list[str], dict[str, str]]:
    failed = {path.name: str(error) for path, error in report.failed.items()}
    return [one.name for one in report.done], [one.name for one in report.skipped], failed


def visible(files: dict[str, bytes]) -> dict[str, bytes]:
    return {name: content for name, content in files.items() if not name.startswith(".nucleus")}


def kill(cluster: Any, number: int) -> None:
    os.kill(list(cluster.workers.values())[number].pid, signal.SIGKILL)


def test_the_same_files_and_errors(run, images, local):
    outcomes: list[str] = []
    tiles: list[tuple[int, int]] = []
    report = run.dask(on_image=lambda image, outcome: outcomes.append(image.name),
                      on_tiles=lambda image, done, of: tiles.append((done, of)))  # fmt: skip
    expected, said = local
    assert run.files() == expected
    assert summary(report) == summary(said)
    assert report.done == said.done
    assert sorted(outcomes) == sorted(image.name for image in find_images([images]))
    assert tiles[-1] == (tiles[-1][1],) * 2 == (report.done[1].tiles,) * 2
    assert [one.name for one in report.done][:2] == ["below/small_3", "large"]
    assert summary(run.dask())[1] == summary(said)[0]  # all skipped
    assert run.files() == expected


def test_a_worker_killed_among_the_tiles(run, cluster, expected):
    outcomes: Counter[str] = Counter()
    killed: list[bool] = []

    def kill_once(image: Any, done: int, of: int) -> None:
        if not killed:
            assert done < of / 2
            killed.append(True)
            kill(cluster, 0)

    report = run.dask(on_tiles=kill_once, on_image=lambda image, outcome: outcomes.update([image.name]))
    assert killed
    assert run.files() == expected
    assert len(report.done) == 10 and not report.skipped and len(report.failed) == 1
    assert set(outcomes.values()) == {1} and len(outcomes) == 11


@pytest.mark.parametrize("first", ["local", "dask"])
def test_begun_on_one_and_finished_on_the_other(run, expected, first):
    def stop(image: Any, done: int, of: int) -> None:
        if done >= 3:
            raise StoppedError

    with pytest.raises(StoppedError):
        getattr(run, first)(on_tiles=stop)
    tiles = list((run.output / ".nucleus" / "tiles" / "large.tiles").glob("tile_*.npz"))
    assert len(tiles) >= 3
    getattr(run, "dask" if first == "local" else "local")()
    rest = {name: content for name, content in run.files().items() if not name.startswith(".nucleus/tiles/")}
    assert rest == expected  # a tile that was under way when the Dask run stopped may come after that


def test_an_output_that_cannot_be_written(run):
    (run.output / ".nucleus" / "files" / "small_5.json").mkdir(parents=True)
    with pytest.raises(OSError, match="small_5"):
        run.dask()


def test_workers_that_do_not_fit(run, choice, monkeypatch):
    monkeypatch.setattr(dask_engine, "versions", lambda: {"torch": "0.1", "python": "2.7"})
    with pytest.raises(
        InputError, match=r"Dask worker .* expected the versions of the run, torch 0.1, python 2.7, found"
    ):
        run.dask()
    monkeypatch.undo()
    monkeypatch.setattr(Output, "absolute", lambda self: Output(self.folder / "x", self.formats, {}, overwrite=False))
    with pytest.raises(InputError, match="expected the output folder, seen by the Dask worker"):
        run.dask()
    monkeypatch.undo()
    run.choice = ModelChoice(choice.files, "0" * 64, choice.config_sha256, "cpu", 0.0)
    run.output = run.output.with_name("other")
    with pytest.raises(InputError, match=r"model.pth: expected on .* SHA-256 0000"):
        run.dask()
    assert not (run.output / ".nucleus" / "token").exists()


def predict(images: Path, output: Path, choice: ModelChoice, *arguments: str) -> int:
    rest = ["--weights", choice.files.weights, "--format", FORMATS, "--tile", str(TILE)]
    return run_command("predict", [str(images), "--output", str(output), *rest, *arguments])


def test_the_command(choice, images, tmp_path, cluster, expected, capfd):
    """Relative paths, and TLS as Dask's own settings give it."""
    import dask

    security = cluster.security
    tls = {"ca-file": security.tls_ca_file, "client.cert": security.tls_client_cert,
           "client.key": security.tls_client_key}  # fmt: skip
    relative = Path(os.path.relpath(images))
    output = Path(os.path.relpath(tmp_path)) / "output"
    with dask.config.set({f"distributed.comm.tls.{name}": value for name, value in tls.items()}):
        assert predict(relative, output, choice, "--engine", "dask", "--scheduler", cluster.scheduler_address) == 1
    printed = capfd.readouterr()
    assert printed.out.startswith("10 images done in ")
    assert f"nucleus predict: {relative / 'bad.png'}: expected a whole PNG" in printed.err
    written = Run(choice, images, tmp_path / "output").files()
    assert visible(written) == visible(expected)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--workers", "2"], "--workers: expected --engine dask with it"),
        (["--scheduler", "tcp://x:1"], "--scheduler: expected --engine dask with it"),
        (
            ["--engine", "dask", "--scheduler", "tcp://x:1", "--workers", "2"],
            "expected either --scheduler or --workers",
        ),
    ],
)
def test_options_that_do_not_fit(choice, images, tmp_path, capfd, arguments, message):
    assert predict(images, tmp_path / "output", choice, *arguments) == 2
    assert message in capfd.readouterr().err


def test_an_image_that_kills_its_workers(run, cluster, images, expected, monkeypatch):
    """The last test: new workers take seconds to start."""

    class Killing(Reading):
        def open(self, path: Path) -> ImageSource:
            if path.name == "small_7.png":
                os.kill(os.getpid(), signal.SIGKILL)
            return super().open(path)

    monkeypatch.setattr(cluster.scheduler, "allowed_failures", 0)  # else it takes four workers
    report = run.dask(reading=Killing())
    assert {path.name for path in report.failed} == {"bad.png", "small_7.png"}
    assert "expected an image that the workers survive" in str(report.failed[images / "small_7.png"])
    monkeypatch.undo()
    assert [one.name for one in run.local().done] == ["small_7"]
    assert run.files() == expected
