from __future__ import annotations

import os

import pytest

from nucleus.errors import InputError
from nucleus.evaluation.image_names import files_by_name, listed, match_names, name_of


@pytest.mark.parametrize(
    ("file_name", "name"),
    [
        ("a.png", "a"),
        ("deep/a.TIF", "deep/a"),
        ("deep\\a.jpeg", "deep/a"),
        ("a.ome.tiff", "a"),
        ("a.b.png", "a.b"),
        ("slide.1", "slide.1"),  # no ending of an image
        ("a.geojson", "a"),
    ],
)
def test_names(file_name, name):
    assert name_of(file_name) == name


def test_as_few_parts_of_a_name_as_are_needed():
    assert match_names(["x/y/a", "x/z/b"], ["b", "q/a"]) == {"x/y/a": "q/a", "x/z/b": "b"}
    assert match_names(["x/a", "y/a"], ["run/y/a", "run/x/a"]) == {"x/a": "run/x/a", "y/a": "run/y/a"}
    assert match_names(["a", "b"], ["1/a", "2/a"]) == {}  # which of the two is unknown
    assert match_names([], ["a"]) == {}


def test_ten_names_are_listed():
    assert listed(["b", "a"]) == "a, b"
    assert listed(str(number) for number in range(11)) == "0, 1, 10, 2, 3, 4, 5, 6, 7, 8, ..."


def test_hidden_files_and_other_endings_are_passed_over(tmp_path):
    for name in ("a.tif", "deep/b.TIF", "c.txt", "._a.tif", ".cache/q.tif"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert files_by_name(tmp_path, (".tif",)) == {"a": tmp_path / "a.tif", "deep/b": tmp_path / "deep" / "b.TIF"}


def test_two_files_of_one_name_are_refused(tmp_path):
    for name in ("a.png", "a.tif"):
        (tmp_path / name).touch()
    with pytest.raises(InputError, match=r"a\.tif: expected one file of each name, found a\.png, too"):
        files_by_name(tmp_path, (".png", ".tif"))


def test_pipes_and_devices_in_a_folder_are_not_read(tmp_path):
    os.mkfifo(tmp_path / "a.png")
    with pytest.raises(InputError, match=r"a\.png: expected a file, found a pipe or a device"):
        files_by_name(tmp_path, (".png", ".tif"))
    (tmp_path / "a.png").unlink()
    (tmp_path / "b.tif").symlink_to("/dev/zero")
    with pytest.raises(InputError, match=r"b\.tif: expected a file, found a pipe or a device"):
        files_by_name(tmp_path, (".png", ".tif"))
