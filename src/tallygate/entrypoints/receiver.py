"""Hears what clients tell of their requests: OTLP over HTTP as JSON, on loopback, from this user's own clients.

One receiver serves all sessions of a user: whoever has the port writes into the ledger they share, and the others
wait for it to be free.
"""

from __future__ import annotations

import contextlib
import hmac
import http.server
import json
import logging
import selectors
import socket
import socketserver
import threading
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from tallygate.core.errors import InvalidArgument, LedgerUnavailable
from tallygate.core.regex import regex

log = logging.getLogger("tallygate.telemetry")

HOST = "127.0.0.1"
TOKEN_HEADER = "x-tallygate-token"
BODY_BYTES_MAX = 8 * 1024 * 1024
AT_ONCE_MAX = 32
# A connection that has not said all it has to say by then is closed, however it spends its time.
WAIT_MS = 10_000
TRY_EVERY_S = 1
_LOGS = "/v1/logs"
_PASSED_OVER = ("/v1/traces", "/v1/metrics")
_LENGTH = regex(r"\d{1,12}")
_CHUNK_SIZE = regex(rb"([0-9A-Fa-f]{1,7})(?:;[^\r\n]*)?\r?\n")
_GZIP = 31


@dataclass
class Receiver:
    """The ear of one server. `take` stores a payload; `listening` is set while this server has the port."""

    take: Callable[[bytes], object]
    port: int
    token: str
    wait_ms: int = WAIT_MS
    listening: threading.Event = field(default_factory=threading.Event)

    def run(self, stop: threading.Event) -> None:
        """Serve while this server has the port, and try for it while another has it; ends when `stop` is set."""
        while not stop.is_set():
            try:
                server = _Server(self, stop)
            except OSError:
                stop.wait(TRY_EVERY_S)
                continue
            try:
                with server:
                    self.listening.set()
                    server.serve()
            except Exception:
                log.exception("The telemetry receiver failed; it starts again.")
                stop.wait(TRY_EVERY_S)
            finally:
                self.listening.clear()


class _Server(socketserver.ThreadingMixIn, socketserver.TCPServer):
    """Takes a bounded number of connections at once, each for a bounded time."""

    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True
    allow_reuse_port = False
    request_queue_size = 64
    timeout = 0

    def __init__(self, receiver: Receiver, stop: threading.Event) -> None:
        self.receiver = receiver
        self._stop = stop
        self._since: dict[socket.socket, int] = {}
        self._free = threading.BoundedSemaphore(AT_ONCE_MAX)
        super().__init__((HOST, receiver.port), _Handler)

    def serve(self) -> None:
        """Take connections until told to stop; nothing wakes it while there is none."""
        bell, ringer = socket.socketpair()
        with bell, ringer, selectors.DefaultSelector() as ready:
            ready.register(self, selectors.EVENT_READ)
            ready.register(bell, selectors.EVENT_READ)

            def ring() -> None:
                self._stop.wait()
                with contextlib.suppress(OSError):  # whoever stops may have closed the pair meanwhile
                    ringer.send(b"!")

            threading.Thread(target=ring, daemon=True).start()
            while not self._stop.is_set():
                ready.select(min(self.receiver.wait_ms, 1_000) / 1000 if self._since else None)
                self.handle_request()
                # Connections whose time is up are closed: an exporter that says nothing would keep its place for ever.
                oldest = time.monotonic_ns() - self.receiver.wait_ms * 1_000_000
                for request, since in list(self._since.items()):
                    if since < oldest:
                        with contextlib.suppress(OSError):  # it may have ended by itself
                            request.shutdown(socket.SHUT_RDWR)

    def get_request(self) -> tuple[socket.socket, Any]:
        try:
            return super().get_request()
        except OSError:
            self._stop.wait(0.1)  # no more files may be open now: asking again at once would only take time
            raise

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self._free.acquire(blocking=False):
            self.shutdown_request(request)
            return
        self._since[request] = time.monotonic_ns()
        try:
            super().process_request(request, client_address)
        except BaseException:
            self._done(request)
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._done(request)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002  # as the base class has it
        log.debug("A connection of an exporter broke off.", exc_info=True)  # noqa: LOG014  # called while one is handled

    def _done(self, request: Any) -> None:
        if self._since.pop(request, None) is not None:
            self._free.release()


class _Refused(Exception):  # an answer, not a failure
    def __init__(self, status: HTTPStatus, why: str) -> None:
        super().__init__(why)
        self.status = status


class _Handler(http.server.BaseHTTPRequestHandler):
    """Answers one request of a connection, then closes it: a waiting exporter holds nobody."""

    server: _Server
    protocol_version = "HTTP/1.1"
    server_version = "tallygate"
    sys_version = ""

    def setup(self) -> None:
        super().setup()
        self.connection.settimeout(self.server.receiver.wait_ms / 1000)

    def do_POST(self) -> None:
        """Take one request of an exporter. Nothing it holds can stop the receiver."""
        try:
            self._take()
        except _Refused as refused:
            self._answer(refused.status, {"message": str(refused)})
        except InvalidArgument as error:
            self._answer(HTTPStatus.BAD_REQUEST, {"message": error.message})
        except LedgerUnavailable as error:
            log.warning("Telemetry could not be stored, its sender tries again: %s", error)
            self._answer(HTTPStatus.SERVICE_UNAVAILABLE, {"message": "the ledger cannot be written now"})
        except OSError:
            self.close_connection = True
        except Exception:
            log.exception("Telemetry could not be taken in.")
            self._answer(HTTPStatus.INTERNAL_SERVER_ERROR, {"message": "a fault of the program"})
        else:
            self._answer(HTTPStatus.OK, {"partialSuccess": {}})

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:  # noqa: ARG002
        """Answer what the base class refuses, without repeating what was sent."""
        status = HTTPStatus(code)
        self._answer(status, {"message": status.phrase})

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        log.debug(format, *args)

    def _take(self) -> None:
        # A page in a browser must not get through, which says whence it comes or which name it asked for; nor another
        # user of this machine, who cannot read the token.
        port = self.server.receiver.port
        hosts = {f"{name}{rest}" for name in (HOST, "localhost") for rest in ("", f":{port}")}
        if self.headers.get("Origin") is not None or (self.headers.get("Host") or "").lower() not in hosts:
            raise _Refused(HTTPStatus.FORBIDDEN, "this address is for local programs alone")
        given = (self.headers.get(TOKEN_HEADER) or "").encode("utf-8", "replace")
        if not hmac.compare_digest(given, self.server.receiver.token.encode()):
            raise _Refused(HTTPStatus.UNAUTHORIZED, f"the header {TOKEN_HEADER} is missing or is not this user's")
        if self.path in _PASSED_OVER:
            self._body()
            return
        if self.path != _LOGS:
            raise _Refused(HTTPStatus.NOT_FOUND, f"only {_LOGS} is received here")
        if self.headers.get_content_type() != "application/json":
            raise _Refused(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "only JSON is received here: set the protocol http/json")
        self.server.receiver.take(self._unpacked(self._body()))

    def _answer(self, status: HTTPStatus, said: dict[str, Any]) -> None:
        self.close_connection = True
        body = json.dumps(said).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)
        if status is not HTTPStatus.OK:
            # Let a sender finish that was refused early: closed on what it still sends, it loses the answer.
            self.connection.shutdown(socket.SHUT_WR)
            self.connection.settimeout(1)
            left = BODY_BYTES_MAX
            while left > 0 and (part := self.connection.recv(65_536)):
                left -= len(part)

    def _body(self) -> bytes:
        lengths = self.headers.get_all("Content-Length", [])
        # Two lengths that differ are how one request is smuggled inside another: none of both is believed.
        if self.headers.get("Transfer-Encoding") is not None:
            if lengths or self.headers["Transfer-Encoding"].strip().lower() != "chunked":
                raise _Refused(HTTPStatus.BAD_REQUEST, "the length of the body is told in two ways")
            return self._chunks()
        if not lengths:
            raise _Refused(HTTPStatus.LENGTH_REQUIRED, "the length of the body is not told")
        if len(lengths) > 1 or not _LENGTH.fullmatch(lengths[0].strip()):
            raise _Refused(HTTPStatus.BAD_REQUEST, "the length of the body is no number")
        length = int(lengths[0])
        if length > BODY_BYTES_MAX:
            raise _Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"more than {BODY_BYTES_MAX:,} bytes")
        body = self.rfile.read(length)
        if len(body) < length:
            raise _Refused(HTTPStatus.BAD_REQUEST, "the body broke off")
        return body

    def _chunks(self) -> bytes:
        parts: list[bytes] = []
        held = 0
        while True:
            head = _CHUNK_SIZE.fullmatch(self.rfile.readline(256))
            if head is None:
                raise _Refused(HTTPStatus.BAD_REQUEST, "a chunk of the body has no length")
            size = int(head[1], 16)
            held += size
            if held > BODY_BYTES_MAX or len(parts) > BODY_BYTES_MAX // 64:
                raise _Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"more than {BODY_BYTES_MAX:,} bytes")
            if not size:
                return b"".join(parts)  # what may follow is not read: the connection ends with the answer
            parts.append(self.rfile.read(size))
            if len(parts[-1]) < size or self.rfile.readline(4) not in {b"\r\n", b"\n"}:
                raise _Refused(HTTPStatus.BAD_REQUEST, "the body broke off")

    def _unpacked(self, body: bytes) -> bytes:
        """The payload; of packed ones no more is unpacked than may be sent plainly."""
        packing = (self.headers.get("Content-Encoding") or "identity").strip().lower()
        if packing == "identity":
            return body
        if packing != "gzip":
            raise _Refused(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "only gzip is unpacked here")
        unpacker = zlib.decompressobj(_GZIP)
        try:
            # One byte more than is taken tells that there is more, whatever a small body would unpack to.
            payload = unpacker.decompress(body, BODY_BYTES_MAX + 1)
        except zlib.error:
            raise _Refused(HTTPStatus.BAD_REQUEST, "the body is not gzip") from None
        if len(payload) > BODY_BYTES_MAX:
            raise _Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"more than {BODY_BYTES_MAX:,} bytes unpacked")
        if not unpacker.eof:
            raise _Refused(HTTPStatus.BAD_REQUEST, "the body broke off")
        return payload
