"""Codex: hooks that the user has to trust, and subagents on their own threads."""

from __future__ import annotations

import itertools
import json
import re
import subprocess
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from typing import Any

import pytest
from tests.e2e.checking import assert_counted, assert_logged, recorded, rounded
from tests.e2e.driving import Machine, wait_for
from tests.e2e.mock_api import dollars_of
from tests.e2e.programs import Codex, Place
from tests.e2e.terminal import Terminal
from tests.e2e.wire import Tokens, Tool, Turn

pytestmark = pytest.mark.e2e

CODEX = Codex()
COSTLY = Tokens(fresh=1_000, cache_read=8_000, output=16_000)

Make = Callable[..., Machine]


class Distrustful(Codex):
    """Codex as users run it: a hook nobody has trusted is left out without a word."""

    def command(self, place: Place, prompt: str, resume: str | None) -> list[str]:
        argv = super().command(place, prompt, resume)
        argv.remove("--dangerously-bypass-hook-trust")
        return argv


class Forgetful(Codex):
    """Codex with so small a context that it summarises after the first response."""

    def prepare(self, place: Place) -> None:
        super().prepare(place)
        settings = place.home / ".codex" / "config.toml"
        text = settings.read_text(encoding="utf-8")
        settings.write_text("model_auto_compact_token_limit = 5_000\n" + text, encoding="utf-8")


class AppServer:
    """What Codex's own screens talk to; through it the user's trust is read and written."""

    def __init__(self, machine: Machine) -> None:
        self._process = subprocess.Popen(
            [machine.place.program("codex"), "app-server"],
            cwd=machine.work,
            env=machine.client_environ(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self._numbers = itertools.count(1)
        self.ask("initialize", {"clientInfo": {"name": "test", "title": "Test", "version": "0"}})
        self._say({"method": "initialized"})

    def ask(self, method: str, params: Mapping[str, Any]) -> Any:
        number = next(self._numbers)
        self._say({"id": number, "method": method, "params": params})
        for line in self._process.stdout or ():
            answer = json.loads(line)
            if answer.get("id") == number:
                assert "error" not in answer, answer
                return answer["result"]
        raise AssertionError(f"no answer to {method}")

    def hooks(self, machine: Machine) -> list[dict[str, Any]]:
        found = self.ask("hooks/list", {"cwds": [str(machine.work)]})["data"]
        return [hook for entry in found for hook in entry["hooks"]]

    def trust(self, hooks: list[dict[str, Any]]) -> None:
        trusted = {hook["key"]: {"enabled": True, "trusted_hash": hook["currentHash"]} for hook in hooks}
        edit = {"keyPath": "hooks.state", "value": trusted, "mergeStrategy": "upsert"}
        self.ask("config/batchWrite", {"edits": [edit]})

    def close(self) -> None:
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        self._process.terminate()
        self._process.wait()

    def _say(self, message: Mapping[str, Any]) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(message) + "\n")
        self._process.stdin.flush()


def doctors_word(machine: Machine) -> dict[str, str]:
    """What doctor says about Codex."""
    found = json.loads(machine.tallygate("doctor", "--json", check=False).stdout)["checks"]
    return {check["check"]: check for check in found}["codex"]


def test_hooks_that_nobody_trusts_are_reported_until_the_user_trusts_them(machine: Make) -> None:
    client = Distrustful()
    here = machine(client, [Turn("Working.", (client.shell("echo ran"),)), Turn("All fine.")])
    here.init()
    assert doctors_word(here)["state"] == "warn"
    assert "/hooks" in doctors_word(here)["to_do"]
    here.run()
    assert here.run_lines() == []
    server = AppServer(here)
    hooks = server.hooks(here)
    assert hooks
    assert {hook["trustStatus"] for hook in hooks} == {"untrusted"}
    server.trust(hooks)
    assert {hook["trustStatus"] for hook in server.hooks(here)} == {"trusted"}
    server.close()
    assert doctors_word(here)["state"] == "ok"
    here.api.play(Turn("Working.", (client.shell("echo ran"),)), Turn("All fine."))
    before = here.api.dollars()
    here.run()
    (line,) = here.run_lines()
    assert Decimal(line["total_cost"]) == here.api.dollars() - before


def test_subagents_spend_the_budget_of_the_session_that_started_them(machine: Make) -> None:
    tasks = ("TASK-ONE", "TASK-TWO", "TASK-THREE")
    spawn = tuple(Tool("spawn_agent", {"message": f"{task} please"}, "multi_agent_v1") for task in tasks)
    agents = {task: [Turn("Sub.", (CODEX.shell(f"echo ran > {task}"),), COSTLY), Turn("Sub done.")] for task in tasks}
    here = machine(CODEX, agents=agents)
    wait = CODEX.shell(f"until {' && '.join(f'[ -e {task} ]' for task in tasks)}; do sleep 0.1; done; sleep 1")
    here.api.play(Turn("Delegating.", spawn, COSTLY), Turn("Waiting.", (wait,)), Turn("All fine."))
    here.init()
    run = here.run()
    assert run.code == 0
    assert all((here.work / task).exists() for task in tasks)
    assert_logged(here)
    assert_counted(here)


def test_a_tool_that_starts_while_its_response_streams_is_counted_when_that_has_landed(machine: Make) -> None:
    here = machine(CODEX)
    seen = here.work / "one"
    two = (CODEX.shell("touch one"), CODEX.shell("touch two"))
    slow = Turn("Two at once.", two, COSTLY, gap=0.02, hold=seen.exists)
    here.api.play(slow, Turn("All fine."))
    here.init()
    assert here.run().code == 0
    assert (here.work / "two").exists()
    assert_logged(here)
    assert_counted(here)


def test_both_refusals_of_a_run_that_a_budget_ends_name_one_command(machine: Make) -> None:
    turns = (Turn("Working.", (CODEX.shell(f"echo {n}"),), COSTLY) for n in itertools.count())
    here = machine(CODEX, turns)
    here.init(str(rounded(dollars_of(CODEX.model, COSTLY) * Decimal("2.5"))))
    run = here.run()
    [first] = set(re.findall(r"budget raise \w+ \d+\.\d\d", run.shown))
    assert len(here.api.of_kind("main")) == 3, "the model was asked once more"
    assert here.asked("why")["command"].endswith(first), "Codex shows the first refusal, the ledger keeps the last"


def test_summaries_that_codex_makes_of_its_own_accord_are_in_the_account(machine: Make) -> None:
    here = machine(Forgetful(), [Turn("Working.", (CODEX.shell("echo ran"),), COSTLY), Turn("All fine.")])
    here.init()
    assert here.run().code == 0
    assert here.api.of_kind("summary"), "the context was not summarised"
    assert_logged(here)
    assert_counted(here)


@pytest.fixture
def terminal() -> Iterator[Callable[[Machine], Terminal]]:
    """Open Codex on a terminal, with its hooks."""
    opened: list[Terminal] = []

    def open_(machine: Machine) -> Terminal:
        opened.append(Terminal(machine, [machine.place.program("codex"), "--dangerously-bypass-hook-trust"]))
        opened[-1].wait_for("Ask Codex to do anything")
        machine.server()
        return opened[-1]

    yield open_
    for each in opened:
        each.close()


def marks(machine: Machine) -> list[str]:
    file = machine.work / "marks"
    return file.read_text().split() if file.exists() else []


def spent_in_a_terminal(machine: Make, terminal: Callable[[Machine], Terminal]) -> tuple[Machine, Terminal]:
    """Codex on a terminal whose second tool after its budget was spent is being held."""
    turns = (Turn("Working.", (CODEX.shell(f"echo {n} >> marks"),), COSTLY) for n in itertools.count())
    here = machine(CODEX, turns)
    here.init(str(rounded(dollars_of(CODEX.model, COSTLY) * Decimal("2.5"))))
    screen = terminal(here)
    screen.type("Do the thing.")
    screen.wait_for("the next step may cost")
    wait_for(lambda: len(here.api.of_kind("main")) == 3, "the model is asked once more")
    wait_for(lambda: here.processes("hook.py", "PreToolUse"), "the next tool is held")
    assert (len(here.api.of_kind("main")), marks(here)) == (3, ["0"])
    return here, screen


def assert_all_but_titles_counted(here: Machine) -> None:
    """On a terminal Codex makes a title for a session, and writes what that used nowhere."""
    dollars = rounded(here.api.dollars("aside"))
    wait_for(lambda: recorded(here)[0] == dollars, f"{dollars} are in the ledger")


def test_a_tool_that_is_held_in_a_terminal_runs_as_soon_as_the_budget_is_raised(machine: Make, terminal) -> None:
    here, screen = spent_in_a_terminal(machine, terminal)
    here.api.play(Turn("Finished."))
    (budget,) = here.asked("budget", "list")["budgets"]
    here.tallygate("budget", "raise", budget["budget_id"], "1.00")
    screen.wait_for("Finished.")
    assert marks(here) == ["0", "2"], "the tool that was refused first was told so, the one that waited ran"
    assert len(here.api.of_kind("main")) == 4
    assert_all_but_titles_counted(here)


def test_a_turn_whose_tool_is_held_ends_with_esc_and_goes_on_after_a_raise_at_the_prompt(
    machine: Make, terminal
) -> None:
    here, screen = spent_in_a_terminal(machine, terminal)
    screen.press("\x1b")
    screen.wait_for("Conversation interrupted")
    wait_for(lambda: not here.processes("hook.py", "PreToolUse"), "nothing waits any more")
    screen.type("tallygate raise 2")
    screen.wait_for("type within two minutes: tallygate raise 2.00")
    code = wait_for(lambda: re.search(r"raise2\.00([0-9a-f]{8})", screen.text), "a code is shown")[1]
    screen.type(f"tallygate raise 2 {code}")
    screen.wait_for("Go on with your next prompt")
    assert len(here.api.of_kind("main")) == 3
    here.api.play(Turn("Working.", (CODEX.shell("echo more >> marks"),)), Turn("Finished."))
    screen.type("Go on.")
    screen.wait_for("Finished.")
    assert marks(here) == ["0", "more"]
    assert_all_but_titles_counted(here)


def test_a_turn_that_an_app_server_runs_is_interrupted_and_others_go_on(machine: Make) -> None:
    turns = (Turn("Working.", (CODEX.shell(f"echo {n} >> marks"),), COSTLY) for n in itertools.count())
    here = machine(Distrustful(), turns)
    here.init(str(rounded(dollars_of(CODEX.model, COSTLY) * Decimal("2.5"))))
    trusting = AppServer(here)
    trusting.trust(trusting.hooks(here))
    trusting.close()
    codex, environ = here.place.program("codex"), here.client_environ()
    with subprocess.Popen([codex, "app-server", "--listen", "unix://"], cwd=here.work, env=environ) as server:
        place = here.home / ".codex" / "app-server-control" / "app-server-control.sock"
        wait_for(place.exists, "the app server listens")
        # A terminal attaches to it by itself, if it answers soon enough for that.
        screen = Terminal(here, [codex, "--remote", f"unix://{place}"])
        try:
            screen.wait_for("Ask Codex to do anything")
            screen.type("Do the thing.")
            screen.wait_for("Conversation interrupted")
            assert (len(here.api.of_kind("main")), marks(here)) == (3, ["0"])
            assert not here.processes("hook.py", "PreToolUse")
            (budget,) = here.asked("budget", "list")["budgets"]
            here.tallygate("budget", "raise", budget["budget_id"], "2.00")
            here.api.play(Turn("Finished."))
            screen.type("Go on.")
            screen.wait_for("Finished.")
        finally:
            screen.close()
            server.kill()
