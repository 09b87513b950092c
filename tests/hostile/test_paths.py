"""What names in files and folders can make nucleus write, and where: never outside the output, never through a link."""

import json
import zipfile

import numpy as np
import pytest

from nucleus.app.names import safe_name
from nucleus.data.converter import prepare
from nucleus.errors import InputError
from nucleus.evaluation.evaluate_files import evaluate_files
from nucleus.formats.coco import write_coco
from nucleus.formats.geojson import write_geojson
from nucleus.formats.kaggle_csv import write_kaggle_csv
from nucleus.formats.label_image import write_label_image
from nucleus.masks.kaggle_runs import encode_kaggle
from nucleus.masks.rle import encode_coco

LABELS = np.zeros((20, 30), np.int32)
LABELS[2:9, 3:12], LABELS[11:18, 15:27] = 1, 2
NAMES = (
    "../../out",
    "/tmp/nucleus-out",
    "a/../../../out",
    "C:\\out",
    "CON",
    "nul.png",
    "x" * 300,
    "<script>",
    "a\nb",
    "..",
)


def files(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


@pytest.mark.parametrize("write", [write_label_image, write_geojson], ids=["tif", "geojson"])
def test_a_link_in_the_output_is_replaced_and_not_followed(tmp_path, write):
    precious = tmp_path / "precious"
    precious.write_bytes(b"precious")
    for name in ("a.tif", "b.geojson"):
        if (write is write_label_image) == name.endswith(".tif"):
            (tmp_path / name).symlink_to(precious)
            write(tmp_path / name, LABELS)
            assert not (tmp_path / name).is_symlink()
    assert precious.read_bytes() == b"precious"


@pytest.mark.parametrize("kind", ["coco", "kaggle"])
def test_names_of_images_in_a_file_to_score_write_nothing_outside(tmp_path, kind):
    """The names stand in the tables of the output alone."""
    work = tmp_path / "deep" / "work"
    work.mkdir(parents=True)
    if kind == "coco":
        images = [{"id": n, "file_name": name, "height": 20, "width": 30} for n, name in enumerate(NAMES)]
        masks = [
            {"id": 2 * n + label, "image_id": n, "category_id": 1, "segmentation": encode_coco(label == LABELS)}
            for n in range(len(NAMES))
            for label in (1, 2)
        ]
        write_coco(truth := work / "truth.json", {}, images, masks)
    else:
        rows = [(name, encode_kaggle(label == LABELS)) for name in NAMES for label in (1, 2)]
        write_kaggle_csv(truth := work / "truth.csv", rows)
        truth.write_text(truth.read_text().replace("EncodedPixels", "EncodedPixels,Height,Width", 1))
        lines = truth.read_text().splitlines()
        truth.write_text(
            "\n".join([lines[0], *(f"{line},20,30" if line[-1].isdigit() else line for line in lines[1:])])
        )
    before = files(tmp_path)
    evaluate_files(truth, truth, work / "output")
    assert {name.split("/output")[0] for name in set(files(tmp_path)) - set(before)} == {"deep/work"}


def test_names_in_archives_write_nothing_outside(tmp_path):
    work = tmp_path / "deep" / "work"
    work.mkdir(parents=True)
    for part in ("stage1_train", "stage1_test"):
        with zipfile.ZipFile(work / f"{part}.zip", "w") as archive:
            for name in NAMES:
                for kind in ("images", "masks"):
                    archive.writestr(f"{name}/{kind}/{name}.png", b"no image")
                    archive.writestr(f"set/{name}/{kind}/x.png", b"no image")
    (work / "stage1_solution.csv").write_text("ImageId,EncodedPixels\n" + "".join(f'"{name}",1 1\n' for name in NAMES))
    before = files(tmp_path)
    try:
        prepare(work, work / "root")
    except InputError as error:
        assert "name too long" in str(error)
    assert all(name.startswith("deep/work/root") for name in set(files(tmp_path)) - set(before))


@pytest.mark.parametrize("name", [*NAMES, "a\0b", "", ".", "‮gnp.exe", "COM1"])
def test_names_of_uploads(name):
    safe = safe_name(name)
    assert safe and len(safe) < 200 and not set(safe) & set("/\\\0\n\r<>:\"'|?*") and safe not in (".", "..")
    json.dumps(safe)
