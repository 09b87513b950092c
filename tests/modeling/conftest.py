"""Where the tests of models find what they share."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # for model_pairs.py, which several tests here draw on

from model_pairs import in_order


@pytest.fixture
def drawn_in_order(monkeypatch: pytest.MonkeyPatch) -> Callable[[], Any]:
    """Gives a context in which stock and fast sampling both take the first of what there is."""
    return lambda: in_order(monkeypatch)
