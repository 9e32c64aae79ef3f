"""`tallygate watch`: what it shows in how many columns, what it asks before it changes anything, and how it leaves."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import pty
import re
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from tests.world import make_world, the_user

from tallygate.core.authority import Authority, EntryDoor
from tallygate.core.costing import Tokens
from tallygate.entrypoints.watching import AskingScreen, Watching
from tallygate.operations.gate.record import UsageReport, record_usage

SCREENS = Path(__file__).with_name("screens")
AGENT = replace(the_user("me"), beneath="codex")


@pytest.fixture
def world(tmp_path):
    made = make_world(tmp_path)
    yield made
    made.ledger.close()


@pytest.fixture
def at_work(world):
    """Two sessions: one that was stopped, and one that goes on."""
    first = world.start("1", client="claude-code")
    record_usage(world.rt, UsageReport(world.ask(first, 300, tool_name="plan").call_id, Tokens(200)))
    world.clock.forward(60_000_000)
    world.ask(first, 900_000, tool_name="read")
    world.clock.forward(1_000_000)
    second = world.start("5", client="codex\x1b[2J")
    world.ask(second, 100, tool_name="edit")
    return first, second


def shown(app):
    """The screen as its text."""
    lines = [strip.text.rstrip() for strip in app.screen._compositor.render_strips()]
    return "\n".join(lines).rstrip() + "\n"


def watching(world, script, *, size=(60, 24), authority=None):
    async def main():
        app = Watching(world.rt, authority or the_user("me"), every_s=0)
        async with app.run_test(size=size) as pilot:
            await pilot.pause()
            await script(app, pilot)
        return app

    return asyncio.run(main())


@pytest.mark.parametrize("width", [60, 100])
def test_a_screen_is_what_stands_in_its_file(world, at_work, width):
    found = []

    async def look(app, pilot):
        found.append(shown(app))

    watching(world, look, size=(width, 24))
    file = SCREENS / f"watch-{width}.txt"
    if os.environ.get("SNAPSHOTS"):
        file.parent.mkdir(exist_ok=True)
        file.write_text(found[0], encoding="utf-8")
    assert found[0] == file.read_text(encoding="utf-8")
    assert max(map(len, found[0].splitlines())) <= width
    assert "\x1b" not in found[0]


def test_an_empty_ledger_says_what_will_appear(world):
    async def look(app, pilot):
        assert "No open session" in shown(app)

    watching(world, look)


def test_it_follows_the_terminal_and_what_happens(world, at_work):
    async def look(app, pilot):
        await pilot.resize_terminal(40, 12)
        await pilot.pause()
        assert "2 open sessions" in shown(app)
        world.start("3", client="qwen")
        await app.look()
        await pilot.pause()
        assert "3 open sessions" in shown(app)

    watching(world, look)


def test_a_raise_asks_for_amount_and_reason_and_is_the_command_s(world, at_work):
    first, _ = at_work

    async def type_it(app, pilot):
        await pilot.press("down", "r")
        assert isinstance(app.screen, AskingScreen)
        await pilot.press(*"2.50", "enter", *"go on", "enter")
        await pilot.pause()

    watching(world, type_it)
    assert world.budget(first).limit == 3_500_000_000
    with world.ledger.reading() as reader:
        (change,) = reader.limit_changes([first], 5)
    assert (change.reason, change.actor) == ("go on", "me")


@pytest.mark.parametrize("keys", [("escape",), (*"much", "enter", *"x", "enter"), (*"-1", "enter", *"x", "enter")])
def test_a_raise_that_is_left_or_no_amount_changes_nothing(world, at_work, keys):
    before = [world.budget(each).limit for each in at_work]

    async def type_it(app, pilot):
        await pilot.press("r", *keys)
        await pilot.pause()
        assert not isinstance(app.screen, AskingScreen)

    watching(world, type_it)
    assert [world.budget(each).limit for each in at_work] == before


def test_beneath_an_agent_nothing_is_raised_and_nothing_ended(world, at_work):
    async def type_it(app, pilot):
        await pilot.press("r", "9", "enter", "x", "enter")
        await pilot.pause()
        await pilot.press("e", *"yes", "enter")
        await pilot.pause()

    agent: Authority = Authority(EntryDoor.COMMAND, "me", beneath="codex")
    watching(world, type_it, authority=agent)
    assert world.budget(at_work[1]).limit == 5_000_000_000
    with world.ledger.reading() as reader:
        assert reader.session(at_work[1]).is_open


@pytest.mark.parametrize(("word", "goes_on"), [("yes", False), ("no", True)])
def test_a_session_ends_only_by_the_word(world, at_work, word, goes_on):
    async def type_it(app, pilot):
        await pilot.press("e", *word, "enter")
        await pilot.pause()

    watching(world, type_it)
    with world.ledger.reading() as reader:
        assert reader.session(at_work[1]).is_open is goes_on
        assert reader.session(at_work[0]).is_open


@pytest.mark.parametrize("key", ["q", "ctrl+c"])
def test_it_leaves_on_q_and_on_ctrl_c(world, key):
    async def leave(app, pilot):
        await pilot.press(key)

    assert watching(world, leave).return_code == 0


def test_without_the_package_it_says_how_to_install_it(run, monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(
        "tallygate.entrypoints.cli.watch.find_spec", lambda name: None if name == "textual" else found(name)
    )
    done = run("watch")
    assert done.exit_code == 2
    assert "uv tool install '.[watch]'" in done.stderr


def test_without_a_terminal_it_names_the_command_that_needs_none(run):
    done = run("watch")
    assert done.exit_code == 2
    assert "tallygate status" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("how", ["q", "term", "closed"])
def test_a_real_terminal_is_left_as_it_was(environ, how):
    leader, follower = pty.openpty()
    program = [sys.executable, "-m", "tallygate", "watch"]
    environ = {**environ, "TERM": "xterm-256color", "COLUMNS": "60", "LINES": "24"}
    started = subprocess.Popen(
        program, stdin=follower, stdout=follower, stderr=follower, env=environ, start_new_session=True
    )
    os.close(follower)
    seen = b""
    while b"open session" not in re.sub(rb"\x1b\[[0-9;?]*[a-zA-Z]", b"", seen):
        seen += os.read(leader, 65_536)
    match how:
        case "q":
            os.write(leader, b"q")
        case "term":
            started.send_signal(signal.SIGTERM)
        case "closed":
            os.close(leader)
            started.send_signal(signal.SIGHUP)  # as the system does to who leads a terminal's session
    if how != "closed":
        while True:
            try:
                more = os.read(leader, 65_536)
            except OSError:
                break
            if not more:
                break
            seen += more
        os.close(leader)
        assert b"\x1b[?1049l" in seen
        assert b"Traceback" not in seen
    assert started.wait(120) in ((0,) if how != "closed" else (0, 1))
