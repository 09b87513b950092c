"""The server as a process: slow connections, many requests at once, memory."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import os
import socket
import time
from pathlib import Path

import pytest

pytest.importorskip("starlette", reason='the page: pip install "nucleus[app]" httpx')
pytest.importorskip("uvicorn", reason='the page: pip install "nucleus[app]" httpx')
pytest.importorskip("httpx", reason='the page: pip install "nucleus[app]" httpx')

import httpx

from nucleus.app import serve
from nucleus.app.scratch import remove_stale
from nucleus.app.serve import listen
from nucleus.cli.main import run_command
from nucleus.errors import InputError

FILE = {"Content-Type": "application/octet-stream"}


def resident_mib(pid: int) -> float:
    status = Path(f"/proc/{pid}/status")
    if not status.exists():
        pytest.skip("memory of another process: no /proc here")
    return next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmRSS")) / 1024


def send(address: str, png: bytes, client: httpx.Client) -> str:
    answer = client.post(f"{address}/api/images", content=png, headers=FILE)
    last = json.loads(answer.text.splitlines()[-1])
    assert last["state"] == "done"
    client.delete(f"{address}/api/images/{last['key']}")
    return last["key"]


def test_memory_stays_flat(server, png):
    """Between uploads it goes up and down by 40 MiB, as buffers are kept or given back: the lowest counts.

    The first uploads fill buffers that stay, 18 MiB of them, and do not count."""
    found = []
    with httpx.Client() as client:
        for _ in range(25):
            send(server.address, png, client)
            found.append(resident_mib(server.process.pid))
    assert min(found[-10:]) - min(found[5:15]) < 10, found


def test_many_at_once_lose_nothing(server, png):
    async def one(client: httpx.AsyncClient) -> str:
        answer = await client.post(f"{server.address}/api/images", content=png, headers=FILE)
        states = [json.loads(line) for line in answer.text.splitlines()]
        return states[-1]["state"]

    async def all_at_once() -> list[str]:
        async with httpx.AsyncClient(timeout=60) as client:
            return await asyncio.gather(*[one(client) for _ in range(6)])

    assert asyncio.run(all_at_once()) == ["done"] * 6


@pytest.mark.parametrize("head", [b"", b"GET / HTT", b"GET / HTTP/1.1\r\nHost: localhost\r\nX: "])
def test_connections_that_never_ask_are_closed(head, monkeypatch):
    monkeypatch.setattr(serve, "HEADER_SECONDS", 0.1)

    async def scenario() -> bytes:
        config = serve.uvicorn.Config(lambda *_: None, http=serve._Impatient, ws="none", lifespan="off")
        config.load()
        state = serve.uvicorn.server.ServerState()
        loop = asyncio.get_running_loop()
        listener = await loop.create_server(
            lambda: serve._Impatient(config=config, server_state=state, app_state={}), "127.0.0.1", 0
        )
        reader, writer = await asyncio.open_connection(*listener.sockets[0].getsockname())
        writer.write(head)
        received = await asyncio.wait_for(reader.read(), 5)
        writer.close()
        listener.close()
        return received

    assert asyncio.run(scenario()) == b""


def test_malformed_requests(server):
    for line in (b"\x16\x03\x01\x02\x00 nonsense\r\n\r\n", b"GET /\r\n\r\n",
                 b"GET / HTTP/1.1\r\nContent-Length: x\r\n\r\n",
                 b"GET / HTTP/1.1\r\nX: " + b"x" * 100_000 + b"\r\n\r\n"):  # fmt: skip
        with socket.create_connection(("127.0.0.1", server.port), timeout=5) as connection:
            connection.sendall(line)
            received = connection.recv(4096)
        assert received.startswith(b"HTTP/1.1 4") and b"Traceback" not in received
    assert httpx.get(server.address).status_code == 200


def test_an_upload_that_breaks_off(server, png):
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as connection:
        connection.sendall(b"POST /api/images HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/octet-stream\r\n"
                           b"Content-Length: 5000\r\n\r\n" + png[:100])  # fmt: skip
    time.sleep(0.1)
    with httpx.Client() as client:
        assert send(server.address, png, client)


def test_a_taken_port():
    with listen("127.0.0.1", 0) as first, pytest.raises(InputError, match=r"in use.*Choose another with --port"):
        listen("127.0.0.1", first.getsockname()[1])
    with pytest.raises(InputError):
        listen("127.0.0.1", 70_000)
    with pytest.raises(InputError):
        listen("192.0.2.1", 7860)  # an address that no machine has


def test_the_command(server, capsys):
    assert server.said.startswith("The page: http://127.0.0.1:")
    assert run_command("app", ["--weights", "none.pth", "--port", str(server.port)]) == 2
    assert "in use" in capsys.readouterr().err
    assert run_command("app", ["--weights", "none.pth", "--port", "0"]) == 2
    with pytest.raises(SystemExit):
        run_command("app", ["--weights", "w.pth", "--max-upload", "0"])


def test_wider_outlines(server, weights, png, capsys):
    other = type(server)(weights, "--expand", "3")
    covered = []
    with httpx.Client() as client:
        for address in (server.address, other.address):
            answer = client.post(f"{address}/api/images", content=png, headers=FILE)
            key = json.loads(answer.text.splitlines()[-1])["key"]
            table = client.get(f"{address}/api/images/{key}/download/measurements?threshold=0.05").text
            covered.append(sum(float(row["area_px"]) for row in csv.DictReader(io.StringIO(table))))
            client.delete(f"{address}/api/images/{key}")
    other.process.terminate()
    other.process.wait(10)
    assert covered[1] > 1.2 * covered[0]
    assert run_command("app", ["--weights", str(weights), "--port", "0", "--expand", "30"]) == 2
    assert "TEST.EXPAND: expected from -20 to 20 pixels" in capsys.readouterr().err


def test_a_killed_server_leaves_files_where_the_next_one_removes_them(server, weights, tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    first = type(server)(weights)
    with socket.create_connection(("127.0.0.1", first.port)) as wire:
        wire.sendall(b"POST /api/images HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/octet-stream\r\n"
                     b"Content-Length: 100\r\n\r\nbegun")  # fmt: skip
        while not (left := list(tmp_path.glob("nucleus-page-*/*/uploaded image"))):
            time.sleep(0.05)
        first.process.kill()
        first.process.wait(10)
    own = left[0].parents[1]
    assert remove_stale(tmp_path) == [], "young ones may be about to be locked"
    os.utime(own, (1e9, 1e9))
    assert remove_stale(tmp_path) == [own]
