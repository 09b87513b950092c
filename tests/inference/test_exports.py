"""Every format of the table, written at once and opened again by a reader from outside."""

import contextlib
import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image
from pycocotools.coco import COCO
from shapely.geometry import shape

from nucleus.errors import InputError
from nucleus.formats.image_source import open_array
from nucleus.formats.kaggle_csv import read_kaggle_csv
from nucleus.inference import exports
from nucleus.inference.exports import DEFAULT, FORMATS, Format, Segmentation, formats_named
from nucleus.masks.kaggle_runs import decode_kaggle

LABELS = np.zeros((40, 50), np.int32)
LABELS[3:13, 5:25] = 1
LABELS[20:30, 30:40] = 2
LABELS[24, 34] = 0  # a hole
PIXELS = np.random.default_rng(0).integers(0, 4096, (40, 50), dtype=np.uint16)
SOURCE = open_array(PIXELS, pixel_size_um=(0.5, 0.25))


def written(folder: Path, one: Segmentation, formats: list[Format]) -> list[Path]:
    paths = [folder / f"{one.name}{kind.suffix}" for kind in formats]
    for kind, path in zip(formats, paths, strict=True):
        kind.write(path, one)
    return paths


def test_every_format_has_its_file(tmp_path):
    roifile = pytest.importorskip("roifile")
    one = Segmentation("plate/a", LABELS, [0.75, 0.5], SOURCE)
    paths = written(tmp_path, one, formats_named(",".join(FORMATS)))
    assert [path.name for path in paths] == [f"a{kind.suffix}" for kind in FORMATS.values()]
    assert sorted(tmp_path.rglob("*.*")) == sorted(paths)
    labels, geojson, imagej, measurements, coco, kaggle, overlay = paths
    with tifffile.TiffFile(labels) as file:
        assert (file.asarray() == LABELS).all() and file.imagej_metadata["unit"] == "um"
    expected = np.array([1, 2])[:, None, None] == LABELS
    areas = [int(area) for area in np.bincount(LABELS.ravel())[1:]]
    features = json.loads(geojson.read_text())["features"]
    assert [shape(one["geometry"]).area for one in features] == areas
    assert [one["properties"]["measurements"]["score"] for one in features] == [0.75, 0.5]
    assert [roi.name for roi in roifile.roiread(imagej)] == ["1", "2"]
    rows = list(csv.DictReader(measurements.open()))
    assert [float(row["area_um2"]) for row in rows] == [area / 8 for area in areas]
    assert float(rows[0]["intensity_mean_grey"]) == pytest.approx(PIXELS[LABELS == 1].mean())
    truth = {"info": {}, "images": [{"id": "plate/a", "height": 40, "width": 50}], "annotations": [],
             "categories": [{"id": 1, "name": "nucleus"}]}  # fmt: skip
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    with contextlib.redirect_stdout(io.StringIO()):
        loaded = COCO(str(tmp_path / "truth.json")).loadRes(str(coco))
    masks = [loaded.annToMask(one) for one in loaded.loadAnns(loaded.getAnnIds())]
    assert (np.array(masks) == expected).all()
    assert (np.array([decode_kaggle(row.runs, 40, 50) for row in read_kaggle_csv(kaggle)]) == expected).all()
    assert Image.open(overlay).size == (50, 40)


def test_several_images_in_one_file(tmp_path):
    several = [
        Segmentation("a", LABELS, [1, 0.5]),
        Segmentation("b", np.zeros((5, 5), int), []),
        Segmentation("c", LABELS),
    ]
    together = [kind for kind in FORMATS.values() if kind.join]
    assert [kind.name for kind in together] == ["coco", "kaggle"]
    for kind in together:
        parts = [written(tmp_path, one, [kind])[0] for one in several]
        kind.join(tmp_path / kind.name, parts)
    assert [one["image_id"] for one in json.loads((tmp_path / "coco").read_text())] == ["a", "a", "c", "c"]
    assert [row.image_id for row in read_kaggle_csv(tmp_path / "kaggle")] == ["a", "a", "b", "c", "c"]


def test_an_image_without_nuclei_and_without_pixels_is_written_too(tmp_path):
    kinds = [kind for kind in FORMATS.values() if kind.name != "overlay"]
    assert len(written(tmp_path, Segmentation("a", np.zeros((6, 7), np.int32)), kinds)) == 6
    with pytest.raises(InputError, match="the image to draw over"):
        written(tmp_path, Segmentation("a", LABELS), [FORMATS["overlay"]])


def test_names_are_looked_up():
    assert [kind.name for kind in formats_named(" Overlay,labels,,labels ")] == ["overlay", "labels"]
    assert [kind.name for kind in formats_named(DEFAULT)] == ["labels"]
    for wrong, found in (("labels,svg", "svg"), ("", "none"), ([], "none")):
        with pytest.raises(InputError, match=f"some of labels, geojson, .*, found {found}"):
            formats_named(wrong)


def test_a_missing_package_is_said_before_anything_runs(monkeypatch):
    monkeypatch.setattr(exports, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"the package roifile, for imagej.*nucleus\[imagej\]"):
        formats_named("labels,imagej")
    assert formats_named("labels,geojson")


def test_each_has_a_suffix_of_its_own_and_a_line():
    assert len({kind.suffix for kind in FORMATS.values()}) == len(FORMATS) == 7
    assert all(kind.description and "\n" not in kind.description for kind in FORMATS.values())
