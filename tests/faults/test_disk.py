"""Disks that are full, and disks that cannot be written to, under the real commands in processes of their own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from kill_often import Case, make_case
from safetensors.torch import save_file

from nucleus.formats.disk_array import DiskArray
from nucleus.modeling.score_threshold import record_score_threshold

# Size in KiB at which the disk is full in the middle of the output.
SIZES = {"prepare": 300, "predict": 60, "evaluate": 200, "train": 4_000}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("inputs")


@pytest.fixture
def case(request: pytest.FixtureRequest, inputs: Path, disk) -> Case:
    """The command, writing into a folder of the disk; what an unbroken run gives is known."""
    case = make_case(request.param, inputs)
    unbroken = run(request.param, case)
    assert unbroken.returncode == 0, unbroken.stderr
    case.check(True)
    shutil.rmtree(case.output)
    case.output.symlink_to(disk.folder / "output")  # the same arguments, on the disk
    (disk.folder / "output").mkdir()
    yield case
    case.output.unlink()


def run(name: str, case: Case) -> subprocess.CompletedProcess[str]:
    environment = os.environ | case.environment | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "nucleus", name, *case.arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True)


def test_a_file_of_a_large_image_claims_its_room_at_once(disk):
    """Later, a full disk would kill the process."""
    disk.change("size=1m")
    with pytest.raises(OSError, match="No space left on device"):
        DiskArray(disk.folder / "labels.raw", np.int32, (1000, 1000), "w+")
    assert list(disk.folder.iterdir()) == []


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_threshold_is_not_recorded_on_a_full_disk(disk, suffix):
    weights = disk.folder / f"model{suffix}"
    tensors = {"weight": torch.zeros(200_000)}
    torch.save({"model": tensors}, weights) if suffix == ".pth" else save_file(tensors, weights)
    before = weights.read_bytes()
    disk.change("size=1m")
    with pytest.raises(OSError, match="No space left on device"):
        record_score_threshold(weights, {"value": 0.7})
    assert weights.read_bytes() == before


@pytest.mark.parametrize("case", SIZES, indirect=True)
def test_a_disk_that_cannot_be_written_to_and_one_that_is_full(request, case, disk):
    name = request.node.callspec.params["case"]
    for state, found in (("ro", "Read-only file system"), (f"rw,size={SIZES[name]}k", "No space left on device")):
        disk.change(state)
        done = run(name, case)
        assert done.returncode == 2, done.stdout[-1500:] + done.stderr[-1500:]
        assert "Traceback" not in done.stderr, done.stderr[-3000:]
        assert found in done.stderr, done.stderr[-1500:]
        case.check(False)
    disk.change("size=900m")
    done = run(name, case)
    assert done.returncode == 0, done.stderr[-1500:]
    case.check(True)
