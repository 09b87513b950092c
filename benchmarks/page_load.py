#!/usr/bin/env python
"""The page under load: many clients at once, some of them hostile, against the real server with a real model.

    python benchmarks/page_load.py --weights output/quick/model_final.pth --clients 20 --seconds 120

Three of four clients upload an image, wait for its nuclei, fetch them, the picture or a file, and forget the image. The
fourth does what it should not: files that are no images, cut off, too large (declared or not) or bombs, uploads that
stall or break off, paths of other files, methods and headers that do not exist. *Lost* is an upload that was taken but
did not end in nuclei that could be fetched; *errors* are answers that should not have been given, or none. A client
that is told to wait (503) waits and asks again, which is counted.

Memory is the server's own, after a first round of uploads and at the end; also looked for are temporary files that it
left. The exit code is 1 if an upload was lost, an answer wrong or a file left.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import random
import re
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import cv2

from nucleus.data.synthetic import make_field

TYPE = {"Content-Type": "application/octet-stream"}
WAIT = 120  # seconds for an answer
FORMATS = ("labels", "geojson", "measurements", "coco")
PROBES = (
    *("/static/../serve.py", "/static/%2e%2e/serve.py", "/static//etc/passwd", "/..%2f..%2fetc/passwd", "/static/"),
    *("/api/images/x/nuclei", "/api/images/../settings", "/examples/..%5c..%5cx.png", "/api/images/%00/picture"),
)


class Tally:
    """What happened, counted by all clients."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.seconds: list[float] = []
        self.notes: list[str] = []
        self._lock = threading.Lock()

    def add(self, what: str, note: str = "") -> None:
        with self._lock:
            self.counts[what] += 1
            if note and len(self.notes) < 10:
                self.notes.append(f"{what}: {note}")

    def took(self, seconds: float) -> None:
        with self._lock:
            self.seconds.append(seconds)


def ask(port: int, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None) -> tuple:
    """One request on a connection of its own: status and body."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=WAIT)
    try:
        connection.request(method, path, body, headers or {})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def honest(port: int, images: list[bytes], rng: random.Random, tally: Tally) -> None:
    """Upload, fetch, forget."""
    begin = time.perf_counter()
    status, body = ask(port, "POST", "/api/images", rng.choice(images), TYPE)
    tally.add("requests")
    if status == 503:
        tally.add("told to wait")
        time.sleep(0.5)
        return
    if status != 200:
        tally.add("errors", f"upload {status} {body[:100]!r}")
        return
    tally.add("uploads")
    last = json.loads(body.splitlines()[-1])
    if last["state"] != "done":
        tally.add("lost", str(last))
        return
    one = f"/api/images/{last['key']}"
    status, body = ask(port, "GET", f"{one}/nuclei")
    if status != 200 or "outlines" not in json.loads(body):
        tally.add("lost", f"nuclei {status}")
    tally.took(time.perf_counter() - begin)
    other = rng.choice((f"{one}/picture", f"{one}/download/{rng.choice(FORMATS)}?threshold=0.5"))
    if ask(port, "GET", other)[0] != 200:
        tally.add("errors", other)
    if ask(port, "DELETE", one)[0] != 204:
        tally.add("errors", "forget")
    for _ in range(3):
        tally.add("requests")


def png_bomb() -> bytes:
    """16 x 16 pixels, and megabytes after them."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 16, 16, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(bytes(2 << 20), 0)) + chunk(b"IEND", b"")


def hostile(port: int, images: list[bytes], rng: random.Random, tally: Tally) -> None:
    """One thing that nobody should do, which must be refused with a status of its own or a closed connection."""
    image = rng.choice(images)
    raw = b"POST /api/images HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/octet-stream\r\n"
    kind = rng.choice(
        ("noise", "cut", "bomb", "huge", "endless", "stall", "gone", "probe", "method", "host", "garbage")
    )
    tally.add("hostile requests")
    if kind in ("noise", "cut", "bomb"):
        body = {"noise": rng.randbytes(5000), "cut": image[: len(image) // 2], "bomb": png_bomb()}[kind]
        status, text = ask(port, "POST", "/api/images", body, TYPE)
        good = status == 503 or (status == 200 and json.loads(text.splitlines()[-1])["state"] == "failed")
    elif kind == "probe":
        path = rng.choice(PROBES)
        status, text = ask(port, "GET", path)
        good = status in (400, 404)
    elif kind == "method":
        status, text = ask(port, rng.choice(("PUT", "TRACE", "PATCH")), "/api/images", b"x", TYPE)
        good = status in (403, 404, 405)
    elif kind == "host":
        status, text = ask(port, "GET", "/", None, {"Host": "evil.example"})
        good = status == 403
    else:
        with socket.create_connection(("127.0.0.1", port), timeout=WAIT) as wire:
            try:
                if kind == "huge":
                    wire.sendall(raw + b"Content-Length: 999999999999\r\n\r\n")
                elif kind == "endless":
                    wire.sendall(raw + b"Transfer-Encoding: chunked\r\n\r\n")
                    for _ in range(70):
                        wire.sendall(b"100000\r\n" + bytes(1 << 20) + b"\r\n")
                elif kind == "garbage":
                    wire.sendall(rng.randbytes(300) + b"\r\n\r\n")
                else:
                    wire.sendall(raw + b"Content-Length: 5000\r\n\r\n" + image[:100])
                    if kind == "gone":
                        return
                text = wire.recv(4096)  # of a stalled upload after ten seconds
            except (ConnectionError, TimeoutError):
                text = b""
            good = not text or text.split(b" ")[1] in (b"400", b"408", b"413", b"503", b"403")
            status = 0
    if not good:
        tally.add("errors", f"{kind}: {status} {text[:100]!r}")


def client(number: int, port: int, images: list[bytes], end: float, tally: Tally, act: Callable | None = None) -> None:
    """One client's whole time."""
    rng = random.Random(number)
    act = act or (hostile if number % 4 == 3 else honest)
    while time.perf_counter() < end:
        try:
            act(port, images, rng, tally)
        except (OSError, http.client.HTTPException, ValueError) as error:
            tally.add("lost" if act is honest else "errors", repr(error))


def resident_mib(pid: int) -> float:
    """Memory of a process: what it holds, without what it shares."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.findall(r"VmRSS:\s+(\d+)", status)[0]) / 1024


def start(weights: Path, scratch: Path) -> tuple[subprocess.Popen, int]:
    """The server as a user starts it, with temporary files in a folder of its own."""
    command = [sys.executable, "-m", "nucleus", "app", "--weights", str(weights), "--device", "cpu", "--port", "0"]
    env = os.environ | {"TMPDIR": str(scratch), "PYTHONUNBUFFERED": "1"}
    server = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    found = re.search(r"http://\S+:(\d+)", server.stdout.readline())
    if not found:
        raise SystemExit("the server did not start")
    return server, int(found[1])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, required=True, help="of a trained model, config.yaml beside it")
    parser.add_argument("--clients", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--warm-up", type=float, default=15, help="seconds of uploads before memory counts")
    parser.add_argument("--json", type=Path, help="file for the figures")
    args = parser.parse_args()
    fields = [make_field(1, "test", number, 256)[0].image for number in range(5)]
    images = [cv2.imencode(".png", field[..., ::-1])[1].tobytes() for field in fields]
    tally = Tally()
    with tempfile.TemporaryDirectory() as scratch:
        server, port = start(args.weights, Path(scratch))
        try:
            run(4, args.warm_up, port, images, Tally(), honest)
            before = resident_mib(server.pid)
            run(args.clients, args.seconds, port, images, tally)
            time.sleep(1)
            after = resident_mib(server.pid)
            ask(port, "GET", "/api/settings")
            inside = sorted(str(path.relative_to(scratch)) for path in Path(scratch).glob("nucleus-page-*/*/*"))
        finally:
            server.terminate()
            server.wait(30)
        left = inside + [path.name for path in Path(scratch).glob("nucleus-page-*")]
    counts = {name: tally.counts[name] for name in
              ("requests", "uploads", "told to wait", "hostile requests", "errors", "lost")}  # fmt: skip
    times = sorted(tally.seconds) or [0.0]
    figures = counts | {
        "clients": args.clients,
        "seconds": args.seconds,
        "median seconds of an upload": round(times[len(times) // 2], 2),
        "longest seconds of an upload": round(times[-1], 2),
        "MiB at start": round(before),
        "MiB at end": round(after),
        "temporary files left": len(left),
    }
    print("\n".join([*(f"{name:30} {value}" for name, value in figures.items()), *tally.notes, *left]))
    if args.json:
        args.json.write_text(json.dumps(figures, indent=1) + "\n")
    return int(bool(counts["errors"] or counts["lost"] or left or not counts["uploads"]))


def run(
    clients: int, seconds: float, port: int, images: list[bytes], tally: Tally, act: Callable | None = None
) -> None:
    """All clients at once."""
    end = time.perf_counter() + seconds
    threads = [threading.Thread(target=client, args=(n, port, images, end, tally, act)) for n in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    sys.exit(main())
