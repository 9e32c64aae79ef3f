"""Rows of the table in docs/enforcement.md that no other test here shows: what fails, and what a compaction costs."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.e2e.driving import Machine
from tests.e2e.programs import ClaudeCode, Client, Codex, CopilotCli, GeminiCli, OpenCode, QwenCode
from tests.e2e.wire import Tokens, Turn

from tallygate.entrypoints import hook

pytestmark = pytest.mark.e2e

COSTLY = Tokens(fresh=1_000, cache_read=8_000, output=16_000)
CALLS = 3
# Whether the work stops where the hook's file is gone, where the program crashes, where its interpreter is gone.
FAILS = {
    ClaudeCode: (True, True, True),
    Codex: (True, False, False),
    GeminiCli: (True, False, True),
    OpenCode: (True, True, True),
    QwenCode: (True, True, True),
    CopilotCli: (True, True, True),  # its tools, that is: the model is asked again for each
}

HOWS = ("gone", "crash", "no interpreter")

Make = Callable[..., Machine]


def breaking(machine: Machine, how: str) -> None:
    """Let every installed hook of the client run something that fails."""
    crash = machine.root / "crash.py"
    crash.write_text("raise RuntimeError\n", encoding="utf-8")
    program, interpreter = str(Path(hook.__file__)), re.escape(sys.executable)
    changed = 0
    for file in machine.home.rglob("*"):
        if file.suffix not in {".json", ".toml", ".js"} or ".local" in file.parts or "node_modules" in file.parts:
            continue
        text = file.read_text(encoding="utf-8")
        broken = {
            "gone": text.replace(program, "/nowhere/hook.py"),
            "crash": text.replace(program, str(crash)),
            "no interpreter": re.sub(rf"{interpreter}(\W{{1,6}}-I)", r"/nowhere/python\1", text),
        }[how]
        if broken != text:
            file.write_text(broken, encoding="utf-8")
            changed += 1
    assert changed, "no hook was found"


@pytest.mark.parametrize("at, how", list(enumerate(HOWS)), ids=HOWS)
@pytest.mark.parametrize("kind", list(FAILS), ids=lambda kind: kind.name)
def test_what_becomes_of_the_work_where_the_hook_program_fails(
    machine: Make, kind: type[Client], at: int, how: str
) -> None:
    client = kind()
    here = machine(client, [Turn("Working.", (client.shell(f"echo ran {n} >> marks"),), COSTLY) for n in range(CALLS)])
    here.init("0.0001")
    breaking(here, how)
    here.run_heard()
    marks = here.work / "marks"
    assert (marks.exists(), not here.api.served) == (
        not FAILS[kind][at], FAILS[kind][at] and kind is not CopilotCli,
    )  # fmt: skip


@pytest.mark.parametrize(
    "client, word, stops",
    [(ClaudeCode(), "/compact", True), (GeminiCli(), "/compress", True), (QwenCode(), "/compress", False)],
    ids=lambda value: getattr(value, "name", ""),
)
def test_a_compaction_that_is_asked_for_on_a_spent_budget(
    machine: Make, client: Client, word: str, *, stops: bool
) -> None:
    here = machine(client, [Turn("Working.", (client.shell("echo ran >> marks"),), COSTLY), Turn("Fine.")])
    here.init()
    run = here.run_heard()
    (budget,) = here.asked("budget", "list")["budgets"]
    here.tallygate("budget", "set", budget["budget_id"], "0.01")
    calls = len(here.api.served)
    here.run_heard(word, resume=run.seen.session)
    assert (len(here.api.served) == calls) is stops
