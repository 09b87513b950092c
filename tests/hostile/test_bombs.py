"""Small files that declare, or unpack to, gigabytes: refused with the limit in the error, in little memory and time.

Each is read in a process of its own, whose memory is measured.
"""

import io
import json
import re
import struct
import zlib

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image

LITTLE = 200  # MiB; none of these files needs more, and each would take gigabytes if it were believed
SOON = 20  # seconds; believed, those that are bombs of time take minutes or days

ZEROS = zlib.compress(bytes(1 << 24), 9)  # 16 KiB that are 16 MiB


def png(width, height, *packed, bits=8, colours=0):
    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colours, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(chunk(b"IDAT", part) for part in packed) + chunk(b"IEND", b"")


def deflated(size):
    """So many zeros, packed; a stream made of one block again and again."""
    packer = zlib.compressobj(9)
    first = packer.compress(bytes(1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)
    block = packer.compress(bytes(1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)
    return first + block * ((size >> 20) - 1)


def tiff(data, *, compression=8, width=16, height=16, tile=None, pages=1, offset=None, following=0, **tags):
    """A TIFF written by hand, so that each of its tags can lie."""
    names = {"bits": 258, "photometric": 262, "samples": 277, "description_count": 270}
    values = {256: width, 257: height, 258: 8, 259: compression, 262: 1, 277: 1}
    values |= {names[name]: value for name, value in tags.items()}
    place, length = (273, 279) if tile is None else (324, 325)
    values |= {place: 0, length: len(data)} | ({278: height} if tile is None else {322: tile, 323: tile})
    end = 8 + 2 + 12 * len(values) + 4
    values[place] = end if offset is None else offset
    entries = [struct.pack("<HHII", tag, 4, 1, value) for tag, value in sorted(values.items())]
    head = struct.pack("<2sHIH", b"II", 42, 8, len(entries))
    return head + b"".join(entries) + struct.pack("<I", following) + data


def many_pages(count):
    pages = [struct.pack("<HHHIII", 1, 256, 4, 1, 16, 8 + 18 * (n + 1)) for n in range(count)]
    return struct.pack("<2sHI", b"II", 42, 8) + b"".join(pages)[:-4] + bytes(4)


def jpeg(width, height):
    content = imagecodecs.jpeg8_encode(np.zeros((16, 16), np.uint8))
    place = content.index(b"\xff\xc0") + 5
    return content[:place] + struct.pack(">HH", height, width) + content[place + 4 :]


def jpeg_2000(side):
    """A stream for 16 x 16 pixels that declares more."""
    content = bytearray(imagecodecs.jpeg2k_encode(np.zeros((16, 16), np.uint8), codecformat="j2k"))
    place = content.index(b"\xff\x4f\xff\x51") + 8
    content[place : place + 8] = struct.pack(">II", side, side)
    return bytes(content)


def scans():
    file = io.BytesIO()
    Image.fromarray(np.zeros((4000, 4000), np.uint8)).save(file, "JPEG", progressive=True)
    content = file.getvalue()
    place = content.rindex(b"\xff\xda")
    return content[:place] + content[place:-2] * 2000 + content[-2:]


def bombs():
    """Name: content, what the error says."""
    return {
        "sides.png": (png(2**31 - 1, 2**31 - 1, b""), "more than 178 million pixels"),
        "few_bytes.png": (png(13_000, 13_000, ZEROS, bits=16, colours=6), "too few for them"),
        "wide.png": (png(2_000_000, 1, zlib.compress(bytes(2_000_001))), "cannot be decoded"),
        "after_the_last_pixel.png": (png(16, 16, deflated(4 << 30)), "data that go on after the last pixel"),
        "chunk.png": (re.sub(b"....IDAT", b"\xf0\0\0\0IDAT", png(16, 16, ZEROS), flags=re.DOTALL), "expected"),
        "sides.jpg": (jpeg(65_500, 65_500), "more than 178 million pixels"),
        "scans.jpg": (scans(), "scans, where 100 would be many"),
        "sides.tif": (tiff(b"x", compression=1, width=2**20, height=2**20), "a size that a slide can have"),
        "strip.tif": (
            tiff(zlib.compress(b"x"), width=2**17, height=2**17),
            "strips of at most 1 GiB|found one of 16384 MiB",
        ),
        "tile.tif": (tiff(deflated(1 << 30), tile=2**16), "strips of at most 1 GiB|found one of 16384 MiB"),
        "tile_jpeg.tif": (
            tiff(jpeg(16, 16), compression=7, tile=2**16),
            "strips of at most 1 GiB|found one of 16384 MiB",
        ),
        "unpacks.tif": (tiff(deflated(4 << 30)), "a whole TIFF image"),
        "unpacks_zstd.tif": (
            tiff(imagecodecs.zstd_encode(bytes(1 << 28), 1), compression=50_000),
            "a whole TIFF image",
        ),
        "jpeg_in_strip.tif": (tiff(jpeg(65_500, 65_500), compression=7), "declares 4,290,250,000 pixels"),
        "jpeg_2000_in_strip.tif": (tiff(jpeg_2000(60_000), compression=34_712), "declares 3,600,000,000 pixels"),
        "beyond.tif": (tiff(b"", compression=1, offset=2**31), "a whole TIFF image"),
        "pages.tif": (many_pages(200_000), "at most 65,536 pages, found 200,000"),
    }


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bombs")
    messages = {}
    for name, (content, message) in bombs().items():
        (folder / name).write_bytes(content)
        messages[folder / name] = message
    return messages


@pytest.mark.parametrize("kind", ["image", "labels"])
def test_images_that_are_bombs(written, read_apart, kind):
    for (path, message), told in zip(written.items(), read_apart(kind, *written), strict=True):
        assert re.search(message, told["found"]), (path.name, told)
        assert told["mib"] < LITTLE and told["seconds"] < SOON, (path.name, told)


def test_pages_that_follow_one_another_in_a_circle(tmp_path, read_apart):
    """The one page is read: tifffile sees the circle."""
    (tmp_path / "circle.tif").write_bytes(tiff(bytes(256), compression=1, following=8))
    assert read_apart("image", tmp_path / "circle.tif")[0]["found"] == "read"


def test_an_archive_within_an_image_is_not_opened(tmp_path, read_apart):
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        writer.write(np.zeros((16, 16), np.uint8), description="x" * 100)
    (tmp_path / "a.tif").write_bytes((tmp_path / "a.tif").read_bytes() + b"PK\3\4" * 100)
    assert read_apart("image", tmp_path / "a.tif")[0]["found"] == "read"


def coco(annotations, height=9, width=9):
    """A COCO file of one image."""
    image = {"id": 1, "file_name": "a", "height": height, "width": width}
    whole = [{"id": number, "image_id": 1, "category_id": 1, **one} for number, one in enumerate(annotations)]
    return json.dumps({"images": [image], "annotations": whole, "categories": [{"id": 1, "name": "nucleus"}]})


SOURCES = {
    "nested.json": ("[" * 1_000_000, "COCO results"),
    "nested_object.json": ('{"images":' * 500_000, "brackets nested without end"),
    "nested.geojson": ('{"geometries":[' * 300_000, "brackets nested without end"),
    "digits.json": ('{"images": [' + "9" * 100_000 + "]}", "expected JSON"),
    "sides.json": (coco([], 10**6, 10**6), "at most 268,435,456 pixels"),
    "polygon.json": (
        coco([{"segmentation": [[0, 0, 9e6, 0, 9e6, 9e6]] * 50}]),
        "outlines of at most 10,000,000 pixels",
    ),
    "sides.csv": ("ImageId,EncodedPixels,Height,Width\na,1 1,999999,999999\n", "at most 268,435,456 pixels"),
    "text.geojson": (
        json.dumps({"type": "Polygon", "coordinates": [["x" * 99_999, *["y"] * 99_999]]}), "three or more points",
    ),
}  # fmt: skip


def test_files_of_nuclei_that_are_bombs(tmp_path, read_apart):
    for name, (content, _) in SOURCES.items():
        (tmp_path / name).write_text(content)
    for name, told in zip(SOURCES, read_apart("source", *(tmp_path / name for name in SOURCES)), strict=True):
        assert re.search(SOURCES[name][1], told["found"]), (name, told)
        assert told["mib"] < LITTLE and told["seconds"] < SOON, (name, told)
