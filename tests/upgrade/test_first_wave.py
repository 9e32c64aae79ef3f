"""The home that the first version left behind is taken over: ledger, answers, files half read, hooks in six clients."""

from __future__ import annotations

import json
import sqlite3
import zipfile
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import tallygate.app
from tallygate.app import App, compose, settings_here
from tallygate.clients.reading.files import FilePosition
from tallygate.core.costing import Tokens
from tallygate.core.errors import Conflict
from tallygate.entrypoints.cli.main import tallygate as program
from tallygate.entrypoints.cli.program import Program
from tallygate.ledger.audit.audit import audit
from tallygate.ledger.sqlite.database import SqliteLedger
from tallygate.operations.gate.authorize import StatedStep, authorize
from tallygate.operations.gate.record import UsageReport, record_usage

ARCHIVE = Path(__file__).with_name("first-wave.zip")
OLD_HOME, OLD_PYTHON = "/home/dev", "/opt/tallygate"
LEDGER = Path(".local/share/tallygate/ledger.db")


class Older:
    """The home of the older version, and what that version said of it."""

    def __init__(self, home: Path, told: dict[str, Any]) -> None:
        self.home, self.told = home, told

    def run(self, *arguments: str) -> Any:
        done = CliRunner().invoke(program, [*arguments, "--json"], obj=Program(settings_here, compose))
        assert done.exit_code == 0, done.output
        return json.loads(done.stdout)

    def text(self, name: str) -> str:
        return (self.home / name).read_text()


@pytest.fixture
def older(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Older]:
    """The archive unpacked into an empty home, two minutes after it was made."""
    with zipfile.ZipFile(ARCHIVE) as archive:
        told = json.loads(archive.read("told.json"))
        for name in archive.namelist():
            if name.startswith("home/"):
                path = home / name.removeprefix("home/")
                path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                path.write_bytes(archive.read(name))
                path.chmod(0o600)
    manifest = home / ".local/share/tallygate/init/manifest.json"
    manifest.write_text(manifest.read_text().replace(OLD_HOME, str(home)))
    with closing(sqlite3.connect(home / LEDGER)) as database, database:
        for path, position in database.execute("SELECT path, position FROM transcript_file").fetchall():
            here = Path(path.replace(OLD_HOME, str(home)))
            moved = json.loads(position) | {"device": here.stat().st_dev, "inode": here.stat().st_ino}
            database.execute("UPDATE transcript_file SET path = ?, position = ?", (str(here), json.dumps(moved)))
    later = int((datetime.fromisoformat(told["made_at"]).timestamp() + 120) * 1_000_000)
    monkeypatch.setattr(tallygate.app, "clock_us", lambda: later)
    for name in ("USER", "LOGNAME"):
        monkeypatch.setenv(name, "dev")
    monkeypatch.chdir(home / "shop")
    yield Older(home, told)
    with closing(SqliteLedger(home / LEDGER, clock=lambda: later, new_ledger_id=str)) as ledger:
        assert not audit(ledger)


def test_the_ledger_of_the_older_version_verifies_although_nobody_has_opened_it_yet(older: Older) -> None:
    done = older.run("verify")
    assert done["verifies"]
    assert any("older version" in note for note in done["notes"])
    assert not older.run("verify")["notes"]
    with closing(sqlite3.connect(older.home / LEDGER)) as database:
        assert database.execute("PRAGMA user_version").fetchone()[0] >= 23


@pytest.fixture
def app(older: Older) -> Iterator[App]:
    made = compose(settings_here(), by="test")
    yield made
    made.close()


def test_everything_in_it_verifies_and_costs_what_it_cost(older):
    sums = ("responses", "cost", "fresh_input_tokens", "cache_read_tokens", "output_tokens", "total_tokens")
    # What agents said themselves is listed, too, by now: of the client that writes its responses down it is the same.
    found = older.run("usage", "--client", "claude-code")
    assert {name: found["total"][name] for name in sums} == {name: older.told["usage"]["total"][name] for name in sums}
    booked = older.run("usage")["total"]
    assert (booked["responses"], booked["cost"] > found["total"]["cost"]) == (found["total"]["responses"], True)
    done = CliRunner().invoke(program, ["verify"], obj=Program(settings_here, compose))
    assert done.exit_code == 0, done.output


def test_its_sessions_and_budgets_stand_as_they_stood(older):
    figures = ("limit", "spent", "reserved", "left", "state", "calls", "pending", "halts", "currency")
    before = {each["session_id"]: each for each in older.told["sessions"]["sessions"]}
    after = {each["session_id"]: each for each in older.run("sessions", "list")["sessions"]}
    assert {id_: {name: each[name] for name in figures} for id_, each in after.items()} == {
        id_: {name: each[name] for name in figures} for id_, each in before.items()
    }


def test_a_call_that_was_answered_is_answered_the_same(older, app):
    running = older.told["running"]
    step = StatedStep(running["step"]["session_id"], "plan", prompt_tokens=3000, client_key="again")
    answer = authorize(app.runtime, step)
    assert (answer.call_id, answer.action.value) == (running["answer"]["call_id"], running["answer"]["action"])


def test_usage_that_was_recorded_is_known_and_other_usage_for_it_is_refused(older, app):
    arguments = older.told["recorded"]["arguments"]
    same = Tokens(fresh_input=arguments["actual_prompt_tokens"], output=arguments["actual_completion_tokens"])
    with app.runtime.services.ledger.reading() as reader:
        before = reader.head().seq
    assert record_usage(app.runtime, UsageReport(arguments["call_id"], same)).status == "reconciled"
    with app.runtime.services.ledger.reading() as reader:
        assert reader.head().seq == before
    with pytest.raises(Conflict, match="already has usage"):
        record_usage(app.runtime, UsageReport(arguments["call_id"], Tokens(fresh_input=1, output=1)))


def test_the_session_that_was_open_goes_on_within_its_raised_limit(older, app):
    session_id = older.told["running"]["run"]["session_id"]
    answer = authorize(app.runtime, StatedStep(session_id, "edit", prompt_tokens=2000))
    assert answer.action.value == "allow"
    record_usage(app.runtime, UsageReport(answer.call_id, Tokens(fresh_input=2000, output=400)))
    assert authorize(app.runtime, StatedStep(session_id, "edit", prompt_tokens=600_000)).action.value == "halt"
    with app.runtime.services.ledger.reading() as reader:
        assert reader.budget(session_id).limit == 1_750_000_000


def test_a_transcript_that_was_half_read_is_read_on_and_counts_once(older):
    path = next((older.home / ".claude/projects").rglob("*.jsonl"))
    row = older.told["next_row"]
    whole = path.read_text()
    cut = whole.rindex("\n") + 1
    path.write_text(whole[:cut] + row)
    older.run("sync")
    assert older.run("usage")["total"]["responses"] == older.told["usage"]["total"]["responses"] + 1


def test_positions_of_files_keep_their_form(older):
    with closing(sqlite3.connect(older.home / LEDGER)) as database:
        stored = [text for (text,) in database.execute("SELECT position FROM transcript_file")]
    assert stored
    for text in stored:
        assert FilePosition.from_json(json.loads(text)).as_json() == json.loads(text)


def test_init_over_its_installation_leaves_no_old_command_and_uninstall_gives_the_users_files_back(older):
    clients = ("claude-code", "codex", "gemini", "opencode", "copilot", "qwen")
    chosen = [part for client in clients for part in ("--client", client)]
    older.run("init", *chosen)
    installed = [
        path
        for path in older.home.rglob("*")
        if path.is_file() and LEDGER.parent not in path.relative_to(older.home).parents
    ]
    assert not [path for path in installed if path.suffix != ".jsonl" and OLD_PYTHON in path.read_text()]
    older.run("uninstall")
    for name, text in older.told["before"].items():
        assert older.text(name) == text, name
