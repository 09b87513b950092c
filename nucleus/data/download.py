"""Fetching files over HTTP so that a cut connection or a killed run costs nothing: a later one goes on from there."""

from __future__ import annotations

import hashlib
import http.client
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from nucleus.errors import InputError

BBBC038 = "https://data.broadinstitute.org/bbbc/BBBC038"
CHUNK = 1 << 18  # bytes
ATTEMPTS = 5  # in a row without a single byte
PATIENCE = 30.0  # seconds without a byte until a connection counts as dead
PAUSE = 1.0  # seconds before the second attempt; doubled for each further one


@dataclass(frozen=True)
class RemoteFile:
    """A file to fetch.

    Attributes:
        name: of the file, at the address and on disk.
        size: in bytes, where known.
        sha256: hexadecimal, where known.
    """

    name: str
    size: int | None = None
    sha256: str | None = None


# The publisher gives no checksums, so that none are fixed here: the size that the server announces and the CRCs inside
# of the archives are checked.
BBBC038_FILES = (RemoteFile("stage1_train.zip"), RemoteFile("stage1_test.zip"), RemoteFile("stage1_solution.csv"))


def fetch_all(
    address: str, folder: Path, files: tuple[RemoteFile, ...] = BBBC038_FILES, *, progress: bool = False
) -> list[Path]:
    """Fetch files that are not in a folder yet.

    Args:
        address: where they are, without their names.
        folder: where they go; made if missing.
        files: what to fetch.
        progress: show a bar.

    Returns:
        Their paths.

    Raises:
        InputError: see `fetch`.
        OSError: the disk is full or not writable.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for file in files:
        path = folder / file.name
        if path.exists():
            _check(path, path, file)
        else:
            with tqdm(desc=file.name, unit="B", unit_scale=True, disable=None if progress else True) as bar:
                fetch(f"{address.rstrip('/')}/{file.name}", path, file, bar.update)
        paths.append(path)
    return paths


def fetch(url: str, path: Path, file: RemoteFile, report: Callable[[int], object] = lambda count: None) -> None:
    """Fetch one file. It gets its name when it is whole; until then it is `NAME.part`, from which a later call goes on.

    Args:
        url: http or https.
        path: where it goes.
        file: what is known of it.
        report: told the number of bytes that came, each time some did.

    Raises:
        InputError: the address does not answer, answers with an error, or gives another size or SHA-256 than known; of
            a file that is larger than known no more is kept.
        OSError: the disk is full or not writable.
    """
    part = path.with_name(f"{path.name}.part")
    failures, pause = 0, PAUSE
    while True:
        before = part.stat().st_size if part.exists() else 0
        try:
            if _fetch_rest(url, part, report, file.size):
                break
            reason = "the connection was cut"
        except urllib.error.HTTPError as error:
            if error.code < 500:
                raise InputError(url, expected="a file", found=f"HTTP {error.code} {error.reason}",
                                 remedy="Check the address.") from error  # fmt: skip
            reason = f"HTTP {error.code} {error.reason}"
        except (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError) as error:
            reason = str(getattr(error, "reason", None) or error) or type(error).__name__
        came = (part.stat().st_size if part.exists() else 0) > before
        failures, pause = (1, PAUSE) if came else (failures + 1, pause)
        if failures >= ATTEMPTS:
            raise InputError(url, expected="a whole file", found=reason,
                             remedy="Run it again later: it goes on from what came so far. Or fetch the file by other "
                             f"means and put it in {path.parent}.")  # fmt: skip
        time.sleep(pause)
        pause *= 2
    _check(part, path, file)
    part.replace(path)
    _version_of(part).unlink(missing_ok=True)


def _fetch_rest(url: str, part: Path, report: Callable[[int], object], limit: int | None) -> bool:
    """Append what is missing of a file to `part`; False if the connection ended before the announced end."""
    done = part.stat().st_size if part.exists() else 0
    version = _version_of(part).read_text() if _version_of(part).exists() else ""
    request = urllib.request.Request(url, headers={"User-Agent": "nucleus", "Accept-Encoding": "identity"})
    if done and version:  # a server whose file has changed since then sends it all
        request.add_header("Range", f"bytes={done}-")
        request.add_header("If-Range", version)
    try:
        answer = urllib.request.urlopen(request, timeout=PATIENCE)
    except urllib.error.HTTPError as error:
        if error.code == 416 and done:  # nothing after what we have: whole, or not of this file
            total = re.fullmatch(r"bytes \*/(\d+)", error.headers.get("Content-Range", ""))
            if total and int(total[1]) == done:
                return True
            part.unlink()
            return False
        raise
    with answer:
        resumed = answer.status == 206 and answer.headers.get("Content-Range", "").startswith(f"bytes {done}-")
        length = answer.headers.get("Content-Length")
        _version_of(part).write_text(_validator(answer.headers))
        if resumed:
            report(done)
        came, kept = 0, done if resumed else 0
        with part.open("ab" if resumed else "wb") as file:
            while chunk := answer.read(CHUNK):
                came += len(chunk)
                if limit is not None and kept + came > limit:
                    part.unlink()
                    _version_of(part).unlink()
                    raise InputError(url, expected=f"{limit} bytes", found="a larger file",
                                     remedy="Check the address, or fetch it again later.")  # fmt: skip
                file.write(chunk)
                report(len(chunk))
    return length is None or came == int(length)


def _validator(headers: http.client.HTTPMessage) -> str:
    """What tells one version of a remote file from another, fit for If-Range; empty if the server does not say."""
    tag = headers.get("ETag", "")
    return headers.get("Last-Modified", "") if not tag or tag.startswith("W/") else tag


def _version_of(part: Path) -> Path:
    return part.with_name(f"{part.name}.version")


def _check(content: Path, path: Path, file: RemoteFile) -> None:
    """Compare a file with what is known of it; a partial file that is wrong is deleted."""
    size = content.stat().st_size
    expected, found = f"{file.size} bytes", f"{size} bytes"
    right = file.size is None or file.size == size
    if right and file.sha256 is not None:
        with content.open("rb") as stream:
            digest = hashlib.sha256()
            while chunk := stream.read(CHUNK):
                digest.update(chunk)
        expected, found = f"SHA-256 {file.sha256}", digest.hexdigest()
        right = found == file.sha256
    if not right:
        if content != path:
            content.unlink()
        raise InputError(path, expected=expected, found=found, remedy="Delete the file and fetch it again.")
