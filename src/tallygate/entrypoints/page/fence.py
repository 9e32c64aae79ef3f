"""What is let through to the page: requests of the user's own browser to this very address, and nothing else."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from http import HTTPStatus

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tallygate.entrypoints.page.door import HOST, OPEN, PageDoor

METHODS = frozenset({"GET", "HEAD", "POST"})
BODY_BYTES_MAX = 16 * 1024
# One address takes files: what is larger is imported by the command, which reads it where it lies.
FILES, FILES_BYTES_MAX = "bills", 64 * 1024 * 1024
_FORM, _FILES_FORM = "application/x-www-form-urlencoded", "multipart/form-data"
HEADERS: Mapping[str, str] = {
    "content-security-policy": "default-src 'none'; style-src 'self'; img-src 'self'; script-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    # With none at all a browser would not say whence its forms come.
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-embedder-policy": "require-corp",
    "permissions-policy": "camera=(), geolocation=(), microphone=(), usb=()",
    "cache-control": "no-store",
}


@dataclass(frozen=True, slots=True)
class TurnedAway:
    """Why a request is not answered, in a line."""

    status: HTTPStatus
    why: str


def turned_away(scope: Scope, door: PageDoor) -> TurnedAway | None:
    """Why a request is refused, before anything of the page is asked; None where it may go on.

    A page of another site can send a browser here, or have a name of its own lead here; what it cannot do is to take
    the headers off by which a browser says so.
    """
    headers = _headers(scope["headers"])
    method, path = scope["method"], scope["path"]
    opening = path == OPEN
    if not _is_here(scope):
        return TurnedAway(HTTPStatus.FORBIDDEN, "this page is for this machine alone")
    if headers.get("host") != [f"{HOST}:{door.port}"]:
        return TurnedAway(HTTPStatus.MISDIRECTED_REQUEST, f"this page answers to {HOST}:{door.port} alone")
    if method not in METHODS or (opening and method != "POST"):
        return TurnedAway(HTTPStatus.METHOD_NOT_ALLOWED, "this page is looked at, and takes its own forms")
    # The file that opens the page belongs to no site, and what it brings is the token.
    sites = {"same-origin", "none", *(["cross-site"] if opening else [])}
    if any(site not in sites for site in headers.get("sec-fetch-site", [])):
        return TurnedAway(HTTPStatus.FORBIDDEN, "another site sent this request")
    origins = headers.get("origin", [])
    allowed = {door.origin, *(["null"] if opening else [])}
    if any(origin not in allowed for origin in origins) or (method == "POST" and not opening and len(origins) != 1):
        return TurnedAway(HTTPStatus.FORBIDDEN, "this request does not come from this page")
    takes_files = path in {f"{door.base}{FILES}", f"{door.base}demo/{FILES}"}
    if method == "POST" and (found := _unfit(headers, takes_files=takes_files)) is not None:
        return found
    if opening:
        return None
    if not path.startswith(door.base) or not door.knows("; ".join(headers.get("cookie", []))):
        return TurnedAway(HTTPStatus.FORBIDDEN, "this page is opened by: tallygate dashboard")
    return None


def _unfit(headers: Mapping[str, list[str]], *, takes_files: bool) -> TurnedAway | None:
    """Why what a form brings is not read."""
    kind = headers.get("content-type", [""])[0].partition(";")[0].strip().lower()
    most = FILES_BYTES_MAX if takes_files and kind == _FILES_FORM else BODY_BYTES_MAX
    length = headers.get("content-length", [])
    if "transfer-encoding" in headers or len(length) != 1 or not length[0].isdecimal():
        return TurnedAway(HTTPStatus.LENGTH_REQUIRED, "the length of the form is not told")
    if int(length[0][:12]) > most:
        way = "; in a terminal: tallygate import FILE" if takes_files else ""
        return TurnedAway(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"more than {most:,} bytes{way}")
    if kind != _FORM and not (takes_files and kind == _FILES_FORM):
        return TurnedAway(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "this page takes its own forms")
    return None


def _is_here(scope: Scope) -> bool:
    client = scope.get("client")
    try:
        return client is not None and ipaddress.ip_address(client[0]).is_loopback
    except ValueError:
        return False


def _headers(raw: Iterable[tuple[bytes, bytes]]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, value in raw:
        found.setdefault(name.decode("latin-1").lower(), []).append(value.decode("latin-1"))
    return found


class Fence:
    """Stands before the page: nothing of it runs for a request that is turned away, and every answer has its rules."""

    def __init__(self, inner: ASGIApp, door: PageDoor) -> None:
        self._inner, self._door = inner, door

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        if scope["type"] != "http":
            await self._inner(scope, receive, send)
            return

        async def answered(message: Message) -> None:
            if message["type"] == "http.response.start":
                kept = [(name, value) for name, value in message["headers"] if name.decode() not in HEADERS]
                message["headers"] = [*kept, *((name.encode(), value.encode()) for name, value in HEADERS.items())]
            await send(message)

        refused = turned_away(scope, self._door)
        if refused is None:
            await self._inner(scope, receive, answered)
            return
        body = f"{refused.why}\n".encode()
        sizes = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", str(len(body)).encode())]
        await answered(
            {"type": "http.response.start", "status": refused.status, "headers": [*sizes, (b"connection", b"close")]}
        )
        await answered({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})
