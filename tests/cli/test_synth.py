"""nucleus synth."""

from __future__ import annotations

from pathlib import Path

import pytest

from nucleus.cli.main import main


def test_it_writes_a_set_and_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["synth", f"--root={tmp_path}", "--images=12", "--seed=3", "--workers=1", "--max-size=64"]
    assert main(arguments) == 0
    printed = capsys.readouterr()
    assert f"{tmp_path}: 13 images with" in printed.out  # a tenth of twelve, rounded down, for the test set
    assert "13/13" in printed.err  # the progress bar
    assert len(list((tmp_path / "stage1_train").iterdir())) == 12
    assert len(list((tmp_path / "stage1_test").iterdir())) == 1
    assert (tmp_path / "stage1_solution.csv").is_file()


def test_a_number_out_of_range_ends_with_code_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["synth", f"--root={tmp_path}", "--images=0"]) == 2
    assert "--images: expected at least 1, found 0" in capsys.readouterr().err
