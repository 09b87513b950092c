"""One writer at a time."""

import errno
import fcntl
import os
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from nucleus.data.lock import only_writer
from nucleus.errors import InputError

HOLD = """
import sys, time
from nucleus.data.lock import only_writer
with only_writer(sys.argv[1]):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_writer_is_refused_and_the_folder_stays_empty(tmp_path):
    with only_writer(tmp_path / "a"):
        with pytest.raises(InputError, match="another run writing it"), only_writer(tmp_path / "a"):
            pass
        with only_writer(tmp_path / "b"):
            pass
    with only_writer(tmp_path / "a"):
        pass
    assert list((tmp_path / "a").iterdir()) == []


def test_where_a_folder_cannot_be_locked(tmp_path, monkeypatch):
    """As on NFS, which locks only files that are open for writing."""
    flock = fcntl.flock

    def of_files_alone(handle, operation):
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(errno.EBADF, "Bad file descriptor")
        flock(handle, operation)

    monkeypatch.setattr(fcntl, "flock", of_files_alone)
    open_before = len(list(Path("/proc/self/fd").iterdir()))
    with only_writer(tmp_path), pytest.raises(InputError, match="another run writing it"), only_writer(tmp_path):
        pass
    with only_writer(tmp_path):
        pass
    assert len(list(Path("/proc/self/fd").iterdir())) == open_before


def test_a_killed_process_lets_go(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", HOLD, tmp_path], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    with pytest.raises(InputError), only_writer(tmp_path):
        pass
    process.send_signal(signal.SIGKILL)
    process.communicate()
    with only_writer(tmp_path):
        pass


def test_waiting_for_the_other_writer(tmp_path):
    order = []

    def second():
        with only_writer(tmp_path, wait=True):
            order.append("second")

    with only_writer(tmp_path):
        thread = threading.Thread(target=second)
        thread.start()
        order.append("first")
    thread.join(timeout=10)
    assert order == ["first", "second"]
