"""nucleus browse."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from nucleus.cli.main import main
from nucleus.data.registry import register_set
from nucleus.formats.coco import write_coco
from nucleus.masks.rle import encode_coco


def write_set(json_file: Path, images: Path) -> None:
    """One image with one nucleus of 12 pixels."""
    images.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(images / "a.png"), np.full((20, 30), 90, np.uint8))
    mask = np.zeros((20, 30), dtype=bool)
    mask[5:8, 5:9] = True
    image = {"id": 1, "file_name": "a.png", "height": 20, "width": 30, "modality": "purple_tissue", "group": "a"}
    nucleus = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [5, 5, 4, 3], "area": 12, "iscrowd": 0,
               "segmentation": encode_coco(mask)}  # fmt: skip
    write_coco(json_file, {}, [image], [nucleus])


@pytest.mark.parametrize(
    ("name", "folder", "file"),
    [
        ("bbbc038_train", "bbbc038", "bbbc038_train"),
        ("bbbc038_trainval", "bbbc038", "bbbc038_trainval"),
        ("bbbc038_synthetic_val", "bbbc038_synthetic", "bbbc038_val"),
    ],
)
def test_built_in_sets_by_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, folder: str, file: str
) -> None:
    write_set(tmp_path / folder / "annotations" / f"{file}.json", tmp_path / folder)
    output = tmp_path / "out"
    assert main(["browse", f"--dataset={name}", f"--output={output}", f"--root={tmp_path}"]) == 0
    printed = capsys.readouterr().out
    assert "purple_tissue" in printed and f"{output / name}_sheet_1.png" in printed
    for picture in output.glob("*.png"):
        Image.open(picture).verify()
    assert len(list(output.glob("*.png"))) == 2


def test_a_set_of_ones_own_and_the_root_of_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_set(tmp_path / "elsewhere" / "mine.json", tmp_path / "elsewhere")
    root = tmp_path / "root"
    register_set(root, "mine", tmp_path / "elsewhere" / "mine.json", tmp_path / "elsewhere")
    monkeypatch.setenv("DETECTRON2_DATASETS", str(root))
    assert main(["browse", "--dataset=mine", f"--output={tmp_path / 'out'}", "--images=1"]) == 0
    assert (tmp_path / "out" / "mine_statistics.csv").is_file()


@pytest.mark.parametrize(("name", "words"), [("mine", "--dataset"), ("bbbc038_test", "bbbc038_test.json")])
def test_what_is_not_there_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, words: str) -> None:
    assert main(["browse", f"--dataset={name}", f"--output={tmp_path / 'out'}", f"--root={tmp_path}"]) == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_augmented_writes_the_sheet(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_set(tmp_path / "bbbc038" / "annotations" / "bbbc038_train.json", tmp_path / "bbbc038")
    output = tmp_path / "out"
    command = ["browse", "--dataset=bbbc038_train", f"--root={tmp_path}", "--augmented"]
    assert main([*command, f"--output={output}"]) == 0
    assert f"{output / 'bbbc038_train'}_augmented.png" in capsys.readouterr().out
    Image.open(output / "bbbc038_train_augmented.png").verify()
    assert main(command) == 2
    assert "--output" in capsys.readouterr().err


def test_anchors_are_printed_at_the_scale_of_the_config(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_set(tmp_path / "bbbc038" / "annotations" / "bbbc038_train.json", tmp_path / "bbbc038")
    (tmp_path / "mine.yaml").write_text(
        'INPUT: {UPSCALE_SHORT_EDGE: 40}\nMODEL: {RPN: {IN_FEATURES: ["p2"]}, ANCHOR_GENERATOR: {SIZES: [[50]]}}\n'
    )
    command = ["browse", "--dataset=bbbc038_train", f"--root={tmp_path}", "--anchors"]
    assert main([*command, f"--config-file={tmp_path / 'mine.yaml'}"]) == 0
    printed = capsys.readouterr().out
    assert "# 1 boxes" in printed and "SIZES: [[7]]" in printed  # 4 x 3 pixels, enlarged twice
    for other in ([], ["--config-file=nucleus://lite"]):
        assert main([*command, *other]) == 0
        assert "ASPECT_RATIOS" in capsys.readouterr().out
