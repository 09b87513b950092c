"""A user's own images: label images of every kind, any COCO file, and every way in which they can be wrong."""

import json

import cv2
import numpy as np
import pytest
import tifffile

from nucleus.data.own_images import convert_coco, convert_label_images
from nucleus.errors import InputError
from nucleus.formats.coco import read_coco
from nucleus.formats.label_image import write_label_image
from nucleus.masks.rle import coco_area, coco_box, decode_coco, encode_coco

LABELS = np.zeros((30, 40), np.int32)
LABELS[2:8, 3:12] = 5
LABELS[10:20, 0:7] = 2
LABELS[25:, 30:] = 9  # to the last pixel
LABELS[0, 20] = LABELS[29, 20] = 7  # in two pieces


@pytest.fixture
def folders(tmp_path):
    """Two images, one in a subfolder, with label images of different formats."""
    images, labels = tmp_path / "images", tmp_path / "labels"
    for folder in (images, labels):
        (folder / "sub").mkdir(parents=True)
    grey = np.where(LABELS > 0, 200, 20).astype(np.uint8)
    cv2.imwrite(str(images / "one.png"), grey)
    tifffile.imwrite(images / "sub" / "two.tif", grey.astype(np.uint16) * 200)
    write_label_image(labels / "one.tif", LABELS)
    write_label_image(labels / "sub" / "two.png", np.zeros_like(LABELS))
    return images, labels


def test_images_and_label_images(folders, tmp_path):
    before = sorted(tmp_path.rglob("*"))
    assert convert_label_images(*folders, tmp_path / "out.json") == {"images": 2, "nuclei": 4}
    assert sorted({*tmp_path.rglob("*")} - {*before}) == [tmp_path / "out.json"]  # no image was copied
    coco = read_coco(tmp_path / "out.json")
    assert [image["file_name"] for image in coco["images"]] == ["one.png", "sub/two.tif"]
    assert coco["images"][0]["modality"] == "small_fluorescent"
    assert all(annotation["image_id"] == 1 for annotation in coco["annotations"])
    for label, annotation in zip((2, 5, 7, 9), coco["annotations"], strict=True):
        mask = label == LABELS
        assert annotation["segmentation"] == encode_coco(mask)
        assert (annotation["area"], annotation["bbox"]) == (mask.sum(), coco_box(encode_coco(mask)))


@pytest.mark.parametrize("workers", [1, 2])
def test_random_labels_decode_to_themselves(tmp_path, workers):
    random = np.random.default_rng(0)
    expected = {}
    for number in range(3):
        labels = random.integers(0, 4, (20, 25)).astype(np.int32) * 1000
        expected[f"{number}.png"] = labels
        (tmp_path / "i").mkdir(exist_ok=True)
        cv2.imwrite(str(tmp_path / "i" / f"{number}.png"), labels.astype(np.uint8))
        write_label_image(tmp_path / "l" / f"{number}.png", labels)
    convert_label_images(tmp_path / "i", tmp_path / "l", tmp_path / "out.json", workers=workers)
    coco = read_coco(tmp_path / "out.json")
    for image in coco["images"]:
        drawn = np.zeros((20, 25), np.int32)
        rles = [a["segmentation"] for a in coco["annotations"] if a["image_id"] == image["id"]]
        for label, rle in zip((1000, 2000, 3000), rles, strict=True):
            drawn[decode_coco(rle)] = label
        assert np.array_equal(drawn, expected[image["file_name"]])


def test_a_suffix_tells_label_images_apart_in_one_folder(folders, tmp_path):
    images, labels = folders
    (labels / "one.tif").rename(images / "one_masks.tif")
    (labels / "sub" / "two.png").rename(images / "sub" / "two_masks.png")
    counts = convert_label_images(images, images, tmp_path / "out.json", label_suffix="_masks")
    assert counts == {"images": 2, "nuclei": 4}
    with pytest.raises(InputError, match="--label-suffix"):
        convert_label_images(images, images, tmp_path / "out.json")


def break_label(labels, what):
    path = labels / "one.tif"
    if what == "missing":
        path.unlink()
    elif what == "superfluous":
        write_label_image(labels / "three.png", LABELS)
    elif what == "twice":
        write_label_image(labels / "one.png", LABELS)
    elif what == "size":
        write_label_image(path, LABELS[:-1])
    elif what == "fractions":
        tifffile.imwrite(path, LABELS.astype(np.float32))
    elif what == "colours":
        path.unlink()
        cv2.imwrite(str(labels / "one.png"), np.dstack([LABELS] * 3).astype(np.uint8))
    elif what == "negative":
        tifffile.imwrite(path, (LABELS - 1).astype(np.int16))
    elif what == "truncated":
        path.write_bytes(path.read_bytes()[:100])


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("missing", r"images: expected a label image for every image and the reverse, found 1 without partner.*: one"),
        ("superfluous", r"labels: expected .*, found 1 without partner in .*: three"),
        ("twice", r"expected one file of each name, found one\.png, too"),
        ("size", r"one\.tif: expected labels of 30 x 40 pixels, as the image, found 29 x 40"),
        ("fractions", r"one\.tif: expected whole numbers, found float32"),
        ("colours", r"one\.png: expected a label image with one channel"),
        ("negative", r"one\.tif: expected labels from 0"),
        ("truncated", r"one\.tif: expected a label image"),
    ],
)
def test_what_is_wrong_with_label_images_is_said(folders, tmp_path, what, message):
    break_label(folders[1], what)
    with pytest.raises(InputError, match=message):
        convert_label_images(*folders, tmp_path / "out.json")
    assert not (tmp_path / "out.json").exists()


def test_binary_masks_and_cut_labels_are_no_label_images(tmp_path, caplog):
    many = np.zeros((120, 120), np.int32)
    many[::6, ::6] = np.arange(1, 401).reshape(20, 20)
    kinds = {"binary": (many > 0) * 255, "ones": (many > 0) * 1, "cut": many, "most": many * (many <= 255)}
    for folder, labels in kinds.items():
        for number in range(2):
            write_label_image(tmp_path / folder / "images" / f"{number}.png", (many > 0) * 200)
            write_label_image(tmp_path / folder / "labels" / f"{number}.png", labels.astype(np.uint8).astype(np.int32))

    def convert(folder):
        return convert_label_images(tmp_path / folder / "images", tmp_path / folder / "labels", tmp_path / "out.json")

    with pytest.raises(InputError, match=r"0\.png: .*a binary mask"):
        convert("binary")
    with pytest.raises(InputError, match="expected label images, one whole number a nucleus, found binary masks"):
        convert("ones")
    with pytest.raises(InputError, match="more nuclei than 8 bits hold"):
        convert("cut")
    assert not (tmp_path / "out.json").exists()
    assert convert("most") == {"images": 2, "nuclei": 510}
    assert "Label images that use all of 1..255" in caplog.text and ": 2: 0.png, 1.png" in caplog.text


def test_an_ome_tiff_has_the_labels_of_its_name(folders, tmp_path):
    images, labels = folders
    tifffile.imwrite(images / "three.ome.tif", LABELS.astype(np.uint8))
    write_label_image(labels / "three_labels.tif", LABELS)
    for path in (labels / "one.tif", labels / "sub" / "two.png"):
        path.rename(path.with_name(f"{path.stem}_labels{path.suffix}"))
    assert convert_label_images(images, labels, tmp_path / "out.json", label_suffix="_labels")["images"] == 3


def test_a_stack_says_what_can_be_done_about_it(folders, tmp_path):
    tifffile.imwrite(folders[0] / "sub" / "two.tif", np.zeros((3, 30, 40), np.uint8), photometric="minisblack")
    with pytest.raises(InputError, match="Save the one plane as a file of its own"):
        convert_label_images(*folders, tmp_path / "out.json")


def test_no_images_at_all(folders, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="expected images"):
        convert_label_images(tmp_path / "empty", folders[1], tmp_path / "out.json")
    with pytest.raises(InputError, match="expected a folder, found nothing there"):
        convert_label_images(tmp_path / "nowhere", folders[1], tmp_path / "out.json")


@pytest.fixture
def theirs(folders, tmp_path):
    """A COCO file as others write it: two categories, every form of segmentation, a crowd region, odd ids."""
    content = {
        "images": [
            {"id": 70, "file_name": "one.png", "height": 30, "width": 40, "license": 3},
            {"id": 30, "file_name": "sub/two.tif", "height": 30, "width": 40},
        ],
        "annotations": [
            {"id": 9, "image_id": 70, "category_id": 4, "segmentation": [[3, 2, 12, 2, 12, 8, 3, 8]]},
            {"id": 8, "image_id": 70, "category_id": 2, "segmentation": encode_coco(LABELS == 2), "iscrowd": None},
            {"id": 7, "image_id": 30, "category_id": 4, "iscrowd": 1,
             "segmentation": {"size": [30, 40], "counts": [30, 60, 1110]}},
        ],
        "categories": [{"id": 2, "name": "lymphocyte"}, {"id": 4, "name": "other"}],
    }  # fmt: skip
    path = tmp_path / "theirs.json"
    path.write_text(json.dumps(content))
    return path, content


def test_any_coco_file(theirs, folders, tmp_path):
    assert convert_coco(theirs[0], folders[0], tmp_path / "out.json") == {"images": 2, "nuclei": 2}
    coco = read_coco(tmp_path / "out.json")
    assert [image["id"] for image in coco["images"]] == [1, 2]
    assert coco["categories"] == [{"id": 1, "name": "nucleus"}]
    first, second, crowd = coco["annotations"]
    assert first["segmentation"] == encode_coco(LABELS == 5)
    assert first["bbox"] == [3, 2, 9, 6] and first["area"] == coco_area(first["segmentation"]) == 54
    assert second["segmentation"] == encode_coco(LABELS == 2)
    assert (crowd["image_id"], crowd["iscrowd"], crowd["area"]) == (2, 1, 60)
    assert {annotation["category_id"] for annotation in coco["annotations"]} == {1}


def test_one_category_of_a_coco_file(theirs, folders, tmp_path):
    counts = convert_coco(theirs[0], folders[0], tmp_path / "out.json", category="lymphocyte")
    assert counts == {"images": 2, "nuclei": 1}
    with pytest.raises(InputError, match=r"expected a category 'cell', found 'lymphocyte', 'other'"):
        convert_coco(theirs[0], folders[0], tmp_path / "out.json", category="cell")


def test_what_a_coco_file_says_twice(theirs, folders, tmp_path, caplog):
    path, content = theirs
    content["categories"].append({"id": 5, "name": "other", "supercategory": "else"})
    first, second = content["annotations"][:2]
    content["annotations"] += [first | {"id": 10}, second | {"id": 11, "category_id": 5}]
    path.write_text(json.dumps(content))
    assert convert_coco(path, folders[0], tmp_path / "out.json", category="other")["nuclei"] == 2  # of both ids
    assert "equal another one of their image, which are left out: 1" in caplog.text
    content["images"].append(content["images"][0] | {"id": 71})
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"each image once, found one\.png under two ids"):
        convert_coco(path, folders[0], tmp_path / "out.json")


def test_a_converted_file_can_be_converted_again(theirs, folders, tmp_path):
    convert_coco(theirs[0], folders[0], tmp_path / "a.json")
    convert_coco(tmp_path / "a.json", folders[0], tmp_path / "b.json", workers=2)
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
    with pytest.raises(InputError, match="--output: expected another file than --coco"):
        convert_coco(tmp_path / "a.json", folders[0], tmp_path / "a.json")


def change(theirs, **changes):
    path, content = theirs
    for part, change in changes.items():
        content[part][0] |= change
    path.write_text(json.dumps(content))
    return path


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": {"file_name": "gone.png"}}, r"gone\.png: expected the image that theirs\.json names"),
        ({"images": {"height": 31}}, r"one\.png: expected an image of 31 x 40 pixels, as in the COCO file, found 30"),
        ({"annotations": {"segmentation": []}}, r"annotation 9 of one\.png: expected a COCO segmentation"),
        ({"annotations": {"segmentation": {"size": [30, 40], "counts": [1200]}}}, "expected a mask with pixels"),
        ({"annotations": {"image_id": 1}}, "image_id 1 in annotation 9"),
    ],
)
def test_what_is_wrong_with_a_coco_file_is_said(theirs, folders, tmp_path, changes, message):
    with pytest.raises(InputError, match=message):
        convert_coco(change(theirs, **changes), folders[0], tmp_path / "out.json")
    assert not (tmp_path / "out.json").exists()


@pytest.mark.parametrize(
    "name", ["../secret.png", "/etc/hostname", "a/../../x.png", "..", "a\0b.png", "../images2/a.png"]
)
def test_a_coco_file_names_images_inside_their_folder_only(theirs, folders, tmp_path, name):
    content = json.loads(theirs[0].read_text())
    content["images"][0]["file_name"] = name
    theirs[0].write_text(json.dumps(content))
    with pytest.raises(InputError, match="expected images inside"):
        convert_coco(theirs[0], folders[0], tmp_path / "out.json")


def test_a_full_path_inside_the_folder_is_taken(theirs, folders, tmp_path):
    content = json.loads(theirs[0].read_text())
    name = content["images"][0]["file_name"]
    content["images"][0]["file_name"] = str((folders[0] / name).absolute())
    theirs[0].write_text(json.dumps(content))
    convert_coco(theirs[0], folders[0], tmp_path / "out.json")
    assert json.loads((tmp_path / "out.json").read_text())["images"][0]["file_name"] == name
