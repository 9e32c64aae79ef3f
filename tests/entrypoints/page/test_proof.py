"""The page of proof gives the stored bytes and what to hold them against, and says itself that nothing is verified."""

from __future__ import annotations

import json

import pytest

from tallygate.attest import VERIFIER, dsse
from tallygate.attest.keyring import KeyRing
from tallygate.attest.keys import public_keys_from
from tallygate.core.proof import Head, Mark, Walk
from tallygate.core.proof import Link as Event
from tallygate.operations.proof import attest
from tallygate.operations.sessions.ending import end_session
from tallygate.operations.views import proof

from .conftest import served


@pytest.fixture
def proving(world):
    """A ledger with a refusal, an end and a checkpoint that are signed."""
    made = world.with_runtime(keys=KeyRing(world.folder / "keys"))
    session_id = made.start("1", task_summary="<b>mend</b>")
    made.ask(session_id, 5000)
    end_session(made.rt, session_id)
    attest.checkpoint(made.rt)
    attest.newest(made.rt, 10)
    return made


@pytest.fixture
def page(proving):
    with served(proving.rt, proving.folder) as browser:
        yield browser


def head_of(world) -> Head:
    with world.ledger.reading() as reader:
        return reader.head()


def lines(answer):
    assert answer.status == 200, answer.text
    return [json.loads(line) for line in answer.text.splitlines()]


def pieces(page, name, cursor, first):
    found, after = [], first
    while piece := lines(page.get(name, after=str(after)) if after is not None else page.get(name)):
        found += piece
        after = piece[-1][cursor]
    return found


def test_it_shows_head_and_keys_and_never_says_verified(proving, page):
    shown = page.get("proof")
    assert head_of(proving).hash.hex() in shown.text
    assert proving.rt.services.keys.public().keyid in shown.text
    assert "budget-exhausted" in shown.words
    assert "none is kept for this ledger" in shown.words
    assert "verifies" not in shown.words
    assert shown.words.count("verified") == 1
    assert "</table>0" not in shown.text, "nothing waits to be signed, and nothing is said of it"
    assert "nothing here is verified until you do it" in shown.words


def test_without_script_it_names_the_command(page):
    text = page.get("proof").text
    assert "This takes script, which does not run here. In a terminal:" in text
    assert '<code class="cmd">tallygate verify</code>' in text
    assert "hidden" in text[text.index('id="verify"') - 200 : text.index('id="verify"') + 200]


def test_scripts_come_from_this_address_alone(page):
    shown = page.get("proof")
    assert "script-src 'self'" in shown.headers["content-security-policy"]
    assert page.get("verify.mjs").text == VERIFIER.read_text(encoding="utf-8")
    for name in ("verify.mjs", "proof.js"):
        assert page.get(name).headers["content-type"].startswith("text/javascript")


def test_an_anchor_is_shown_where_it_is_of_this_ledger(proving):
    head = head_of(proving)
    for ledger_id, is_shown in ((proving.ledger.ledger_id, True), ("ff" * 16, False)):
        mark = Mark(0, ledger_id, 1, "default", head.seq, head.hash, head.at_us)
        with served(proving.rt, proving.folder, anchor=lambda mark=mark: mark) as browser:
            text = browser.get("proof").text
        assert (f'data-mark="{head.hash.hex()}"' in text, "last written at event" in text) == (is_shown, is_shown)


@pytest.mark.parametrize(("events", "size"), [(500, 1 << 20), (2, 1 << 20), (500, 1)])
def test_events_come_in_pieces_that_are_the_chain(proving, page, monkeypatch, events, size):
    monkeypatch.setattr(proof, "EVENTS_MAX", events)
    monkeypatch.setattr(proof, "BYTES_MAX", size)
    found = pieces(page, "events", "row", 0)
    walk = Walk(f"{proving.ledger.ledger_id}/default")
    assert all(walk.take(Event(e["seq"], e["body"].encode(), bytes.fromhex(e["hash"]))) is None for e in found)
    assert walk.end(head_of(proving)) is None
    assert len(lines(page.get("events"))) <= (events if size > 1 else 1)


def test_envelopes_come_in_pieces_and_open_by_the_keys_that_are_named(proving, page, monkeypatch):
    monkeypatch.setattr(proof, "ENVELOPES_MAX", 2)
    found = pieces(page, "envelopes", "id", None)
    keys = {key.keyid: key for key in public_keys_from(page.get("keys.json").text.encode(), "keys")}
    assert len(found) == len({each["id"] for each in found}) == 3
    for each in found:
        assert dsse.read(each["envelope"].encode()).opened(keys)
        assert page.get("envelope.json", id=each["id"]).text == each["envelope"]


def test_the_list_is_bounded_and_goes_on(page, monkeypatch):
    monkeypatch.setattr(proof, "LISTED", 2)
    first = page.get("proof")
    assert first.text.count("download att_") == 2
    [older] = {part.split('"')[0] for part in first.text.split("after=")[1:]}
    assert page.get("proof", after=older).text.count("download att_") == 1


@pytest.mark.parametrize(
    ("name", "query", "status"),
    [("envelope.json", {"id": "att_none"}, 404), ("envelope.json", {}, 404), ("events", {"after": "x"}, 200),
     ("events", {"after": "9" * 40}, 200), ("envelopes", {"after": "att_none"}, 200)],
)  # fmt: skip
def test_what_is_asked_wrongly_harms_nothing(page, name, query, status):
    assert page.get(name, **query).status == status


def test_nothing_is_given_to_who_has_no_key(page):
    for name in ("proof", "events", "envelopes", "keys.json", "envelope.json", "verify.mjs"):
        headers = {**page.own, "Cookie": "tallygate=none"}
        assert page.send("GET", f"{page.door.base}{name}", headers).status == 403


def test_what_is_not_signed_yet_is_listed_and_told_and_not_signed_by_a_look(world):
    made = world.with_runtime(keys=KeyRing(world.folder / "keys"))
    made.ask(made.start("1"), 5000)
    with served(made.rt, made.folder) as browser:
        words = browser.get("proof").words
        assert "1 attestation to be signed: tallygate attest list" in words
        assert [each["envelope"] for each in lines(browser.get("envelopes"))] == [None]


def test_an_empty_ledger_is_told_as_one(opened):
    words = opened.get("proof").words
    assert "none yet" in words
    assert "None yet: no budget has refused a call, and no session has ended." in words
