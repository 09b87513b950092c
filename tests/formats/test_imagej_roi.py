import sys
import zipfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from skimage.draw import polygon2mask

from nucleus.errors import InputError
from nucleus.formats.imagej_roi import read_imagej_rois, write_imagej_rois, write_nuclei
from nucleus.masks.nuclei import Nucleus

roifile = pytest.importorskip("roifile", reason='ImageJ ROIs need the extra: pip install "nucleus[imagej]"')

LABELS = np.zeros((6, 9), np.int32)
LABELS[1:5, 1:5] = 1
LABELS[2:4, 2:4] = 0  # a hole
LABELS[0, 7] = LABELS[5, 6] = 5  # two pieces
LABELS[2:4, 7:9] = 7


def outside(roi, height, width):
    """scikit-image's filling of the rings that roifile reads."""
    mask = np.zeros((height, width), bool)
    for ring in roi.coordinates(multi=True):
        mask ^= polygon2mask((height, width), np.asarray(ring)[:, ::-1] - 0.5)
    return mask


def test_a_file_by_hand(tmp_path):
    write_imagej_rois(tmp_path / "a.zip", LABELS, [0.75, 0, 0, 0, float("nan"), 0, 1])
    ring, pieces, square = roifile.roiread(tmp_path / "a.zip")
    assert [roi.name for roi in (ring, pieces, square)] == ["1", "5", "7"]
    assert zipfile.ZipFile(tmp_path / "a.zip").namelist() == ["1.roi", "5.roi", "7.roi"]
    assert square.roitype == roifile.ROI_TYPE.TRACED and square.coordinates().tolist() == [
        [7, 2],
        [9, 2],
        [9, 4],
        [7, 4],
    ]
    assert (square.left, square.top, square.right, square.bottom) == (7, 2, 9, 4)
    assert ring.composite and pieces.composite and not square.composite
    assert [len(one) for one in ring.coordinates(multi=True)] == [5, 5]
    assert [roi.props.strip() for roi in (ring, pieces, square)] == ["score: 0.75", "", "score: 1.0"]
    for roi in (ring, pieces, square):
        assert (outside(roi, 6, 9) == (int(roi.name) == LABELS)).all()


@given(arrays(np.int32, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.integers(0, 3)), st.data())
def test_round_trip_and_what_roifile_reads(tmp_path_factory, labels, data):
    path = tmp_path_factory.getbasetemp() / "a.zip"
    ids, numbers = np.unique(np.append(labels, 0), return_inverse=True)
    labels = numbers[:-1].reshape(labels.shape)
    scores = data.draw(arrays(np.float64, (len(ids) - 1,), elements=st.floats(0, 1)))
    write_imagej_rois(path, labels, scores)
    found, found_scores = read_imagej_rois(path, *labels.shape)
    assert (found == labels).all() and (found_scores == scores).all()
    with zipfile.ZipFile(path) as archive:
        rois = [roifile.ImagejRoi.frombytes(archive.read(name)) for name in archive.namelist()]
    for roi in rois:
        assert (outside(roi, *labels.shape) == (labels == int(roi.name))).all()


@pytest.mark.parametrize("far", [40_000, 70_000])
def test_nuclei_far_from_the_corner(tmp_path, far):
    solid, holed = np.ones((3, 2), bool), np.pad(np.zeros((1, 1), bool), 1, constant_values=True)
    boxes = [(far, far + 1, far + 2, far + 4), (far, far + 4, far + 3, far + 7)]
    write_nuclei(tmp_path / "a.zip", [Nucleus(1, boxes[0], solid), Nucleus(2, boxes[1], holed)])
    for roi, (left, top, right, bottom) in zip(roifile.roiread(tmp_path / "a.zip"), boxes, strict=True):
        corners = np.concatenate(roi.coordinates(multi=True))
        assert corners.min(axis=0).tolist() == [left, top] and corners.max(axis=0).tolist() == [right, bottom]


def test_the_same_nuclei_give_the_same_file(tmp_path):
    for name in ("a.zip", "b.zip"):
        write_imagej_rois(tmp_path / name, LABELS)
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()


def test_rois_drawn_by_hand_are_read(tmp_path):
    oval = roifile.ImagejRoi(roitype=roifile.ROI_TYPE.OVAL, left=10, top=10, right=30, bottom=30, name="oval")
    rectangle = roifile.ImagejRoi(roitype=roifile.ROI_TYPE.RECT, left=1, top=2, right=4, bottom=4, name="rectangle")
    polygon = roifile.ImagejRoi.frompoints([[40.5, 1.2], [48.5, 1.2], [44.5, 9.7]], name="polygon")
    roifile.roiwrite(tmp_path / "a.zip", [rectangle, oval, polygon])
    labels, scores = read_imagej_rois(tmp_path / "a.zip", 40, 50)
    assert (labels[2:4, 1:4] == 1).all() and (labels == 1).sum() == 6
    assert abs((labels == 2).sum() - 100 * np.pi) < 10 and (labels[19:21, 19:21] == 2).all()
    assert 25 <= (labels == 3).sum() <= 40 and np.isnan(scores).all()
    roifile.roiwrite(tmp_path / "b.roi", rectangle)
    assert (read_imagej_rois(tmp_path / "b.roi", 40, 50)[0] == (labels == 1)).all()


def test_broken_and_other_files_are_named(tmp_path):
    with pytest.raises(InputError, match=r"missing\.zip.*No such file"):
        read_imagej_rois(tmp_path / "missing.zip", 5, 5)
    for name, content in (("text.zip", b"hello"), ("short.roi", b"Iout"), ("wrong.roi", b"\0" * 200)):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=name):
            read_imagej_rois(tmp_path / name, 5, 5)
    line = roifile.ImagejRoi(roitype=roifile.ROI_TYPE.LINE, x2=4, y2=4, name="line")
    roifile.roiwrite(tmp_path / "line.zip", [line])
    with pytest.raises(InputError, match=r"an area in line\.roi, found a ROI of type LINE"):
        read_imagej_rois(tmp_path / "line.zip", 5, 5)


def test_an_archive_that_unpacks_without_end_is_refused(tmp_path, monkeypatch):
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(3):
            archive.writestr(f"{number}.roi", bytes(1 << 20))
    monkeypatch.setattr("nucleus.formats.imagej_roi.MOST_BYTES", 2 << 20)
    with pytest.raises(InputError, match="at most 2 MiB of ROIs, found 3 MiB"):
        read_imagej_rois(tmp_path / "a.zip", 5, 5)


@given(st.binary(max_size=200), st.integers(0, 12))
def test_any_roi_is_read_or_refused(tmp_path_factory, content, kind):
    path = tmp_path_factory.getbasetemp() / "any.roi"
    path.write_bytes(b"Iout\x00\xe3" + bytes([kind, 0]) + content)
    try:
        assert read_imagej_rois(path, 8, 8)[0].shape == (8, 8)
    except InputError as error:
        assert "any.roi" in str(error)


def test_without_roifile_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "roifile", None)
    with pytest.raises(InputError, match=r"pip install .*imagej"):
        write_imagej_rois(tmp_path / "a.zip", LABELS)
    assert not list(tmp_path.iterdir())


def test_the_real_test_masks_come_back(tmp_path, real_label_images):
    for name, labels in real_label_images[:8]:
        write_imagej_rois(tmp_path / f"{name}.zip", labels)
        assert (read_imagej_rois(tmp_path / f"{name}.zip", *labels.shape)[0] == labels).all()
