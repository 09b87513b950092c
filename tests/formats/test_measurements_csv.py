import csv

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from skimage.measure import regionprops

from nucleus.formats import measurements_csv
from nucleus.formats.image_source import open_array, open_image
from nucleus.formats.measurements_csv import IN_MICROMETRES, IN_PIXELS, measure, write_measurements_csv

LABELS = np.zeros((60, 80), np.int32)
LABELS[3:13, 5:25] = 2
LABELS[30:40, 30:40] = LABELS[45:50, 70:80] = 5  # two pieces
LABELS[0, 0] = 9  # one pixel
RGB = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)


def rows(path):
    with path.open(encoding="utf-8", newline="") as file:
        return [{key: float(value or "nan") for key, value in row.items()} for row in csv.DictReader(file)]


def agree_with_regionprops(columns, labels, pixels, channels, spacing):
    """scikit-image on the whole image, one nucleus after the other."""
    for index, region in enumerate(regionprops(labels, pixels)):
        assert columns["label"][index] == region.label
        for key, name in IN_PIXELS.items():
            value = region.centroid[int(key[-1])] if key.startswith("centroid") else region[key]
            assert columns[name][index] == pytest.approx(value, rel=1e-9, abs=1e-9)
        for one in ("intensity_mean", "intensity_min", "intensity_max"):
            for number, channel in enumerate(channels):
                value = np.atleast_1d(region[one])[number]
                assert columns[f"{one}_{channel}"][index] == pytest.approx(float(value), rel=1e-9)
    for index, region in enumerate(regionprops(labels, spacing=spacing)):
        for key, name in IN_MICROMETRES.items():
            value = region.centroid[int(key[-1])] if key.startswith("centroid") else region[key]
            assert columns[name][index] == pytest.approx(value, rel=1e-9, abs=1e-9)


def test_a_rectangle_by_hand(tmp_path):
    write_measurements_csv(tmp_path / "a.csv", LABELS, [0, 0.5] + [0] * 7, pixel_size_um=(0.5, 0.25))
    first = rows(tmp_path / "a.csv")[0]
    assert (first["label"], first["score"], first["area_px"], first["solidity"]) == (2, 0.5, 200, 1)
    assert (first["centroid_y_px"], first["centroid_x_px"]) == (7.5, 14.5)
    # A side of n pixels has the second moment (n^2 - 1) / 12; scikit-image adds the 1/12 of a pixel's own area.
    assert first["axis_major_px"] == pytest.approx(4 * np.sqrt(400 / 12), rel=1e-2)
    assert (first["area_um2"], first["centroid_y_um"], first["centroid_x_um"]) == (25, 3.75, 3.625)
    assert not any(name.startswith("intensity") for name in first)


@pytest.mark.parametrize("block", [7, 1024])
def test_equal_to_scikit_image_in_every_channel(monkeypatch, block):
    monkeypatch.setattr(measurements_csv, "BLOCK", block)
    columns = measure(LABELS, image=open_array(RGB, pixel_size_um=(0.5, 0.3)))
    assert "score" not in columns and columns["label"].tolist() == [2, 5, 9]
    agree_with_regionprops(columns, LABELS, RGB, ("red", "green", "blue"), (0.5, 0.3))


@settings(max_examples=40)
@given(
    arrays(np.int32, st.tuples(st.integers(2, 12), st.integers(2, 12)), elements=st.integers(0, 4)), st.integers(1, 9)
)
@pytest.mark.filterwarnings("ignore")  # scikit-image's, of nuclei without a convex hull
def test_equal_to_scikit_image_whatever_the_shape(labels, block):
    grey = np.arange(labels.size, dtype=np.uint16).reshape(labels.shape)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measurements_csv, "BLOCK", block)
        columns = measure(labels, image=open_array(grey), pixel_size_um=(2.0, 2.0))
    agree_with_regionprops(columns, labels, grey, ("grey",), (2.0, 2.0))


def test_every_channel_of_a_file_is_measured_not_only_the_one_shown(tmp_path):
    channels = np.random.default_rng(0).integers(0, 4096, (4, 60, 80), dtype=np.uint16)
    metadata = {"axes": "CYX", "Channel": {"Name": ["DAPI", "GFP", "Cy3", "Cy5"]}, "PhysicalSizeX": 0.5,
                "PhysicalSizeY": 0.5}  # fmt: skip
    tifffile.imwrite(tmp_path / "a.ome.tif", channels, metadata=metadata)
    with open_image(tmp_path / "a.ome.tif", channels=["DAPI"]) as image:
        write_measurements_csv(tmp_path / "a.csv", LABELS, image=image)
    for row in rows(tmp_path / "a.csv"):
        for number, name in enumerate(("DAPI", "GFP", "Cy3", "Cy5")):
            inside = channels[number][int(row["label"]) == LABELS]
            assert row[f"intensity_mean_{name}"] == pytest.approx(inside.mean())
            assert (row[f"intensity_min_{name}"], row[f"intensity_max_{name}"]) == (inside.min(), inside.max())
        assert row["area_um2"] == row["area_px"] / 4


def test_an_image_without_nuclei_has_a_head_alone(tmp_path):
    write_measurements_csv(tmp_path / "a.csv", np.zeros((5, 5), int), [], image=open_array(RGB[:5, :5]))
    lines = (tmp_path / "a.csv").read_text().splitlines()
    assert len(lines) == 1 and lines[0].startswith("label,score,area_px,") and "intensity_max_blue" in lines[0]


def test_other_sizes_and_too_few_scores_are_refused(tmp_path):
    with pytest.raises(ValueError, match="pixels"):
        write_measurements_csv(tmp_path / "a.csv", LABELS, image=open_array(RGB[1:]))
    with pytest.raises(ValueError, match="up to 9"):
        write_measurements_csv(tmp_path / "a.csv", LABELS, [0.5])
    assert not list(tmp_path.iterdir())


def test_unknown_scores_are_empty(tmp_path):
    write_measurements_csv(tmp_path / "a.csv", LABELS, [np.nan] * 9)
    assert all(np.isnan(row["score"]) for row in rows(tmp_path / "a.csv"))


def test_a_palette_is_measured_in_its_colours(tmp_path):
    from PIL import Image

    Image.fromarray(RGB).quantize(8).save(tmp_path / "a.tif")
    with open_image(tmp_path / "a.tif") as image:
        columns = measure(LABELS, image=image)
        expected = image.read_all()[LABELS == 2].mean(axis=0)
    assert [columns[f"intensity_mean_{name}"][0] for name in image.every_channel] == pytest.approx(expected)


def test_equal_to_scikit_image_on_real_masks(real_label_images):
    for _, labels in real_label_images[:4]:
        columns = measure(labels, pixel_size_um=(0.5, 0.5))
        agree = [(region.label, region.area, *region.centroid, region.eccentricity, region.solidity)
                 for region in regionprops(labels)]  # fmt: skip
        names = ("label", "area_px", "centroid_y_px", "centroid_x_px", "eccentricity", "solidity")
        assert np.allclose(np.stack([columns[name] for name in names], axis=1), agree, rtol=1e-9, atol=0)
