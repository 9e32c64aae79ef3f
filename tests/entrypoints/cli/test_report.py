"""What agents said themselves in `tallygate usage`, by tenant and period, and what a tenant of the settings sees."""

from __future__ import annotations

import csv
import io
import os
from dataclasses import replace
from pathlib import Path

import pytest
from tests.entrypoints.cli.conftest import Made
from tests.repositories import repository
from tests.transcripts import DAY, PROJECT, write_claude
from tests.world import changed

from tallygate.app import compose, settings_here

TENANTS = ("acme", "globex")


@pytest.fixture
def two(home, monkeypatch):
    """A session with work in each of two tenants; returns their ids."""
    found = {}
    for tenant in TENANTS:
        monkeypatch.setenv("TALLYGATE_TENANT", tenant)
        app = compose(settings_here(), by="test")
        found[tenant] = Made(app).worked()
        app.close()
    monkeypatch.delenv("TALLYGATE_TENANT")
    return found


def rows_of(result):
    return list(csv.reader(io.StringIO(result.stdout_bytes.decode(), newline="")))


MONTHLY = ("usage", "--by", "tenant", "--period", "month")


def test_spending_by_tenant_and_month_as_a_table(run, two):
    head, *rows, total = run(*MONTHLY).stdout.splitlines()
    assert head.split() == [
        "TENANT", "PERIOD", "(UTC)", "RESP", "CALLS", "INPUT", "CACHE", "READ", "CACHE", "WRITE", "OUTPUT", "COST",
    ]  # fmt: skip
    assert sorted(row.split()[0] for row in rows) == [*TENANTS]
    assert total.split() == ["total", "-", "0", "2", "16,000", "0", "0", "800", "$0.10"], "their agents told it"


def test_the_old_name_of_the_list_is_this_one_and_says_so(run, two):
    told = run("report", *MONTHLY[1:])
    assert (told.exit_code, told.stdout) == (0, run(*MONTHLY).stdout)
    assert "`report` is `usage` now" in told.stderr
    assert "report" not in run("--help").stdout


def test_spending_as_json_has_numbers_and_what_they_are_about(run_json, two):
    found = run_json("usage", "--by", "tenant")
    assert (found["by"], found["period"], found["time_zone"], found["currency"]) == ("tenant", None, "UTC", "USD")
    told = found["lines"][0]
    assert (told["tenant"], told["sessions"], told["responses"], told["booked_calls"]) == ("acme", 1, 0, 1)
    assert (told["fresh_input_tokens"], told["output_tokens"]) == (8000, 400)
    amounts = {"cost": 0.05, "known_cost": 0.05, "approximate_cost": 0.0, "assumed_cost": 0.0, "exact_cost": 0.0}
    assert {name: told[name] for name in amounts} == amounts
    assert (found["total"]["cost"], found["total"]["sessions"]) == (0.1, 2)


def test_what_agents_said_themselves_is_listed_by_session_under_its_id(run_json, made):
    session_id = made.worked()
    [line] = run_json("usage", "--by", "session")["lines"]
    assert (line["client"], line["session"], line["cost"]) == ("test", session_id, 0.05)
    assert run_json("usage", "--client", "codex")["lines"] == run_json("usage", "--model", "gpt")["lines"] == []
    assert len(run_json("usage", "--model", "opus")["lines"]) == 1


def test_spending_as_csv_is_that_of_rfc_4180_with_amounts_to_the_last_digit(run, two):
    result = run(*MONTHLY, "--csv")
    rows = [dict(zip(rows_of(result)[0], row, strict=True)) for row in rows_of(result)[1:]]
    assert [row["tenant"] for row in rows] == [*TENANTS]
    wanted = {"sessions": "1", "responses": "0", "booked_calls": "1", "fresh_input_tokens": "8000", "cost_usd": "0.05",
              "exact_cost_usd": "0", "own_currency": ""}  # fmt: skip
    assert [{name: row[name] for name in wanted} for row in rows] == [wanted] * 2
    assert {row["period"] for row in rows} == {rows[0]["first_at"][:7]}
    assert result.stdout_bytes.count(b"\r\n") == result.stdout_bytes.count(b"\n") == 3


@pytest.mark.parametrize(
    "model, shown",
    [
        ("=HYPERLINK(1)", "'=HYPERLINK(1)"),
        ("+1", "'+1"),
        ("-2+3", "'-2+3"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\t=1", "'=1"),
        ("\x1b[2J=1", "[2J=1"),
        ('a,"b"\r\n=c', 'a,"b" =c'),
        ("plain", "plain"),
    ],
)
def test_no_cell_of_a_csv_acts_in_a_spreadsheet(run, made, model, shown):
    session = made.session(1000, model=model)
    made.call(session, prompt=10, output=1, tool_name="x")
    made.end(session)
    [_, row] = rows_of(run("usage", "--by", "model", "--csv"))
    assert row[0] == shown


def test_what_sessions_spent_in_pounds_stands_beside_the_dollars(run, run_json, made):
    session = made.session(1, currency="GBP", usd_nanos=1_250_000_000, rate_day="2026-11-20")
    made.call(session, prompt=10_000, output=0, tool_name="x")
    made.end(session)
    [line] = run_json("usage")["lines"]
    assert line["own_currency"] == [
        {"currency": "GBP", "cost": 0.04, "cost_usd": 0.05, "usd_per_unit": 1.25, "rate_day": "2026-11-20"}
    ]
    assert rows_of(run("usage", "--csv"))[1][-1] == "GBP 0.04"
    head, row, _ = run("usage").stdout.splitlines()
    assert head.endswith("OWN CURRENCY")
    assert row.split()[-1] == "£0.04"


@pytest.mark.parametrize(
    "arguments", [["--tenant", "a/b"], ["--since", "soon"], ["--by", "user"], ["--period", "year"], ["--period", "day"]]
)
def test_what_cannot_be_asked_for_is_refused_in_a_sentence(run, made, arguments):
    result = run("usage", *arguments)
    assert result.exit_code != 0
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("named", ["shop", "work/shop", "{shop}", "{shop}/", "w*k/shop"])
def test_a_report_of_a_project_is_about_what_usage_means_by_it(run, run_json, made, home, tmp_path, named):
    shop = repository(Path(os.path.realpath(tmp_path)) / "work" / "shop")
    inner, other = repository(shop / "lib"), repository(shop.parent / "workshop")
    for number, folder in enumerate((shop, inner, other), 1):
        made.app = replace(made.app, runtime=changed(made.app.runtime, project=str(folder)))
        made.worked()
        write_claude(home, [number], f"s{number}", cwd=str(folder))
    run("sync")
    named = named.format(shop=shop)
    found = run_json("usage", "--by", "project", "--project", named)
    assert [line["project"] for line in found["lines"]] == [str(shop), str(inner)]
    assert (found["total"]["booked_calls"], found["total"]["responses"]) == (2, 2)
    assert run("usage", "--project", "nowhere").stdout.startswith("No such usage.\n")


# ---------------------------------------------------------------- the tenant of the settings

LISTS = [
    ("sessions", "list"),
    ("sessions", "list", "--state", "open"),
    ("budget", "list"),
    ("status",),
    ("usage", "--by", "session", "--no-sync"),
    ("usage", "--by", "project", "--no-sync"),
]


@pytest.mark.parametrize("command", LISTS, ids=" ".join)
@pytest.mark.parametrize("tenant", TENANTS)
def test_a_tenant_sees_its_own_rows_and_nobody_elses(run, two, monkeypatch, command, tenant):
    monkeypatch.setenv("TALLYGATE_TENANT", tenant)
    shown = run(*command, json_=True).stdout
    [other] = {*TENANTS} - {tenant}
    assert two[other] not in shown
    assert f'"{other}"' not in shown
    if "project" not in command:
        assert two[tenant] in shown


@pytest.mark.parametrize("command", LISTS, ids=" ".join)
def test_where_no_tenant_is_set_rows_of_tenants_are_not_shown(run, two, command):
    shown = run(*command, json_=True).stdout
    assert not any(session in shown for session in two.values())


def test_a_session_of_another_tenant_is_not_found_or_ended(run, two, monkeypatch):
    monkeypatch.setenv("TALLYGATE_TENANT", "acme")
    for command in (("sessions", "show"), ("sessions", "end")):
        assert run(*command, two["globex"]).exit_code == 3
        assert run(*command, two["acme"]).exit_code == 0


def test_status_names_the_tenant_where_one_is_set(run, run_json, home, monkeypatch):
    assert run_json("status")["settings"]["tenant"] == "default"
    assert "tenant" not in run("status").stdout
    monkeypatch.setenv("TALLYGATE_TENANT", "acme")
    assert "acme" in run("status").stdout


def test_each_project_brings_its_tenant_and_its_transcripts_are_counted_there_alone(run, run_json, home, monkeypatch):
    shop, blog = home / "shop", home / "blog"
    for folder, text in ((shop, 'tenant = "acme"\n'), (blog, "")):
        (folder / ".l6e").mkdir(parents=True)
        (folder / ".l6e" / "config.toml").write_text(text)
    (shop / "src").mkdir()
    write_claude(home, [1, 2], "a", cwd=str(shop / "src"))
    write_claude(home, [1, 2, 3], "b", cwd=str(blog), at=DAY)
    write_claude(home, [1], "c", cwd=PROJECT)
    assert run("trust", str(shop), "--yes").exit_code == 0, "whose a project is, it cannot say by itself"
    assert run_json("usage")["total"]["responses"] == 4
    monkeypatch.chdir(shop)
    assert run_json("sync")["responses"]["elsewhere"] == 4
    assert run_json("usage")["total"]["responses"] == 2
    assert [line["session"] for line in run_json("usage", "--by", "session")["lines"]] == ["a"]
