"""What a compressed image says of itself before it is decoded: a few bytes may declare, or unpack to, gigabytes."""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator

PNG = b"\x89PNG\r\n\x1a\n"
JPEG2000 = b"\xff\x4f\xff\x51"  # start of the code stream, in a file of any kind
MOST_SCANS = 100  # of a progressive JPEG, each of which goes over all pixels; encoders write about ten
IN_ADVANCE = 1 << 20  # bytes of a PNG; what a smaller one unpacks to takes no time
CUT_OFF = "a chunk that goes on beyond the end of the file"
MOST_DEFLATED = 1032  # bytes that deflate can make of one


def declared_pixels(content: bytes) -> int | None:
    """Pixels that a JPEG, JPEG 2000, PNG or WebP stream declares; None where it is none of these or does not say."""
    if content.startswith(b"\xff\xd8"):
        return _jpeg(content)
    if content.startswith(PNG):
        width, height = struct.unpack_from(">II", content.ljust(24, b"\0"), 16)
        return width * height
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return _webp(content)
    start = content[:4096].find(JPEG2000)
    if start >= 0:
        right, bottom, left, top = struct.unpack_from(">4I", content[: start + 24].ljust(start + 24, b"\0"), start + 8)
        return max(right - left, 0) * max(bottom - top, 0)
    return None


def _jpeg(content: bytes) -> int | None:
    """Of the largest of its frames."""
    largest, place = None, 2
    while found := re.compile(rb"\xff+([\x01-\xfe])").search(content, place):
        marker, place = found[1][0], found.end()
        if marker == 0xDA:  # pixels follow
            break
        if marker == 0x01 or 0xD0 <= marker <= 0xD9:  # markers alone
            continue
        if place + 7 > len(content):
            break
        length, _, height, width = struct.unpack_from(">HBHH", content, place)
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            largest = max(largest or 0, height * width)
        place += max(length, 2)
    return largest


def _webp(content: bytes) -> int | None:
    kind, head = content[12:16], content[20:30].ljust(10, b"\0")
    if kind == b"VP8X":
        return (1 + int.from_bytes(head[4:7], "little")) * (1 + int.from_bytes(head[7:10], "little"))
    if kind == b"VP8L":
        bits = int.from_bytes(head[1:5], "little")
        return (1 + (bits & 0x3FFF)) * (1 + (bits >> 14 & 0x3FFF))
    if kind == b"VP8 ":
        return (int.from_bytes(head[6:8], "little") & 0x3FFF) * (int.from_bytes(head[8:10], "little") & 0x3FFF)
    return None


def why_endless(content: bytes) -> str | None:
    """Why decoding a PNG or JPEG would take time or memory without reason, or None if it would not.

    Returns:
        What was found: more scans than any encoder writes, a second header, a chunk that is not all there (CUT_OFF),
        compressed data that go on after the last pixel, or so few that the pixels declared cannot be in them.
    """
    if content.startswith(b"\xff\xd8"):
        scans = content.count(b"\xff\xda")
        return f"{scans:,} scans, where {MOST_SCANS} would be many" if scans > MOST_SCANS else None
    if not content.startswith(PNG):
        return None
    width, height, bits, colours = struct.unpack_from(">IIBB", content.ljust(26, b"\0"), 16)
    samples = {2: 3, 4: 2, 6: 4}.get(colours, 1)
    heads = []
    for kind, part in _chunks(content):
        if part is None:  # OpenCV would take memory for it first
            return CUT_OFF
        if kind == b"IHDR":
            heads.append(part)
    if content[12:16] != b"IHDR" or len(heads) > 1:  # decoders do not agree which of them counts
        return f"{len(heads)} headers, or one that does not come first"
    row = (width * bits * samples + 7) // 8
    if height * row > IN_ADVANCE + MOST_DEFLATED * len(content):
        return f"{width} x {height} pixels in {len(content):,} bytes, too few for them"
    if len(content) < IN_ADVANCE:
        return None
    left = 2 * (height + 7) * (1 + row) + IN_ADVANCE  # twice, for interlaced ones
    inflate = zlib.decompressobj()
    try:
        for kind, part in _chunks(content):
            while kind == b"IDAT" and part and left > 0 and not inflate.eof:
                left -= len(inflate.decompress(part, IN_ADVANCE))
                part = inflate.unconsumed_tail
    except zlib.error:
        return None  # the decoder says it
    return "compressed data that go on after the last pixel" if left <= 0 else None


def _chunks(content: bytes) -> Iterator[tuple[bytes, bytes | None]]:
    """The kinds and contents of the chunks of a PNG, up to the end or to one that is not all there (None)."""
    place = len(PNG)
    while place + 8 <= len(content):
        length, kind = struct.unpack_from(">I4s", content, place)
        stop = place + 8 + length
        yield kind, content[place + 8 : stop] if stop <= len(content) else None
        if kind == b"IEND":
            return
        place += length + 12
