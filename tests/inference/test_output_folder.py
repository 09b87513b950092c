"""The folder by itself; with whole runs it is tested in test_predict_files.py."""

from __future__ import annotations

import numpy as np
import pytest

from nucleus.errors import InputError
from nucleus.formats.image_source import open_array
from nucleus.inference.exports import formats_named
from nucleus.inference.image_files import ImageFile
from nucleus.inference.output_folder import Output, State
from nucleus.inference.segment import Segmented

FORMATS = formats_named("labels,coco")


@pytest.fixture
def image(tmp_path) -> ImageFile:
    (tmp_path / "a.png").write_bytes(b"a picture")
    return ImageFile(tmp_path / "a.png", "a")


def open_folder(tmp_path, settings=(("threshold", 0.5),), **more) -> Output:
    return Output(tmp_path / "output", FORMATS, dict(settings), **{"overwrite": False} | more)


def write(output: Output, image: ImageFile):
    labels = np.zeros((4, 5), np.int32)
    labels[1:3, 1:4] = 1
    picture = open_array(np.zeros((4, 5), np.uint8))
    return output.write(image, State.of(image.path), picture, Segmented(labels, np.array([0.75])))


def test_what_is_written_is_known_again(tmp_path, image):
    output = open_folder(tmp_path)
    assert output.done_before(image) is None and output.recorded() == set()
    done = write(output, image)
    assert (done.nuclei, done.tiles) == (1, 1)
    assert sorted(done.written) == [".nucleus/parts/a_coco.json", "a_labels.tif"]
    again = open_folder(tmp_path)
    assert again.done_before(image) == done and again.recorded() == {"a"}
    assert not list(again.hidden.glob("unfinished/*"))
    assert again.join() == [tmp_path / "output" / "nuclei_coco.json"]
    image.path.write_bytes(b"another picture")
    assert again.done_before(image) is None


def test_other_settings_are_refused_and_leave_all_as_it_was(tmp_path, image):
    done = write(open_folder(tmp_path), image)
    with pytest.raises(InputError, match="found one with other values of threshold"):
        open_folder(tmp_path, [("threshold", 0.6)])
    assert open_folder(tmp_path).done_before(image) == done
    assert open_folder(tmp_path, [("threshold", 0.6)], overwrite=True).done_before(image) is None


def test_what_a_kill_left_half_written_is_removed(tmp_path, image):
    output = open_folder(tmp_path)
    (output.unfinished / "x").mkdir(parents=True)
    (output.unfinished / "x" / "a_labels.tif").write_bytes(b"half")
    again = open_folder(tmp_path)
    assert not again.unfinished.exists() and again.done_before(image) is None


def test_a_broken_record_is_none(tmp_path, image):
    output = open_folder(tmp_path)
    write(output, image)
    (output.hidden / "done" / "a.json").write_text('{"name": "a"}')
    assert output.done_before(image) is None
