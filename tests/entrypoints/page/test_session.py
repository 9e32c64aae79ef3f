"""The page of one session: what proves it can be kept, what its calls read and wrote, and who stopped and raised it."""

from __future__ import annotations

import json
import re
import zipfile
from html import unescape

import pytest
from tests.entrypoints.page.conftest import served
from tests.entrypoints.page.test_now import spend
from tests.entrypoints.page.test_pages import Tables, amount
from tests.reading_rules import Rule
from tests.world import MINUTE, NANOS, as_said, the_user

from tallygate.attest.keyring import KeyRing
from tallygate.core.costing import Tokens
from tallygate.core.model import Actor
from tallygate.core.moments import as_datetime
from tallygate.core.usage import ObservedUsage
from tallygate.core.words import ActorType
from tallygate.operations.budgets.change import raise_budget
from tallygate.operations.proof.attest import export_bundle
from tallygate.operations.sessions.ending import end_session
from tallygate.operations.usage.ingest import FileReading, ingest, link_session


def test_evidence_is_downloaded_and_verifies_offline(world, tmp_path):
    world = world.with_runtime(keys=KeyRing(tmp_path / "keys"))
    session = world.start("5", task_summary="mend")
    spend(world, session, 400)
    end_session(world.rt, session)
    with served(world.rt, world.folder) as browser:
        assert "Download evidence" in browser.get("session", id=session).words
        found = browser.download("evidence", id=session)
    assert found[0]["content-type"] == "application/zip"
    assert found[0]["content-disposition"].startswith('attachment; filename="evidence-')
    file = tmp_path / "evidence.zip"
    file.write_bytes(found[1])
    with zipfile.ZipFile(file) as archive:
        assert json.loads(archive.read("envelope.json"))["signatures"]
    export_bundle(world.rt, session, tmp_path / "of-the-command.zip", as_zip=True)
    assert file.read_bytes() == (tmp_path / "of-the-command.zip").read_bytes(), "it is what the command writes"


@pytest.mark.parametrize(
    "fields, said",
    [
        ({"token": "x"}, "This form was not made by this page"),
        ({"id": "nothing-of-that-name"}, "No session"),
        ({}, "this ledger has no key"),
    ],
)
def test_evidence_that_cannot_be_had_says_why_and_signs_nothing(world, fields, said):
    session = world.start("5", task_summary="mend")
    before = world.events()
    with served(world.rt, world.folder) as browser:
        found = browser.post("evidence", **{"id": session, **fields})
        assert browser.get("evidence", id=session).status == 405
    assert found.status in {400, 404}
    assert said in found.words
    assert world.events() == before


def test_who_halted_and_who_raised_is_told_with_where_it_came_from(world):
    world = as_said(world)
    session = world.start("1", task_summary="mend", client="claude-code")
    world.ask(session, 2_000, actor=Actor(ActorType.SUBAGENT, "a1", "explore"), tool_name="mcp__github__get")
    raise_budget(world.rt, session, NANOS, reason="go on", authority=the_user("anna"))
    with served(world.rt, world.folder) as browser:
        found = browser.get("session", id=session).words
    assert "halt · needs $2.00 · explore asked for mcp__github__get, by claude-code" in found
    assert "raised from $1.00 by cli, anna: “go on”" in found


def test_each_call_says_what_it_read_from_the_cache_and_wrote_to_it(world):
    world = as_said(world)
    session = world.start("50", task_summary="mend", client="claude-code")
    link_session(world.rt, "claude_code", "c1", session)
    world.ask(session, 400)
    world.clock.forward(MINUTE)
    row = ObservedUsage(
        "claude_code", "c1", "r1", as_datetime(world.clock.at_us), "dear",
        Tokens(fresh_input=7, cache_read=41_000, cache_write_5m=1_200, cache_write_1h=34), Rule.CLAUDE_RESPONSE,
    )  # fmt: skip
    ingest(world.rt, FileReading("claude_code", "/t", [row]))
    world.ask(session, 400)
    with served(world.rt, world.folder) as browser:
        heads, first, second = Tables(browser.get("session", id=session).text).found["Calls in order"][:3]
    cells = dict(zip(heads, first, strict=True))
    assert (cells["Cache read"], cells["Cache write"]) == ("41.0 K", "1,234")
    assert dict(zip(heads, second, strict=True))["Cache read"] == "–", "nothing is known of it yet"


def test_its_line_of_the_run_log_stands_there_as_it_is_written(world):
    session = world.start("5", task_summary="mend")
    spend(world, session, 400)
    end_session(world.rt, session)
    line = json.loads((world.folder / "runs.jsonl").read_text().splitlines()[-1])
    with served(world.rt, world.folder) as browser:
        text = browser.get("session", id=session).text
    shown = json.loads(unescape(re.search(r"<code>({.*?})</code>", text)[1]))
    assert shown == {name: told for name, told in line.items() if name not in {"records", "ledger"}}


def test_sessions_within_it_are_linked_with_their_own_sums(world):
    world = as_said(world)
    parent = world.start("5", task_summary="the whole")
    child = world.start("1", task_summary="a part", parent_session_id=parent)
    spend(world, child, 250)
    with served(world.rt, world.folder) as browser:
        found = browser.get("session", id=parent)
    assert re.search(rf'href="session\?[^"]*id={child}"', found.text)
    assert amount(found.words.split("each with its own sum:")[1]) == amount("$0.25")
