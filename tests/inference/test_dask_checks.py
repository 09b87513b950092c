import pytest

import nucleus
from nucleus.errors import InputError
from nucleus.inference import dask_checks
from nucleus.inference.dask_checks import TOKEN, check_worker, listed, versions
from nucleus.inference.output_folder import Output


@pytest.fixture
def output(tmp_path, monkeypatch):
    monkeypatch.setattr(dask_checks, "TOKEN_WAITS", (0.0,))
    found = Output(tmp_path, [], {}, overwrite=False)
    (found.hidden / TOKEN).write_text("this run", encoding="utf-8")
    return found


def test_this_process_fits_itself(output):
    check_worker(versions(), output, "this run")


def test_other_versions_do_not_fit(output):
    ours = versions() | {"torch": "0.1", "unheard_of": "1"}
    with pytest.raises(InputError, match=r"torch 0.1, unheard_of 1, found torch [1-9].*, unheard_of missing"):
        check_worker(ours, output, "this run")


def test_a_folder_of_another_run_or_of_none_does_not_fit(output):
    for token in ("another run", None):
        if token is None:
            (output.hidden / TOKEN).unlink()
        with pytest.raises(InputError, match="expected the output folder, seen by the Dask worker"):
            check_worker(versions(), output, token or "this run")


def test_versions_are_those_that_the_numbers_depend_on():
    found = versions()
    assert found["nucleus"] == nucleus.__version__ and "+" not in found["torch"]
    assert listed(["nucleus", "nothing"], found) == f"nucleus {nucleus.__version__}, nothing missing"
