"""Evidence as one file: what stands in it without script, what it allows itself, and what it is made of."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html import unescape

import pytest
from tests.entrypoints.page.conftest import served
from tests.entrypoints.page.test_pages import Tables

from tallygate.attest import VERIFIER
from tallygate.attest.keyring import KeyRing
from tallygate.entrypoints.page.auditor import auditor_file, flattened
from tallygate.operations.proof.attest import bundle_archive
from tallygate.operations.sessions.ending import end_session

HOSTILE = "</table></main><script>alert(1)</script>\u202e x"


@pytest.fixture
def proven(world):
    """A session with a halt and hostile words, and its bundle."""
    made = world.with_runtime(keys=KeyRing(world.folder / "keys"))
    session_id = made.start("1", task_summary=HOSTILE)
    made.ask(session_id, 5000)
    end_session(made.rt, session_id)
    return made, session_id, bundle_archive(made.rt, session_id)


def part(page, before, after):
    return page.split(before, 1)[1].split(after, 1)[0]


def test_without_script_the_facts_stand_in_it_and_nothing_is_called_verified(proven):
    _, session_id, archive = proven
    page = auditor_file(archive, "mine").decode()
    stated = dict(
        Tables(part(page, "<main", "</main>").join(("<main", "</main>"))).found["What is stated of the session"][1:]
    )
    assert stated["session"] == session_id
    assert stated["budgets 1 limit"] == "1"
    assert stated["halts"] == "1"
    assert "Nothing has been verified yet" in page
    assert "alert(1)</script" not in page
    assert "\u202e" not in page


def test_only_its_own_script_and_style_may_run_and_nothing_is_loaded(proven):
    page = auditor_file(proven[2], "mine").decode()
    policy = unescape(part(page, 'Content-Security-Policy" content="', '">'))
    assert policy.startswith("default-src 'none';")
    assert {each.split(" ")[0] for each in policy.split("; ")} == {
        "default-src", "script-src", "style-src", "base-uri", "form-action",
    }  # fmt: skip
    for tag, name in (('<script type="module">', "script"), ("<style>", "style")):
        text = part(page, tag, f"</{name}>")
        assert f"{name}-src 'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'" in policy
    assert part(page, '<script type="module">', "</script>").startswith(VERIFIER.read_text(encoding="utf-8"))
    assert not re.findall(r'(?:src|href)="', page)
    assert page.count("<script") == 2


def test_it_holds_the_very_bundle(proven):
    page = auditor_file(proven[2], "mine").decode()
    stored = part(page, '<script id="bundle" type="application/octet-stream">', "</script>")
    assert base64.b64decode(stored) == proven[2]


def test_every_value_of_a_statement_is_told_once():
    found = list(flattened(json.loads('{"a": {"b": [1, {"c": null}], "d": {}}, "e": true}')))
    assert found == [("a b 1", "1"), ("a b 2 c", "null"), ("e", "true")]


def test_the_page_of_a_session_gives_it(proven):
    made, session_id, archive = proven
    with served(made.rt, made.folder) as browser:
        found = browser.post("evidence", id=session_id, **{"as": "html"})
        assert 'value="html"' in browser.get("session", id=session_id).text
    assert found.headers["content-disposition"].endswith('.html"')
    assert base64.b64encode(archive).decode()[:200] in found.text.replace("\n", "")
