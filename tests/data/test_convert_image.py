"""One image: installed, decoded, encoded; each bad file and each bad line of the solution."""

import numpy as np
import pytest
from small_bbbc038 import BOXES, HEIGHT, WIDTH, image_path, mask_of, mask_path, picture, png, tree, write_small_set

from nucleus.data.archives import open_source
from nucleus.data.bbbc038 import TEST, TRAIN, ImageFiles, list_images
from nucleus.data.convert_image import ImageConverter, Job
from nucleus.data.repairs import Repairs
from nucleus.errors import InputError
from nucleus.formats.kaggle_csv import RunRow
from nucleus.masks.kaggle_runs import encode_kaggle
from nucleus.masks.rle import decode_coco


@pytest.fixture
def small(tmp_path):
    return write_small_set(tmp_path / "set")


@pytest.fixture
def convert(small, tmp_path):
    """Convert an image of the small set into tmp_path / "root"."""

    def run(image_id="aa01", part=TRAIN, rows=(), strict=False, root=tmp_path / "root"):
        source = open_source(small / part, Repairs())
        files = {files.image_id: files for files in list_images(source, part, Repairs())}[image_id]
        return ImageConverter({part: source}, root, strict)(Job(part, files, tuple(rows)))

    return run


def kinds(converted):
    return [repair.kind for repair in converted.repairs]


def test_a_training_image(convert, small, tmp_path):
    converted = convert()
    assert converted.file_name == "stage1_train/aa01/images/aa01.png"
    assert (converted.height, converted.width, converted.modality) == (HEIGHT, WIDTH, "small_fluorescent")
    assert [nucleus.box for nucleus in converted.nuclei] == list(BOXES.values())
    assert not converted.repairs
    here = {name: content for name, content in tree(small).items() if name.startswith("stage1_train/aa01")}
    assert tree(tmp_path / "root") == here


def test_nothing_is_copied_in_place(convert, small):
    before = tree(small)
    assert convert(root=small).file_name == "stage1_train/aa01/images/aa01.png"
    assert tree(small) == before


def test_what_is_there_and_right_is_not_written_again(convert, tmp_path):
    convert()
    path = mask_path(tmp_path / "root", "aa01", "m1")
    other = mask_path(tmp_path / "root", "aa01", "m2")
    other.write_bytes(other.read_bytes()[:50])
    inode = path.stat().st_ino
    assert len(convert().nuclei) == 3
    assert path.stat().st_ino == inode
    assert other.read_bytes() == png(mask_of("m2"))


@pytest.mark.parametrize("keep", [0, 30, 500, -10])
def test_a_truncated_image_is_left_out(convert, small, keep):
    path = image_path(small, "aa01")
    path.write_bytes(path.read_bytes()[:keep])
    converted = convert()
    assert kinds(converted) == ["unreadable_image"] and converted.borders is None and not converted.nuclei
    with pytest.raises(InputError, match=r"stage1_train/aa01/images/aa01\.png: expected an image that can be decoded"):
        convert(strict=True)


def test_a_truncated_mask_is_left_out(convert, small):
    path = mask_path(small, "aa01", "m2")
    path.write_bytes(path.read_bytes()[:-20])
    converted = convert()
    assert kinds(converted) == ["unreadable_mask"]
    assert [nucleus.box for nucleus in converted.nuclei] == [BOXES["m1"], BOXES["m3"]]
    with pytest.raises(InputError, match=r"masks/m2\.png: expected a mask that can be decoded"):
        convert(strict=True)


def test_masks_of_another_size_and_empty_ones_are_left_out(convert, small):
    mask_path(small, "aa01", "m1").write_bytes(png(mask_of("m1", (HEIGHT, WIDTH + 1))))
    mask_path(small, "aa01", "m3").write_bytes(png(mask_of("m3") * 0))
    converted = convert()
    assert kinds(converted) == ["mask_size", "empty_mask"]
    assert converted.repairs[0].found == "40 x 51 pixels for an image of 40 x 50"


def test_a_file_that_vanished_is_counted(small, tmp_path):
    source = open_source(small / TRAIN, Repairs())
    files = ImageFiles("aa01", "aa01/images/aa01.png", ("aa01/masks/gone.png",))
    assert kinds(ImageConverter({TRAIN: source}, tmp_path, False)(Job(TRAIN, files))) == ["unreadable_mask"]
    files = ImageFiles("aa01", "aa01/images/gone.png", ())
    assert kinds(ImageConverter({TRAIN: source}, tmp_path, False)(Job(TRAIN, files))) == ["unreadable_image"]


RUNS = encode_kaggle(mask_of("m1") > 0)


def rows(*runs, height=HEIGHT, width=WIDTH):
    return [RunRow(line, "dd04", run, height, width) for line, run in enumerate(runs, start=2)]


def test_a_test_image_from_its_lines(convert):
    converted = convert("dd04", TEST, rows(RUNS, encode_kaggle(mask_of("m2") > 0)))
    assert [nucleus.box for nucleus in converted.nuclei] == [BOXES["m1"], BOXES["m2"]]
    mask = decode_coco({"size": [HEIGHT, WIDTH], "counts": converted.nuclei[0].counts})
    assert np.array_equal(mask, mask_of("m1") > 0)
    assert not converted.repairs


def test_one_empty_line_says_that_there_is_no_nucleus(convert):
    converted = convert("dd04", TEST, rows(""))
    assert not converted.nuclei and not converted.repairs


@pytest.mark.parametrize(
    ("runs", "found"),
    [
        ("1999 3", "leaves the image"),
        ("2001 1", "leaves the image"),
        ("1 99999999999999999999", ""),
        ("0 5", "at least 1"),
        ("5 0", "at least 1"),
        ("-4 5", "at least 1"),
        ("10 5 12 2", "increase"),
        ("100 5 10 5", "increase"),
        ("10 5 20", "pairs"),
        ("10 five", "whole numbers"),
        ("10 5.5", "whole numbers"),
        ("nan nan", "whole numbers"),
    ],
)
def test_a_bad_run_is_left_out_and_says_its_line(convert, runs, found):
    converted = convert("dd04", TEST, rows(RUNS, runs))
    assert [(repair.kind, repair.where) for repair in converted.repairs] == [("bad_run", "stage1_solution.csv line 3")]
    assert found in converted.repairs[0].found
    assert len(converted.nuclei) == 1
    with pytest.raises(InputError, match=r"stage1_solution\.csv line 3: expected increasing pairs"):
        convert("dd04", TEST, rows(RUNS, runs), strict=True)


def test_other_bad_lines(convert):
    lines = rows(RUNS, "", RUNS) + rows("1 5", height=HEIGHT + 1) + [RunRow(9, "dd04", "", fault="2 fields")]
    assert kinds(convert("dd04", TEST, lines)) == ["empty_mask", "duplicated_mask", "mask_size", "bad_run"]


def test_sixteen_bit_and_grey_images(convert, small):
    grey = picture(0)[..., 0]
    image_path(small, "aa01").write_bytes(png(grey.astype(np.uint16) * 257))
    assert convert().modality == "small_fluorescent"
    image_path(small, "aa01").write_bytes(png(grey))
    assert convert().modality == "small_fluorescent"
