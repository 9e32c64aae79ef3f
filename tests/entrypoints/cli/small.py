"""A small ledger that is the same on every machine: sessions, history, a bill, what was learned and what was odd."""

from __future__ import annotations

import json
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.entrypoints.cli.conftest import Made, Run
from tests.entrypoints.cli.test_local_days import settings_file
from tests.reading_rules import Rule
from tests.transcripts import minted, write_claude, write_codex
from tests.world import Clock, Tokens, changed

from tallygate import app as composing
from tallygate.core import costing
from tallygate.core.moments import as_datetime, microseconds
from tallygate.core.usage import ObservedUsage
from tallygate.operations.gate.record import UsageReport, record_usage
from tallygate.operations.usage.ingest import FileReading, ingest, link_session

NOW = datetime(2026, 3, 4, 12, tzinfo=UTC)
THEIRS = "4f1c2a9e-5b6d-4e7f-8a90-1b2c3d4e5f60"
SHOP, BLOG = "/home/me/work/the-web-shop-of-a-customer", "/home/me/blog"
SETTINGS = """
time_zone = "UTC"
[[budget]]
scope = "session"
limit_usd = 5
[[budget]]
scope = "global"
period = "day"
limit_usd = 20
"""
BILL = """date,model,provider,input_tokens,cache_read_tokens,cache_write_tokens,output_tokens,requests,cost,currency
2026-03-01,claude-opus-4-7,anthropic,6,2000,0,14100,2,0.40,USD
2026-03-02,gpt-5.5,openai,100000,0,0,9000,3,1.25,USD
"""


@dataclass(frozen=True, slots=True)
class Small:
    """The ids that commands are asked about."""

    worked: str
    ended: str
    call: str
    bill: str
    attestation: str
    response: str


def small_ledger(home: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> Small:
    """Make it in an empty home. The clock stands still and ids are counted: what is shown stays."""
    clock = Clock(microseconds(NOW - timedelta(hours=3)))
    monkeypatch.setattr(composing, "clock_us", clock)
    monkeypatch.setattr(composing, "new_token", Tokens(0xA1B2C3D4))
    settings_file(SETTINGS)
    write_claude(home, [1, 2], "0b6a3c5e-1111-4222-8333-000000000001", output=7_000, cwd=SHOP)
    write_claude(home, [3], "0b6a3c5e-9999-4222-8333-000000000002", at=NOW - timedelta(days=2), cwd=BLOG,
                 model="claude-sonnet-9", output=90_000)  # fmt: skip
    write_claude(home, [4], "c0ffee00-0000-4222-8333-000000000003", at=NOW - timedelta(hours=4), stop_reason=None,
                 content=[{"type": "text", "text": "x" * 2_400}], cwd=SHOP)  # fmt: skip
    write_codex(home, 3)
    with closing(composing.compose(composing.settings_here(), by="test")) as app:
        made = Made(app)
        ended = made.session(2, model="claude-haiku-4-5", task_summary="tidy up what nobody reads any more")
        call = made.call(ended, tool_name="edit")
        record_usage(app.runtime, UsageReport(call, costing.Tokens()))
        for _ in range(3):
            step = made.call(ended, tool_name="edit", prompt=10_000, output=500)
            record_usage(app.runtime, UsageReport(step, costing.Tokens(fresh_input=20_000, output=900)))
        made.end(ended)
        clock.forward(60 * 60 * 1_000_000)
        made = Made(replace(app, runtime=changed(app.runtime, project=SHOP)))
        worked = made.worked()
        pounds = made.session(3, currency="GBP", usd_nanos=1_250_000_000, rate_day="2026-03-03")
        made.call(pounds, tool_name="write a page about everything", model="gpt-5.5")
        _read(made, clock)
    clock.forward(60 * 60 * 1_000_000)
    Path("bill.csv").write_text(BILL, encoding="utf-8")
    assert run("import", "bill.csv").exit_code == 0
    assert run("budget", "raise", worked, "1.50", "--reason", "the customer pays").exit_code == 0
    assert run("sync").exit_code == 0
    bill = json.loads(run("import", "list", "--json").stdout)["bills"][0]["bill_id"]
    attested = json.loads(run("attest", "list", "--json").stdout)["attestations"][0]["id"]
    response = json.loads(run("sessions", "show", THEIRS, "--calls", "--json").stdout)["responses"][0]["response"]
    return Small(worked, ended, call, bill, attested, response)


def _read(made: Made, clock: Clock) -> None:
    """A session whose responses its client writes down: one of another model, one told of twice."""
    rt = made.app.runtime
    session_id = made.session(5)
    made.call(session_id, tool_name="edit", prompt=30_000, output=2_000)
    link_session(rt, "claude_code", THEIRS, session_id)
    clock.forward(1_000_000)
    at = as_datetime(clock.at_us)
    for output in (4_000, 3_000):
        rows = [
            ObservedUsage("claude_code", THEIRS, f"{minted(name)}:req_{name}", at, model, counted, Rule.CLAUDE_RESPONSE)
            for name, model, counted in (
                ("a1", "claude-opus-4-7", costing.Tokens(200, 30_000, 900, 0, output)),
                ("b2", "claude-sonnet-4-6", costing.Tokens(80, 31_000, 0, 0, 700)),
            )
        ]
        ingest(rt, FileReading("claude_code", "/t", rows))
