"""Stops that are seen: by the exit code of a run, on its stderr, in the run log, and by a script that asks."""

from __future__ import annotations

import contextlib
import itertools
import json
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.e2e.checking import assert_counted, assert_logged, rounded
from tests.e2e.driving import Machine, Run, wait_for
from tests.e2e.mock_api import dollars_of
from tests.e2e.programs import ClaudeCode, Client, Codex, CopilotCli, GeminiCli, OpenCode, QwenCode, write
from tests.e2e.wire import Tokens, Tool, Turn

pytestmark = pytest.mark.e2e

COSTLY = Tokens(fresh=1_000, cache_read=8_000, output=16_000)
CLAUDE = ClaudeCode()
COMMAND = "tallygate budget raise"
PROMPT = "Do the thing."
# In the turn, and at a prompt. What Copilot's wrapper leaves with at SIGINT a shell reads as 130.
CODES = {
    "claude_code": (143, 143), "codex": (1, 1), "gemini": (0, 0), "opencode": (1, 1), "qwen": (130, 130),
    "copilot": (-2, 1),
}  # fmt: skip

Make = Callable[..., Machine]


@pytest.fixture(params=[ClaudeCode, Codex, GeminiCli, OpenCode, QwenCode, CopilotCli], ids=lambda kind: kind.name)
def client(request: pytest.FixtureRequest) -> Client:
    return request.param()


def many(client: Client, word: str = "ran") -> Iterator[Turn]:
    return (Turn("Working.", (client.shell(f"echo {word} {n} >> marks"),), COSTLY) for n in itertools.count())


def limit(client: Client) -> str:
    return str(rounded(dollars_of(client.model, COSTLY) * 5 / 2))


def says_how_to_go_on(run: Run) -> bool:
    """Whether the command is among what a reader of the run sees; Copilot breaks its lines."""
    return COMMAND in " ".join(run.shown.replace("\\n", " ").split())


def stopped_by_exit_code(machine: Machine) -> int:
    return machine.tallygate("status", "--exit-code", check=False).returncode


def refuses(machine: Machine) -> None:
    """The user's own settings, by which nothing is ended."""
    file = machine.home / ".config" / "tallygate" / "config.toml"
    before = file.read_text(encoding="utf-8") if file.exists() else ""
    write(file, before + '\n[enforcement]\nstop = "refuse"\n')


def test_a_stop_is_seen_whatever_the_client_leaves_with(machine: Make, client: Client) -> None:
    here = machine(client, many(client))
    here.init(limit(client))
    in_turn, at_prompt = CODES[client.name]
    run = here.run_heard()
    assert (run.code, says_how_to_go_on(run)) == (in_turn, True), run.shown[-2000:]
    assert "press Esc" not in run.shown, "nobody sits before it"
    line = wait_for(here.run_lines, "the run log has its line")[0]
    assert line["stopped"]["message"].partition("To go on, run: ")[2].count(COMMAND) == 1
    assert stopped_by_exit_code(here) == 8
    calls = len(here.api.served)
    again = here.run_heard("Go on.", resume=run.seen.session)
    assert (again.code, says_how_to_go_on(again)) == (at_prompt, True), again.shown[-2000:]
    assert len(here.api.served) == calls
    (budget,) = here.asked("budget", "list")["budgets"]
    here.tallygate("budget", "raise", budget["budget_id"], "2.00")
    assert stopped_by_exit_code(here) == 0
    here.api.play(Turn("Finished."))
    resumed = here.run_heard("Go on.", resume=run.seen.session)
    assert (resumed.code, "Finished." in resumed.seen.said) == (0, True)
    assert_counted(here)


def test_a_limit_that_only_warns_is_said_where_it_is_passed_and_the_run_goes_on(machine: Make, client: Client) -> None:
    here = machine(client, [*itertools.islice(many(client), 5), Turn("Finished.")])
    here.init(limit(client))
    (here.work / ".l6e" / "config.toml").unlink()
    own = here.home / ".config" / "tallygate" / "config.toml"
    write(own, f'[[budget]]\nscope = "session"\nmode = "soft"\nlimit_usd = {limit(client)}\n')
    run = here.run_heard()
    assert (run.code, "Finished." in run.seen.said) == (0, True), run.shown[-2000:]
    # Gemini CLI shows what hooks tell several times; opencode, which is not ended either, shows nothing of it.
    said = run.errors.count("This limit only warns; a hard one would have stopped here.")
    assert min(said, 1) == (client.name != "opencode"), run.shown[-3000:]
    assert said < 2 or client.name == "gemini", run.errors
    told = here.tallygate("why").stdout
    assert "let through, over the limit." in told
    assert "steps were let through over a limit that only warns; a hard one would have stopped the work at $" in told
    assert "went on over its limit, which only warns" in here.tallygate("status").stdout


@pytest.mark.parametrize(
    "kind, piped, code",
    [(ClaudeCode, True, 143), (CopilotCli, True, -2), (QwenCode, True, 130), (QwenCode, False, 130)],
    ids=["claude_code", "copilot", "qwen", "qwen with a prompt as its last word"],
)
def test_a_stop_is_seen_where_a_prompt_is_piped_or_stands_without_an_option(
    machine: Make, kind: type[Client], piped: bool, code: int
) -> None:
    client = kind()
    here = machine(client, many(client))
    here.init(limit(client))
    argv = [word for word in client.command(here.place, PROMPT, None) if word not in {"-p", "--prompt", PROMPT}]
    run = here.run_heard(argv=argv if piped else [*argv, PROMPT], said=PROMPT if piped else "")
    assert (run.code, says_how_to_go_on(run)) == (code, True), run.shown[-2000:]
    assert_counted(here)


def test_a_run_of_claude_code_that_is_not_ended_says_why_at_its_end(machine: Make) -> None:
    here = machine(CLAUDE, many(CLAUDE))
    here.init(limit(CLAUDE))
    refuses(here)
    run = here.run_heard()
    assert run.code == 0
    assert run.errors.count(COMMAND) == 1
    assert_logged(here)


@contextlib.contextmanager
def gone(ledger: Path) -> Iterator[None]:
    kept = ledger.with_name("kept")
    ledger.rename(kept)
    yield
    kept.rename(ledger)


@contextlib.contextmanager
def locked(ledger: Path) -> Iterator[None]:
    with contextlib.closing(sqlite3.connect(ledger, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        yield
        other.execute("ROLLBACK")


@pytest.mark.parametrize(("fault", "why"), [(gone, "is gone"), (locked, "is locked")])
def test_a_fault_of_the_ledger_is_said_where_the_stderr_of_claude_code_is_a_plain_file(
    machine: Make, fault: Callable[[Path], contextlib.AbstractContextManager[None]], why: str
) -> None:
    here = machine(CLAUDE, many(CLAUDE))
    here.init("9.00")
    errors = here.home / "errors"
    argv = ["sh", "-c", f'exec "$@" 2>"{errors}"', "sh", *CLAUDE.command(here.place, "Do the thing.", None)]
    with fault(here.home / ".local" / "share" / "tallygate" / "ledger.db"):
        run = here.run_heard(argv=argv)
    said = errors.read_text(encoding="utf-8")
    assert (run.code, said.count("The ledger could not be used")) == (143, 1), said
    assert why in said
    assert not here.api.of_kind("main")


def test_a_stopped_subagent_of_claude_code_is_told_at_the_end_of_a_run_that_went_on(machine: Make) -> None:
    task = Tool("Agent", {"description": "T", "prompt": "TASK-ONE please", "subagent_type": "general-purpose"})
    start = Turn("Delegating.", (task,), Tokens(fresh=12, cache_write_5m=1_500, output=80))
    here = machine(CLAUDE, [start, Turn("All done.")], agents={"TASK-ONE": many(CLAUDE)})
    here.init("0.60")
    run = here.run_heard()
    assert (run.code, "All done." in run.seen.said) == (0, True)
    assert run.errors.count(COMMAND) == 1
    assert assert_logged(here)["stopped"]["actor_type"] == "subagent"
    assert stopped_by_exit_code(here) == 8
    assert_counted(here)


@pytest.mark.parametrize("background", [False, True], ids=["in the foreground", "in the background"])
def test_the_end_of_claude_code_breaks_off_no_response_of_a_subagent(machine: Make, *, background: bool) -> None:
    names = ("TASK-ONE", "TASK-TWO")
    tasks = tuple(
        Tool("Agent", {"description": name, "prompt": f"{name} please", "subagent_type": "general-purpose"}
             | {"run_in_background": background})
        for name in names
    )  # fmt: skip
    slow = [Turn("Slowly.", (CLAUDE.shell("echo slow >> marks"),), COSTLY, gap=0.3) for _ in range(9)]
    agents = {"TASK-ONE": many(CLAUDE), "TASK-TWO": slow}
    here = machine(CLAUDE, itertools.chain([Turn("Delegating.", tasks, COSTLY)], many(CLAUDE)), agents=agents)
    here.init("1.30")
    run = here.run_heard()
    assert run.code == 143
    assert run.errors.count(COMMAND) == 1
    assert all(each.whole for each in here.api.served)
    assert_counted(here)


def test_claude_code_under_a_program_that_speaks_with_it_is_refused_and_not_ended(machine: Make) -> None:
    here = machine(CLAUDE, many(CLAUDE))
    here.init(limit(CLAUDE))
    message = {"type": "user", "message": {"role": "user", "content": "Do the thing."}}
    argv = [*CLAUDE.command(here.place, "", None), "--input-format", "stream-json"]
    run = here.run_heard(argv=[word for word in argv if word], said=json.dumps(message) + "\n")
    assert run.code == 0
    assert any(row.get("type") == "result" for row in map(json.loads, run.output.splitlines()))
    assert len(here.api.of_kind("main")) == 2
    assert_logged(here)
