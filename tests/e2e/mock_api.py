"""A model API on loopback: it plays scripted turns, tells conversations apart, and keeps the bill of what it served."""

from __future__ import annotations

import gzip
import json
import re
import select
import socket
import struct
import sys
import threading
import time
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, fields, replace
from decimal import Decimal
from functools import reduce
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from tests.e2e.wire import APIS, Speech, Tokens, Turn, new_id

HOLD_SECONDS = 60
POLL_SECONDS = 0.01
# Dollars per million tokens, written down from the providers' pages for the models that the tests use, and so
# independent of the price book that is under test.
PRICES: Mapping[str, Mapping[str, str]] = {
    "claude-sonnet-4-6": {
        "fresh": "3", "cache_read": "0.30", "cache_write_5m": "3.75", "cache_write_1h": "6", "output": "15",
    },
    "claude-haiku-4-5": {
        "fresh": "1", "cache_read": "0.10", "cache_write_5m": "1.25", "cache_write_1h": "2", "output": "5",
    },
    "gpt-5.1-codex": {"fresh": "1.25", "cache_read": "0.125", "output": "10"},
    "gpt-4.1": {"fresh": "2", "cache_read": "0.50", "output": "8"},
    "gemini-2.5-pro": {"fresh": "1.25", "cache_read": "0.125", "output": "10"},
    "gemini-2.5-flash": {"fresh": "0.30", "cache_read": "0.03", "output": "2.50"},
    "gemini-2.5-flash-lite": {"fresh": "0.10", "cache_read": "0.01", "output": "0.40"},
}  # fmt: skip

COMPACTION = re.compile(r"create a detailed summary|CONTEXT CHECKPOINT COMPACTION|anchored summary", re.IGNORECASE)
TITLE = re.compile(r"\btitle\b", re.IGNORECASE)
DONE = Turn("All done.", tokens=Tokens(fresh=20, output=4))
SUMMARY = Turn("<summary>What was done so far.</summary>", tokens=Tokens(fresh=900, cache_read=300, output=120))
ASIDE = Turn('{"title": "A title"}', tokens=Tokens(fresh=200, output=7))


@dataclass
class Served:
    """One response as the provider's books have it: a stream that was cut short is billed by what was sent of it."""

    kind: str
    model: str
    tokens: Tokens
    request: Mapping[str, Any]
    number: int
    whole: bool = False
    ended: bool = False

    @property
    def dollars(self) -> Decimal:
        return dollars_of(self.model, self.tokens)


@dataclass
class MockApi:
    """A running server. `main` are the turns of the main agent; `agents` those of others, by a mark in their prompt.

    A conversation whose turns are through gets the `ending`, and so does one that `heeds` these words as soon
    as a tool or the user has said them: as a model does that is told to stop. Calls that a client makes on its own
    account, for a title or a summary, are recognised by what they ask for and answered with `aside` and `summary`.
    """

    main: Iterable[Turn] = ()
    agents: Mapping[str, Iterable[Turn]] = field(default_factory=dict)
    heeds: str | None = None
    ending: Turn = DONE
    aside: Turn = ASIDE
    summary: Turn = SUMMARY
    served: list[Served] = field(default_factory=list)
    strange: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._scripts: dict[str, Iterator[Turn]] = {mark: iter(turns) for mark, turns in self.agents.items()}
        self._scripts["main"] = iter(self.main)
        self._lock = threading.Lock()
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.api = self
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def play(self, *turns: Turn, agent: str = "main") -> None:
        """Go on with these turns."""
        with self._lock:
            self._scripts[agent] = iter(turns)

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def of_kind(self, kind: str) -> list[Served]:
        return [each for each in self.served if each.kind == kind]

    def bill(self, *without: str) -> dict[str, Tokens]:
        """What was served, by model and token class, without responses of some kinds."""
        found: dict[str, Tokens] = {}
        for each in self.served:
            if each.kind in without:
                continue
            name = priced_as(each.model)
            found[name] = _sum(found.get(name, Tokens()), each.tokens)
        return found

    def dollars(self, *without: str) -> Decimal:
        """What was served, in money, without responses of some kinds."""
        return sum((each.dollars for each in self.served if each.kind not in without), Decimal())

    def answer(self, model: str, request: Mapping[str, Any]) -> tuple[Served, Turn]:
        """The next turn of the conversation that a request belongs to, entered into the books."""
        kind = self._kind(request)
        with self._lock:
            if kind == "aside":
                turn = self.aside
            elif kind == "summary":
                turn = self.summary
            elif self.heeds is not None and self.heeds in json.dumps(request.get("messages") or request.get("input")):
                turn = self.ending
            else:
                turn = next(self._scripts[kind], self.ending)
            served = Served(kind, model, turn.tokens, request, len(self.served))
            self.served.append(served)
        return served, turn

    def _kind(self, request: Mapping[str, Any]) -> str:
        asked = _user_texts(request)
        if asked and COMPACTION.search(asked[-1]):
            return "summary"
        if not request.get("tools") and TITLE.search(json.dumps(request)):
            return "aside"
        for mark in self.agents:
            if any(mark in text for text in asked if "<task-notification>" not in text):
                return mark
        return "main"


def dollars_of(model: str, tokens: Tokens) -> Decimal:
    """What these tokens of a model cost."""
    rates = PRICES[priced_as(model)]
    counts = {each.name: getattr(tokens, each.name) for each in fields(Tokens) if each.name != "reasoning"}
    return sum((Decimal(rates[name]) * count for name, count in counts.items() if count), Decimal()) / 1_000_000


def priced_as(model: str) -> str:
    """The price list's name of a model: without its date."""
    return re.sub(r"-\d{8}$", "", model)


def _sum(one: Tokens, other: Tokens) -> Tokens:
    return Tokens(**{each.name: getattr(one, each.name) + getattr(other, each.name) for each in fields(Tokens)})


def total(bill: Mapping[str, Tokens]) -> Tokens:
    """All models of a bill together."""
    return reduce(_sum, bill.values(), Tokens())


def _user_texts(request: Mapping[str, Any]) -> list[str]:
    """What the user's side of a request says, message by message, in any of the APIs' forms."""
    messages = request.get("messages") or request.get("input") or request.get("contents") or []
    if isinstance(messages, str):
        return [messages]
    return ["\n".join(_texts(message)) for message in messages if message.get("role") == "user"]


def _texts(value: Any) -> Iterator[str]:
    match value:
        case str():
            yield value
        case list():
            for each in value:
                yield from _texts(each)
        case dict():
            yield from _texts(value.get("text") or value.get("content") or value.get("parts") or "")


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64
    api: MockApi

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that was killed leaves its connections behind; all else is a fault, and the test has to see it."""
        error = sys.exception()
        if not isinstance(error, OSError):
            self.api.strange.append(repr(error))


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, *_: Any) -> None:
        """Say nothing on the terminal."""

    def do_HEAD(self) -> None:
        self._json({})

    def do_GET(self) -> None:
        self._json({"object": "list", "data": [], "has_more": False})

    def do_POST(self) -> None:
        path = urlsplit(self.path).path
        body = json.loads(self._body() or b"{}")
        speak = next((speak for end, speak in APIS.items() if path.endswith(end)), None)
        if path.endswith(("count_tokens", ":countTokens")):
            self._json({"input_tokens": 100, "totalTokens": 100})
        elif speak is None:
            self.server.api.strange.append(path)
            self._json({"error": {"type": "not_found_error", "message": f"no {path}"}}, 404)
        else:
            named = re.search(r"/models/([^:]+):", path)
            model = named[1] if named else body["model"]
            served, turn = self.server.api.answer(model, body)
            try:
                self._speak(speak(turn, model), turn, served, streamed=body.get("stream") or ":stream" in path)
            finally:
                served.ended = True

    def _speak(self, speech: Speech, turn: Turn, served: Served, *, streamed: bool) -> None:
        if not streamed:
            self._json(speech.whole)
            served.whole = True
            return
        self.send_response(200)
        for name, value in (
            ("content-type", "text/event-stream"),
            ("request-id", new_id("req_")),
            ("connection", "close"),
        ):
            self.send_header(name, value)
        self.end_headers()
        self.close_connection = True
        sent = 0
        try:
            self._say(speech.opening, turn)
            for block in speech.blocks:
                self._say(block, turn)
                sent += 1
            self._wait(turn)
            if turn.cut:
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.connection.close()
                raise ConnectionResetError
            self._say(speech.closing, turn)
            served.whole = True
        except OSError:
            said = max(turn.tokens.output * sent // max(len(speech.blocks), 1), 1)
            served.tokens = replace(turn.tokens, output=said)

    def _say(self, events: list[str], turn: Turn) -> None:
        for each in events:
            self._check_listener()
            self.wfile.write(each.encode())
            self.wfile.flush()
            if turn.gap:
                time.sleep(turn.gap)

    def _wait(self, turn: Turn) -> None:
        until = time.monotonic() + HOLD_SECONDS
        while turn.hold is not None and not turn.hold() and time.monotonic() < until:
            self._check_listener()
            time.sleep(POLL_SECONDS)

    def _check_listener(self) -> None:
        """A client that was killed has closed its end; the first write after that would still be taken."""
        readable, _, _ = select.select([self.connection], [], [], 0)
        if readable and not self.connection.recv(1, socket.MSG_PEEK):
            raise ConnectionResetError

    def _json(self, answer: Mapping[str, Any], status: int = 200) -> None:
        body = json.dumps(answer).encode()
        with suppress(OSError):
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.send_header("request-id", new_id("req_"))
            self.end_headers()
            self.wfile.write(body)

    def _body(self) -> bytes:
        raw = self.rfile.read(int(self.headers.get("content-length", 0)))
        if "chunked" in self.headers.get("transfer-encoding", ""):
            raw = b"".join(self._chunks())
        match self.headers.get("content-encoding"):
            case "gzip":
                return gzip.decompress(raw)
            case "deflate":
                return zlib.decompress(raw)
        return raw

    def _chunks(self) -> Iterator[bytes]:
        while size := int(self.rfile.readline().split(b";")[0], 16):
            yield self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
