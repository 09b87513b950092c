"""`nucleus predict` with a small model of random weights: what it prints and writes, and that a kill costs nothing."""

from __future__ import annotations

import csv
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile

from nucleus.cli.main import run_command
from nucleus.data.lock import only_writer
from nucleus.formats.label_image import read_label_image

OVERRIDES = [
    *("MODEL.TIMM.WEIGHTS", "", "MODEL.TIMM.NORM", "BN", "INPUT.UPSCALE_SHORT_EDGE", "0"),
    *("TEST.DETECTIONS_PER_IMAGE", "40", "TEST.SCORE_THRESHOLD", "0.0", "MODEL.RPN.POST_NMS_TOPK_TEST", "60"),
]
COMMAND = [sys.executable, "-m", "nucleus", "predict"]


@pytest.fixture(scope="module")
def weights(random_run) -> Path:
    return random_run(OVERRIDES) / "model.pth"


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    """uint8 (H, W, 3) with some structure."""
    noise = np.random.default_rng(seed).integers(0, 256, (height // 8, width // 8, 3), dtype=np.uint8)
    return cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)


@pytest.fixture
def predict(weights, tmp_path) -> Callable[..., int]:
    """The command in this process, with the weights and an output folder."""

    def command(*arguments: str | Path, output: Path = tmp_path / "output") -> int:
        return run_command("predict", [*map(str, arguments), "--output", str(output), "--weights", str(weights)])

    return command


def visible(folder: Path) -> dict[str, bytes]:
    paths = [path for path in folder.rglob("*") if path.is_file() and ".nucleus" not in path.parts]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(paths)}


def test_every_format_of_a_folder(predict, tmp_path, capfd):
    folder, output = tmp_path / "images", tmp_path / "output"
    (folder / "below").mkdir(parents=True)
    cv2.imwrite(str(folder / "a.png"), picture(64, 80))
    cv2.imwrite(str(folder / "below" / "b.jpg"), picture(64, 64, seed=1))
    (folder / "bad.png").write_bytes(b"no picture")
    assert predict(folder, "--format", "labels,geojson,imagej,measurements,coco,kaggle,overlay") == 1
    printed = capfd.readouterr()
    assert printed.out.startswith("2 images done in ") and " 1 failed (see above); " in printed.out
    assert printed.err.count("\n") == 1 and "bad.png: expected a whole PNG, JPEG, TIFF" in printed.err
    assert list(visible(output)) == [
        *("a.geojson", "a_labels.tif", "a_measurements.csv", "a_overlay.png", "a_rois.zip"),
        *(f"below/b{end}" for end in (".geojson", "_labels.tif", "_measurements.csv", "_overlay.png", "_rois.zip")),
        *("nuclei_coco.json", "nuclei_kaggle.csv"),
    ]
    assert read_label_image(output / "a_labels.tif").max() > 3
    (folder / "bad.png").unlink()
    assert predict(folder) == 0
    assert capfd.readouterr().out.startswith("0 images done, 2 done before; ")


def test_settings(predict, tmp_path, capfd):
    cv2.imwrite(str(tmp_path / "a.png"), picture(64, 80))
    assert predict(tmp_path / "a.png") == 0
    first = visible(tmp_path / "output")
    assert predict(tmp_path / "a.png", "--threshold", "0.9") == 2
    assert "with other values of threshold. Choose another folder, or --overwrite" in capfd.readouterr().err
    assert visible(tmp_path / "output") == first
    assert predict(tmp_path / "a.png", "--threshold", "0.9", "--overwrite") == 0
    assert visible(tmp_path / "output") != first
    threshold = visible(tmp_path / "output")
    assert predict(tmp_path / "a.png", "--threshold", "0.9", "--views", "2", "--expand", "1.5") == 2
    assert "with other values of expand, views." in capfd.readouterr().err
    assert predict(tmp_path / "a.png", "--threshold", "0.9", "--views", "2", "--expand", "1.5", "--overwrite") == 0
    assert visible(tmp_path / "output") != threshold
    assert predict(tmp_path / "a.png", "--threshold", "0.9", "--scale", "0.7", output=tmp_path / "smaller") == 0
    assert visible(tmp_path / "smaller") != threshold
    assert predict(tmp_path / "a.png", "--scale", "9", "--overwrite") == 2
    assert "scale: expected a factor from 0.25 to 8, found 9" in capfd.readouterr().err
    assert predict(tmp_path / "a.png", "--scale", "0.4", "--tile", "512", "--overwrite") == 2
    assert "--tile: expected 640 or more pixels with --scale 0.4, found 512" in capfd.readouterr().err
    with only_writer(tmp_path / "output"):
        assert predict(tmp_path / "a.png") == 2
    assert "expected a folder that nothing else writes, found another run writing it" in capfd.readouterr().err
    assert predict(tmp_path / "a.png", "--expand", "21", "--overwrite") == 2
    assert "TEST.EXPAND: expected from -20 to 20 pixels, found 21" in capfd.readouterr().err
    assert predict(tmp_path / "a.png", output=tmp_path) == 0  # beside the image is fine
    assert predict(tmp_path, "--threshold", "0.9", "--views", "2", "--expand", "1.5") == 0
    assert not [name for name in visible(tmp_path / "output") if "labels_labels" in name]  # what it wrote is no image


def test_pixel_size_channels_and_pages(predict, tmp_path):
    """An OME-TIFF of two planes and two channels: what is chosen counts, and micrometres come out."""
    pixels = np.zeros((2, 2, 96, 112), dtype=np.uint16)
    pixels[1, 1] = picture(96, 112)[..., 0].astype(np.uint16) * 50
    metadata = {
        "axes": "ZCYX", "PhysicalSizeX": 0.25, "PhysicalSizeY": 0.5, "PhysicalSizeXUnit": "µm",
        "PhysicalSizeYUnit": "µm", "Channel": {"Name": ["actin", "DAPI"]},
    }  # fmt: skip
    tifffile.imwrite(tmp_path / "two.ome.tif", pixels, metadata=metadata)
    output = tmp_path / "output"
    assert predict(tmp_path / "two.ome.tif") == 1
    by_name = ["--channel", "DAPI", "--page", "1", "--format", "labels,measurements", "--overwrite"]
    assert predict(tmp_path / "two.ome.tif", *by_name) == 0
    with tifffile.TiffFile(output / "two_labels.tif") as tiff:
        per_um = [tiff.pages[0].tags[name].value for name in ("XResolution", "YResolution")]
        labels = tiff.asarray()
        assert "unit=um" in tiff.pages[0].description
    assert [one[1] / one[0] for one in per_um] == [0.25, 0.5]
    with (output / "two_measurements.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == labels.max() > 3
    for row in rows:
        area = np.count_nonzero(labels == int(row["label"]))
        assert (float(row["area_px"]), float(row["area_um2"])) == (area, area * 0.125)
        inside = pixels[1, 1][labels == int(row["label"])]
        assert float(row["intensity_mean_DAPI"]) == pytest.approx(inside.mean())
    tifffile.imwrite(tmp_path / "alone.tif", pixels[1, 1])
    assert predict(tmp_path / "alone.tif", output=tmp_path / "alone") == 0
    np.testing.assert_array_equal(read_label_image(tmp_path / "alone" / "alone_labels.tif"), labels)


def test_alpha_is_nothing(predict, tmp_path):
    pixels = picture(64, 80)
    alpha = np.random.default_rng(0).integers(0, 256, (64, 80, 1), dtype=np.uint8)
    tifffile.imwrite(tmp_path / "rgb.tif", pixels, photometric="rgb")
    cv2.imwrite(str(tmp_path / "rgba.png"), np.concatenate([pixels[..., ::-1], alpha], axis=2))
    assert predict(tmp_path / "rgb.tif", tmp_path / "rgba.png") == 0
    files = visible(tmp_path / "output")
    assert files["rgb_labels.tif"] == files["rgba_labels.tif"]


def test_arguments_are_checked_before_torch_is_imported(tmp_path, weights):
    cv2.imwrite(str(tmp_path / "a.png"), picture(64, 80))
    (tmp_path / "b.png").write_bytes((tmp_path / "a.png").read_bytes())
    (tmp_path / "b.tif").write_bytes(b"")
    good = {"input": str(tmp_path / "a.png"), "--output": str(tmp_path / "output"), "--weights": str(weights)}
    wrong = [
        ({"--help": ""}, "usage: nucleus predict"),
        ({"input": str(tmp_path / "no.png")}, "found nothing there"),
        ({"input": str(tmp_path)}, "names that differ in more than their ending"),
        ({"--format": "labels,cake"}, "--format: expected some of labels,"),
        ({"--weights": "no.pth"}, "no.pth: expected a trained checkpoint, found nothing there"),
        ({"--config-file": "no.yaml"}, "no.yaml: expected the config that the weights were trained with"),
        ({"--tile": "100"}, "expected auto, or 256 or more pixels, found 100"),
        ({"--threshold": "half"}, "expected a score from 0 to 1, found half"),
        ({"--batch": "0"}, "expected 1 or more, found 0"),
    ]
    code = """
import contextlib, io, json, sys
from nucleus.cli.main import run_command
for arguments, expected in json.loads(sys.argv[1]):
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
        try:
            run_command("predict", arguments)
        except SystemExit:
            pass
    assert expected in said.getvalue(), (expected, said.getvalue())
print(*sys.modules)
"""
    import json

    cases = [
        ([part for name, value in (good | change).items() for part in (value, name)[:: 1 if name == "input" else -1]
          if part not in ("input", "")], expected)
        for change, expected in wrong
    ]  # fmt: skip
    done = subprocess.run([sys.executable, "-c", code, json.dumps(cases)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert not {"torch", "detectron2", "torchvision", "timm"} & set(done.stdout.split())
    assert not (tmp_path / "output").exists()


def test_an_output_that_cannot_be_written(predict, tmp_path, capfd):
    cv2.imwrite(str(tmp_path / "a.png"), picture(64, 80))
    (tmp_path / "file").write_text("no folder")
    assert predict(tmp_path / "a.png", output=tmp_path / "file" / "output") == 2
    assert "expected a disk with room that can be written to, found Not a directory" in capfd.readouterr().err
    if os.geteuid() != 0:  # who is root writes everywhere
        (tmp_path / "shut").mkdir(mode=0o500)
        assert predict(tmp_path / "a.png", output=tmp_path / "shut") == 2
        assert "found Permission denied" in capfd.readouterr().err


def test_killed_and_started_again(weights, tmp_path):
    """Killed among the tiles of a large image, and among the small images after it."""
    folder, output = tmp_path / "images", tmp_path / "output"
    folder.mkdir()
    tifffile.imwrite(folder / "a_large.tif", picture(400, 520), tile=(128, 128), compression="zlib", photometric="rgb")
    for number in range(12):
        cv2.imwrite(str(folder / f"small_{number:02d}.png"), picture(64, 64, seed=number))
    rest = [str(folder), "--weights", str(weights), "--tile", "256", "--format", "labels,coco"]
    env = {name: value for name, value in os.environ.items() if name != "PYTHONWARNINGS"} | {"OMP_NUM_THREADS": "1"}
    tiles, records = output / ".nucleus" / "tiles" / "a_large.tiles", output / ".nucleus" / "done"
    moments: list[Callable[[], bool]] = [
        lambda: len(list(tiles.glob("tile_*.npz"))) >= 3,
        lambda: (records / "small_00.json").exists(),
    ]
    for moment in moments:
        process = subprocess.Popen([*COMMAND, *rest, "--output", str(output)], env=env)
        try:
            while not moment():
                assert process.poll() is None, "ended before it could be killed"
                time.sleep(0.002)
        finally:
            process.kill()
            process.wait()
    assert len(list(records.glob("*.json"))) < 13
    expected = tmp_path / "expected"
    for folder_out in (output, expected):
        done = subprocess.run(
            [*COMMAND, *rest, "--output", str(folder_out)], env=env, check=True, capture_output=True, text=True
        )
        assert done.stderr == ""  # nor any warning of other packages
    assert len(visible(expected)) == 13 + 1
    assert visible(output) == visible(expected)
    hidden = {path.relative_to(output).as_posix() for path in (output / ".nucleus").rglob("*") if path.is_file()}
    assert not {name for name in hidden if "/tiles/" in name or "/unfinished/" in name}
    shutil.rmtree(output)
