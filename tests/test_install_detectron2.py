from __future__ import annotations

import base64
import csv
import email
import hashlib
import importlib.util
import io
import os
import signal
import subprocess
import sys
import zipfile
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).parents[1] / "nucleus" / "install_detectron2.py"


def load_script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("install_detectron2", SCRIPT)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


tool = load_script()


@pytest.fixture(scope="session")
def source() -> bytes:
    """The real wheel, as `make setup` kept it."""
    path = tool.wheels_folder() / tool.SOURCE_NAME
    if not path.is_file():
        pytest.skip(f"the wheel is not in {path.parent}: python -m nucleus.install_detectron2 --wheel-only fetches it")
    return path.read_bytes()


@pytest.fixture(scope="session")
def wheel(source: bytes) -> bytes:
    return tool.repack(source)


def offline(folder: Path, *arguments: str, python: str = sys.executable, **options) -> subprocess.CompletedProcess[str]:
    """Run the tool with `folder` for its wheels, where pip can reach no index."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "PYTHONPATH"))}
    environment |= {"NUCLEUS_WHEELS": str(folder), "PIP_NO_INDEX": "1", "PIP_CONFIG_FILE": os.devnull}
    command = [python, str(SCRIPT), *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, **options)


def contents(wheel: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(wheel)) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name) for name in archive.namelist()}


def test_repacked_wheel_has_the_sources_and_nothing_else(source: bytes, wheel: bytes) -> None:
    before, after = contents(source), contents(wheel)
    package = {name for name in before if name.startswith("detectron2/") and "/_C." not in name}
    info = {f"{tool.WHEEL_INFO}/{name}" for name in ("LICENSE", "METADATA", "WHEEL", "RECORD", "top_level.txt")}
    assert set(after) == package | info
    assert {name for name in package if after[name] != before[name]} == {"detectron2/__init__.py"}
    assert after["detectron2/__init__.py"].endswith(b'\n__version__ = "0.6"\n')
    assert after[f"{tool.WHEEL_INFO}/LICENSE"].startswith(b"Apache License\n")


def test_record_lists_every_file_with_its_hash_and_size(wheel: bytes) -> None:
    files = contents(wheel)
    record = f"{tool.WHEEL_INFO}/RECORD"
    rows = {name: (digest, size) for name, digest, size in csv.reader(io.StringIO(files[record].decode()))}
    assert rows.pop(record) == ("", "")
    assert set(rows) == set(files) - {record}
    for name, (digest, size) in rows.items():
        content = files[name]
        assert int(size) == len(content)
        padded = digest.removeprefix("sha256=") + "="
        assert base64.urlsafe_b64decode(padded) == hashlib.sha256(content).digest()


def test_metadata_name_the_true_requirements(wheel: bytes) -> None:
    metadata = email.message_from_bytes(contents(wheel)[f"{tool.WHEEL_INFO}/METADATA"])
    assert (metadata["Name"], metadata["Version"]) == ("detectron2", "0.6+a59f0563")
    requirements = metadata.get_all("Requires-Dist")
    assert {"numpy", "fvcore>=0.1.5", "iopath>=0.1.7", "setuptools<81"} <= set(requirements)
    assert not [text for text in requirements if text.startswith(("black", "numpy<"))]


def test_repacking_gives_the_same_bytes_always(source: bytes, wheel: bytes) -> None:
    assert tool.repack(source) == wheel
    assert hashlib.sha256(wheel).hexdigest() == tool.WHEEL_SHA256


def test_another_file_under_the_name_is_refused(tmp_path: Path) -> None:
    (tmp_path / tool.SOURCE_NAME).write_bytes(b"not that wheel")
    result = offline(tmp_path, "--wheel-only")
    assert result.returncode == 1
    assert f"expected sha256 {tool.SOURCE_SHA256}" in result.stderr
    assert not (tmp_path / tool.WHEEL_NAME).exists()


def test_one_flipped_bit_is_refused(source: bytes) -> None:
    damaged = bytearray(source)
    damaged[len(damaged) // 2] ^= 1
    with pytest.raises(tool.InstallError, match="is damaged or is another"):
        tool.repack(bytes(damaged))


@pytest.mark.parametrize("kept", ["SOURCE_NAME", "WHEEL_NAME"])
def test_either_kept_wheel_suffices_offline(kept: str, source: bytes, wheel: bytes, tmp_path: Path) -> None:
    (tmp_path / getattr(tool, kept)).write_bytes(source if kept == "SOURCE_NAME" else wheel)
    result = offline(tmp_path, "--wheel-only")
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[-1] == str(tmp_path / tool.WHEEL_NAME)
    assert (tmp_path / tool.WHEEL_NAME).read_bytes() == wheel


def test_damaged_kept_wheel_is_made_again(source: bytes, wheel: bytes, tmp_path: Path) -> None:
    (tmp_path / tool.SOURCE_NAME).write_bytes(source)
    (tmp_path / tool.WHEEL_NAME).write_bytes(wheel[:-1])
    assert tool.kept_wheel(tmp_path).read_bytes() == wheel


def test_with_no_wheel_and_no_network_it_says_what_to_do(tmp_path: Path) -> None:
    result = offline(tmp_path / "none", "--wheel-only")
    assert result.returncode == 1
    assert f"put {tool.SOURCE_NAME} or {tool.WHEEL_NAME}" in result.stderr
    assert str(tmp_path / "none") in result.stderr
    assert tool.UPSTREAM_BUILD in result.stderr


def test_killed_while_writing_leaves_no_wheel(source: bytes, wheel: bytes, tmp_path: Path) -> None:
    (tmp_path / tool.SOURCE_NAME).write_bytes(source)
    # The kernel ends the process where the new file has its bytes but not yet its name.
    killed = (
        f"import os, runpy, sys; os.fsync = lambda file: os.kill(os.getpid(), {int(signal.SIGKILL)}); "
        f"sys.argv = ['x', '--wheel-only']; runpy.run_path({str(SCRIPT)!r}, run_name='__main__')"
    )
    environment = {**os.environ, "NUCLEUS_WHEELS": str(tmp_path)}
    assert subprocess.run([sys.executable, "-c", killed], env=environment).returncode == -signal.SIGKILL
    assert not (tmp_path / tool.WHEEL_NAME).exists()
    assert tool.kept_wheel(tmp_path).read_bytes() == wheel


def test_an_installed_detectron2_is_left_alone(tmp_path: Path) -> None:
    pytest.importorskip("detectron2")
    result = offline(tmp_path)  # without wheel and network, anything else would fail
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("Detectron2 is there already and stays as it is: ")
    assert not list(tmp_path.iterdir())


def test_installs_into_a_bare_environment_and_names_what_is_missing(wheel: bytes, tmp_path: Path) -> None:
    environment, wheels, clone = tmp_path / "venv", tmp_path / "wheels", tmp_path / "clone"
    subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True)
    python = str(environment / "bin" / "python")
    wheels.mkdir()
    (wheels / tool.WHEEL_NAME).write_bytes(wheel)
    (clone / "detectron2").mkdir(parents=True)  # as beside a clone of upstream: not an installed one

    first = offline(wheels, python=python, cwd=clone)
    assert first.returncode == 1
    assert "detectron2 0.6+a59f0563 requires fvcore, which is not installed." in first.stderr
    assert "requirements/lock.txt" in first.stderr
    shown = subprocess.run([python, "-m", "pip", "show", "--files", "detectron2"], capture_output=True, text=True)
    assert "Version: 0.6+a59f0563" in shown.stdout
    assert "detectron2/modeling/roi_heads/mask_head.py" in shown.stdout

    second = offline(wheels, python=python, cwd=clone)  # there now, but of no use without what it needs
    assert second.returncode == 1
    assert "expected a Detectron2 that imports, found one at" in second.stderr
    assert "No module named" in second.stderr
