from __future__ import annotations

import json
import pickle

import numpy as np
import pytest
import tifffile

from nucleus.errors import InputError
from nucleus.evaluation.source_entries import ALL, LabelFile
from nucleus.evaluation.sources import match_pairs, open_source
from nucleus.formats.coco import write_coco
from nucleus.formats.geojson import write_geojson
from nucleus.formats.kaggle_csv import write_kaggle_csv
from nucleus.formats.label_image import write_label_image
from nucleus.masks.kaggle_runs import encode_kaggle
from nucleus.masks.rle import encode_coco, rles_from_label_image

LABELS = {
    "a": np.array([[1, 1, 0, 2], [1, 0, 0, 2], [0, 0, 3, 2]], dtype=np.int32),
    "b": np.array([[0, 0], [4, 4], [4, 7]], dtype=np.int32),  # labels with gaps
    "empty": np.zeros((2, 3), dtype=np.int32),
}
SEQUENTIAL = {"a": LABELS["a"], "b": np.array([[0, 0], [1, 1], [1, 2]]), "empty": LABELS["empty"]}


def write_coco_file(path, score=None, **more):
    images, annotations = [], []
    for number, (name, labels) in enumerate(LABELS.items(), start=10):
        height, width = labels.shape
        images.append({"id": number, "file_name": f"deep/{name}.png", "height": height, "width": width} | more)
        for rle in rles_from_label_image(labels):
            annotation = {"id": len(annotations), "image_id": number, "category_id": 1, "segmentation": rle}
            annotations.append(annotation | ({"score": score} if score is not None else {}))
    write_coco(path, {}, images, annotations)
    return path


def write_results(path, score=0.9):
    coco = json.loads(write_coco_file(path).read_text())
    results = [
        {"image_id": one["image_id"], "category_id": 1, "score": score, "segmentation": one["segmentation"]}
        for one in coco["annotations"]
    ]
    path.write_text(json.dumps(results))
    return path


def write_kaggle(path, sizes=True):
    if not sizes:
        rows = [(name, encode_kaggle(labels == label)) for name, labels in LABELS.items()
                for label in (np.unique(labels[labels > 0]) if labels.any() else [9])]  # fmt: skip
        write_kaggle_csv(path, rows)
        return path
    lines = ["ImageId,EncodedPixels,Height,Width,Usage"]
    for name, labels in LABELS.items():
        for label in np.unique(labels[labels > 0]) if labels.any() else [9]:
            lines.append(f"{name},{encode_kaggle(labels == label)},{labels.shape[0]},{labels.shape[1]},Public")
    path.write_text("\n".join(lines) + "\n")
    return path


def write_folder(folder, suffix=".tif"):
    for name, labels in LABELS.items():
        write_label_image(folder / f"{name}{suffix}", labels)
    return folder


def write_outlines(folder, scores=None):
    folder.mkdir()
    for name, labels in SEQUENTIAL.items():
        write_geojson(folder / f"{name}.geojson", labels, None if scores is None else [scores] * int(labels.max()))
    return folder


def drawn(source, **more):
    """Every image of a source as it would be scored, after a journey to another process."""
    entries = pickle.loads(pickle.dumps(source.entries))
    shapes = {name: labels.shape for name, labels in LABELS.items()}
    return {
        name: entry.read(shapes[name.split("/")[-1]], False).at_threshold(more.get("threshold", ALL))[0]
        for name, entry in entries.items()
    }


@pytest.fixture
def truth(tmp_path):
    return open_source(write_coco_file(tmp_path / "truth.json"))


@pytest.mark.parametrize("suffix", [".tif", ".png", ".TIFF"])
def test_a_folder_of_label_images(tmp_path, suffix):
    source = open_source(write_folder(tmp_path / "labels", suffix))
    assert source.kind == "label images"
    found = drawn(source)
    assert list(found) == ["a", "b", "empty"]
    assert all((found[name] == LABELS[name]).all() for name in LABELS)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.uint32, np.int32])
def test_8_16_and_32_bits(tmp_path, dtype):
    tifffile.imwrite(tmp_path / "a.tif", LABELS["a"].astype(dtype))
    assert (open_source(tmp_path).entries["a"].read(None, False).labels == LABELS["a"]).all()


@pytest.mark.parametrize(
    ("write", "kind"),
    [
        (lambda folder: write_coco_file(folder / "x.json"), "a COCO file"),
        (lambda folder: write_coco_file(folder / "x.json", score=0.8), "a COCO file"),
        (lambda folder: write_results(folder / "x.json"), "COCO results"),
        (lambda folder: write_kaggle(folder / "x.csv"), "a CSV of run lengths"),
        (lambda folder: write_kaggle(folder / "x.csv", sizes=False), "a CSV of run lengths"),
        (lambda folder: write_outlines(folder / "x"), "GeoJSON files"),
        (lambda folder: write_outlines(folder / "x", scores=0.3), "GeoJSON files"),
    ],
)
def test_every_kind_holds_the_same_nuclei(tmp_path, truth, write, kind):
    source = open_source(write(tmp_path), truth=truth)
    assert source.kind == kind
    found = {name.split("/")[-1]: labels for name, labels in drawn(source).items()}
    assert set(found) == set(LABELS)
    for name, labels in SEQUENTIAL.items():
        assert (found[name] == labels).all(), name


def test_masks_below_the_threshold_are_left_out(tmp_path, truth):
    for write in (write_coco_file, write_results):
        source = open_source(write(tmp_path / "x.json", score=0.4), truth=truth)
        entry = next(iter(source.entries.values()))
        assert entry.default_threshold == 0.5
        assert not any(labels.any() for labels in drawn(source, threshold=0.5).values())
        assert any(labels.any() for labels in drawn(source, threshold=0.4).values())


def test_overlapping_detections_go_to_the_higher_score_at_every_threshold(tmp_path):
    low, high = np.zeros((2, 6), dtype=bool), np.zeros((2, 6), dtype=bool)
    low[:, :4] = True
    high[:, 3:] = True
    items = [{"id": n, "image_id": 1, "category_id": 1, "segmentation": encode_coco(mask), "score": score}
             for n, (mask, score) in enumerate([(low, 0.6), (high, 0.9), (low, 0.55)])]  # fmt: skip
    write_coco(tmp_path / "x.json", {}, [{"id": 1, "file_name": "a.png", "height": 2, "width": 6}], items)
    content = open_source(tmp_path / "x.json").entries["a"].read(None, False)
    assert content.at_threshold(0.5)[0][0].tolist() == [2, 2, 2, 1, 1, 1]
    assert [content.at_threshold(threshold)[1] for threshold in (0.5, 0.6, 0.9)] == [1, 0, 0]  # the third is a double
    assert content.at_threshold(0.7)[0][0].tolist() == [0, 0, 0, 1, 1, 1]
    assert not content.at_threshold(0.95)[0].any()


def test_overlaps_without_scores_go_to_the_first_and_are_counted(tmp_path):
    lines = ["ImageId,EncodedPixels,Height,Width", "a,1 4,2,3", "a,3 4,2,3", "a,1 2,2,3"]
    (tmp_path / "x.csv").write_text("\n".join(lines))
    content = open_source(tmp_path / "x.csv").entries["a"].read(None, False)
    assert content.labels.T.ravel().tolist() == [1, 1, 1, 1, 2, 2]
    assert (content.shared, content.vanished) == (4, 1)


def test_crowd_regions_are_no_nuclei(tmp_path):
    path = write_coco_file(tmp_path / "x.json")
    coco = json.loads(path.read_text())
    coco["annotations"][0]["iscrowd"] = 1
    path.write_text(json.dumps(coco))
    content = open_source(path).entries["deep/a"].read(None, True)
    assert content.labels.max() == 2
    assert [item["iscrowd"] for item in content.annotations] == [1, 0, 0]


def test_annotations_for_coco_ap(tmp_path, truth):
    expected = [{"bbox": [0, 0, 2, 2], "area": 3}, {"bbox": [3, 0, 1, 3], "area": 3}, {"bbox": [2, 2, 1, 1], "area": 1}]
    sources = [truth, open_source(write_folder(tmp_path / "labels")), open_source(write_outlines(tmp_path / "o", 0.25))]
    sources += [open_source(write_kaggle(tmp_path / "x.csv"))]
    for source in sources:
        name = next(iter(source.entries))
        made = source.entries[name].read((3, 4), True).annotations
        assert [{key: one[key] for key in ("bbox", "area")} for one in made] == expected
        assert [one["segmentation"] for one in made] == rles_from_label_image(LABELS["a"])
        assert [one.get("score") for one in made] == [0.25 if source.kind == "GeoJSON files" else None] * 3


def test_modality_and_group_come_from_the_coco_file(tmp_path):
    source = open_source(write_coco_file(tmp_path / "x.json", modality="purple_tissue", group="slide 3"))
    assert set(source.modalities.values()) == {"purple_tissue"}
    assert source.groups["deep/a"] == "slide 3"


def test_nested_folders_with_files_of_one_name(tmp_path):
    for side in ("truth", "predicted/run"):
        for plate in ("1", "2"):
            write_label_image(tmp_path / side / plate / "field.png", LABELS["a"] * int(plate))
    pairs = match_pairs(open_source(tmp_path / "truth"), open_source(tmp_path / "predicted"))
    assert [pair.name for pair in pairs] == ["1/field", "2/field"]
    for pair in pairs:
        assert pair.prediction.path.parts[-2] == pair.name[0]


def test_a_suffix_that_is_no_part_of_the_name(tmp_path):
    write_folder(tmp_path / "x", "_cp_masks.png")
    write_label_image(tmp_path / "x" / "a.png", LABELS["a"])  # the image beside its labels
    assert list(open_source(tmp_path / "x", suffix="_cp_masks").entries) == ["a", "b", "empty"]
    with pytest.raises(InputError, match=r"names end with _nuclei, found none, but a, a_cp_masks"):
        open_source(tmp_path / "x", suffix="_nuclei")


def test_two_single_files_need_not_share_a_name(tmp_path):
    write_label_image(tmp_path / "truth.png", LABELS["a"])
    write_geojson(tmp_path / "predicted.geojson", LABELS["a"])
    (pair,) = match_pairs(open_source(tmp_path / "truth.png"), open_source(tmp_path / "predicted.geojson"))
    assert pair.name == "truth"


def test_unmatched_predictions_are_refused_and_ten_are_named(tmp_path, truth):
    for number in range(12):
        write_label_image(tmp_path / "x" / f"extra_{number:02}.png", LABELS["a"])
    write_folder(tmp_path / "x")
    with pytest.raises(InputError, match=r"found 12 of 15 .*: extra_00, .*extra_09, \.\.\.\. Images are matched by"):
        match_pairs(truth, open_source(tmp_path / "x"), allow_missing=True)


def test_missing_predictions_are_refused_unless_allowed(tmp_path, truth):
    write_label_image(tmp_path / "x" / "a.png", LABELS["a"])
    source = open_source(tmp_path / "x")
    with pytest.raises(InputError, match=r"x: expected a prediction .* found none for 2 of 3: deep/b, deep/empty\. "):
        match_pairs(truth, source)
    pairs = match_pairs(truth, source, allow_missing=True)
    assert [isinstance(pair.prediction, LabelFile) for pair in pairs] == [True, False, False]
    assert not pairs[1].prediction.read((3, 2), False).labels.any()


def write_text(folder, name, text):
    (folder / name).write_text(text)
    return folder / name


RESULT = {"image_id": 10, "score": 0.5, "segmentation": {"size": [3, 4], "counts": [1, 2, 9]}}


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("x.json", "", "truncated"),
        ("x.json", '{"images": [', "truncated"),
        ("x.json", "[", "COCO results, a JSON list.*truncated"),
        ("x.json", '{"images": []}', "a list of annotations"),
        ("x.json", '{"images": [], "annotations": [], "categories": []}', "at least one image, found none"),
        ("x.json", json.dumps([RESULT | {"image_id": 77}]), r"expected images of .*, found image_id 77"),
        ("x.json", json.dumps([RESULT, {"image_id": 10, "score": 0.5}]), '"segmentation" .*none in result 1. Boxes'),
        ("x.json", json.dumps([{"image_id": 10, "segmentation": {}}]), '"score" in each COCO result'),
        ("x.json", json.dumps([RESULT | {"score": float("nan")}]), "a finite score"),
        ("x.csv", "a,b\n", "a column ImageId"),
        ("x.csv", "ImageId,EncodedPixels\n", "at least one image"),
        ("x.csv", "ImageId,EncodedPixels\na,1 2,3\n", "line 2: .*3 fields"),
        ("x.csv", "ImageId,EncodedPixels,Height,Width\na,1 2,3,3\na,5 1,3,4\n", "one size of the image"),
        ("x.txt", "", "found a file .txt"),
    ],
)
def test_files_that_hold_something_else(tmp_path, truth, name, text, message):
    with pytest.raises(InputError, match=message):
        open_source(write_text(tmp_path, name, text), truth=truth)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ImageId,EncodedPixels\na,1 2 3\n", "x.csv, image a, line 2: expected pairs of start and length"),
        ("ImageId,EncodedPixels\na,1 2\na,12 2\n", "line 3: expected runs inside 3 x 4 pixels, found one that leaves"),
    ],
)
def test_broken_runs_name_their_line(tmp_path, text, message):
    with pytest.raises(InputError, match=message):
        open_source(write_text(tmp_path, "x.csv", text)).entries["a"].read((3, 4), False)


def test_masks_of_another_size(tmp_path, truth):
    path = write_text(tmp_path, "x.json", json.dumps([RESULT | {"segmentation": {"size": [4, 4], "counts": [16]}}]))
    entry = open_source(path, truth=truth).entries["deep/a"]
    with pytest.raises(InputError, match=r"x.json, image deep/a: expected a COCO segmentation of 3 x 4 pixels"):
        entry.read(None, False)


def test_scores_with_some_masks_only(tmp_path):
    path = write_coco_file(tmp_path / "x.json", score=0.5)
    coco = json.loads(path.read_text())
    del coco["annotations"][1]["score"]
    path.write_text(json.dumps(coco))
    with pytest.raises(InputError, match="with each mask, or with none"):
        open_source(path).entries["deep/a"].read(None, False)


def test_results_alone_are_no_truth(tmp_path):
    with pytest.raises(InputError, match=r"truth that names its images.*Give a COCO file"):
        open_source(write_results(tmp_path / "x.json"))


def test_results_by_number_need_a_coco_truth(tmp_path):
    labels = open_source(write_folder(tmp_path / "labels"))
    path = write_results(tmp_path / "x.json")
    with pytest.raises(InputError, match="give the COCO file with these numbers as the truth"):
        open_source(path, truth=labels)
    path.write_text(json.dumps([RESULT | {"image_id": "a"}]))  # by name they are known
    coco = open_source(write_coco_file(tmp_path / "truth.json"))
    for truth, name in ((labels, "a"), (coco, "deep/a")):
        assert open_source(path, truth=truth).entries[name].read((3, 4), False).labels.any()


def test_folders_and_names(tmp_path):
    (tmp_path / "none").mkdir()
    with pytest.raises(InputError, match=r"label images \(PNG or TIFF\) or .geojson files, found none. JPEG"):
        open_source(tmp_path / "none")
    with pytest.raises(InputError, match="nowhere: expected a file or folder with nuclei, found nothing there"):
        open_source(tmp_path / "nowhere")
    write_folder(tmp_path / "twice")
    write_label_image(tmp_path / "twice" / "a.png", LABELS["a"])
    with pytest.raises(InputError, match=r"a.tif: expected one file of each name, found a.png, too"):
        open_source(tmp_path / "twice")
    coco = json.loads(write_coco_file(tmp_path / "x.json").read_text())
    coco["images"][1]["file_name"] = "deep/a.tif"
    with pytest.raises(InputError, match="images of different names, found deep/a twice"):
        open_source(write_text(tmp_path, "x.json", json.dumps(coco)))
    coco["images"][1] |= {"file_name": "b.tif", "height": "12"}
    with pytest.raises(InputError, match="height and width of each image in pixels, found '12' x 2"):
        open_source(write_text(tmp_path, "x.json", json.dumps(coco)))


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda path: tifffile.imwrite(path, LABELS["a"].astype(np.float32)), "whole numbers, found float32"),
        (lambda path: tifffile.imwrite(path, np.zeros((4, 5, 3), np.uint8), photometric="rgb"), "not a coloured"),
        (lambda path: tifffile.imwrite(path, -LABELS["a"]), "found -3 to 0"),
        (lambda path: path.write_bytes(b"II*\0broken"), "expected a label image"),
        (lambda path: path.write_bytes(b""), "expected a label image"),
    ],
)
def test_files_that_are_no_label_images(tmp_path, write, message):
    write(tmp_path / "a.tif")
    with pytest.raises(InputError, match=rf"a.tif: .*{message}"):
        open_source(tmp_path).entries["a"].read(None, False)


def test_a_truncated_file(tmp_path):
    rng = np.random.default_rng(0)
    for suffix in (".png", ".tif"):
        path = tmp_path / f"a{suffix}"
        write_label_image(path, rng.integers(0, 300, (90, 90)))
        path.write_bytes(path.read_bytes()[:-3000])
        with pytest.raises(InputError, match=f"a{suffix}: expected"):
            LabelFile(path).read(None, False)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"score": 10**400}, "a finite score in each COCO result"),
        ({"score": True}, "a finite score in each COCO result"),
        ({"image_id": [1]}, "a number or text as image_id"),
    ],
)
def test_results_of_other_kinds_are_refused(tmp_path, change, message):
    truth = open_source(write_coco_file(tmp_path / "x.json"))
    result = {"image_id": 1, "score": 0.5, "segmentation": {}} | change
    with pytest.raises(InputError, match=message):
        open_source(write_text(tmp_path, "results.json", json.dumps([result])), truth=truth)


@pytest.mark.parametrize("text", ["[" * 100_000, "[" + "1" * 5000 + "]"], ids=["lists", "digits"])
def test_results_without_end_are_refused(tmp_path, text):
    truth = open_source(write_coco_file(tmp_path / "x.json"))
    with pytest.raises(InputError, match="expected COCO results, a JSON list"):
        open_source(write_text(tmp_path, "results.json", text), truth=truth)


@pytest.mark.parametrize("change", [{"bbox": [1, 2]}, {"bbox": ["x"] * 4}, {"area": "1"}, {"area": 10**400}])
def test_boxes_and_areas_of_other_kinds_are_refused(tmp_path, change):
    coco = json.loads(write_coco_file(tmp_path / "x.json").read_text())
    for one in coco["annotations"]:
        one |= change
    source = open_source(write_text(tmp_path, "x.json", json.dumps(coco)))
    with pytest.raises(InputError, match=f"{next(iter(change))} as COCO has it"):
        [entry.read(None, True) for entry in source.entries.values()]


def test_a_size_that_no_image_has(tmp_path):
    path = write_text(tmp_path, "x.csv", "ImageId,EncodedPixels,Height,Width\na,1 1,1000000,1000000\n")
    with pytest.raises(InputError, match="at most 268,435,456 pixels, found 1,000,000 x 1,000,000"):
        open_source(path)
