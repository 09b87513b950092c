"""What all tests share: where the real data are."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

# A busy machine is no failure, and the same commit gives the same result in CI; elsewhere new cases are looked for.
settings.register_profile("nucleus", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("nucleus")


@pytest.fixture(scope="session")
def bbbc038_source() -> Path:
    """The folder that $BBBC038_SOURCE names: the archives stage1_{train,test}.zip, stage1_solution.csv and index.csv.

    Skips the test where the variable is not set. A variable that names no folder is a mistake, not a reason to skip.
    """
    value = os.environ.get("BBBC038_SOURCE")
    if not value:
        pytest.skip("real data: set BBBC038_SOURCE to the folder that holds the BBBC038 archives")
    folder = Path(value)
    if not folder.is_dir():
        pytest.fail(f"BBBC038_SOURCE: expected a folder with the BBBC038 archives, found none at {value}")
    return folder
