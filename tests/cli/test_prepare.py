"""`nucleus prepare`: what it prints and returns; the conversion itself is tested in tests/data."""

import subprocess
import sys
from pathlib import Path

import pytest

from nucleus.cli.main import main
from nucleus.cli.prepare import summary
from nucleus.data.synthetic import write_synthetic

COMMAND = Path(__file__).parents[2] / "datasets" / "prepare_bbbc038.py"


@pytest.fixture
def small(tmp_path):
    write_synthetic(tmp_path / "set", 5, test_images=2, max_size=64, progress=False)
    return tmp_path / "set"


def test_a_set_in_place(small, capsys):
    assert main(["prepare", "--root", str(small), "--workers", "1"]) == 0
    printed = capsys.readouterr().out
    assert "Nothing had to be repaired." in printed
    assert (small / "annotations" / "bbbc038_trainval.json").is_file()


def test_repairs_are_printed_and_strict_ends_with_2(small, tmp_path, capsys):
    mask = next(small.glob("stage1_train/*/masks/*.png"))
    mask.write_bytes(mask.read_bytes()[:40])
    options = ["prepare", "--source", str(small), "--root", str(tmp_path / "root"), "--workers", "1"]
    assert main(options) == 0
    assert "1 x unreadable_mask: the mask is left out" in capsys.readouterr().out
    assert main([*options, "--strict"]) == 2
    assert mask.name in capsys.readouterr().err


def test_the_script_of_a_clone_from_any_folder(small, tmp_path):
    options = ["--source", small, "--root", tmp_path / "root", "--workers", "2"]
    done = subprocess.run(
        [sys.executable, COMMAND, *options], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "root" / "annotations" / "report.json").is_file()
    missing = subprocess.run(
        [sys.executable, COMMAND, "--root", tmp_path / "x"], capture_output=True, text=True, check=False
    )
    assert missing.returncode == 2
    assert "expected stage1_train.zip or stage1_train" in missing.stderr and "Traceback" not in missing.stderr


def test_the_summary_by_hand():
    def split(images, nuclei, groups):
        modalities = {"small_fluorescent": {"images": images, "nuclei": nuclei}}
        return {"images": images, "nuclei": nuclei, "groups": groups, "modalities": modalities}

    report = {
        "splits": {"train": split(10, 200, 4), "test": split(1, 7, 1)},
        "groups across train and test": {"a": {"train": ["a"], "test": ["b"]}},
        "pixels shared by masks": 3,
        "repairs": {"overlapping_mask": {"count": 2, "action": "both are kept"}},
    }
    assert summary(report).splitlines() == [
        "  images (nuclei)     train   test",
        "small_fluorescent  10 (200)  1 (7)",
        "              all  10 (200)  1 (7)",
        "           groups         4      1",
        "",
        "1 fields of view have tiles in both stage1_train and stage1_test.",
        "",
        "Repairs:",
        "  2 x overlapping_mask: both are kept",
        "  Overlapping masks share 3 pixels in all.",
    ]
