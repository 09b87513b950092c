"""The server: one process, one port, connections that say nothing are closed."""

from __future__ import annotations

import asyncio
import signal
import socket
import threading
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from nucleus.app.examples import make_examples
from nucleus.app.guard import is_loopback
from nucleus.app.limits import Limits
from nucleus.app.routes import build_app
from nucleus.app.scratch import scratch_folder
from nucleus.errors import InputError

if TYPE_CHECKING:
    from nucleus.inference.predictor import Model

HEADER_SECONDS = 10  # for the head of a request
HEADER_BYTES = 16 << 10
MOST_PORTS = 65_535


class _Impatient(H11Protocol):
    """Closes a connection whose request has not begun in time, or whose head does not end: uvicorn waits for ever."""

    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._deadline = self.loop.call_later(HEADER_SECONDS, transport.close)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        head_is_due = self.conn.their_state is h11.IDLE and bool(self.conn.trailing_data[0])
        if not head_is_due:
            self._stop_clock()
        elif self._deadline is None:
            self._deadline = self.loop.call_later(HEADER_SECONDS, self.transport.close)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_clock()
        super().connection_lost(exc)

    def _stop_clock(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


def listen(host: str, port: int) -> socket.socket:
    """Open the port.

    Args:
        host: name or address of this machine.
        port: from 0 (any that is free) to 65535.

    Raises:
        InputError: the port is taken, or the host is not of this machine.
    """
    if not 0 <= port <= MOST_PORTS:
        raise InputError("--port", expected=f"a number from 0 to {MOST_PORTS}", found=str(port))
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(128)
    except OSError as error:
        reason = error.strerror or str(error)
        raise InputError(f"--host {host} --port {port}", expected="an address of this machine with a free port",
                         found=reason.lower(), remedy="Choose another with --port.") from error  # fmt: skip
    return listener


def _end(number: int, frame: object) -> None:
    raise SystemExit(128 + number)


def serve(
    model: Model,
    limits: Limits,
    listener: socket.socket,
    host: str,
    known_as: Collection[str] = (),
    ready: Callable[[str], None] = print,
) -> None:
    """Serve the page until it is stopped (Ctrl-C).

    Args:
        model: that finds the nuclei.
        limits: what the page takes.
        listener: from `listen`; closed at the end.
        host: that it was opened for.
        known_as: other names that it is reached by; see `nucleus.app.guard`.
        ready: called with the lines for the user once the page is there.
    """
    app = build_app(model, make_examples(), limits, host, known_as)
    config = uvicorn.Config(
        app,
        http=_Impatient,
        ws="none",
        lifespan="off",
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=limits.connections,
        timeout_graceful_shutdown=2,
        h11_max_incomplete_event_size=HEADER_BYTES,
    )
    shown = f"[{host}]" if ":" in host else host
    ready(f"The page: http://{shown}:{listener.getsockname()[1]} (Ctrl-C ends it)")
    if not is_loopback(host):
        ready(f"WARNING: it listens on {host}, so that everybody who reaches this machine over the network can use it "
              "and see the images of whoever gives away a key. There is no password and no encryption.")  # fmt: skip
    if threading.current_thread() is threading.main_thread():
        # uvicorn shuts down and then raises the signal again, which would end the process before it has tidied up.
        signal.signal(signal.SIGTERM, _end)
    try:
        with scratch_folder():
            uvicorn.Server(config).run(sockets=[listener])
    finally:
        app.state.line.close()
        listener.close()
