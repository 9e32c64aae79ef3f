"""`tallygate sessions`: lists, one in full, ending one, ids cut short."""

from __future__ import annotations

import json
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import click
import pytest
from click.testing import CliRunner
from tests.entrypoints.cli.conftest import Made
from tests.entrypoints.cli.test_local_days import settings_file
from tests.entrypoints.cli.test_status_and_doctor import tamper
from tests.reading_rules import Rule
from tests.transcripts import PROJECT, write_claude
from tests.world import changed

from tallygate.app import compose, settings_here
from tallygate.core.costing import Tokens
from tallygate.core.moments import as_datetime
from tallygate.core.usage import UNKNOWN_MODEL, ObservedUsage
from tallygate.entrypoints.cli.sessions import session_table
from tallygate.operations.sessions.ending import end_session
from tallygate.operations.sessions.opening import Opening, start_session
from tallygate.operations.usage.ingest import FileReading, ingest, link_session
from tallygate.operations.views.overview import list_sessions


def test_a_list_without_sessions_says_where_those_are_that_never_met_the_gate(run):
    assert "usage --by session" in run("sessions", "list").stderr


def test_an_empty_ledger_has_no_sessions(run, run_json):
    assert run("sessions", "list").stdout == "No sessions.\n"
    assert run("sessions", "list", "--state", "open").stdout == "No open sessions.\n"
    assert run_json("sessions", "list") == {"sessions": []}


def test_a_list_says_what_is_left_of_each_session(run_json, made):
    session_id = made.worked()
    [found] = run_json("sessions", "list")["sessions"]
    assert found["session_id"] == session_id
    assert (found["state"], found["model"], found["task_summary"]) == ("open", "claude-opus-4.7", "mend the parser")
    assert (found["limit"], found["spent"], found["reserved"], found["left"]) == (1.0, 0.05, 0.075, 0.875)
    assert (found["calls"], found["pending"], found["halts"], found["pressure"]) == (2, 1, 1, "low")


def test_the_youngest_session_comes_first_and_the_limit_is_kept(run_json, made):
    ids = [made.session() for _ in range(3)]
    found = run_json("sessions", "list", "--limit", "2")["sessions"]
    assert [each["session_id"] for each in found] == ids[:0:-1]


@pytest.mark.parametrize(("state", "count"), [("open", 1), ("ended", 2), ("all", 3)])
def test_a_list_can_be_narrowed_by_state(run_json, made, state, count):
    for number in range(3):
        session_id = made.session()
        if number:
            made.end(session_id)
    assert len(run_json("sessions", "list", "--state", state)["sessions"]) == count


def test_a_table_names_a_session_by_the_end_of_its_id(run, made):
    session_id = made.worked()
    [head, row] = run("sessions", "list").stdout.splitlines()
    assert head.split()[:3] == ["ID", "STATE", "STARTED"]
    assert row.startswith(session_id[-8:])
    assert session_id not in row


def test_amounts_stand_with_their_points_below_one_another(run, made):
    made.session(1)
    made.session(100)
    head, *rows = run("sessions", "list").stdout.splitlines()
    limits = [row[: head.index("LIMIT") + len("LIMIT") + 1] for row in rows]
    assert len({limit.rindex(".") for limit in limits}) == 1


def test_one_session_is_shown_with_what_it_spent_on_what(run, run_json, made):
    session_id = made.worked()
    found = run_json("sessions", "show", session_id)
    assert found["session_id"] == session_id
    assert found["total_cost"] == 0.125
    assert found["by_model"] == [{"name": "claude-opus-4.7", "calls": 2, "cost": 0.125}]
    assert {each["name"]: each["cost"] for each in found["by_tool"]} == {"edit": 0.075, "plan": 0.05}
    assert {each["name"] for each in found["by_actor"]} == {"helper", "parent_agent"}
    assert {"action": "halt", "reason": "budget_pressure:halt", "count": 1} in found["decisions"]
    assert found["exactness_state"] == "partial_exact"
    assert found["budgets"][0]["left"] == 0.875
    assert "calls" not in found
    text = run("sessions", "show", session_id).stdout
    for part in (session_id, "mend the parser", "helper", "stopped, over the limit", "in part", "$0.0750"):
        assert part in text


def test_every_call_is_shown_when_asked_for(run, run_json, made):
    session_id = made.worked()
    found = run_json("sessions", "show", session_id, "--calls")["calls"]
    assert [(call["tool_name"], call["action"], call["state"]) for call in found] == [
        ("plan", "allow", "reconciled"),
        ("edit", "allow", "pending"),
        ("read", "halt", "denied"),
    ]
    assert found[0]["actual_tokens"]["fresh_input"] == 8_000
    assert "\nCalls\n" in run("sessions", "show", session_id, "--calls").stdout


@pytest.mark.parametrize(
    "cut", [lambda text: text[-6:], lambda text: text[-8:], lambda text: text[:-1], lambda text: text]
)
def test_an_id_may_be_cut_to_an_end_that_no_other_has(run_json, made, cut):
    session_id = made.worked()
    made.session()
    assert run_json("sessions", "show", cut(session_id))["session_id"] == session_id


def test_an_end_that_several_ids_have_is_an_error_with_the_candidates(run, made):
    ids = [made.session(), made.session()]
    result = run("sessions", "show", "session_test")
    assert result.exit_code == 2
    assert all(session_id in result.stderr for session_id in ids)
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("text", ["%%%%%%%%", "________", "*******"])
def test_signs_with_a_meaning_in_a_search_are_only_signs(run, made, text):
    made.session()
    assert run("sessions", "show", text).exit_code == 3


def test_fewer_than_six_characters_name_nothing(run, made):
    session_id = made.session()
    result = run("sessions", "show", session_id[-5:])
    assert result.exit_code == 3
    assert "6 characters or more" in result.stderr


def test_ending_a_session_closes_its_calls_and_writes_its_line(run, run_json, made, home):
    session_id = made.worked()
    result = run("sessions", "end", session_id[-8:], "--summary", "left for tomorrow")
    assert result.exit_code == 0
    assert f"{session_id} has ended: 2 calls, $0.12." in result.stdout
    found = run_json("sessions", "show", session_id, "--calls")
    assert (found["state"], found["end_cause"], found["end_summary"]) == ("ended", "user", "left for tomorrow")
    assert [call["state"] for call in found["calls"]] == ["reconciled", "expired", "denied"]
    [line] = (made.app.settings.paths.run_log).read_text().splitlines()
    assert json.loads(line)["run_id"] == session_id


def test_an_attestation_is_named_by_the_beginning_or_the_end_of_its_id(run, run_json, made):
    run("sessions", "end", made.worked())
    first, second = (each["id"] for each in run_json("attest", "list")["attestations"])
    for part in (first, first[:10], first[-8:]):
        assert json.loads(run("attest", "show", part).stdout)["id"] == first
    shown = run("attest", "list").stdout
    assert first not in shown
    for text in (line.split()[0] for line in shown.splitlines()[1:]):
        assert json.loads(run("attest", "show", text).stdout)["id"] in (first, second)
    assert run("attest", "show", "att_").exit_code == 3
    assert "is shortened to 6 characters or more" in run("attest", "show", "att_").stderr


def test_ending_a_session_signs_what_it_came_to_and_prints_the_head_of_the_chain(run, run_json, made):
    session_id = made.worked()
    said = run("sessions", "end", session_id).stdout
    signed = run_json("attest", "list", "--session", session_id)["attestations"]
    assert [each["kind"] for each in signed] == ["session-summary", "budget-exhausted"]
    assert all(each["key_id"] for each in signed)
    assert signed[0]["id"] in said
    head = run_json("status")["ledger"]["head"]
    assert head in said
    assert head in run("status", "-v").stdout
    assert run("verify", "--head", head).exit_code == 0


def test_a_key_that_cannot_be_used_is_said_and_the_session_ends(run, run_json, made):
    session_id = made.worked()
    run("keys", "show")
    made.app.settings.paths.key_dir.joinpath("signing-key.json").chmod(0o644)
    result = run("sessions", "end", session_id)
    assert (result.exit_code, "chmod 600" in result.stderr, "Signed:" in result.stdout) == (0, True, False)
    made.app.settings.paths.key_dir.joinpath("signing-key.json").chmod(0o600)
    assert "Signed:" in run("sessions", "end", session_id).stdout


def test_a_session_in_another_currency_is_shown_with_its_budget_in_that_and_its_costs_in_dollars(run, run_json, made):
    session_id = made.session(2, currency="EUR", usd_nanos=1_250_000_000, rate_day="2026-09-01")
    made.call(session_id, tool_name="plan")
    [line] = run_json("sessions", "list")["sessions"]
    assert (line["limit"], line["spent"] + line["reserved"], line["left"]) == (2.0, 0.06, 1.94)
    assert "€1.94" in run("sessions", "list").stdout
    assert "$0.0750 in 1 call" in run("sessions", "show", session_id).stdout
    assert "has ended: 1 call, $0.0750." in run("sessions", "end", session_id).stdout


def test_ending_an_ended_session_changes_nothing(run, run_json, made):
    session_id = made.worked()
    run("sessions", "end", session_id)
    before = run_json("status")["ledger"]["head"]
    assert run("sessions", "end", session_id, "--summary", "again").exit_code == 0
    assert run_json("status")["ledger"]["head"] == before


def test_a_line_that_cannot_be_written_is_said_and_the_session_ends(run, run_json, made):
    session_id = made.session()
    made.app.settings.paths.run_log.mkdir(parents=True)
    result = run("sessions", "end", session_id)
    assert result.exit_code == 0
    assert "waits in the ledger" in result.stderr
    assert run_json("status")["run_log"]["waiting"] == [session_id]


def test_a_response_is_named_as_a_correction_takes_it(run, run_json, made, home):
    made.app = replace(made.app, runtime=changed(made.app.runtime, project=PROJECT))
    session_id = made.session()
    write_claude(home, [1, 2], at=datetime.now(UTC) + timedelta(seconds=1))
    run("sync")
    found = run_json("sessions", "show", session_id, "--calls")["responses"]
    assert len(found) == 2
    text = run("sessions", "show", session_id, "--calls").stdout
    for each in found:
        assert each["response"] in text
        assert each["cost"] > 0
        done = run_json("usage", "correct", each["response"], "--nothing", "--reason", "it never ran")
        assert done["cost"] == 0
    assert "responses" not in run_json("sessions", "show", session_id)
    again = run_json("sessions", "show", session_id, "--calls")["responses"]
    assert [(each["cost"], each["corrected"]) for each in again] == [(0, "it never ran")] * 2


def test_a_response_of_which_something_was_guessed_is_marked(run, run_json, made, home):
    made.app = replace(made.app, runtime=changed(made.app.runtime, project=PROJECT))
    session_id = made.session()
    soon = datetime.now(UTC) + timedelta(seconds=1)
    write_claude(home, [1], at=soon)
    assert run("sync").exit_code == 0
    assert "ODD" not in run("sessions", "show", session_id, "--calls").stdout
    write_claude(home, [2], at=soon, usage={"input_tokens": "100,000"}, model=None)
    run("sync")
    found = run_json("sessions", "show", session_id, "--calls")["responses"]
    assert [each["odd"] for each in found] == [[], ["count_as_text", "no_model"]]
    assert "count_as_text no_model" in run("sessions", "show", session_id, "--calls").stdout


def test_a_session_whose_model_nobody_named_is_listed_by_the_one_that_most_was_spent_on(run, run_json, made):
    session_id = made.session(model=UNKNOWN_MODEL)
    assert run_json("sessions", "list")["sessions"][0]["model"] == "unknown"
    at = as_datetime(made.app.runtime.services.clock_us())
    rows = [
        ObservedUsage("codex", "theirs", f"r{n}", at, model, Tokens(output=count), Rule.CODEX_LAST)
        for n, (model, count) in enumerate([("claude-haiku-4-5", 10), ("claude-opus-4-7", 10_000)])
    ]
    link_session(made.app.runtime, "codex", "theirs", session_id)
    ingest(made.app.runtime, FileReading("codex", "/t", rows))
    [found] = run_json("sessions", "list")["sessions"]
    assert found["model"] == run_json("sessions", "show", session_id)["model"] == "claude-opus-4-7"
    assert "claude-opus-4-7" in run("sessions", "list").stdout
    assert "model claude-opus-4-7" in run("sessions", "show", session_id).stdout


def test_a_session_is_named_by_its_client_s_id_too_wherever_an_id_is_asked_for(run, run_json, made):
    theirs = "0b6a3c5e-1111-4222-8333-444455556666"
    first, again = made.session(), made.session()
    made.call(again, tool_name="edit")
    for session_id in (first, again):
        link_session(made.app.runtime, "claude_code", theirs, session_id)
    for named in (theirs, theirs[:8], theirs[-12:]):
        assert run_json("sessions", "show", named)["session_id"] == again, "it went on with that one"
        assert run_json("why", named)["session_id"] == again
        assert run_json("budget", "check", named)["session_id"] == again
        assert run("budget", "raise", named, "1").stdout.startswith(again[-8:])
        assert run("drift", "--session", named).exit_code == 0
        assert run("attest", "list", "--session", named).exit_code == 0
    link_session(made.app.runtime, "codex", f"{theirs[:8]}-other", first)
    assert "fits more than one session" in run("sessions", "show", theirs[:8]).stderr
    assert run_json("sessions", "show", theirs)["session_id"] == again
    assert run("sessions", "end", f"{theirs[:8]}-other").stdout.startswith(first)


def test_a_session_of_which_the_tables_have_no_budget_is_listed_with_the_others_and_named(run, run_json, made):
    lost, kept = made.worked(), made.session()
    tamper(made.app.settings.paths.database, f"DELETE FROM budget WHERE budget_id = '{lost}'")
    result = run("sessions", "list")
    assert result.exit_code == 0
    assert [row.split()[0] for row in result.stdout.splitlines()[1:]] == [kept[-8:], lost[-8:]]
    assert f"Session {lost[-8:]} has no budget in the ledger's tables any more." in result.stderr
    found = {each["session_id"]: each for each in run_json("sessions", "list")["sessions"]}
    assert [found[lost][name] for name in ("budget", "limit", "left", "tightest_left_usd")] == [None] * 4
    assert (found[lost]["spent"], found[kept]["left"]) == (0.05, 1.0)
    assert run("status").exit_code == 0
    refused = run("budget", "raise", lost, "1")
    assert (refused.exit_code, f"Session {lost[-8:]} has no budget" in refused.stderr) == (3, True)


def test_a_session_whose_own_budget_is_lost_does_not_raise_everybody_s_day(run, made):
    made.app.close()
    settings_file('[[budget]]\nscope = "global"\nperiod = "day"\nlimit_usd = 9\n')
    with closing(compose(settings_here(), by="test")) as app:
        session_id = Made(app).worked()
    tamper(made.app.settings.paths.database, f"DELETE FROM budget WHERE budget_id = '{session_id}'")
    refused = run("budget", "raise", session_id, "1")
    assert (refused.exit_code, "no budget but those of the settings" in refused.stderr) == (3, True)


def test_a_budget_of_tokens_has_a_short_id_that_the_command_takes(run, run_json, made):
    made.app.close()
    settings_file('[[budget]]\nscope = "session"\nlimit_tokens = 50000\nmode = "soft"\n')
    with closing(compose(settings_here(), by="test")) as app:
        opening = Opening(limit_nanos=10**9, model="claude-opus-4.7", client="test")
        session_id = start_session(app.runtime, opening).session.session_id
    short = f"{session_id[-8:]}:tokens:soft"
    assert any(line.startswith(f"{short} ") for line in run("budget", "list").stdout.splitlines())
    assert run("budget", "raise", short, "1000").exit_code == 0
    assert {each["limit"] for each in run_json("budget", "list")["budgets"]} == {1.0, 51_000}


def test_a_budget_is_shown_once_however_many_sessions_live_on_it(made):
    own = made.session()
    with made.app.ledger.reading(made.app.runtime.tenant) as reader:
        line = list_sessions(made.app.runtime, state=None, limit=1)[0]
        other = reader.session(own)
    again = replace(line, session=replace(other, session_id="session_codex_2026-11-30_" + "ab" * 12))
    for lines, limits in (([again, line], ["-", "$1.00"]), ([again, again], ["$1.00", "-"]), ([line], ["$1.00"])):
        runner = CliRunner()
        told = runner.invoke(click.Command("x", callback=lambda lines=lines: session_table(lines, "UTC"))).stdout
        head, *rows = told.splitlines()
        at = head.index("LIMIT")
        assert [row[at - 2 : at + 6].split()[0] for row in rows] == limits


@pytest.mark.parametrize(
    ("cause", "words"),
    [
        ("run_end", "by its agent"),
        ("client_gone", "when its client had left"),
        ("client_ended:clear", "by its client (clear)"),
        ("something:new", "by something:new"),
    ],
)
def test_what_ended_a_session_is_told_in_words(run, run_json, made, cause, words):
    session_id = made.session()
    end_session(made.app.runtime, session_id, cause=cause)
    assert words in run("sessions", "show", session_id).stdout.splitlines()[1]
    assert run_json("sessions", "show", session_id)["end_cause"] == cause


def test_how_much_is_counted_is_told_in_words_and_in_json_by_its_name(run, run_json, made):
    session_id = made.worked()
    text = run("sessions", "show", session_id).stdout
    assert "counted      in part: the rest is estimated, or said by the agent itself" in text
    assert "exact" not in text
    assert run_json("sessions", "show", session_id)["exactness_state"] == "partial_exact"
