"""Standard input and output for the protocol, read and written on the event loop itself.

The SDK hands each read, write and flush to a worker thread; for an answer that takes less than a millisecond those
changes of thread are half of it. Pipes and sockets, which is what clients give, need none of them.
"""

from __future__ import annotations

import asyncio
import json
import os
import select
import stat
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

import anyio
import anyio.to_thread
from mcp.server import MCPServer
from mcp.server.stdio import stdio_server

from tallygate import PARENT
from tallygate.entrypoints.mcp_server import requests

if TYPE_CHECKING:
    from anyio import AsyncFile

# A request is small; what is longer than this is no request, and must not fill the memory.
LINE_BYTES_MAX = 16 * 2**20
# So much a pipe takes in one piece and at once, if it takes anything.
_PIPE_PIECE = 4096
# How long silence must follow the end of the process that started this one.
ORPHAN_SILENCE_S = 12
TOO_LONG = {
    "jsonrpc": "2.0",
    "id": None,
    "error": {"code": -32600, "message": f"A request has at most {LINE_BYTES_MAX} bytes."},
}


def run(server: MCPServer) -> None:
    """Serve one client over standard input and output until it closes its end."""
    if _suitable(0):
        anyio.run(_serve, server)
    else:
        server.run("stdio")


def _suitable(descriptor: int) -> bool:
    if sys.platform == "win32":
        return False
    try:
        mode = os.fstat(descriptor).st_mode
    except OSError:
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)


async def _serve(server: MCPServer) -> None:
    with _claimed() as (read_from, write_to):
        out = Answers(write_to)
        lines = cast("AsyncFile[str]", Lines(read_from, out))
        async with stdio_server(lines, cast("AsyncFile[str]", out)) as (reading, writing):
            low = server._lowlevel_server  # noqa: SLF001  # as the SDK's own way of serving does
            await low.run(reading, writing, low.create_initialization_options())


@contextmanager
def _claimed() -> Iterator[tuple[int, int]]:
    """Private copies of the two ends; whatever else prints or reads in this process meets stderr and nothing."""
    read_from, write_to = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    try:
        yield read_from, write_to
    finally:
        os.dup2(write_to, 1)
        for descriptor in (read_from, write_to):
            os.close(descriptor)


class Lines:
    """Lines of a pipe as they come; what is no message is answered here, and none of it is handed on."""

    def __init__(self, descriptor: int, answers: Answers) -> None:
        self._descriptor = descriptor
        self._answers = answers
        self._heard = 0
        self._batches = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        reader = asyncio.StreamReader(limit=LINE_BYTES_MAX)
        end = os.fdopen(self._descriptor, "rb", closefd=False)
        loop = asyncio.get_running_loop()
        transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), end)
        watch = loop.create_task(self._until_orphaned(reader))
        try:
            while True:
                try:
                    line = await reader.readline()
                except ValueError:
                    await self._refuse(TOO_LONG)
                    continue
                if not line:
                    return
                self._heard += 1
                if (version := requests.version_asked(line)) is not None:
                    self._batches = version == requests.BATCHES_IN
                found = requests.sort_out(line, batches=self._batches)
                for refusal in found.refused:
                    await self._refuse(refusal)
                for each in found.onward:
                    yield each
        finally:
            watch.cancel()
            transport.close()

    async def _refuse(self, refusal: dict[str, Any]) -> None:
        await self._answers.send_whole(json.dumps(refusal) + "\n")

    async def _until_orphaned(self, reader: asyncio.StreamReader) -> None:
        """End the reading when the client has died although another process holds its end of the pipe.

        A parent that goes is not always the client: launchers leave at once. So silence has to follow.
        """
        while True:
            heard = self._heard
            orphan = os.getppid() != PARENT or (PARENT == 1 and not heard)
            await asyncio.sleep(ORPHAN_SILENCE_S)
            if orphan and self._heard == heard:
                reader.feed_eof()
                return
            if orphan:
                return


class Answers:
    """Writes whole answers: at once where the pipe takes them, else on a thread, so that reading goes on."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._held: list[str] = []
        self._poll = select.poll()
        self._poll.register(descriptor, select.POLLOUT)

    async def write(self, text: str) -> None:
        """Keep a piece of an answer."""
        self._held.append(text)

    async def flush(self) -> None:
        """Send what was kept."""
        data = "".join(self._held).encode()
        self._held.clear()
        if len(data) <= _PIPE_PIECE and self._takes():
            os.write(self._descriptor, data)
        else:
            await anyio.to_thread.run_sync(self._send, data)

    async def send_whole(self, text: str) -> None:
        """Send one answer of ours between those that are kept in pieces."""
        await anyio.to_thread.run_sync(self._send, text.encode())

    def _takes(self) -> bool:
        return any(event & select.POLLOUT for _, event in self._poll.poll(0))

    def _send(self, data: bytes) -> None:
        view: Any = memoryview(data)
        while view:
            view = view[os.write(self._descriptor, view) :]
