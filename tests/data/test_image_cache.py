"""The shared memory of decoded images: what is put in comes out, in every process, and nothing is left behind."""

import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from nucleus.data.decoded import Decoded
from nucleus.data.image_cache import ImageCache, file_version

SIZES = [(20, 30, 5), (7, 5, 40_000), (64, 64, 3)]
LINUX = pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="memory without a name is for Linux")


def image(index, channels=3):
    rng = np.random.default_rng(index)
    height, width, nuclei = SIZES[index]
    shape = (height, width, 3)[: 2 if channels == 1 else 3]
    labels = rng.integers(0, nuclei + 1, (height, width)).astype(np.int16 if nuclei < 2**15 else np.int32)
    return Decoded(rng.integers(0, 256, shape, dtype=np.uint8), (labels,))


def equal(one, other):
    return all(
        x.dtype == y.dtype and np.array_equal(x, y)
        for x, y in ((one.image, other.image), (one.layers[0], other.layers[0]))
    )


@pytest.fixture
def cache():
    return ImageCache(SIZES, 10**6)


def test_what_is_put_in_comes_out(cache):
    assert cache.places == 3
    assert all(cache.get(index, 1) is None for index in range(3))
    for index, channels in enumerate((3, 1, 3)):
        cache.put(index, index + 1, image(index, channels))
    for index, channels in enumerate((3, 1, 3)):
        found = cache.get(index, index + 1)
        assert equal(found, image(index, channels))
        assert not found.image.flags.writeable and not found.layers[0].flags.writeable


def test_another_version_of_a_file_is_not_what_was_stored(cache, tmp_path):
    cache.put(0, 5, image(0))
    assert cache.get(0, 6) is None and cache.get(0, 0) is None
    cache.put(0, 6, image(0, channels=1))
    assert equal(cache.get(0, 6), image(0, channels=1)) and cache.get(0, 5) is None

    file = tmp_path / "a.png"
    assert file_version(file) == 0
    file.write_bytes(b"1")
    first = file_version(file)
    assert first == file_version(file) != 0
    file.write_bytes(b"12")
    assert file_version(file) != first


def test_the_budget_is_kept_by_leaving_images_out():
    small = ImageCache(SIZES, 20 * 30 * 5 + 100)
    assert small.places == 1
    small.put(0, 1, image(0))
    small.put(2, 1, image(2))
    assert equal(small.get(0, 1), image(0)) and small.get(2, 1) is None
    none = ImageCache(SIZES, 0)
    none.put(0, 1, image(0))
    assert none.places == 0 and none.get(0, 1) is None


def test_images_with_overlapping_masks_are_counted_and_not_stored(cache):
    layers = image(0).layers * 2
    cache.put(0, 1, Decoded(image(0).image, layers))
    assert cache.get(0, 1) is None
    assert cache.note_overlap(0) and not cache.note_overlap(0) and cache.note_overlap(2)
    assert cache.overlapping == 2


def put_and_exit(cache, index):
    cache.put(index, 1, image(index))
    cache.note_overlap(index)


@LINUX
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_what_one_process_puts_in_others_have(cache, method):
    process = multiprocessing.get_context(method).Process(target=put_and_exit, args=(cache, 2))
    process.start()
    process.join()
    assert process.exitcode == 0
    assert equal(cache.get(2, 1), image(2)) and cache.overlapping == 1


@LINUX
def test_processes_side_by_side_share_one_memory(cache):
    other = ImageCache(SIZES, 10**6)
    assert other.share(cache.place())
    other.put(0, 1, image(0))
    assert equal(cache.get(0, 1), image(0))


@LINUX
def test_a_memory_of_other_images_or_of_nobody_is_not_taken(cache):
    cache.put(0, 1, image(0))
    path, token = cache.place()
    for place in (("/proc/0/fd/3", token), ("", token), (path, b"x" * 16), ImageCache(SIZES[:1], 10).place()):
        assert not cache.share(place)
    assert equal(cache.get(0, 1), image(0))
    lost = pickle.dumps(ImageCache(SIZES, 10**6))  # its process is this one, but its memory is gone
    assert pickle.loads(lost).places == 0


@LINUX
def test_nothing_is_left_behind_by_a_process_that_is_killed():
    script = """
        import os, signal
        import numpy as np
        from nucleus.data.decoded import Decoded
        from nucleus.data.image_cache import ImageCache
        cache = ImageCache([(1000, 1000, 1)], 10**8)
        cache.put(0, 1, Decoded(np.ones((1000, 1000, 3), np.uint8), (np.ones((1000, 1000), np.int16),)))
        print(os.path.realpath(cache.place()[0]), flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    """
    before = set(Path("/dev/shm").iterdir()) if Path("/dev/shm").is_dir() else set()
    result = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True)
    assert result.returncode == -signal.SIGKILL
    assert not Path(result.stdout.strip()).exists()
    own = {path for path in set(Path("/dev/shm").iterdir()) - before if "nucleus" in path.name}
    assert not own


@LINUX
def test_a_grey_image_takes_no_memory_for_the_channels_it_does_not_have():
    def used(channels):
        side = 2000
        cache = ImageCache([(side, side, 1)], 10**9)
        shape = (side, side, 3)[: 2 if channels == 1 else 3]
        cache.put(0, 1, Decoded(np.ones(shape, np.uint8), (np.ones((side, side), np.int16),)))
        return Path(cache.place()[0]).stat().st_blocks * 512

    assert used(1) < 3.1 * 2000**2 and used(3) > 4.9 * 2000**2
