"""The commands on a ledger in a database, as an operator and a member of a team run them."""

from __future__ import annotations

import pytest
from tests.postgres import shared

from tallygate.app import compose, settings_here
from tallygate.core.costing import Tokens
from tallygate.core.errors import LedgerUnavailable
from tallygate.operations.gate.authorize import StatedStep, authorize
from tallygate.operations.gate.record import UsageReport, record_usage
from tallygate.operations.sessions.opening import Opening, start_session

pytest.importorskip("psycopg", reason="the extra `postgres` is not installed")
MODEL = "claude-opus-4.7"


@pytest.fixture
def team(home):
    """Settings that name an empty database."""
    server = shared()
    name = f"team_{next(server.numbers)}"
    server.execute(f"CREATE DATABASE {name}")
    folder = home / ".config" / "tallygate"
    folder.mkdir(mode=0o700, parents=True)
    (folder / "config.toml").write_text(f'[paths]\ndatabase = "{server.url(name)}"\n')
    (folder / "config.toml").chmod(0o600)
    return name


def test_a_team_s_database_is_made_worked_with_shown_and_verified(team, run):
    told = run("status")
    assert told.exit_code == 5
    assert "tallygate migrate" in told.stderr
    assert "has schema " in run("migrate").stdout
    assert " already" in run("migrate").stdout
    app = compose(settings_here(), by="serve")
    session = start_session(app.runtime, Opening(10**9, MODEL, task_summary="t")).session.session_id
    answer = authorize(app.runtime, StatedStep(session, "edit"))
    assert answer.action == "allow"
    assert authorize(app.runtime, StatedStep(session, "edit", prompt_tokens=900_000)).action == "halt"
    record_usage(app.runtime, UsageReport(answer.call_id, Tokens(1000)))
    app.close()
    for command in (("status",), ("sessions",), ("budget", "list"), ("usage",), ("history",), ("why",), ("report",)):
        assert run(*command).exit_code == 0, command
    assert f"postgresql:///{team}" in run("status", "--json").stdout
    verified = run("verify")
    assert (verified.exit_code, "Everything verifies" in verified.stdout) == (0, True)
    doctor = run("doctor")
    assert f"postgresql:///{team}" in doctor.stdout
    assert " fail " not in f" {doctor.stdout} ".replace("failed", "")


def test_what_is_done_to_a_file_says_so_and_a_passphrase_is_not_asked_for(team, run):
    run("migrate")
    for command in (
        ("backup", "x.db"),
        ("restore", "x.db", "--reason", "r"),
        ("ledger", "accept", "--reason", "r"),
        ("doctor", "--rebuild"),
        ("lock",),
    ):
        told = run(*command)
        assert (told.exit_code, "in the database" in told.stderr) == (5, True), command


def test_the_script_for_roles_is_printed_and_a_file_needs_no_migration(run, home):
    assert "GRANT INSERT ON event" in run("migrate", "--roles").stdout
    assert "is the file" in run("migrate").stdout


def test_a_hook_that_finds_no_server_opens_no_database(team, run):
    run("migrate")
    app = compose(settings_here(), by="hook")
    with pytest.raises(LedgerUnavailable, match="no server of Tallygate runs here"):
        app.runtime.services.ledger.reading()
    app.close()
