from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from nucleus.cli import doctor
from nucleus.cli.main import main

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

REPOSITORY = Path(__file__).parents[2]


def write_coco(root: Path, name: str, *, images: int, nuclei: int) -> Path:
    """A data set with COCO file and (empty) image files."""
    folder = root / name
    (folder / "annotations").mkdir(parents=True)
    files = [f"image_{number}.png" for number in range(images)]
    for file in files:
        (folder / file).touch()
    path = folder / "annotations" / "bbbc038_train.json"
    path.write_text(json.dumps({"images": [{"file_name": file} for file in files], "annotations": [{}] * nuclei}))
    return path


def test_every_requirement_is_checked() -> None:
    required = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["dependencies"]
    assert [re.split(r"[<>=]", text)[0] for text in required] == list(doctor.MODULES)


def test_packages_of_one_format_are_named_and_stop_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    extras = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    wanted = {re.match(r"[\w-]+", text)[0] for name, texts in extras.items() if name != "dev" for text in texts}
    assert set(doctor.EXTRAS) == wanted
    assert doctor.required_bounds().keys() >= wanted
    monkeypatch.setattr(doctor, "EXTRAS", {"not_there": "nucleus app"})
    (finding,) = doctor.check_extras()
    assert (finding.text, finding.stops, finding.remedy) == ("not installed; needed by nucleus app", False, "")
    monkeypatch.setattr(doctor, "EXTRAS", {"tifffile": "TIFF"})
    monkeypatch.setattr(doctor, "required_bounds", lambda: {"tifffile": ">=9999"})
    (finding,) = doctor.check_extras()
    assert "expected >=9999; needed by TIFF" in finding.text and not finding.stops


def test_ready_where_everything_is_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_coco(tmp_path, "bbbc038_synthetic", images=3, nuclei=41)
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    assert main(["doctor"]) == 0
    report = capsys.readouterr().out
    assert "FAIL" not in report
    assert re.search(r"bbbc038_synthetic_train +3 images, 41 nuclei\n", report)
    assert re.search(r"detectron2 +\S+ in \S+, with", report)
    assert report.endswith("Ready: prepare, train and evaluate can run.\n")


def test_a_bare_python_gets_the_whole_report(tmp_path: Path) -> None:
    """Without any package (-S: no site-packages) it still runs, says what is missing, once what to do, and fails."""
    environment = {"PYTHONPATH": str(REPOSITORY), "PATH": os.environ["PATH"]}
    command = [sys.executable, "-S", "-m", "nucleus", "doctor"]
    result = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 1, result.stderr
    lines = result.stdout.splitlines()
    for name in (*doctor.MODULES, "detectron2"):
        assert [line.split() for line in lines if line.split()[1:2] == [name]] == [["FAIL", name, "not", "installed"]]
    assert result.stdout.count("requirements/lock.txt") == 1
    assert result.stdout.count("nucleus.install_detectron2") == 1
    assert lines[-1].startswith("Not ready: prepare, train and evaluate would be stopped by torch, ")


def test_versions_are_compared_with_the_bounds() -> None:
    assert doctor.meets("2.15.0+cpu", ">=2.4")
    assert not doctor.meets("2.3.1", ">=2.4")
    assert not doctor.meets("81.0", ">=70.1,<81")
    too_old = doctor.check_package("numpy", "numpy", ">=99")
    assert too_old.stops
    assert too_old.text.endswith("expected >=99")
    assert not doctor.check_package("numpy", "numpy", ">=1").stops


def test_a_module_from_another_distribution_is_accepted_and_named() -> None:
    finding = doctor.check_package("opencv-of-another-name", "numpy", ">=99")
    assert not finding.stops
    assert finding.text.endswith("from another package that brings numpy")


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (
            "raise OSError('libGL.so.1: cannot open\\nshared object file')",
            "OSError: libGL.so.1: cannot open shared object",
        ),
        ("import a_module_that_nobody_has", "a_module_that_nobody_has is missing"),
    ],
)
def test_a_broken_package_gives_its_reason_in_one_line(
    source: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken_for_doctor.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    finding = doctor.check_package("broken", "broken_for_doctor")
    assert finding.stops
    assert finding.text.startswith("does not import: ")
    assert reason in finding.text
    assert "\n" not in finding.text


def test_data_sets_that_cannot_be_used_stop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_coco(tmp_path, "bbbc038", images=2, nuclei=5)
    assert [finding.text for finding in doctor.check_data_sets(tmp_path)] == ["2 images, 5 nuclei"]

    (tmp_path / "bbbc038" / "image_1.png").unlink()
    (finding,) = doctor.check_data_sets(tmp_path)
    assert finding.stops
    assert "1 image files are missing" in finding.text
    assert "image_1.png" in finding.text

    whole = path.read_text()
    path.write_text(whole[: len(whole) // 2])
    (finding,) = doctor.check_data_sets(tmp_path)
    assert finding.stops
    assert str(path) in finding.text

    path.write_text("[]")
    (finding,) = doctor.check_data_sets(tmp_path)
    assert finding.stops

    monkeypatch.setattr(doctor, "LARGEST_OPENED", 1)
    (finding,) = doctor.check_data_sets(tmp_path)
    assert not finding.stops
    assert finding.text.endswith("not opened")


def test_data_sets_of_ones_own_are_listed(tmp_path: Path) -> None:
    path = write_coco(tmp_path, "my", images=2, nuclei=7)
    (tmp_path / "registry.json").write_text(json.dumps({"mine": {"json_file": str(path), "image_root": "my"}}))
    (finding,) = doctor.check_data_sets(tmp_path)
    assert (finding.subject, finding.text, finding.stops) == ("mine", "2 images, 7 nuclei", False)
    path.unlink()
    (finding,) = doctor.check_data_sets(tmp_path)
    assert finding.stops and str(path) in finding.text
    (tmp_path / "registry.json").write_text("[]")
    (finding,) = doctor.check_data_sets(tmp_path)
    assert finding.stops and str(tmp_path / "registry.json") in finding.text


def test_no_data_set_stops_nothing(tmp_path: Path) -> None:
    (finding,) = doctor.check_data_sets(tmp_path)
    assert not finding.stops
    assert "nucleus prepare" in finding.remedy


def test_a_gpu_that_cannot_be_used_stops() -> None:
    torch = pytest.importorskip("torch")
    finding = doctor.check_gpu(torch, 1000)  # no machine has that many
    assert finding.stops
    assert finding.text.startswith("cannot be used: ")
    assert "CUDA_VISIBLE_DEVICES" in finding.remedy


def test_devices_name_every_gpu() -> None:
    torch = pytest.importorskip("torch")
    subjects = [finding.subject for finding in doctor.check_devices()]
    gpus = [f"cuda:{index}" for index in range(torch.cuda.device_count())] if torch.cuda.is_available() else ["GPU"]
    assert subjects == ["CPU", *gpus]
