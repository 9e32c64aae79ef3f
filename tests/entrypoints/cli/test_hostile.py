"""Names and summaries come from agents: nothing in them may act on a terminal."""

from __future__ import annotations

import json
import re

import pytest

HOSTILE = (
    "evil\x1b[31m\x1b]0;title\x07[bold red]x[/] \u202egnp.\u2066 line\nbreak\r\x9b2J :smile: [link=http://a]b[/link]"
)
# Every control, format and line character but the line end that we write ourselves.
RAW = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069]")


@pytest.fixture
def hostile_id(made):
    session_id = made.session(model=HOSTILE, task_summary=HOSTILE)
    made.call(session_id, tool_name=HOSTILE, prompt=1, output=1)
    return session_id


def commands(session_id):
    return [
        ("sessions", "list"),
        ("sessions", "show", session_id, "--calls"),
        ("sessions", "end", session_id, "--summary", HOSTILE),
        ("status",),
        ("budget", "list"),
        ("budget", "raise", session_id, "1", "--reason", HOSTILE),
        ("prices", HOSTILE),
        ("estimate", HOSTILE, "1", "1"),
        ("sessions", "show", HOSTILE),
        ("budget", "raise", HOSTILE, "1"),
        ("budget", "raise", session_id, HOSTILE),
        (HOSTILE,),
    ]


@pytest.mark.parametrize("number", range(12))
def test_no_control_character_reaches_the_terminal(run, hostile_id, number):
    result = run(*commands(hostile_id)[number])
    assert not RAW.search(result.stdout + result.stderr)


def test_markup_is_shown_as_it_was_written(run, hostile_id):
    text = run("sessions", "list").stdout
    assert "[bold red]x[/]" in text
    assert ":smile:" in text


def test_a_line_end_in_a_name_makes_no_second_row(run, hostile_id):
    assert len(run("sessions", "list").stdout.splitlines()) == 2


@pytest.mark.parametrize("arguments", [("sessions", "list"), ("status",), ("prices", "zz\u202ezz")])
def test_json_is_ascii_and_keeps_what_was_stored(run, hostile_id, arguments):
    result = run(*arguments, json_=True)
    assert result.stdout.isascii()
    assert not RAW.search(result.stdout)
    json.loads(result.stdout)


def test_the_model_is_in_json_as_it_is_in_the_ledger(run_json, hostile_id):
    assert run_json("sessions", "show", hostile_id)["model"] == HOSTILE


def test_a_very_long_name_is_cut(run, made):
    made.session(model="m" * 10_000, task_summary="t" * 10_000)
    assert max(map(len, run("sessions", "list").stdout.splitlines())) < 600
