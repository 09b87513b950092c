import sys

import numpy as np
import pytest
import tifffile

from nucleus.errors import InputError
from nucleus.formats.disk_array import DiskArray
from nucleus.formats.image_source import open_image
from nucleus.formats.tiff import open_tiff

GREY8 = np.random.default_rng(0).integers(0, 256, (70, 90), dtype=np.uint8)
RGB8 = np.random.default_rng(1).integers(0, 256, (70, 90, 3), dtype=np.uint8)


def test_axes_as_they_are_stored(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", RGB8, photometric="rgb")
    stored = open_tiff(tmp_path / "a.tif")
    assert stored.axes == "YXS" and stored.is_rgb and stored.pixels.shape == RGB8.shape
    assert isinstance(stored.pixels, DiskArray)  # not compressed: nothing is read yet
    stored.close()
    tifffile.imwrite(tmp_path / "b.tif", np.dstack([RGB8, RGB8]), photometric="minisblack", planarconfig="contig")
    stored = open_tiff(tmp_path / "b.tif")
    assert stored.axes == "YXC" and not stored.is_rgb and not stored.has_alpha
    stored.close()


def test_several_images_ask_for_a_series(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.ome.tif") as writer:
        writer.write(GREY8, metadata={"PhysicalSizeX": 1, "PhysicalSizeY": 1})
        writer.write(RGB8[:9], metadata={"PhysicalSizeX": 2, "PhysicalSizeY": 3}, photometric="rgb")
    with pytest.raises(InputError, match=r"2 images \(70 x 90, 9 x 90 x 3\).*--series, 0 to 1"):
        open_image(tmp_path / "a.ome.tif")
    with open_image(tmp_path / "a.ome.tif", series=1) as source:
        assert (source.read_all() == RGB8[:9]).all() and source.pixel_size_um == (3, 2)
    with pytest.raises(InputError, match="a series from 0 to 1, found series 2"):
        open_image(tmp_path / "a.ome.tif", series=2)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"resolution": (20_000, 40_000), "resolutionunit": "CENTIMETER"}, (0.25, 0.5)),
        ({"resolution": (50_800, 50_800), "resolutionunit": "INCH"}, (0.5, 0.5)),
        ({"resolution": (300, 300), "resolutionunit": "INCH"}, None),  # a printer's
        ({"resolution": (1, 1), "resolutionunit": "NONE"}, None),
        ({"imagej": True, "resolution": (2, 4), "metadata": {"unit": "um"}}, (0.25, 0.5)),
        ({"imagej": True, "resolution": (2, 4), "metadata": {"unit": "micron"}}, (0.25, 0.5)),
        ({"imagej": True, "resolution": (2, 4), "metadata": {"unit": "furlong"}}, None),
        ({"imagej": True, "resolution": (72, 72), "metadata": {"unit": "inch"}}, None),  # a screen's
        ({"ome": True, "metadata": {"PhysicalSizeX": 0.25, "PhysicalSizeY": 0.5}}, (0.5, 0.25)),
        ({"ome": True, "metadata": {"PhysicalSizeX": 352.77, "PhysicalSizeY": 352.77}}, None),
        ({"ome": True, "metadata": {"PhysicalSizeX": 1e-10, "PhysicalSizeY": 1e-10}}, None),
        ({"ome": True, "metadata": {"PhysicalSizeX": "INF", "PhysicalSizeY": "INF"}}, None),
        ({}, None),
    ],
)
def test_pixel_sizes_of_tiff(tmp_path, options, expected):
    tifffile.imwrite(tmp_path / "a.tif", GREY8, **options)
    assert open_image(tmp_path / "a.tif").pixel_size_um == (expected and pytest.approx(expected))


def test_without_zarr_a_large_file_says_what_to_install(pyramid, region_by_region, monkeypatch):
    monkeypatch.setitem(sys.modules, "zarr", None)
    with pytest.raises(InputError, match=r"pip install .*zarr"):
        open_image(pyramid[0])


def test_missing_strips_are_not_filled_with_zeros(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", RGB8, photometric="rgb", compression="zlib", rowsperstrip=10)
    with tifffile.TiffFile(tmp_path / "a.tif", mode="r+") as file:
        file.pages[0].tags["ImageLength"].overwrite(1 << 24, dtype="I")
    with pytest.raises(InputError, match=r"a whole TIFF image of 1677722 tiles or strips, found 7\."):
        open_image(tmp_path / "a.tif")


def test_what_is_read_is_no_longer_the_file(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", GREY8)
    with open_image(tmp_path / "a.tif") as source:
        pixels = source.read_all()
    assert pixels.flags.writeable
    (tmp_path / "a.tif").write_bytes(bytes(GREY8.nbytes + 1000))
    assert (pixels == GREY8).all()


def ome(*images, uuid="1"):
    """OME-XML of images, each a list of planes: a file's name and UUID, or None for what TiffData leaves out."""
    described = ""
    for number, planes in enumerate(images):
        data = "".join(
            f'<TiffData FirstC="{c}" IFD="0" PlaneCount="1"><UUID FileName="{plane[0]}">urn:uuid:{plane[1]}</UUID>'
            "</TiffData>"
            for c, plane in enumerate(planes)
            if plane
        )
        channels = "".join(f'<Channel ID="Channel:{number}:{c}" Name="stain {c}"/>' for c in range(len(planes)))
        described += (
            f'<Image ID="Image:{number}"><Pixels ID="Pixels:{number}" DimensionOrder="XYCZT" Type="uint8" SizeX="90" '
            f'SizeY="70" SizeC="{len(planes)}" SizeZ="1" SizeT="1">{channels}{data}</Pixels></Image>'
        )
    schema = "http://www.openmicroscopy.org/Schemas/OME/2016-06"
    return f'<?xml version="1.0"?><OME xmlns="{schema}" UUID="urn:uuid:{uuid}">{described}</OME>'


@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("place", ["{folder}/other.tif", "../secret/other.tif", "missing.tif"])
def test_no_other_file_is_opened_whatever_ome_xml_says(tmp_path, place, compression):
    for name in ("secret", "here"):
        (tmp_path / name).mkdir()
    tifffile.imwrite(tmp_path / "secret" / "other.tif", 255 - GREY8, metadata=None, compression=compression)
    there = place.format(folder=tmp_path / "secret")
    path = tmp_path / "here" / "a.ome.tif"
    tifffile.imwrite(path, GREY8, description=ome([(there, 2)]), metadata=None)
    with open_image(path) as source:
        assert (source.read_all() == GREY8).all()


def test_a_file_of_a_set_is_what_it_holds_itself(tmp_path):
    set_of_two = [("a.ome.tif", 1)], [("b.ome.tif", 2)]
    for uuid, pixels in ((1, GREY8), (2, 255 - GREY8)):
        tifffile.imwrite(
            tmp_path / f"{'ab'[uuid - 1]}.ome.tif", pixels, description=ome(*set_of_two, uuid=uuid), metadata=None
        )
    for name, pixels in (("a", GREY8), ("b", 255 - GREY8)):
        with open_image(tmp_path / f"{name}.ome.tif") as source:
            assert (source.read_all() == pixels).all()
    tifffile.imwrite(
        tmp_path / "a.ome.tif", GREY8, description=ome([("a.ome.tif", 1), ("b.ome.tif", 2)]), metadata=None
    )
    with open_image(tmp_path / "a.ome.tif") as source:
        assert (source.read_all() == GREY8).all() and source.channel_names == ()
    with pytest.raises(InputError, match=r"one channel or three, of 0 to 0, found stain 1"):
        open_image(tmp_path / "a.ome.tif", channels=["stain 1"])


def test_a_file_of_a_set_has_its_own_pixel_size_and_channel(tmp_path):
    described = ome([("a.ome.tif", 1)], [("b.ome.tif", 2)], uuid=2)
    for number, size in enumerate(("0.25", "0.5")):
        sized = f'ID="P{number}" PhysicalSizeX="{size}" PhysicalSizeY="{size}"'
        described = described.replace(f'ID="Pixels:{number}"', sized)
        described = described.replace(f'ID="Channel:{number}:0" Name="stain 0"', f'ID="C{number}" Name="of {number}"')
    tifffile.imwrite(tmp_path / "b.ome.tif", GREY8, description=described, metadata=None)
    with open_image(tmp_path / "b.ome.tif") as source:
        assert source.pixel_size_um == (0.5, 0.5) and source.channel_names == ("of 1",)


def test_a_missing_plane_is_not_filled_with_zeros(tmp_path):
    tifffile.imwrite(tmp_path / "a.ome.tif", GREY8, description=ome([("a.ome.tif", 1), None]), metadata=None)
    with pytest.raises(InputError, match=r"an image of 2 planes, found 1 that are missing"):
        open_image(tmp_path / "a.ome.tif", channels=[0])
