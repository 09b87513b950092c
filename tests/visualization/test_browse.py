"""Browsing a data set."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from nucleus.data.synthetic import make_field
from nucleus.errors import InputError
from nucleus.masks.rle import encode_coco
from nucleus.visualization.browse import browse, choose_examples
from nucleus.visualization.canvas import PAPER
from nucleus.visualization.colors import TRUTH


def coco_of(counts: dict[str, list[int]]) -> dict:
    """Images without files, by modality, with so many nuclei each."""
    images, annotations = [], []
    for modality, numbers in counts.items():
        for number in numbers:
            images.append({"id": len(images), "file_name": f"{len(images)}.png", "height": 8, "width": 8,
                           "modality": modality})  # fmt: skip
            annotations += [{"id": 0, "image_id": len(images) - 1, "area": 21} for _ in range(number)]
    return {"images": images, "annotations": annotations}


def test_examples_go_from_few_nuclei_to_many() -> None:
    chosen = choose_examples(coco_of({"b": [2, 4], "a": [5, 1, 9, 3, 7]}), 3)
    assert list(chosen) == ["a", "b"]
    assert [image["id"] for image in chosen["a"]] == [3, 2, 4]  # 1, 5 and 9 nuclei
    assert [image["id"] for image in chosen["b"]] == [0, 1]


@pytest.mark.parametrize("wanted", [1, 2, 10])
def test_no_more_examples_than_there_are(wanted: int) -> None:
    chosen = choose_examples(coco_of({"a": [1, 2, 3]}), wanted)
    assert len(chosen["a"]) == len({image["id"] for image in chosen["a"]}) == min(wanted, 3)


@pytest.fixture()
def small(tmp_path: Path) -> tuple[dict, Path]:
    """Seven look-alikes as a COCO set, five of them of one modality."""
    images, annotations = [], []
    for number in (0, 5, 6, 8, 10, 2, 4):
        tile = make_field(1, "train", number, max_size=96)[0]
        name = f"{number:064d}.png"
        cv2.imwrite(str(tmp_path / name), tile.image[..., ::-1])
        images.append({"id": number, "file_name": name, "height": tile.labels.shape[0], "width": tile.labels.shape[1],
                       "modality": tile.modality})  # fmt: skip
        for label in range(1, tile.labels.max() + 1):
            mask = tile.labels == label
            annotations.append({"id": len(annotations) + 1, "image_id": number, "category_id": 1, "bbox": [0, 0, 1, 1],
                                "area": int(mask.sum()), "segmentation": encode_coco(mask)})  # fmt: skip
    return {"images": images, "annotations": annotations}, tmp_path


def test_sheets_plot_and_table(small: tuple[dict, Path], tmp_path: Path) -> None:
    coco, root = small
    made = browse(coco, root, tmp_path / "out", "mine", examples=6)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "mine_sheet_1.png", "mine_statistics.csv", "mine_statistics.png",
    ]  # fmt: skip
    for path in [*made.sheets, made.plot]:
        with Image.open(path) as picture:
            picture.load()
            assert picture.mode == "RGB" and picture.width > 300
    assert made.table[-1][:3] == ("all", 7, len(coco["annotations"]))
    sheet = np.asarray(Image.open(made.sheets[0]))
    assert (sheet == TRUTH).all(axis=2).sum() > 500  # the outlines
    assert (sheet[0] == PAPER).all()


def test_many_examples_make_more_sheets(small: tuple[dict, Path], tmp_path: Path) -> None:
    coco, root = small
    for image in coco["images"]:
        image["modality"] = "small_fluorescent"
    made = browse(coco, root, tmp_path / "out", "mine", examples=7)
    assert [path.name for path in made.sheets] == ["mine_sheet_1.png", "mine_sheet_2.png"]


def test_an_empty_set_is_no_error(tmp_path: Path) -> None:
    made = browse({"images": [], "annotations": []}, tmp_path, tmp_path / "out", "none")
    assert made.sheets == [] and made.plot.is_file()


def test_a_missing_image_is_named(small: tuple[dict, Path], tmp_path: Path) -> None:
    coco, root = small
    (root / coco["images"][0]["file_name"]).unlink()
    with pytest.raises(InputError, match=coco["images"][0]["file_name"]):
        browse(coco, root, tmp_path / "out", "mine", examples=6)
