"""What the page takes: bounds on everything that a request can make it hold or wait for."""

from __future__ import annotations

from dataclasses import dataclass

MIB = 1 << 20


@dataclass(frozen=True)
class Limits:
    """Bounds, each positive.

    Attributes:
        upload_bytes: of one file.
        pixels: of one image.
        kept_bytes: of all results kept, of which the one used last is kept in any case; and, a quarter of it, of the
            channels of one image that are kept for measuring.
        places: images uploaded, waiting or under way at once.
        upload_seconds: for all of one upload.
        stall_seconds: without a byte of a request.
        connections: at once.
    """

    upload_bytes: int = 64 * MIB
    pixels: int = 1 << 24
    kept_bytes: int = 512 * MIB
    places: int = 24
    upload_seconds: float = 60.0
    stall_seconds: float = 10.0
    connections: int = 128
