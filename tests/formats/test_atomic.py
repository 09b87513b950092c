import signal
import subprocess
import sys
import textwrap

import pytest

from nucleus.formats.atomic import atomic_write


def test_the_file_appears_whole_in_a_new_folder(tmp_path):
    target = tmp_path / "new" / "scores.json"
    with atomic_write(target) as temporary:
        temporary.write_text("whole")
        assert temporary.suffix == ".json" and not target.exists()
    assert target.read_text() == "whole"
    assert list(target.parent.iterdir()) == [target]


def test_an_error_keeps_the_old_file_and_leaves_nothing_else(tmp_path):
    target = tmp_path / "scores.json"
    target.write_text("old")
    with pytest.raises(RuntimeError, match="in the middle"), atomic_write(target) as temporary:
        temporary.write_text("half")
        raise RuntimeError("in the middle")
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_killed_writer_leaves_the_old_file(tmp_path):
    target = tmp_path / "scores.json"
    target.write_text("old")
    program = textwrap.dedent(f"""
        import time
        from nucleus.formats.atomic import atomic_write
        with atomic_write({str(target)!r}) as temporary:
            temporary.write_text("half")
            print("writing", flush=True)
            time.sleep(60)
    """)
    writer = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert writer.stdout.readline() == "writing\n"
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    assert target.read_text() == "old"


def test_others_may_read_what_was_written(tmp_path):
    with atomic_write(tmp_path / "a.txt") as temporary:
        temporary.write_text("x")
    assert (tmp_path / "a.txt").stat().st_mode & 0o044 == 0o044
