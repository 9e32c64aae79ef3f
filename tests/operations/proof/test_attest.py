"""Refusals and totals are named at once, signed after their commit, and the same whenever they are signed."""

from __future__ import annotations

import json

import pytest
from tests.world import hook_event

from tallygate.attest import dsse
from tallygate.attest.keyring import KeyRing
from tallygate.attest.keys import Signer
from tallygate.attest.statement import read_statement
from tallygate.core.costing import Tokens
from tallygate.core.errors import InvalidArgument, KeyUnusable, LedgerCorrupt, NotFound
from tallygate.core.hooks import HookAnswer, HookVerdict, Moment
from tallygate.core.proof import StatementKind
from tallygate.operations.gate.record import UsageReport, record_usage
from tallygate.operations.hooks import answer_hook
from tallygate.operations.proof import attest
from tallygate.operations.proof.attest import export_bundle
from tallygate.operations.sessions.ending import end_session


@pytest.fixture
def proving(world, tmp_path):
    return world.with_runtime(keys=KeyRing(tmp_path / "keys"))


@pytest.fixture
def refusal(proving):
    """The answer to a step that a budget had not enough left for."""
    attest.ready(proving.rt)
    session_id = proving.start("1")
    proving.ask(session_id, 900)
    answer = proving.ask(session_id, 200)
    assert answer.action == "halt"
    return answer


@pytest.fixture
def halted(refusal):
    return refusal.binding.budget_id


def stated(world, attested):
    payload = dsse.read(attested.envelope.encode()).opened(world.rt.services.keys.trusted())
    assert payload == attested.payload
    return json.loads(payload)


def test_a_refusal_has_its_name_before_anything_is_signed(proving, refusal):
    slim = refusal.attestation
    with proving.ledger.reading() as reader:
        [due] = reader.attestations_due(10)
        head = reader.head()
    assert (slim.attestation_id, slim.digest, slim.seq) == (due.attestation_id, head.hash.hex(), head.seq)
    assert slim.keyid == proving.rt.services.keys.public().keyid
    assert due.envelope is None


def test_an_answer_that_is_kept_gets_its_name_from_the_ledger_each_time(proving, halted):
    first = proving.ask(halted, 300, client_key="k")
    [kept] = [call.reply for call in proving.calls(halted) if call.reply and call.prompt_tokens == 300]
    assert "attestation" not in json.loads(kept)
    proving.ledger._connection.execute("DELETE FROM attestation")
    assert proving.ask(halted, 300, client_key="k").attestation is None
    attest.newest(proving.rt, 10)
    assert proving.ask(halted, 300, client_key="k") == first


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


def test_the_name_that_was_given_is_that_of_the_signed_one(proving, refusal):
    slim = refusal.attestation
    attested = attest.find_attestation(proving.rt, slim.attestation_id)
    assert attested.envelope
    assert (attested.keyid, attested.event_hash.hex()) == (slim.keyid, slim.digest)


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
    assert kinds == [StatementKind.SESSION_SUMMARY]


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


def test_usage_that_comes_in_after_the_end_is_in_what_is_stated_from_then_on(proving):
    session_id = proving.start("1")
    call_id = proving.ask(session_id, 100).call_id
    end_session(proving.rt, session_id)
    first = attest.summary(proving.rt, session_id)
    record_usage(proving.rt, UsageReport(call_id, Tokens(300)))
    later = attest.summary(proving.rt, session_id)
    totals = [stated(proving, each)["predicate"]["total"]["amount"] for each in (first, later)]
    assert totals == ["0.1", "0.3"]
    assert attest.summary(proving.rt, session_id) == later
    assert {each.attestation_id for each in attest.of_session(proving.rt, session_id)} == {
        first.attestation_id, later.attestation_id,
    }  # fmt: skip


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
    from tallygate.ledger.sqlite.files import migrations, statements

    return [statement.rstrip(";") for _, sql in migrations() for statement in statements(sql)]


def test_the_journal_tells_of_the_key_once_and_of_its_rotation(proving, halted):
    attest.issue_missing(proving.rt)
    old = proving.rt.services.keys.public().keyid
    new = proving.rt.services.keys.rotate().new.keyid
    proving.ask(halted, 300)
    attest.issue_missing(proving.rt)
    with proving.ledger.reading() as reader:
        told = [json.loads(event.body) for event in reader.events_about('"kind":"key.')]
        keyids = [each.keyid for each in reader.attestations_of(halted)]
    assert [(body["kind"], body["note"]["keyid"]) for body in told] == [("key.created", old), ("key.rotated", new)]
    assert keyids == [new, old]


def test_two_rotations_that_a_ledger_did_not_see_are_told_in_their_order(proving, halted):
    attest.issue_missing(proving.rt)
    chain = [proving.rt.services.keys.public().keyid, *(proving.rt.services.keys.rotate().new.keyid for _ in range(2))]
    attest.announced(proving.rt, proving.rt.services.keys)
    with proving.ledger.reading() as reader:
        assert [row[0] for row in reader.signing_keys()] == chain


def test_a_lost_key_is_replaced_and_the_journal_says_which_was_lost(proving, halted):
    attest.issue_missing(proving.rt)
    lost = proving.rt.services.keys.public().keyid
    proving.rt.services.keys.key_file.unlink()
    proving.ask(halted, 300)
    attest.issue_missing(proving.rt)
    with proving.ledger.reading() as reader:
        *_, last = reader.events_about('"kind":"key.created"')
    note = json.loads(last.body)["note"]
    assert note["lost"] == lost
    assert note["keyid"] == proving.rt.services.keys.public().keyid != lost


def test_a_key_that_others_can_read_signs_nothing_and_the_refusal_stands(proving, halted):
    proving.rt.services.keys.key_file.chmod(0o644)
    slim = proving.ask(halted, 300).attestation
    assert slim.keyid is None
    assert "chmod 600" in slim.warning
    assert slim.as_json()["warning"] == slim.warning
    for sign in (attest.issue_missing, lambda rt: attest.slim_summary(rt, halted)):
        with pytest.raises(KeyUnusable, match="chmod 600"):
            sign(proving.rt)


def test_a_program_without_keys_attests_nothing_and_goes_on(world):
    session_id = world.start("1")
    assert world.ask(session_id, 2000).attestation is None
    assert attest.slim_summary(world.rt, session_id) is None
    assert attest.of_exhausted(world.rt, session_id, 0) is None
    assert attest.issue_missing(world.rt) == 0


@pytest.mark.parametrize("keyed", [False, True])
@pytest.mark.parametrize("client_key", [None, "k"])
def test_a_refusal_is_one_commit_and_signs_nothing(proving, monkeypatch, keyed, client_key):
    """Signing adds no wait for the disk to a decision: not a commit, not a file, not a signature."""
    if keyed:
        attest.ready(proving.rt)
    session_id = proving.start("0.1")
    proving.ask(session_id, 1)
    statements, waits = [], []
    monkeypatch.setattr("os.fsync", waits.append)
    monkeypatch.setattr(Signer, "sign", lambda *_: pytest.fail("a decision signs nothing"))
    proving.ledger._connection.set_trace_callback(statements.append)
    answer = proving.ask(session_id, 200, client_key=client_key)
    proving.ledger._connection.set_trace_callback(None)
    assert answer.action == "halt"
    assert statements.count("BEGIN IMMEDIATE") == 1
    assert waits == []
    assert (answer.attestation.keyid is not None) == keyed == proving.rt.services.keys.key_file.exists()


def test_a_look_at_an_exhausted_budget_names_its_last_refusal_until_the_budget_changes(proving, halted):
    changed = proving.budget(halted).touched_us
    refused = proving.ask(halted, 300).attestation
    assert attest.of_exhausted(proving.rt, halted, changed) == refused
    with proving.ledger.reading() as reader:
        at_us = reader.head().at_us
    summed = attest.of_exhausted(proving.rt, halted, at_us + 1)
    assert summed.kind == StatementKind.SESSION_SUMMARY
    assert attest.of_exhausted(proving.rt, halted, at_us + 1) == summed, "the same until something changes"
    proving.ask(halted, 50)
    again = attest.of_exhausted(proving.rt, halted, proving.budget(halted).touched_us)
    assert again.attestation_id not in (summed.attestation_id, refused.attestation_id)


@pytest.mark.parametrize(("slow_us", "rounds"), [(0, [5, 0]), (30_000, [2, 2, 1, 0]), (90_000, [1, 1, 1, 1, 1, 0])])
def test_others_wait_only_so_long_while_much_is_signed(proving, slow_us, rounds):
    session_id = proving.start("0.1")
    for _ in range(5):
        proving.ask(session_id, 200)
    attest.announced(proving.rt, proving.rt.services.keys)

    def clock():
        proving.clock.forward(slow_us)
        return proving.clock()

    slow = proving.with_runtime(clock_us=clock)
    assert [attest.issue_missing(slow.rt) for _ in rounds] == rounds


def hooked(world, moment):
    return answer_hook(world.rt, hook_event("claude_code", moment, "client-1", moment.value, None, model="dear"))


def test_a_session_that_a_hook_ends_is_signed_at_once(proving):
    hooked(proving, Moment.SESSION_START)
    assert hooked(proving, Moment.SESSION_END) == HookAnswer()
    with proving.ledger.reading() as reader:
        [attested] = reader.attestations(10)
    assert (attested.kind, attested.envelope is None) == (StatementKind.SESSION_SUMMARY, False)


def test_a_session_that_a_hook_ends_ends_also_where_nothing_can_be_signed(proving):
    attest.ready(proving.rt)
    proving.rt.services.keys.key_file.chmod(0o644)
    hooked(proving, Moment.SESSION_START)
    answer = hooked(proving, Moment.SESSION_END)
    assert (answer.verdict, "chmod 600" in answer.message) == (HookVerdict.GO_ON, True)
    with proving.ledger.reading() as reader:
        assert len(reader.attestations_due(10)) == 1


def test_unknown_names_are_said_to_be_unknown(proving):
    with pytest.raises(NotFound):
        attest.find_attestation(proving.rt, "att_" + "0" * 32)
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
    secret = json.loads(proving.rt.services.keys.key_file.read_text())["d"]
    assert not any(secret.encode() in path.read_bytes() for path in (tmp_path / "evidence").rglob("*.*"))
