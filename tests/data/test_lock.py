"""One writer at a time."""

import signal
import subprocess
import sys
import threading

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
