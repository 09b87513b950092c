"""Files of the look-alike: what is in them, and whose root it is."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from nucleus.data.synthetic import layout
from nucleus.data.synthetic.fields import Tile
from nucleus.errors import InputError
from nucleus.masks.kaggle_runs import decode_kaggle

RECIPE = layout.Recipe(seed=1, max_size=64)
COUNTS = {"train": 10, "test": 2}


@pytest.fixture()
def tile() -> Tile:
    labels = np.zeros((6, 8), dtype=np.int32)
    labels[1:3, 1:4], labels[3:5, 2:7] = 1, 2
    image = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return Tile(image, labels, "purple_tissue")


def test_names_are_64_hexadecimal_digits_and_differ() -> None:
    names = {layout.image_id(seed, part, n) for seed in (0, 1) for part in ("train", "test") for n in range(50)}
    assert len(names) == 200
    assert all(len(name) == 64 and set(name) <= set("0123456789abcdef") for name in names)


def test_a_training_folder(tmp_path: Path, tile: Tile) -> None:
    layout.write_image_folder(tmp_path, "train", "ab", tile, alpha=True)
    folder = tmp_path / "stage1_train" / "ab"
    with Image.open(folder / "images" / "ab.png") as picture:
        assert picture.mode == "RGBA"
        assert (np.asarray(picture)[..., :3] == tile.image).all()
        assert (np.asarray(picture)[..., 3] == 255).all()
    masks = [cv2.imread(str(path), cv2.IMREAD_UNCHANGED) for path in sorted((folder / "masks").iterdir())]
    assert len(masks) == 2
    assert all(mask.ndim == 2 and set(np.unique(mask)) == {0, 255} for mask in masks)
    assert (sum((mask > 0).astype(int) for mask in masks) == (tile.labels > 0)).all()  # disjoint, and all there
    assert sorted((mask > 0).sum() for mask in masks) == [6, 10]


def test_a_test_folder_has_no_masks(tmp_path: Path, tile: Tile) -> None:
    layout.write_image_folder(tmp_path, "test", "ab", tile, alpha=False)
    folder = tmp_path / "stage1_test" / "ab"
    assert [path.name for path in folder.iterdir()] == ["images"]
    with Image.open(folder / "images" / "ab.png") as picture:
        assert picture.mode == "RGB"


def test_what_a_killed_run_left_is_written_anew(tmp_path: Path, tile: Tile) -> None:
    left = tmp_path / layout.PARTIAL / "ab" / "masks" / "half.png"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"half")
    layout.write_image_folder(tmp_path, "train", "ab", tile, alpha=True)
    assert len(list((tmp_path / "stage1_train" / "ab" / "masks").iterdir())) == 2
    assert not left.exists()


def test_solution_lines_decode_to_the_truth(tile: Tile) -> None:
    rows = list(csv.reader(layout.solution_lines("ab", tile.labels).splitlines()))
    assert rows[0] == ["ab", "8 2 14 2 20 2", "6", "8", "Public"]  # by hand: column 1, rows 1 and 2, and so on
    for label, (_, runs, height, width, _) in enumerate(rows, start=1):
        assert (decode_kaggle(runs, int(height), int(width)) == (tile.labels == label)).all()


def test_an_empty_root_is_claimed_then_finished(tmp_path: Path) -> None:
    root = tmp_path / "new"
    assert layout.claim_root(root, RECIPE, COUNTS) is False
    assert layout.claim_root(root, RECIPE, COUNTS) is False  # not finished
    (root / layout.SOLUTION).touch()
    (root / layout.PARTIAL).mkdir()
    layout.finish_root(root, RECIPE, COUNTS)
    assert not (root / layout.PARTIAL).exists()
    assert layout.claim_root(root, RECIPE, COUNTS) is True
    assert layout.claim_root(root, RECIPE, {"train": 20, "test": 2}) is False  # to be enlarged
    assert json.loads((root / layout.STATE).read_text())["images"] == {"train": 20, "test": 2}


@pytest.mark.parametrize("name", ["stage1_train", "stage1_test", "stage1_solution.csv"])
def test_real_data_are_left_alone(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    with pytest.raises(InputError, match=name):
        layout.claim_root(tmp_path, RECIPE, COUNTS)
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize(
    ("recipe", "counts", "words"),
    [
        (layout.Recipe(2, 64), COUNTS, "'seed': 1"),
        (layout.Recipe(1, None), COUNTS, "'max_size': 64"),
        (RECIPE, {"train": 9, "test": 2}, "10"),
    ],
)
def test_another_look_alike_is_left_alone(
    tmp_path: Path, recipe: layout.Recipe, counts: dict[str, int], words: str
) -> None:
    layout.claim_root(tmp_path, RECIPE, COUNTS)
    before = (tmp_path / layout.STATE).read_bytes()
    with pytest.raises(InputError, match=words):
        layout.claim_root(tmp_path, recipe, counts)
    assert (tmp_path / layout.STATE).read_bytes() == before


@pytest.mark.parametrize("content", ["", "[]", '{"recipe": {"seed": 1}, "images": 3}', '{"recipe": {}, "images": {}}'])
def test_a_broken_state_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / layout.STATE).write_text(content)
    with pytest.raises(InputError, match=layout.STATE):
        layout.claim_root(tmp_path, RECIPE, COUNTS)
