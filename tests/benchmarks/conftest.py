"""Benchmarks are scripts beside each other, not a package."""

from __future__ import annotations

import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="session")
def names_of() -> Callable[[str], dict[str, Any]]:
    """Loads a benchmark, which then finds its neighbours as when it is run; gives all names in it."""

    def run(name: str) -> dict[str, Any]:
        sys.path.insert(0, str(BENCHMARKS))
        try:
            return runpy.run_path(str(BENCHMARKS / f"{name}.py"), run_name=name)
        finally:
            sys.path.remove(str(BENCHMARKS))

    return run
