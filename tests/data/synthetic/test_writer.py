"""The whole look-alike on disk: the same bytes whatever happens on the way."""

from __future__ import annotations

import csv
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path

import cv2
import numpy as np
import pytest

from nucleus.data.lock import only_writer
from nucleus.data.synthetic import image_id, make_field, write_synthetic
from nucleus.data.synthetic.fields import first_image_of_field, kind_of_field
from nucleus.errors import InputError
from nucleus.masks.kaggle_runs import decode_kaggle

IMAGES, TEST_IMAGES, SEED, SIZE = 48, 5, 7, 96


def digests(root: Path) -> dict[str, str]:
    """Every file of a folder and what is in it."""
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("whole")
    summary = write_synthetic(root, IMAGES, SEED, test_images=TEST_IMAGES, max_size=SIZE, progress=False)
    assert (summary.written, summary.kept) == (IMAGES + TEST_IMAGES, 0)
    return root


def test_the_number_of_processes_changes_no_byte(whole: Path, tmp_path: Path) -> None:
    write_synthetic(tmp_path, IMAGES, SEED, test_images=TEST_IMAGES, max_size=SIZE, workers=2, progress=False)
    assert digests(tmp_path) == digests(whole)


def test_another_seed_gives_other_images(whole: Path, tmp_path: Path) -> None:
    write_synthetic(tmp_path, 2, SEED + 1, test_images=0, max_size=SIZE, progress=False)
    names = {path.name for path in (whole / "stage1_train").iterdir()}
    assert not names & {path.name for path in (tmp_path / "stage1_train").iterdir()}


def test_the_files_hold_the_truth_that_was_drawn(whole: Path) -> None:
    assert len(list((whole / "stage1_train").iterdir())) == IMAGES
    field = 0
    while (first := first_image_of_field(field)) < IMAGES:
        for number, tile in zip(range(first, IMAGES), make_field(SEED, "train", field, SIZE), strict=False):
            name = image_id(SEED, "train", number)
            folder = whole / "stage1_train" / name
            picture = cv2.imread(str(folder / "images" / f"{name}.png"), cv2.IMREAD_UNCHANGED)
            assert (picture[..., 2::-1] == tile.image).all()
            masks = np.stack([cv2.imread(str(p), cv2.IMREAD_UNCHANGED) > 0 for p in (folder / "masks").iterdir()])
            assert masks.sum(axis=0).max() == 1  # disjoint
            assert {mask.tobytes() for mask in masks} == {
                (tile.labels == label).tobytes() for label in range(1, tile.labels.max() + 1)
            }
        field += 1
    assert any(kind_of_field(number).tiles == 4 for number in range(field))


def test_the_solution_decodes_to_the_truth_of_the_test_images(whole: Path) -> None:
    with (whole / "stage1_solution.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["ImageId", "EncodedPixels", "Height", "Width", "Usage"]
    masks = defaultdict(list)
    for row in rows:
        masks[row["ImageId"]].append(decode_kaggle(row["EncodedPixels"], int(row["Height"]), int(row["Width"])))
    assert set(masks) == {path.name for path in (whole / "stage1_test").iterdir()}
    for number in range(TEST_IMAGES):  # the first five fields are one image each
        truth = make_field(SEED, "test", number, SIZE)[0].labels
        found = masks[image_id(SEED, "test", number)]
        assert len(found) == truth.max()
        assert all((mask == (truth == label)).all() for label, mask in enumerate(found, start=1))


def test_a_second_call_changes_nothing(whole: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in whole.rglob("*.png")}
    solution = (whole / "stage1_solution.csv").stat().st_mtime_ns
    summary = write_synthetic(whole, IMAGES, SEED, test_images=TEST_IMAGES, max_size=SIZE, progress=False)
    assert (summary.written, summary.kept) == (0, IMAGES + TEST_IMAGES)
    assert before == {path: path.stat().st_mtime_ns for path in whole.rglob("*.png")}
    assert solution == (whole / "stage1_solution.csv").stat().st_mtime_ns


def test_a_smaller_set_is_the_beginning_of_a_larger_one(whole: Path, tmp_path: Path) -> None:
    write_synthetic(tmp_path, 9, SEED, test_images=2, max_size=SIZE, progress=False)
    small, large = digests(tmp_path / "stage1_train"), digests(whole / "stage1_train")
    assert small.items() < large.items()
    summary = write_synthetic(tmp_path, IMAGES, SEED, test_images=TEST_IMAGES, max_size=SIZE, progress=False)
    assert summary.kept == 11
    assert digests(tmp_path) == digests(whole)


def test_lost_images_are_written_again(whole: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    shutil.copytree(whole, root)
    for part in ("stage1_train", "stage1_test"):
        shutil.rmtree(sorted((root / part).iterdir())[0])
    summary = write_synthetic(root, IMAGES, SEED, test_images=TEST_IMAGES, max_size=SIZE, progress=False)
    assert summary.written == 2
    assert digests(root) == digests(whole)


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="finds the workers of the killed process in /proc")
def test_a_killed_run_leaves_whole_images_no_workers_and_can_go_on(whole: Path, tmp_path: Path) -> None:
    command = [
        sys.executable, "-m", "nucleus", "synth", f"--root={tmp_path}", f"--images={IMAGES}", f"--seed={SEED}",
        f"--test-images={TEST_IMAGES}", f"--max-size={SIZE}", "--workers=2",
    ]  # fmt: skip
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    folder = tmp_path / "stage1_train"
    while process.poll() is None and not (folder.is_dir() and len(list(folder.iterdir())) >= 3):
        time.sleep(0.002)
    workers = [int(pid) for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]
    assert workers
    process.send_signal(signal.SIGKILL)
    process.wait()
    left = workers
    for _ in range(6000):  # they end as soon as they notice; a minute is only there to fail instead of hanging
        left = [pid for pid in left if _alive(pid)]
        if not left:
            break
        time.sleep(0.01)
    assert not left

    finished = digests(folder)
    assert finished.items() < digests(whole / "stage1_train").items()  # some of the images, and all bytes of those
    assert not (tmp_path / "stage1_solution.csv").exists()
    assert subprocess.run(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL).returncode == 0
    assert digests(tmp_path) == digests(whole)


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_a_disk_that_fills_is_named_and_leaves_no_half_image(tmp_path: Path) -> None:
    """No file may grow beyond 3 kB here, which fails in the middle of a picture as a full disk does."""
    command = [
        sys.executable, "-m", "nucleus", "synth", f"--root={tmp_path}", "--images=6", "--workers=1",
        "--max-size=96",
    ]  # fmt: skip
    limited = ["/bin/sh", "-c", 'ulimit -f 6; exec "$@"', "sh", *command]  # in blocks of 512 bytes
    result = subprocess.run(limited, capture_output=True, text=True)
    assert result.returncode == 2, result.stderr
    assert "File too large" in result.stderr and "Traceback" not in result.stderr
    assert not list(tmp_path.glob("stage1_*/*/*/*.png"))
    assert subprocess.run(command, capture_output=True).returncode == 0
    assert len(list(tmp_path.glob("stage1_train/*/images/*.png"))) == 6


def test_two_runs_do_not_write_one_root(tmp_path: Path) -> None:
    with only_writer(tmp_path), pytest.raises(InputError, match="another run"):
        write_synthetic(tmp_path, 2, progress=False)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_root_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(InputError, match=r"(?i)permission"):
        write_synthetic(tmp_path, 1, progress=False)


def test_a_file_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "root").touch()
    with pytest.raises(InputError, match="root"):
        write_synthetic(tmp_path / "root", 1, progress=False)


@pytest.mark.parametrize(
    ("option", "value"),
    [("images", 0), ("seed", -1), ("test_images", -1), ("workers", 0), ("max_size", 63), ("max_size", 0)],
)
def test_numbers_out_of_range_are_named(tmp_path: Path, option: str, value: int) -> None:
    with pytest.raises(InputError, match=option.replace("_", "-")):
        write_synthetic(tmp_path / "root", **{"images": 1, "progress": False, option: value})
    assert not (tmp_path / "root").exists()
