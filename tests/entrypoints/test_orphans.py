"""A server whose client has died ends, also where another process holds its end of the pipe."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from contextlib import suppress

import pytest
from bench.wire import environment

from tallygate.entrypoints.mcp_server import streams
from tallygate.entrypoints.mcp_server.streams import Answers, Lines

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="pipes and parents")

PING = b'{"jsonrpc":"2.0","id":1,"method":"ping"}\n'


@pytest.fixture
def pipes():
    """A client's two pipes, whose ends this process holds as well."""
    ends = [*os.pipe(), *os.pipe()]
    yield ends
    for end in ends:
        os.close(end)


def lines_of(pipes):
    return Lines(pipes[0], Answers(pipes[3]))


def test_reading_ends_when_the_parent_is_gone_and_nothing_more_is_heard(monkeypatch, pipes):
    monkeypatch.setattr(streams, "ORPHAN_SILENCE_S", 0)
    monkeypatch.setattr(streams.os, "getppid", lambda: streams.PARENT + 1)

    async def heard():
        return [line async for line in lines_of(pipes)]

    assert asyncio.run(heard()) == []


# whose child the server is at each look, whether something is heard between looks -> whether reading ends
@pytest.mark.parametrize(
    ("parents", "speaks", "ends"),
    [
        ([0, 0, 0, 1], False, True),
        ([1], False, True),
        ([1], True, False),  # a launcher left, and its client goes on
        ([0, 0, 0], False, False),
    ],
)
def test_only_silence_after_the_end_of_the_parent_ends_reading(monkeypatch, pipes, parents, speaks, ends):
    seen = iter(parents)
    lines = lines_of(pipes)

    class Over(Exception):
        """The looks of this test are through."""

    def parent():
        try:
            return streams.PARENT + next(seen)
        except StopIteration:
            raise Over from None

    async def later(_):
        lines._heard += speaks

    async def watched():
        reader = asyncio.StreamReader()
        with suppress(Over):
            await lines._until_orphaned(reader)
        return reader.at_eof()

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
