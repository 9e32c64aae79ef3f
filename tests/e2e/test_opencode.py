"""opencode: what its record does not have is named, and its subagents are sessions of their own."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from tests.e2e.checking import assert_counted, assert_logged, assert_named, billed
from tests.e2e.driving import Machine
from tests.e2e.programs import OpenCode
from tests.e2e.wire import Tokens, Tool, Turn

pytestmark = pytest.mark.e2e

OPENCODE = OpenCode()
COSTLY = Tokens(fresh=1_000, cache_read=8_000, output=16_000)
TASKS = ("TASK-ONE", "TASK-TWO", "TASK-THREE")

Make = Callable[..., Machine]


def test_a_title_that_no_record_has_is_named_as_what_is_missing(machine: Make) -> None:
    here = machine(OPENCODE, [Turn("All fine.", tokens=COSTLY)])
    here.init()
    here.run()
    assert here.api.dollars() > billed(here), "no title was made"
    assert_named(here)


def test_a_hook_that_crashes_stops_the_work_under_a_hard_policy(machine: Make) -> None:
    here = machine(OPENCODE, [Turn("Working.", (OPENCODE.shell("echo ran > marks"),), COSTLY)] * 3)
    here.init()
    plugin = here.home / ".config" / "opencode" / "plugin" / "tallygate.js"
    text = plugin.read_text(encoding="utf-8")
    broken = re.sub(r"const COMMAND = \[.*\]", 'const COMMAND = ["false"]', text)
    assert broken != text
    plugin.write_text(broken, encoding="utf-8")
    here.run()
    assert (here.api.served, (here.work / "marks").exists()) == ([], False)


def test_subagents_spend_the_budget_of_the_session_that_started_them(machine: Make) -> None:
    start = tuple(
        Tool("task", {"description": task, "prompt": f"{task} please", "subagent_type": "general"}) for task in TASKS
    )
    agents = {
        task: [Turn("Sub.", (OPENCODE.shell(f"echo ran > {task}"),), COSTLY), Turn("Sub done.")] for task in TASKS
    }
    here = machine(OPENCODE, [Turn("Delegating.", start, COSTLY), Turn("All fine.")], agents=agents)
    here.init()
    run = here.run()
    assert (run.code, [task for task in TASKS if (here.work / task).exists()]) == (0, [*TASKS])
    assert_logged(here)
    assert_counted(here)
