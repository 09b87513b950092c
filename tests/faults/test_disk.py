"""Disks that are full, and disks that cannot be written to, under the real commands in processes of their own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from kill_often import Case, make_case

# Sizes at which the disk is full: at the first file, and in the middle of the output.
SIZES = {"prepare": (4, 300), "predict": (4, 150), "evaluate": (4, 200), "train": (4, 4_000)}


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


@pytest.mark.parametrize("case", SIZES, indirect=True)
def test_a_full_disk(request, case, disk):
    name = request.node.callspec.params["case"]
    for size in SIZES[name]:
        disk.change(f"size={size}k")
        done = run(name, case)
        assert done.returncode == 2, done.stdout[-1500:] + done.stderr[-1500:]
        assert "Traceback" not in done.stderr, done.stderr[-3000:]
        assert "No space left on device" in done.stderr, done.stderr[-1500:]
        case.check(False)
    disk.change("size=900m")
    done = run(name, case)
    assert done.returncode == 0, done.stderr[-1500:]
    case.check(True)


@pytest.mark.parametrize("case", SIZES, indirect=True)
def test_a_disk_that_cannot_be_written_to(request, case, disk):
    name = request.node.callspec.params["case"]
    disk.change("ro")
    done = run(name, case)
    assert done.returncode == 2, done.stdout[-1500:] + done.stderr[-1500:]
    assert "Traceback" not in done.stderr, done.stderr[-3000:]
    assert "Read-only file system" in done.stderr, done.stderr[-1500:]
    disk.change("rw")
    assert run(name, case).returncode == 0
    case.check(True)
