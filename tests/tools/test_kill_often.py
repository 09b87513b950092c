"""Each command killed at random moments; `tools/kill_often.py --command all` does it often."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize(("command", "kills"), [("prepare", 2), ("predict", 1), ("evaluate", 1), ("train", 1)])
def test_what_is_killed_and_started_again_is_whole(command, kills, pytestconfig):
    tool = [sys.executable, "tools/kill_often.py", "--command", command, "--kills", str(kills)]
    done = subprocess.run(tool, cwd=pytestconfig.rootpath, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert f"command: {command}, kills: {kills}, " in done.stdout


def test_a_difference_is_found(pytestconfig, tmp_path):
    """The check that all this rests on sees a changed byte, a foreign file and a missing one."""
    import runpy

    tool = runpy.run_path(str(pytestconfig.rootpath / "tools" / "kill_often.py"), run_name="kill_often")
    check = tool["SameBytes"](tmp_path)
    (tmp_path / "a").write_bytes(b"whole")
    (tmp_path / "b").write_bytes(b"whole")
    check(True)
    (tmp_path / "b").unlink()
    check(False)
    with pytest.raises(tool["DifferenceError"], match=r"without \['b'\]"):
        check(True)
    (tmp_path / "a").write_bytes(b"whol")
    with pytest.raises(tool["DifferenceError"], match="a: not the file of an unbroken run"):
        check(False)
    (tmp_path / "a").write_bytes(b"whole")
    (tmp_path / "c").write_bytes(b"")
    with pytest.raises(tool["DifferenceError"], match="c: not"):
        check(False)
