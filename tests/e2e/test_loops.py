"""Agents that go round in circles, with the clients themselves: warned and stopped at the calls that are promised."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from tests.e2e.driving import Machine
from tests.e2e.programs import ClaudeCode, Client, Codex, CopilotCli, GeminiCli, OpenCode, QwenCode, write
from tests.e2e.wire import Tokens, Tool, Turn

pytestmark = pytest.mark.e2e

CLAUDE = ClaudeCode()
USED = Tokens(fresh=1_000, output=2_000)
SUB = "SUBWORK"
FAILS = "echo 'npm error 404 Not Found - GET https://registry.example/x' >&2; exit 1"

Make = Callable[..., Machine]


@dataclass(frozen=True)
class Circle:
    """What a model does again and again: the tools of its calls, and the calls at which it is warned and stopped."""

    client: Client
    name: str
    tools: tuple[Tool, ...]
    warned: int
    stopped: int
    kind: str

    def __str__(self) -> str:
        return f"{self.client.name}-{self.name}"


def claude_edit(old: str, new: str) -> Tool:
    return Tool("Edit", {"file_path": "a.txt", "old_string": old, "new_string": new})


def failing_test() -> str:
    return "echo 'E  assert 3 == 4 in the sum of a month, as ever and ever'; echo \"1 failed in 0.$RANDOM s\"; exit 1"


def after_changes(client: Client) -> tuple[Tool, ...]:
    """A test that fails again after each small change."""
    return tuple(tool for n in range(12) for tool in (client.shell(f"echo {n} > n.txt"), client.shell(failing_test())))


CIRCLES = [
    *(
        Circle(each, "one command", (each.shell(FAILS),) * 12, 5, 8, "error")
        for each in (Codex(), OpenCode(), CopilotCli())
    ),
    # Gemini CLI and Qwen Code end a turn themselves after five calls alike, whatever they came to.
    *(Circle(each, "a failing test", after_changes(each), 10, 16, "error") for each in (GeminiCli(), QwenCode())),
    Circle(CLAUDE, "one command", (CLAUDE.shell(FAILS),) * 12, 5, 8, "error"),
    Circle(
        CLAUDE, "two edits in turn",
        (CLAUDE.shell("cat a.txt"), *(claude_edit("file a", "file b"), claude_edit("file b", "file a")) * 8),
        8, 11, "stale",
    ),
    Circle(
        CLAUDE, "a failing test",
        after_changes(CLAUDE),
        10, 16, "error",
    ),
    Circle(
        CLAUDE, "the same files",
        tuple(CLAUDE.shell(f"cat {name}.txt") for name in "abcde" * 4), 10, 13, "stale",
    ),
]  # fmt: skip


def prepared(here: Machine, mode: str) -> None:
    here.init("50.00")
    config = here.work / ".l6e" / "config.toml"
    write(config, config.read_text() + f'\n[loops]\nmode = "{mode}"\n')
    for name in "abcde":
        write(here.work / f"{name}.txt", f"file {name}\n")


def seen(here: Machine) -> list[tuple[str, str, int]]:
    """What was seen, the oldest first: stage, kind, and the call."""
    return [(each["stage"], each["kind"], each["at_call"]) for each in here.asked("loop", "list")["loops"][::-1]]


def told(here: Machine, words: str) -> int:
    """In how many requests of the main agent a model first read these words: the number of the earliest, or -1."""
    found = [n for n, each in enumerate(here.api.of_kind("main")) if words in json.dumps(each.request)]
    return found[0] if found else -1


@pytest.mark.parametrize("circle", CIRCLES, ids=str)
def test_a_circle_is_warned_of_and_stopped_at_these_calls(machine: Make, circle: Circle) -> None:
    here = machine(circle.client, [Turn("Working.", (tool,), USED) for tool in circle.tools])
    prepared(here, "halt")
    run = here.run()
    assert seen(here) == [("warned", circle.kind, circle.warned), ("stopped", circle.kind, circle.stopped)]
    # The model reads the warning with the results of the call that it is of; the call after the last is refused.
    assert told(here, "Try another way") == circle.warned
    # Where a refusal ends no turn the second one in a row ends the run; opencode asks its model on.
    further = {"codex": 1, "copilot": 1, "opencode": 4}.get(circle.client.name, 0)
    assert len(here.api.of_kind("main")) == circle.stopped + 1 + further
    if circle.client.name == "claude_code":
        assert run.shown.count("tallygate loop allow") == 1


def test_where_it_only_warns_the_run_goes_on(machine: Make) -> None:
    circle = next(each for each in CIRCLES if each.client is CLAUDE)
    here = machine(CLAUDE, [Turn("Working.", (tool,), USED) for tool in circle.tools])
    prepared(here, "warn")
    run = here.run()
    assert (run.code, run.seen.said) == (0, "All done.")
    assert seen(here) == [("warned", "error", 5), ("reached", "error", 8)]
    assert told(here, "This is a loop") == 8
    (worst,) = (each["cost_usd"] for each in here.asked("loop", "list")["loops"] if each["stage"] == "reached")
    assert abs(worst - 8 * (1_000 * 3 + 2_000 * 15) / 1_000_000) < 1e-9


def test_the_third_subagent_on_one_task_is_kept_back(machine: Make) -> None:
    task = {"description": "Work", "prompt": f"{SUB} please", "subagent_type": "general-purpose"}
    start = Tool("Agent", {**task, "run_in_background": False})
    turns = [Turn("Working.", (start,), USED)] * 4
    here = machine(CLAUDE, turns, agents={SUB: [Turn("Nothing found.", (), USED)] * 4})
    prepared(here, "halt")
    here.run()
    assert seen(here) == [("stopped", "spawn", 3)]
    assert len(here.api.of_kind(SUB)) == 2
