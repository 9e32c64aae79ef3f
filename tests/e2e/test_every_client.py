"""What holds in every client: an agent that never calls a tool of Tallygate is opened, counted, stopped and logged."""

from __future__ import annotations

import itertools
import re
import shutil
from collections.abc import Callable, Iterator
from decimal import Decimal

import pytest
from tests.e2e.checking import assert_counted, assert_logged, assert_named, raise_as_told, rounded, spent
from tests.e2e.driving import Machine, wait_for
from tests.e2e.mock_api import dollars_of
from tests.e2e.programs import ClaudeCode, Client, Codex, CopilotCli, GeminiCli, OpenCode, QwenCode
from tests.e2e.wire import Tokens, Turn, never

pytestmark = pytest.mark.e2e

# Between 13 and 25 cents, by client.
COSTLY = Tokens(fresh=1_000, cache_read=8_000, output=16_000)

Make = Callable[..., Machine]


@pytest.fixture(params=[ClaudeCode, Codex, GeminiCli, OpenCode, QwenCode, CopilotCli], ids=lambda kind: kind.name)
def client(request: pytest.FixtureRequest) -> Client:
    return request.param()


def at_work(client: Client, tokens: Tokens = COSTLY, **more: object) -> Turn:
    """A response that lets a command run, which leaves a mark."""
    return Turn("Working.", (client.shell("echo ran >> marks"),), tokens, **more)


def many(client: Client) -> Iterator[Turn]:
    """Responses without end, no two of them alike: Gemini CLI breaks off a model that repeats itself."""
    return (Turn("Working.", (client.shell(f"echo ran {n} >> marks"),), COSTLY) for n in itertools.count())


def limit(client: Client) -> str:
    """A budget that carries two costly responses and no third."""
    return str(rounded(dollars_of(client.model, COSTLY) * Decimal("2.5")))


def marks(machine: Machine) -> int:
    file = machine.work / "marks"
    return file.read_text().count("ran") if file.exists() else 0


def test_a_session_is_opened_counted_ended_and_logged_by_itself(machine: Make, client: Client) -> None:
    caches = Tokens(fresh=400, cache_read=8_000, output=300, reasoning=0 if client.name == "claude_code" else 100)
    written = Tokens(fresh=40, cache_write_5m=2_000, cache_write_1h=1_000, output=60)
    second = written if client.name == "claude_code" else Tokens(fresh=800, cache_read=16_000, output=60)
    here = machine(client, [at_work(client, caches), at_work(client, second), Turn("All fine.")])
    here.init()
    run = here.run()
    assert (run.code, marks(here)) == (0, 2)
    assert "All fine." in run.seen.said
    line = assert_logged(here)
    assert (line["client"], line["enforcement"]) == (client.option, "hooks")
    assert line["end_cause"].startswith(("client_ended", "client_gone"))
    session = here.session()
    # Of the title that opencode asks for beside the conversation nothing is written down.
    exactness = "partial_exact" if client.name == "opencode" else "fully_exact_for_supported_calls"
    assert (session["state"], session["exactness_state"]) == ("ended", exactness)
    assert_counted(here)


def test_a_spent_budget_stops_the_work_and_a_raise_lets_it_go_on(machine: Make, client: Client) -> None:
    # Codex cannot be stopped within a turn, only its tools; so the model has to heed what it is told.
    heeds, last_words = ("the next step may cost", 1) if client.name == "codex" else (None, 0)
    here = machine(client, many(client), heeds=heeds, ending=Turn("All done.", tokens=COSTLY))
    here.init(limit(client))
    run = here.run()
    assert (len(here.api.of_kind("main")), marks(here)) == (2 + last_words, 1)
    assert_logged(here)
    stopped = here.run("Go on.", resume=run.seen.session)
    assert (len(here.api.of_kind("main")), marks(here)) == (2 + last_words, 1), "a prompt on a spent budget passed"
    if client.name == "qwen":  # what it was told is lost here: its stderr is a plain file
        (budget,) = here.asked("budget", "list")["budgets"]
        here.tallygate("budget", "raise", budget["budget_id"], "1.00")
    else:
        raise_as_told(here, stopped if client.name != "codex" else run, "1.00")
    here.api.heeds = None
    here.api.play(at_work(client), Turn("Finished."))
    resumed = here.run("Go on.", resume=run.seen.session)
    assert (resumed.code, marks(here)) == (0, 2)
    assert "Finished." in resumed.seen.said
    (budget,) = here.asked("budget", "list")["budgets"]
    assert Decimal(str(budget["limit"])) == Decimal(limit(client)) + 1
    assert_counted(here)


def test_a_budget_that_is_cut_while_a_tool_runs_stops_the_next_call(machine: Make, client: Client) -> None:
    waiting = Turn("Waiting.", (client.shell("echo ran >> marks; until [ -e go ]; do sleep 0.05; done"),), COSTLY)
    here = machine(client, [waiting, *[at_work(client)] * 3], heeds="the next step may cost")
    here.init()
    started = here.start()
    wait_for(lambda: marks(here) == 1, "the first command runs")
    (budget,) = here.asked("budget", "list")["budgets"]
    here.tallygate("budget", "set", budget["budget_id"], "0")
    (here.work / "go").touch()
    started.ended()
    # Between a tool and the next call Codex and Copilot ask nobody: the call is made, and its tool is refused.
    more = {"codex": 2, "copilot": 1}.get(client.name, 0)
    assert (len(here.api.of_kind("main")), marks(here)) == (1 + more, 1)


def test_a_killed_client_is_closed_and_logged(machine: Make, client: Client) -> None:
    here = machine(client, [at_work(client), at_work(client), Turn("Speaking.", tokens=COSTLY, hold=never)])
    here.init()
    started = here.start()
    wait_for(lambda: len(here.api.of_kind("main")) == 3, "the third response streams")
    wait_for(lambda: (here.session()["observed"] or {}).get("responses") == 2, "the first two are counted")
    here.kill_client()
    started.ended()
    wait_for(here.run_lines, "the run log has the line of a client that was killed")
    wait_for(lambda: all(each.ended for each in here.api.served), "the model API knows that nobody listens")
    session = here.session()
    assert (session["state"], len(here.run_lines())) == ("ended", 1)
    whole = sum(each.dollars for each in here.api.of_kind("main") if each.whole)
    assert spent(here) >= whole
    assert_named(here)


def test_a_response_that_broke_off_is_named_and_the_total_is_not_exact(machine: Make, client: Client) -> None:
    broken = Turn("Working on it.", tokens=COSTLY, cut=True)
    here = machine(client, [at_work(client), broken, at_work(client), Turn("All fine.")])
    here.init("50.00")
    here.run()
    assert marks(here) >= 1  # some clients ask again, others give up
    session = here.session()
    assert (session["exactness_state"], session["savings_confidence"]) == ("partial_exact", "partial_exact")
    assert_named(here)


def test_nothing_goes_on_without_a_gate_when_the_server_is_killed(machine: Make, client: Client) -> None:
    killed = Turn("Waiting.", (client.shell("echo ran >> marks; until [ -e go ]; do sleep 0.05; done"),), COSTLY)
    here = machine(client, [killed, *[at_work(client)] * 3])
    here.init(limit(client))
    started = here.start()
    wait_for(lambda: marks(here) == 1, "the first command runs")
    here.kill_server()
    (here.work / "go").touch()
    started.ended()
    assert marks(here) == 1


def test_nothing_goes_on_without_a_gate_where_the_server_cannot_be_started(machine: Make, client: Client) -> None:
    here = machine(client, [at_work(client)] * 4)
    here.init(limit(client))
    here.break_server()
    here.run()
    assert marks(here) <= 1


def test_nothing_goes_on_where_the_program_is_gone(machine: Make, client: Client) -> None:
    here = machine(client, [at_work(client), Turn("All fine.")])
    here.init()
    here.lose_program()
    here.run()
    assert marks(here) == 0
    # Copilot refuses its tools and goes on asking: its other hooks stop nothing where they fail.
    assert client.name == "copilot" or here.api.served == []


def test_a_settings_file_that_cannot_be_read_stops_the_work_and_is_named_with_its_line(
    machine: Make, client: Client
) -> None:
    here = machine(client, [at_work(client)] * 3)
    here.init()
    (here.work / ".l6e").mkdir(exist_ok=True)
    (here.work / ".l6e" / "config.toml").write_text("[policy]\non_fualt = 1\n", encoding="utf-8")
    run = here.run()
    assert marks(here) == 0
    if client.name in ("codex", "qwen"):  # what they are told stands where a person reads it; a plain file is none
        assert run.code == (1 if client.name == "codex" else 130)
    else:
        assert re.search(r"config\.toml:2\D.*on_fualt", run.shown)
    assert here.tallygate("sessions", "list", check=False).returncode == 0
    assert here.tallygate("verify", check=False).returncode == 0


def test_nothing_goes_on_while_the_ledger_cannot_be_read(machine: Make, client: Client) -> None:
    here = machine(client, [at_work(client)] * 3)
    here.init()
    ledger = here.home / ".local" / "share" / "tallygate" / "ledger.db"
    ledger.write_bytes(b"This is no database. " * 1_000)
    here.run()
    assert marks(here) == 0


@pytest.mark.parametrize("with_folder", [False, True], ids=["the file", "its folder"])
def test_a_ledger_that_the_agent_removes_gives_no_fresh_budget(
    machine: Make, client: Client, *, with_folder: bool
) -> None:
    here = machine(client, [at_work(client), Turn("All fine.", tokens=COSTLY)] * 3)
    here.init()
    here.run()
    done, used = marks(here), here.asked("usage")["total"]["responses"]
    data = here.home / ".local" / "share" / "tallygate"
    for file in [data] if with_folder else [*data.glob("ledger.db*")]:
        shutil.rmtree(file) if file.is_dir() else file.unlink()
    here.run()
    assert (done, marks(here)) == (1, 1)
    assert not (data / "ledger.db").exists()
    refused = here.tallygate("status", check=False)
    assert (refused.returncode, "is gone" in refused.stderr) == (5, True)
    here.tallygate("ledger", "accept", "--reason", "an agent removed it")
    assert here.asked("usage")["total"]["responses"] >= used, "what was spent counts again"
    assert "an agent removed it" in here.tallygate("verify").stdout


PAIRS = pytest.mark.parametrize(
    "one, other", [(ClaudeCode(), Codex()), (GeminiCli(), OpenCode())], ids=lambda client: client.name
)


@PAIRS
def test_two_sessions_at_once_keep_their_accounts_apart(machine: Make, one: Client, other: Client) -> None:
    pause = "until [ -e both ]; do sleep 0.05; done; echo ran >> marks"
    agents = {
        "ONE": [Turn("Here.", (one.shell(pause),), COSTLY), Turn("One done.")],
        "TWO": [Turn("There.", (other.shell(pause),), COSTLY), Turn("Two done.")],
    }
    here = machine(one, agents=agents)
    there = here.beside(other)
    here.init()
    there.init()
    runs = [here.start("Part ONE."), there.start("Part TWO.")]
    wait_for(lambda: {each.kind for each in here.api.served} >= {"ONE", "TWO"}, "both clients are at work")
    (here.work / "both").touch()
    assert [each.ended().code for each in runs] == [0, 0]
    by_client = {each["client"]: Decimal(each["total_cost"]) for each in here.run_lines()}
    bill = {kind: sum(each.dollars for each in here.api.of_kind(kind)) for kind in ("ONE", "TWO")}
    assert by_client == {one.option: bill["ONE"], other.option: bill["TWO"]}
    assert marks(here) == 2


@PAIRS
def test_two_clients_at_once_spend_one_project_budget(machine: Make, one: Client, other: Client) -> None:
    agents = {"ONE": many(one), "TWO": many(other)}
    here = machine(one, agents=agents, heeds="the next step may cost")
    there = here.beside(other)
    here.init("50.00", project_usd="1.00")
    there.init("50.00", project_usd="1.00")
    for each in [here.start("Part ONE."), there.start("Part TWO.")]:
        each.ended()
    in_flight = dollars_of(one.model, COSTLY) + dollars_of(other.model, COSTLY)
    assert Decimal("0.60") < here.api.dollars() <= Decimal("1.00") + in_flight
    (project,) = [each for each in here.asked("budget", "list")["budgets"] if each["scope"] == "project"]
    # Where a client ends before its first response is on disk, what it had asked for by then stands at its estimate; a
    # title, which is never written down, stays so.
    calls = [
        call for line in here.run_lines() for call in here.asked("sessions", "show", line["run_id"], "--calls")["calls"]
    ]
    titles = sum((Decimal(str(call["cost"])) for call in calls if call["cost_basis"] == "estimate"), Decimal())
    assert Decimal(str(project["spent"])) == rounded(here.api.dollars("aside") + titles)


def test_what_steps_cost_teaches_the_next_reservation_and_is_held_against_a_bill(machine: Make, client: Client) -> None:
    here = machine(client, [*itertools.islice(many(client), 12), Turn("All done.", tokens=COSTLY)])
    here.init("50.00")
    assert here.run().code == 0
    learned = here.asked("calibrate", "show")["learned"][0]  # the model that answered most
    assert (learned["kind"], learned["client"], learned["confidence"]) == ("hook", client.option, "medium")
    # The provider bills a tenth more than its list says.
    day = here.session()["started_at"][:10]
    rows = ["date,model,input_tokens,cache_read_tokens,output_tokens,cost"]
    for each in here.api.of_kind("main"):
        tokens = each.tokens
        rows.append(f"{day},{each.model},{tokens.fresh},{tokens.cache_read},{tokens.output},{each.dollars * 11 / 10:f}")
    bill = here.root / "bill.csv"
    bill.write_text("\n".join(rows) + "\n", encoding="utf-8")
    assert here.asked("import", str(bill))["bills"][0]["lines"] == 13
    review = here.asked("drift")
    main = sum((each.dollars for each in here.api.of_kind("main")), Decimal())
    assert Decimal(str(review["total"]["billed"])) == rounded(main * 11 / 10)
    (factor,) = review["calibration"]["billed"]
    assert Decimal(str(factor["factor"])) == Decimal("1.1")
    assert "in both, at another price" in here.tallygate("drift").stdout


ENDED = {"claude_code": 143, "codex": 1, "qwen": 130}


@pytest.mark.parametrize("client", [ClaudeCode(), Codex(), QwenCode()], ids=lambda client: client.name)
def test_a_run_that_would_go_on_or_end_in_silence_is_ended_and_says_why(machine: Make, client: Client) -> None:
    here = machine(client, many(client))
    here.init(limit(client))
    run = here.run()
    # Codex asks the model once more when a tool was refused, and is ended when that asks for another one.
    assert (len(here.api.of_kind("main")), marks(here)) == (3 if client.name == "codex" else 2, 1)
    assert run.code == ENDED[client.name]
    assert_logged(here)
    session = run.seen.session
    calls = len(here.api.served)
    again = here.run("Go on.", resume=session)
    assert (again.code, len(here.api.served)) == (run.code, calls), "a prompt on a spent budget looks like success"
    (budget,) = here.asked("budget", "list")["budgets"]
    here.tallygate("budget", "raise", budget["budget_id"], "2.00")
    here.api.play(at_work(client), Turn("Finished."))
    resumed = here.run("Go on.", resume=session)
    assert (resumed.code, marks(here)) == (0, 2)
    assert "Finished." in resumed.seen.said
    assert_counted(here)


def test_a_tool_that_reaches_for_the_gate_is_refused_and_the_work_goes_on(machine: Make, client: Client) -> None:
    here = machine(client)
    ledger = here.home / ".local" / "share" / "tallygate"
    reaching = (f"rm -rf {ledger}", "sh -c 'tallygate budget raise x 100'", f"ls {ledger}", "echo ran >> marks")
    here.api.play(*[Turn("Working.", (client.shell(command),)) for command in reaching], Turn("All fine."))
    here.init()
    run = here.run()
    assert "All fine." in run.seen.said
    assert (ledger / "ledger.db").exists()
    assert client.name == "copilot" or run.seen.tools[-2].ok, "Copilot lets no command read outside the project"
    assert marks(here) == 1
    asked = str([each.request for each in here.api.served])
    assert "would change the ledger of Tallygate" in asked
    assert "budget raise` is the user's alone" in asked
    assert_counted(here)
