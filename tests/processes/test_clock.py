"""A real process whose clock stands a year ahead, and others after it with the right one."""

from __future__ import annotations

import shutil

import pytest
from bench.wire import SERVE, Server

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("faketime") is None, reason="needs faketime, which .ci/run installs"),
]


def test_days_are_renewed_by_the_right_clock_after_one_that_was_a_year_ahead(home):
    config = home / ".config" / "tallygate" / "config.toml"
    config.parent.mkdir(mode=0o700, parents=True)
    config.write_text('[[budget]]\nscope = "global"\nperiod = "day"\nlimit_usd = 1\n')
    config.chmod(0o600)
    answers = []
    for moved in ("+366d", "+0d", "+1d"):
        with Server(["faketime", "-f", moved, *SERVE], home) as server:
            server.greet()
            session = server.call("l6e_run_start", budget_usd=9, model="gpt-4o")["session_id"]
            step = {"session_id": session, "tool_name": "edit", "estimated_prompt_tokens": 300_000}
            answers += [server.call("l6e_authorize_call", **step, estimated_completion_tokens=0) for _ in range(2)]
    assert [answer["action"] for answer in answers] == ["allow", "halt"] * 3
