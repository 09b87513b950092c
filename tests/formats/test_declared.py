"""Sizes and lengths that compressed streams declare, against encoders of all kinds."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from nucleus.errors import InputError
from nucleus.formats.declared import declared_pixels, why_endless
from nucleus.formats.image import read_image

PICTURE = Image.fromarray(np.random.default_rng(0).integers(0, 255, (37, 53, 3), dtype=np.uint8))


def saved(kind, **options):
    file = io.BytesIO()
    PICTURE.save(file, kind, **options)
    return file.getvalue()


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("JPEG", {}),
        ("JPEG", {"progressive": True, "exif": b"Exif\0\0" + b"\xff\xc0" * 20}),
        ("PNG", {}),
        ("WEBP", {"lossless": True}),
        ("WEBP", {"lossless": False}),
        ("WEBP", {"exif": b"Exif\0\0"}),
        ("JPEG2000", {}),
        ("JPEG2000", {"no_jp2": True}),
    ],
)
def test_the_size_that_encoders_write(kind, options):
    content = saved(kind, **options)
    assert declared_pixels(content) == 37 * 53
    assert why_endless(content) is None
    for stop in range(len(content)):  # a stream that breaks off says nothing, or what it said
        declared_pixels(content[:stop])


def test_other_streams_say_nothing():
    assert declared_pixels(b"") is None
    assert declared_pixels(saved("BMP")) is None


def test_more_scans_than_any_encoder_writes(tmp_path):
    content = saved("JPEG", progressive=True)
    place = content.rindex(b"\xff\xda")
    endless = content[:place] + content[place:-2] * 200 + content[-2:]
    assert why_endless(endless).startswith("2")
    (tmp_path / "a.jpg").write_bytes(endless)
    with pytest.raises(InputError, match=r"time and memory of its pixels, found .* scans"):
        read_image(tmp_path / "a.jpg")


def test_data_that_go_on_after_the_last_pixel(tmp_path):
    def chunk(name, content):
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    def png(size, packed):
        head = chunk(b"IHDR", struct.pack(">IIBBBBB", size, size, 8, 0, 0, 0, 0))
        parts = b"".join(chunk(b"IDAT", packed[at : at + 9999]) for at in range(0, len(packed), 9999))
        return b"\x89PNG\r\n\x1a\n" + head + parts + chunk(b"IEND", b"")

    (tmp_path / "a.png").write_bytes(png(16, zlib.compress(bytes(3 << 19), 0)))  # 1.5 MiB of nothing, stored
    with pytest.raises(InputError, match="data that go on after the last pixel"):
        read_image(tmp_path / "a.png")
    rows = np.random.default_rng(0).integers(0, 256, (1500, 1501), dtype=np.uint8)
    rows[:, 0] = 0  # the filter
    (tmp_path / "b.png").write_bytes(png(1500, zlib.compress(rows.tobytes())))
    assert (read_image(tmp_path / "b.png") == rows[:, 1:]).all()


def test_fewer_bytes_than_the_pixels_take(tmp_path):
    content = bytearray(saved("PNG"))
    content[16:24] = struct.pack(">II", 13_000, 13_000)
    content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(InputError, match=r"found 13000 x 13000 pixels in .* bytes, too few for them"):
        read_image(tmp_path / "a.png")


def test_a_second_header(tmp_path):
    content = saved("PNG")
    large = b"IHDR" + struct.pack(">II", 13_000, 13_000) + content[24:29]
    chunk = struct.pack(">I", 13) + large + struct.pack(">I", zlib.crc32(large))
    for wrong in (content[:33] + chunk + content[33:], content[:8] + content[33:] + content[8:33]):
        (tmp_path / "a.png").write_bytes(wrong)
        with pytest.raises(InputError, match="expected"):
            read_image(tmp_path / "a.png")
        assert "header" in why_endless(wrong)


def test_a_chunk_that_goes_on_beyond_the_file():
    content = saved("PNG")
    place = content.index(b"IDAT")
    assert "beyond the end" in why_endless(content[: place - 4] + b"\xf0\0\0\0" + content[place:])
    assert "beyond the end" in why_endless(content[:-20])
