import io
import struct
import subprocess
import sys
import tracemalloc
import zlib
from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from nucleus.errors import InputError
from nucleus.formats import image_source, tiff
from nucleus.formats.image_source import open_array, open_image
from nucleus.formats.rescale import Rescale

RANDOM = np.random.default_rng(0)
GREY8 = RANDOM.integers(0, 256, (70, 90), dtype=np.uint8)
GREY16 = RANDOM.integers(0, 4096, (70, 90), dtype=np.uint16)
RGB8 = RANDOM.integers(0, 256, (70, 90, 3), dtype=np.uint8)
RGB16 = RANDOM.integers(0, 65536, (70, 90, 3), dtype=np.uint16)
FLOAT = RANDOM.normal(size=(70, 90)).astype(np.float32)
STACK = RANDOM.integers(0, 65536, (2, 3, 4, 30, 40), dtype=np.uint16)  # TCZYX


OTHERS = [FLOAT.astype(np.float64), GREY8 > 99, GREY16.astype(np.int16), GREY16.astype(np.uint32)]


@pytest.mark.parametrize("pixels", [GREY8, GREY16, RGB8, RGB16, FLOAT, *OTHERS], ids=lambda a: f"{a.dtype}-{a.ndim}d")
@pytest.mark.parametrize("kind", ["tif", "ome.tif", "zlib", "tiled", "big-endian", "planar", "array"])
def test_types_and_shapes_as_stored(tmp_path, pixels, kind):
    path = tmp_path / ("a.ome.tif" if kind == "ome.tif" else "a.tif")
    options = {"zlib": {"compression": "zlib"}, "tiled": {"tile": (16, 32), "compression": "lzw"},
               "big-endian": {"byteorder": ">", "bigtiff": True}}.get(kind, {})  # fmt: skip
    if kind == "tiled" and pixels.dtype == bool:
        options = {"tile": (16, 32)}
    photometric = "rgb" if pixels.ndim == 3 else "minisblack"
    if kind == "planar" and pixels.ndim == 3:
        tifffile.imwrite(path, np.moveaxis(pixels, -1, 0), photometric="rgb", planarconfig="separate")
    else:
        tifffile.imwrite(path, pixels, photometric=photometric, **options)
    with open_array(pixels) if kind == "array" else open_image(path) as source:
        assert source.shape == pixels.shape and source.dtype == pixels.dtype
        assert (source.read_all() == pixels).all() and source.read_all().dtype == pixels.dtype
        assert (source.read(3, 5, 20, 8) == pixels[3:20, 5:8]).all()


@given(st.data())
@pytest.mark.parametrize("compression", [None, "zlib", "jpeg"])
def test_regions_are_slices(tmp_path_factory, compression, data):
    path = tmp_path_factory.getbasetemp() / f"regions-{compression}.tif"
    if not path.exists():
        tifffile.imwrite(path, RGB8, tile=(16, 32), compression=compression)
    expected = tifffile.imread(path)
    y0, x0 = data.draw(st.integers(0, 69)), data.draw(st.integers(0, 89))
    y1, x1 = data.draw(st.integers(y0 + 1, 70)), data.draw(st.integers(x0 + 1, 90))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiff, "AT_ONCE", 0)
        with open_image(path) as source:
            assert not isinstance(source._stored.pixels, np.ndarray)  # zarr
            assert (source.read(y0, x0, y1, x1) == expected[y0:y1, x0:x1]).all()


@pytest.mark.parametrize("suffix", ["png", "bmp", "webp", "jpg"])
def test_pictures(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(RGB8).save(path, **({"lossless": True} if suffix == "webp" else {}))
    with open_image(path) as source:
        expected = np.asarray(Image.open(path))
        assert source.shape == (70, 90, 3) and np.abs(source.read_all().astype(int) - expected).max() <= 1


def test_alpha_is_dropped_and_palettes_are_resolved(tmp_path):
    alpha = np.dstack([RGB8, GREY8])
    Image.fromarray(alpha).save(tmp_path / "a.png")
    tifffile.imwrite(tmp_path / "a.tif", alpha, photometric="rgb")
    assert (open_image(tmp_path / "a.png").read_all() == RGB8).all()
    assert (open_image(tmp_path / "a.tif").read_all() == RGB8).all()
    assert (open_array(alpha).read_all() == RGB8).all()
    tifffile.imwrite(tmp_path / "b.tif", np.dstack([GREY8, GREY8 // 2]), photometric="minisblack",
                     planarconfig="contig", extrasamples=["unassalpha"])  # fmt: skip
    assert (open_image(tmp_path / "b.tif").read_all() == GREY8).all()
    palette = Image.fromarray(RGB8).quantize(16)
    for suffix in ("png", "tif"):
        palette.save(tmp_path / f"palette.{suffix}")
        assert (open_image(tmp_path / f"palette.{suffix}").read_all() == np.asarray(palette.convert("RGB"))).all()


def test_inverted_greys_and_bits(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", GREY8, photometric="miniswhite")
    assert (open_image(tmp_path / "a.tif").read_all() == 255 - GREY8).all()
    bits = Image.fromarray(GREY8 > 99)
    bits.save(tmp_path / "b.png")
    assert (open_image(tmp_path / "b.png").read_all() == (GREY8 > 99) * 255).all()


def test_a_stack_asks_for_a_page(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", STACK, imagej=True, metadata={"axes": "TZCYX"})  # ImageJ's order: 3 Z, 4 C
    with pytest.raises(InputError, match=r"4 channels.*--channel, 0 to 3"):
        open_image(tmp_path / "a.tif")
    with pytest.raises(InputError, match=r"a stack of 6 \(2 T x 3 Z\)\. Choose one with --page, 0 to 5"):
        open_image(tmp_path / "a.tif", channels=[1])
    with open_image(tmp_path / "a.tif", channels=[1], page=5) as source:
        assert source.shape == (30, 40) and (source.read_all() == STACK[1, 2, 1]).all()
    with open_image(tmp_path / "a.tif", channels=[3, 0, 1], page=0) as source:
        assert (source.read_all() == np.moveaxis(STACK[0, 0, [3, 0, 1]], 0, -1)).all()
    with pytest.raises(InputError, match="a page from 0 to 5, found page 6"):
        open_image(tmp_path / "a.tif", channels=[1], page=6)
    for wrong in ([4], [0, 1], ["DAPI"], [], [-1]):
        with pytest.raises(InputError, match="one channel or three, of 0 to 3"):
            open_image(tmp_path / "a.tif", channels=wrong, page=0)


def test_pages_of_a_plain_file(tmp_path, region_by_region):
    tifffile.imwrite(tmp_path / "a.tif", STACK[0, 0], photometric="minisblack", compression="zlib", metadata=None)
    with pytest.raises(InputError, match=r"a stack of 4 .*--page, 0 to 3"):
        open_image(tmp_path / "a.tif")
    assert (open_image(tmp_path / "a.tif", page=2).read(5, 6, 20, 30) == STACK[0, 0, 2, 5:20, 6:30]).all()


def test_channels_have_names_and_pixels_a_size_in_ome_tiff(tmp_path, region_by_region):
    metadata = {"axes": "TCZYX", "PhysicalSizeX": 325, "PhysicalSizeXUnit": "nm", "PhysicalSizeY": 0.5,
                "PhysicalSizeYUnit": "µm", "Channel": {"Name": ["DAPI", "GFP", "Cy5"]}}  # fmt: skip
    tifffile.imwrite(tmp_path / "a.ome.tif", STACK, metadata=metadata)
    with pytest.raises(InputError, match="DAPI, GFP, Cy5"):
        open_image(tmp_path / "a.ome.tif")
    with open_image(tmp_path / "a.ome.tif", channels=["GFP"], page=4 + 3) as source:
        assert source.channel_names == ("GFP",) and source.pixel_size_um == pytest.approx((0.5, 0.325))
        assert (source.read(1, 2, 9, 8) == STACK[1, 1, 3, 1:9, 2:8]).all()


def test_a_pyramid_is_read_region_by_region(pyramid, region_by_region):
    path, full = pyramid
    with open_image(path) as source:  # zarr is imported by the first
        source.read(0, 0, 1, 1)
    tracemalloc.start()
    with open_image(path) as source:
        found = source.read(1000, 1500, 1100, 1600)
        peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (found == full[1000:1100, 1500:1600]).all()
    assert peak < full.nbytes / 4
    with open_image(path, level=2) as source:
        assert source.shape == (512, 512) and source.pixel_size_um == (2.0, 2.0)
        assert (source.read(10, 20, 30, 90) == full[::4, ::4][10:30, 20:90]).all()
    with pytest.raises(InputError, match="a level from 0 to 2, found level 3"):
        open_image(path, level=3)


def test_all_tiles_are_scaled_as_the_whole(tmp_path):
    ramp = np.linspace(1000, 3000, 10_000).astype(np.uint16).reshape(100, 100)
    ramp[0, 0] = 65535  # one hot pixel must not darken the rest
    source = open_array(ramp)
    whole = source.read_rgb8(0, 0, 100, 100)
    assert whole.shape == (100, 100, 3) and whole.dtype == np.uint8
    assert whole.min() == 0 and whole.max() == 255 and abs(int(np.median(whole)) - 127) <= 1
    tiles = [[source.read_rgb8(y, x, y + 50, x + 50) for x in (0, 50)] for y in (0, 50)]
    assert (np.block([[[tile] for tile in row] for row in tiles]) == whole).all()


def test_of_a_large_image_a_sample_is_enough(pyramid, region_by_region, monkeypatch):
    path, full = pyramid
    exact = Rescale.of(full)
    monkeypatch.setattr(image_source, "WHOLE", 1000)
    with open_image(path) as source:
        assert source.rescale.black == pytest.approx(exact.black, rel=0.01)
        assert source.rescale.white == pytest.approx(exact.white, rel=0.01)
        assert source.rescale is source.rescale


@pytest.mark.parametrize("region", [(0, 0, 0, 5), (-1, 0, 5, 5), (0, 0, 71, 5), (5, 5, 4, 9)])
def test_regions_outside_are_refused(region):
    with pytest.raises(ValueError, match="inside 70 x 90"):
        open_array(GREY8).read(*region)


def test_arrays_of_other_shapes_and_types_are_refused():
    with pytest.raises(InputError, match="5 channels"):
        open_array(np.zeros((4, 4, 5)))
    assert open_array(np.zeros((4, 4, 5)), channels=[4]).shape == (4, 4)
    with pytest.raises(InputError, match="shape"):
        open_array(np.zeros(4))
    with pytest.raises(InputError, match="numbers"):
        open_array(np.zeros((4, 4), complex))


def png_header(width, height):
    def chunk(name, content):
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)) + chunk(
        b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")  # fmt: skip


def test_a_decompression_bomb_is_not_decoded(tmp_path):
    (tmp_path / "a.png").write_bytes(png_header(60_000, 60_000))
    with pytest.raises(InputError, match="178 million pixels"):
        open_image(tmp_path / "a.png")
    for size, tile in (((1 << 30, 1 << 30), (1 << 15, 1 << 15)), ((1 << 17, 1 << 17), (1 << 17, 1 << 17))):
        with tifffile.TiffWriter(tmp_path / "a.tif", bigtiff=True) as writer:
            writer.write(iter([b"\0"]), shape=(16, 16), dtype="uint8", tile=(16, 16), compression="zlib")
        with tifffile.TiffFile(tmp_path / "a.tif", mode="r+") as file:
            for name, value in zip(("ImageLength", "ImageWidth", "TileLength", "TileWidth"), size + tile, strict=True):
                file.pages[0].tags[name].overwrite(value, dtype="I")
        with pytest.raises(InputError, match=r"a slide can have|at most 1 GiB"):
            open_image(tmp_path / "a.tif")


def test_broken_files_are_named(tmp_path, region_by_region):
    tifffile.imwrite(tmp_path / "whole.tif", RGB8, tile=(16, 16), compression="zlib")
    content = (tmp_path / "whole.tif").read_bytes()
    for name, bad in (("short.tif", content[:50]), ("text.png", b"hello"), ("empty.jpg", b""), ("gif.png", b"GIF89a")):
        (tmp_path / name).write_bytes(bad)
        with pytest.raises(InputError, match=name):
            open_image(tmp_path / name)
    with tifffile.TiffFile(tmp_path / "whole.tif") as file:
        offset = file.pages[0].dataoffsets[3]
    (tmp_path / "rot.tif").write_bytes(content[:offset] + b"\xff" * 40 + content[offset + 40 :])
    with open_image(tmp_path / "rot.tif") as source:
        assert (source.read(0, 0, 16, 16) == RGB8[:16, :16]).all()
        with pytest.raises(InputError, match=r"rot\.tif: expected a whole TIFF image"):
            source.read_all()
    for name in ("missing.png", "missing.tif"):
        with pytest.raises(InputError, match="No such file"):
            open_image(tmp_path / name)
    with pytest.raises(InputError, match="another folder"):
        open_image(tmp_path)


def test_other_kinds_of_pictures_are_refused(tmp_path):
    frames = [Image.fromarray(GREY8), Image.fromarray(255 - GREY8)]
    frames[0].save(tmp_path / "a.png", save_all=True, append_images=frames[1:])
    with pytest.raises(InputError, match="an animation of 2"):
        open_image(tmp_path / "a.png")
    frames[0].save(tmp_path / "a.gif")
    with pytest.raises(InputError, match="a GIF file"):
        open_image(tmp_path / "a.gif")
    tifffile.imwrite(tmp_path / "a.tif", np.dstack([RGB8, GREY8]), photometric="separated")
    with pytest.raises(InputError, match="colour space SEPARATED"):
        open_image(tmp_path / "a.tif")
    with pytest.raises(InputError, match="level 1"):
        Image.fromarray(GREY8).save(tmp_path / "b.png")
        open_image(tmp_path / "b.png", level=1)


@given(
    st.binary(max_size=200),
    st.sampled_from([b"II*\0", b"II+\0", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0", b"BM", b""]),
)
def test_any_bytes_are_read_or_refused(tmp_path_factory, content, magic):
    path = tmp_path_factory.getbasetemp() / "any"
    path.write_bytes(magic + content)
    with suppress(InputError):
        open_image(path).read_all()


SHORT_OF_MEMORY = """
import resource, sys
import cv2, tifffile
from nucleus.errors import is_out_of_memory
from nucleus.formats.image_source import open_image
pages = int(open("/proc/self/statm").read().split()[0])
resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + (60 << 20),) * 2)
for path in sys.argv[1:]:
    try:
        open_image(path)
    except Exception as error:
        print(type(error).__name__, is_out_of_memory(error))
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="/proc tells how much memory a process has")
def test_an_image_that_memory_does_not_hold_is_not_a_broken_one(tmp_path):
    pixels = np.tile(np.arange(256, dtype=np.uint8), (12_000, 48))
    paths = [tmp_path / "a.png", tmp_path / "a.tif"]
    cv2.imwrite(str(paths[0]), pixels)
    tifffile.imwrite(paths[1], pixels, compression="zlib")
    done = subprocess.run([sys.executable, "-c", SHORT_OF_MEMORY, *paths], capture_output=True, text=True)
    assert done.stdout.split()[1::2] == ["True", "True"], done.stdout + done.stderr


def test_a_png_in_memory_is_the_same_as_the_array(tmp_path):
    buffer = io.BytesIO()
    Image.fromarray(GREY16).save(buffer, "png")
    (tmp_path / "a.dat").write_bytes(buffer.getvalue())  # the name does not matter
    assert (open_image(tmp_path / "a.dat").read_all() == open_array(GREY16).read_all()).all()
