"""`tallygate import fetch`, as a user runs it: the real command against a provider on loopback."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.statements.server import DAY, KEY, Fault, serving, used_in_march

from tallygate.entrypoints.cli.import_bills import PROVIDERS
from tallygate.operations.bills.keep import SOURCES

SRC = Path(__file__).resolve().parents[3] / "src"
VARIABLES = {
    "anthropic": "ANTHROPIC_ADMIN_KEY",
    "openai": "OPENAI_ADMIN_KEY",
    "openrouter": "OPENROUTER_MANAGEMENT_KEY",
}


@pytest.fixture
def server(monkeypatch):
    with serving(datetime.now(UTC).date()) as held:
        used_in_march(held)
        for provider, variable in VARIABLES.items():
            monkeypatch.setenv(f"TALLYGATE_{provider.upper()}_URL", held.url)
            monkeypatch.setenv(variable, KEY)
        # Nothing of these tests passes through whatever proxy the machine has.
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, "http://192.0.2.1:9")
        yield held


def everything_below(folder):
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("provider", VARIABLES)
def test_what_is_kept_is_what_the_provider_holds(run_json, server, home, provider):
    answer = run_json("import", "fetch", provider)
    last = server.today if provider != "openrouter" else server.today - DAY
    count = 31 if provider != "openrouter" else 30
    assert (answer["since"], answer["until"]) == (f"{last - (count - 1) * DAY}", f"{last}")
    assert [bill["bill_id"] for bill in run_json("import", "list")["bills"]] == [
        bill["bill_id"] for bill in reversed(answer["bills"])
    ]
    assert all(bill["new"] and bill["state"] == "counts" for bill in answer["bills"])
    if provider == "anthropic":
        days = {last - number * DAY for number in range(31)}
        cents = sum(row["cents"] for row in server.anthropic_costs if row["day"] in days)
        total = answer["bills"][1]["total"]
        assert total == pytest.approx(float(cents) / 100, abs=1e-9)
    assert KEY.encode() not in everything_below(home)
    assert all(not bill["new"] for bill in run_json("import", "fetch", provider)["bills"])


def test_a_dry_run_asks_and_keeps_nothing(run, run_json, server):
    bills = run_json("import", "fetch", "openai", "--dry-run")["bills"]
    assert [(bill["bill_id"], bill["new"], bill["lines"]) for bill in bills] == [(None, True, 31), (None, True, 124)]
    assert run_json("import", "list") == {"bills": []}
    assert "nothing was written" in run("import", "fetch", "openai", "--dry-run").stderr


def test_the_answer_is_a_table_and_says_what_replaces_what(run, server):
    first = run("import", "fetch", "openai", "--since", "3d")
    assert first.exit_code == 0, first.output
    assert "openai_cost_api" in first.stdout
    assert "imported" in first.stdout
    server.openai_costs[0]["value"] += 1
    second = run("import", "fetch", "openai", "--since", "3d")
    assert "16 lines stand in earlier bills as well, and count here from now on" in second.stderr
    assert "was there already" in run("import", "fetch", "openai", "--since", "3d").stdout


def test_days_without_use_make_no_bill(run, server):
    server.openrouter.clear()
    result = run("import", "fetch", "openrouter")
    assert (result.exit_code, result.stdout) == (0, "")
    assert "OpenRouter tells of nothing" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "why"),
    [
        (("mistral",), 2, "'mistral' is not one of"),
        (("openai", "--since", "tomorrow"), 2, "is no moment"),
        (("openai", "--since", "2026-03-02", "--until", "2026-03-01"), 2, "there are no days to ask OpenAI for"),
        (("openrouter", "--since", "60d"), 2, "OpenRouter keeps 30 days"),
        (("openai", "--since", "9999-12-31T10:00", "--until", "9999-12-31T23:59"), 2, "there are no days"),
        (("openai", "--since", "9999-12-31", "--until", "9999-12-31"), 2, "is no moment"),
        (("openai", "--since", "0001-01-01"), 2, "lies before 2000"),
        (("openai", "--key", KEY), 2, "No such option"),
        (("openai", KEY), 2, "unexpected extra argument"),
    ],
)
def test_impossible_questions_are_refused_before_anybody_is_asked(run, server, arguments, code, why):
    result = run("import", "fetch", *arguments)
    assert (result.exit_code, why in result.stderr) == (code, True), result.stderr
    assert server.asked == []


@pytest.mark.parametrize(
    ("fault", "code", "why"),
    [
        (Fault(401), 1, "It takes an admin key (sk-admin-"),
        (Fault(403), 1, "does not let this key read usage and costs (HTTP 403)"),
        (Fault(302, headers={"location": "https://evil.example"}), 1, "a key is not sent on"),
        (Fault(body=b"<html>"), 1, "something else than it documents: it is not JSON"),
        (Fault(429, headers={"retry-after": "86400"}), 1, "wants to be asked again in 86,400 s"),
    ],
)
def test_a_provider_that_does_not_answer_leaves_everything_as_it_was(run, run_json, server, fault, code, why):
    server.faults.append(fault)
    result = run("import", "fetch", "openai")
    assert (result.exit_code, why in result.stderr) == (code, True), result.stderr
    assert result.stderr.count("\n") == 1
    assert KEY not in result.output
    assert run_json("import", "list") == {"bills": []}


def test_a_short_wait_is_said_and_the_answer_comes(run, server):
    server.faults.append(Fault(429, headers={"retry-after": "0"}))
    result = run("import", "fetch", "openai")
    assert result.exit_code == 0
    assert "OpenAI has had too many questions (HTTP 429); asking again in 0 s." in result.stderr


@pytest.mark.parametrize("provider", VARIABLES)
def test_a_key_that_is_missing_is_asked_for_by_the_name_of_its_variable(run, server, monkeypatch, provider):
    monkeypatch.delenv(VARIABLES[provider])
    monkeypatch.setitem(sys.modules, "keyring", None)
    result = run("import", "fetch", provider)
    assert (result.exit_code, f"Set {VARIABLES[provider]}" in result.stderr) == (6, True)
    assert server.asked == []


@pytest.mark.parametrize("address", ["http://api.openai.com", "http://localhost:1", "https://me:pass@api.example"])
def test_a_key_is_not_sent_to_an_address_that_anybody_could_read(run, server, monkeypatch, address):
    monkeypatch.setenv("TALLYGATE_OPENAI_URL", address)
    result = run("import", "fetch", "openai")
    assert (result.exit_code, "no address that a key may be sent to" in result.stderr) == (6, True)


def test_a_project_cannot_choose_the_address(run, server, home):
    (home / ".git").mkdir()
    (home / "project" / ".l6e").mkdir(parents=True)
    (home / "project" / ".l6e" / "config.toml").write_text('openai_url = "https://evil.example"\n', encoding="utf-8")
    os.chdir(home / "project")
    assert run("import", "fetch", "openai").exit_code == 0
    assert server.asked, "the user's address is asked, and no other"


def test_the_whole_program_asks_with_the_key_and_shows_it_nowhere(server, home):
    done = subprocess.run(
        [sys.executable, "-m", "tallygate", "import", "fetch", "anthropic", "--json"],
        env={**os.environ, "PYTHONPATH": str(SRC)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert [bill["lines"] for bill in json.loads(done.stdout)["bills"]] == [62, 217]
    assert KEY.encode() not in everything_below(home) + done.stdout.encode()


def test_every_provider_that_can_be_asked_can_be_named():
    assert sorted(SOURCES) == sorted(PROVIDERS)


def test_no_other_command_needs_the_library_that_asks(server):
    loaded = "import sys, tallygate.entrypoints.cli.main as m; print('httpx2' in sys.modules, 'keyring' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", loaded], env={**os.environ, "PYTHONPATH": str(SRC)}, capture_output=True, check=True
    )
    assert done.stdout.split() == [b"False", b"False"]
