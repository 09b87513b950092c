from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import tifffile

from nucleus.errors import InputError
from nucleus.formats.label_image import read_label_image
from nucleus.inference.claims import Claims
from nucleus.inference.exports import formats_named
from nucleus.inference.image_files import find_images
from nucleus.inference.output_folder import Output
from nucleus.inference.predict_files import Reading, Report, predict_files
from nucleus.inference.prediction import Prediction

SETTINGS = {"weights": "abc", "threshold": 0.5}
FORMATS = "labels,coco"


class Run:
    """What `nucleus predict` does, with the exact segmenter."""

    def __init__(self, new_segmenter, pictures: Path, output: Path) -> None:
        self.new_segmenter = new_segmenter
        self.pictures = pictures
        self.output = output

    def __call__(self, *inputs: Path, formats=FORMATS, settings=SETTINGS, overwrite=False, **more) -> Report:
        images = find_images(inputs or [self.pictures])
        output = Output(self.output, formats_named(formats), settings, overwrite=overwrite)
        self.segmenter = more.pop("segmenter", None) or self.new_segmenter()
        return predict_files(images, self.segmenter, output, reading=Reading(), tile=256, **more)

    def files(self) -> dict[str, bytes]:
        """What a user sees."""
        paths = sorted(path for path in self.output.rglob("*") if path.is_file())
        visible = [path.relative_to(self.output) for path in paths]
        return {path.as_posix(): (self.output / path).read_bytes() for path in visible if ".nucleus" not in path.parts}


@pytest.fixture
def run(new_segmenter, pictures, tmp_path) -> Run:
    folder = tmp_path / "pictures"
    shutil.copytree(pictures, folder)
    return Run(new_segmenter, folder, tmp_path / "output")


def names(records) -> list[str]:
    return [record.name for record in records]


def test_a_folder(run, truth, same_nuclei):
    report = run()
    assert names(report.done) == ["a", "below/b", "c", "large"]
    assert not report.skipped and not report.failed
    assert same_nuclei(read_label_image(run.output / "large_labels.tif"), truth)
    assert same_nuclei(read_label_image(run.output / "below" / "b_labels.tif"), truth[60:120, :80])
    assert report.done[3].nuclei == truth.max()
    assert report.done[3].tiles > 9
    assert list(run.files()) == [
        *("a_labels.tif", "below/b_labels.tif", "c_labels.tif", "large_labels.tif", "nuclei_coco.json")
    ]
    assert report.joined == [run.output / "nuclei_coco.json"]
    assert not list((run.output / ".nucleus" / "tiles").iterdir())
    assert not list((run.output / ".nucleus" / "unfinished").iterdir())


def test_what_is_done_is_skipped(run):
    run()
    before = run.files()
    report = run()
    assert names(report.skipped) == ["a", "below/b", "c", "large"]
    assert not report.done and not run.segmenter.seen
    assert run.files() == before
    assert names(run(overwrite=True).done) == ["a", "below/b", "c", "large"]
    assert run.files() == before


def test_what_has_changed_or_is_missing_is_done_again(run, picture_of):
    run()
    before = run.files()
    (run.output / "a_labels.tif").unlink()
    os.utime(run.pictures / "c.tif", ns=(1, 1))
    assert names(run().done) == ["a", "c"]
    assert run.files() == before
    tifffile.imwrite(run.pictures / "c.tif", picture_of(np.eye(80, dtype=np.int32)), photometric="rgb")
    assert names(run().done) == ["c"]
    assert {name for name, content in run.files().items() if content != before[name]} == {
        *("c_labels.tif", "nuclei_coco.json")
    }


def test_another_format_is_added(run):
    run(formats="labels")
    assert names(run(formats="labels,geojson").done) == ["a", "below/b", "c", "large"]
    assert names(run(formats="geojson").skipped) == ["a", "below/b", "c", "large"]


def test_another_format_leaves_what_somebody_has_worked_on(run):
    run(formats="labels")
    (run.output / "a_labels.tif").write_bytes(b"corrected by hand")
    run(formats="labels,geojson")
    assert run.files()["a_labels.tif"] == b"corrected by hand" and "a.geojson" in run.files()
    os.utime(run.pictures / "a.tif", ns=(0, 0))  # another image: what was there is of the old one
    assert names(run(formats="labels").done) == ["a"]
    assert run.files()["a_labels.tif"] != b"corrected by hand" and "a.geojson" not in run.files()
    assert "c.geojson" in run.files()
    (run.output / "a.geojson").write_bytes(b"by hand")  # no longer one that nucleus wrote
    report = run(formats="labels,geojson")
    assert list(report.failed) == [run.pictures / "a.tif"] and run.files()["a.geojson"] == b"by hand"
    os.utime(run.pictures / "a.tif", ns=(9, 9))
    assert names(run(formats="labels").done) == ["a"] and run.files()["a.geojson"] == b"by hand"


def test_a_folder_without_lists_of_files_goes_on(run):
    """As it was written before there were such lists."""
    run(formats="labels")
    shutil.rmtree(run.output / ".nucleus" / "files")
    assert not run(formats="labels,geojson").failed


def test_what_is_stale_is_gone_before_the_record_is_there(run, monkeypatch):
    run(formats="labels,coco")
    os.utime(run.pictures / "a.tif", ns=(0, 0))

    def stopped(self, name, paths, write=Claims.write):
        if name == "a" and list(paths) == ["a_labels.tif"]:
            raise StoppedError  # the last thing that is written of an image
        write(self, name, paths)

    monkeypatch.setattr(Claims, "write", stopped)
    with pytest.raises(StoppedError):
        run(formats="labels")
    monkeypatch.undo()
    run(formats="labels")
    assert not (run.output / "nuclei_coco.json").exists()  # it held the nuclei of a as it was before
    results = run(run.pictures / "c.tif").joined[0].read_text()
    assert '"image_id": "c"' in results and '"image_id": "a"' not in results


def test_what_others_wrote_is_not_replaced(run):
    run.output.mkdir()
    for name in ("a_labels.tif", "c.geojson"):
        (run.output / name).write_bytes(b"by hand")
    report = run(formats="labels,geojson")
    assert names(report.done) == ["below/b", "large"] and set(report.failed) == {
        run.pictures / n for n in ("a.tif", "c.tif")
    }
    assert "c.geojson: expected nothing there, or what nucleus wrote" in str(report.failed[run.pictures / "c.tif"])
    assert run.files()["a_labels.tif"] == run.files()["c.geojson"] == b"by hand" and "a.geojson" not in run.files()
    (run.output / "nuclei_kaggle.csv").write_bytes(b"by hand")
    with pytest.raises(InputError, match=r"nuclei_kaggle\.csv: expected nothing there"):
        run(formats="kaggle")
    assert len(run(formats="labels,geojson,kaggle", overwrite=True).done) == 4
    assert b"by hand" not in run.files().values()


def test_what_a_kill_left_unrecorded_is_replaced(run):
    run(formats="labels")
    expected = run.files()
    (run.output / ".nucleus" / "done" / "a.json").unlink()  # killed after the files and before the record
    assert names(run(formats="labels").done) == ["a"] and run.files() == expected


def test_overwriting_removes_what_is_not_written_again(run):
    run(formats="labels,geojson,coco")
    assert {"a.geojson", "nuclei_coco.json"} <= run.files().keys()
    (run.output / "notes.geojson").write_bytes(b"by hand")
    run(run.pictures / "a.tif", formats="labels", settings=SETTINGS | {"threshold": 0.6}, overwrite=True)
    files = run.files().keys()
    assert {"a_labels.tif", "notes.geojson", "c.geojson"} <= files  # c is not of this run
    assert not {"a.geojson", "nuclei_coco.json"} & files
    run(formats="labels", settings=SETTINGS | {"threshold": 0.6})
    assert [name for name in run.files() if name.endswith(".geojson")] == ["notes.geojson"]


def test_a_list_of_files_that_leaves_the_folder_removes_nothing(run, tmp_path):
    run(formats="labels")
    witness = tmp_path / "witness"
    witness.write_bytes(b"not of the output")
    path = run.output / ".nucleus" / "files" / "a.json"
    record = run.output / ".nucleus" / "done" / "a.json"
    record.write_text(json.dumps(json.loads(record.read_text()) | {"written": ["../witness", str(witness)]}))
    os.utime(run.pictures / "a.tif", ns=(0, 0))
    assert names(run(formats="labels").done) == ["a"] and witness.exists()
    for listed in (["../witness"], [str(witness)], {"a": 1}, [3]):
        path.write_text(json.dumps(listed))
        run(formats="labels", overwrite=True)
        assert witness.exists()


def test_what_holds_all_images_holds_those_of_earlier_runs(run):
    run(run.pictures / "c.tif")
    run(run.pictures / "a.tif")
    results = json.loads((run.output / "nuclei_coco.json").read_text())
    assert list(dict.fromkeys(one["image_id"] for one in results)) == ["a", "c"]
    (run.pictures / "a.tif").write_bytes(b"broken")
    assert len(run().failed) == 1
    results = json.loads((run.output / "nuclei_coco.json").read_text())
    assert {one["image_id"] for one in results} == {"a", "below/b", "c", "large"}  # as its label image is there


@pytest.mark.parametrize(("name", "found"), [("x" * 250, "one of 254 bytes"), ("\udce9", "another one")])
def test_a_name_that_cannot_be_written_is_an_error_of_its_image(run, name, found):
    shutil.copy(run.pictures / "a.tif", run.pictures / f"{name}.tif")
    report = run(formats="labels,kaggle")
    assert len(report.done) == 4 and found in str(report.failed[run.pictures / f"{name}.tif"])


def test_other_settings_are_refused(run):
    run()
    before = run.files()
    with pytest.raises(InputError, match=r"output: expected .* found one with other values of threshold"):
        run(settings=SETTINGS | {"threshold": 0.6})
    assert run.files() == before
    assert len(run(settings=SETTINGS | {"threshold": 0.6}, overwrite=True).done) == 4


def test_more_nuclei_than_the_model_can_give_are_found_in_finer_tiles(run, new_segmenter, truth, same_nuclei):
    class Capped(new_segmenter):
        def _predict(self, image):
            found = super()._predict(image)
            best = np.argsort(-found.detection_scores)[: self.max_detections]
            return Prediction(found.detections[best], found.detection_scores[best], self.threshold)

    capped = Capped(max_detections=int(truth.max() * 0.7))
    output = Output(run.output, formats_named("labels"), SETTINGS, overwrite=False)
    images = find_images([run.pictures / "large.tif"])
    (done,) = predict_files(images, capped, output, reading=Reading()).done
    assert (done.nuclei, done.full) == (truth.max(), 0) and done.tiles > 1
    assert same_nuclei(read_label_image(run.output / "large_labels.tif"), truth)


def test_bad_files_among_good_ones(run):
    whole = (run.pictures / "c.tif").read_bytes()
    (run.pictures / "c.tif").write_bytes(whole[: len(whole) // 2])
    (run.pictures / "empty.png").write_bytes(b"")
    (run.pictures / "gone.png").symlink_to(run.pictures / "nowhere.png")
    tifffile.imwrite(run.pictures / "stack.tif", np.zeros((3, 20, 20), dtype=np.uint8), photometric="minisblack")
    outcomes = {}
    report = run(on_image=lambda image, outcome: outcomes.update({image.name: outcome}))
    assert names(report.done) == ["a", "below/b", "large"]
    assert {path.name for path in report.failed} == {"c.tif", "empty.png", "gone.png", "stack.tif"}
    assert "Choose one with --page" in str(report.failed[run.pictures / "stack.tif"])
    assert len(outcomes) == 7 and isinstance(outcomes["c"], InputError)
    assert "c_labels.tif" not in run.files()
    (run.pictures / "c.tif").write_bytes(whole)
    assert names(run().done) == ["c"]


def test_nothing_can_be_read(run):
    (run.pictures / "bad.png").write_bytes(b"no picture")
    report = run(run.pictures / "bad.png")
    assert len(report.failed) == 1 and not report.joined and not run.files()


def test_an_image_that_is_gone_when_its_turn_comes(run):
    run()

    def remove(image, outcome):
        (run.pictures / "c.tif").unlink(missing_ok=True)

    report = run(on_image=remove)
    assert names(report.skipped) == ["a", "below/b", "large"]
    assert list(report.failed) == [run.pictures / "c.tif"]


def test_too_little_memory_for_one_image(run, new_segmenter):
    class Small(new_segmenter):
        def predict_batch(self, images, *, frames=None):
            if images[0].shape[:2] == (60, 80):
                raise MemoryError
            return super().predict_batch(images, frames=frames)

    report = run(segmenter=Small())
    assert names(report.done) == ["c", "large"]
    assert "expected an image that fits the memory" in str(report.failed[run.pictures / "a.tif"])


def test_the_same_name_from_another_folder(run):
    """Size and time may be the same, too, as of files from one archive: the output must not pass for that of both."""
    run()
    before = run.files()
    other = run.pictures.with_name("other")
    shutil.copytree(run.pictures, other)
    report = run(other / "a.tif")
    assert "Choose another folder" in str(report.failed[other / "a.tif"])
    assert run.files() == before
    run.pictures.rename(run.pictures.with_name("moved"))
    assert names(run(run.pictures.with_name("moved")).skipped) == ["a", "below/b", "c", "large"]


class StoppedError(Exception):
    """In place of a kill."""


@pytest.mark.parametrize("calls", [1, 4, 7, 10])
def test_a_run_that_was_stopped_goes_on(run, new_segmenter, calls):
    class Stopping(new_segmenter):
        def predict_batch(self, images, *, frames=None):
            if len(self.seen) >= calls:
                raise StoppedError
            return super().predict_batch(images, frames=frames)

    expected = Run(new_segmenter, run.pictures, run.output.with_name("expected"))
    expected()
    with pytest.raises(StoppedError):
        run(segmenter=Stopping())
    run()
    assert len(run.segmenter.seen) == len(expected.segmenter.seen) - calls
    assert run.files() == expected.files()


def test_what_a_kill_left_is_removed(run):
    run(formats="labels")
    expected = run.files()
    hidden = run.output / ".nucleus"
    (hidden / "unfinished" / ".large_labels-x.tmp.tif").write_bytes(b"half")
    (hidden / "tiles" / "large.tiles").mkdir(parents=True)  # killed after the record and before they were removed
    run(formats="labels")
    assert not list((hidden / "unfinished").glob("*")) and not list((hidden / "tiles").iterdir())
    (hidden / "settings.json").unlink()  # killed while --overwrite began: whose the records are, nobody knows
    assert len(run(formats="labels").done) == 4
    assert run.files() == expected


def test_tiles_of_names_inside_one_another(run, new_segmenter, truth):
    """large.tif and large/large.tif."""
    (run.pictures / "large").mkdir()
    shutil.copy(run.pictures / "large.tif", run.pictures / "large" / "large.tif")
    report = run()
    assert {"large", "large/large"} <= set(names(report.done))
    assert run.files()["large_labels.tif"] == run.files()["large/large_labels.tif"]


def test_the_output_cannot_be_written(run):
    run.output.write_text("a file")
    with pytest.raises(OSError, match="output"):
        run()
