"""The shared part of the benchmarks, on figures worked by hand."""

import json

import pytest


@pytest.fixture
def measure(pytestconfig, monkeypatch):
    monkeypatch.syspath_prepend(str(pytestconfig.rootpath / "benchmarks"))
    import measure

    return measure


def test_cases_run_in_turn_and_every_other_round_backwards(measure):
    calls = []
    times = measure.in_turn({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, repeats=3, warm_up=1)
    assert "".join(calls) == "baabbaab"
    assert {name: len(seconds) for name, seconds in times.items()} == {"a": 3, "b": 3}


def test_a_row_has_medians_quartiles_and_the_ratio(measure):
    row = measure.comparison("x", [4.0, 8.0, 6.0], [2.0, 4.0, 1.0], unit="ms", divisor=2, images=2)
    assert (row["stock"], row["ours"], row["ratio"], row["unit"]) == (3000.0, 1000.0, 3.0, "ms")
    assert row["stock_spread"] == [2500.0, 3500.0]
    assert row["ratio_spread"] == [2.0, 4.0]  # of 2, 2 and 6
    assert (row["rounds"], row["images"]) == (3, 2)


def test_rows_are_written_with_the_machine(measure, tmp_path, capsys):
    rows = [measure.comparison("x", [2.0], [1.0], unit="s")]
    measure.write_rows(tmp_path / "rows.json", rows)
    (row,) = json.loads((tmp_path / "rows.json").read_text())
    assert {"case", "stock", "ours", "ratio", "unit"} <= row.keys()
    assert row["machine"]["cores"] >= 1 and "torch" in row["machine"]["versions"]
    measure.print_rows(rows)
    assert "| x | 2.0 | 1.0 | s | 2.0 | 2.0 - 2.0 |" in capsys.readouterr().out
