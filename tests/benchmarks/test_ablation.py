from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from nucleus.cli.main import run_command
from nucleus.config import load_config
from nucleus.data.registry import read_registry


@pytest.fixture(scope="module")
def ablation(names_of):
    return names_of("ablation")


def test_one_colour_is_held_out(ablation, tmp_path):
    """Of a small set, the coloured images: none is trained on, all are in the set of their own."""
    data = tmp_path / "datasets" / "bbbc038"
    run_command("synth", ["--root", str(data), "--images", "12", "--test-images", "2", "--max-size", "128"])
    run_command("prepare", ["--source", str(data), "--root", str(data), "--workers", "1"])
    images = {
        split: json.loads((data / "annotations" / f"bbbc038_{split}.json").read_bytes())["images"]
        for split in ("train", "val", "trainval")
    }
    colour = {Path(one["file_name"]).stem: "purple" in one["modality"] for one in images["trainval"]}
    index = tmp_path / "index.csv"
    with index.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["image_id", "foreground", "background"])
        writer.writerows([name, *(("purple", "white") if purple else ("white", "black"))]
                         for name, purple in colour.items())  # fmt: skip
    folder = tmp_path / "runs"
    folder.mkdir()
    ablation["split"](tmp_path / "datasets", index, ("purple", "white"), folder)
    registry = read_registry(folder)
    found = {
        name: {Path(one["file_name"]).stem for one in json.loads(entry.json_file.read_bytes())["images"]}
        for name, entry in registry.items()
    }
    assert found["ablation_unseen"] == {name for name, purple in colour.items() if purple} != set()
    for name, source in (("ablation_train", "train"), ("ablation_seen", "val")):
        everything = {Path(one["file_name"]).stem for one in images[source]}
        assert found[name] == {image for image in everything if not colour[image]}
    assert registry["ablation_train"].image_root == data
    with pytest.raises(SystemExit, match="no training image is green on white"):
        ablation["split"](tmp_path / "datasets", index, ("green", "white"), folder)


def test_every_variant_is_a_config(ablation):
    quick = load_config(ablation["CONFIG"])
    for name, changes in ablation["VARIANTS"].items():
        cfg = load_config(ablation["CONFIG"], [str(part) for pair in changes.items() for part in pair])
        assert (cfg == quick) == (name == "base"), name  # a variant that changes nothing would measure nothing
