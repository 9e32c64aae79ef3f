"""A server whose client has died ends, also where another process holds its end of the pipe."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace

import pytest
from bench.wire import environment

from tallygate.clients.other_end import OtherEnd, _began
from tallygate.entrypoints.mcp_server import streams
from tallygate.entrypoints.mcp_server.streams import Answers, StdioLines

PARENT = 4_000_000
PING = b'{"jsonrpc":"2.0","id":1,"method":"ping"}\n'


@pytest.fixture
def pipes():
    """A client's two pipes, whose ends this process holds as well."""
    ends = [*os.pipe(), *os.pipe()]
    yield ends
    for end in ends:
        os.close(end)


def other_end_process(pid):
    return OtherEnd(pid, _began(pid))


def lines_of(pipes):
    return StdioLines(pipes[0], Answers(pipes[3]), PARENT)


def test_reading_ends_when_the_parent_is_gone_and_nothing_more_is_heard(monkeypatch, pipes):
    monkeypatch.setattr(streams, "ORPHAN_SILENCE_S", 0)
    monkeypatch.setattr(streams.os, "getppid", lambda: PARENT + 1)

    async def heard():
        return [each async for each in lines_of(pipes).messages()]

    assert asyncio.run(heard()) == []


class Client:
    """The client as it is found at each look, once its launcher has left."""

    def __init__(self, lives):
        self._lives = iter(lives)

    def lives(self):
        return next(self._lives)


# whose child the server is at each look, whether its client lives at those that follow (None: it is not known), in
# which rounds something is heard -> whether reading ends
@pytest.mark.parametrize(
    ("parents", "client", "speaks", "ends"),
    [
        ([0, 0, 0, 1], None, (), True),
        ([1], None, (), True),
        ([1], None, (1,), False),  # a launcher left, and its client goes on
        ([0, 0, 0], None, (), False),
        ([1], [True, True, False], (1,), True),  # and dies later
        ([1], [True, True, True], (1,), False),
        ([1], [True, False, False], (1, 3), True),  # what it had said is still read
        ([0, 1], [], (), True),
        ([0, 0, 1], [True, True, True], (3,), False),
    ],
)
def test_only_silence_after_the_end_of_parent_or_client_ends_reading(monkeypatch, pipes, parents, client, speaks, ends):
    seen, rounds = iter(parents), iter(range(1, 100))
    lines = lines_of(pipes)

    class Over(Exception):
        """The looks of this test are through."""

    def parent():
        try:
            return PARENT + next(seen)
        except StopIteration:
            raise Over from None

    async def later(_):
        lines._heard += next(rounds) in speaks

    async def watched():
        reader = asyncio.StreamReader()
        with suppress(Over, RuntimeError):
            await lines._until_orphaned(reader)
        return reader.at_eof()

    monkeypatch.setattr(streams, "other_end", lambda *_: None if client is None else Client(client))
    monkeypatch.setattr(streams.os, "getppid", parent)
    monkeypatch.setattr(streams.asyncio, "sleep", later)
    assert asyncio.run(watched()) is ends


CLIENT = """
import subprocess, sys
server = subprocess.Popen([sys.executable, "-c", sys.argv[1]], stdin=int(sys.argv[2]), stdout=int(sys.argv[3]))
print("started", flush=True)
sys.stdin.read()
"""
SERVER = """
from tallygate.entrypoints.mcp_server import streams
streams.ORPHAN_SILENCE_S = 0.2
from tallygate.__main__ import main
main()
"""


@pytest.mark.slow
def test_a_server_whose_client_is_killed_ends_while_somebody_else_holds_its_pipe(tmp_path):
    (tmp_path / "home").mkdir(mode=0o700)
    reading, asking = os.pipe()
    answers, writing = os.pipe()
    program = "import sys; sys.argv[1:] = ['serve']\n" + SERVER
    client = subprocess.Popen(
        [sys.executable, "-c", CLIENT, program, str(reading), str(writing)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        pass_fds=(reading, writing),
        env=environment(tmp_path / "home"),
    )
    with client, open(answers, "rb", closefd=False) as told:
        os.close(reading)
        os.close(writing)
        assert client.stdout.readline() == b"started\n"
        os.write(asking, PING)
        assert b'"result"' in told.readline()
        client.send_signal(signal.SIGKILL)
        assert told.read() == b"", "the server has closed its end, and said nothing more"
    os.close(asking)
    os.close(answers)


ASKED = "import os; from tallygate.clients.other_end import other_end; print(other_end(0, os.getppid()))"
LAUNCHER = "import subprocess, sys; subprocess.run([sys.executable, '-c', sys.argv[1]])"
NEITHER = "import subprocess, sys; subprocess.run([sys.executable, '-c', sys.argv[1]], stdin=subprocess.DEVNULL)"


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not tell")
@pytest.mark.parametrize("kind", ["pipe", "socket"])
@pytest.mark.parametrize(("words", "known"), [([ASKED], True), ([LAUNCHER, ASKED], True), ([NEITHER, ASKED], False)])
def test_the_client_is_told_from_what_launched_the_server(tmp_path, kind, words, known):
    if kind == "socket":
        ours, theirs = (end.detach() for end in socket.socketpair())
    else:
        theirs, ours = os.pipe()
    said = subprocess.run(
        [sys.executable, "-c", *words], stdin=theirs, capture_output=True, check=True, env=environment(tmp_path)
    )
    me = other_end_process(os.getpid())
    assert said.stdout.decode().strip() == (str(me) if known else "None")
    assert me.lives()
    assert not replace(me, began="1").lives(), "another process with its number"
    os.close(ours)
    os.close(theirs)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not tell")
def test_a_process_that_ended_does_not_live_even_while_nobody_has_taken_note():
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        found = other_end_process(process.pid)
        assert found.lives()
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert not found.lives()
