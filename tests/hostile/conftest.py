"""What the tests of hostile input share: the targets of tools/fuzz.py, and readers in a process of their own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]

# Time and memory that a read takes, beyond what the imports took; a limit on the address space is the last resort.
READ = """
import json, resource, sys, time
resource.setrlimit(resource.RLIMIT_AS, (16 << 30, 16 << 30))
from nucleus.errors import InputError
from nucleus.formats.image import read_image
from nucleus.formats.label_image import read_label_image
from nucleus.evaluation.sources import open_source

def read_source(path):
    return [entry.read(entry.size or (64, 64), True) for entry in open_source(path).entries.values()]

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

for path in sys.argv[2:]:
    before, begin = peak(), time.perf_counter()
    try:
        {"image": read_image, "labels": read_label_image, "source": read_source}[sys.argv[1]](path)
        found = "read"
    except InputError as error:
        found = str(error)
    print(json.dumps({"found": found, "mib": peak() - before, "seconds": time.perf_counter() - begin}), flush=True)
"""


@pytest.fixture
def fuzz(monkeypatch):
    """The module tools/fuzz.py."""
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    import fuzz

    return fuzz


@pytest.fixture
def read_apart():
    """Read files one after the other in one new process: for each, what was found, MiB that it took, and seconds."""

    def read(kind: str, *paths: Path) -> list[dict[str, Any]]:
        command = [sys.executable, "-c", READ, kind, *map(str, paths)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr[-2000:]
        return [json.loads(line) for line in done.stdout.splitlines()]

    return read
