"""`tallygate calibrate`, as a person uses it."""

from __future__ import annotations

import json

import pytest
from tests.world import the_user

from tallygate.core.costing import Tokens
from tallygate.operations.gate.record import UsageReport, record_usage
from tallygate.operations.learning.estimates import apply_factors


@pytest.fixture
def taught(made):
    """A ledger in which twenty steps cost twice what was said of them."""
    for _ in range(4):
        session = made.session(1000)
        for _ in range(5):
            call = made.call(session, tool_name="edit", prompt=10_000, output=0)
            record_usage(made.app.runtime, UsageReport(call, Tokens(fresh_input=20_000)))
    return made


def test_with_nothing_learned_it_says_what_it_takes(run, made):
    assert "Nothing was learned yet" in run("calibrate", "show").stdout


def test_what_was_learned_is_shown_by_client_and_model(run, run_json, taught):
    text = run("calibrate", "show").stdout
    assert text.splitlines()[0].split() == [
        "OF", "CLIENT", "MODEL", "SEEN", "FIRST", "STEP", "LATER", "STEPS", "RESERVED", "CONFIDENCE",
        "LAST", "(UTC)",
    ]  # fmt: skip
    assert text.splitlines()[1].startswith("agents ")
    assert "so that 80 of 100 steps stay below it" in text
    assert "none of it is reserved" not in text
    [learned] = run_json("calibrate", "show")["learned"]
    assert (learned["kind"], learned["client"], learned["reconciled_calls"], learned["confidence"]) == (
        "agent",
        "test",
        20,
        "medium",
    )
    assert 1 < float(learned["first_step"]) < 2
    assert 1.4 < float(learned["later_steps"]) < 2.1


def test_factors_of_the_user_and_from_bills_are_named_beside(run, run_json, taught, monkeypatch):
    apply_factors(taught.app.runtime, {"anthropic:claude-opus-4-7": 1_250_000}, "2026-10", authority=the_user("me"))
    monkeypatch.setenv("L6E_CALIBRATION_FACTORS", "claude-opus-4.7:1.5")
    text = run("calibrate", "show").stdout
    assert "Taken from bills: anthropic:claude-opus-4-7 1.250x since" in text
    assert "Set by you: claude-opus-4.7 1.500x" in text
    found = run_json("calibrate", "show")
    assert found["manual"] == [{"model": "claude-opus-4.7", "factor": 1.5}]
    assert found["billed"][0]["factor"] == 1.25
    assert "1 factor from bills" in run("calibrate", "reset", "--billed", "--yes").stdout
    assert run_json("calibrate", "show")["billed"] == []


def test_a_reset_asks_first_forgets_and_a_rebuild_learns_again(run, run_json, taught):
    assert run("calibrate", "reset").exit_code != 0, "nobody is there to say yes"
    assert len(run_json("calibrate", "show")["learned"]) == 1
    assert "Forgotten: 20 samples." in run("calibrate", "reset", "--client", "test", "--yes").stdout
    assert run_json("calibrate", "show")["learned"] == []
    assert run_json("calibrate", "rebuild") == {"samples": 20}
    assert run_json("calibrate", "show")["learned"][0]["reconciled_calls"] == 20
    assert run("verify").exit_code == 0


def test_what_nobody_has_learned_cannot_be_forgotten(run, taught):
    result = run("calibrate", "reset", "--model", "nothing", "--yes")
    assert result.exit_code == 3
    assert "Nothing was learned of that." in result.stderr
    both = run("calibrate", "reset", "--billed", "--client", "test", "--yes")
    assert both.exit_code == 2


def test_samples_are_exported_line_by_line(run, taught):
    lines = [json.loads(line) for line in run("calibrate", "export").stdout.splitlines()]
    assert len(lines) == 20
    assert lines[0]["actual_nanos"] == 2 * lines[0]["estimate_nanos"]
    assert [line["at"] for line in lines] == sorted(line["at"] for line in lines)
