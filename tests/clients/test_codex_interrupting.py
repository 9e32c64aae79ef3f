"""A turn that Codex's app server is asked to interrupt: which turn, which server, and what it is told in which form."""

from __future__ import annotations

import json
import os
import socket
import struct
import threading
from contextlib import suppress
from pathlib import Path

import pytest

from tallygate.clients.codex.interrupting import SOCKET, interrupt_turn, turn_of

THREAD, CHILD = "0b5c9d9e-0000-4000-8000-000000000001", "0b5c9d9e-0000-4000-8000-000000000002"
HOOK = {"session_id": THREAD, "turn_id": "turn-1", "transcript_path": f"/h/rollout-2026-11-30T08-00-00-{THREAD}.jsonl"}
TURN = {"threadId": THREAD, "turnId": "turn-1"}


class AppServer(threading.Thread):
    """A server of the test's own: it reads masked frames, and answers as it is told to."""

    def __init__(self, place, *, answers, status=b"101 Switching Protocols"):
        super().__init__(daemon=True)
        place.parent.mkdir(parents=True, exist_ok=True)
        self.answers, self.status, self.heard = answers, status, []
        self.socket = socket.socket(socket.AF_UNIX)
        here = os.open(place.parent, os.O_RDONLY)
        self.socket.bind(f"/proc/self/fd/{here}/{place.name}")
        os.close(here)
        self.socket.listen()
        self.start()

    def run(self):
        with self.socket:
            link, _ = self.socket.accept()
        with link, link.makefile("rb") as stream, suppress(ConnectionError):
            while stream.readline() not in (b"\r\n", b""):
                pass
            link.sendall(b"HTTP/1.1 " + self.status + b"\r\nUpgrade: websocket\r\n\r\n")
            while head := stream.read(2):
                size = head[1] & 0x7F
                size = size if size < 126 else struct.unpack(">H", stream.read(2))[0]
                mask, body = stream.read(4), stream.read(size)
                assert head[1] & 0x80, "a client masks what it says"
                body = bytes(each ^ mask[at % 4] for at, each in enumerate(body))
                if head[0] & 0xF != 0x1:
                    self.heard.append(head[0] & 0xF)
                    continue
                message = json.loads(body)
                self.heard.append(message["method"])
                for frame in self.answers(message):
                    link.sendall(frame)


def frame(message, *, kind=0x81, cut=None):
    body = message if isinstance(message, bytes) else json.dumps(message).encode()
    if cut is not None:
        return frame(body[:cut], kind=0x01) + frame(body[cut:], kind=0x80)
    size = bytes([len(body)]) if len(body) < 126 else b"\x7e" + struct.pack(">H", len(body))
    return bytes([kind]) + size + body


def agreeing(message):
    """Answers with what else a server tells between, a ping, a long message and one in two pieces."""
    if message["method"] == "initialize":
        yield frame({"id": 1, "result": {"userAgent": "codex" * 100}})
    if message["method"] == "turn/interrupt":
        yield frame({"method": "remoteControl/status/changed", "params": {}})
        yield frame(b"still there?", kind=0x89)
        yield frame({"id": 2, "method": "approval", "params": {}})
        yield frame({"id": 2, "result": {}} if message["params"] == TURN else {"id": 2, "error": {}}, cut=5)


def refusing(message):
    yield frame({"id": message["id"], "error": {"code": -32600}})


@pytest.fixture
def home(tmp_path):
    return {"CODEX_HOME": str(tmp_path)}


def ask(home, place=None, *, server=None, hook=None, **options):
    there = AppServer(place or Path(home["CODEX_HOME"]) / SOCKET, **options)
    words = ("codex", "app-server", "--listen", "unix://" if place is None else f"unix://{place}")
    data = json.dumps(HOOK if hook is None else hook).encode()
    done = interrupt_turn(os.getpid() if server is None else server, words, data, home)
    there.join(10)
    return done, there.heard


def test_the_turn_of_the_hook_is_interrupted_where_its_server_agrees(home):
    done, heard = ask(home, answers=agreeing)
    assert done
    assert heard == ["initialize", "initialized", "turn/interrupt", 0xA]


def test_a_socket_that_the_server_was_told_to_listen_on_is_taken(home, tmp_path):
    assert ask(home, tmp_path / "own.sock", answers=agreeing)[0]


def test_a_socket_may_lie_deep(home, tmp_path):
    assert ask(home, tmp_path / ("deep" * 30) / "own.sock", answers=agreeing)[0]


def test_the_socket_of_another_process_is_told_nothing(home):
    done, heard = ask(home, server=os.getppid(), answers=agreeing)
    assert (done, heard) == (False, [])


def test_another_turn_is_none_of_it(home):
    assert not ask(home, hook={**HOOK, "turn_id": "turn-2"}, answers=agreeing)[0]


@pytest.mark.parametrize(
    "options",
    [
        {"answers": refusing},
        {"answers": agreeing, "status": b"404 Not Found"},
        {"answers": lambda _: [frame(b"no json")]},
        {"answers": lambda _: [b"\x81\x7f" + b"\xff" * 8]},
        {"answers": lambda _: [frame(b"", kind=0x88)] * 1001},
    ],
    ids=["an error", "no upgrade", "no json", "too long", "no end"],
)
def test_a_server_that_does_not_agree_interrupts_nothing_and_raises_nothing(home, options):
    assert not ask(home, **options)[0]


def test_where_nobody_listens_nothing_is_interrupted(home):
    assert not interrupt_turn(os.getpid(), ("codex", "app-server"), json.dumps(HOOK).encode(), home)


@pytest.mark.parametrize(
    ("told", "turn"),
    [
        (HOOK, TURN),
        ({**HOOK, "transcript_path": f"/h/rollout-2026-11-30T08-00-00-{CHILD}.jsonl"}, {**TURN, "threadId": CHILD}),
        ({"session_id": THREAD, "turn_id": "turn-1"}, TURN),
        ({"session_id": THREAD}, None),
        ({"session_id": 5, "turn_id": "turn-1"}, None),
        ([], None),
        ("", None),
    ],
)
def test_a_turn_is_named_by_its_thread_which_in_a_subagent_is_its_own(told, turn):
    assert turn_of(json.dumps(told).encode()) == turn
