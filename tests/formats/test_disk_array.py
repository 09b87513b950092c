from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nucleus.formats import disk_array
from nucleus.formats.disk_array import DiskArray

STATUS = Path("/proc/self/status")


def test_reads_and_writes_as_an_array(tmp_path, monkeypatch):
    monkeypatch.setattr(disk_array, "RENEWED", 200)  # mapped anew every few steps
    rng = np.random.default_rng(0)
    expected = np.zeros((50, 30), dtype=np.int32)
    array = DiskArray(tmp_path / "file.raw", np.int32, (50, 30), "w+")
    held = array[10:12, 5:9]
    for value in range(1, 200):
        top, left = rng.integers(40), rng.integers(20)
        where = (slice(top, top + rng.integers(1, 10)), slice(left, left + rng.integers(1, 10)))
        view = array[where]
        free = view == 0
        view[free] = value
        expected[where][expected[where] == 0] = value
    np.testing.assert_array_equal(array[:], expected)
    np.testing.assert_array_equal(held, expected[10:12, 5:9])  # a view of an earlier mapping
    array[3] = array[4, 5] = 7
    expected[3] = expected[4, 5] = 7
    np.testing.assert_array_equal(np.asarray(array), expected)
    assert (array.shape, array.ndim, array.dtype, int(array[3, 4])) == ((50, 30), 2, np.int32, 7)
    again = DiskArray(tmp_path / "file.raw", np.int32, (40, 30), offset=4 * 300)
    np.testing.assert_array_equal(again[::7, 3:], expected[10::7, 3:])
    with pytest.raises(ValueError, match="read-only"):
        again[0, 0] = 1


@pytest.mark.skipif(not STATUS.exists(), reason="/proc tells how much of a file is resident")
def test_little_of_it_is_resident(tmp_path):
    def resident() -> int:
        return sum(int(line.split()[1]) for line in STATUS.read_text().splitlines() if line.startswith("RssFile"))

    before = resident()
    array = DiskArray(tmp_path / "file.raw", np.uint8, (20_000, 20_000), "w+")  # 381 MiB
    highest = 0
    for top in range(0, 20_000, 500):
        assert array[top : top + 500].max() == 0
        highest = max(highest, resident())
    assert highest - before < 150_000  # KiB
