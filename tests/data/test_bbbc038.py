"""The layout: archives or folders, one folder deep or not; doubled, missing and superfluous parts."""

import shutil

import pytest
from small_bbbc038 import BOXES, TEST_IDS, TRAIN_IDS, image_path, picture, write, write_small_set, zip_part

from nucleus.data.archives import open_source
from nucleus.data.bbbc038 import SOLUTION, TEST, TRAIN, list_images, locate, read_solution
from nucleus.data.repairs import Repairs
from nucleus.errors import InputError


@pytest.fixture
def small(tmp_path):
    return write_small_set(tmp_path / "set")


def listed(path, part=TRAIN, strict=False):
    repairs = Repairs(strict)
    return list_images(open_source(path, repairs), part, repairs), repairs


def test_images_and_masks_of_each_id(small):
    images, repairs = listed(small / TRAIN)
    assert [image.image_id for image in images] == list(TRAIN_IDS)
    assert images[0].image == "aa01/images/aa01.png"
    assert images[0].masks == tuple(f"aa01/masks/{name}.png" for name in BOXES)
    assert [image.masks for image in listed(small / TEST, TEST)[0]] == [()] * len(TEST_IDS)
    assert not repairs.found


@pytest.mark.parametrize("below", ["", "stage1_train/", "BBBC038/stage1_train/"])
def test_ids_may_lie_deeper(small, tmp_path, below):
    images, repairs = listed(zip_part(small, TRAIN, tmp_path / "a.zip", below))
    assert [image.image_id for image in images] == list(TRAIN_IDS)
    assert images[0].image == f"{below}aa01/images/aa01.png"
    assert not repairs.found


def test_a_part_is_found_one_folder_deeper_and_an_archive_before_a_folder(small, tmp_path):
    assert locate(small, TRAIN) == small / TRAIN
    assert locate(tmp_path, TRAIN) == small / TRAIN
    assert locate(tmp_path, SOLUTION) == small / SOLUTION
    archive = zip_part(small, TRAIN, small / f"{TRAIN}.zip")
    assert locate(small, TRAIN) == archive
    with pytest.raises(InputError, match=r"expected stage1_test.zip or stage1_test, found none.*--download"):
        locate(small / TRAIN, TEST)


def test_an_image_without_masks_folder_is_left_out_but_one_with_an_empty_folder_has_no_nuclei(small, tmp_path):
    shutil.rmtree(small / TRAIN / "aa01" / "masks")
    for path in (small / TRAIN / "bb02" / "masks").iterdir():
        path.unlink()
    for path in (small / TRAIN, zip_part(small, TRAIN, tmp_path / "a.zip")):
        images, repairs = listed(path)
        assert [(image.image_id, len(image.masks)) for image in images] == [("bb02", 0), ("cc03", 3)]
        assert repairs.counts() == {"missing_masks": 1}
    with pytest.raises(InputError, match=r"stage1_train/aa01: expected a folder masks/"):
        listed(small / TRAIN, strict=True)


@pytest.mark.parametrize("remove", ["the image", "the folder"])
def test_masks_without_image_are_left_out(small, remove):
    if remove == "the image":
        image_path(small, "aa01").unlink()
    else:
        shutil.rmtree(small / TRAIN / "aa01" / "images")
    images, repairs = listed(small / TRAIN)
    assert [image.image_id for image in images] == ["bb02", "cc03"]
    assert repairs.counts() == {"missing_image": 1}
    assert repairs.found[0].found == "none, and 3 masks"


def test_a_doubled_id_keeps_the_first(small):
    shutil.copytree(small / TRAIN / "bb02", small / TRAIN / "again" / "bb02")
    images, repairs = listed(small / TRAIN)
    assert [image.image for image in images if image.image_id == "bb02"] == ["again/bb02/images/bb02.png"]
    assert [(repair.kind, repair.where) for repair in repairs.found] == [("duplicated_id", "stage1_train/bb02")]


def test_of_several_images_the_one_named_as_the_folder_is_taken(small):
    write(small / TRAIN / "aa01" / "images" / "a.png", picture(9))
    images, repairs = listed(small / TRAIN)
    assert images[0].image == "aa01/images/aa01.png"
    assert repairs.counts() == {"several_images": 1}
    image_path(small, "aa01").rename(small / TRAIN / "aa01" / "images" / "b.png")
    assert listed(small / TRAIN)[0][0].image == "aa01/images/a.png"


def test_the_solution_by_image(small):
    test_images, _ = listed(small / TEST, TEST)
    repairs = Repairs()
    rows = read_solution(small / SOLUTION, test_images, repairs)
    assert {image_id: len(lines) for image_id, lines in rows.items()} == dict.fromkeys(TEST_IDS, 3)
    assert not repairs.found


def test_lines_without_image_and_an_image_without_lines(small):
    text = (small / SOLUTION).read_text()
    (small / SOLUTION).write_text(text.replace("ee05", "zz99"))
    test_images, _ = listed(small / TEST, TEST)
    repairs = Repairs()
    assert list(read_solution(small / SOLUTION, test_images, repairs)) == ["dd04"]
    assert [(repair.kind, repair.where) for repair in repairs.found] == [
        ("solution_without_image", "stage1_solution.csv line 5"),
        ("image_without_solution", "stage1_test/ee05"),
    ]


def test_the_real_data_has_the_published_numbers(bbbc038_source):
    repairs = Repairs()
    sources = {part: open_source(locate(bbbc038_source, part), repairs) for part in (TRAIN, TEST)}
    train, test = (list_images(source, part, repairs) for part, source in sources.items())
    rows = read_solution(locate(bbbc038_source, SOLUTION), test, repairs)
    assert (len(train), sum(len(image.masks) for image in train)) == (664, 28_986)
    assert (len(test), sum(map(len, rows.values()))) == (65, 4_152)
    assert not repairs.found
