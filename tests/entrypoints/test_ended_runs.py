"""The end of a run that a server ends itself breaks off nothing that an agent at work beside it has begun."""

from __future__ import annotations

from types import SimpleNamespace

import anyio
import pytest

from tallygate.clients.reading.hooks import Reply
from tallygate.entrypoints.mcp_server import hook_tool as module

NOBODY = SimpleNamespace(request_context=SimpleNamespace(meta={}))


class Dispatcher:
    """Refuses every step with last words, and says of responses in flight what it was told to say."""

    def __init__(self, *landed, waits=False):
        self.left, self.looks, self.asked = list(landed), 0, []
        self.waits = waits

    def answer(self, client, event, arguments):
        self.asked.append(arguments.get("tool_use_id"))
        return Reply({}, last_words="spent", waits=self.waits)

    def landed(self, client, event, arguments):
        self.looks += 1
        return self.left.pop(0) if self.left else True


@pytest.fixture
def ended(monkeypatch):
    found = []
    monkeypatch.setattr(module, "LOOK_S", 0)
    monkeypatch.setattr(module, "LAST_S", 0)
    monkeypatch.setattr(module, "WAIT_S", 0)
    monkeypatch.setattr(module, "running", lambda client, parent: (SimpleNamespace(pid=1), 1))
    monkeypatch.setattr(module, "end_run", lambda *_, **__: found.append(1) or True)
    return found


def fire(tool, **more):
    arguments = {"client": "claude_code", "event": "PostToolBatch", **more}
    anyio.run(tool.run, arguments, NOBODY)


@pytest.mark.parametrize(
    ("landed", "more", "looks"),
    [
        ((), {}, 0),  # nobody else has worked here: there is nothing to wait for
        ((), {"agent_id": "a"}, 2),
        ((False, False), {"agent_id": "a"}, 4),
        ((True, False), {"agent_id": "a"}, 4),  # a step had been let through between the two looks
    ],
)
def test_a_run_with_agents_side_by_side_is_ended_when_two_looks_in_a_row_found_nothing_in_flight(
    ended, landed, more, looks
):
    dispatcher = Dispatcher(*landed)
    fire(module.hook_tool(dispatcher, ends=1), **more)
    assert (ended, dispatcher.looks) == ([1], looks)


def test_no_step_is_let_through_while_a_run_is_being_ended(ended, monkeypatch):
    async def at_once(function, *arguments):
        return function(*arguments)

    monkeypatch.setattr(module, "WAIT_S", 30)
    monkeypatch.setattr(module.anyio.to_thread, "run_sync", at_once)
    dispatcher = Dispatcher(waits=True)
    tool = module.hook_tool(dispatcher, ends=1)
    seen = []

    async def work():
        async with anyio.create_task_group() as group:
            tool.closing = True
            group.start_soon(tool.run, {"client": "claude_code", "event": "PreToolUse", "tool_use_id": "late"}, NOBODY)
            for _ in range(20):
                await anyio.lowlevel.checkpoint()
            seen.append(list(dispatcher.asked))
            tool.closing = False
            while not dispatcher.asked:
                await anyio.lowlevel.checkpoint()
            group.cancel_scope.cancel()

    anyio.run(work)
    assert seen == [[]]
    assert dispatcher.asked == ["late"]


def test_a_run_that_cannot_be_ended_goes_on(ended, monkeypatch):
    monkeypatch.setattr(module, "end_run", lambda *_, **__: False)
    dispatcher = Dispatcher(waits=True)
    tool = module.hook_tool(dispatcher, ends=1)
    fire(tool, tool_use_id="first")
    assert not tool.closing
    fire(tool, tool_use_id="second")
    assert dispatcher.asked == ["first", "second"]
