"""The patches of docs/extending.md fit the code as it is."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "extending.md"


@pytest.mark.skipif(shutil.which("git") is None, reason="git applies the patches")
def test_every_patch_applies() -> None:
    patches = re.findall(r"```diff\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert len(patches) == 4
    for patch in patches:
        done = subprocess.run(["git", "apply", "--check"], cwd=PAGE.parents[1], input=patch, text=True,
                              capture_output=True)  # fmt: skip
        assert done.returncode == 0, done.stderr + patch
