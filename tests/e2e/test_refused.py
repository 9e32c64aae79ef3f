"""Clients that go on after a refusal: how many calls of the model follow it in print mode; a raise lets go on."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal

import pytest
from tests.e2e.checking import assert_counted, assert_logged, rounded
from tests.e2e.driving import Machine, wait_for
from tests.e2e.mock_api import dollars_of
from tests.e2e.programs import Client, Codex, CopilotCli, QwenCode
from tests.e2e.wire import Tokens, Tool, Turn

pytestmark = pytest.mark.e2e

COSTLY = Tokens(fresh=1_000, cache_read=8_000, output=16_000)
SUB = "SUBWORK"
CODEX, QWEN, COPILOT = Codex(), QwenCode(), CopilotCli()
VIEW = {"qwen": Tool("read_file", {"file_path": "a.txt"}), "copilot": Tool("view", {"path": "a.txt"})}
AGENT = {
    "codex": Tool("spawn_agent", {"message": f"{SUB} please"}, "multi_agent_v1"),
    "qwen": Tool("agent", {"description": "Work", "prompt": f"{SUB} please", "subagent_type": "general-purpose"}),
    "copilot": Tool(
        "task", {"description": "Work", "prompt": f"{SUB} please", "agent_type": "general-purpose", "name": "sub"}
    ),
}

Make = Callable[..., Machine]


@dataclass(frozen=True)
class Case:
    """What the model asks for in each response, without end, and what follows the first that was refused."""

    client: Client
    tools: tuple[str, ...]
    further: int
    code: int
    agents: int = 0

    def __str__(self) -> str:
        return f"{self.client.name}-{'+'.join(self.tools)}"


def turns(client: Client, tools: tuple[str, ...]) -> Iterator[Turn]:
    """Responses without end that ask for these tools; no two of them alike."""
    made: dict[str, Callable[[str], Tool]] = {
        "shell": lambda mark: client.shell(f"echo ran {mark} >> marks"),
        "view": lambda _: VIEW[client.name],
        "agent": lambda _: AGENT[client.name],
    }
    for number in itertools.count():
        asked = tuple(made[tool](f"{number}.{place}") for place, tool in enumerate(tools))
        yield Turn("Working.", asked, COSTLY)


# Copilot is ended at the end of its session, by its wrapper; it alone has tools that no answer to them ends the turn.
CASES = [
    Case(CODEX, ("shell",), 1, 1),
    Case(CODEX, ("shell", "shell", "shell"), 0, 1),
    Case(QWEN, ("shell",), 0, 130),
    Case(QWEN, ("shell", "shell", "shell"), 0, 130),
    Case(QWEN, ("view",), 0, 130),
    Case(COPILOT, ("shell",), 0, -2),
    Case(COPILOT, ("shell", "shell", "shell"), 0, -2),
    Case(COPILOT, ("view", "shell"), 0, -2),
    Case(COPILOT, ("view",), 1, -2),
    Case(COPILOT, ("view", "view"), 1, -2),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_run_ends_so_soon_after_the_first_refusal_with_all_it_used_and_goes_on_after_a_raise(
    machine: Make, case: Case
) -> None:
    client = case.client
    here = machine(client, turns(client, case.tools))
    here.init(str(rounded(dollars_of(client.model, COSTLY) * Decimal("2.5"))))
    run = here.run()
    assert (len(here.api.of_kind("main")), run.code) == (2 + case.further, case.code)
    wait_for(here.run_lines, "the run log has its line, from a hook where Copilot ended its server")
    assert_logged(here)
    assert_counted(here)
    (budget,) = here.asked("budget", "list")["budgets"]
    here.tallygate("budget", "raise", budget["budget_id"], "2.00")
    here.api.play(Turn("Working.", (client.shell("echo more >> marks"),)), Turn("Finished."))
    resumed = here.run("Go on.", resume=run.seen.session or COPILOT.last_session(here.place))
    assert (resumed.code, resumed.seen.said) == (0, "Finished.")
    assert "more" in (here.work / "marks").read_text()
    assert_counted(here)


@pytest.mark.parametrize(
    ("client", "asks", "main", "agents", "code"),
    [
        (CODEX, ("shell",), 3, 2, 1),
        (QWEN, ("shell",), 2, None, 130),
        (COPILOT, ("shell",), 2, 2, -2),
        (COPILOT, ("view",), 2, 3, -2),
    ],
    ids=["codex-shell", "qwen-shell", "copilot-shell", "copilot-view"],
)
def test_through_a_subagent_a_run_ends_as_soon(
    machine: Make, client: Client, asks: tuple[str, ...], main: int, agents: int | None, code: int
) -> None:
    here = machine(client, turns(client, ("agent",)), agents={SUB: turns(client, asks)})
    here.init(str(rounded(dollars_of(client.model, COSTLY) * Decimal("2.5"))))
    run = here.run()
    assert run.code == code
    assert len(here.api.of_kind("main")) <= main
    # Qwen Code's subagents ask their model until the whole has ended, a second later.
    assert agents is None or len(here.api.of_kind(SUB)) <= agents
