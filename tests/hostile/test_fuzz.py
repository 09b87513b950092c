"""Files changed at random raise the documented errors and nothing else; tools/fuzz.py tries far more of them."""

import random
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

TARGETS = {  # name: examples, fewer where one takes long
    **dict.fromkeys(("rle", "segmentation", "kaggle-runs", "kaggle-csv", "geojson", "imagej"), 150),
    **dict.fromkeys(("coco", "coco-results", "png", "jpeg", "webp", "bmp", "zip"), 100),
    **dict.fromkeys(("tiff", "ome-tiff", "label-png", "label-tiff", "zarr", "pth", "safetensors", "config"), 50),
}


@pytest.fixture(params=TARGETS)
def case(request, fuzz, tmp_path):
    if request.param == "zarr":
        pytest.importorskip("zarr", reason='OME-Zarr needs the extra: pip install "nucleus[zarr]"')
    if request.param == "imagej":
        pytest.importorskip("roifile", reason='ImageJ ROIs need the extra: pip install "nucleus[imagej]"')
    target = fuzz.targets()[request.param]
    seeds = target.seeds(tmp_path)
    for content in seeds:
        target.read(content, tmp_path)  # whole files are read
    return request.param, target, seeds


def test_every_target_is_tried(fuzz):
    assert set(fuzz.targets()) == set(TARGETS)


def test_files_changed_at_random(case, fuzz, tmp_path):
    name, target, seeds = case

    @settings(max_examples=TARGETS[name], database=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
    @given(st.randoms(use_true_random=False, note_method_calls=False))
    def nothing_but_documented_errors(rng: random.Random):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                target.read(fuzz.changed(seeds, random.Random(rng.getrandbits(64))), tmp_path)
            except target.errors:
                return

    nothing_but_documented_errors()


@given(st.binary(max_size=60))
@settings(
    max_examples=300, derandomize=True, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_bytes_as_run_lengths(fuzz, tmp_path, content):
    for name in ("rle", "kaggle-runs", "segmentation"):
        target = fuzz.targets()[name]
        try:
            target.read(content, tmp_path)
        except target.errors:
            continue


def test_the_command_finds_what_it_should(pytestconfig, tmp_path):
    """A reader with a fault is found, and the input that shows it is kept."""
    script = tmp_path / "faulty.py"
    script.write_text(
        "import sys; sys.path.insert(0, sys.argv.pop(1))\n"
        "import fuzz\n"
        "def read(content, folder):\n"
        "    if b'x' not in content: raise KeyError('fault')\n"
        "fuzz.targets = lambda: {'rle': fuzz.Target(read, lambda folder: [b'axa'], (ValueError,))}\n"
        "fuzz.__file__ = __file__\n"
        "fuzz.importlib.util.find_spec = lambda name: None\n"
        "sys.argv[1:1] = [] if '--target' in sys.argv else ['--target', 'rle']\n"
        "sys.exit(fuzz.main())\n"
    )
    tools = Path(pytestconfig.rootpath) / "tools"
    # The child is this script, too, which is told where fuzz.py is in the same way.
    script.write_text(script.read_text().replace("sys.argv.pop(1)", repr(str(tools))))
    command = [sys.executable, str(script), "--seconds", "20", "--keep", str(tmp_path / "kept")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and "FAILS" in done.stdout and "KeyError" in done.stderr
    assert b"x" not in (tmp_path / "kept" / "rle-0").read_bytes()
