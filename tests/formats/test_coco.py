"""COCO files: written and read again, checked, and every form of segmentation."""

import json

import numpy as np
import pytest
from pycocotools.coco import COCO

from nucleus.errors import InputError
from nucleus.formats.coco import read_coco, rle_from_segmentation, write_coco
from nucleus.masks.rle import decode_coco, encode_coco

IMAGE = {"id": 1, "file_name": "a.png", "height": 4, "width": 5}
MASK = np.zeros((4, 5), bool)
MASK[1:3, 2:4] = True
ANNOTATION = {
    "id": 1, "image_id": 1, "category_id": 1, "bbox": [2, 1, 2, 2], "area": 4, "iscrowd": 0,
    "segmentation": encode_coco(MASK),
}  # fmt: skip


def write(path, images=(IMAGE,), annotations=(ANNOTATION,), **other):
    write_coco(path, {"description": "é"}, iter(images), iter(annotations), **other)
    return path


def test_what_is_written_is_read_again(tmp_path):
    coco = read_coco(write(tmp_path / "a.json"))
    assert coco == {
        "info": {"description": "é"},
        "categories": [{"id": 1, "name": "nucleus"}],
        "images": [IMAGE],
        "annotations": [ANNOTATION],
    }


def test_pycocotools_reads_it_too(tmp_path, capsys):
    coco = COCO(str(write(tmp_path / "a.json")))
    assert np.array_equal(coco.annToMask(coco.anns[1]), MASK)


def test_one_image_and_one_annotation_a_line(tmp_path):
    lines = write(tmp_path / "a.json", [IMAGE, IMAGE | {"id": 2}]).read_text().splitlines()
    assert [line.rstrip(",") for line in lines].count(json.dumps(IMAGE)) == 1
    assert json.dumps(ANNOTATION) in lines


def test_an_empty_set(tmp_path):
    coco = read_coco(write(tmp_path / "a.json", [], []))
    assert coco["images"] == coco["annotations"] == []


def test_an_error_on_the_way_leaves_the_old_file(tmp_path):
    before = write(tmp_path / "a.json").read_bytes()

    def broken():
        yield ANNOTATION
        raise RuntimeError

    with pytest.raises(RuntimeError):
        write(tmp_path / "a.json", annotations=broken())
    assert (tmp_path / "a.json").read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1


def broken(**change):
    whole = {"images": [IMAGE], "annotations": [ANNOTATION], "categories": [{"id": 1, "name": "x"}]}
    return json.dumps(whole | change)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "expected JSON"),
        ("\xff", "expected JSON"),
        ("[]", "expected a COCO object, found list"),
        ("{}", "expected a list of images"),
        (broken(annotations={}), "expected a list of annotations"),
        (broken(images=[{"id": 1}]), r'"file_name" in images\[0\]'),
        (broken(images=[3]), r'"id" in images\[0\]'),
        (broken(images=[IMAGE, IMAGE]), "different ids of the images, found 1 twice"),
        (broken(annotations=[ANNOTATION, ANNOTATION]), "different ids of the annotations"),
        (broken(annotations=[ANNOTATION | {"image_id": 9}]), "image_id 9 in annotation 1"),
        (broken(annotations=[ANNOTATION | {"category_id": 9}]), "category_id 9 in annotation 1"),
    ],
)
def test_what_is_wrong_is_said(tmp_path, text, message):
    (tmp_path / "a.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(InputError, match=message):
        read_coco(tmp_path / "a.json")


def test_a_missing_file(tmp_path):
    with pytest.raises(InputError, match="expected a COCO file, found No such file"):
        read_coco(tmp_path / "a.json")


def test_every_form_of_segmentation():
    compressed = encode_coco(MASK)
    # Column by column: 9 of background, then two columns of 2 with 2 between them, 5 to the end.
    uncompressed = {"size": [4, 5], "counts": [9, 2, 2, 2, 5]}
    polygon = [[2, 1, 4, 1, 4, 3, 2, 3]]
    in_bytes = compressed | {"counts": compressed["counts"].encode()}
    for segmentation in (compressed, uncompressed, polygon, in_bytes):
        assert rle_from_segmentation(segmentation, 4, 5) == compressed


def test_several_polygons_are_one_mask():
    rle = rle_from_segmentation([[0, 0, 2, 0, 2, 2, 0, 2], [3, 2, 5, 2, 5, 4, 3, 4]], 4, 5)
    assert decode_coco(rle).astype(int).tolist() == [[1, 1, 0, 0, 0], [1, 1, 0, 0, 0], [0, 0, 0, 1, 1], [0, 0, 0, 1, 1]]


@pytest.mark.parametrize(
    "segmentation",
    [
        [],
        [[1, 2, 3, 4]],
        [[1, 2, 3, 4, 5, 6, 7]],
        [[0, 0, float("nan"), 1, 2, 2]],
        [{"size": [4, 5]}],
        {"size": [4, 5]},
        {"size": [5, 4], "counts": [20]},
        {"size": [4, 5], "counts": [19]},
        {"size": [4, 5], "counts": [-1, 21]},
        {"size": [4, 5], "counts": [1.5, 18.5]},
        {"size": [4, 5], "counts": 3},
        {"size": [4, 5], "counts": encode_coco(np.ones((40, 50)))["counts"]},
        None,
        "0 1 2",
    ],
)
def test_broken_segmentations_are_refused(segmentation):
    with pytest.raises(ValueError, match="expected"):
        rle_from_segmentation(segmentation, 4, 5)
