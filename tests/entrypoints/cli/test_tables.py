"""Every command that prints a table, at four widths: what it shows is what stands in tables/ beside this file.

`make snapshots` writes them anew; what changed is then seen in the diff of the change.
"""

from __future__ import annotations

import os
import re
from difflib import unified_diff
from pathlib import Path

import pytest
from tests.entrypoints.cli.small import THEIRS, Small, small_ledger

from tallygate.entrypoints.cli import output

WIDTHS = (60, 80, 120, 200)
FOLDER = Path(__file__).with_name("tables")
UPDATE = "SNAPSHOTS"
# What is not the same on every machine.
STANDS_FOR = {
    r"genai-prices [\d.]+": "genai-prices X",
    r"by cli \(\w+\)": "by cli (somebody)",
    r"/\S+/tallygate ": "tallygate ",
}


def commands(small: Small) -> dict[str, list[str]]:
    """The commands by the names of their files."""
    return {
        "tallygate": [],
        "status": ["status", "--no-sync"],
        "usage": ["usage", "--no-sync"],
        "usage-by-session": ["usage", "--by", "session", "--no-sync"],
        "usage-by-project": ["usage", "--by", "project", "--no-sync"],
        "usage-by-model-and-day": ["usage", "--by", "model", "--period", "day", "--no-sync"],
        "usage-by-client-with-models": ["usage", "--by", "client", "--breakdown", "--no-sync"],
        "usage-by-tenant": ["usage", "--by", "tenant", "--no-sync"],
        "usage-by-agent": ["usage", "--by", "agent", "--no-sync"],
        "usage-by-skill": ["usage", "--by", "skill", "--no-sync"],
        "usage-by-mcp": ["usage", "--by", "mcp", "--no-sync"],
        "usage-by-branch": ["usage", "--by", "branch", "--no-sync"],
        "usage-by-tool-and-agent": ["usage", "--by", "tool,agent", "--no-sync"],
        "usage-anomalies": ["usage", "anomalies"],
        "sessions-list": ["sessions", "list"],
        "sessions-show": ["sessions", "show", small.worked, "--calls"],
        "sessions-show-ended": ["sessions", "show", small.ended],
        "sessions-show-read": ["sessions", "show", THEIRS, "--calls"],
        "budget-list": ["budget", "list"],
        "why": ["why", small.worked],
        "drift": ["drift", "--no-sync"],
        "prices": ["prices", "--limit", "4"],
        "calibrate-show": ["calibrate", "show"],
        "calibrate-backtest": ["calibrate", "backtest"],
        "import-list": ["import", "list"],
        "import-show": ["import", "show", small.bill],
        "import-dry-run": ["import", "--dry-run", "bill.csv", "other.csv"],
        "attest-list": ["attest", "list"],
        "history": ["history", "--all", "--no-sync"],
    }


@pytest.fixture
def shown(home, run, monkeypatch):
    """What each command prints at each width."""
    small = small_ledger(home, run, monkeypatch)
    Path("other.csv").write_text(Path("bill.csv").read_text().replace("gpt-5.5", "gpt-5.4"))
    monkeypatch.setattr("tallygate.entrypoints.cli.main.is_typed", lambda: True)
    found = {}
    for name, command in commands(small).items():
        parts = []
        for width in WIDTHS:
            monkeypatch.setattr(output, "terminal_width", lambda width=width: width)
            result = run(*command)
            assert result.exit_code == 0, (name, result.output)
            text = result.stdout.replace(str(home), "~")
            for pattern, here in STANDS_FOR.items():
                text = re.sub(pattern, here, text)
            text = re.sub(r"(?<=att_)[0-9a-f]+", lambda found: "0" * len(found[0]), text)
            parts.append(f"{f' {width} columns ':=^{width}}\n{text}")
        found[name] = "\n".join(line.rstrip() for line in "\n".join(parts).splitlines()) + "\n"
    return found


def test_every_table_is_what_it_was_at_60_80_120_and_200_columns(shown):
    if os.environ.get(UPDATE):
        FOLDER.mkdir(exist_ok=True)
        for file in FOLDER.glob("*.txt"):
            file.unlink()
        for name, text in shown.items():
            (FOLDER / f"{name}.txt").write_text(text, encoding="utf-8")
    kept = {file.stem: file.read_text(encoding="utf-8") for file in FOLDER.glob("*.txt")}
    assert {*kept} == {*shown}, "make snapshots"
    changed = {
        name: "\n".join(unified_diff(kept[name].splitlines(), text.splitlines(), lineterm="", n=1))
        for name, text in shown.items()
        if text != kept[name]
    }
    assert not changed, "\n".join([*changed.values(), "If that is meant: make snapshots"])


def test_no_amount_is_cut_at_any_width_and_whatever_is_cut_or_left_out_is_named(shown):
    for name, text in shown.items():
        assert not re.search(r"[$£][\d.,]*…", text), name
        for part in re.split(r"^=+ \d+ columns =+$", text, flags=re.MULTILINE)[1:]:
            cells = part.partition("Left out for want of room")[0].partition("Cut: ")[0]
            if "…" in cells:
                assert "Cut: " in part, (name, part)
