"""What commands print with `--json` is what docs/json.toml says, nothing missing and nothing more."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import jsonschema
import pytest
from tests.entrypoints.cli.small import THEIRS, small_ledger

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
    # Those that ask a provider, and the one that reads another program's database, have tests of their own.
    assert {*declared["commands"]} - seen == {"import fetch", "prices update", "import-l6e"}


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
