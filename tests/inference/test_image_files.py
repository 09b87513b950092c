from __future__ import annotations

from pathlib import Path

import pytest

from nucleus.errors import InputError
from nucleus.inference.claims import Claims
from nucleus.inference.image_files import find_images


def make(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    return folder


def names(*inputs: Path, leave_out: Path | None = None) -> list[str]:
    return [image.name for image in find_images(inputs, leave_out=leave_out)]


def test_a_folder(tmp_path):
    folder = make(tmp_path, "b.png", "a.TIF", "sub/deep/c.jpg", "notes.txt", ".hidden.png", ".git/x.png", "s.ome.tif")
    assert names(folder) == ["a", "b", "s", "sub/deep/c"]


def test_files_are_taken_whatever_their_name_is(tmp_path):
    make(tmp_path, "image.dat", "slide.ome.tiff", ".ome.tif")
    assert names(tmp_path / "image.dat", tmp_path / "slide.ome.tiff") == ["image", "slide"]


def test_zarr_is_one_image(tmp_path):
    make(tmp_path, "slide.ome.zarr/.zgroup", "slide.ome.zarr/0/0.png", "plain/zarr.json")
    assert names(tmp_path) == ["slide"]
    assert names(tmp_path / "slide.ome.zarr", tmp_path / "plain") == ["slide", "plain"]


def test_one_file_given_twice_is_one(tmp_path):
    folder = make(tmp_path, "a.png")
    (folder / "link.png").symlink_to(folder / "a.png")
    assert names(folder, folder / "a.png") == ["a"]


def test_the_output_is_left_out(tmp_path):
    folder = make(tmp_path, "a.png", "nuclei/a_labels.tif")
    assert names(folder, leave_out=folder / "nuclei") == ["a"]
    assert names(folder / "a.png", leave_out=folder) == ["a"]
    with pytest.raises(InputError, match="a folder for the output that is not that of the images, found the same one"):
        names(folder, leave_out=folder / "nuclei" / "..")


def test_what_nucleus_wrote_is_left_out_wherever_it_is(tmp_path):
    for name in ("a.tif", "a_overlay.png", "below/b.tif", "below/c_labels.tif"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    Claims(tmp_path).write("a", ["a_overlay.png"])
    Claims(tmp_path / "below").write("c", ["c_labels.tif"])
    assert [file.name for file in find_images([tmp_path])] == ["a", "below/b"]
    given = [tmp_path / "a.tif", tmp_path / "a_overlay.png"]
    assert [file.name for file in find_images(given, leave_out=tmp_path)] == ["a"]
    with pytest.raises(InputError, match=r"a_overlay\.png: expected images that nucleus did not write itself"):
        find_images(given[1:], leave_out=tmp_path)
    Claims(tmp_path).write("below/b", ["below/b.tif"])
    with pytest.raises(InputError, match="found none in this folder"):
        find_images([tmp_path / "below"], leave_out=tmp_path)


def test_links_in_a_circle(tmp_path):
    folder = make(tmp_path, "a.png", "sub/b.png")
    for name in ("one", "two", "sub/three"):
        (folder / name).symlink_to(folder, target_is_directory=True)
    assert names(folder) == ["a", "sub/b"]


@pytest.mark.parametrize("second", ["a.tif", "a.ome.tif"])
def test_names_that_collide(tmp_path, second):
    folder = make(tmp_path, "a.png", second)
    with pytest.raises(InputError, match=r"a\..*: expected names that differ in more than their ending.*a\."):
        names(folder)
    other = make(tmp_path / "other", "b.png")
    make(tmp_path / "third", "b.png")
    with pytest.raises(InputError, match="the name of"):
        names(other, tmp_path / "third")


def test_nothing_there(tmp_path):
    with pytest.raises(InputError, match="missing: expected an image or a folder of images, found nothing there"):
        names(tmp_path / "missing")
    with pytest.raises(InputError, match="none in this folder"):
        names(make(tmp_path, "notes.txt"))
