"""Standard input and output for the protocol, read and written on the event loop itself.

The SDK hands each read, write and flush to a worker thread, and each message on to another task; for an answer that
takes less than a millisecond those changes are half of it. Pipes and sockets, which is what clients give, need none of
them: whoever waits for a message reads it, whoever has an answer writes it.

It also breaks off what is in work when the input ends. Here the end is told to it when every request that was read
has its answer: a client in print mode, or a script, closes its end as soon as it has asked.
"""

from __future__ import annotations

import asyncio
import json
import os
import select
import stat
import threading
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Self

import anyio
import anyio.to_thread
from mcp.server import MCPServer
from mcp.server.stdio import stdio_server
from mcp.shared.message import SessionMessage
from mcp.types import (
    CONNECTION_CLOSED,
    ErrorData,
    JSONRPCError,
    JSONRPCNotification,
    JSONRPCRequest,
    JSONRPCResponse,
    RequestId,
)

from tallygate.clients.other_end import other_end
from tallygate.entrypoints.first_answers import FirstAnswers
from tallygate.entrypoints.front import Behind
from tallygate.entrypoints.mcp_server import requests
from tallygate.entrypoints.mcp_server.quick_answers import QuickAnswers
from tallygate.entrypoints.unsettled import Unsettled

# A request is small; what is longer than this is no request, and must not fill the memory.
LINE_BYTES_MAX = 16 * 2**20
# So much a pipe takes in one piece and at once, if it takes anything.
_PIPE_PIECE = 4096
# How long silence must follow the end of the process that started this one.
ORPHAN_SILENCE_S = 12
# How long requests may take that were read before the input ended, and how often is looked whether anybody still
# reads; how many looks in a row an answer waits for a client that has closed its end and takes nothing.
LAST_ANSWERS_S, LOOK_MS, LAST_LOOKS = 30, 200, 150
# How many calls are answered at once before others have a turn.
TURNS = 16
TOO_LONG = {
    "jsonrpc": "2.0",
    "id": None,
    "error": {"code": -32600, "message": f"A request has at most {LINE_BYTES_MAX} bytes."},
}


def run(
    server: MCPServer,
    parent: int,
    behind: Behind | None = None,
    first: FirstAnswers | None = None,
    notes: Unsettled | None = None,
) -> None:
    """Serve one client over standard input and output until it closes its end and has its answers.

    `parent` is the process that started this one, or the front that it stands behind. What the client has asked so far
    is with `first`; `notes` are kept for a front that may have to hand the client over once more.
    """
    if first is not None:
        first.finish()

    async def serve() -> None:
        try:
            mode = os.fstat(0).st_mode
        except OSError:
            mode = 0
        if not (stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)):
            # Files and terminals: what the SDK reads and writes on threads.
            async with stdio_server() as (reading, writing):
                await _serve_between(server, reading, writing, lambda: True)
            return
        with _claimed(behind) as (read_from, write_to):
            out = Answers(write_to, read_from, notes)
            lines = StdioLines(read_from, out, parent, behind, first, notes=notes)
            try:
                quick = QuickAnswers(server)
                await _serve_between(server, lines.messages(), out, out.has_reader, quick=quick, notes=notes)
            finally:
                out.close()

    try:
        anyio.run(serve)
    except* (BrokenPipeError, ConnectionResetError):
        pass  # nobody reads answers any more, so nobody asks


async def _serve_between(
    server: MCPServer,
    reading: Any,
    writing: Any,
    has_reader: Callable[[], bool],
    *,
    quick: QuickAnswers | None = None,
    notes: Unsettled | None = None,
) -> None:
    """Let the SDK serve between two streams; what is `quick` is answered before it hears of it."""
    unanswered = Unanswered(has_reader, notes)
    asking = Asking(reading, unanswered) if quick is None else AskingQuickly(reading, unanswered, quick, writing)
    low = server._lowlevel_server  # noqa: SLF001  # as the SDK's own way of serving does
    await low.run(asking, Answering(writing, unanswered, quick), low.create_initialization_options())


@contextmanager
def _claimed(behind: Behind | None) -> Iterator[tuple[int, int]]:
    """Private copies of the two ends; whatever else prints or reads in this process meets stderr and nothing."""
    read_from, write_to = os.dup(0), os.dup(1)
    if behind is not None:
        behind.ends += (read_from, write_to)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    try:
        yield read_from, write_to
    finally:
        os.dup2(write_to, 1)
        for descriptor in (read_from, write_to):
            (os.close if behind is None else behind.close)(descriptor)


class Unanswered:
    """Requests that were read and have no answer yet, and what the client was asked in turn."""

    def __init__(self, has_reader: Callable[[], bool], notes: Unsettled | None = None) -> None:
        self._has_reader = has_reader
        self._notes = notes
        # A client may use one id twice; each gets an answer.
        self._open: Counter[RequestId] = Counter()
        self._asked: dict[RequestId, None] = {}
        self._news = anyio.Event()
        self._until: Any = None  # a moment of the loop's clock

    def heard(self, item: SessionMessage | Exception) -> None:
        """Note a message of the client's."""
        match None if isinstance(item, Exception) else item.message:
            case JSONRPCRequest(id=number):
                self._open[number] += 1
            case JSONRPCResponse(id=number) | JSONRPCError(id=number) if number is not None:
                self._asked.pop(number, None)
            case JSONRPCNotification(method="notifications/cancelled", params=params):
                number = (params or {}).get("requestId")
                if isinstance(number, int | str):
                    self._over(number)
            case _:
                pass

    def said(self, item: SessionMessage) -> None:
        """Note a message to the client."""
        match item.message:
            case JSONRPCResponse(id=number) | JSONRPCError(id=number) if number is not None:
                self._over(number)
            case JSONRPCRequest(id=number):
                self._asked[number] = None
            case _:
                pass
        if self._until is not None:
            self._news.set()

    def waits_for_one(self, item: SessionMessage | Exception) -> bool:
        """Whether of all requests this one alone has no answer yet."""
        message = None if isinstance(item, Exception) else item.message
        return isinstance(message, JSONRPCRequest) and self._open.total() == 1

    def settled(self, item: SessionMessage | Exception) -> None:
        """Note that a request has its answer."""
        message = None if isinstance(item, Exception) else item.message
        if isinstance(message, JSONRPCRequest):
            self._over(message.id)

    def _over(self, number: RequestId) -> None:
        self._open[number] -= 1
        if self._open[number] <= 0:
            del self._open[number]
        if self._notes is not None:
            self._notes.settled(number)
            if not self._open:
                self._notes.all_settled()

    async def end(self) -> SessionMessage | None:
        """Wait for what is in work after the input ended; None when all is answered, or nobody waits for it.

        What a request asks of the client meanwhile gets no answer any more: that is the message returned, so that the
        request can go on without.
        """
        now = anyio.current_time()
        self._until = self._until or now + LAST_ANSWERS_S
        while self._open and now < self._until and self._has_reader():
            if self._asked:
                number, _ = self._asked.popitem()
                closed = ErrorData(code=CONNECTION_CLOSED, message="The client has closed its end.")
                return SessionMessage(JSONRPCError(jsonrpc="2.0", id=number, error=closed))
            self._news = anyio.Event()
            with anyio.move_on_after(LOOK_MS / 1000):
                await self._news.wait()
            now = anyio.current_time()
        return None


class Asking:
    """What the client says, as the SDK reads it; it ends when what was asked is answered."""

    def __init__(self, reading: Any, unanswered: Unanswered) -> None:
        self._reading = reading
        self._unanswered = unanswered
        self._ended = False

    async def receive(self) -> SessionMessage | Exception:
        """The next message."""
        if not self._ended:
            try:
                item: SessionMessage | Exception = await anext(self._reading)
            except StopAsyncIteration:
                self._ended = True
            else:
                self._unanswered.heard(item)
                return item
        left = await self._unanswered.end()
        if left is None:
            raise anyio.EndOfStream
        return left

    async def aclose(self) -> None:
        """Read no more."""
        await self._reading.aclose()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> SessionMessage | Exception:
        try:
            return await self.receive()
        except anyio.EndOfStream:
            raise StopAsyncIteration from None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()


class AskingQuickly(Asking):
    """The same without the calls that are answered at once."""

    def __init__(self, reading: Any, unanswered: Unanswered, quick: QuickAnswers, answers: Answers) -> None:
        super().__init__(reading, unanswered)
        self._quick = quick
        self._answers = answers
        self._in_a_row = 0

    async def receive(self) -> SessionMessage | Exception:
        while True:
            item = await super().receive()
            # What waits may have been asked before, and what is asked later must not overtake it.
            line = self._quick.answer(item) if self._unanswered.waits_for_one(item) else None
            if line is None:
                self._quick.heard(item)
                return item
            with suppress(anyio.BrokenResourceError):  # then the reading ends, too
                await self._answers.send_whole(line)
            self._unanswered.settled(item)
            self._in_a_row += 1
            if self._in_a_row % TURNS == 0:
                await asyncio.sleep(0)  # whoever asks without a pause leaves the others a turn, too


class Answering:
    """What the client is told, as the SDK writes it."""

    def __init__(self, writing: Any, unanswered: Unanswered, quick: QuickAnswers | None = None) -> None:
        self._writing = writing
        self._unanswered = unanswered
        self._quick = quick

    async def send(self, item: SessionMessage, /) -> None:
        """Hand on one message."""
        await self._writing.send(item)
        self._unanswered.said(item)
        if self._quick is not None:
            self._quick.said(item)

    async def aclose(self) -> None:
        """Write no more."""
        await self._writing.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()


class StdioLines:
    """Messages of a pipe as they come; what is none is answered here, and none of it is handed on."""

    def __init__(
        self,
        descriptor: int,
        answers: Answers,
        parent: int,
        behind: Behind | None = None,
        first: FirstAnswers | None = None,
        *,
        notes: Unsettled | None = None,
    ) -> None:
        self._notes = notes
        self._descriptor = descriptor
        self._parent = parent
        self._behind = behind
        self._first = first
        self._answers = answers
        self._heard = 0
        self._batches = False

    async def messages(self) -> AsyncGenerator[SessionMessage, None]:
        """What comes, until the client has closed its end, is gone, or reads no answers any more."""
        reader = asyncio.StreamReader(limit=LINE_BYTES_MAX)
        kept = () if self._first is None else self._first.kept
        if self._first is not None:
            reader.feed_data(self._first.rest)
        end = os.fdopen(self._descriptor, "rb", closefd=False)
        loop = asyncio.get_running_loop()
        transport: asyncio.ReadTransport
        if self._notes is None:
            transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), end)
        else:
            transport = NotedPipe(self._descriptor, reader, self._notes, loop)
            self._notes.unread = 0 if self._first is None else len(self._first.rest)
        self._answers.when_broken = transport.close
        watch = loop.create_task(self._until_orphaned(reader))
        try:
            for line, is_answered in kept:
                if self._notes is not None and not is_answered:
                    self._notes.read(line)
                for message in await self._sorted_out(line):
                    answer = self._answers.keep_back(message) if is_answered else None
                    yield message
                    if answer is not None:
                        await answer  # the next line may be another request of the same id
            while not self._answers.is_broken:
                try:
                    line = await reader.readline()
                except ValueError:
                    await self._refuse(TOO_LONG)
                    continue
                if not line:
                    return
                if self._notes is not None:
                    self._notes.unread -= len(line)
                    self._notes.read(line)
                for message in await self._sorted_out(line):
                    yield message
        finally:
            watch.cancel()
            transport.close()

    async def _sorted_out(self, line: bytes) -> list[SessionMessage]:
        """The messages in a line; who sent what is none is told so."""
        self._heard += 1
        if (version := requests.version_asked(line)) is not None:
            self._batches = version == requests.BATCHES_IN
        found = requests.sort_out(line, batches=self._batches)
        for refusal in found.refused:
            await self._refuse(refusal)
        return [SessionMessage(each) for each in found.onward]

    async def _refuse(self, refusal: dict[str, Any]) -> None:
        await self._answers.send_whole(json.dumps(refusal) + "\n")
        if self._notes is not None:
            self._notes.settled(refusal.get("id"))

    async def _until_orphaned(self, reader: asyncio.StreamReader) -> None:
        """End the reading when the client has died although another process holds its end of the pipe.

        A parent that goes is not always the client: launchers leave at once. So silence has to follow. Where the client
        goes on, it is watched itself from then on, as far as the system tells who it is.
        """
        client, launched = other_end(self._descriptor, self._parent), True
        while True:
            heard = self._heard
            if launched:
                left = os.getppid() != self._parent if self._behind is None else self._behind.has_left
                orphan = left or (self._parent == 1 and not heard)
            else:
                orphan = client is None or not client.lives()
            await asyncio.sleep(ORPHAN_SILENCE_S)
            if orphan and self._heard == heard:
                self._answers.end()
                reader.feed_eof()
                return
            if orphan and client is None:
                return
            launched = launched and not orphan


class NotedPipe(asyncio.ReadTransport):
    """Reads a client's end through the file that its front has as well: nothing is lost with this process."""

    def __init__(
        self, end: int, reader: asyncio.StreamReader, notes: Unsettled, loop: asyncio.AbstractEventLoop
    ) -> None:
        super().__init__()
        self._end = end
        self._reader = reader
        self._notes = notes
        self._loop = loop
        self._closed = False
        reader.set_transport(self)
        self.resume_reading()

    def pause_reading(self) -> None:
        """Take no more for now."""
        self._loop.remove_reader(self._end)

    def resume_reading(self) -> None:
        """Take what comes."""
        if not self._closed:
            self._loop.add_reader(self._end, self._take)

    def close(self) -> None:
        """Take no more; what waits for a line gets the end."""
        if not self._closed:
            self._closed = True
            self.pause_reading()
            self._reader.feed_eof()

    def is_closing(self) -> bool:
        """Whether nothing comes any more."""
        return self._closed

    def _take(self) -> None:
        try:
            data = self._notes.take(self._end)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data:
            self._reader.feed_data(data)
        else:
            self.close()


class Answers:
    """Writes whole answers: at once where the pipe takes them, else on a thread, so that reading goes on.

    As a stream of the SDK's: who sends waits until the answer is on its way, or gets `BrokenResourceError` where nobody
    reads any more.
    """

    def __init__(self, descriptor: int, asked_on: int | None = None, notes: Unsettled | None = None) -> None:
        self._descriptor = descriptor
        self._notes = notes
        self._asked_on = select.poll()
        if asked_on is not None:
            self._asked_on.register(asked_on, getattr(select, "POLLRDHUP", 0))
        self._poll = select.poll()
        self._poll.register(descriptor, select.POLLOUT)
        self._one_by_one = asyncio.Lock()
        self._over = threading.Event()
        self._is_last = False
        self._kept_back: dict[RequestId, asyncio.Future[None]] = {}
        self.is_broken = False
        self.when_broken: Callable[[], None] = lambda: None  # nobody reads answers any more, so nobody asks

    async def send(self, item: SessionMessage, /) -> None:
        """Send one message."""
        match item.message:
            case JSONRPCResponse(id=number) | JSONRPCError(id=number) if number in self._kept_back:
                answer = self._kept_back.pop(number)
                if not answer.done():
                    answer.set_result(None)
                return
            case _:
                pass
        await self.send_whole(item.message.model_dump_json(by_alias=True, exclude_unset=True) + "\n")

    def keep_back(self, item: SessionMessage) -> asyncio.Future[None] | None:
        """Send no answer to a request: it has one. What comes back is done when the answer has come."""
        if not isinstance(item.message, JSONRPCRequest):
            return None
        answer = self._kept_back[item.message.id] = asyncio.get_running_loop().create_future()
        return answer

    async def send_whole(self, text: str) -> None:
        """Send one line. Who is cancelled meanwhile does not break it off: half a line would spoil the next."""
        data = text.encode()
        try:
            is_free = len(data) <= _PIPE_PIECE and not self._one_by_one.locked()
            if is_free and any(event & select.POLLOUT for _, event in self._poll.poll(0)):
                os.write(self._descriptor, data)
                return

            async def on_a_thread() -> None:
                async with self._one_by_one:
                    if self._notes is not None:
                        self._notes.begins_to_say()
                    await anyio.to_thread.run_sync(self._send, data, abandon_on_cancel=True)
                    if self._notes is not None:
                        self._notes.has_said()

            on_its_way = asyncio.ensure_future(on_a_thread())
            on_its_way.add_done_callback(_seen)
            await asyncio.shield(on_its_way)
        except (BrokenPipeError, ConnectionResetError):
            self.is_broken = True
            self.when_broken()
            raise anyio.BrokenResourceError from None

    async def aclose(self) -> None:
        """Nothing is held back, so nothing is to be done."""

    def has_reader(self) -> bool:
        """Whether anybody holds the other end."""
        return not any(event & (select.POLLERR | select.POLLHUP) for _, event in self._poll.poll(0))

    def end(self) -> None:
        """Nothing more is asked, even where the pipe does not say so."""
        self._is_last = True

    def close(self) -> None:
        """Leave what a client does not take."""
        self._over.set()

    def _send(self, data: bytes) -> None:
        """Piece by piece, each when the pipe takes it: a client that takes nothing must not hold this thread for ever.

        One that goes on asking is waited for. Raises `BrokenPipeError` for one that has closed its end.
        """
        view: Any = memoryview(data)
        poll = select.poll()
        poll.register(self._descriptor, select.POLLOUT)
        looks = 0
        while view and not self._over.is_set():
            if poll.poll(LOOK_MS):
                view = view[os.write(self._descriptor, view[:_PIPE_PIECE]) :]
                looks = 0
            elif self._is_last or self._asked_on.poll(0):
                looks += 1
                if looks >= LAST_LOOKS:
                    raise BrokenPipeError


def _seen(sent: asyncio.Future[None]) -> None:
    """What went wrong while nobody waited any more is not complained about when it is collected."""
    if not sent.cancelled():
        sent.exception()
