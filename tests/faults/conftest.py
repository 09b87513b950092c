"""What the tests of faults share: commands with small inputs, and a disk of their own that can be full or closed."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))  # for kill_often.py


class Disk:
    """A file system in memory.

    Args:
        folder: where it is mounted.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()

    def mount(self, *options: str) -> None:
        """Make it.

        Raises:
            subprocess.CalledProcessError: only root may.
        """
        command = ["mount", "-t", "tmpfs", "-o", ",".join(options), "none", str(self.folder)]
        subprocess.run(command, check=True, capture_output=True)

    def change(self, *options: str) -> None:
        """Another size, or "ro"."""
        subprocess.run(["mount", "-o", ",".join(("remount", *options)), str(self.folder)], check=True)

    def unmount(self) -> None:
        """Remove it."""
        subprocess.run(["umount", "--lazy", str(self.folder)], check=True)  # a traceback may hold a mapped file


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    disk = Disk(tmp_path / "disk")
    try:
        disk.mount("size=900m")
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("a disk of its own: only root may mount one")
    yield disk
    disk.unmount()
