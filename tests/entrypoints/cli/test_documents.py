"""What commands print with `--json` is what docs/json.toml says, nothing missing and nothing more."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import click
import jsonschema
import pytest
from tests.entrypoints.cli.small import THEIRS, small_ledger
from tests.entrypoints.cli.test_import_api import VARIABLES
from tests.entrypoints.cli.test_prices_update import FIRST, price_list, publisher
from tests.l6e import LOOSE, call, line, make_database, policy, record, session, used, write_log
from tests.statements.server import KEY, Fault, serving, used_in_march

from tallygate.entrypoints.cli.main import tallygate

DOCS = Path(__file__).resolve().parents[3] / "docs"


@pytest.fixture(scope="module")
def forms():
    """The program that writes the schema, with what it says."""
    sys.path.insert(0, str(DOCS))
    try:
        import json_schema
    finally:
        sys.path.remove(str(DOCS))
    return json_schema


@pytest.fixture(scope="module")
def declared(forms):
    return forms.declared()


def holds(forms, declared, command, document):
    errors = [*jsonschema.Draft202012Validator(forms.schema_of(declared, command)).iter_errors(document)]
    told = [f"{command}: {'/'.join(map(str, each.path))}: {each.message[:300]}" for each in errors]
    assert not told, "\n".join(told)


def with_json(command: click.Command, words: str = "") -> Iterator[str]:
    """Every command that takes --json."""
    if any("--json" in param.opts for param in command.params):
        yield words
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            assert below is not None
            yield from with_json(below, f"{words} {name}".strip())


# Answered with JSON in any case, or where it is asked for behind a file.
BESIDE = {"attest show", "import", "prices"}


def test_every_command_with_json_has_a_form(declared):
    assert {*with_json(tallygate)} <= {*declared["commands"]}
    assert {*declared["commands"]} - {*with_json(tallygate)} <= BESIDE


def test_every_name_and_form_is_used_and_every_type_is_one(forms, declared):
    used, named = set(), {*declared["commands"].values()}
    for shape, text in declared["shapes"].items():
        fields = [*forms.fields_of(declared, shape)]
        used |= {name for name, _, _ in fields}
        named |= {*re.findall(r"[+](\w+)", text)}
        for _, of, _ in fields:
            named |= {*re.findall(r"<(\w+)>", of)}
            assert re.sub(r"[?\[\]{}]", "", of).startswith("<") or re.sub(r"[?\[\]{}]", "", of) in forms.TYPES, of
        assert len(fields) == len({name for name, _, _ in fields}), f"{shape} says a name twice"
    assert {*declared["fields"]} - used == set()
    assert {*declared["shapes"]} == named
    assert list(declared["fields"]) == sorted(declared["fields"])
    jsonschema.Draft202012Validator.check_schema(forms.schema(declared))


def asked(small) -> list[tuple[str, list[str]]]:
    """Every command, by its name, with what is asked of it; those that change something come last."""
    return [
        ("usage", []),
        ("usage", ["--by", "session", "--breakdown"]),
        ("usage", ["--by", "model", "--period", "week"]),
        ("usage", ["--by", "tenant"]),
        ("usage", ["--since", "2999-01-01"]),
        ("report", []),
        ("history", []),
        ("history", ["--all"]),
        ("usage anomalies", []),
        ("sessions list", []),
        ("sessions show", [small.worked, "--calls"]),
        ("sessions show", [small.ended]),
        ("sessions show", [THEIRS, "--calls"]),
        ("budget list", []),
        ("budget check", [small.worked]),
        ("budget check", [small.worked, "--estimate", "500"]),
        ("why", [small.worked]),
        ("why", [small.call]),
        ("loop list", []),
        ("status", []),
        ("drift", []),
        ("prices", ["--limit", "3"]),
        ("prices", ["claude-sonnet-9"]),
        ("prices", ["nobody-has-this-1"]),
        ("estimate", ["claude-opus-4.7", "1000", "200"]),
        ("calibrate show", []),
        ("calibrate backtest", []),
        ("import list", []),
        ("import show", [small.bill]),
        ("import", ["--dry-run", "bill.csv", "other.csv"]),
        ("attest list", []),
        ("attest show", [small.attestation]),
        ("keys show", []),
        ("verify", []),
        ("doctor", []),
        ("doctor", ["--rebuild"]),
        ("sync", []),
        ("init", ["--dry-run"]),
        ("uninstall", ["--dry-run"]),
        ("trust", ["--user"]),
        ("ledger accept", ["--reason", "x"]),
        ("backup", ["copy.db"]),
        ("usage correct", [small.response, "--nothing", "--reason", "it never ran"]),
        ("calibrate rebuild", []),
        ("prices reset", []),
        ("import", ["other.csv"]),
        ("import delete", [small.bill]),
        ("restore", ["copy.db", "--reason", "to try"]),
    ]


def test_what_commands_answer_with_is_what_is_said_of_it(home, run, monkeypatch, forms, declared):
    small = small_ledger(home, run, monkeypatch)
    Path("other.csv").write_text(Path("bill.csv").read_text().replace("gpt-5.5", "gpt-5.4"))
    seen = set()
    for command, arguments in asked(small):
        result = run(*command.split(), *arguments, *([] if command == "attest show" else ["--json"]))
        assert result.stdout, (command, result.output)
        holds(forms, declared, command, json.loads(result.stdout))
        seen.add(command)
    assert {*declared["commands"]} - seen == {*OUTSIDE}


def fetching(home, run, monkeypatch):
    """`import fetch`: every provider, dry, again, where nothing was billed, and where it does not answer."""
    with serving(datetime.now(UTC).date()) as server:
        used_in_march(server)
        for provider, variable in VARIABLES.items():
            monkeypatch.setenv(f"TALLYGATE_{provider.upper()}_URL", server.url)
            monkeypatch.setenv(variable, KEY)
        for provider in VARIABLES:
            for more in (["--dry-run"], [], []):
                yield 0, run("import", "fetch", provider, "--since", "3d", *more, "--json")
        server.openrouter.clear()
        yield 0, run("import", "fetch", "openrouter", "--json")
        server.faults.append(Fault(401))
        yield 1, run("import", "fetch", "openai", "--json")
        yield 2, run("import", "fetch", "openai", "--since", "tomorrow", "--json")
        monkeypatch.setenv("TALLYGATE_OPENAI_URL", "http://api.example")
        yield 6, run("import", "fetch", "openai", "--json")


def pricing(home, run, monkeypatch):
    """`prices update`: from its publisher and a file, again, where it moves too far, and where there is no list."""
    (home / "data.json").write_bytes(FIRST)
    moved = price_list(("claude-opus-4-7", 6, 25), ("claude-haiku-4-5", 1, 4))
    with publisher((200, moved, {}), (200, moved, {}), (404, b"", {}), (200, b"[]", {})) as (address, _):
        yield 2, run("prices", "update", "data.json", "--json")
        yield 0, run("prices", "update", "data.json", "--force", "--json")
        monkeypatch.setenv("TALLYGATE_PRICES_URL", address)
        for code in (0, 0, 1, 2):
            yield code, run("prices", "update", "--json")
    yield 2, run("prices", "update", "none.json", "--json")


def taking_over(home, run, monkeypatch):
    """`import-l6e`: nothing there, a log alone, both, what is odd, what is left out, a file that is none."""
    yield 2, run("import-l6e", "--json")
    places = home / ".l6e"
    ended, bad = session(1), session(3, policy_json=json.dumps(policy(0)))
    write_log(places / "runs.jsonl", [line(1, [record(0)]), line(2, [], run_id=ended["session_id"])])
    yield 0, run("import-l6e", "--dry-run", "--json")
    yield 0, run("import-l6e", "--json")
    calls = [call(1, ended, **used()), call(2, ended, "0", model_used="claude-opus-4.7")]
    make_database(places / "sessions.db", [ended, session(2, ended=False)], calls, LOOSE)
    yield 0, run("import-l6e", "--json")
    make_database(places / "sessions.db", [bad], [call(9, session(7))])
    yield 1, run("import-l6e", "--json")
    yield 2, run("import-l6e", "bill.csv", "--json")


# Those that ask a provider or a publisher, and the one that reads another program's files: what is played, and how
# many times an answer comes.
OUTSIDE = {"import fetch": (fetching, 10), "prices update": (pricing, 3), "import-l6e": (taking_over, 4)}


@pytest.mark.parametrize("command", OUTSIDE)
def test_what_comes_from_outside_is_answered_in_the_form_that_is_said(home, run, monkeypatch, forms, declared, command):
    played, answers = OUTSIDE[command]
    for code, result in played(home, run, monkeypatch):
        assert result.exit_code == code, result.output
        if result.stdout:
            answers -= 1
            holds(forms, declared, command, json.loads(result.stdout))
        else:
            assert code != 0
            assert re.fullmatch(r"tallygate: [^\n]+\n", result.stderr), result.stderr
    assert answers == 0


@pytest.mark.parametrize("command", ["usage", "usage anomalies", "sessions list", "budget list", "status", "drift"])
def test_an_empty_home_answers_in_the_same_form(run, forms, declared, command):
    holds(forms, declared, command, json.loads(run(*command.split(), "--json").stdout))


def test_a_run_that_was_stopped_is_told_in_the_form_that_is_said(run, made, forms, declared):
    made.worked()
    found = json.loads(run("status", "--json").stdout)
    assert found["stopped"]
    holds(forms, declared, "status", found)


def test_a_name_that_is_not_said_and_one_that_is_missing_are_found(forms, declared):
    good = {"samples": 3}
    holds(forms, declared, "calibrate rebuild", good)
    for wrong in ({}, {**good, "more": 1}, {"samples": "3"}, {"samples": -1}):
        with pytest.raises(AssertionError):
            holds(forms, declared, "calibrate rebuild", wrong)
