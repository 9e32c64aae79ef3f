from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest
from bench.wire import environment

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="kills are made in forked children"),
]


def rounds(home, *arguments):
    command = [sys.executable, "-W", "error", "-m", "tests.processes.kills", *map(str, arguments)]
    done = subprocess.run(command, cwd=home, env=environment(home), stdout=subprocess.PIPE, check=True, text=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kills")
    whole, *killed = rounds(folder, "session", folder / "kills")
    assert (whole["code"], whole["findings"], whole["lost"], whole["log"]) == (0, [], [], [])
    return killed


def test_a_session_killed_between_any_two_statements_leaves_a_ledger_that_verifies_and_loses_nothing(killed):
    assert len(killed) > 100
    assert {report["code"] for report in killed} == {-signal.SIGKILL}
    assert [report for report in killed if report["findings"] or report["lost"]] == []
    assert {report["goes_on"] for report in killed} == {"allow"}


def test_the_next_start_writes_the_line_of_every_ended_session_exactly_once(killed):
    assert [report for report in killed if report["log"]] == []
    waiting = [report["before"] for report in killed if report["ended"] and not report["logged_before"]]
    assert waiting, "no kill fell between the end of the session and its line"
    unmarked = [report["before"][:20] for report in killed if report["logged_before"]]
    assert unmarked[0] == "UPDATE run_log_queue", "no kill fell between the line and the mark that it is written"


def test_of_six_first_starts_at_once_the_five_that_are_not_killed_work(home):
    reports = rounds(home, "migrate", home / "starts", 10)
    for report in reports:
        assert sorted(report["codes"]) == [-signal.SIGKILL, 0, 0, 0, 0, 0], report
        assert (report["findings"], report["lost"], report["ledgers"]) == ([], [], 1), report
