"""What happens to a run from outside: signals, killed processes, data that change. Each is done to a real run."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import time
from pathlib import Path

import pytest
import torch

LONG = ("SOLVER.MAX_ITER", 400, "SOLVER.CHECKPOINT_PERIOD", 3, "TEST.PANELS", 0, "TEST.LOSS_IMAGES", 0)
TWO = ("--num-gpus", 0, "--num-processes", 2)


def wait_for_a_checkpoint(process, output: Path) -> None:
    deadline = time.monotonic() + 120
    while not (output / "last_checkpoint").exists():
        assert process.poll() is None, "the run ended before its first checkpoint"
        assert time.monotonic() < deadline, "no checkpoint within two minutes"
        time.sleep(0.02)


def last_checkpoint(output: Path) -> dict:
    """The checkpoint that --resume goes on from, read whole."""
    name = (output / "last_checkpoint").read_text()
    checkpoint = torch.load(output / name, weights_only=True)
    assert {"model", "ema", "trainer", "iteration"} <= checkpoint.keys()
    assert name == f"model_{checkpoint['iteration']:07d}.pth"
    return checkpoint


def descendants(pid: int) -> dict[int, bytes]:
    """Processes below one, with their command lines."""
    found: dict[int, bytes] = {}
    with contextlib.suppress(FileNotFoundError):  # one that has just ended
        for child in map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()):
            found[child] = Path(f"/proc/{child}/cmdline").read_bytes()
            found |= descendants(child)
    return found


@pytest.fixture
def stopping(train, tmp_path):
    """Start a run, let it write a checkpoint, do something to it, and wait for its end."""

    def run(act, *arguments):
        output = tmp_path / "output"
        with (tmp_path / "errors").open("w") as errors:
            process = train.start(*arguments, "OUTPUT_DIR", output, *LONG, errors=errors)
            try:
                wait_for_a_checkpoint(process, output)
                act(process)
                code = process.wait(timeout=120)
            finally:
                process.kill()
        return code, output, (tmp_path / "errors").read_text()

    return run


@pytest.mark.parametrize("processes", [(), TWO], ids=["one process", "two"])
def test_sigterm_saves_and_ends(stopping, train, processes):
    code, output, errors = stopping(lambda process: process.send_signal(signal.SIGTERM), *processes)
    assert code == 128 + signal.SIGTERM, errors[-3000:]
    iteration = last_checkpoint(output)["iteration"]
    (start,) = json.loads((output / "run.json").read_text())["starts"]
    assert start["outcome"] == f"stopped by SIGTERM after iteration {iteration}"
    assert start["end"] is not None
    assert not (output / "model_final.pth").exists()
    train("--resume", "OUTPUT_DIR", output, *LONG, "SOLVER.MAX_ITER", iteration + 3)  # one process goes on for two, too
    starts = json.loads((output / "run.json").read_text())["starts"]
    assert [one["first_iteration"] for one in starts] == [0, iteration + 1]
    assert starts[1]["outcome"] == "finished"


@pytest.mark.parametrize("when", ["in training", "in an evaluation"])
def test_sigterm_to_all_processes_of_a_run_saves_and_ends(stopping, when):
    """As schedulers send it: the data workers get it first, and again."""

    def everybody(process):
        workers = descendants(process.pid)
        assert len(workers) == 1
        deadline = time.monotonic() + 120
        while when == "in an evaluation" and len(workers) < 2:  # those that read the test images have come
            assert time.monotonic() < deadline and process.poll() is None
            time.sleep(0.002)
            workers = descendants(process.pid)
        time.sleep(0.1)  # until torch has set its handlers in the new one
        for pid in (*workers, *workers, process.pid):
            os.kill(pid, signal.SIGTERM)

    settings = ("TEST.EVAL_PERIOD", 3, "DATASETS.TEST", "('bbbc038_synthetic_trainval',)")  # 6 images
    code, output, errors = stopping(everybody, "DATALOADER.NUM_WORKERS", 1, *settings)
    assert code == 128 + signal.SIGTERM, errors[-3000:]
    last_checkpoint(output)


def test_one_of_two_processes_is_killed(stopping):
    def kill_one(process):
        ranks = [pid for pid, command in descendants(process.pid).items() if b"spawn_main" in command]
        os.kill(ranks[1], signal.SIGKILL)

    code, output, errors = stopping(kill_one, *TWO)
    assert code == 1, errors[-3000:]
    assert "terminated with signal SIGKILL" in errors or "Connection closed by peer" in errors
    last_checkpoint(output)


def test_a_data_worker_is_killed(stopping):
    def kill_worker(process):
        command = Path(f"/proc/{process.pid}/cmdline").read_bytes()
        (worker,) = [pid for pid, other in descendants(process.pid).items() if other == command]
        os.kill(worker, signal.SIGKILL)

    code, output, errors = stopping(kill_worker, "DATALOADER.NUM_WORKERS", 1)
    assert code == 2, errors[-3000:]
    assert "DATALOADER.NUM_WORKERS: expected data workers that live as long as the run, found" in errors
    assert "--resume goes on" in errors
    last_checkpoint(output)


def test_annotations_that_change_between_two_starts(train, small_datasets, tmp_path):
    datasets, output = tmp_path / "datasets", tmp_path / "output"
    shutil.copytree(small_datasets, datasets)
    train.env = train.env | {"DETECTRON2_DATASETS": str(datasets)}
    settings = ("OUTPUT_DIR", output, *LONG, "SOLVER.MAX_ITER", 3)
    try:
        train(*settings)
        before = {path.name: path.read_bytes() for path in output.glob("*.pth")}
        file = datasets / "bbbc038_synthetic" / "annotations" / "bbbc038_train.json"
        content = json.loads(file.read_text())
        content["annotations"].pop()
        file.write_text(json.dumps(content))
        done = train.fails("--resume", *settings, "SOLVER.MAX_ITER", 6)
        assert done.returncode == 2
        assert f"{file}: expected the annotations that the run began with, SHA-256 " in done.stderr
        assert {path.name: path.read_bytes() for path in output.glob("*.pth")} == before
        assert "MODEL.WEIGHTS a checkpoint of this one" in done.stderr
    finally:
        train.env = train.env | {"DETECTRON2_DATASETS": str(small_datasets)}
