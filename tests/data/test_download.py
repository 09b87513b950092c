"""Downloads from a server on 127.0.0.1 that cuts connections, forgets how to resume, and changes its files."""

import contextlib
import hashlib
import http.server
import re
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from small_bbbc038 import write_small_set, zip_part

from nucleus.data import download
from nucleus.data.bbbc038 import TEST, TRAIN
from nucleus.data.download import RemoteFile, fetch, fetch_all
from nucleus.errors import InputError

CONTENT = np.random.default_rng(0).bytes(1_000_000)
COMMAND = Path(__file__).parents[2] / "datasets" / "prepare_bbbc038.py"


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves server.files with Range, If-Range and ETag; server.cuts says when to hang up (bytes), once each."""

    def do_GET(self):
        server = self.server
        server.requests.append(dict(self.headers))
        if server.failures:
            self.send_error(server.failures.pop(0))
            return
        name = self.path.rpartition("/")[2]
        if name not in server.files:
            self.send_error(404)
            return
        content = server.files[name]
        tag = f'"{hashlib.sha256(content).hexdigest()[:16]}"' if server.tags else None
        start = 0
        wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if wanted and server.ranges and self.headers.get("If-Range") == tag:
            start = int(wanted[1])
            if start >= len(content):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(content)}")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(len(content) - start))
        if tag:
            self.send_header("ETag", tag)
        self.end_headers()
        body = content[start:]
        server.sent.append(len(body))  # before the last byte is out, after which the test may look
        with contextlib.suppress(ConnectionError):  # who asked may have hung up
            self.wfile.write(body[: server.cuts.pop(0)] if server.cuts else body)

    def log_message(self, *arguments):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(download, "PAUSE", 0.01)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.files, server.cuts, server.requests, server.sent, server.failures = {"f.bin": CONTENT}, [], [], [], []
    server.ranges = server.tags = True
    server.address = f"http://127.0.0.1:{server.server_port}/data"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def get(server, folder, **known):
    path = folder / "f.bin"
    fetch(f"{server.address}/f.bin", path, RemoteFile("f.bin", **known))
    assert [child.name for child in folder.iterdir()] == ["f.bin"]
    return path.read_bytes()


def test_a_whole_file(server, tmp_path):
    digest = hashlib.sha256(CONTENT).hexdigest()
    assert get(server, tmp_path, size=len(CONTENT), sha256=digest) == CONTENT
    assert len(server.requests) == 1


def test_a_cut_connection_goes_on_where_it_was_cut(server, tmp_path):
    server.cuts = [300_000, 100_000]
    assert get(server, tmp_path) == CONTENT
    assert [request.get("Range") for request in server.requests] == [None, "bytes=300000-", "bytes=400000-"]


def test_many_cuts_do_not_matter_as_long_as_something_comes(server, tmp_path):
    server.cuts = [50_000] * 15
    assert get(server, tmp_path) == CONTENT


def test_a_killed_run_goes_on(server, tmp_path):
    (tmp_path / "f.bin.part").write_bytes(CONTENT[:600_000])
    tag = hashlib.sha256(CONTENT).hexdigest()[:16]
    (tmp_path / "f.bin.part.version").write_text(f'"{tag}"')
    assert get(server, tmp_path) == CONTENT
    assert server.requests[0]["Range"] == "bytes=600000-"
    assert server.sent == [400_000]


def test_a_killed_run_that_had_everything(server, tmp_path):
    (tmp_path / "f.bin.part").write_bytes(CONTENT)
    tag = hashlib.sha256(CONTENT).hexdigest()[:16]
    (tmp_path / "f.bin.part.version").write_text(f'"{tag}"')
    assert get(server, tmp_path) == CONTENT
    assert server.sent == []


@pytest.mark.parametrize("what", ["the file changed", "no ranges", "no version"])
def test_what_came_is_thrown_away_where_it_cannot_be_gone_on_from(server, tmp_path, what):
    (tmp_path / "f.bin.part").write_bytes(b"old" * 1000)
    if what != "no version":
        (tmp_path / "f.bin.part.version").write_text('"an older version"')
    server.ranges = what != "no ranges"
    assert get(server, tmp_path) == CONTENT


def test_a_server_without_ranges_or_tags_starts_again_after_a_cut(server, tmp_path):
    server.cuts, server.ranges, server.tags = [300_000], False, False
    assert get(server, tmp_path) == CONTENT
    assert len(server.requests) == 2


def test_errors_of_the_server_are_waited_out(server, tmp_path):
    server.failures = [503, 500]
    assert get(server, tmp_path) == CONTENT


def test_an_address_without_file_is_an_error_at_once(server, tmp_path):
    with pytest.raises(InputError, match=r"nothing\.bin: expected a file, found HTTP 404"):
        fetch(f"{server.address}/nothing.bin", tmp_path / "x", RemoteFile("x"))
    assert len(server.requests) == 1


def test_a_server_that_is_not_there_or_never_goes_on(server, tmp_path, monkeypatch):
    with pytest.raises(InputError, match=r"expected a whole file.*Run it again later"):
        fetch("http://127.0.0.1:9/x", tmp_path / "x", RemoteFile("x"))
    server.cuts = [0] * 20
    with pytest.raises(InputError, match="the connection was cut"):
        fetch(f"{server.address}/f.bin", tmp_path / "f.bin", RemoteFile("f.bin"))
    assert len(server.requests) == download.ATTEMPTS


@pytest.mark.parametrize("known", [{"size": 5}, {"sha256": "0" * 64}])
def test_another_size_or_checksum_is_refused(server, tmp_path, known):
    with pytest.raises(InputError, match=r"f\.bin: expected .*fetch it again"):
        fetch(f"{server.address}/f.bin", tmp_path / "f.bin", RemoteFile("f.bin", **known))
    assert not (tmp_path / "f.bin").exists() and not (tmp_path / "f.bin.part").exists()


def test_a_server_that_sends_more_than_is_known(server, tmp_path):
    """The disk is not filled with it: it ends at the first block too many, and nothing stays."""
    server.files["f.bin"] = bytes(20 * download.CHUNK)
    with pytest.raises(InputError, match=r"f\.bin: expected 300000 bytes, found a larger file"):
        fetch(f"{server.address}/f.bin", tmp_path / "f.bin", RemoteFile("f.bin", 300_000))
    assert list(tmp_path.iterdir()) == []
    assert len(server.requests) == 1


def test_a_file_that_is_there_is_checked_and_not_fetched(server, tmp_path):
    (tmp_path / "f.bin").write_bytes(CONTENT)
    assert fetch_all(server.address, tmp_path, (RemoteFile("f.bin", len(CONTENT)),)) == [tmp_path / "f.bin"]
    assert server.requests == []
    with pytest.raises(InputError, match="expected 7 bytes"):
        fetch_all(server.address, tmp_path, (RemoteFile("f.bin", 7),))
    assert (tmp_path / "f.bin").exists()  # perhaps the user's own


def test_the_command_downloads_and_converts(server, tmp_path):
    small = write_small_set(tmp_path / "set")
    server.files = {
        f"{part}.zip": zip_part(small, part, tmp_path / f"{part}.zip").read_bytes() for part in (TRAIN, TEST)
    } | {"stage1_solution.csv": (small / "stage1_solution.csv").read_bytes()}
    server.cuts = [1000]
    root = tmp_path / "root"
    options = ["--download", "--address", server.address, "--root", root, "--workers", "1"]
    done = subprocess.run([sys.executable, COMMAND, *options], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "3 (9)" in done.stdout and "2 (6)" in done.stdout
    assert (root / "annotations" / "bbbc038_test.json").exists()
    assert {Path(name).name for name in server.files} <= {path.name for path in root.iterdir()}
