"""COCO files: written and read again, checked, and every form of segmentation."""

import contextlib
import io
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from nucleus.errors import InputError
from nucleus.formats.coco import (
    _rle_of_box,
    coco_results,
    read_coco,
    rle_from_segmentation,
    write_coco,
    write_coco_results,
)
from nucleus.masks.rle import decode_coco, encode_coco, runs_from_coco

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


def test_results_are_what_pycocotools_loads(tmp_path):
    labels = np.zeros((2, 40, 50), np.int32)
    labels[0, 3:9, 4:10] = 2
    labels[0, 30:40, 45:50] = labels[0, 0, 0] = 1
    labels[1, 10:20, 10:20] = 1
    images = [{"id": f"image {number}", "file_name": "x", "height": 40, "width": 50} for number in (0, 1)]
    write_coco(tmp_path / "truth.json", {}, images, [])
    results = [
        one for number in (0, 1) for one in coco_results(images[number]["id"], labels[number], [0.25, float("nan")])
    ]
    write_coco_results(tmp_path / "results.json", results)
    with contextlib.redirect_stdout(io.StringIO()):
        loaded = COCO(str(tmp_path / "truth.json")).loadRes(str(tmp_path / "results.json"))
    found = loaded.loadAnns(loaded.getAnnIds())
    assert [(one["image_id"], one["score"]) for one in found] == [
        ("image 0", 0.25),
        ("image 0", 1.0),
        ("image 1", 0.25),
    ]
    assert found[1]["bbox"] == [4, 3, 6, 6] and found[1]["area"] == 36
    for one, expected in zip(found, (labels[0] == 1, labels[0] == 2, labels[1] == 1), strict=True):
        assert (loaded.annToMask(one) == expected).all()


def test_no_results_are_a_list(tmp_path):
    write_coco_results(tmp_path / "results.json", coco_results(1, np.zeros((4, 4), int)))
    assert json.loads((tmp_path / "results.json").read_text()) == []


@given(arrays(np.int32, st.tuples(st.integers(1, 12), st.integers(1, 12)), elements=st.integers(0, 5)))
def test_results_decode_to_the_masks(labels):
    found = list(coco_results(7, labels))
    ids = [label for label in np.unique(labels) if label]
    assert len(found) == len(ids)
    for one, label in zip(found, ids, strict=True):
        mask = labels == label
        assert (coco_mask.decode(one["segmentation"]) == mask).all()
        assert one["bbox"] == coco_mask.toBbox(one["segmentation"]).tolist()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": [IMAGE | {"id": [1]}]}, r'a number or text as "id" in images\[0\]'),
        ({"images": [IMAGE | {"file_name": None}]}, r'text as "file_name" in images\[0\]'),
        ({"images": [IMAGE | {"height": 0}]}, "height and width of each image in pixels, found 0 x 5"),
        ({"images": [IMAGE | {"width": 1e3}]}, "height and width of each image in pixels, found 4 x 1000.0"),
        ({"images": [IMAGE | {"height": 10**9, "width": 10**9}]}, "images of at most 268,435,456 pixels"),
        ({"annotations": [ANNOTATION | {"image_id": {}}]}, r'a number or text as "image_id" in annotations\[0\]'),
        ({"annotations": [ANNOTATION | {"iscrowd": "x"}]}, r'0 or 1 as "iscrowd" in annotations\[0\]'),
        ({"categories": [{"id": 1, "name": []}]}, r'text as "name" in categories\[0\]'),
    ],
)
def test_values_of_other_kinds_are_refused(tmp_path, change, message):
    (tmp_path / "a.json").write_text(broken(**change))
    with pytest.raises(InputError, match=message):
        read_coco(tmp_path / "a.json")


@pytest.mark.parametrize(
    "text", ["[" * 100_000, '{"images":' * 100_000, "[" + "1" * 5000 + "]"], ids=["lists", "objects", "digits"]
)
def test_json_without_end_is_refused(tmp_path, text):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(InputError, match="expected JSON"):
        read_coco(tmp_path / "a.json")


@pytest.mark.parametrize(
    "segmentation",
    [
        {"size": [4, 5], "counts": "P"},  # ends within a count: pycocotools would read on beyond the string
        {"size": [4, 5], "counts": "5" + "P" * 100 + "0"},
        {"size": [4, 5], "counts": [0, 1 << 29, 20 - (1 << 29)]},
        {"size": [4, 5], "counts": [10**400]},
        {"size": [10**400, 5], "counts": [20]},
        {"size": "45", "counts": [20]},
        [[0, 0, 1e9, 0, 0, 1e9]],  # gigabytes in pycocotools
        [[0, 0, 1e300, 0, 1, 1]],
        [[0, 0, 10**400, 0, 1, 1]],
        [[0, 0, "9" * 9, 0, 1, 1]],
        [[-9e6, 0, 9e6, 1, 0, 2]] * 9,
    ],
)
def test_hostile_segmentations_are_refused(segmentation):
    with pytest.raises(ValueError, match="expected"):
        rle_from_segmentation(segmentation, 4, 5)


@given(st.lists(st.lists(st.floats(-4, 24), min_size=3, max_size=7).map(lambda x: x + x), min_size=1, max_size=3))
def test_the_box_around_polygons_gives_the_same_mask(polygons):
    """By which polygons are drawn in images that are too large for pycocotools."""
    assert _rle_of_box(polygons, 15, 20) == rle_from_segmentation(polygons, 15, 20)


def test_a_polygon_in_an_image_too_large_for_pycocotools():
    rle = rle_from_segmentation([[20_000, 30_000, 20_002, 30_000, 20_002, 30_003, 20_000, 30_003]], 32_768, 32_768)
    start = 20_000 * 32_768 + 30_000
    assert runs_from_coco(rle).tolist() == [[start, start + 3], [start + 32_768, start + 32_771]]
    with pytest.raises(ValueError, match="box of less than 16,777,216 pixels"):
        rle_from_segmentation([[0, 0, 30_000, 0, 0, 30_000]], 32_768, 32_768)
