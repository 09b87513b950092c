"""The tutorial works as it stands: its blocks run in order in an empty folder, and the files that it names exist."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

TUTORIAL = Path(__file__).parents[2] / "docs" / "tutorial.md"
FENCED = re.compile(r"```(bash|python)\n(.*?)```", re.DOTALL)
FILES = re.compile(r"^Files: (.*?)\n\n|^Files: (.*?)\Z", re.DOTALL | re.MULTILINE)


def steps() -> Iterator[tuple[str, str]]:
    """Kind ("bash", "python" or "files") and text of what is to be run or looked for, in the order of the page."""
    text = TUTORIAL.read_text(encoding="utf-8")
    found = [(match.start(), match[1], match[2]) for match in FENCED.finditer(text)]
    found += [(match.start(), "files", match[1] or match[2]) for match in FILES.finditer(text)]
    for _, kind, content in sorted(found):
        yield kind, content


def run_in_shell(block: str, folder: Path, env: dict[str, str]) -> dict[str, str]:
    """Run a block; returns the environment that it leaves."""
    after = folder.parent / "environment"
    script = f"set -euo pipefail\n{block}\nenv -0 > {shlex.quote(str(after))}"
    done = subprocess.run(["bash", "-c", script], cwd=folder, env=env, capture_output=True, text=True)
    assert done.returncode == 0, f"{block}\n{done.stdout[-2000:]}\n{done.stderr[-3000:]}"
    return dict(line.split("=", 1) for line in after.read_text().split("\0") if line)


def test_every_block_runs_and_every_file_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, bin_folder = tmp_path / "tutorial", tmp_path / "bin"
    folder.mkdir()
    bin_folder.mkdir()
    (folder / "configs").symlink_to(TUTORIAL.parents[1] / "configs")
    command = bin_folder / "nucleus"  # this code, whatever is installed
    command.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m nucleus "$@"\n')
    command.chmod(0o755)
    paths = [str(TUTORIAL.parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
    env = os.environ | {"PATH": f"{bin_folder}:{os.environ['PATH']}", "PYTHONPATH": os.pathsep.join(paths)}
    monkeypatch.chdir(folder)
    names: dict[str, object] = {}
    kinds = []
    for kind, content in steps():
        kinds.append(kind)
        if kind == "bash":
            env = run_in_shell(content, folder, env)
        elif kind == "python":
            exec(compile(content, str(TUTORIAL), "exec"), names)
        else:
            patterns = re.findall(r"`([^`]+)`", content)
            missing = [pattern for pattern in patterns if not list(folder.glob(pattern))]
            assert patterns and not missing, missing
    assert kinds.count("bash") >= 6 and kinds.count("python") >= 2 and kinds.count("files") >= 6
