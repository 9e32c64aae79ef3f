"""`tallygate sync`: what clients wrote down, and what is said about it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest
from tests.transcripts import COUNTS, FILES, claude, lines, write_all, write_claude
from tests.world import changed

EVERYTHING = sum(COUNTS.values())


def test_a_summary_says_what_became_of_responses_files_and_lines(run, home):
    write_all(home)
    path = write_claude(home, [])
    nothing = {"input_tokens": 0, "cache_read_input_tokens": 0, "cache_creation_input_tokens": 0}
    made_up = claude(900, model="<synthetic>", output=0, usage=nothing)
    with path.open("ab") as out:
        out.write(b'{"type":"assistant","message":{"usage":\n' + lines([made_up]))
    done = run("sync")
    assert done.exit_code == 0
    said = dict(line.split("  ", 1) for line in done.stdout.splitlines())
    assert said["responses"].strip() == f"{EVERYTHING} new, 0 corrected, 0 known"
    assert said["budgets"].strip() == "0 responses counted into sessions"
    assert said["files"].strip().startswith(f"{FILES}: {FILES} read (")
    assert said["files"].endswith(" 0 unchanged")
    assert said["left out"].strip() == "1 made by the client, not by a model"
    assert said["unusable"].strip() == "1 no JSON"
    assert done.stderr == ""


def test_a_history_that_estimates_could_learn_from_is_pointed_out_until_they_have(run, home):
    write_claude(home, range(220))
    assert "`tallygate calibrate rebuild`" in run("sync").stderr
    assert run("calibrate", "rebuild").stdout == "Learned from 220 calls.\n"
    write_claude(home, range(300, 520), "more")
    assert run("sync").stderr == ""


def test_the_same_as_json(run_json, home):
    write_all(home)
    found = run_json("sync")
    assert found["responses"] == {"new": EVERYTHING, "corrected": 0, "known": 0, "attributed": 0, "elsewhere": 0}
    assert (found["files"]["read"], found["skipped"], found["faults"]) == (FILES, {}, [])
    assert run_json("sync")["files"]["unchanged"] == FILES


def test_responses_of_a_session_in_their_folder_are_counted_into_its_budget(run, run_json, made, home):
    from dataclasses import replace
    from datetime import UTC, datetime, timedelta

    made.app = replace(made.app, runtime=changed(made.app.runtime, project="/home/me/project"))
    session_id = made.session()
    write_claude(home, range(3), at=datetime.now(UTC) + timedelta(seconds=1))
    assert "3 responses counted into sessions" in run("sync").stdout
    found = run_json("sessions", "show", session_id)
    assert found["observed"]["responses"] == 3
    assert found["observed"]["outside_calls_cost"] == found["total_cost"] > 0


def test_a_home_without_transcripts_is_no_error_and_says_so(run):
    done = run("sync")
    assert done.exit_code == 0
    assert "0 new" in done.stdout
    assert "no transcripts were found" in done.stderr


def test_clients_and_a_moment_narrow_it(run_json, home):
    write_all(home)
    old = write_claude(home, [1], "old")
    os.utime(old, (1_000, 1_000))
    found = run_json("sync", "--client", "claude_code", "--client", "codex", "--since", "2026-01-01")
    assert (found["files"]["found"], found["files"]["older"]) == (3, 1)
    assert run_json("sync", "--since", "7d")["files"]["older"] == 1


@pytest.mark.parametrize("arguments", [["--client", "cursor"], ["--since", "soon"], ["--since", "2026-02-30"]])
def test_what_is_no_client_and_no_moment_is_wrong_usage(run, arguments):
    done = run("sync", *arguments)
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1


def test_names_from_transcripts_cannot_act_on_the_terminal(run, home, monkeypatch):
    from tallygate.clients import feed

    path = write_claude(home, [1], "evil\x1b[31m\u202ename")
    source = feed.REGISTRY.sources["claude_code"]

    def read(file, position, bound):
        raise RuntimeError("\x1b]0;title\x07")

    monkeypatch.setitem(
        feed.REGISTRY.sources, "claude_code", type(source)("claude_code", source.locations, source.discover, read)
    )
    done = run("sync")
    assert path.exists()
    assert "\x1b" not in done.output
    assert "\u202e" not in done.output


def test_watching_says_what_came_in_until_it_is_interrupted(environ, home):
    write_claude(home, range(3))
    process = subprocess.Popen(
        [sys.executable, "-m", "tallygate", "sync", "--watch", "--interval", "1", "--json"],
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        first = json.loads(process.stdout.readline())
        write_claude(home, range(3, 5))
        second = json.loads(process.stdout.readline())
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=300)
    assert (first["responses"]["new"], second["responses"]["new"]) == (3, 2)
    assert (process.returncode, out, err.strip()) == (130, "", "tallygate: interrupted.")


def test_progress_is_shown_on_a_terminal_only(on_terminal, home, spawn):
    write_all(home)
    assert spawn("sync").stderr == ""
    write_claude(home, range(500, 510))
    done, shown = on_terminal("sync")
    assert done.returncode == 0
    assert "reading transcripts" in shown
    assert b"reading transcripts" not in done.stdout


def test_watching_says_once_what_goes_wrong_every_time(capsys):
    from tallygate.entrypoints.cli.sync import _Telling
    from tallygate.operations.usage.sync import FileFault, SyncReport

    telling = _Telling(as_json=False)
    for path in ("a", "a", "b"):
        telling(SyncReport(faults=[FileFault("codex", path, "it cannot be read")]))
    assert capsys.readouterr().err == "tallygate: a: it cannot be read\ntallygate: b: it cannot be read\n"
