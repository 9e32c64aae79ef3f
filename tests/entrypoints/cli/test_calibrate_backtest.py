"""`tallygate calibrate backtest`, as a person and as a program read it."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner
from tests.entrypoints.cli.conftest import MODEL, PROGRAM

from tallygate.app import compose, settings_here
from tallygate.core.costing import Tokens
from tallygate.entrypoints.cli.main import tallygate
from tallygate.operations.gate.authorize import StatedStep, authorize
from tallygate.operations.gate.record import UsageReport, record_usage
from tallygate.operations.sessions.opening import Opening, start_session


@pytest.fixture
def run(home):
    def run_(*arguments):
        return CliRunner().invoke(tallygate, ["calibrate", "backtest", *arguments], obj=PROGRAM)

    return run_


@pytest.fixture
def worked(home):
    """Twenty calls that cost three times what their agent had said."""
    app = compose(settings_here(), by="test")
    session = start_session(app.runtime, Opening(50 * 10**9, MODEL)).session.session_id
    for _ in range(20):
        answer = authorize(app.runtime, StatedStep(session, "edit", prompt_tokens=10_000, completion_tokens=0))
        record_usage(app.runtime, UsageReport(answer.call_id, Tokens(fresh_input=30_000)))
    app.close()


def test_a_ledger_without_sessions_says_what_to_do(run):
    result = run()
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == "No sessions: `tallygate sync` reads what clients wrote down.\n"
    assert run("--since", "1d").stdout.startswith("No sessions of that time:")


def test_every_gate_has_its_line(run, worked):
    result = run("--budget", "1")
    assert (result.exit_code, result.stderr) == (0, "")
    assert "What agents estimated: 1 session, 20 calls" in result.stdout
    assert "1 of them needed more than a budget of $1.00." in result.stdout
    lines = {line.split()[0]: line.split()[1:] for line in result.stdout.splitlines() if "%" in line}
    assert lines["sum"] == ["200.0", "%", "200.0", "%", "100.0", "%", "0.0", "%", "-"]
    assert lines["oracle"] == ["0.0", "%", "0.0", "%", "0.0", "%", "10.0", "%", "-"]
    assert "Estimates were off by 3.00x in the middle" in result.stdout


def test_a_program_reads_shares_as_numbers(run, worked):
    found = json.loads(run("--budget", "1", "--json").stdout)
    assert (found["quantile_percent"], found["budget_usd"]) == (80, 1)
    [kind] = found["kinds"]
    assert (kind["kind"], kind["calls"], kind["calls_with_something_learned"]) == ("agent", 20, 10)
    assert [gate["gate"] for gate in kind["gates"]] == ["sum", "naive", "learned", "oracle"]
    assert (kind["gates"][0]["over_mean"], kind["gates"][0]["false_halts"]) == (2, None)
    assert json.loads(run("--json").stdout)["budget_usd"] is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--budget", "much"), "tallygate: --budget must be an amount such as 2.50 or $2.50, not 'much'.\n"),
        (("--budget", "0"), "tallygate: --budget must be more than 0, not '0'.\n"),
        (("--since", "soon"), None),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(run, arguments, message):
    result = run(*arguments)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert message is None or result.stderr == message
