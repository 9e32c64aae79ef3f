"""A client that closes its end has the answers to what it had asked before the server leaves."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile

import anyio
import pytest
from bench.wire import ERAS, HANDSHAKE_ERA, MODERN_ERA, SERVE, environment
from mcp.shared.message import SessionMessage
from mcp.types import JSONRPCError, JSONRPCNotification, JSONRPCRequest, JSONRPCResponse

from tallygate.entrypoints.mcp_server import streams
from tallygate.entrypoints.mcp_server.streams import Answers, Asking, Unanswered

CALLS = 120
BATCHES_ERA = "2025-03-26"


def asked(era):
    """A run of requests as a client writes them that closes its end at once: on the loop, on threads, in a batch."""
    meta = {
        "io.modelcontextprotocol/protocolVersion": era,
        "io.modelcontextprotocol/clientInfo": {"name": "print", "version": "1"},
        "io.modelcontextprotocol/clientCapabilities": {},
    }
    more = {"_meta": meta} if era == MODERN_ERA else {}
    call = {"jsonrpc": "2.0", "method": "tools/call"}
    estimate = {"name": "estimate_cost", "arguments": {"model": "gpt-4o", "input_tokens": 1, "output_tokens": 1}}
    start = {"name": "l6e_run_start", "arguments": {"budget_usd": 1, "model": "gpt-4o"}}
    calls = [call | {"id": n, "params": (start if n % 10 == 0 else estimate) | more} for n in range(CALLS)]
    if era == MODERN_ERA:
        return calls
    greeting = {"protocolVersion": era, "capabilities": {}, "clientInfo": {"name": "print", "version": "1"}}
    hello = [
        {"jsonrpc": "2.0", "id": "hello", "method": "initialize", "params": greeting},
        {"jsonrpc": "2.0", "method": "notifications/initialized"},
    ]
    return [*hello, calls] if era == BATCHES_ERA else [*hello, *calls]


def written(messages):
    return b"".join(json.dumps(each).encode() + b"\n" for each in messages)


def ids(output):
    answers = [json.loads(line) for line in output.splitlines()]
    assert all("result" in answer and not answer["result"].get("isError") for answer in answers)
    return sorted(str(answer["id"]) for answer in answers)


def wanted(era):
    return sorted([*map(str, range(CALLS)), *(["hello"] if era != MODERN_ERA else [])])


@pytest.mark.slow
@pytest.mark.parametrize("era", [*ERAS, BATCHES_ERA])
def test_every_request_that_came_before_the_end_of_input_has_its_answer(tmp_path, era):
    done = subprocess.run(SERVE, check=False, input=written(asked(era)), capture_output=True, env=environment(tmp_path))
    assert ids(done.stdout) == wanted(era)
    assert done.returncode == 0


@pytest.mark.slow
def test_a_file_of_requests_is_answered_to_its_end_too(tmp_path):
    with tempfile.TemporaryFile(dir=tmp_path) as file:
        file.write(written(asked(HANDSHAKE_ERA)))
        file.seek(0)
        done = subprocess.run(SERVE, check=False, stdin=file, capture_output=True, env=environment(tmp_path / "home"))
    assert ids(done.stdout) == wanted(HANDSHAKE_ERA)


UNHURRIED = """
import sys
sys.argv[1:] = ["serve"]
from tallygate.entrypoints.mcp_server import streams
streams.LAST_ANSWERS_S, streams.LOOK_MS, streams.LAST_LOOKS = 0.2, 10, 3
from tallygate.__main__ import main
main()
"""


@pytest.mark.slow
def test_a_client_that_takes_no_answer_does_not_keep_the_server(tmp_path):
    argv = [sys.executable, "-c", UNHURRIED]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment(tmp_path)) as server:
        server.stdin.write(written(asked(HANDSHAKE_ERA) * 10))
        server.stdin.close()
        assert server.wait() == 0, "more was to say than the pipe takes, and nothing was read of it"


@pytest.mark.slow
def test_a_client_that_is_gone_with_both_ends_does_not_keep_the_server_and_leaves_no_traceback(tmp_path):
    argv = [sys.executable, "-m", "tallygate", "serve"]
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as out:
        done = subprocess.run(
            argv,
            check=False,
            input=written(asked(HANDSHAKE_ERA)),
            stdout=out,
            stderr=subprocess.PIPE,
            env=environment(tmp_path),
        )
    assert done.returncode == 0
    assert b"Traceback" not in done.stderr


@pytest.mark.slow
def test_a_client_that_reads_no_answers_any_more_ends_the_server_though_it_holds_its_own_end(tmp_path):
    argv, pipe = [sys.executable, "-m", "tallygate", "serve"], subprocess.PIPE
    with subprocess.Popen(argv, stdin=pipe, stdout=pipe, stderr=pipe, env=environment(tmp_path)) as server:
        server.stdin.write(written(asked(HANDSHAKE_ERA)[:1]))
        server.stdin.flush()
        assert server.stdout.readline()
        server.stdout.close()
        server.stdin.write(written(asked(HANDSHAKE_ERA)[1:4]))
        server.stdin.flush()
        assert server.wait() == 0
        assert b"Traceback" not in server.stderr.read()


def test_an_answer_whose_sender_is_cancelled_on_the_way_is_sent_whole_and_before_the_next():
    long, short = "x" * 300_000, "y" * 10

    async def main():
        reading, writing = os.pipe()
        answers = Answers(writing)
        sending = asyncio.ensure_future(answers.send_whole(long + "\n"))
        await asyncio.sleep(0)
        sent = [asyncio.ensure_future(answers.send_whole(text + "\n")) for text in (long, short)]
        await asyncio.sleep(0)
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        with os.fdopen(reading, "rb") as took:
            lines = [await asyncio.to_thread(took.readline) for _ in range(3)]
        await asyncio.gather(*sent)
        os.close(writing)
        return [line.decode().strip() for line in lines]

    assert asyncio.run(main()) == [long, long, short]


def test_who_answers_a_client_that_is_gone_is_told_and_reading_ends():
    ended = []

    async def main():
        reading, writing = os.pipe()
        answers = Answers(writing)
        answers.when_broken = lambda: ended.append(1)
        os.close(reading)
        for size in (10, 300_000):
            with pytest.raises(anyio.BrokenResourceError):
                await answers.send_whole("x" * size + "\n")
        os.close(writing)
        return answers.is_broken

    assert asyncio.run(main())
    assert ended == [1, 1]


def message(kind, **fields):
    return SessionMessage(kind(jsonrpc="2.0", **fields))


def request(number):
    return message(JSONRPCRequest, id=number, method="tools/call")


def answer(number):
    return message(JSONRPCResponse, id=number, result={})


class Ended:
    """A client that has closed its end."""

    async def __anext__(self):
        raise StopAsyncIteration


CANCELLED = {"method": "notifications/cancelled", "params": {"requestId": 1}}


# what was heard and said before the end -> whether it is waited for
@pytest.mark.parametrize(
    ("heard", "said", "waits"),
    [
        ([], [], False),
        ([request(1)], [], True),
        ([request(1)], [answer(1)], False),
        ([request(1), request("1")], [answer(1)], True),
        ([request(1), request(1)], [answer(1)], True),
        ([request(1), request(1)], [answer(1), answer(1)], False),
        ([request(1), message(JSONRPCNotification, **CANCELLED)], [], False),
        ([request(2), message(JSONRPCNotification, **CANCELLED)], [], True),
        ([ValueError("no message")], [], False),
    ],
)
def test_the_input_ends_for_the_server_when_nothing_is_open(heard, said, waits):
    looks = []

    def has_reader():
        looks.append(1)
        return len(looks) < 2

    async def main():
        unanswered = Unanswered(has_reader)
        for each in heard:
            unanswered.heard(each)
        for each in said:
            unanswered.said(each)
        return await unanswered.end()

    assert anyio.run(main) is None
    assert bool(looks) is waits


@pytest.mark.parametrize("late", [False, True])
def test_a_form_that_nobody_can_fill_in_any_more_comes_back_so_that_its_request_goes_on(late):
    form = message(JSONRPCRequest, id="f", method="elicitation/create")

    async def main():
        unanswered = Unanswered(lambda: True)
        asking = Asking(Ended(), unanswered)
        unanswered.heard(request(1))
        async with anyio.create_task_group() as tasks:
            if late:
                tasks.start_soon(put, unanswered)
            else:
                unanswered.said(form)
            came = await asking.receive()
            unanswered.said(answer(1))
            with pytest.raises(anyio.EndOfStream):
                await asking.receive()
        return came.message

    async def put(unanswered):
        unanswered.said(form)

    closed = anyio.run(main)
    assert isinstance(closed, JSONRPCError)
    assert closed.id == "f"


def test_a_request_that_takes_for_ever_is_not_waited_for(monkeypatch):
    monkeypatch.setattr(streams, "LAST_ANSWERS_S", 0)

    async def main():
        unanswered = Unanswered(lambda: True)
        unanswered.heard(request(1))
        return await unanswered.end()

    assert anyio.run(main) is None
