"""Budgets that bind nothing: `budget list` and `doctor` tell them, and only them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tallygate.app import clock_us, compose, settings_here
from tallygate.core.costing import Tokens
from tallygate.core.gate.rules import BudgetRule, BudgetScope, may_limit
from tallygate.operations.gate.authorize import StatedStep, authorize
from tallygate.operations.gate.record import UsageReport, record_usage
from tallygate.operations.sessions.opening import Opening, start_session

DAY_US = 24 * 3600 * 1_000_000
BINDING = [
    'scope = "model"\nmatch = "opus"',
    'scope = "client"\nmatch = "Test Client"',
    'scope = "client"\nmatch = "test*"',
    'scope = "project"\nmatch = "shop"',
    'scope = "project"',
    'scope = "user"',
    'scope = "global"\nmode = "soft"',
    'scope = "global"\nperiod = "24h"',
]


@pytest.fixture
def shop(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = home / "shop"
    (folder / ".git").mkdir(parents=True)
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def ruled(home: Path, monkeypatch: pytest.MonkeyPatch):
    """Write budgets of the user's settings, each a dollar or as it says."""

    def ruled_(*rules: str) -> None:
        file = home / "user.toml"
        parts = [f"[[budget]]\n{each}\nlimit_usd = 9\n" for each in rules]
        file.write_text("".join(each if "period" in each else f'{each}period = "day"\n' for each in parts))
        monkeypatch.setenv("TALLYGATE_CONFIG", str(file))

    return ruled_


def work(client: str = "test-client", *, asks: bool = True) -> None:
    app = compose(settings_here(), by="test")
    session = start_session(app.runtime, Opening(limit_nanos=10**9, model="claude-opus-4.7", client=client)).session
    if asks:
        step = StatedStep(session.session_id, prompt_tokens=1000, completion_tokens=100, tool_name="plan")
        call_id = authorize(app.runtime, step).call_id or ""
        record_usage(app.runtime, UsageReport(call_id, Tokens(fresh_input=1000, output=100)))
    app.close()


def idle(run_json):
    return [(each["scope"], each["match"], each["ever_bound"]) for each in run_json("budget", "list")["bound_nothing"]]


def doctors(run):
    checks = json.loads(run("doctor", json_=True).stdout)["checks"]
    return next(each for each in checks if each["check"] == "budgets")


@pytest.mark.parametrize("rule", BINDING)
def test_a_budget_that_binds_is_not_told(shop, ruled, run, run_json, rule):
    ruled(rule)
    work()
    assert idle(run_json) == []
    assert doctors(run)["state"] == "ok"


@pytest.mark.parametrize(
    ("rule", "scope", "match"),
    [
        ('scope = "client"\nmatch = "codex"', "client", "codex"),
        ('scope = "model"\nmatch = "claude-opus-4-8"', "model", "claude-opus-4-8"),
        ('scope = "project"\nmatch = "shopp"', "project", "shopp"),
        ('scope = "user"\nmatch = "somebody-else"', "user", "somebody-else"),
        ('scope = "tenant"\nmatch = "acme"', "tenant", "acme"),
    ],
)
def test_a_budget_that_binds_nothing_is_told_beside_those_that_bind(shop, ruled, run, run_json, rule, scope, match):
    ruled(*BINDING[:6], rule)
    work()
    assert idle(run_json) == [(scope, match, False)]
    text = run("budget", "list").stdout
    assert f"{scope} '{match}', day, hard, $9.00: has bound nothing since " in text
    assert ", when the ledger began." in text
    found = doctors(run)
    assert (found["state"], f"'{match}'" in found["found"], "tallygate usage --by" in found["to_do"]) == (
        "warn", True, True,
    )  # fmt: skip


def test_where_no_step_was_asked_about_nothing_is_told(shop, ruled, run, run_json):
    ruled('scope = "client"\nmatch = "codex"')
    assert run_json("budget", "list")["bound_nothing"] == []
    work(asks=False)
    assert run_json("budget", "list")["bound_nothing"] == []


@pytest.mark.parametrize(
    ("rule", "told"),
    [
        ('scope = "client"\nmatch = "tset-client"', "client 'tset-client', day, hard, $9.00: means no client that is"),
        ('scope = "project"\nmatch = "/nowhere/x"', "project '/nowhere/x', day, hard, $9.00: binds nothing: there is"),
    ],
)
def test_a_budget_for_what_is_not_there_is_told_at_once(shop, ruled, run, rule, told):
    ruled(rule, *BINDING[2:5])
    assert told in run("budget", "list").stdout
    assert (doctors(run)["state"], told in doctors(run)["found"]) == ("warn", True)


def test_a_budget_that_was_just_added_has_not_failed_to_bind_what_was_before_it(shop, ruled, run_json):
    work()
    ruled('scope = "client"\nmatch = "codex"')
    assert idle(run_json) == []
    work()
    assert idle(run_json) == [("client", "codex", False)]


@pytest.mark.parametrize("match", ["claude-opus-9", "opuss", "claude-opuss-*"])
@pytest.mark.parametrize("worked", [False, True])
def test_a_budget_for_a_model_that_nobody_lists_or_used_is_told_at_once(shop, ruled, run, match, worked):
    ruled(f'scope = "model"\nmatch = "{match}"', *BINDING[:1])
    if worked:
        work()
    text = run("budget", "list").stdout
    assert f"model '{match}', day, hard, $9.00: means no model that is listed or was used; one that is yet" in text
    assert ("'opus'" in text) is False
    found = doctors(run)
    assert (found["state"], f"'{match}'" in found["found"]) == ("warn", True)


@pytest.mark.parametrize("match", ["claude-*", "gpt", "GPT-5", "us.anthropic.claude-opus-4-7-v1:0", "step-3.6-flash"])
def test_a_budget_for_a_model_that_is_listed_waits_for_its_first_step(shop, ruled, run, run_json, match):
    ruled(f'scope = "model"\nmatch = "{match}"')
    assert run_json("budget", "list")["bound_nothing"] == []
    assert doctors(run)["state"] == "ok"


@pytest.mark.parametrize(("days", "told"), [(29, []), (31, [("client", "codex", True)])])
def test_a_budget_that_has_rested_while_others_worked_is_told(shop, ruled, run, run_json, monkeypatch, days, told):
    ruled('scope = "client"\nmatch = "codex"')
    now_us = clock_us()
    monkeypatch.setattr("tallygate.app.clock_us", lambda: now_us - days * DAY_US)
    work("codex")
    monkeypatch.setattr("tallygate.app.clock_us", lambda: now_us)
    work("cursor")
    assert idle(run_json) == told
    assert ("when the ledger began" in run("budget", "list").stdout) is False


def test_what_binds_in_another_tenant_binds(shop, ruled, run_json, monkeypatch):
    ruled('scope = "client"\nmatch = "codex"', 'scope = "tenant"\nmatch = "acme"')
    work()
    monkeypatch.setenv("TALLYGATE_TENANT", "acme")
    work("codex")
    monkeypatch.delenv("TALLYGATE_TENANT")
    assert idle(run_json) == []


@pytest.mark.parametrize(
    ("rule", "key", "may"),
    [
        (BudgetRule(BudgetScope.PROJECT, 1, match="/srv/shop"), "/srv/shop", True),
        (BudgetRule(BudgetScope.PROJECT, 1, match="/srv/shop"), "/srv/shop/api", False),
        (BudgetRule(BudgetScope.PROJECT, 1, match="/srv/*"), "/srv/shop", True),
        (BudgetRule(BudgetScope.CLIENT, 1, match="claude_code"), "claude-code", True),
        (BudgetRule(BudgetScope.MODEL, 1), "every", True),
        (BudgetRule(BudgetScope.MODEL, 1), "opus", False),
        (BudgetRule(BudgetScope.MODEL, 1, match="opus"), "every", False),
        (BudgetRule(BudgetScope.SESSION, 1), "s1", False),
    ],
)
def test_a_budget_is_traced_to_the_rules_that_may_have_made_it(rule, key, may):
    assert may_limit(rule, key) is may
