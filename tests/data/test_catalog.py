import json

import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog

from nucleus.data.catalog import check_data_sets, register, register_all
from nucleus.errors import InputError
from nucleus.masks.rle import decode_coco


def test_records_hold_what_the_file_says(two_images):
    json_file, root, _ = two_images
    register("two_images", json_file, root)
    one, two = DatasetCatalog.get("two_images")
    assert one["file_name"] == str(root / "one.png")
    assert (one["image_id"], one["height"], one["width"]) == (7, 40, 50)
    assert (one["modality"], one["group"], len(one["rles"])) == ("small_fluorescent", "a", 2)
    assert (two["modality"], two["rles"]) == ("unknown", [])
    assert MetadataCatalog.get("two_images").json_file == str(json_file)


def test_whatever_masks_the_file_has_they_are_run_lengths(two_images):
    json_file, root, _ = two_images
    coco = json.loads(json_file.read_text())
    polygon = [[2, 3, 12, 3, 12, 15, 2, 15]]
    coco["annotations"][0] |= {"segmentation": polygon, "iscrowd": None}
    json_file.write_text(json.dumps(coco))
    register("two_images", json_file, root)
    mask = decode_coco(DatasetCatalog.get("two_images")[0]["rles"][0])
    assert mask.shape == (40, 50) and mask[3:15, 2:12].all() and mask.sum() == 120
    for wrong in ([[1, 2]], coco["annotations"][1]["segmentation"] | {"size": [50, 40]}):
        coco["annotations"][1]["segmentation"] = wrong
        json_file.write_text(json.dumps(coco))
        with pytest.raises(InputError, match=rf"{json_file.name}: expected polygons or run lengths.*in annotation"):
            DatasetCatalog.get("two_images")


def test_all_built_in_names_are_registered_and_a_second_root_replaces_the_first(tmp_path):
    for root in (tmp_path / "first", tmp_path / "second"):
        register_all(root)
        for folder in ("bbbc038", "bbbc038_synthetic"):
            for split in ("train", "val", "trainval", "test"):
                expected = root / folder / "annotations" / f"bbbc038_{split}.json"
                assert MetadataCatalog.get(f"{folder}_{split}").json_file == str(expected)


def test_a_data_set_that_was_not_prepared_says_what_to_do(tmp_path):
    register_all(tmp_path)
    with pytest.raises(InputError, match="nucleus prepare"):
        DatasetCatalog.get("bbbc038_train")


def test_data_sets_are_checked_before_they_are_read(two_images, tmp_path):
    json_file, root, _ = two_images
    register("two_images", json_file, root)
    check_data_sets("DATASETS.TEST", ("two_images",))
    with pytest.raises(InputError, match=r"DATASETS\.TEST: expected data sets .*two_images.*, found three_images"):
        check_data_sets("DATASETS.TEST", ("two_images", "three_images"))
    register_all(tmp_path)
    with pytest.raises(InputError, match=r"bbbc038_val\.json.* Or set DATASETS\.TEST to others"):
        check_data_sets("DATASETS.TEST", ("bbbc038_val",))
