"""GitHub Copilot CLI on a terminal: a raise at the prompt, and the form that an agent's request puts."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from decimal import Decimal

import pytest
from tests.e2e.driving import Machine, wait_for
from tests.e2e.programs import CopilotCli
from tests.e2e.terminal import Terminal
from tests.e2e.wire import Tool, Turn

pytestmark = pytest.mark.e2e

COPILOT = CopilotCli()
Make = Callable[..., Machine]
Open = Callable[..., Terminal]
BEGIN = Tool("tallygate-start_budget", {"budget_gbp": 0.2, "session_id": "ticket-1", "description": "x"})
MORE = Tool("tallygate-request_budget", {"session_id": "ticket-1", "amount_usd": 5, "reason": "more"})


@pytest.fixture
def terminal() -> Iterator[Open]:
    opened: list[Terminal] = []

    def open_(machine: Machine, *extra: str) -> Terminal:
        program = machine.place.program("copilot")
        opened.append(Terminal(machine, [program, "--no-auto-update", "--disable-builtin-mcps", *extra]))
        opened[-1].wait_for("Confirm folder trust")
        opened[-1].press("\r")
        opened[-1].wait_for("1 server connected")
        return opened[-1]

    yield open_
    for each in opened:
        each.close()


def limit_of_ticket(machine: Machine) -> Decimal:
    budgets = machine.asked("budget", "list")["budgets"]
    return next(Decimal(str(each["limit"])) for each in budgets if each["budget_id"] == "ticket-1")


def test_a_line_at_the_prompt_raises_by_a_code_that_the_model_never_sees_nor_after_a_resumption(
    machine: Make, terminal: Open
) -> None:
    here = machine(COPILOT, [Turn("First fine."), Turn("Second fine.")])
    here.init()
    screen = terminal(here)
    screen.type("tallygate raise 2")
    screen.wait_for("type within two minutes: tallygate raise 2.00")
    code = wait_for(lambda: re.search(r"raise2\.00([0-9a-f]{8})", screen.text), "a code is shown")[1]
    screen.type(f"tallygate raise 2 {code}")
    screen.wait_for("its limit is $7.00 now")
    screen.type("The first prompt here")
    screen.wait_for("fine.")
    screen.close()
    here.run("Go on.", resume=COPILOT.last_session(here.place))
    asked = json.dumps([each.request for each in here.api.served])
    assert "The first prompt here" in asked
    assert "Go on." in asked
    assert code not in asked
    assert "tallygate raise" not in asked


@pytest.mark.parametrize(("key", "raised"), [("\r", True), ("\x04", False)], ids=["accepted", "declined"])
def test_a_form_asks_the_person_at_the_terminal(machine: Make, terminal: Open, key: str, raised: bool) -> None:
    here = machine(COPILOT, [Turn("Begin.", (BEGIN,)), Turn("Asking.", (MORE,)), Turn("All fine.")])
    here.init()
    screen = terminal(here, "--allow-all-tools")
    screen.type("Do the thing.")
    screen.wait_for("enter accept")
    assert "Anagentasksfor$5.00" in screen.text
    screen.press(key)
    wait_for(lambda: len(here.api.of_kind("main")) == 3, "the agent has its answer")
    assert (limit_of_ticket(here) > 3) is raised


@pytest.mark.parametrize("mode", ["--autopilot", "--no-ask-user"])
def test_where_nobody_is_to_be_asked_copilot_declines_by_itself(machine: Make, terminal: Open, mode: str) -> None:
    here = machine(COPILOT, [Turn("Begin.", (BEGIN,)), Turn("Asking.", (MORE,)), *[Turn("All fine.")] * 4])
    here.init()
    screen = terminal(here, "--allow-all", mode)
    screen.type("Do the thing.")
    wait_for(lambda: len(here.api.of_kind("main")) >= 3, "the agent has its answer")
    assert "declined" in json.dumps(here.api.of_kind("main")[2].request)
    assert limit_of_ticket(here) < 1
