"""Why what a session used is not what was estimated; amounts: dear $1,000 and cheap $100 per million tokens."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from tests.reading_rules import Rule

from tallygate.clients.registry import REGISTRY
from tallygate.core.bills.causes import Cause, CauseKind, UsedResponse, drift_of
from tallygate.core.costing import ContextTier, Price, Rates, Tokens
from tallygate.core.model import Call, ModeCoverage, Session
from tallygate.core.usage import ObservedUsage, Quality
from tallygate.core.words import (
    AccountingMode,
    Action,
    ActorType,
    CallState,
    Reason,
    SessionState,
    UnknownPrice,
    UsageChannel,
)

CENT = 10_000_000
K = 10**9
LONG = ContextTier(1_000, Rates(2_000 * K, 2_000 * K, 200 * K, 2_000 * K, 2_000 * K))
DEAR = Price("maker:dear", Rates(1_000 * K, 1_000 * K, 100 * K, 1_000 * K, 2_000 * K), "test", "1", tiers=(LONG,))
PRICES = {
    "dear": DEAR,
    "vendor/dear": DEAR,
    "dear-fast": replace(DEAR, key="maker:dear-fast", rates=Rates(6_000 * K, 6_000 * K, 600 * K, 6_000 * K, 0)),
    "cheap": Price("maker:cheap", Rates(100 * K, 100 * K, 10 * K, 100 * K, 200 * K), "test", "1"),
    "dear-elsewhere": replace(DEAR, key="host:dear"),
}
SESSION = Session(
    tenant="default",
    session_id="s",
    client="claude-code",
    model="dear",
    state=SessionState.OPEN,
    accounting_mode=AccountingMode.ESTIMATE_ONLY,
    usage_channel=UsageChannel.NONE,
    coverage=ModeCoverage(ask=False, plan=False, agent=False),
    unknown_price=UnknownPrice.WARN_ONLY,
    currency="USD",
    started_us=0,
)
CALL = Call(
    tenant="default",
    call_id="c1",
    session_id="s",
    state=CallState.RECONCILED,
    action=Action.ALLOW,
    reason=Reason.ALLOW,
    tool_name="edit",
    model_requested="dear",
    prompt_tokens=100,
    completion_tokens=10,
    raw_estimate_nanos=0,
    estimate_nanos=0,
    factor_micros=1_000_000,
    actor_type=ActorType.PARENT_AGENT,
    at_us=0,
)


OWN = Rule.CLAUDE_AUXILIARY


def price_of(model: str, _: datetime) -> Price:
    return PRICES[model]


def used(call: str | None = "c1", **row) -> UsedResponse:
    made = ObservedUsage(
        **{
            "client": "claude_code",
            "session": "x",
            "response_key": "r",
            "at": datetime(2026, 3, 1, tzinfo=UTC),
            "model": "dear",
            "tokens": Tokens(fresh_input=100, output=10),
            "rule": Rule.CLAUDE_RESPONSE,
            **row,
        }
    )
    name = f"{made.model}-fast" if made.speed == "fast" else made.model
    return UsedResponse(made, PRICES[name].cost_nanos(made.tokens), call)


def causes(*usages: UsedResponse, call: Call = CALL) -> dict[CauseKind, Cause]:
    return {cause.kind: cause for cause in drift_of(SESSION, [call], usages, price_of)}


def test_a_response_as_it_was_estimated_has_no_cause():
    assert causes(used()) == {}


# What was used (with the call it was made for), the one cause it has, its amount, and words of its text.
@pytest.mark.parametrize(
    ("usage", "kind", "nanos", "words"),
    [
        (used(model="cheap"), CauseKind.OTHER_MODEL, -99_000_000, "dear was named, cheap answered once: $0.0990 less"),
        (used(reasoning=4), CauseKind.REASONING, 4_000_000, "reasoning is 40 % of the output: 4 tokens, $0.0040"),
        (used(tokens=Tokens(cache_read=500)), CauseKind.CACHE, 40_000_000, "400 tokens came from or went into"),
        (used(tokens=Tokens(cache_write_1h=200)), CauseKind.CACHE, 20 * CENT, "100 tokens came from"),
        (used(tokens=Tokens(fresh_input=100, cache_write_5m=5)), CauseKind.CACHE, 5_000_000, "5 tokens came from"),
        (used(agent_id="a1"), CauseKind.SUBAGENTS, 11 * CENT, "a subagent that had not asked responded once: $0.11"),
        (used(None, agent_id="a1"), CauseKind.SUBAGENTS, 11 * CENT, "a subagent that had not asked"),
        (used(None), CauseKind.OUTSIDE, 11 * CENT, "nobody had asked for 1 response: $0.11"),
        (used(None, rule=OWN), CauseKind.AUXILIARY, 11 * CENT, "asked once of its own accord (compaction, titles"),
        (used(None, rule=OWN, model="cheap"), CauseKind.AUXILIARY, 11_000_000, "of its own accord"),
        (used(None, rule=OWN, agent_id="a1"), CauseKind.AUXILIARY, 11 * CENT, "of its own accord"),
        (used(speed="fast"), CauseKind.TIER, 55 * CENT, "fast was used once: $0.55 more"),
        (used(tier="priority"), CauseKind.TIER, None, "priority was used once"),
        (used(quality=Quality.PARTIAL), CauseKind.PARTIAL, None, "1 of 1 responses have no final count"),
        (
            used(quality=Quality.PARTIAL, estimated_output=60),
            CauseKind.PARTIAL,
            5 * CENT,
            "about 50 output tokens, $0.05, are missing",
        ),
        (
            used(tokens=Tokens(fresh_input=1_001)),
            CauseKind.LONG_CONTEXT,
            1_001_000_000,
            "long context was billed at higher rates once: $1.00 more",
        ),
    ],
    ids=lambda value: value.value if isinstance(value, CauseKind) else None,
)
def test_each_cause_has_its_amount_and_a_sentence(usage, kind, nanos, words):
    found = causes(usage)
    assert set(found) == {kind}
    assert found[kind].nanos == nanos
    assert words in found[kind].text


@pytest.mark.parametrize(
    "usage",
    [
        used(tier="standard", speed="standard"),
        used(tier="default"),
        used(tokens=Tokens(fresh_input=50, cache_read=50)),
        used(tokens=Tokens(fresh_input=1_000)),
        used(agent_id="a1", call="c2"),
        used(provider="vendor"),
    ],
    ids=["standard", "default tier", "cache inside the estimate", "at the threshold", "a subagent that asked", "host"],
)
def test_what_is_as_expected_is_no_cause(usage):
    asked = replace(CALL, call_id="c2", actor_type=ActorType.SUBAGENT, actor_id="a1")
    assert drift_of(SESSION, [CALL, asked], [usage], price_of) == []


def test_what_searches_cost_is_no_part_of_what_a_tier_adds():
    def with_searches(model: str, at: datetime) -> Price:
        return replace(price_of(model, at), per_search_nanos=CENT)

    usage = used(speed="fast", web_searches=3)
    found = drift_of(SESSION, [CALL], [replace(usage, cost_nanos=usage.cost_nanos + 3 * CENT)], with_searches)
    assert [(cause.kind, cause.nanos) for cause in found] == [(CauseKind.TIER, 55 * CENT)]


def test_the_same_model_at_another_host_for_the_same_price_is_no_cause():
    assert causes(used(), call=replace(CALL, model_requested="dear-elsewhere")) == {}


def test_a_response_outside_of_calls_is_held_against_the_model_of_the_session():
    found = causes(used(None, model="cheap"))
    assert set(found) == {CauseKind.OTHER_MODEL, CauseKind.OUTSIDE}


def test_the_cache_of_all_responses_of_a_call_is_held_against_its_one_estimate():
    found = causes(used(tokens=Tokens(cache_read=80)), used(tokens=Tokens(cache_read=80), response_key="r2"))
    assert found[CauseKind.CACHE].nanos == 6_000_000
    assert found[CauseKind.CACHE].responses == 2


def test_the_largest_amount_comes_first_and_what_has_none_last():
    found = drift_of(
        SESSION,
        [CALL],
        [used(reasoning=4), used(None), used(model="cheap"), used(tier="flex")],
        price_of,
    )
    assert [cause.kind for cause in found] == [
        CauseKind.OUTSIDE,
        CauseKind.OTHER_MODEL,
        CauseKind.REASONING,
        CauseKind.TIER,
    ]


def test_many_names_are_cut_to_the_first_three():
    rows = [used(model="cheap", response_key=str(n)) for n in range(2)]
    calls = [replace(CALL, call_id=f"c{n}", model_requested=name) for n, name in enumerate(PRICES) if name != "cheap"]
    rows = [replace(rows[0], call_id=call.call_id) for call in calls]
    (cause, *_) = drift_of(SESSION, calls, rows, price_of)
    assert "dear, vendor/dear, dear-fast and 1 more was named" in cause.text


REFUSED = replace(CALL, state=CallState.DENIED, action=Action.HALT, client_key="hook:t", tool_name="shell", at_us=10**6)
PROMPT = replace(REFUSED, tool_name="UserPromptSubmit")


# a Codex session's last calls, when its last response came -> whether one is missing
@pytest.mark.parametrize(
    ("client", "calls", "responded_s", "missing"),
    [
        ("codex", [REFUSED], 0, True),
        ("codex", [REFUSED], 2, False),
        ("codex", [REFUSED, REFUSED], 0, False),  # the run was ended then
        ("codex", [REFUSED, REFUSED, REFUSED], 0, True),
        ("codex", [PROMPT], 0, False),
        ("codex", [REFUSED, PROMPT], 0, True),
        ("codex", [REFUSED, replace(CALL, client_key="hook:u")], 0, False),
        ("claude-code", [REFUSED], 0, False),
        ("codex", [replace(REFUSED, client_key=None)], 0, False),
    ],
)
def test_a_client_that_asks_its_model_again_after_a_refusal_and_then_is_gone_lacks_a_response(
    client, calls, responded_s, missing
):
    session = replace(SESSION, client=client)
    row = ObservedUsage(
        "codex", "s", "r", datetime(1970, 1, 1, 0, 0, responded_s, tzinfo=UTC), "dear", Tokens(1), Rule.CODEX_LAST
    )
    causes = drift_of(session, calls, [UsedResponse(row, 1)], price_of, asks_again=REGISTRY.asks_again(client))
    assert any(cause.kind is CauseKind.NO_RESPONSE for cause in causes) is missing
