"""`tallygate budget add`, `set` and `remove` write the user's settings file, and leave every other byte of it."""

from __future__ import annotations

import json
from pathlib import PurePath

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.transcripts import PROJECT, write_claude

from tallygate.app import settings_here
from tallygate.clients.registry import REGISTRY
from tallygate.core.errors import SettingsError
from tallygate.core.gate.rules import BudgetRule, BudgetScope, RuleTarget, rules_that_apply
from tallygate.core.plan import PlanRule
from tallygate.core.words import BudgetMode
from tallygate.entrypoints.cli import own_limits, whose
from tallygate.settings.model import Paths
from tallygate.settings.rewrite import limits_in, with_limit, with_other_amount, without_limit
from tallygate.settings.source import parse_document

NANOS = 10**9
FILE = """\
# Mine, as I like it.
time_zone = "Europe/Berlin"   # not UTC

[[budget]]   # each session
scope = "session"
limit_usd = 5.00  # five

# A day.
[[budget]]
scope = "user"
period = "day"
'limit_usd' = 50 # fifty

[policy]
# stays at the end
budget_mode = "hard"
"""


@pytest.fixture
def file(home):
    found = home / ".config" / "tallygate" / "config.toml"
    found.parent.mkdir(parents=True, exist_ok=True)
    found.write_text(FILE)
    return found


def names(run_json):
    return {each["name"]: each["limit"] for each in run_json("budget", "list")["settings_limits"]}


def test_a_limit_that_is_added_stands_at_the_end_and_in_the_list(run, run_json, file):
    done = run("budget", "add", "$20", "--per", "week", "--project", "shop", "--soft")
    assert done.exit_code == 0
    added = '\n[[budget]]\nscope = "project"\nmatch = "shop"\nperiod = "week"\nlimit_usd = 20.00\nmode = "soft"\n'
    assert file.read_text() == FILE + added
    assert "+limit_usd = 20.00" in done.stdout
    assert names(run_json) == {"session": 5, "day": 50, "week-project-shop": 20}
    assert "week-project-shop  $20.00 a week for project shop, only warns" in run("budget", "list").stdout


@pytest.mark.parametrize(
    "words, name, line",
    [
        (("7,50", "--per", "month"), "month", "limit_usd = 7.50"),
        (("100k tokens", "--per", "day"), "day-tokens", "limit_tokens = 100000"),
        (("200 calls",), "session-calls", "limit_calls = 200"),
        (("£20", "--per", "5h"), "5h-gbp", "limit = 20.00"),
        (("30", "--per", "day", "--model", "opus"), "day-model-opus", 'match = "opus"'),
        (("30", "--per", "day", "--client", "Claude Code"), "day-client-claude-code", 'match = "claude-code"'),
        (("9", "--per", "day", "--client", "my-bot", "--anyway"), "day-client-my-bot", 'match = "my-bot"'),
        (("9", "--per", "day", "--client", "Codex*"), "day-client-codex*", 'match = "Codex*"'),
        (("9", "--soft"), "session-soft", 'mode = "soft"'),
        (("5", "--per", "day", "--agent", "Explore"), "day-agent-explore", 'name = "Explore"'),
        (("1", "--per", "week", "--skill", "release-*"), "week-skill-release-*", 'name = "release-*"'),
        (("9", "--per", "5h", "--mcp-server", "my server"), "5h-mcp-server-my-server", 'scope = "mcp_server"'),
        (("--plan", "5h"), "plan-5h", "at_percent = 90"),
        (("--plan", "Weekly", "--at-percent", "85 %"), "plan-weekly", "at_percent = 85"),
        (("--plan", "7d", "--client", "Codex CLI"), "plan-weekly-codex", 'client = "codex"'),
        (("--plan", "24h", "--unknown", "halt"), "plan-24h", 'unknown = "halt"'),
        (("--plan", "5h", "--soft"), "plan-5h", 'mode = "soft"'),
    ],
)
def test_what_is_typed_is_what_is_written(run, run_json, file, words, name, line):
    assert run("budget", "add", *words).exit_code == 0
    assert line in file.read_text().splitlines()
    assert name in names(run_json)


def test_another_amount_changes_one_line_and_keeps_what_stands_behind_it(run, run_json, file):
    assert run("budget", "set", "day", "$30").exit_code == 0
    assert run("budget", "set", "session", "7,50").exit_code == 0
    assert file.read_text() == FILE.replace("= 50 # fifty", "= 30.00 # fifty").replace("5.00  # five", "7.50  # five")
    assert names(run_json) == {"session": 7.5, "day": 30}


PLANS = """\
[[budget]]  # mine
scope = "plan"
window = "5h"  # five hours

[[budget]]
scope = "plan"
window = "weekly"
at_percent = 90  # of a week

"""
WITH_PLANS = FILE.replace("[[budget]]   # each", PLANS + "[[budget]]   # each")


def test_a_limit_on_a_plan_is_set_and_removed_as_others_are(run, run_json, file):
    file.write_text(WITH_PLANS)
    assert names(run_json) == {"plan-5h": 90, "plan-weekly": 90, "session": 5, "day": 50}
    for words in (("plan-5h", "80 %"), ("plan-weekly", "70"), ("day", "$30")):
        assert run("budget", "set", *words).exit_code == 0
    text = WITH_PLANS.replace("= 90  #", "= 70  #").replace("= 50 # fifty", "= 30.00 # fifty")
    assert file.read_text() == text.replace('window = "5h"', 'at_percent = 80\nwindow = "5h"')
    assert run("budget", "set", "plan-5h", "101").exit_code == 2
    assert run("budget", "remove", "plan-5h").exit_code == 0
    assert names(run_json) == {"plan-weekly": 70, "session": 5, "day": 30}


def test_of_a_plan_an_agent_only_lowers_the_limit(run, file, as_agent):
    file.write_text(WITH_PLANS)
    for words, code in (
        (("set", "plan-weekly", "91"), 7),
        (("remove", "plan-weekly"), 7),
        (("set", "plan-weekly", "80"), 0),
    ):
        assert run("budget", *words).exit_code == code
    assert file.read_text() == WITH_PLANS.replace("= 90  #", "= 80  #")


def test_what_was_done_to_a_limit_on_a_plan_is_told_in_per_cent(run, file, made):
    made.session()
    run("budget", "add", "--plan", "5h", "--reason", "a long week")
    run("budget", "set", "plan-5h", "80")
    listed = run("budget", "list").stdout
    assert "plan-5h: added at 90 % on " in listed
    assert "plan-5h: lowered from 90 % to 80 % on " in listed
    assert run("verify").exit_code == 0


def test_a_limit_that_is_removed_takes_nothing_along(run, run_json, file):
    assert run("budget", "remove", "session").exit_code == 0
    assert 'scope = "session"' not in file.read_text()
    assert "# A day.\n[[budget]]" in file.read_text()
    assert run("budget", "remove", "day").exit_code == 0
    assert file.read_text().endswith('\n[policy]\n# stays at the end\nbudget_mode = "hard"\n')
    assert names(run_json) == {}


def test_a_home_without_settings_gets_a_file(run, run_json, home):
    assert run("budget", "add", "5").exit_code == 0
    found = home / ".config" / "tallygate" / "config.toml"
    assert found.read_text() == '[[budget]]\nscope = "session"\nlimit_usd = 5.00\n'
    assert found.stat().st_mode & 0o777 == 0o600


def test_a_look_changes_nothing(run, file):
    for words in (("add", "9", "--per", "week"), ("set", "day", "9"), ("remove", "day")):
        done = run("budget", *words, "--dry-run")
        assert (done.exit_code, file.read_text()) == (0, FILE)
        assert done.stdout.startswith(f"--- {file}")
        assert "nothing was changed" in done.stderr


@pytest.mark.parametrize(
    "words, code, said",
    [
        (("add", "30", "--per", "day"), 4, "There is such a limit already: day, $50.00 a day."),
        (("add", "1,000"), 2, "LIMIT '1,000' can be read as 1000 or as 1.0"),
        (("add", "0"), 2, "LIMIT must be more than 0"),
        (("add", "5", "--per", "year"), 2, "--per must be day, week, month, never or hours such as 5h"),
        (("add", "5", "--model", "opus"), 2, "A limit for a model needs its period."),
        (("add", "5", "--per", "day", "--model", "x", "--client", "y"), 2, "give one of them"),
        (("add", "5", "--soft", "--hard"), 2, "two modes"),
        (("add", "5", "--per", "day", "--client", "gemni"), 2, "No client is known as 'gemni': there are claude-code,"),
        (("add", "5", "--per", "day", "--client", "clod*"), 2, "No client is known as 'clod*'"),
        (("add",), 2, "LIMIT is missing"),
        (("add", "5", "--agent", "Explore"), 2, "A limit for an agent needs its period."),
        (("add", "5", "--per", "day", "--mcp-server", " "), 2, "--mcp-server must name one"),
        (("add", "5", "--per", "day", "--skill", "x", "--agent", "y"), 2, "give one of them"),
        (("add", "5", "--plan", "5h"), 2, "LIMIT means nothing for a plan"),
        (("add", "--plan", "5h", "--agent", "x"), 2, "--agent means nothing for a plan"),
        (("add", "--plan", "monthly"), 2, "--plan must be 5h, weekly or other hours"),
        (("add", "--plan", "5h", "--at-percent", "0"), 2, "--at-percent must be whole per cent from 1 to 100"),
        (("add", "--plan", "5h", "--at-percent", "9.5"), 2, "--at-percent must be whole per cent from 1 to 100"),
        (("add", "--plan", "5h", "--client", "gemini"), 2, "only Claude Code and Codex tell of theirs"),
        (("add", "5", "--at-percent", "90"), 2, "--at-percent and --unknown are of a limit on a plan"),
        (("set", "day", "ten"), 2, "AMOUNT must be an amount"),
        (("remove", "week"), 3, "There are: session, day."),
    ],
)
def test_what_cannot_be_is_refused_by_name_and_changes_nothing(run, file, words, code, said):
    done = run("budget", *words)
    assert (done.exit_code, file.read_text()) == (code, FILE)
    assert said in done.stderr


@pytest.mark.parametrize("broken, line", [("x = [\n", 18), ("[[budget]]\nscope = 'session'\n", 17)])
def test_a_file_that_cannot_be_used_stays_and_its_line_is_named(run, file, broken, line):
    file.write_text(FILE + broken)
    for words in (("add", "9", "--per", "week"), ("set", "day", "9"), ("remove", "day")):
        done = run("budget", *words)
        assert done.exit_code == 6
        assert f"{file}:{line}" in done.stderr
        assert file.read_text() == FILE + broken


@pytest.mark.parametrize(("model", "told"), [("opuss", True), ("opus", False), ("claude-*", False)])
def test_a_limit_for_a_model_that_nobody_lists_says_so_where_it_is_added(run, made, file, model, told):
    made.session()
    done = run("budget", "add", "9", "--per", "day", "--model", model)
    assert ("this limit binds nothing" in done.stderr, done.exit_code) == (told, 0)


@pytest.fixture
def as_agent(monkeypatch):
    monkeypatch.setattr(whose, "is_guarded", lambda *_: True)
    monkeypatch.setenv("CLAUDECODE", "1")


@pytest.mark.parametrize(
    "words",
    [
        ("set", "day", "90"),
        ("set", "session", "5.01"),
        ("remove", "day"),
        ("add", "9", "--soft"),
        ("add", "9", "--per", "week", "--client", "nobody"),
    ],
)
def test_an_agent_changes_no_limit_of_the_file(run, file, as_agent, words):
    done = run("budget", *words)
    assert (done.exit_code, file.read_text()) == (2 if "nobody" in words else 7, FILE)


@pytest.mark.parametrize(("limit", "code"), [("5.01", 7), ("5", 0), ("4.99", 0)])
def test_a_first_limit_for_sessions_is_an_agents_where_it_leaves_them_no_more(run, home, as_agent, limit, code):
    assert run("budget", "add", limit).exit_code == code


@pytest.mark.parametrize(
    ("words", "kind", "now"),
    [
        (("add", "1", "--per", "week"), "settings.limit_added", "$1.00 a week"),
        (("add", "900 calls"), "settings.limit_added", "900 calls a session"),
        (("set", "day", "5"), "settings.limit_lowered", "$5.00 a day"),
        (("add", "5", "--per", "day", "--agent", "X"), "settings.limit_added", "$5.00 a day for agent X"),
        (
            ("add", "--plan", "5h"),
            "settings.limit_added",
            "90 % of the 5h window of the plan of each client that tells of one",
        ),
    ],
)
def test_a_new_limit_and_a_lower_one_are_anybodys_and_the_journal_says_whose(
    run, made, file, as_agent, words, kind, now
):
    made.session()
    assert run("budget", *words).exit_code == 0
    assert file.read_text() != FILE
    [(body,)] = made.app.ledger.rows("SELECT body FROM event ORDER BY seq DESC LIMIT 1")
    event = json.loads(body)
    assert event["kind"] == kind
    assert (event["note"]["now"], event["note"]["beneath"]) == (now, "Claude Code (variable CLAUDECODE)")
    assert run("verify").exit_code == 0


def test_who_changed_a_limit_of_the_file_is_said_wherever_it_is_shown(run, run_json, file, made, monkeypatch):
    session = made.session()
    made.call(session, tool_name="edit")
    run("budget", "set", "day", "60", "--reason", "a long day")
    monkeypatch.setenv("CLAUDECODE", "1")
    run("budget", "set", "day", "30")
    run("budget", "add", "1", "--per", "week")
    raised = "day: raised from $50.00 to $60.00 on "
    lowered = "day: lowered from $60.00 to $30.00 on "
    listed = run("budget", "list").stdout
    for told in (raised, lowered, "week: added at $1.00 on ", "reason: a long day"):
        assert told in listed
    assert listed.count("beneath Claude Code (variable CLAUDECODE)") == 2
    by = {each["name"]: each["limit_changes"] for each in run_json("budget", "list")["settings_limits"]}
    assert [(each["before"], each["limit"]) for each in by["day"]] == [("50", "60"), ("60", "30")]
    assert [(each["before"], each["limit"]) for each in by["week"]] == [(None, "1")]
    why = run("why", session).stdout
    assert lowered in why
    assert "week: added" not in why, "its step was not held against that"
    assert [each["limit"] for each in run_json("why", session)["limit_changes"]] == ["60", "30"]
    assert "An agent has raised a limit" not in run("doctor").stdout
    assert run("doctor", "--rebuild").exit_code == 0
    assert run("verify").exit_code == 0
    assert lowered in run("budget", "list").stdout


@pytest.mark.parametrize("client", REGISTRY.clients.values(), ids=lambda client: client.name)
def test_a_client_is_meant_by_each_name_that_the_program_prints(run, run_json, file, client):
    for name in (client.title, client.name, client.stored_as, client.name.replace("-", " ").title()):
        file.write_text(FILE)
        assert run("budget", "add", "9", "--per", "day", "--client", name).exit_code == 0
        assert f'match = "{client.name}"' in file.read_text()


@pytest.mark.parametrize(
    "name", ["Gemini CLI", "gemini-cli", "Claude", "GitHub Copilot CLI", "openai codex", "codex-mcp-client"]
)
def test_a_client_of_the_settings_file_is_meant_by_any_of_its_names(run, file, name):
    known = REGISTRY.names.known(name)
    file.write_text(f'[[budget]]\nscope = "client"\nmatch = "{name}"\nperiod = "day"\nlimit_usd = 1\n')
    [rule] = settings_here().budgets
    target = RuleTarget("default", str(known), "anna", names_of=REGISTRY.names.of)
    assert [each.key for each in rules_that_apply([rule], target)] == [known]
    again = run("budget", "add", "9", "--per", "day", "--client", str(known))
    assert "There is such a limit already" in again.stderr


def test_a_folder_that_is_not_there_is_told_and_one_that_is_typed_as_for_cd_is_meant(run, file, home, monkeypatch):
    (home / "shop").mkdir()
    monkeypatch.chdir(home / "shop")
    done = run("budget", "add", "9", "--per", "day", "--project", ".")
    assert "there is no folder" not in done.stderr
    assert f'match = "{home}/shop"' in file.read_text()
    for name in ("./x", "~/x", "/x/y"):
        assert "there is no folder" in run("budget", "add", "9", "--per", "day", "--project", name).stderr


def test_a_project_that_nothing_on_record_is_of_is_told_with_the_nearest(run, file, home):
    write_claude(home, [1])
    assert run("sync").exit_code == 0
    name = PurePath(PROJECT).name
    done = run("budget", "add", "9", "--per", "day", "--project", f"{name}x")
    assert f"no project on record is called {name}x (but {name}): it binds one to come." in done.stderr
    for known in (name, f"{name[:2]}*"):
        assert "on record is called" not in run("budget", "add", "9", "--per", "week", "--project", known).stderr


def test_a_limit_that_is_passed_already_is_said_before_it_is_set(run, made, file):
    made.worked()
    done = run("budget", "add", "0.01", "--per", "month")
    assert "was spent this month already, more than the limit of $0.01: the next step is stopped." in done.stderr
    assert done.exit_code == 0


@pytest.mark.parametrize("period", ["day", "5h"])
def test_a_raise_that_stays_on_top_of_another_limit_is_said(run, run_json, file, request, period):
    file.write_text(FILE.replace('"day"', f'"{period}"'))
    request.getfixturevalue("made").worked()
    [budget] = [each for each in run_json("budget", "list")["budgets"] if each["scope"] == "user"]
    assert "stays on top" not in run("budget", "set", period, "60").stderr
    assert run("budget", "raise", budget["budget_id"], "2").exit_code == 0
    done = run("budget", "set", period, "40")
    assert "is at $42.00 then: the $2.00 that it was raised by stays on top." in done.stderr
    assert done.exit_code == 0


def test_whoever_is_there_may_leave_it_as_it_is(run, made, file, monkeypatch):
    made.worked()
    monkeypatch.setattr("tallygate.entrypoints.cli.limits.is_attended", lambda: True)
    monkeypatch.setattr(own_limits.click, "confirm", lambda *_, **__: False)
    assert run("budget", "set", "day", "0.01").exit_code == 1
    assert file.read_text() == FILE


def test_a_link_to_the_file_stays_one(run, file, tmp_path):
    real = tmp_path / "dotfiles.toml"
    file.rename(real)
    file.symlink_to(real)
    assert run("budget", "set", "day", "30").exit_code == 0
    assert file.is_symlink()
    assert "= 30.00 # fifty" in real.read_text()


# --- the text ---------------------------------------------------------------------------------------------------------

PATHS = Paths(*[None] * 4)
WEEK = BudgetRule(BudgetScope.USER, 9 * NANOS, period="week")
EXPLORE = BudgetRule(BudgetScope.AGENT, 9 * NANOS, period="week", match="Explore")
PLAN = PlanRule(300, 90, client="codex")
PIECES = st.sampled_from(
    [
        "# a comment\n",
        "\n",
        '[[budget]]\nscope = "session"\nlimit_usd = 1.5 # so\n',
        '[[budget]]\nperiod = "day"\nscope="user"\nlimit_usd=2\n',
        '[["budget"]]\nscope = "global"\nperiod = "month"\n  limit_calls = 7\n',
        '[[alias]]\nx = """\n[[budget]]\nlimit_usd = 1\n"""\n',
        '[[budget]]\nscope = "agent"\nname = "Plan"\nperiod = "day"\nlimit_usd = 3\n',
        '[[budget]]\nscope = "plan"\nwindow = "5h"\nat_percent = 50 # of it\n',
        '[policy]\nbudget_mode = "soft"\n',
        "[ladder]\nclaude-code = [\n  'a',\n]\n",
    ]
)


def readable(text):
    try:
        document = parse_document("config.toml", text)
        return document, limits_in(document, PATHS)
    except SettingsError:
        return None, []


@given(st.lists(PIECES, max_size=7), st.booleans(), st.sampled_from([WEEK, EXPLORE, PLAN]))
def test_of_any_file_only_the_limit_in_question_changes(pieces, carriage, rule):
    text = "".join(pieces)
    text = text.replace("\n", "\r\n") if carriage else text
    document, limits = readable(text)
    if document is None:
        return
    assert len({each.name for each in limits}) == len(limits)
    added = with_limit(document, rule, names_mode=False)
    assert added.startswith(text)
    after, more = readable(added)
    assert [each.name for each in more[:-1]] == [each.name for each in limits]
    assert without_limit(after, more[-1]).rstrip() == text.rstrip()
    for each in limits:
        other = (
            PlanRule(each.rule.minutes, 33)
            if isinstance(each.rule, PlanRule)
            else BudgetRule(each.rule.scope, 3 * NANOS, each.rule.unit)
        )
        changed = with_other_amount(document, each, other)
        lines = [(a, b) for a, b in zip(text.splitlines(), changed.splitlines(), strict=True) if a != b]
        assert len(lines) == 1
        left, fewer = readable(without_limit(document, each))
        assert len(fewer) == len(limits) - 1
        assert {k: v for k, v in left.values.items() if k != "budget"} == {
            k: v for k, v in document.values.items() if k != "budget"
        }


def test_limits_on_one_line_are_changed_by_hand():
    document, [found] = readable('budget = [{scope = "session", limit_usd = 5}]\n')
    for change in (
        lambda: with_limit(document, WEEK, names_mode=False),
        lambda: with_other_amount(document, found, BudgetRule(BudgetScope.SESSION, NANOS)),
        lambda: without_limit(document, found),
    ):
        with pytest.raises(SettingsError, match=r"config.toml:1: .*nothing was changed"):
            change()


def test_the_mode_of_the_file_is_that_of_limits_that_name_none():
    _, [found] = readable('[policy]\nbudget_mode = "soft"\n[[budget]]\nscope = "session"\nlimit_usd = 5\n')
    assert found.rule.mode is BudgetMode.SOFT


@pytest.mark.parametrize(
    ("arguments", "stops"),
    [
        (("0.01",), True),
        (("0.01", "--per", "week"), True),
        (("0.01", "--per", "week", "--client", "claude-code"), True),
        (("0.01", "--per", "week", "--client", "codex"), False),
        (("0.01", "--soft"), False),
        (("0.20",), False),
        (("100 calls",), False),
    ],
)
def test_a_limit_below_what_a_first_step_may_cost_is_said_with_one_that_carries_ten(run, made, home, arguments, stops):
    (home / ".claude").mkdir()
    made.session(1)
    told = run("budget", "add", *arguments, "--dry-run").stderr
    assert ("stops every first prompt" in told) is stops
    if stops:
        assert "The first step of Claude Code with claude-opus-4-7 may cost $0.11: a limit of $0.01 " in told
        assert "$2.00 carries about 10 steps." in told


def test_how_hard_a_limit_on_a_name_is_in_the_clients_here_is_told_where_it_stands(run, run_json, file, home, made):
    made.session()
    for folder in (".claude", ".gemini"):
        (home / folder).mkdir()
    assert "Limits on" not in run("budget", "list").stdout
    assert not [each for each in run_json("doctor")["checks"] if each["check"].startswith("limits on")]
    for words in (("5", "--per", "day", "--agent", "Explore"), ("1", "--per", "day", "--skill", "x", "--soft")):
        assert run("budget", "add", *words).exit_code == 0
    assert run("budget", "add", "--plan", "5h").exit_code == 0
    listed = run("budget", "list").stdout
    assert "Limits on agents:\n  Claude Code: counted: yes; one at work is stopped: at its next tool" in listed
    assert "\n  Gemini CLI: not counted, and nothing is stopped\n" in listed
    assert "Limits on plans:\n  Claude Code: how much is used is told: in its status line\n" in listed
    checks = {each["check"]: each for each in run_json("doctor")["checks"] if each["check"].startswith("limits on")}
    assert {name: each["state"] for name, each in checks.items()} == {
        "limits on agents": "warn",
        "limits on skills": "ok",
        "limits on plans": "ok",
    }
    assert "--client gemini" in checks["limits on agents"]["to_do"]
