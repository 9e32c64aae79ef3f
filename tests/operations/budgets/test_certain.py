"""Sums are split by how sure their prices are, and a halt that only a guess causes says so."""

from __future__ import annotations

from datetime import UTC, timedelta
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.reading_rules import Rule
from tests.world import MINUTE, NANOS, PRICES, as_said, make_world

from tallygate.core.costing import Certainty, Split, Tokens
from tallygate.core.gate.rules import BudgetRule, BudgetScope
from tallygate.core.moments import as_datetime
from tallygate.core.usage import ObservedUsage
from tallygate.core.words import Action
from tallygate.operations.bills.review import ReviewWanted, review
from tallygate.operations.gate.record import UsageReport, record_usage
from tallygate.operations.usage.ingest import FileReading, ingest, link_session
from tallygate.operations.views.overview import list_budgets, list_sessions, show_session, splits_of
from tallygate.operations.views.usage import UsageWanted, list_usage
from tallygate.pricing.book import PriceBook
from tallygate.pricing.overrides import PriceOverride
from tallygate.reports.usage import ALWAYS_US, By

# A listed model, one that costs what its nearest relative does, and one that is like none.
KNOWN, NEAR, ALIEN = "dear", "gpt-5.3-codex-spark", "wombat-7"
CENT = NANOS // 100
WINDOWS = (
    BudgetRule(BudgetScope.GLOBAL, 900 * NANOS, period="day"),
    BudgetRule(BudgetScope.GLOBAL, 900 * NANOS, period="5h"),
    BudgetRule(BudgetScope.CLIENT, 900 * NANOS, period="month", match="codex"),
    BudgetRule(BudgetScope.MODEL, 900 * NANOS, period="week", match=NEAR),
    BudgetRule(BudgetScope.GLOBAL, 900_000_000, unit="tokens", period="day"),
)


def respond(world, key, tokens, model, *, client="codex", provider=None):
    world.clock.forward(2_000_000)
    made = as_datetime(world.clock.at_us) - timedelta(seconds=1)
    row = ObservedUsage(client, "c1", key, made, model, Tokens(output=tokens), Rule.CODEX_LAST, provider=provider)
    ingest(world.rt, FileReading(client, "/t", [row]))


def cost(world, model, tokens):
    return world.rt.workspace.prices.quote(model, as_datetime(world.clock.at_us)).cost_nanos(Tokens(output=tokens))


def watched(world, dollars="1000", *rules, **options):
    """A session whose responses are read."""
    world = world.with_runtime(rules=rules)
    session = world.start(dollars, client="codex", **options)
    link_session(world.rt, "codex", "c1", session)
    return world, session


def test_models_are_as_sure_as_the_tests_take_them(world):
    now = as_datetime(world.clock.at_us)
    found = [world.rt.workspace.prices.quote(model, now).certainty for model in (KNOWN, NEAR, ALIEN)]
    assert found == [Certainty.KNOWN, Certainty.APPROXIMATE, Certainty.ASSUMED]


def test_every_sum_of_a_session_is_split(world):
    world, session = watched(world, "1000", *WINDOWS)
    world.ask(session, 10)
    near, alien = cost(world, NEAR, 70_000), cost(world, ALIEN, 9_000)
    respond(world, "k", 2_000, KNOWN)
    respond(world, "n", 70_000, NEAR)
    respond(world, "a", 9_000, ALIEN)
    wanted, total = Split(near, alien), 2 * NANOS + near + alien
    [line] = list_sessions(world.rt, state=None, limit=9)
    view = show_session(world.rt, session)
    assert (line.split, line.own.spent, view.split, view.totals.total_nanos) == (wanted, total, wanted, total)
    budgets = list_budgets(world.rt, limit=50)
    found = {(b.scope, b.period, b.unit): split for b, split in zip(budgets, splits_of(world.rt, budgets), strict=True)}
    assert found == {
        ("session", "session", "USD"): wanted,
        ("global", "day", "USD"): wanted,
        ("global", "5h", "USD"): wanted,
        ("client", "month", "USD"): wanted,
        ("global", "day", "tokens"): Split(),
    } | {key: Split(near) for key in found if key[0] == "model"}
    listed = list_usage(world.rt, UsageWanted(-ALWAYS_US, ALWAYS_US), by=By.MODEL, zone=UTC, limit=9)
    whole = listed.total.whole
    assert (Split(whole.approximate_nanos, whole.assumed_nanos), whole.nanos) == (wanted, total)
    assert {line.key[0]: line.whole.known_nanos == line.whole.nanos for line in listed.lines}[KNOWN]
    reviewed = review(world.rt, ReviewWanted())
    assert (reviewed.total.split, reviewed.total.recorded_nanos) == (wanted, total)


def test_a_session_inside_another_counts_in_the_budget_of_both(world):
    outer = world.start("100", model=KNOWN)
    inner = world.start("50", model=ALIEN, parent_session_id=outer)
    call = world.ask(inner, 1_000).call_id
    record_usage(world.rt, UsageReport(call, Tokens(output=1_000)))
    spent = world.budget(inner).spent
    assert spent > 0
    sure = world.ask(inner, 1_000, model=KNOWN).call_id
    record_usage(world.rt, UsageReport(sure, Tokens(output=1_000)))
    found = {line.session.session_id: line.split for line in list_sessions(world.rt, state=None, limit=9)}
    assert found == {outer: Split(), inner: Split(0, spent)}, "a list says what each cost itself"
    assert show_session(world.rt, outer).splits == (Split(0, spent),)
    assert show_session(world.rt, outer).split == Split(), "its own calls cost nothing"


@settings(max_examples=15, deadline=None)
@given(st.lists(st.tuples(st.sampled_from([KNOWN, NEAR, ALIEN]), st.integers(1, 9_000)), max_size=8))
def test_the_parts_of_a_sum_are_never_more_than_it_and_are_those_of_its_responses(tmp_path_factory, spent):
    world, session = watched(make_world(tmp_path_factory.mktemp("w")), "100000", *WINDOWS)
    world.ask(session, 1)
    costs = dict.fromkeys((KNOWN, NEAR, ALIEN), 0)
    for number, (model, tokens) in enumerate(spent):
        respond(world, f"r{number}", tokens, model)
        costs[model] += cost(world, model, tokens)
    budgets = list_budgets(world.rt, limit=50)
    for budget, split in zip(budgets, splits_of(world.rt, budgets), strict=True):
        assert 0 <= split.unsure_nanos <= budget.spent + budget.carried
        if budget.unit == "USD" and budget.scope != "model":
            assert split == Split(costs[NEAR], costs[ALIEN])
    world.ledger.close()


# ---------------------------------------------------------------- halts


def said(world, session, tokens, model=KNOWN):
    answer = as_said(world).ask(session, tokens, model=model)
    assert answer.action is Action.HALT
    return answer.message


def test_a_halt_that_only_a_guess_causes_says_so_with_the_command_that_prints_what_settles_it(world):
    world, session = watched(world, "3", model=KNOWN)
    respond(world, "n", 150_000, NEAR)
    guessed = cost(world, NEAR, 150_000)
    message = said(world, session, 1_000)
    assert guessed == world.budget(session).spent > 2 * NANOS
    assert "Known prices alone would not stop it: $2.10 of what is spent rests on prices that are not sure." in message
    assert f"`tallygate prices {NEAR}` prints the lines for config.toml." in message
    assert message.count("\n") == 2, "what is left, why, and the command"
    assert message.endswith(f"tallygate budget raise {session[-8:]} {message.split()[-1]}"), "nothing follows it"


@pytest.mark.parametrize(
    "limit, near, known, model, tokens, told",
    [
        ("3", 150_000, 0, KNOWN, 900, False),  # fits
        ("3", 150_000, 0, KNOWN, 1_001, True),
        ("3", 150_000, 0, KNOWN, 3_000, True),  # exactly, without the guess
        ("3", 150_000, 0, KNOWN, 3_001, False),  # too dear by itself
        ("3", 0, 2_500, KNOWN, 501, False),  # nothing is guessed
        ("3", 0, 2_500, ALIEN, 100_000, True),  # the step itself is
        ("3", 0, 3_000, ALIEN, 100_000, True),  # exactly full: known costs alone carry a step of nothing
        ("3", 0, 3_001, ALIEN, 100_000, False),  # known costs alone are above the limit
        ("3", 150_000, 2_000, ALIEN, 100_000, True),  # above it only by the guess
    ],
)
def test_only_where_known_prices_alone_would_let_it_through(world, limit, near, known, model, tokens, told):
    world, session = watched(world, limit, model=KNOWN)
    for key, count, name in (("n", near, NEAR), ("k", known, KNOWN)):
        if count:
            respond(world, key, count, name)
    answer = as_said(world).ask(session, tokens, model=model)
    assert ("Known prices alone would not stop it" in (answer.message or "")) is told
    assert (answer.action is Action.HALT) is (tokens != 900)


def test_a_budget_that_refuses_for_certain_makes_the_halt_certain(world):
    tokens = BudgetRule(BudgetScope.GLOBAL, 151_000, unit="tokens", period="day")
    world, session = watched(world, "3", tokens, model=KNOWN)
    world.ask(session, 1)
    respond(world, "n", 150_000, NEAR)
    assert "Known prices" not in said(world, session, 1_001)
    assert "Known prices" not in said(world, session, 1_001, ALIEN), "tokens have no price that could be guessed"


def test_a_window_that_others_have_filled_with_guesses_says_so_without_a_name(world):
    day = BudgetRule(BudgetScope.GLOBAL, 3 * NANOS, period="day")
    world = world.with_runtime(rules=(day,))
    other = world.start("100", model=KNOWN)
    world.ask(other, 1)
    respond(world, "n", 150_000, NEAR)
    session = world.start("100", model=KNOWN)
    message = said(world, session, 1_000)
    assert "$2.10 of what is spent rests on prices that are not sure. `tallygate usage --by model` names" in message


def test_a_listed_model_that_an_unlisted_provider_serves_has_lines_that_settle_it_too(world):
    world, session = watched(world, "3", model=KNOWN)
    respond(world, "n", 150_000, "gpt-5.4", provider="acme")
    assert "`tallygate prices gpt-5.4` prints the lines" in said(world, session, 1_000)


def test_the_line_that_is_offered_makes_the_price_known(world):
    world, session = watched(world, "3", model=KNOWN)
    respond(world, "n", 150_000, NEAR)
    assert "Known prices" in said(world, session, 1_000)
    row = PriceOverride(NEAR, input=Decimal("1.75"), output=Decimal(14))
    mended = PriceBook(type(PRICES)(overrides=(*PRICES.overrides, row)))
    now = as_datetime(world.clock.at_us + MINUTE)
    assert mended.quote(NEAR, now).certainty is Certainty.KNOWN
    assert mended.to_paste(NEAR, now) == "" == mended.to_paste(KNOWN, now)
