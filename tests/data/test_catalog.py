import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog

from nucleus.data.catalog import check_data_sets, register, register_all
from nucleus.errors import InputError


def test_records_hold_what_the_file_says(two_images):
    json_file, root, _ = two_images
    register("two_images", json_file, root)
    one, two = DatasetCatalog.get("two_images")
    assert one["file_name"] == str(root / "one.png")
    assert (one["image_id"], one["height"], one["width"]) == (7, 40, 50)
    assert (one["modality"], one["group"], len(one["rles"])) == ("small_fluorescent", "a", 2)
    assert (two["modality"], two["rles"]) == ("unknown", [])
    assert MetadataCatalog.get("two_images").json_file == str(json_file)


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
