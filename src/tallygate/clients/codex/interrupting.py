"""End a turn of Codex by its own way to do so, where an app server runs it: `turn/interrupt` over its control socket.

The screens of several sessions may hang on one server, so no signal ends a turn there. The hook program loads this only
when it is told to; nothing but the standard library is imported. What fails interrupts nothing, and the tool is held.
"""

from __future__ import annotations

import json
import os
import re
import socket
import struct
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

SOCKET = Path("app-server-control") / "app-server-control.sock"
WAIT_S = 3
_MESSAGES_MAX, _MESSAGE_BYTES_MAX = 1000, 2**20
_THREAD = re.compile(r"rollout-[^/\\]*-([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\.jsonl\Z")
_TEXT, _PING, _PONG = 0x1, 0x9, 0xA
_INITIALIZE = {"clientInfo": {"name": "tallygate", "title": "Tallygate", "version": "1"}}


def interrupt_turn(server: int, words: tuple[str, ...], data: bytes, environ: Mapping[str, str]) -> bool:
    """Interrupt the turn that a hook's input is of, in the app server with this number; whether it said yes."""
    turn = turn_of(data)
    if turn is None or not hasattr(socket, "SO_PEERCRED"):
        return False
    with suppress(OSError, ValueError), socket.socket(socket.AF_UNIX) as link:
        link.settimeout(WAIT_S)
        _connect(link, _socket(words, environ))
        peer = link.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        if struct.unpack("3i", peer)[:2] != (server, os.getuid()):
            return False  # the socket of another server
        _upgrade(link)
        _say(link, {"id": 1, "method": "initialize", "params": _INITIALIZE})
        if not _agreed(link, 1):
            return False
        _say(link, {"method": "initialized"})
        _say(link, {"id": 2, "method": "turn/interrupt", "params": turn})
        return _agreed(link, 2)
    return False


def turn_of(data: bytes) -> dict[str, str] | None:
    """Thread and turn of a hook's input; a subagent's thread stands in the name of its rollout alone."""
    try:
        told = json.loads(data)
        thread, turn, file = (told.get(name) for name in ("session_id", "turn_id", "transcript_path"))
    except (ValueError, AttributeError, RecursionError):
        return None
    named = _THREAD.search(file) if isinstance(file, str) else None
    thread = named[1] if named else thread
    return {"threadId": thread, "turnId": turn} if isinstance(thread, str) and isinstance(turn, str) else None


def _socket(words: tuple[str, ...], environ: Mapping[str, str]) -> Path:
    for word in words:
        place = word.removeprefix("--listen=").removeprefix("unix://")
        if place and "unix://" in word:
            return Path(place)
    return Path(environ.get("CODEX_HOME") or f"{environ.get('HOME', '')}/.codex") / SOCKET


def _connect(link: socket.socket, place: Path) -> None:
    """Connect by way of the folder: the whole name may be longer than the 107 bytes that a socket's may have."""
    folder = os.open(place.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        link.connect(f"/proc/self/fd/{folder}/{place.name}")
    finally:
        os.close(folder)


def _upgrade(link: socket.socket) -> None:
    """Turn a connection into a WebSocket. The key only shows that the other side speaks it."""
    link.sendall(
        b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Key: dGFsbHlnYXRlIHNwZWFrcw==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        # One byte at a time: what stands behind the head is the first message, and belongs to whoever reads those.
        piece = link.recv(1)
        if not piece or len(head) > 65536:
            raise OSError("no answer to the upgrade")
        head += piece
    if b" 101 " not in head.partition(b"\r\n")[0]:
        raise OSError("the upgrade was refused")


def _say(link: socket.socket, message: Mapping[str, Any]) -> None:
    _frame(link, _TEXT, json.dumps(message).encode())


def _frame(link: socket.socket, kind: int, body: bytes) -> None:
    """Send one frame; a client's are masked, and with zeros they are as they were."""
    size = len(body)
    length = bytes([0x80 | size]) if size < 126 else b"\xfe" + struct.pack(">H", size)
    link.sendall(bytes([0x80 | kind]) + length + bytes(4) + body)


def _agreed(link: socket.socket, number: int) -> bool:
    """Whether a request was answered with a result; what the server tells besides is passed over."""
    for text in _messages(link):
        answer = json.loads(text)
        if isinstance(answer, dict) and answer.get("id") == number and "method" not in answer:
            return "result" in answer
    return False


def _messages(link: socket.socket) -> Iterator[bytes]:
    whole = b""
    for _ in range(_MESSAGES_MAX):
        first, second = _received(link, 2)
        size = second & 0x7F
        # Frames as RFC 6455 has them: 126 and 127 say that the size follows, in two bytes or in eight.
        if size > 125:
            size = int.from_bytes(_received(link, 2 if size == 126 else 8), "big")
        if size + len(whole) > _MESSAGE_BYTES_MAX:
            raise OSError("a message is too long")
        body, kind = _received(link, size), first & 0xF
        if kind == _PING:
            _frame(link, _PONG, body)
        # What is neither text nor its continuation says nothing of a request.
        if kind > _TEXT + 1:
            continue
        whole += body
        if first & 0x80:
            yield whole
            whole = b""


def _received(link: socket.socket, size: int) -> bytes:
    got = b""
    while len(got) < size:
        piece = link.recv(size - len(got))
        if not piece:
            raise OSError("the server went away")
        got += piece
    return got
