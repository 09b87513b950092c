"""The real command on small folders, and without torch."""

import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from nucleus.cli.main import run_command

WITHOUT_TORCH = """
import sys
from nucleus.cli.main import main
assert main(sys.argv[1:]) == 0
assert not {"torch", "detectron2"} & set(sys.modules)
"""


@pytest.fixture
def folders(tmp_path):
    """Six images of four nuclei: `truth`; `some`, which misses one in each; `all_but_one`, which misses one once."""
    for name in ("truth", "some", "all_but_one"):
        (tmp_path / name).mkdir()
    for number in range(6):
        labels = np.kron(np.array([[1, 0, 2], [0, 0, 0], [3, 0, 4]]), np.ones((6, 6), int)).astype(np.uint8)
        missing = np.where(labels == 4, 0, labels).astype(np.uint8)
        Image.fromarray(labels).save(tmp_path / "truth" / f"{number}.png")
        Image.fromarray(missing).save(tmp_path / "some" / f"{number}.png")
        Image.fromarray(labels if number else missing).save(tmp_path / "all_but_one" / f"{number}.png")
    return tmp_path


def test_a_comparison_of_folders(folders, capsys):
    sides = [str(folders / "some"), str(folders / "all_but_one"), "--truth", str(folders / "truth")]
    assert run_command("compare", [*sides, "--output", str(folders / "out"), "--workers", "1"]) == 0
    printed = capsys.readouterr().out
    (line,) = [line for line in printed.splitlines() if line.startswith("overall")]
    assert line.split()[3:6] == ["0.7500", "0.9583", "+0.2083"]
    content = json.loads((folders / "out" / "comparison.json").read_text())
    dsb = content["scores"]["overall"]["image_mean"]["DSB score"]
    assert dsb["difference"] == pytest.approx(5 / 6 / 4)
    assert dsb["p"] == 2 / 2**5  # five images differ
    assert [image["name"] for image in content["images"]] == ["1", "2", "3", "4", "5", "0"]
    assert content["method"]["units"]["overall"] == 6
    assert (folders / "out" / "comparison.png").stat().st_size > 10_000


def test_outlines_of_images_of_two_sizes(tmp_path, capsys):
    for folder, size in {"a": 64, "b": 60}.items():
        (tmp_path / folder).mkdir()
        Image.fromarray(np.eye(size, dtype=np.uint8)).save(tmp_path / folder / "x.png")
    corner = {"type": "Polygon", "coordinates": [[[1, 1], [9, 1], [9, 9], [1, 9], [1, 1]]]}
    (tmp_path / "x.geojson").write_text(json.dumps({"type": "Feature", "geometry": corner, "properties": {}}))
    sides = [str(tmp_path / side) for side in ("a", "b")]
    assert run_command("compare", [*sides, "--truth", str(tmp_path / "x.geojson"), "--workers", "1"]) == 2
    assert "expected x of 64 x 64 pixels, as in A, found 60 x 60" in capsys.readouterr().err


def test_groups_and_nothing_written_without_output(folders, capsys):
    lines = ["image,modality,group", *(f"{number}.png,kind_{number % 2},field_{number // 3}" for number in range(6))]
    (folders / "groups.csv").write_text("\n".join(lines))
    before = sorted(folders.iterdir())
    sides = [str(folders / "some"), str(folders / "all_but_one"), "--truth", str(folders / "truth")]
    assert run_command("compare", [*sides, "--groups", str(folders / "groups.csv"), "--workers", "1"]) == 0
    printed = capsys.readouterr().out
    assert "overall (2 units)" in printed and "kind_1 (2 units)" in printed
    assert sorted(folders.iterdir()) == before


def test_a_threshold_for_each_side(tmp_path, capsys):
    from nucleus.masks.rle import encode_coco

    mask = encode_coco(np.pad(np.ones((4, 4), bool), 2))
    image = {"id": 1, "file_name": "1.png", "height": 8, "width": 8}
    true = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [2, 2, 4, 4], "area": 16, "iscrowd": 0}
    coco = {"images": [image], "annotations": [true | {"segmentation": mask}], "categories": [{"id": 1, "name": "n"}]}
    (tmp_path / "truth.json").write_text(json.dumps(coco))
    result = {"image_id": 1, "category_id": 1, "score": 0.6, "segmentation": mask}
    (tmp_path / "results.json").write_text(json.dumps([result]))
    sides = [*[str(tmp_path / "results.json")] * 2, "--truth", str(tmp_path / "truth.json"), "--workers", "1"]
    for thresholds, expected in (
        ([], ["1.0000", "1.0000"]),
        (["--score-threshold", "0.7"], ["0.0000", "0.0000"]),
        (["--score-threshold", "0.7", "--score-threshold-b", "0.5"], ["0.0000", "1.0000"]),
    ):
        assert run_command("compare", [*sides, *thresholds]) == 0
        (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("overall")]
        assert line.split()[3:5] == expected


def test_an_image_that_is_missing_is_named(folders, capsys):
    (folders / "some" / "3.png").unlink()
    sides = [str(folders / "some"), str(folders / "all_but_one"), "--truth", str(folders / "truth")]
    assert run_command("compare", [*sides, "--workers", "1"]) == 2
    error = capsys.readouterr().err
    assert "some" in error and "3" in error and "--allow-missing" in error
    assert run_command("compare", [*sides, "--workers", "1", "--allow-missing"]) == 0


def test_no_torch_is_imported(folders):
    sides = [str(folders / "some"), str(folders / "all_but_one"), "--truth", str(folders / "truth")]
    command = [sys.executable, "-c", WITHOUT_TORCH, "compare", *sides, "--output", str(folders / "out")]
    done = subprocess.run([*command, "--workers", "1"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
