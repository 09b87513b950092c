"""A run that is really killed, and goes on as if it had not been."""

import json
import shutil
import signal
import time

import pytest
import torch

LONG = ("SOLVER.MAX_ITER", 8, "SOLVER.CHECKPOINT_PERIOD", 3, "TEST.EVAL_PERIOD", 2, "TEST.PANELS", 0,
        "DATASETS.TEST", "('bbbc038_synthetic_train',)", "TEST.SCORE_THRESHOLD", -1.0)  # fmt: skip


def differences(one, other, where=""):
    """Where two checkpoints differ, value by value, tensor by tensor, bit by bit."""
    if isinstance(one, torch.Tensor):
        return [] if isinstance(other, torch.Tensor) and torch.equal(one, other) else [where]
    if isinstance(one, dict):
        assert one.keys() == other.keys(), where
        return [found for key in one for found in differences(one[key], other[key], f"{where}/{key}")]
    if isinstance(one, list | tuple):
        assert len(one) == len(other), where
        pairs = enumerate(zip(one, other, strict=True))
        return [found for i, pair in pairs for found in differences(*pair, f"{where}/{i}")]
    return [] if one == other else [where]


@pytest.fixture(scope="module")
def unbroken(train, tmp_path_factory):
    output = tmp_path_factory.mktemp("unbroken")
    train("OUTPUT_DIR", output, *LONG)
    return output


@pytest.fixture(scope="module")
def killed(train, tmp_path_factory):
    """A folder that a killed run left, its first checkpoint written and steps done after it; with a data worker."""
    output = tmp_path_factory.mktemp("killed")
    process = train.start("OUTPUT_DIR", output, *LONG, "DATALOADER.NUM_WORKERS", 1)
    deadline = time.monotonic() + 120
    while not (output / "last_checkpoint").exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.3)  # on into the steps and evaluations after it
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "the run ended before it could be killed"
    return output


def test_a_killed_run_goes_on_exactly(train, unbroken, killed, tmp_path):
    """With another number of data workers."""
    output = tmp_path / "resumed"
    shutil.copytree(killed, output)
    assert not (output / "model_final.pth").exists()
    train("--resume", "OUTPUT_DIR", output, *LONG, "DATALOADER.NUM_WORKERS", 0)

    for name in ("model_final.pth", "model_best.pth"):
        expected, found = (torch.load(folder / name, weights_only=True) for folder in (unbroken, output))
        assert differences(expected, found) == []
    final = torch.load(output / "model_final.pth", weights_only=True)
    assert final["iteration"] == 7
    best = final["trainer"]["hooks"]["BestCheckpoint"]["iteration"]  # that of the unbroken run, as all else
    assert best in (1, 3, 5, 7)

    recorded = [torch.load(output / name, weights_only=True)["score_threshold"] for name in
                ("model_0000005.pth", "model_final.pth", "model_best.pth")]  # fmt: skip
    assert [one["iteration"] for one in recorded] == [5, 7, best]
    assert {one["data set"] for one in recorded} == {"bbbc038_synthetic_train"}

    iterations = [json.loads(line)["iteration"] for line in (output / "metrics.json").read_text().splitlines()]
    assert sorted(iterations) == [1, 3, 5, 7, 8]  # every evaluation once, and the last step
    starts = json.loads((output / "run.json").read_text())["starts"]
    assert [start["first_iteration"] for start in starts] == [0, 3 * (starts[1]["first_iteration"] // 3)]
    assert [start["end"] is None for start in starts] == [True, False]


def test_the_comparison_sees_a_single_bit(unbroken):
    checkpoint = torch.load(unbroken / "model_final.pth", weights_only=True)
    name = next(name for name, value in checkpoint["ema"].items() if value.is_floating_point() and value.ndim)
    changed = checkpoint["ema"][name].clone()
    changed.view(-1)[0] = torch.nextafter(changed.view(-1)[0], torch.tensor(torch.inf))
    assert differences(checkpoint, checkpoint | {"ema": checkpoint["ema"] | {name: changed}}) == [f"/ema/{name}"]
