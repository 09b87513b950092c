import os
import subprocess
import sys

import pytest

from nucleus import __version__
from nucleus.cli.main import COMMANDS, main

ENDING = """
import atexit, sys, threading, time
from pathlib import Path
from nucleus.cli.main import end_process

class Kept:
    def __del__(self):
        print("taken apart")

kept = Kept()
atexit.register(Path("registered").touch)
threading.Thread(target=lambda: (time.sleep(0.2), Path("thread").touch())).start()
print("to a pipe", end="")
end_process(7)
"""


def test_every_command_has_help_and_no_command_lists_them(capsys):
    for name in COMMANDS:
        with pytest.raises(SystemExit) as ended:
            main([name, "--help"])
        assert ended.value.code == 0
        assert f"nucleus {name}" in capsys.readouterr().out
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    listing = capsys.readouterr().out
    assert ended.value.code == 0 and all(name in listing for name in COMMANDS)


def test_an_unknown_command_is_refused_with_the_known_ones(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["prepair"])
    assert ended.value.code == 2
    assert "prepare" in capsys.readouterr().err


def test_the_module_runs_as_a_program_and_bad_input_is_exit_code_two(tmp_path):
    version = subprocess.run([sys.executable, "-m", "nucleus", "--version"], capture_output=True, text=True)
    assert (version.returncode, version.stdout.strip()) == (0, f"nucleus {__version__}")
    missing = str(tmp_path / "nothing")
    failed = subprocess.run(
        [sys.executable, "-m", "nucleus", "prepare", "--source", missing, "--root", str(tmp_path / "root")],
        capture_output=True,
        text=True,
    )
    assert failed.returncode == 2
    assert missing in failed.stderr and "Traceback" not in failed.stderr


@pytest.mark.parametrize("arguments", [["-u", "-m", "nucleus", "zoo", "--json"], ["-m", "nucleus", "zoo"]])
def test_output_that_nobody_reads_ends_without_a_traceback(arguments):
    """Written at once, and kept until the end."""
    env = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    command = [sys.executable, *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env) as process:
        process.stdout.close()
        said = process.stderr.read()
    assert (process.returncode, said) == (141, "")


def test_the_end_of_a_process_waits_for_what_must_be_done(tmp_path):
    done = subprocess.run([sys.executable, "-c", ENDING], capture_output=True, text=True, cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (7, "to a pipe", "")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["registered", "thread"]
