"""What answers say of what is signed: refusals, looks at an exhausted budget, totals; with the official client."""

from __future__ import annotations

import json
import threading
from datetime import date
from functools import partial

import anyio
import jsonschema
import pytest
from mcp import Client

from tallygate.attest import dsse
from tallygate.attest.keyring import KeyRing
from tallygate.core.proof import StatementKind
from tallygate.entrypoints.mcp_server.serve import prepare_key, sign
from tallygate.entrypoints.mcp_server.server import build_server
from tallygate.operations.proof import attest
from tallygate.pricing.exchange import CONFIGURED, ExchangeBook, Rate

ERAS = pytest.mark.parametrize("mode", ["legacy", "auto"])


@pytest.fixture
def world(world, tmp_path):
    rate = Rate(1_250_000_000, date(2026, 9, 1), CONFIGURED, "GBP")
    return world.with_runtime(keys=KeyRing(tmp_path / "keys"), exchange=ExchangeBook({"GBP": rate}))


def asked(world, mode, *calls):
    """The structured answers to some calls, each held against the schema of its tool."""

    async def main():
        async with Client(build_server(world.rt), mode=mode) as client:
            schemas = {tool.name: tool.output_schema for tool in (await client.list_tools()).tools}
            found = []
            for name, arguments, *meta in calls:
                result = await client.call_tool(name, arguments, meta=dict(*meta))
                assert not result.is_error, result.content[0].text
                assert json.loads(result.content[0].text) == result.structured_content
                jsonschema.validate(result.structured_content, schemas[name])
                assert set(result.structured_content) <= set(schemas[name]["properties"])
                found.append(result.structured_content)
            return found

    return anyio.run(main)


def proven(world, slim):
    """The statement that an attestation's name stands for, by the key it was signed with."""
    whole = attest.find_attestation(world.rt, slim["id"])
    statement = json.loads(dsse.read(whole.envelope.encode()).opened({whole.keyid: world.rt.services.keys.public()}))
    if set(slim) != {"id"}:
        assert set(slim) == {"id", "kind", "event_sha256", "key_id"}
        assert statement["subject"][0]["digest"] == {"sha256": slim["event_sha256"]}
        assert (whole.kind, whole.keyid) == (slim["kind"], slim["key_id"])
    return statement["predicate"]


@ERAS
def test_a_halt_at_an_exhausted_budget_names_its_attestation_and_says_it_again(world, mode):
    attest.ready(world.rt)
    session_id = world.start("1")
    step = {"session_id": session_id, "tool_name": "edit", "estimated_tokens": 5000}
    once = ("l6e_authorize_call", step, {"tallygate/idempotency-key": "one"})
    first, again, other = asked(world, mode, once, once, ("l6e_authorize_call", step))
    assert first["action"] == "halt"
    assert first == again
    assert first["attestation"]["id"] != other["attestation"]["id"]
    assert attest.find_attestation(world.rt, first["attestation"]["id"]).kind == StatementKind.BUDGET_EXHAUSTED
    assert set(first["attestation"]) == {"id"}, "an agent reads it at each refusal"
    assert proven(world, first["attestation"])["session"] == session_id


@ERAS
def test_answers_without_a_refusal_carry_no_attestation(world, mode):
    session_id = world.start("1")
    step = {"session_id": session_id, "tool_name": "edit", "estimated_tokens": 100}
    answers = asked(world, mode, ("l6e_authorize_call", step), ("check_budget", {"session_id": session_id}))
    assert not any("attestation" in name for answer in answers for name in answer)


@ERAS
def test_a_look_at_an_exhausted_budget_proves_that_nothing_is_left(world, mode):
    """Also where every call was only recorded, and none was ever refused."""
    start = ("start_budget", {"session_id": "work", "budget_gbp": 1})
    record = ("record_call", {"session_id": "work", "model": "dear", "input_tokens": 2000, "output_tokens": 0})
    look = ("check_budget", {"session_id": "work"})
    *_, found, again = asked(world, mode, start, record, look, look)
    assert (found["allowed"], found["reason"]) == (False, "budget_exhausted")
    assert found["signed_attestation"] == again["signed_attestation"]
    [budget] = proven(world, found["signed_attestation"])["budgets"]
    assert (budget["limit"], budget["spent"], budget["currency"]) == ("1", "1.6", "GBP")


@ERAS
def test_an_estimate_that_is_too_large_for_what_is_left_is_no_exhausted_budget(world, mode):
    session_id = world.start("1")
    [found] = asked(world, mode, ("check_budget", {"session_id": session_id, "estimated_next_call_gbp": 5}))
    assert found["reason"] == "estimated_overage"
    assert "signed_attestation" not in found


@ERAS
@pytest.mark.parametrize("name", ["get_summary", "l6e_run_end"])
def test_a_total_is_signed(world, mode, name):
    session_id = world.start("1", task_summary="mend the parser")
    world.ask(session_id, 100)
    [found] = asked(world, mode, (name, {"session_id": session_id}))
    stated = proven(world, found["attestation"])
    assert (stated["total"], stated["description"]) == ({"amount": "0.1", "currency": "USD"}, "mend the parser")


def test_what_the_total_of_an_ended_run_names_is_a_head_of_the_chain(world):
    session_id = world.start("1")
    given = {"session_id": session_id}
    told, found = asked(world, "auto", ("l6e_run_end", given), ("get_summary", given))
    assert told["attestation"] == {"id": found["attestation"]["id"]}
    with world.ledger.reading() as reader:
        [ended] = reader.events_about('"kind":"session.ended"')
    assert found["attestation"]["event_sha256"] == ended.hash.hex()
    assert json.loads(world.rt.workspace.run_log_path.read_text())["ledger"]["hash"] == ended.hash.hex()


UNSIGNABLE = [
    ("l6e_run_end", "attestation_warning"),
    ("get_summary", "attestation_warning"),
    ("check_budget", "signed_attestation_warning"),
]


@ERAS
@pytest.mark.parametrize(("name", "warning"), UNSIGNABLE)
def test_a_key_that_cannot_be_used_leaves_the_answer_and_says_so(world, mode, name, warning):
    attest.ready(world.rt)
    world.rt.services.keys.key_file.chmod(0o640)
    session_id = world.start("1")
    world.ask(session_id, 1000)
    [found] = asked(world, mode, (name, {"session_id": session_id}))
    assert "chmod 600" in found[warning]
    assert found.get("total_cost_usd", found.get("spent_gbp", found.get("reason"))) is not None


def test_a_server_makes_the_key_and_signs_what_is_due(world):
    prepare_key(world.rt)
    assert world.rt.services.keys.known() is not None
    refused = world.ask(world.start("1"), 2000)
    assert refused.attestation.keyid == world.rt.services.keys.public().keyid
    sign(world.rt, threading.Event())
    with world.ledger.reading() as reader:
        assert reader.attestations_due(10) == []


def test_a_server_that_cannot_sign_says_so_and_goes_on(world, caplog):
    refused = world.ask(world.start("1"), 2000)
    attest.ready(world.rt)
    world.rt.services.keys.key_file.chmod(0o640)
    for task in (prepare_key, partial(sign, ending=None)):
        caplog.clear()
        task(world.rt)
        assert "chmod 600" in caplog.text
    world.rt.services.keys.key_file.chmod(0o600)
    assert attest.find_attestation(world.rt, refused.attestation.attestation_id).envelope
