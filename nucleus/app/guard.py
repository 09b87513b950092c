"""Who may ask: only the page itself. And what every answer tells the browser to refuse.

A page on another site must not use this server through its visitor's browser. Against a name of theirs that points here
(DNS rebinding), the Host header must be a name of this machine, one that it was told, or an address; against requests
that it sends (cross-site request forgery), Origin must be that host (or a name that it was told, where a server before
it has put in another host), and Sec-Fetch-Site this site.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Collection
from urllib.parse import urlsplit

from starlette.applications import Starlette
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import Message, Receive, Scope, Send

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cache-Control": "no-store",
}
READING = ("GET", "HEAD")
METHODS = (*READING, "POST", "DELETE")


def is_loopback(host: str) -> bool:
    """Whether a name or address is reached from this machine alone."""
    address = _address(host)
    return host.lower() == "localhost" if address is None else address.is_loopback


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


class Guard:
    """Refuses what is not of the page, and adds the headers.

    Args:
        app: the rest.
        host: that the server listens on.
        known_as: names that others reach it by, such as that of a server before it, which adds a password.

    Attributes:
        state: of `app`.
    """

    def __init__(self, app: Starlette, host: str, known_as: Collection[str] = ()) -> None:
        self.app = app
        self.state = app.state
        self.only_loopback = is_loopback(host)
        self.known_as = {name.lower() for name in known_as}
        self.names = {"localhost", host.lower(), *self.known_as}
        if not self.only_loopback:
            self.names |= {socket.gethostname().lower(), socket.getfqdn().lower()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return await self.app(scope, receive, send)
        if scope["type"] != "http":
            return await send({"type": "websocket.close", "code": 1008})

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
                if scope["method"] not in READING:
                    headers["Connection"] = "close"  # there may be a body that nobody reads
            await send(message)

        refused = self._refusal(scope["method"], Headers(scope=scope))
        answer = JSONResponse({"error": refused}, 403) if refused else self.app
        await answer(scope, receive, send_with_headers)

    def _refusal(self, method: str, headers: Headers) -> str:
        """Why a request is refused; empty if it is not."""
        hosts = headers.getlist("host")
        if len(hosts) != 1 or not self._is_ours(hosts[0]):
            return "This page answers only to the address it was started with. Open it by that."
        origins = headers.getlist("origin")
        if not all(self._is_the_page(origin, hosts[0]) for origin in origins):
            return "Only this page itself may ask."
        if method not in READING and headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
            return "Only this page itself may ask."
        return "" if method in METHODS else "This page does not understand the request."

    def _is_the_page(self, origin: str, host: str) -> bool:
        """Whether a request comes from the page itself; a server before it may have put in another host."""
        try:
            parts, own = urlsplit(origin), urlsplit(f"//{host}")
            if parts.netloc.lower() == host.lower():
                return True
            names = [(one.hostname or "").lower() for one in (parts, own)]
            return names[0] in self.known_as and names[1] not in self.known_as
        except ValueError:
            return False

    def _is_ours(self, host: str) -> bool:
        try:
            name = (urlsplit(f"//{host}").hostname or "").lower()
        except ValueError:
            return False
        address = _address(name)
        if address is not None:  # a site's name can be made to point here, but not its address
            return address.is_loopback or not self.only_loopback
        return name in self.names
