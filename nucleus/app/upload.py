"""Receiving a file: as it comes, no more than the limit, no slower than the limit, to a temporary file."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.types import Receive

from nucleus.app.limits import MIB, Limits
from nucleus.app.refusals import RefusalError

CONTENT_TYPE = "application/octet-stream"


class GoneError(Exception):
    """The user has gone before the file was there."""


async def receive_file(request: Request, path: Path, limits: Limits) -> None:
    """Write the body of a request to a file.

    Args:
        request: with the file as it is for a body: no form, nothing to parse.
        path: the file to write.
        limits: of which `upload_bytes`, `upload_seconds` and `stall_seconds` count here.

    Raises:
        RefusalError: the body is too large (before it is received, where its length is declared), too slow, empty, or
            not declared as a file.
        GoneError: the connection ended.
    """
    if request.headers.get("content-type", "").split(";")[0].strip().lower() != CONTENT_TYPE:
        raise RefusalError(415, f"Send the file as it is, with the content type {CONTENT_TYPE}.")
    declared = request.headers.get("content-length", "0")
    if not (declared.isascii() and declared.isdigit()) or int(declared[:20]) > limits.upload_bytes:
        raise _too_large(limits)
    clock = asyncio.get_running_loop().time
    end = clock() + limits.upload_seconds
    size, more = 0, True
    with path.open("wb") as file:
        while more:
            message = await _next(request.receive, min(limits.stall_seconds, end - clock()))
            if message["type"] == "http.disconnect":
                raise GoneError
            chunk = message.get("body", b"")
            size += len(chunk)
            if size > limits.upload_bytes:
                raise _too_large(limits)
            file.write(chunk)
            more = message.get("more_body", False)
    if size == 0:
        raise RefusalError(400, "The file is empty.")


async def _next(receive: Receive, seconds: float) -> Any:
    try:
        return await asyncio.wait_for(receive(), max(seconds, 0.001))
    except asyncio.TimeoutError:
        raise RefusalError(408, "The upload took too long and was stopped. Please try again.") from None


def _too_large(limits: Limits) -> RefusalError:
    return RefusalError(413, f"The file is too large: the page takes up to {limits.upload_bytes / MIB:.4g} MiB. For "
                             "larger files there is the command “nucleus predict”, which takes any size.")  # fmt: skip
