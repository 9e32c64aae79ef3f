"""`tallygate export`: what it writes where, what it never writes over, and that it adds up to `usage`."""

from __future__ import annotations

import csv
import io
import json
import os
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from tests.transcripts import COUNTS, DAY, write_all, write_claude

from tallygate.core.costing import Tokens
from tallygate.entrypoints.cli import export as command
from tallygate.operations.gate.record import UsageReport, record_usage

EVERYTHING = sum(COUNTS.values())


def total(text, column):
    return sum(Decimal(row[column]) for row in csv.DictReader(io.StringIO(text, newline="")))


def test_what_is_written_adds_up_to_usage_in_every_format(run, run_json, home, made):
    write_all(home)
    session = made.session()
    record_usage(made.app.runtime, UsageReport(made.call(session, tool_name="plan"), Tokens(8_000, output=400)))
    made.call(session, tool_name="edit")
    made.end(session)
    whole = run_json("usage")["total"]
    cost = run("usage", "--by", "tenant", "--csv").stdout
    expected = total(cost, "cost_usd")
    shown = run("export").stdout
    rows = [*csv.DictReader(io.StringIO(shown, newline=""))]
    assert len(rows) == whole["responses"] + whole["booked_calls"] == EVERYTHING + 2
    assert [row["at"] for row in rows] == sorted(row["at"] for row in rows)
    assert {row["basis"] for row in rows} == {"observed", "reported", "estimated"}
    assert {row["client"] for row in rows} >= {"claude-code", "codex", "gemini", "test"}
    assert total(shown, "cost_usd") == expected
    listed = json.loads(run("export", "--format", "json").stdout, parse_float=Decimal)
    assert sum(Decimal(row["cost_usd"]) for row in listed) == expected
    for version in ("1.0", "1.4"):
        focus = run("export", "--format", "focus", "--focus-version", version).stdout
        assert total(focus, "BilledCost") == total(focus, "ListCost") == expected


def test_a_span_is_by_days_of_the_user(run, home):
    for day in range(4):
        write_claude(home, [1], f"s{day}", at=DAY + timedelta(days=day))
    shown = run("export", "--since", "2026-03-02", "--until", "2026-03-03").stdout
    assert [row["client_session"] for row in csv.DictReader(io.StringIO(shown, newline=""))] == ["s1", "s2"]


def test_a_file_is_whole_and_for_its_user_alone(run, home):
    write_claude(home, [1, 2])
    done = run("export", "--out", "spent.csv")
    assert (done.stdout, done.exit_code) == ("", 0)
    assert "2 rows in spent.csv" in done.stderr
    assert Path("spent.csv").stat().st_mode & 0o777 == 0o600
    assert Path("spent.csv").read_bytes().count(b"\r\n") == 3
    assert [each.name for each in Path().glob("*spent*")] == ["spent.csv"]


@pytest.mark.parametrize("form", ["csv", "json", "focus"])
def test_an_earlier_export_is_replaced_only_on_demand(run, home, form):
    write_claude(home, [1])
    assert run("export", "--format", form, "--out", "spent").exit_code == 0
    before = Path("spent").read_bytes()
    write_claude(home, [2])
    refused = run("export", "--format", form, "--out", "spent")
    assert (refused.exit_code, Path("spent").read_bytes()) == (4, before)
    assert "--force" in refused.stderr
    assert run("export", "--format", "csv", "--out", "spent", "--force").exit_code == 0
    assert Path("spent").read_bytes() not in (b"", before)


@pytest.mark.parametrize("what", ["settings", "ledger", "like ours", "a list", "link", "folder", "pipe"])
def test_what_is_no_export_is_never_written_over(run, home, what):
    write_claude(home, [1])
    run("sync")
    target = Path("target")
    match what:
        case "settings":
            target.write_text('[[budget]]\nscope = "session"\nlimit_usd = 1\n')
        case "ledger":
            target = next(home.rglob("ledger.db"))
        case "like ours":
            target.write_text("kind,at is a list of mine\n")
        case "a list":
            target.write_text("[]\n mine")
        case "link":
            Path("old.csv").write_text("kind,at\n")
            target.symlink_to("old.csv")
        case "folder":
            target.mkdir()
        case "pipe":
            os.mkfifo(target)
    before = target.read_bytes() if target.is_file() else None
    for more in ([], ["--force"]):
        assert run("export", "--out", str(target), *more).exit_code == 4
    assert before is None or target.read_bytes() == before


def test_a_file_that_comes_meanwhile_stays(run, home, monkeypatch):
    write_claude(home, [1])

    def slow(rows):
        yield from (b"kind,at\n" for _ in rows)
        Path("spent.csv").write_text("somebody else's")

    monkeypatch.setattr(command, "csv_rows", slow)
    assert run("export", "--out", "spent.csv").exit_code == 4
    assert Path("spent.csv").read_text() == "somebody else's"


def test_what_fails_midway_leaves_nothing(run, home, monkeypatch):
    write_claude(home, [1])

    def broken(_rows):
        yield b"kind,at\n"
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(command, "csv_rows", broken)
    done = run("export", "--out", "spent.csv")
    assert done.exit_code == 2
    assert "No space left on device" in done.stderr
    assert [each.name for each in Path().glob("*spent*")] == []
    assert run("export", "--out", "nowhere/spent.csv").exit_code == 2


def test_another_tenant_is_exported_by_name(run, home):
    write_claude(home, [1], at=datetime.now(UTC))
    assert run("export", "--tenant", "other").stdout.count("\n") == 1
