"""The whole conversion: what is written, and the same bytes whatever happens."""

import errno
import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from small_bbbc038 import (
    BOXES,
    TEST_IDS,
    TRAIN_IDS,
    image_path,
    mask_of,
    mask_path,
    picture,
    png,
    tree,
    write,
    write_small_set,
    zip_part,
)

from nucleus.data.bbbc038 import TEST, TRAIN
from nucleus.data.converter import prepare
from nucleus.data.lock import only_writer
from nucleus.data.registry import SPLITS
from nucleus.data.synthetic import write_synthetic
from nucleus.errors import InputError
from nucleus.formats.coco import read_coco
from nucleus.masks.rle import decode_coco

COMMAND = Path(__file__).parents[2] / "datasets" / "prepare_bbbc038.py"


@pytest.fixture
def small(tmp_path):
    return write_small_set(tmp_path / "set")


def zipped(small, folder):
    """The small set as the publisher gives it."""
    for part in (TRAIN, TEST):
        zip_part(small, part, folder / f"{part}.zip")
    (folder / "stage1_solution.csv").write_bytes((small / "stage1_solution.csv").read_bytes())
    return folder


def coco(root, split):
    return read_coco(root / "annotations" / f"bbbc038_{split}.json")


def test_what_is_written(small, tmp_path):
    root = tmp_path / "root"
    report = prepare(zipped(small, tmp_path / "zips"), root)
    assert {name: content for name, content in tree(root).items() if not name.startswith("annotations")} == tree(small)
    assert sorted(path.name for path in (root / "annotations").iterdir()) == sorted(
        [*(f"bbbc038_{split}.json" for split in SPLITS), "report.json"]
    )
    trainval = coco(root, "trainval")
    assert trainval["images"][0] == {
        "id": 1,
        "file_name": "stage1_train/aa01/images/aa01.png",
        "height": 40,
        "width": 50,
        "modality": "small_fluorescent",
        "group": "aa01",
    }
    assert [image["id"] for image in trainval["images"]] == [1, 2, 3]
    assert trainval["categories"] == [{"id": 1, "name": "nucleus"}]
    first = trainval["annotations"][0]
    assert first.pop("segmentation")["size"] == [40, 50]
    assert first == {"id": 1, "image_id": 1, "category_id": 1, "bbox": [2, 3, 10, 12], "area": 120, "iscrowd": 0}
    assert [annotation["id"] for annotation in trainval["annotations"]] == list(range(1, 10))
    assert [image["id"] for image in coco(root, "test")["images"]] == [1, 2]
    assert json.loads((root / "annotations" / "report.json").read_text()) == report
    assert report["splits"]["trainval"]["images"] == len(TRAIN_IDS)
    assert report["splits"]["test"]["nuclei"] == 3 * len(TEST_IDS)
    assert report["repairs"] == {}


def test_every_mask_is_equal_to_its_file(small, tmp_path):
    prepare(small, tmp_path / "root")
    for split, ids in (("trainval", TRAIN_IDS), ("test", TEST_IDS)):
        content = coco(tmp_path / "root", split)
        assert [Path(image["file_name"]).stem for image in content["images"]] == list(ids)
        for number, annotation in enumerate(content["annotations"]):
            expected = mask_of(list(BOXES)[number % 3]) > 0
            assert np.array_equal(decode_coco(annotation["segmentation"]), expected)


def test_train_and_val_share_the_ids_of_trainval(tmp_path):
    write_synthetic(tmp_path, 24, test_images=1, max_size=64, progress=False)
    report = prepare(tmp_path, tmp_path)
    train, val, trainval = (coco(tmp_path, split) for split in ("train", "val", "trainval"))
    assert report["splits"]["val"]["images"] == len(val["images"]) > 0
    both = sorted(train["images"] + val["images"], key=lambda image: image["id"])
    assert both == trainval["images"]
    assert not {image["group"] for image in train["images"]} & {image["group"] for image in val["images"]}
    rles = {
        name: sorted((a["image_id"], a["segmentation"]["counts"]) for a in content["annotations"])
        for name, content in (("parts", {"annotations": train["annotations"] + val["annotations"]}), ("all", trainval))
    }
    assert rles["parts"] == rles["all"]


def test_the_same_bytes_from_folders_archives_and_any_number_of_workers(small, tmp_path):
    archives = zipped(small, tmp_path / "zips")
    deeper = tmp_path / "deeper" / "inside"
    for part in (TRAIN, TEST):
        zip_part(small, part, deeper / f"{part}.zip", f"{part}/")
    (deeper / "stage1_solution.csv").write_bytes((small / "stage1_solution.csv").read_bytes())
    runs = [(small, 1), (archives, 2), (archives, 3), (deeper.parent, 1)]
    for number, (source, workers) in enumerate(runs):
        prepare(source, tmp_path / f"root{number}", workers=workers)
    trees = [tree(tmp_path / f"root{number}") for number in range(len(runs))]
    assert all(other == trees[0] for other in trees[1:])


def test_a_set_in_place_is_not_copied(small):
    before = tree(small)
    inodes = {path: path.stat().st_ino for path in small.rglob("*.png")}
    prepare(small, small)
    after = tree(small)
    assert {name: after[name] for name in before} == before
    assert all(name.startswith("annotations/") for name in set(after) - set(before))
    assert {path: path.stat().st_ino for path in small.rglob("*.png")} == inodes


def test_in_place_one_folder_deeper(small, tmp_path):
    (small / TRAIN).rename(small / "moved")
    (small / TRAIN).mkdir()
    (small / "moved").rename(small / TRAIN / TRAIN)
    prepare(small, small)
    names = [image["file_name"] for image in coco(small, "trainval")["images"]]
    assert names[0] == "stage1_train/stage1_train/aa01/images/aa01.png"
    assert all((small / name).is_file() for name in names)


def test_archives_in_the_root_are_unpacked_there(small, tmp_path):
    root = zipped(small, tmp_path / "root")
    prepare(root, root)
    first = tree(root)
    prepare(root, root)
    assert tree(root) == first and f"{TRAIN}/aa01/images/aa01.png" in first


def damage(small):
    """Make five things wrong, each of another kind."""
    image_path(small, "aa01").write_bytes(png(picture(0))[:-30])
    write(mask_path(small, "bb02", "m1"), mask_of("m1") * 0)
    write(mask_path(small, "bb02", "m4"), mask_of("m3"))
    write(small / TRAIN / "dd04" / "images" / "dd04.png", picture(9))
    write(small / TRAIN / "dd04" / "masks" / "m1.png", mask_of("m1"))
    csv = small / "stage1_solution.csv"
    csv.write_text(csv.read_text() + "dd04,1 2 1 2,40,50,Public\n")


def test_repairs_are_counted_in_the_report(small, tmp_path):
    damage(small)
    report = prepare(small, tmp_path / "root")
    assert {kind: repair["count"] for kind, repair in report["repairs"].items()} == {
        "train_image_in_test": 1,
        "unreadable_image": 1,
        "empty_mask": 1,
        "duplicated_mask": 1,
        "bad_run": 1,
    }
    assert report["repairs"]["empty_mask"]["cases"] == [
        {"where": "stage1_train/bb02/masks/m1.png", "found": "no pixel above 0"}
    ]
    assert report["splits"]["trainval"]["images"] == 2  # bb02 and cc03
    assert report["splits"]["trainval"]["nuclei"] == 5
    prepare(small, tmp_path / "other", workers=2)
    assert tree(tmp_path / "other") == tree(tmp_path / "root")


@pytest.mark.parametrize("workers", [1, 2])
def test_strict_stops_at_the_first_and_writes_no_annotations(small, tmp_path, workers):
    write(mask_path(small, "bb02", "m1"), mask_of("m1") * 0)
    write(mask_path(small, "cc03", "m1"), mask_of("m1") * 0)
    with pytest.raises(InputError, match=r"stage1_train/bb02/masks/m1\.png: expected a mask with a nucleus"):
        prepare(small, tmp_path / "root", workers=workers, strict=True)
    assert not (tmp_path / "root" / "annotations").exists()


def test_a_sound_set_passes_strict(small, tmp_path):
    assert prepare(small, tmp_path / "root", strict=True)["repairs"] == {}


def test_what_is_missing_is_named(small, tmp_path):
    (small / "stage1_solution.csv").unlink()
    with pytest.raises(InputError, match=r"expected stage1_solution.csv"):
        prepare(small, tmp_path / "root")
    with pytest.raises(InputError, match=r"nowhere: expected stage1_train.zip or stage1_train"):
        prepare(tmp_path / "nowhere", tmp_path / "root")


def test_only_one_run_writes_a_root(small, tmp_path):
    with only_writer(tmp_path / "root"), pytest.raises(InputError, match="another run"):
        prepare(small, tmp_path / "root")


def test_a_truncated_archive_leaves_the_old_annotations(small, tmp_path):
    archives = zipped(small, tmp_path / "zips")
    prepare(archives, tmp_path / "root")
    before = tree(tmp_path / "root")
    whole = (archives / f"{TRAIN}.zip").read_bytes()
    (archives / f"{TRAIN}.zip").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"stage1_train\.zip: expected a whole zip archive"):
        prepare(archives, tmp_path / "root")
    assert tree(tmp_path / "root") == before


@pytest.fixture
def large(small):
    """The small set and eight images more, together larger than the small disk."""
    for number in range(8):
        write(small / TRAIN / f"x{number}" / "images" / "x.png", picture(number, (300, 300)))
        write(small / TRAIN / f"x{number}" / "masks" / "m.png", mask_of("m1", (300, 300)))
    return small


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 256 kB in memory, or a limit on the size of files where the system lets us mount none."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(disk)]
    if os.geteuid() == 0 and subprocess.run(mount, capture_output=True, check=False).returncode == 0:
        yield disk
        subprocess.run(["umount", str(disk)], check=True)
        return
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, limits[1]))  # larger than a mask, smaller than an image
    yield disk
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_disk_that_fills_is_an_error_and_leaves_no_half_file(large, small_disk, workers):
    with pytest.raises(InputError, match=r"expected room to write.*run it again") as raised:
        prepare(large, small_disk / "root", workers=workers)
    assert raised.value.__cause__.errno in (errno.ENOSPC, errno.EFBIG)
    source = tree(large)
    written = tree(small_disk / "root")
    assert all(source[name.replace("root/", "")] == content for name, content in written.items())


def test_annotations_that_do_not_fit_leave_the_old_ones(small, small_disk, tmp_path):
    if not os.path.ismount(small_disk):
        pytest.skip("needs a small disk: the right to mount one")
    prepare(small, small_disk)
    before = tree(small_disk / "annotations")
    free = os.statvfs(small_disk).f_bavail * os.statvfs(small_disk).f_bsize
    (small_disk / "filler").write_bytes(b"x" * free)
    with pytest.raises(InputError, match="expected room to write"):
        prepare(small, small_disk)
    assert tree(small_disk / "annotations") == before


@pytest.mark.parametrize("workers", [1, 2])
def test_a_killed_run_is_completed_by_the_next(tmp_path, workers):
    """A real process, killed by signal 9 once it has begun to write; nothing of it is left in the end."""
    source = tmp_path / "source"
    write_synthetic(source, 40, test_images=4, max_size=256, progress=False)
    (source / "synthetic.json").unlink()
    prepare(source, tmp_path / "whole")
    root = tmp_path / "root"
    options = ["--source", source, "--root", root, "--workers", str(workers)]
    process = subprocess.Popen([sys.executable, COMMAND, *options])
    while not list(root.glob("stage1_*/*/images/*.png")):
        assert process.poll() is None
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    whole = tree(tmp_path / "whole")
    assert len(tree(root)) < len(whole)
    # What a run leaves that is killed at a worse moment: half an image, half a report.
    mask = next(name for name in sorted(whole) if "/masks/" in name)
    (root / mask).parent.mkdir(parents=True, exist_ok=True)
    (root / mask).with_name(f".{Path(mask).name}.part").write_bytes(whole[mask][:20])
    (root / "annotations").mkdir(exist_ok=True)
    (root / "annotations" / ".report-abc.tmp.json").write_text("{")
    prepare(source, root)
    assert tree(root) == whole


def test_a_look_alike_passes_strict(tmp_path):
    write_synthetic(tmp_path, 6, test_images=2, max_size=128, progress=False)
    assert prepare(tmp_path, tmp_path, strict=True)["splits"]["trainval"]["images"] == 6
