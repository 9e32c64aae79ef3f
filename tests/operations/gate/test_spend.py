"""Budgets that are opened by name, steps that are booked afterwards: statuses, currencies, tenants, both families."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.reading_rules import Rule as Reading_
from tests.world import MINUTE, NANOS, as_said, changed, the_user

from tallygate.core.costing import Tokens
from tallygate.core.errors import Conflict, InvalidArgument, NotFound
from tallygate.core.gate.policy import judge, status_of
from tallygate.core.gate.rules import BudgetRule, BudgetScope
from tallygate.core.gate.wording import raise_command
from tallygate.core.model import Budget, Currency, GateView
from tallygate.core.moments import as_datetime
from tallygate.core.usage import ObservedUsage
from tallygate.core.words import AccountingMode, Action, BudgetMode, Reason, SessionState
from tallygate.operations.budgets.change import grant, raise_budget, request_of, set_budget
from tallygate.operations.gate.authorize import StatedStep, authorize, check_budget
from tallygate.operations.gate.record import CallReport, UsageReport, record_call, record_usage
from tallygate.operations.runtime import every_tenant, runtime_for_call, runtime_for_session
from tallygate.operations.sessions.ending import end_session
from tallygate.operations.sessions.opening import BudgetWanted, Opening, start_budget, start_session
from tallygate.operations.usage.ingest import FileReading, ingest
from tallygate.operations.views.spending import summary
from tallygate.pricing.exchange import CONFIGURED, ExchangeBook, Rate

CENT = NANOS // 100
POUND = 1_250_000_000  # nano-dollars: a thousand tokens of the dear model are 80 pence


@pytest.fixture
def world(world):
    rates = {"GBP": Rate(POUND, date(2026, 9, 1), CONFIGURED, "GBP"), "EUR": Rate(NANOS, date(2026, 9, 1), "x", "EUR")}
    return world.with_runtime(exchange=ExchangeBook(rates))


def start(world, pounds="1", session_id="work", **options):
    limit = round(float(pounds) * 100) * CENT
    return start_budget(world.rt, BudgetWanted(limit, options.pop("currency", "GBP"), session_id, **options))


def book(world, tokens, session_id="work", model="dear", **options):
    report = CallReport(session_id, model, Tokens(output=tokens), **options)
    return record_call(runtime_for_session(world.rt, session_id), report, "GBP")


# ---------------------------------------------------------------- opening


def test_a_session_is_opened_in_its_currency_with_the_rate_and_its_day(world):
    started = start(world, "2.50", description="mend the parser", client="codex")
    session = started.session
    assert (session.currency, session.usd_nanos, session.rate_day) == ("GBP", POUND, "2026-09-01")
    assert (session.model, session.client, session.task_summary) == ("unknown", "codex", "mend the parser")
    assert started.exchange == "1 GBP = 1.25 USD (configured rate of 2026-09-01)"
    budget = world.budget("work")
    assert (budget.unit, budget.limit, budget.usd_nanos) == ("GBP", 250 * CENT, POUND)


def test_a_session_keeps_the_rate_it_was_opened_with(world):
    start(world)
    tomorrow = Rate(2 * NANOS, date(2026, 9, 2), CONFIGURED, "GBP")
    later = world.with_runtime(exchange=ExchangeBook({"GBP": tomorrow}))
    assert start(later).exchange == "1 GBP = 1.25 USD (rate of 2026-09-01)"
    assert book(later, 1000).cost == 80 * CENT
    assert start(later, session_id="new").exchange == tomorrow.text


def test_a_clients_session_that_works_for_another_tenant_is_booked_by_its_reports(world):
    wanted = BudgetWanted(NANOS, "GBP", "work", "acme", client="codex-mcp-client")
    start_budget(world.rt, wanted, None, "thread-1")
    assert book(world, 100).spent == 8 * CENT
    start_budget(world.rt, replace(wanted, session_id="mine", tenant=None), None, "thread-1")
    assert book(world, 100, "mine").spent == 0, "there its transcript tells"


def test_without_an_id_each_call_opens_a_session_of_its_own(world):
    one, two = (start(world, session_id=None).session.session_id for _ in range(2))
    assert one != two


def test_the_same_wish_finds_the_same_session_and_resets_nothing(world):
    start(world, description="a")
    book(world, 500)
    before = world.events()
    again = start(world, description="a")
    assert (again.session.session_id, world.events()) == ("work", before)
    assert world.budget("work").spent == 40 * CENT


def test_of_two_that_open_one_id_at_the_same_moment_the_second_finds_the_firsts(world):
    first, second = (start_session(world.rt, Opening(NANOS, "unknown", session_id="work")) for _ in range(2))
    assert (first.is_new, second.is_new, first.session) == (True, False, second.session)
    assert world.events() == 1


def test_the_same_wish_finds_the_session_also_after_the_user_has_raised_it(world):
    start(world)
    raise_budget(world.rt, "work", 50 * CENT, reason="more", authority=the_user("me"))
    assert start(world).limit == 150 * CENT


@pytest.mark.parametrize(
    "change, named, was, now",
    [
        ({"pounds": "2"}, "budget", "'1'", "'2'"),
        ({"currency": "EUR"}, "currency", "'GBP'", "'EUR'"),
        ({"description": "b"}, "description", "'a'", "'b'"),
        ({"description": None}, "description", "'a'", "None"),
        ({"tenant": "acme"}, "tenant_id", "'default'", "'acme'"),
    ],
)
def test_another_wish_under_the_same_id_is_a_conflict_that_names_both_values(world, change, named, was, now):
    start(world, description="a")
    before = world.events()
    with pytest.raises(Conflict) as refused:
        start(world, **{"description": "a", **change})
    assert refused.value.code == "session_conflict"
    assert f"with {named} {was}; now it came with {now}" in refused.value.message
    assert world.events() == before


def test_an_ended_session_is_not_opened_again(world):
    start(world)
    end_session(world.rt, "work")
    with pytest.raises(Conflict) as refused:
        start(world)
    assert refused.value.code == "session_ended"


@pytest.mark.parametrize(
    "session_id", ["", "x" * 201, "a\x1bb", "project:/home/me:day:2026-09-21", "s:USD", "a\u202eb"]
)
def test_an_id_that_is_none_or_could_be_a_budget_of_the_settings_is_refused(world, session_id):
    before = world.events()
    with pytest.raises(InvalidArgument):
        start(world, session_id=session_id)
    assert world.events() == before


def test_a_summary_that_may_not_be_kept_is_no_field_to_differ_in(world):
    world = world.with_runtime(keep_summaries=False)
    start(world, description="a")
    assert start(world, description="b").session.task_summary is None
    book(world, 10, note="secret", record_id="r")
    assert world.calls("work")[0].correlation is None


# ---------------------------------------------------------------- statuses


def budget(limit, spent, mode=BudgetMode.HARD, unit="USD", name="b"):
    return Budget("default", name, "session", "s", unit, mode, limit, spent)


@pytest.mark.parametrize(
    "limit, spent, mode, status",
    [
        (100, 0, "hard", "ok"),
        (100, 79, "hard", "ok"),
        (100, 80, "hard", "warning"),
        (100, 99, "hard", "warning"),
        (100, 100, "hard", "exhausted"),
        (100, 250, "hard", "exhausted"),
        (0, 0, "hard", "exhausted"),
        (100, 100, "soft", "exhausted"),
    ],
)
def test_the_status_follows_the_share_that_is_used(limit, spent, mode, status):
    assert status_of((budget(limit, spent, BudgetMode(mode)),), 80) == status


def test_a_soft_budget_beside_a_hard_one_warns_and_exhausts_nothing():
    assert status_of((budget(100, 10), budget(100, 100, BudgetMode.SOFT, name="c")), 80) == "warning"


@pytest.mark.parametrize(
    "limit, spent, mode, estimate, allowed, reason",
    [
        (100, 0, "hard", 0, True, "within_budget"),
        (100, 40, "hard", 60, True, "within_budget"),
        (100, 40, "hard", 61, False, "estimated_overage"),
        (100, 100, "hard", 0, False, "budget_exhausted"),
        (100, 120, "hard", 5, False, "budget_exhausted"),
        (0, 0, "hard", 0, False, "budget_exhausted"),
        (100, 100, "soft", 0, True, "budget_exhausted"),
        (100, 40, "soft", 61, True, "estimated_overage"),
    ],
)
def test_a_look_says_whether_the_next_step_may_be_made(world, limit, spent, mode, estimate, allowed, reason):
    session = start(world).session
    verdict = judge(GateView(session, (budget(limit, spent, BudgetMode(mode)),)), lambda _: estimate)
    assert (verdict.allowed, verdict.reason) == (allowed, reason)


def test_a_look_at_an_ended_session_and_one_that_waits_for_usage_refuses(world):
    session = start(world).session
    ended = replace(session, state=SessionState.ENDED)
    assert judge(GateView(ended, (budget(100, 0),)), lambda _: 0).reason == "session_ended"
    waiting = judge(GateView(session, (budget(100, 0),), has_open_exactness=True), lambda _: 0)
    assert (waiting.allowed, waiting.reason) == (False, "exactness_required")


# ---------------------------------------------------------------- recording


def test_a_call_is_booked_at_the_real_prices_of_what_went_in_and_out(world):
    start(world, "100")
    report = CallReport("work", "claude-opus-4.7", Tokens(fresh_input=100_000, output=10_000))
    assert record_call(world.rt, report, "USD").cost == 75 * CENT
    done = record_call(world.rt, report, "GBP")
    assert (done.cost, done.spent) == (60 * CENT, 120 * CENT)
    (one, two) = world.calls("work")
    assert (one.cost_basis, one.actual, one.state.value) == ("actual", report.tokens, "reconciled")
    assert two.booked_nanos == 75 * CENT


def test_the_warning_is_said_once_and_the_status_stays(world):
    start(world)
    answers = [book(world, tokens) for tokens in (900, 100, 50, 50, 200)]
    assert [a.status.value for a in answers] == ["ok", "warning", "warning", "warning", "exhausted"]
    assert [len(a.warnings) for a in answers] == [0, 1, 0, 0, 1]
    assert "£1.00" in answers[1].warnings[0]
    # Eight pence a step in the middle: ten more of them, a margin, and what is past the limit.
    assert answers[4].warnings[0].endswith("\nTo go on, run: tallygate budget raise work 0.88")


def test_from_which_share_on_it_warns_is_the_users_choice(world):
    world = world.with_policy(warn_at_percent=50)
    start(world)
    assert book(world, 700).status == "warning"


def test_a_call_past_the_limit_is_booked_in_full_and_the_next_question_is_refused(world):
    start(world)
    done = book(world, 2000)
    assert (done.cost, done.spent, done.remaining, done.status) == (160 * CENT, 160 * CENT, -60 * CENT, "exhausted")
    assert (done.used, done.limit) == (160 * CENT, 100 * CENT)
    assert check_budget(world.rt, "work", 0, "GBP").reason == "budget_exhausted"
    asked = world.ask("work", 10)
    assert (asked.action, asked.reason) == (Action.HALT, Reason.BUDGET_EXCEEDED)
    assert world.calls("work")[0].action is Action.ALLOW, "nobody had asked, so nothing was halted"


def test_a_record_is_counted_once_under_its_id(world):
    start(world)
    first = book(world, 100, record_id="r1", note="one")
    book(world, 100, record_id="r2")
    assert book(world, 100, record_id="r1", note="one") == first
    assert world.budget("work").spent == 16 * CENT


@pytest.mark.parametrize(
    "change, named", [({"tokens": 101}, "output_tokens"), ({"model": "cheap"}, "model"), ({"note": "x"}, "note")]
)
def test_another_record_under_the_same_id_is_a_conflict(world, change, named):
    start(world)
    book(world, 100, record_id="r1")
    before = world.events()
    with pytest.raises(Conflict) as refused:
        book(world, **{"tokens": 100, "record_id": "r1", **change})
    assert named in refused.value.message
    assert world.events() == before


def test_a_record_can_be_repeated_after_the_end_but_not_made(world):
    start(world)
    first = book(world, 100, record_id="r1")
    end_session(world.rt, "work")
    assert book(world, 100, record_id="r1") == first
    with pytest.raises(Conflict) as refused:
        book(world, 100)
    assert refused.value.code == "session_ended"


def test_the_same_id_in_another_session_is_another_record(world):
    start(world)
    start(world, session_id="other")
    assert book(world, 100, record_id="r1").spent == book(world, 100, "other", record_id="r1").spent == 8 * CENT


@pytest.mark.parametrize("do", [lambda w: book(w, 1, "nobody"), lambda w: check_budget(w.rt, "nobody")])
def test_a_session_nobody_has_is_named(world, do):
    before = world.events()
    with pytest.raises(NotFound, match="nobody"):
        do(world)
    assert world.events() == before


def respond(world, key, tokens, client_session="c1"):
    at = as_datetime(world.clock.at_us) + timedelta(seconds=1)
    row = ObservedUsage(
        "claude_code", client_session, key, at, "dear", Tokens(cache_read=10, output=tokens), Reading_.CLAUDE_RESPONSE,
        project="/shop",
    )  # fmt: skip
    world.clock.forward(2_000_000)
    return ingest(world.rt, FileReading("claude_code", "/t", [row]))


def test_where_the_clients_own_record_is_read_a_report_books_nothing_and_says_so(world):
    world = world.with_runtime(project="/shop")
    start(world, "10", client="claude-code")
    world.clock.forward(MINUTE)
    respond(world, "r1", 999)
    before = world.budget("work").spent
    done = book(world, 500)
    assert (done.cost, done.spent) == (40 * CENT, before)
    assert "writes down what it uses" in done.warnings[0]
    found = summary(world.rt, "work", "GBP")
    assert [(m.model, m.calls, m.tokens) for m in found.models] == [("dear", 1, Tokens(cache_read=10, output=999))]
    assert found.spent == before == 80 * CENT


def test_an_unknown_model_is_booked_at_an_assumed_price_that_is_said(world):
    start(world, "100")
    done = book(world, 1000, model="nobody/knows-this")
    assert done.cost > 0
    assert done.warnings


# ---------------------------------------------------------------- currencies


def test_pounds_are_pounds_in_a_session_of_dollars_and_the_rate_is_named(world):
    session = world.start("1")
    world.ask(session, 500)
    found = check_budget(world.rt, session, 40 * CENT, "GBP")
    assert (found.allowed, found.remaining) == (True, 40 * CENT)
    assert found.exchange == "1 GBP = 1.25 USD (configured rate of 2026-09-01)"
    assert check_budget(world.rt, session, 40 * CENT + 1, "GBP").reason == "estimated_overage"
    assert check_budget(world.rt, session, 50 * CENT).allowed, "without a currency it is the session's own"
    start(world)
    assert check_budget(world.rt, "work", 0, "GBP").exchange is None


@given(amount=st.integers(0, 10**15), rate=st.integers(10**6, 10**12), other=st.integers(10**6, 10**12))
def test_an_amount_that_is_left_fits_in_its_own_currency_and_never_shrinks_in_another(amount, rate, other):
    mine, foreign = (Currency("GBP", each) for each in (rate, other))
    left = replace(budget(amount, 0, unit="GBP"), usd_nanos=rate)
    assert mine.needed_of(mine.of(amount, left), left) == amount
    assert foreign.needed_of(foreign.of(amount, left), left) >= amount - max(NANOS // rate, 1)


def test_a_currency_nobody_has_a_rate_of_is_refused_with_what_to_add(world):
    with pytest.raises(InvalidArgument) as refused:
        start(world, currency="XAU")
    assert "[exchange.XAU]" in refused.value.hint


# ---------------------------------------------------------------- every budget counts


def test_a_look_counts_the_budgets_of_the_settings_also_those_that_no_call_has_met(world):
    world = world.with_runtime(rules=(BudgetRule(BudgetScope.GLOBAL, 50 * CENT, period="day"),))
    start(world)
    before = world.events()
    found = check_budget(world.rt, "work", 41 * CENT, "GBP")
    assert (found.allowed, found.remaining) == (False, 40 * CENT)
    assert found.decided_by.budget_id == "global:all:day:2026-09-21"
    assert found.command.startswith("tallygate budget raise global:all:day:2026-09-21 ")
    assert world.events() == before


def test_a_look_says_that_the_calls_are_used_up(world):
    world = world.with_runtime(rules=(BudgetRule(BudgetScope.SESSION, 2, unit="calls"),))
    start(world)
    assert [book(world, 1).status.value for _ in range(2)] == ["ok", "exhausted"]
    found = check_budget(world.rt, "work")
    assert (found.reason, found.decided_by.unit) == ("budget_exhausted", "calls")
    assert found.command == "tallygate budget raise work:calls 10"


def test_a_waiting_session_is_refused_by_a_look_as_by_the_gate(world):
    session = world.start("1", accounting_mode=AccountingMode.EXACT_REQUIRED)
    world.ask(session, 10)
    assert check_budget(world.rt, session).reason == "exactness_required"
    assert world.ask(session, 10).reason is Reason.EXACTNESS_REQUIRED


def test_a_summary_has_the_session_in_figures(world):
    start(world, "2", description="d")
    book(world, 500)
    book(world, 100, model="cheap")
    asked = world.ask("work", 250, model="dear")
    record_usage(world.rt, UsageReport(asked.call_id, Tokens(fresh_input=125)))
    as_said(world).ask("work", 100, model="dear")
    found = summary(world.rt, "work", "GBP")
    assert (found.limit, found.spent, found.reserved, found.remaining) == (
        200 * CENT, 508 * CENT // 10, 8 * CENT, 1412 * CENT // 10,
    )  # fmt: skip
    assert [(m.model, m.calls, m.cost) for m in found.models] == [("dear", 2, 50 * CENT), ("cheap", 1, 8 * CENT // 10)]
    assert (found.tokens, found.calls, found.exhausted) == (Tokens(fresh_input=125, output=600), 3, False)


# ---------------------------------------------------------------- tenants


def test_a_tenant_has_its_own_rows_and_its_sessions_are_found_by_id(world):
    start(world, session_id="a", tenant="acme")
    start(world, session_id="b", tenant="zeta")
    start(world, session_id="c")
    for session_id, tenant in (("a", "acme"), ("b", "zeta"), ("c", "default")):
        book(world, 100, session_id)
        assert world.budget(session_id, tenant).spent == 8 * CENT
        fresh = changed(world.rt, session_tenants={})
        assert runtime_for_session(fresh, session_id).tenant == tenant
        call = world.calls(session_id, tenant)[0].call_id
        assert runtime_for_call(world.rt, call).tenant == tenant
    assert sorted(rt.tenant for rt in every_tenant(world.rt)) == ["acme", "default", "zeta"]


def test_each_tenants_ledger_has_the_prices_of_its_calls(world):
    start(world, session_id="a", tenant="acme")
    start(world)
    book(world, 1)
    book(world, 1, "a")
    with world.ledger.reading("acme") as reader:
        assert world.calls("a", "acme")[0].price_id in reader.prices()


def test_an_id_is_one_tenants_only(world):
    start(world, session_id="a", tenant="acme")
    with pytest.raises(Conflict) as refused:
        start(world, session_id="a", tenant="zeta")
    assert "'acme'; now it came with 'zeta'" in refused.value.message


@pytest.mark.parametrize("tenant", ["", "a b", "a/b", "ü", "x" * 101, "a\n"])
def test_a_tenant_that_is_none_is_refused(world, tenant):
    with pytest.raises(InvalidArgument, match="tenant_id"):
        start(world, tenant=tenant)


def test_a_tenant_that_the_settings_do_not_know_is_no_way_around_their_limits(world):
    day = BudgetRule(BudgetScope.GLOBAL, 50 * CENT, period="day")
    with pytest.raises(InvalidArgument, match="acme"):
        start(world.with_runtime(rules=(day,)), tenant="acme")
    trial = BudgetRule(BudgetScope.TENANT, 50 * CENT, period="never", match="acme")
    known = world.with_runtime(rules=(day, trial))
    start(known, tenant="acme")
    assert check_budget(runtime_for_session(known.rt, "work"), "work").remaining == 40 * CENT


def test_the_command_of_a_tenants_budget_names_the_tenant(world):
    start(world, tenant="acme")
    book(world, 2000)
    command = check_budget(runtime_for_session(world.rt, "work"), "work").command
    assert command == raise_command(world.budget("work", "acme"), 0, 160 * CENT)
    assert command.endswith(" --tenant acme")


# ---------------------------------------------------------------- the two families on one session


def test_a_session_of_one_family_is_spent_by_the_other(world):
    start(world)
    allowed = authorize(world.rt, StatedStep("work", "edit", model="dear", prompt_tokens=500, completion_tokens=0))
    assert allowed.action is Action.ALLOW
    assert check_budget(world.rt, "work", 60 * CENT + 1).reason == "estimated_overage", "40 pence are reserved"
    record_usage(world.rt, UsageReport(allowed.call_id, Tokens(fresh_input=250)))
    done = book(world, 500)
    assert (done.spent, done.remaining) == (60 * CENT, 40 * CENT)
    totals = end_session(world.rt, "work")
    assert (totals.total_nanos, totals.calls_made, totals.confidence) == (75 * CENT, 2, "partial_exact")


# ---------------------------------------------------------------- asking the user


def test_what_the_user_is_shown_has_amount_session_reason_and_what_is_spent(world):
    start(world, client="codex")
    book(world, 1000)
    asked = request_of(world.rt, "work", 125 * CENT, "the tests are still red")
    for part in ("$1.25 (£1.00)", "£0.80", "£0.20 left", "limit is £2.00", "work", "codex", "the tests are still red"):
        assert part in asked.question
    assert asked.command == "tallygate budget raise work 1.00"


def test_the_tightest_hard_budget_of_money_is_the_one_that_is_asked_for(world):
    rules = (
        BudgetRule(BudgetScope.GLOBAL, 50 * CENT, period="day"),
        BudgetRule(BudgetScope.PROJECT, 10 * CENT, period="day", mode=BudgetMode.SOFT),
        BudgetRule(BudgetScope.USER, 1, unit="calls", period="day"),
    )
    world = world.with_runtime(rules=rules, project="/shop")
    start(world)
    asked = request_of(world.rt, "work", NANOS, "r")
    assert asked.budget.budget_id == "global:all:day:2026-09-21"
    changed = grant(world.rt, "work", (asked.budget.budget_id, 50 * CENT), NANOS, "r")
    assert (changed.limit, world.budget(changed.budget_id).limit) == (150 * CENT, 150 * CENT)
    book(world, 1)
    assert world.budget(changed.budget_id).limit == 150 * CENT, "a window that was raised before its first call"


def test_a_raise_is_an_event_with_actor_and_reason_and_the_work_goes_on(world):
    start(world)
    book(world, 1200)
    assert world.ask("work", 100, model="dear").action is Action.HALT
    grant(world.rt, "work", ("work", 100 * CENT), NANOS, "go on")
    [(body,)] = world.ledger.rows("SELECT body FROM event ORDER BY id DESC LIMIT 1")
    assert b'"actor":"user via elicitation"' in body
    assert b'"reason":"go on"' in body
    assert world.ask("work", 100, model="dear").action is not Action.HALT


def test_a_budget_that_has_changed_since_the_user_saw_it_is_left_alone(world):
    start(world)
    set_budget(world.rt, "work", 50 * CENT, reason="less", authority=the_user("me"))
    before = world.events()
    with pytest.raises(Conflict) as refused:
        grant(world.rt, "work", ("work", 100 * CENT), NANOS, "r")
    assert refused.value.code == "budget_changed"
    with pytest.raises(Conflict) as refused:
        seen = replace(world.budget("work"), limit=100 * CENT)
        raise_budget(world.rt, "work", NANOS, reason="r", authority=the_user("x"), seen=seen)
    assert refused.value.code == "budget_changed"
    assert world.events() == before


@pytest.mark.parametrize("period", ["day", "1h"])
def test_a_raise_is_good_also_where_the_settings_are_looser_by_now_than_when_the_session_was_opened(world, period):
    def ruled(cents):
        return world.with_runtime(rules=(BudgetRule(BudgetScope.GLOBAL, cents * CENT, period=period),), project="/shop")

    start(ruled(50), "9")
    world = ruled(80)
    book(world, 1)
    asked = request_of(world.rt, "work", NANOS, "r")
    assert "limit is $1.50" in asked.question
    changed = grant(world.rt, "work", (asked.budget.name, asked.budget.limit), NANOS, "r")
    assert changed.limit == 150 * CENT, "what the user was shown"
    assert request_of(world.rt, "work", NANOS, "r").budget.limit == 150 * CENT
    start(world, "9", "later")
    assert request_of(world.rt, "later", NANOS, "r").budget.limit == 180 * CENT, "the budget of everybody"


def test_an_answer_that_comes_twice_raises_once(world):
    start(world)
    grant(world.rt, "work", ("work", 100 * CENT), NANOS, "r")
    with pytest.raises(Conflict):
        grant(world.rt, "work", ("work", 100 * CENT), NANOS, "r")


def test_nobody_is_asked_about_an_ended_session(world):
    start(world)
    end_session(world.rt, "work")
    with pytest.raises(Conflict):
        request_of(world.rt, "work", NANOS, "r")


def test_the_share_that_is_used_is_of_the_budget_whose_rest_is_told(world):
    day = BudgetRule(BudgetScope.GLOBAL, 20 * NANOS, period="day")
    world = world.with_runtime(rules=(day,))
    start(world, "16.00", session_id="dear")
    book(world, 18_000, session_id="dear")
    start(world, "1")
    done = book(world, 500)
    assert (done.remaining, done.used, done.limit) == (60 * CENT, 40 * CENT, 100 * CENT), "the day has more left"
    looked = check_budget(world.rt, "work")
    assert (looked.remaining, looked.used, looked.limit) == (60 * CENT, 40 * CENT, 100 * CENT)
