"""Smaller rules: exactness, mode coverage, reroute, text from outside, what a halt says."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallygate.core.costing import Certainty, ContextTier, Price, Rates, Tokens
from tallygate.core.gate import lifecycle
from tallygate.core.gate.policy import Candidate, best_target
from tallygate.core.gate.wording import doubtful, halt_message, nothing_left, raise_command, short_name
from tallygate.core.model import Budget, Decision, ModeCoverage
from tallygate.core.text import cleaned, shown
from tallygate.core.words import (
    AccountingMode,
    Action,
    BudgetMode,
    Exactness,
    Reason,
    SessionExactness,
    UsageBasis,
    UsageChannel,
)

E, S = Exactness, SessionExactness


@pytest.mark.parametrize(
    ("states", "session", "confidence"),
    [
        ([], S.ALL_ESTIMATE_ONLY, "estimate_only"),
        ([E.ESTIMATE_ONLY], S.ALL_ESTIMATE_ONLY, "estimate_only"),
        ([E.EXACT_PENDING, E.EXACT_PENDING], S.ALL_ESTIMATE_ONLY, "estimate_only"),
        ([E.EXACT_RECORDED, E.EXACT_PENDING], S.PARTIAL_EXACT, "partial_exact"),
        ([E.EXACT_RECORDED, E.ESTIMATE_ONLY], S.PARTIAL_EXACT, "partial_exact"),
        ([E.EXACT_RECORDED, E.EXACT_RECORDED], S.FULLY_EXACT, "exact"),
        ([E.EXACT_RECORDED, E.EXACT_UNAVAILABLE], S.DEGRADED, "estimate_only"),
    ],
)
def test_a_session_is_as_exact_as_its_calls(states, session, confidence):
    assert lifecycle.of_session(states) is session
    assert lifecycle.confidence(session, UsageBasis.OBSERVED) == confidence
    reported = lifecycle.confidence(session, UsageBasis.REPORTED)
    assert reported == ("partial_exact" if confidence == "exact" else confidence), "an agent's own word is not exact"


@pytest.mark.parametrize(
    ("accounting", "channel", "covered"),
    [
        ("estimate_only", "hosted_edge", (False, False, False)),
        ("exact_optional", "hosted_edge", (True, True, True)),
        ("exact_required", "self_hosted_relay", (True, True, False)),
        ("exact_optional", "manual_import", (False, False, False)),
        ("exact_optional", "none", (False, False, False)),
    ],
)
def test_a_channel_covers_these_modes_unless_told_otherwise(accounting, channel, covered):
    coverage = ModeCoverage.default(AccountingMode(accounting), UsageChannel(channel))
    assert (coverage.ask, coverage.plan, coverage.agent) == covered


def price(per_million, cached=None, key="k"):
    rate = per_million * 10**9
    cache = rate if cached is None else cached * 10**9
    return Price(key, Rates(rate, rate, cache, rate, rate), "override", "1")


def test_switching_is_named_only_where_what_is_left_carries_it():
    stay = Candidate("big", price(1000, cached=100, key="big"))
    small = Candidate("small", price(900, cached=50, key="small"))
    few = best_target(stay, [small], context_tokens=1000, output_tokens=0, left_nanos=1 * 10**9)
    many = best_target(stay, [small], context_tokens=1000, output_tokens=0, left_nanos=100 * 10**9)
    assert few is None
    assert many is not None
    assert (many.model, many.saves_nanos) == ("small", 50_000_000)


def test_a_dearer_model_the_same_model_and_an_unaffordable_first_step_are_never_targets():
    stay = Candidate("big", price(100, cached=10, key="big"))
    ladder = [Candidate("same", price(1, key="big")), Candidate("big", price(1)), Candidate("dear", price(500))]
    assert best_target(stay, ladder, context_tokens=1000, output_tokens=10, left_nanos=10**12) is None
    cheap = Candidate("cheap", price(50, cached=5, key="cheap"))
    assert best_target(stay, [cheap], context_tokens=1000, output_tokens=0, left_nanos=1000) is None


def test_long_context_rates_hold_for_the_whole_request():
    base, high = Rates(10, 10, 1, 12, 20), Rates(20, 15, 2, 25, 40)
    long = Price("k", base, "c", "1", tiers=(ContextTier(200_000, high),))
    assert long.cost_nanos(Tokens(fresh_input=1_000_000)) == 20
    assert long.cost_nanos(Tokens(fresh_input=100_000, cache_read=100_000)) == 2
    assert long.rates_for(200_000) is base
    assert long.rates_for(200_001) is high


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("plain words", "plain words"),
        ("\x1b[31mred\x1b[0m", "[31mred [0m"),
        ("a\nb\tc\r\nd", "a b c d"),
        ("line\u2028sep", "line sep"),
        ("\u202eevil", "evil"),
        ("hidden\U000e0041\U000e0042tag", "hidden tag"),
        ("\ud800lone", "lone"),
        ("  many   spaces ", "many spaces"),
        ("naïve 日本", "naïve 日本"),
    ],
)
def test_text_from_outside_loses_what_terminals_and_models_would_obey(text, safe):
    assert cleaned(text, 100) == safe


@given(st.text(max_size=300), st.integers(1, 50))
def test_cleaned_text_is_short_printable_and_stays_as_it_is(text, longest):
    once = cleaned(text, longest)
    assert len(once) <= longest
    once.encode()
    assert cleaned(once, longest) == once


def test_a_value_in_a_message_is_quoted_and_cut():
    assert shown("x" * 200) == repr("x" * 77 + "...")
    assert shown(10**400) == "a number of more than 18 digits"
    assert shown(True) == "True"


def budget(limit, spent, reserved=0):
    return Budget("t", "session_a", "session", "session_a", "USD", BudgetMode.HARD, limit, spent, reserved)


def test_a_halt_says_what_was_spent_on_what_and_the_command_that_lets_it_go_on():
    binding = budget(1_000_000_000, 900_000_000, 50_000_000)
    message = halt_message(
        Decision(Action.HALT, Reason.BUDGET_EXCEEDED, decided_by=binding),
        session_id="session_a",
        asked=200_000_000,
        model="claude-opus-4-7",
        command=raise_command(binding, 200_000_000),
        because=["It was estimated at $0.10.", "So it is."],
    )
    assert message.splitlines() == [
        "Session session_a has $0.05 left of $1.00; the next step may cost $0.20.",
        "It was estimated at $0.10. So it is.",
        "To go on, run: tallygate budget raise session_a 0.50 --tenant t",
    ]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"scope_key": f"session_codex_2026-11-30_{'8a' * 12}"}, "Session 8a8a8a8a has $0.25 left of $1.00; "),
        ({"scope": "global", "scope_key": "all", "period": "day"}, "All work has $0.25 left of $1.00 today; "),
        (
            {"scope": "project", "scope_key": "/home/me/shop", "period": "week"},
            "Project /home/me/shop has $0.25 left of",
        ),
        (
            {"scope": "model", "scope_key": "opus", "period": "5h"},
            "Model opus has $0.25 left of $1.00 within 5 hours; ",
        ),
        (
            {"scope": "model", "scope_key": "every", "period": "month"},
            "Work with any model has $0.25 left of $1.00 this",
        ),
        (
            {"scope": "client", "scope_key": "a\nTo go on, run: b"},
            "Client a To go on, run: b has $0.25 left of $1.00; ",
        ),
        (
            {"unit": "tokens", "limit": 9_000, "spent": 8_000},
            "Session session_a has 1,000 tokens left of 9,000",
        ),
    ],
)
def test_a_halt_names_the_budget_in_words(changes, told):
    binding = replace(budget(1_000_000_000, 750_000_000), **changes)
    halted = Decision(Action.HALT, Reason.BUDGET_EXCEEDED, decided_by=binding)
    message = halt_message(halted, session_id="s", asked=2 * 10**9, model="m", command="tallygate budget raise x 1")
    assert message.startswith(told)
    assert message.count("\n") == 1
    assert message.endswith("\nTo go on, run: tallygate budget raise x 1")


@pytest.mark.parametrize(
    ("zone", "shown"),
    [
        ("UTC", "2026-01-01 00:00 UTC"),
        ("America/New_York", "2025-12-31 19:00 EST"),
        ("No/Where", "2026-01-01 00:00 UTC"),
    ],
)
def test_a_halt_says_in_the_users_time_zone_when_its_budget_is_renewed(zone, shown):
    binding = replace(budget(1_000_000_000, 900_000_000), resets_us=1_767_225_600_000_000)
    halted = Decision(Action.HALT, Reason.BUDGET_EXCEEDED, decided_by=binding)
    message = halt_message(halted, session_id="session_a", asked=1, model="m", zone=zone)
    assert f"It renews at {shown}.\n" in message
    assert f"It renews at {shown}.\nTo go on, run: " in nothing_left(binding, 1, zone=zone)


def test_the_halt_of_a_budget_in_tokens_says_nothing_in_dollars():
    message = halt_message(
        Decision(Action.HALT, Reason.BUDGET_EXCEEDED, decided_by=replace(budget(9_000, 8_000), unit="tokens")),
        session_id="session_a",
        asked=2_000,
        model="claude-opus-4-7",
        command="tallygate budget raise session_a 2000",
    )
    assert "2,000 tokens" in message
    assert "$" not in message


@pytest.mark.parametrize(
    "spent, own, said",
    [
        (140_000_000, Certainty.KNOWN, "$0.14 of what is spent rests on prices that are not sure."),
        (0, Certainty.ASSUMED, "the price of this step is assumed."),
        (
            140_000_000,
            Certainty.APPROXIMATE,
            "$0.14 of what is spent rests on prices that are not sure and the price of this step is approximate.",
        ),
    ],
)
def test_a_doubtful_halt_is_one_line_of_whole_sentences(spent, own, said):
    message = doubtful(budget(10**9, 10**9), spent, own, "acme/x 9", settles=True)
    assert message == (
        f"Known prices alone would not stop it: {said} "
        "Once the user knows what its provider bills: `tallygate prices 'acme/x 9'` prints the lines for config.toml."
    )
    assert message.isprintable()


@pytest.mark.parametrize("name", ["x\ny", "-x", "x" * 99])
def test_an_id_that_nobody_types_is_not_put_into_a_command(name):
    assert "`tallygate prices MODEL`" in doubtful(budget(9, 9), 1, Certainty.KNOWN, name, settles=True)


def test_an_unknown_price_halts_with_a_line_that_can_be_typed():
    message = halt_message(Decision(Action.HALT, Reason.PRICE_UNKNOWN), session_id="s", asked=0, model="acme/x")
    assert message.endswith("what its provider bills: `tallygate prices acme/x` prints the lines for config.toml.")


MADE = "session_claude-code_2026-11-30_8a98f41d764fa5bfaf9c7c6b"


@pytest.mark.parametrize(
    "name, short",
    [
        (MADE, "af9c7c6b"),
        (f"{MADE}:calls", "af9c7c6b:calls"),
        ("session_my-own-name", "session_my-own-name"),
        ("session_a\n_8a98f41d764fa5bfaf9c7c6b", "af9c7c6b"),
        ("user:me:day:2026-11-30", "user:me:day:2026-11-30"),
        ("8a98f41d764fa5bfaf9c7c6b", "8a98f41d764fa5bfaf9c7c6b"),
    ],
)
def test_an_id_that_we_made_is_named_by_its_end_and_any_other_in_full(name, short):
    assert short_name(name) == short
    assert name.endswith(short)


def test_the_command_of_an_exhausted_budget_carries_the_usual_next_ten_steps():
    told = nothing_left(budget(1_000_000_000, 1_000_000_000), 100_000_000, "/opt/x/tallygate")
    assert told.endswith("\nTo go on, run: /opt/x/tallygate budget raise session_a 1.10 --tenant t")


@given(st.integers(0, 10**12), st.integers(10**7, 10**11), st.integers(10**7, 10**11))
def test_the_command_in_a_halt_carries_the_next_ten_steps_and_not_many_more(spent, asked, usual):
    binding = budget(spent, spent)
    added = int(raise_command(binding, asked, usual).split(" ")[4].replace(".", "")) * 10_000_000
    ahead = asked + 9 * usual
    assert ahead <= added <= ahead * 120 // 100


@pytest.mark.parametrize(
    "limit, left, asked, amount",
    [
        ("52.50", "-0.03", "0.2454", "2.70"),  # ten such steps, and not half of a large limit
        ("52.50", "0.21", "0.2454", "2.40"),
        ("1.00", "0.05", "0.20", "0.50"),
        ("5.00", "0.00", "5.62", "6.75"),  # half of the limit would not carry it
        ("5.00", "0.10", "0.11", "1.10"),
    ],
)
def test_before_anything_is_known_of_a_session_the_command_carries_ten_such_steps_or_half_the_limit(
    limit, left, asked, amount
):
    limit, left, asked = (int(Decimal(each) * 10**9) for each in (limit, left, asked))
    assert raise_command(budget(limit, limit - left), asked).split(" ")[4] == amount


@given(st.integers(1, 10**12), st.integers(0, 10**12), st.integers(0, 10**12))
def test_the_command_in_a_halt_always_raises_by_enough(limit, spent, needed):
    binding = budget(limit, spent)
    cents = raise_command(binding, needed).split(" ")[4].replace(".", "")
    raised = limit + int(cents) * 10_000_000
    assert needed <= raised - spent
