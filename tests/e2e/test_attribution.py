"""Whom responses were made for: what is on record of subagents, skills and servers against the model API's bill."""

from __future__ import annotations

import json
import sqlite3
import sys
from collections import defaultdict
from collections.abc import Callable
from contextlib import closing
from decimal import Decimal
from pathlib import Path

import pytest
from tests.e2e.checking import assert_counted
from tests.e2e.driving import Machine
from tests.e2e.programs import ClaudeCode, Codex, OpenCode, write
from tests.e2e.wire import Tokens, Tool, Turn

from tallygate.core.attribution import shares
from tallygate.ledger.rows import served_in

pytestmark = pytest.mark.e2e

CLAUDE, CODEX, OPENCODE = ClaudeCode(), Codex(), OpenCode()
SERVER = Path(__file__).with_name("shop_server.py")
NANOS = 10**9
Make = Callable[..., Machine]


def costs(machine: Machine, column: str) -> dict[str | None, Decimal]:
    """What is on record by a column, in dollars."""
    rows = responses(machine, column)
    found: dict[str | None, Decimal] = defaultdict(Decimal)
    for name, cost, _ in rows:
        found[name] += Decimal(cost) / NANOS
    return dict(found)


def of_servers(machine: Machine) -> dict[str | None, Decimal]:
    """What the shares of each server come to, of the client's own tools together, and of none."""
    found: dict[str | None, Decimal] = defaultdict(Decimal)
    for _, cost, served in responses(machine, "agent_type"):
        for tool, part in shares(cost, () if served is None else served_in(served)):
            found["rest" if tool is None else tool.server] += Decimal(part) / NANOS
    return dict(found)


def responses(machine: Machine, column: str) -> list[tuple[str | None, int, str | None]]:
    ledger = machine.home / ".local" / "share" / "tallygate" / "ledger.db"
    with closing(sqlite3.connect(ledger)) as found:
        return found.execute(f"SELECT {column}, cost_nanos, served FROM usage ORDER BY at_us, id").fetchall()


def billed(machine: Machine, *kinds: str) -> Decimal:
    """What the model API billed of some conversations."""
    return sum((each.dollars for each in machine.api.served if each.kind in kinds), Decimal())


def used(number: int) -> Tokens:
    """Counts that no other response has, so that what is mixed up is seen."""
    return Tokens(fresh=100 + number, cache_read=8_000, output=1_000 + 7 * number)


def with_shop(machine: Machine) -> tuple[str, str]:
    """What Claude Code is started with to have the server, which its user has allowed with skills."""
    server = {"command": sys.executable, "args": [str(SERVER)], "alwaysLoad": True}
    write(machine.root / "shop.json", {"mcpServers": {"shop": server}})
    settings = machine.home / ".claude" / "settings.json"
    allowed = json.loads(settings.read_text(encoding="utf-8"))
    allowed["permissions"]["allow"] += ["mcp__shop", "Skill"]
    write(settings, allowed)
    return "--mcp-config", str(machine.root / "shop.json")


LOOK = Tool("mcp__shop__look", {"what": "shelves"})


def starting(task: str, kind: str) -> Tool:
    return Tool(
        "Agent",
        {"description": task, "prompt": f"{task} please", "subagent_type": kind, "run_in_background": False},
    )


def test_subagents_a_skill_and_a_server_have_their_shares_of_the_bill(machine: Make) -> None:
    reading = Tool("Read", {"file_path": "a.txt"})
    here = machine(
        CLAUDE,
        [
            Turn("Delegating.", (starting("TASK-ONE", "Explore"), starting("TASK-TWO", "reviewer")), used(1)),
            Turn("Asking.", (LOOK,), used(2)),
            Turn("A skill.", (Tool("Skill", {"skill": "release"}),), used(3)),
            Turn("Working.", (CLAUDE.shell("echo ran >> marks"),), used(4)),
            Turn("Done.", tokens=used(5)),
        ],
        agents={
            "TASK-ONE": [Turn("Looking.", (reading,), used(6)), Turn("Seen.", tokens=used(7))],
            "TASK-TWO": [Turn("Asking.", (LOOK,), used(8)), Turn("Reviewed.", tokens=used(9))],
        },
    )
    claude = here.work / ".claude"
    write(claude / "agents" / "reviewer.md", "---\nname: reviewer\ndescription: Reviews.\n---\nReview it.\n")
    write(claude / "skills" / "release" / "SKILL.md", "---\nname: release\ndescription: Releases.\n---\nRelease it.\n")
    given = with_shop(here)
    here.init()
    run = here.run(extra=given)
    assert (run.code, run.seen.said) == (0, "Done."), run.shown()
    assert_counted(here)

    assert costs(here, "agent_type") == {
        None: billed(here, "main"),
        "Explore": billed(here, "TASK-ONE"),
        "reviewer": billed(here, "TASK-TWO"),
    }
    main = [each.dollars for each in here.api.of_kind("main")]
    # The server carries half of the response that asks it and reads what the agents said, half of the one that reads
    # its answer and calls the skill, and all of the reviewer, who did nothing else.
    shop = main[1] / 2 + main[2] / 2 + billed(here, "TASK-TWO")
    found = of_servers(here)
    assert found["shop"] == pytest.approx(shop, abs=Decimal(5) / NANOS)
    assert sum(found.values()) == here.api.dollars()
    # From the call of the skill on.
    assert costs(here, "skill")["release"] == main[2] + main[3] + main[4]
    assert costs(here, "branch").keys() <= {"main", "master", None}


def test_a_server_whose_budget_is_spent_is_refused_and_the_work_goes_on(machine: Make) -> None:
    here = machine(
        CLAUDE,
        [
            Turn("Asking.", (LOOK,), used(1)),
            Turn("Again.", (LOOK,), used(2)),
            Turn("Working.", (CLAUDE.shell("echo ran >> marks"),), used(3)),
            Turn("Done.", tokens=used(4)),
        ],
    )
    given = with_shop(here)
    here.init()
    budget = '\n[[budget]]\nscope = "mcp_server"\nname = "shop"\nperiod = "day"\nlimit_usd = 0.05\n'
    with (here.home / ".config" / "tallygate" / "config.toml").open("a", encoding="utf-8") as file:
        file.write(budget)
    run = here.run(extra=given)
    assert (run.code, run.seen.said) == (0, "Done."), run.shown()
    asked = [each for each in run.seen.tools if each.name == LOOK.name]
    assert [each.ok for each in asked] == [True, False]
    assert "MCP server shop" in asked[1].result
    assert (here.work / "marks").read_text().split() == ["ran"]


def test_codex_s_responses_that_serve_a_server_have_their_share_of_the_bill(machine: Make) -> None:
    here = machine(
        CODEX,
        [
            Turn("Asking.", (Tool("look", {"what": "shelves"}, "mcp__shop"),), used(1)),
            Turn("Working.", (CODEX.shell("echo ran >> marks"),), used(2)),
            Turn("Done.", tokens=used(3)),
        ],
    )
    with (here.home / ".codex" / "config.toml").open("a", encoding="utf-8") as file:
        file.write(f'\n[mcp_servers.shop]\ncommand = "{sys.executable}"\nargs = ["{SERVER}"]\n')
    here.init()
    run = here.run()
    assert (run.code, run.seen.said) == (0, "Done."), run.shown()
    assert_counted(here)
    main = [each.dollars for each in here.api.of_kind("main")]
    found = of_servers(here)
    # All of the response that asks it, and half of the one that reads its answer and calls the shell.
    assert found["shop"] == pytest.approx(main[0] + main[1] / 2, abs=Decimal(2) / NANOS)
    assert sum(found.values()) == here.api.dollars()


def test_opencode_s_subagents_have_their_shares_of_the_bill(machine: Make) -> None:
    tasks = {"TASK-ONE": "general", "TASK-TWO": "explore"}
    start = tuple(
        Tool("task", {"description": task, "prompt": f"{task} please", "subagent_type": kind})
        for task, kind in tasks.items()
    )
    here = machine(
        OPENCODE,
        [Turn("Delegating.", start, used(1)), Turn("Done.", tokens=used(2))],
        agents={
            "TASK-ONE": [
                Turn("Looking.", (OPENCODE.shell("echo ran >> marks"),), used(3)),
                Turn("Seen.", tokens=used(4)),
            ],
            "TASK-TWO": [Turn("Read.", tokens=used(5))],
        },
    )
    here.init()
    run = here.run()
    assert run.code == 0, run.shown()
    assert_counted(here)
    assert costs(here, "agent_type") == {
        None: billed(here, "main"),
        "general": billed(here, "TASK-ONE"),
        "explore": billed(here, "TASK-TWO"),
    }
