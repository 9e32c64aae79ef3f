"""What is answered before the SDK hears of it is what the SDK answers, byte by byte and in the same order."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path

import anyio
import pytest
from bench.wire import ERAS, HANDSHAKE_ERA, MODERN_ERA
from hypothesis import given, settings
from hypothesis import strategies as st
from mcp.shared.message import SessionMessage
from mcp.types import JSONRPCRequest
from tests.world import make_world

from tallygate.entrypoints.mcp_server import requests, streams
from tallygate.entrypoints.mcp_server.quick_answers import QuickAnswers
from tallygate.entrypoints.mcp_server.server import build_server
from tallygate.ledger.port import LedgerBusy

ENVELOPE = {
    "io.modelcontextprotocol/protocolVersion": MODERN_ERA,
    "io.modelcontextprotocol/clientInfo": {"name": "claude-code", "version": "1"},
    "io.modelcontextprotocol/clientCapabilities": {},
}
ASK = {"session_id": "SESSION", "tool_name": "edit"}
STRANGE = 'é\u2028\U0001f600\\"\n\x07'


class Kept(streams.Answers):
    """Answers that are kept, in the order in which they are given."""

    def __init__(self, descriptor):
        super().__init__(descriptor)
        self.lines = []
        self.more = anyio.Event()

    async def send_whole(self, text):
        self.lines.append(text)
        self.more.set()
        self.more = anyio.Event()


class Counted(QuickAnswers):
    def __init__(self, server):
        super().__init__(server)
        self.ids = []

    def answer(self, item):
        line = super().answer(item)
        if line is not None:
            self.ids.append(item.message.id)
        return line


def conversation(era, calls):
    """A client's lines: its greeting, then its calls, whose parameters are given."""
    lines = []
    if era != MODERN_ERA:
        told = {"protocolVersion": era, "capabilities": {}, "clientInfo": {"name": "codex", "version": "1"}}
        lines += [{"jsonrpc": "2.0", "id": "hello", "method": "initialize", "params": told}]
        lines += [{"jsonrpc": "2.0", "method": "notifications/initialized"}]
    for number, params in enumerate(calls):
        lines.append({"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": params})
        meta = params.get("_meta", {})
        if era == MODERN_ERA and isinstance(meta, dict) and "bare" not in meta:
            lines[-1]["params"] = {**params, "_meta": {**ENVELOPE, **meta}}
    return lines


def talk(folder, lines, *, quickly, waiting=True, change=lambda world: world):
    """What comes back in a world of its own, which calls were answered at once, and the events there are then."""
    folder.mkdir()
    world = change(make_world(folder))
    session_id = world.start("100")
    server = build_server(world.rt)
    quick = Counted(server) if quickly else None
    descriptor = os.open(os.devnull, os.O_WRONLY)
    out = []

    async def main():
        kept = Kept(descriptor)
        out.append(kept)

        async def messages():
            asked = 0
            for line in lines:
                text = json.dumps(line).replace("SESSION", session_id)
                for message in requests.sort_out(text.encode(), batches=False).onward:
                    yield SessionMessage(message)
                    asked += isinstance(message, JSONRPCRequest)
                    while waiting and len(kept.lines) < asked:
                        await kept.more.wait()

        await streams._serve_between(server, messages(), kept, lambda: True, quick=quick)

    anyio.run(main)
    os.close(descriptor)
    events = world.events()
    problems = world.problems()
    world.ledger.close()
    assert not problems
    return out[0].lines, [] if quick is None else quick.ids, events


# what a client writes -> whether it is answered at once: in the handshake's era, in the later one
CALLS = [
    ({"name": "l6e_authorize_call", "arguments": ASK}, True, True),
    ({"name": "l6e_authorize_call", "arguments": {**ASK, "tool_name": STRANGE, "actor_name": STRANGE}}, True, True),
    ({"name": "l6e_authorize_call", "arguments": {**ASK, "check_only": True}}, True, True),
    ({"name": "l6e_authorize_call", "arguments": {**ASK, "estimated_tokens": 10**8}}, True, True),
    ({"name": "l6e_authorize_call", "arguments": {**ASK, "estimated_tokens": 1e300}}, True, True),
    ({"name": "l6e_authorize_call", "arguments": {**ASK, "model": "nobody/knows"}}, True, True),
    ({"name": "l6e_authorize_call", "arguments": {"session_id": "none", "tool_name": "x"}}, True, True),
    ({"name": "l6e_authorize_call", "arguments": {"tool_name": [1]}}, True, True),
    ({"name": "l6e_authorize_call", "arguments": {**ASK, "session": 1}}, True, True),
    ({"name": "l6e_authorize_call"}, True, True),
    ({"name": "l6e_authorize_call", "arguments": None}, False, False),
    ({"name": "l6e_authorize_call", "arguments": []}, False, False),
    ({"name": "l6e_authorize_call", "arguments": ASK, "task": {"ttl": 1}}, False, False),
    ({"name": "l6e_authorize_call", "arguments": ASK, "more": 1}, False, False),
    ({"name": "l6e_authorize_call", "arguments": ASK, "_meta": {"progressToken": 7, "x": [1]}}, True, True),
    ({"name": "l6e_authorize_call", "arguments": ASK, "_meta": {"progressToken": "p"}}, True, True),
    ({"name": "l6e_authorize_call", "arguments": ASK, "_meta": {"progressToken": True}}, False, False),
    ({"name": "l6e_authorize_call", "arguments": ASK, "_meta": {"progressToken": 1.5}}, False, False),
    ({"name": "l6e_authorize_call", "arguments": ASK, "_meta": {"progressToken": None}}, False, False),
    ({"name": "l6e_authorize_call", "arguments": ASK, "_meta": {"tallygate/idempotency-key": "k1"}}, True, True),
    ({"name": "l6e_authorize_call", "arguments": ASK, "_meta": {"tallygate/idempotency-key": "k1"}}, True, True),
    ({"name": "l6e_authorize_call", "arguments": ASK, "_meta": {"tallygate/idempotency-key": 5}}, True, True),
    ({"name": "l6e_authorize_call", "arguments": ASK, "_meta": None}, False, False),
    ({"name": "l6e_authorize_call", "arguments": ASK, "_meta": ENVELOPE}, False, True),
    ({"name": "l6e_authorize_call", "arguments": ASK, "_meta": {"io.modelcontextprotocol/other": 1}}, False, True),
    ({"name": "l6e_authorize_call", "arguments": ASK, "_meta": {"bare": 1}}, True, False),
    ({"name": "l6e_authorize_call", "arguments": ASK,
      "_meta": {"io.modelcontextprotocol/clientInfo": {"name": 5}}}, False, False),
    ({"name": "l6e_authorize_call", "arguments": ASK,
      "_meta": {"io.modelcontextprotocol/clientInfo": {"name": "gemini-cli", "version": "2"}}}, False, True),
    ({"name": "l6e_authorize_call", "arguments": ASK,
      "_meta": {"io.modelcontextprotocol/clientCapabilities": []}}, False, False),
    ({"name": "l6e_authorize_call", "arguments": ASK,
      "_meta": {"io.modelcontextprotocol/protocolVersion": "2099-01-01"}}, False, False),
    ({"name": "l6e_authorize_call", "arguments": ASK,
      "_meta": {"io.modelcontextprotocol/protocolVersion": 5}}, False, False),
    ({"name": "check_budget", "arguments": {"session_id": "SESSION"}}, True, True),
    ({"name": "check_budget", "arguments": {"session_id": "SESSION", "estimated_cost": 1e-7}}, True, True),
    ({"name": "l6e_record_usage", "arguments": {"call_id": "none", "actual_prompt_tokens": 1,
                                                "actual_completion_tokens": 1}}, True, True),
    ({"name": "l6e_run_start", "arguments": {"budget_usd": 1, "model": "dear"}}, False, False),
    ({"name": "request_budget", "arguments": {"session_id": "SESSION", "amount": 1}}, False, False),
    ({"name": "no_such_tool", "arguments": {}}, False, False),
    ({"name": 5, "arguments": {}}, False, False),
    ({"arguments": {}}, False, False),
    ({"name": "l6e_run_end", "arguments": {"session_id": "SESSION"}}, False, False),
    ({"name": "l6e_authorize_call", "arguments": ASK}, True, True),
]  # fmt: skip


@pytest.mark.parametrize("era", [*ERAS, "2025-11-25", "2025-03-26", "2024-11-05"])
def test_every_call_is_answered_as_the_sdk_answers_it(tmp_path, era):
    # the SDK alone decides by the first request which era it is
    first = {"name": "l6e_run_start", "arguments": {"budget_usd": 1, "model": "dear"}}
    lines = conversation(era, [first, *(params for params, *_ in CALLS)])
    found, quick, events = talk(tmp_path / "quick", lines, quickly=True)
    alone, _, events_alone = talk(tmp_path / "alone", lines, quickly=False)
    assert found == alone
    assert events == events_alone
    has_structure = era in (*ERAS, "2025-11-25")
    for number, (params, in_handshake, later) in enumerate(CALLS, 1):
        expected = has_structure and (later if era == MODERN_ERA else in_handshake)
        assert (number in quick) is expected, params


def test_nothing_is_answered_at_once_before_the_sdk_has_accepted_a_greeting(tmp_path):
    lines = conversation(HANDSHAKE_ERA, [{"name": "l6e_authorize_call", "arguments": ASK}])
    lines[0]["params"] = {"protocolVersion": HANDSHAKE_ERA}
    for told in (lines, lines[1:], lines[2:]):
        name = f"n{len(told)}"
        found, quick, _ = talk(tmp_path / name, told, quickly=True)
        assert quick == []
        assert found == talk(tmp_path / f"{name}-alone", told, quickly=False)[0]


def test_a_ledger_that_somebody_else_has_is_waited_for_by_the_sdk(tmp_path):
    def busy(world):
        class Busy:
            def __enter__(self):
                raise LedgerBusy

            def __exit__(self, *_):
                return False

        world.ledger.at_once = Busy
        return world

    lines = conversation(HANDSHAKE_ERA, [{"name": "l6e_authorize_call", "arguments": ASK}] * 2)
    found, quick, events = talk(tmp_path / "quick", lines, quickly=True, change=busy)
    assert (quick, events) == ([], 3), "the session, and each call"
    assert [json.loads(line)["result"]["isError"] for line in found[1:]] == [False, False]


def test_a_call_overtakes_none_that_waits(tmp_path):
    end = {"name": "l6e_run_end", "arguments": {"session_id": "SESSION"}}
    ask = {"name": "l6e_authorize_call", "arguments": ASK}
    for era in ERAS:
        found, quick, _ = talk(tmp_path / era, conversation(era, [ask, end, ask]), quickly=True, waiting=False)
        assert len(found) == (3 if era == MODERN_ERA else 4)
        assert 2 not in quick, "the end of the session had no answer yet"


@pytest.mark.timeout(300)
@settings(max_examples=40, deadline=None)
@given(
    calls=st.lists(st.sampled_from([params for params, *_ in CALLS]), max_size=8),
    era=st.sampled_from([*ERAS, "2025-11-25"]),
    waiting=st.booleans(),
)
def test_whatever_is_called_the_answers_are_those_of_the_sdk(calls, era, waiting):
    with tempfile.TemporaryDirectory() as name:
        lines = conversation(era, calls)
        found, _, events = talk(Path(name) / "quick", lines, quickly=True, waiting=waiting)
        alone, _, events_alone = talk(Path(name) / "alone", lines, quickly=False, waiting=waiting)
        assert len(found) == len(alone)
        if waiting:  # else ids are made in the order in which threads come to it
            assert (found, events) == (alone, events_alone)
