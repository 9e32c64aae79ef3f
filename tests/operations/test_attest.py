"""Refusals and totals are named at once, signed after their commit, and the same whenever they are signed."""

from __future__ import annotations

import json

import pytest

from tallygate.attest import dsse
from tallygate.attest.ring import KeyRing
from tallygate.attest.statement import read_statement
from tallygate.core.attested import Kind
from tallygate.core.errors import InvalidArgument, LedgerCorrupt, NotFound
from tallygate.operations import attest
from tallygate.operations.bundle import export_bundle
from tallygate.operations.session import end_session


@pytest.fixture
def proving(world, tmp_path):
    return world.with_runtime(keys=KeyRing(tmp_path / "keys"))


@pytest.fixture
def halted(proving):
    session_id = proving.start("1")
    proving.ask(session_id, 900)
    answer = proving.ask(session_id, 200)
    assert answer.action == "halt"
    return session_id


def stated(world, attested):
    payload = dsse.read(attested.envelope.encode()).opened(world.rt.keys.trusted())
    assert payload == attested.payload
    return json.loads(payload)


def test_a_refusal_has_its_name_before_anything_is_signed(proving, halted):
    slim = attest.slim(proving.rt, halted)
    with proving.ledger.reading() as reader:
        [due] = reader.attestations_due(10)
        head = reader.head()
    assert (slim.attestation_id, slim.digest, slim.seq) == (due.attestation_id, head.hash.hex(), head.seq)
    assert slim.keyid == proving.rt.keys.public().keyid
    assert due.envelope is None


def test_naming_a_refusal_writes_nothing(proving, halted):
    before = proving.events()
    attest.slim(proving.rt, halted)
    assert proving.events() == before
    with proving.ledger.reading() as reader:
        assert len(reader.attestations_due(10)) == 1


def test_a_signed_refusal_says_which_budget_refused_what(proving, halted):
    [attested] = attest.of_session(proving.rt, halted)
    statement = stated(proving, attested)
    predicate = statement["predicate"]
    assert statement["predicateType"] == "urn:tallygate:attestation:budget-exhausted:v1"
    assert predicate["budget"] == {
        "id": halted, "scope": "session", "period": "session", "currency": "USD", "mode": "hard",
        "limit": "1", "spent": "0", "reserved": "0.9",
    }  # fmt: skip
    assert (predicate["decision"], predicate["reason"]) == ("halt", "budget_pressure:halt")
    assert predicate["requested"] == "0.2"
    assert predicate["session"] == halted
    assert predicate["price"]["basis"]["source"]


def test_the_name_that_was_given_is_that_of_the_signed_one(proving, halted):
    slim = attest.slim(proving.rt, halted)
    attested = attest.found(proving.rt, slim.attestation_id)
    assert attested.envelope
    assert (attested.keyid, attested.event_hash.hex()) == (slim.keyid, slim.digest)
    assert attest.slim(proving.rt, halted) == slim


def test_signing_again_signs_the_same_bytes(proving, halted):
    [first] = attest.of_session(proving.rt, halted)
    proving.ledger._connection.execute("DELETE FROM attestation")
    [again] = attest.newest(proving.rt, 10)
    assert (again.payload, again.envelope) == (first.payload, first.envelope)


def test_each_refusal_of_a_session_has_its_own(proving, halted):
    proving.ask(halted, 300)
    found = attest.of_session(proving.rt, halted)
    assert len({each.attestation_id for each in found}) == 2
    assert [stated(proving, each)["predicate"]["requested"] for each in found] == ["0.3", "0.2"]


def test_a_refusal_for_another_reason_is_not_an_exhausted_budget(proving):
    session_id = proving.start("1")
    end_session(proving.rt, session_id)
    assert proving.ask(session_id, 1).reason == "session_ended"
    kinds = [each.kind for each in attest.of_session(proving.rt, session_id)]
    assert kinds == [Kind.SESSION_SUMMARY]


def test_an_ended_session_states_what_it_came_to(proving):
    session_id = proving.start("1", task_summary="mend the parser")
    proving.ask(session_id, 100)
    end_session(proving.rt, session_id, task_summary="mended")
    predicate = stated(proving, attest.summary(proving.rt, session_id))["predicate"]
    assert predicate["total"] == {"amount": "0.1", "currency": "USD"}
    assert predicate["models"] == [{"model": "dear", "calls": 1, "amount": "0.1", "currency": "USD"}]
    assert (predicate["description"], predicate["outcome"]) == ("mend the parser", "mended")
    assert predicate["exactness"] == "all_estimate_only"
    assert attest.summary(proving.rt, session_id) == attest.summary(proving.rt, session_id)


def test_an_open_session_states_what_it_has_come_to_by_now(proving):
    session_id = proving.start("1")
    proving.ask(session_id, 100)
    first = attest.summary(proving.rt, session_id)
    proving.ask(session_id, 100)
    second = attest.summary(proving.rt, session_id)
    totals = [stated(proving, each)["predicate"]["total"]["amount"] for each in (first, second)]
    assert totals == ["0.1", "0.2"]
    assert read_statement(second.payload).seq > read_statement(first.payload).seq


def test_a_checkpoint_names_the_last_event_and_is_made_once(proving, halted):
    first, again = attest.checkpoint(proving.rt), attest.checkpoint(proving.rt)
    with proving.ledger.reading() as reader:
        head = reader.head()
    assert (first, first.seq, first.event_hash) == (again, head.seq, head.hash)


def test_an_empty_ledger_has_no_checkpoint(proving):
    assert attest.checkpoint(proving.rt) is None


def test_an_event_that_was_edited_is_never_signed(proving, halted):
    connection = proving.ledger._connection
    number, body = connection.execute("SELECT id, body FROM event ORDER BY id DESC").fetchone()
    connection.execute("DROP TRIGGER event_never_changes")
    edit = "UPDATE event SET body = ? WHERE id = ?"
    connection.execute(edit, (body.replace(b'"by":"test"', b'"by":"nobo"'), number))
    with pytest.raises(LedgerCorrupt, match="Nothing was signed"):
        attest.issue_missing(proving.rt)
    with proving.ledger.reading() as reader:
        assert len(reader.attestations_due(10)) == 1
    connection.execute(edit, (body, number))
    (trigger,) = [sql for sql in migrations_sql() if "event_never_changes" in sql]
    connection.execute(trigger)


def migrations_sql():
    from tallygate.ledger.migrate import migrations, statements

    return [statement.rstrip(";") for _, sql in migrations() for statement in statements(sql)]


def test_the_journal_tells_of_the_key_once_and_of_its_rotation(proving, halted):
    attest.issue_missing(proving.rt)
    old = proving.rt.keys.public().keyid
    new = proving.rt.keys.rotate().new.keyid
    proving.ask(halted, 300)
    attest.issue_missing(proving.rt)
    with proving.ledger.reading() as reader:
        told = [json.loads(event.body) for event in reader.events_about('"kind":"key.')]
        keyids = [each.keyid for each in reader.attestations_of(halted)]
    assert [(body["kind"], body["note"]["keyid"]) for body in told] == [("key.created", old), ("key.rotated", new)]
    assert keyids == [new, old]


def test_two_rotations_that_a_ledger_did_not_see_are_told_in_their_order(proving, halted):
    attest.issue_missing(proving.rt)
    chain = [proving.rt.keys.public().keyid, *(proving.rt.keys.rotate().new.keyid for _ in range(2))]
    attest.announced(proving.rt, proving.rt.keys)
    with proving.ledger.reading() as reader:
        assert [row[0] for row in reader.signing_keys()] == chain


def test_a_lost_key_is_replaced_and_the_journal_says_which_was_lost(proving, halted):
    attest.issue_missing(proving.rt)
    lost = proving.rt.keys.public().keyid
    proving.rt.keys.key_file.unlink()
    proving.ask(halted, 300)
    attest.issue_missing(proving.rt)
    with proving.ledger.reading() as reader:
        *_, last = reader.events_about('"kind":"key.created"')
    note = json.loads(last.body)["note"]
    assert note["lost"] == lost
    assert note["keyid"] == proving.rt.keys.public().keyid != lost


def test_a_key_that_others_can_read_signs_nothing_and_the_refusal_stands(proving, halted):
    proving.rt.keys.signer()
    proving.rt.keys.key_file.chmod(0o644)
    slim = attest.slim(proving.rt, halted)
    assert slim.keyid is None
    with pytest.raises(Exception, match="chmod 600"):
        attest.issue_missing(proving.rt)


def test_a_program_without_keys_attests_nothing_and_goes_on(world):
    session_id = world.start("1")
    assert world.ask(session_id, 2000).action == "halt"
    assert attest.slim(world.rt, session_id) is None
    assert attest.issue_missing(world.rt) == 0


def test_a_refusal_is_one_commit_and_signs_nothing(proving):
    """Signing adds no wait for the disk to a decision."""
    session_id = proving.start("0.1")
    proving.ask(session_id, 1)
    statements = []
    proving.ledger._connection.set_trace_callback(statements.append)
    assert proving.ask(session_id, 200).action == "halt"
    proving.ledger._connection.set_trace_callback(None)
    assert [sql for sql in statements if sql.startswith("BEGIN IMMEDIATE")] == ["BEGIN IMMEDIATE"]
    assert not proving.rt.keys.key_file.exists()


def test_unknown_names_are_said_to_be_unknown(proving):
    with pytest.raises(NotFound):
        attest.found(proving.rt, "att_" + "0" * 32)
    with pytest.raises(NotFound):
        attest.of_session(proving.rt, "nobody")
    with pytest.raises(NotFound):
        attest.summary(proving.rt, "nobody")


def test_a_bundle_is_never_written_over_anything(proving, halted, tmp_path):
    target = tmp_path / "evidence"
    export_bundle(proving.rt, halted, target)
    before = {path: path.read_bytes() for path in target.rglob("*") if path.is_file()}
    for as_zip in (False, True):
        with pytest.raises(InvalidArgument, match="exists"):
            export_bundle(proving.rt, halted, target, as_zip=as_zip)
    assert {path: path.read_bytes() for path in target.rglob("*") if path.is_file()} == before


def test_a_bundle_never_holds_the_secret_half(proving, halted, tmp_path):
    export_bundle(proving.rt, halted, tmp_path / "evidence")
    secret = json.loads(proving.rt.keys.key_file.read_text())["d"]
    assert not any(secret.encode() in path.read_bytes() for path in (tmp_path / "evidence").rglob("*.*"))


def test_the_same_refused_key_is_found_by_its_call(proving, halted):
    with proving.ledger.reading() as reader:
        [due] = reader.attestations_due(10)
        found = attest.slim_in(proving.rt, reader, halted, due.call_id)
        assert attest.slim_in(proving.rt, reader, halted, "call_other") is None
    assert found.attestation_id == due.attestation_id
