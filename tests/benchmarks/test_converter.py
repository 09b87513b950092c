"""The benchmark of the converter, on a small set in the layout of BBBC038."""

import importlib
import json
import sys

import pytest


@pytest.fixture
def converter(pytestconfig, monkeypatch):
    monkeypatch.syspath_prepend(str(pytestconfig.rootpath / "benchmarks"))
    monkeypatch.delitem(sys.modules, "converter", raising=False)
    yield importlib.import_module("converter")
    del sys.modules["converter"]


def test_rows_of_a_small_set(converter, tmp_path, capsys):
    from nucleus.data.synthetic.writer import write_synthetic

    made = write_synthetic(tmp_path / "source", 2, 0, test_images=1, max_size=128)
    arguments = ["--json", str(tmp_path / "rows.json"), "--source", str(made.root), "--workers", "1", "--repeats", "1"]
    assert converter.main(arguments) == 0
    rows = json.loads((tmp_path / "rows.json").read_text())
    assert [row["case"] for row in rows] == ["in place", "from the archives"]
    files = sum(1 for _ in made.root.glob("stage1_*/*/*/*.png"))
    assert all(row["files"] == files > 3 and row["stock"] > 0 < row["ours"] for row in rows)
    assert "in place" in capsys.readouterr().out
