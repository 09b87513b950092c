"""`nucleus convert`: from a user's files to a registered data set."""

import json

import numpy as np
import pytest

from nucleus.cli.main import main
from nucleus.data.registry import read_registry
from nucleus.formats.label_image import write_label_image


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """One image with two nuclei, and an empty data root."""
    labels = np.zeros((20, 30), np.int32)
    labels[2:6, 3:9] = 1
    labels[10:15, 20:28] = 2
    write_label_image(tmp_path / "images" / "a.png", (labels > 0) * 200)
    write_label_image(tmp_path / "labels" / "a.tif", labels)
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path / "datasets"))
    return tmp_path


def run(mine, *options):
    common = ["--images", mine / "images", "--output", mine / "mine.json", "--workers", "1"]
    return main(["convert", *map(str, [*common, *options])])


def test_label_images_become_a_registered_set(mine, capsys):
    assert run(mine, "--labels", mine / "labels", "--name", "mine") == 0
    assert "1 images, 2 nuclei" in capsys.readouterr().out
    entry = read_registry(mine / "datasets")["mine"]
    assert (entry.json_file, entry.image_root) == (mine / "mine.json", mine / "images")
    assert len(json.loads(entry.json_file.read_text())["annotations"]) == 2


def test_without_a_name_nothing_is_registered(mine):
    assert run(mine, "--labels", mine / "labels") == 0
    assert not (mine / "datasets").exists()


def test_a_coco_file(mine):
    assert run(mine, "--labels", mine / "labels") == 0
    (mine / "mine.json").rename(mine / "theirs.json")
    assert run(mine, "--coco", mine / "theirs.json", "--category", "nucleus") == 0
    assert (mine / "mine.json").read_bytes() == (mine / "theirs.json").read_bytes()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--labels", "labels", "--name", "bbbc038_val"], "built in"),
        (["--labels", "nowhere"], "nowhere: expected a folder"),
        (["--coco", "nowhere.json"], "expected a COCO file"),
        (["--labels", "labels", "--category", "nucleus"], "--category: expected --coco with it"),
        (["--coco", "nowhere.json", "--label-suffix", "_x"], "--label-suffix: expected --labels with it"),
    ],
)
def test_mistakes_end_with_2_and_no_traceback(mine, options, message, capsys, monkeypatch):
    monkeypatch.chdir(mine)
    assert run(mine, *options) == 2
    assert message in capsys.readouterr().err
    assert not (mine / "mine.json").exists()


def test_labels_or_coco_must_be_given(mine, capsys):
    with pytest.raises(SystemExit, match="2"):
        run(mine)
    assert "--labels --coco is required" in capsys.readouterr().err
