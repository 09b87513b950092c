"""`nucleus evaluate`: from files to files."""

import csv
import json
import os
import subprocess
import sys

import cv2
import jsonschema
import numpy as np
import pytest

from nucleus.cli.main import main
from nucleus.evaluation.table import scores_schema

FILES = {"scores.json", "scores.csv", "images.csv", "report.html", "report.md", "report_pictures"}
FORBIDDEN = ("torch", "torchvision", "detectron2", "timm", "fvcore")


def draw(count, cells=8):
    """Squares of 6 x 6 pixels."""
    labels = np.zeros((100, 100), dtype=np.int32)
    for number in range(count):
        top, left = (number // cells) * 12 + 2, (number % cells) * 12 + 2
        labels[top : top + 6, left : left + 6] = number + 1
    return labels


@pytest.fixture(scope="session")
def mine(tmp_path_factory):
    """130 images: so many that two processes share them. Of every second one a nucleus is missed."""
    folder = tmp_path_factory.mktemp("mine")
    for name in ("truth", "found", "images"):
        (folder / name).mkdir()
    for number in range(130):
        truth = draw(number % 7 + 2)
        found = truth.copy()
        if number % 2:
            found[found == 1] = 0
        cv2.imwrite(str(folder / "truth" / f"{number}.png"), truth.astype(np.uint8))
        cv2.imwrite(str(folder / "found" / f"{number}_masks.tif"), found.astype(np.uint16))
        cv2.imwrite(str(folder / "images" / f"{number}.png"), ((truth > 0) * 160 + 40).astype(np.uint8))
    lines = [f"{number}.png,{'even' if number % 2 == 0 else 'odd'},slide {number // 5}" for number in range(130)]
    (folder / "groups.csv").write_text("image,modality,group\n" + "\n".join(lines))
    return folder


def options(folder, output):
    return ["evaluate", "--truth", str(folder / "truth"), "--pred", str(folder / "found"), "--pred-suffix", "_masks",
            "--output", str(output)]  # fmt: skip


def test_files_and_table(mine, tmp_path, capsys):
    more = ["--groups", str(mine / "groups.csv"), "--images", str(mine / "images"), "--workers", "1"]
    output = tmp_path / "output"
    assert main([*options(mine, output), *more]) == 0
    text = capsys.readouterr().out
    lines = [line.split() for line in text.splitlines()]
    assert ["overall", "even", "odd"] in lines
    assert ["images", "130", "65", "65"] in lines
    assert ["missed", "65", "0", "65"] in lines
    assert ["object", "F1@0.50", "1.0000"] in [line[:2] + line[-2:-1] for line in lines]
    assert "with 95% interval" in text
    assert "true nuclei a megapixel" in text
    assert f"truth: {mine / 'truth'} (label images)" in text
    assert {path.name for path in output.iterdir()} == FILES
    content = json.loads((output / "scores.json").read_text())
    jsonschema.validate(content, scores_schema())
    overall = content["scores"]["overall"]
    low, high = overall["intervals"]["pooled"]["object F1@0.50"]
    assert low < overall["pooled"]["object F1@0.50"] < high
    assert content["interval method"]["units"]["overall"] == 26  # slides
    with (output / "images.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [rows[0][key] for key in ("image", "modality", "group", "DSB score")] == ["0", "even", "slide 0", "1.0"]
    assert len(list((output / "report_pictures").iterdir())) == 18  # six images, three pictures each


RUN = """
import sys
from nucleus.cli.main import main
if __name__ == "__main__":
    code = main(sys.argv[1:])
    print("IMPORTED:", sorted({name.split(".")[0] for name in sys.modules} & set(%r)))
    sys.exit(code)
"""


def test_no_torch_is_imported_not_even_by_the_workers(mine, tmp_path):
    """Whoever imports one of these fails, and nobody does: neither the command nor the processes that it starts."""
    blocked = tmp_path / "blocked"
    blocked.mkdir()
    for name in FORBIDDEN:
        (blocked / f"{name}.py").write_text(f"raise SystemError('{name} was imported')")
    (tmp_path / "run.py").write_text(RUN % (FORBIDDEN,))
    path = os.pathsep.join([str(blocked), *filter(None, sys.path)])
    command = [sys.executable, str(tmp_path / "run.py"), *options(mine, tmp_path / "output"), "--workers", "2"]
    done = subprocess.run(command, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "IMPORTED: []" in done.stdout
    bad = subprocess.run([sys.executable, "-c", "import torch"], env=os.environ | {"PYTHONPATH": path},
                         capture_output=True, text=True)  # fmt: skip
    assert "torch was imported" in bad.stderr  # the block holds
    assert main([*options(mine, tmp_path / "alone"), "--workers", "1", "--no-report"]) == 0
    for name in ("scores.json", "scores.csv", "images.csv"):
        assert (tmp_path / "output" / name).read_bytes() == (tmp_path / "alone" / name).read_bytes()
    assert not (tmp_path / "alone" / "report.html").exists()


def test_detections_draw_the_curve_over_the_threshold(mine, tmp_path, capsys):
    images = [{"id": 1, "file_name": "5.png", "height": 100, "width": 100}]
    items = [{"id": number, "image_id": 1, "category_id": 1, "score": 0.3 + 0.1 * number,
              "segmentation": [[x, 2, x + 6, 2, x + 6, 8, x, 8]]}
             for number, x in enumerate((2, 14, 26, 38))]  # fmt: skip
    categories = [{"id": 1, "name": "cell"}]
    (tmp_path / "found.json").write_text(json.dumps({"images": images, "annotations": items, "categories": categories}))
    arguments = ["evaluate", "--truth", str(mine / "truth" / "5.png"), "--pred", str(tmp_path / "found.json"),
                 "--output", str(tmp_path / "output")]  # fmt: skip
    assert main(arguments) == 0
    text = capsys.readouterr().out
    assert "score threshold: 0.5\n" in text
    assert "COCO AP (masks)" in text
    assert {path.name for path in (tmp_path / "output").iterdir()} == FILES | {"threshold.csv", "threshold.png"}
    assert main([*arguments, "--score-threshold", "0.35", "--no-coco-ap", "--no-report"]) == 0
    text = capsys.readouterr().out
    assert "score threshold: 0.35\n" in text
    assert "COCO AP" not in text


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--pred-suffix", ""], "0_masks, 100_masks"),
        (["--truth", "nowhere"], "nowhere: expected a file or folder with nuclei"),
        (["--groups", "nowhere.csv"], "nowhere.csv: expected a readable CSV file"),
        (["--images", "nowhere"], "nowhere: expected the folder of the images"),
        (["--workers", "0"], "--workers: expected at least 1"),
        (["--output", "truth/0.png"], "truth/0.png: expected a folder to write into, found a file"),
        (["--output", "/proc/nowhere"], "expected a folder that can be written to"),
        (["--score-threshold", "nan"], "--score-threshold: expected a finite number, found nan"),
    ],
)
def test_mistakes_end_with_2_and_no_traceback(mine, tmp_path, more, message, capsys, monkeypatch):
    monkeypatch.chdir(mine)
    assert main([*options(mine, tmp_path / "output"), "--workers", "1", *more]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "output").exists()
