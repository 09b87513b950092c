"""The real data, converted once: its numbers, its masks one by one, its fields of view and kinds against index.csv."""

import csv
from collections import Counter, defaultdict
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nucleus.data.converter import prepare
from nucleus.data.seams import MAXIMUM_COST, Seams, borders_of
from nucleus.formats.coco import read_coco
from nucleus.formats.image import read_image
from nucleus.formats.kaggle_csv import read_kaggle_csv
from nucleus.masks.rle import decode_coco
from nucleus.processes import in_order


@pytest.fixture(scope="module")
def converted_bbbc038(bbbc038_source, tmp_path_factory):
    """The real data, converted by two processes; returns the data root and the report."""
    root = tmp_path_factory.mktemp("converted") / "bbbc038"
    return root, prepare(bbbc038_source, root, workers=2)


@pytest.fixture(scope="module")
def index_csv(bbbc038_source):
    """The rows of index.csv by ImageId."""
    with (bbbc038_source / "index.csv").open() as file:
        return {row["image_id"]: row for row in csv.DictReader(file)}


def coco(root, split):
    return read_coco(root / "annotations" / f"bbbc038_{split}.json")


def test_the_real_data_has_the_published_numbers(converted_bbbc038):
    root, report = converted_bbbc038
    counts = {split: (count["images"], count["nuclei"]) for split, count in report["splits"].items()}
    assert (counts["trainval"], counts["test"]) == ((664, 28_986), (65, 4_152))
    assert counts["val"][0] == 98  # 14.8 %
    assert counts["train"][0] + counts["val"][0] == 664
    assert {kind: repair["count"] for kind, repair in report["repairs"].items()} == {"overlapping_mask": 6}
    assert report["pixels shared by masks"] == 9
    train, val = ({image["group"] for image in coco(root, split)["images"]} for split in ("train", "val"))
    assert not train & val


def test_no_group_of_index_csv_is_in_train_and_val(converted_bbbc038, index_csv):
    root, _ = converted_bbbc038
    train, val = (
        {index_csv[Path(image["file_name"]).stem]["group"] for image in coco(root, split)["images"]}
        for split in ("train", "val")
    )
    assert not train & val


def compare_masks(root, job):
    """Of one training image, how many of its RLEs equal their PNG files as Pillow reads them."""
    file_name, segmentations = job
    paths = sorted((root / file_name).parents[1].glob("masks/*.png"))
    assert len(paths) == len(segmentations)
    equal = 0
    for path, segmentation in zip(paths, segmentations, strict=True):
        with Image.open(path) as image:
            equal += np.array_equal(np.asarray(image) > 0, decode_coco(segmentation))
    return equal


def by_image(content):
    rles = defaultdict(list)
    for annotation in content["annotations"]:
        rles[annotation["image_id"]].append(annotation["segmentation"])
    return [(image["file_name"], rles[image["id"]]) for image in content["images"]]


def test_every_real_training_mask_is_equal_to_its_png(converted_bbbc038):
    root, _ = converted_bbbc038
    assert sum(in_order(partial(compare_masks, root), by_image(coco(root, "trainval")), workers=2)) == 28_986


def test_every_real_test_mask_is_equal_to_its_runs(converted_bbbc038):
    """The runs are drawn here pixel by pixel, not by the decoder that the converter used."""
    root, _ = converted_bbbc038
    runs = defaultdict(list)
    for row in read_kaggle_csv(root / "stage1_solution.csv"):
        runs[row.image_id].append([int(word) for word in row.runs.split()])
    compared = 0
    for file_name, segmentations in by_image(coco(root, "test")):
        for segmentation, numbers in zip(segmentations, runs[Path(file_name).stem], strict=True):
            height, width = segmentation["size"]
            expected = np.zeros((height, width), bool)
            for start, length in zip(numbers[::2], numbers[1::2], strict=True):
                pixels = np.arange(start - 1, start - 1 + length)
                expected[pixels % height, pixels // height] = True
            assert np.array_equal(decode_coco(segmentation), expected)
            compared += 1
    assert compared == 4_152


@pytest.fixture(scope="module")
def real_groups(converted_bbbc038):
    """The group of every real image, by ImageId."""
    root, _ = converted_bbbc038
    found = {}
    for split in ("trainval", "test"):
        for image in coco(root, split)["images"]:
            found[Path(image["file_name"]).stem] = image["group"]
    return found


def test_the_groups_of_index_csv_are_found(real_groups, index_csv):
    members = defaultdict(set)
    for image_id, row in index_csv.items():
        if row["tile"]:
            members[row["group"]].add(image_id)
    assert len(members) == 76 and all(len(ids) == 4 for ids in members.values())
    split = [group for group, ids in members.items() if len({real_groups[image_id] for image_id in ids}) > 1]
    assert split == ["m062"]  # its four tiles touch in empty ground


def test_groups_that_index_csv_does_not_know(real_groups, index_csv):
    """Their tiles were looked at, laid out by their seams: none shows a seam."""
    sizes = Counter(Counter(real_groups.values()).values())
    assert sizes == {1: 143, 2: 19, 3: 9, 4: 108, 5: 1, 8: 6, 12: 3}
    of_group = defaultdict(set)
    for image_id, group in real_groups.items():
        if index_csv[image_id]["tile"]:
            of_group[group].add(index_csv[image_id]["group"])
    several = [sorted(known) for known in of_group.values() if len(known) > 1]
    assert sorted(several) == [["m009", "m061"], ["m012", "m063"], ["m021", "m051"]]


def test_every_tile_fits_another_of_its_group(real_groups, converted_bbbc038, index_csv):
    root, _ = converted_bbbc038
    members = defaultdict(list)
    for image_id, group in real_groups.items():
        members[group].append(image_id)
    for ids in members.values():
        paths = [root / index_csv[i]["set"] / i / "images" / f"{i}.png" for i in ids if len(ids) > 1]
        borders = [borders_of(read_image(path)) for path in paths]
        for mine in borders:
            assert min(_costs(mine, [other for other in borders if other is not mine])) <= MAXIMUM_COST


def _costs(mine, others):
    """Costs of all seams of an image with others."""
    for other in others:
        pairs = (mine.right, other.left), (other.right, mine.left), (mine.bottom, other.top), (other.bottom, mine.top)
        for end, start in pairs:
            if end.shape == start.shape:
                yield Seams([end], [start]).cost((0, 0))


def test_fields_that_the_publisher_put_on_both_sides(real_groups, index_csv, converted_bbbc038):
    sides = defaultdict(set)
    for image_id, group in real_groups.items():
        sides[group].add(index_csv[image_id]["set"])
    both = {group for group, sets in sides.items() if len(sets) == 2}
    assert len(both) == 2
    assert both == set(converted_bbbc038[1]["groups across train and test"])


def test_the_colours_of_index_csv(converted_bbbc038, index_csv):
    root, _ = converted_bbbc038
    table = Counter()
    for split in ("trainval", "test"):
        for image in coco(root, split)["images"]:
            row = index_csv[Path(image["file_name"]).stem]
            table[row["foreground"], row["background"], image["modality"]] += 1
    assert table == {
        ("white", "black", "small_fluorescent"): 456,
        ("white", "black", "large_fluorescent"): 138,
        ("black", "white", "grayscale_tissue"): 16,
        ("purple", "purple", "purple_tissue"): 65,
        ("purple", "white", "purple_tissue"): 38,
        ("purple", "yellow", "purple_tissue"): 8,
        ("purple", "purple", "pink_purple_tissue"): 5,  # H&E: one field of four in training, one test image
        ("purple", "white", "pink_purple_tissue"): 3,  # H&E, all in the test set
    }
