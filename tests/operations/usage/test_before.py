"""What was spent before a budget's first step: read before the step is decided, or the step waits."""

from __future__ import annotations

import os
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from tests.clients.making import claude, lines
from tests.transcripts import minted
from tests.world import NANOS, hook_event

from tallygate.clients.registry import REGISTRY
from tallygate.core.errors import LedgerUnavailable
from tallygate.core.gate.rules import BudgetRule, BudgetScope
from tallygate.core.hooks import Moment, SessionOrigin
from tallygate.core.moments import as_datetime
from tallygate.core.words import BudgetMode
from tallygate.operations.gate.authorize import check, look_before
from tallygate.operations.hooks import answer_hook
from tallygate.operations.usage import follow
from tallygate.operations.usage.follow import FRESH_US, Follower, _stamp
from tallygate.operations.usage.sync import sync
from tallygate.surroundings import Surroundings

HOUR = 3_600_000_000
NOON_US = 1_795_867_200_000_000  # 2026-11-28, a Saturday
SOURCES = tuple(REGISTRY.sources.values())


def rule(period: str, mode: BudgetMode = BudgetMode.HARD, dollars: int = 1) -> BudgetRule:
    return BudgetRule(BudgetScope.GLOBAL, dollars * NANOS, period=period, mode=mode)


class Home:
    """A user's home with sessions that no hook has told of, and programs that gate the next one."""

    def __init__(self, world, home: Path):
        world.clock.at_us = NOON_US
        self.world = world.with_runtime(session_limit_nanos=100 * NANOS, project="/home/me/p")
        self.clock, self.home = world.clock, home
        self.folder = home / ".claude" / "projects" / "p"
        self.folder.mkdir(parents=True)
        # When the system saw a file change: with its last row, where nobody says otherwise.
        self.came_us: dict[Path, int] = {}

    def stamp(self, path: Path) -> tuple[int, int, int] | None:
        """A file's times by the clock of this test, which no system call sets."""
        found = _stamp(path)
        return found and (found[0], 1000 * self.came_us.get(path, found[0] // 1000), found[2])

    def wrote(self, name: str, cents: int, ago_us: int, key: str | None = None) -> Path:
        """A session that ended a while ago, and its transcript as old as that."""
        at_us = self.clock.at_us - ago_us
        at = as_datetime(at_us).isoformat().replace("+00:00", "Z")
        row = claude(
            minted(key or name),
            top={"timestamp": at, "cwd": "/home/me/p", "sessionId": name},
            model="dear",
            output=cents * 10,
            usage={"input_tokens": 0, "cache_read_input_tokens": 0},
        )
        file = self.folder / f"{name}.jsonl"
        with file.open("ab") as out:
            out.write(lines(row))
        os.utime(file, ns=(at_us * 1000, at_us * 1000))
        return file

    def program(self, *rules: BudgetRule, ticks=lambda: 0, sources=SOURCES) -> Program:
        return Program(self, rules, ticks, sources)

    def sync(self) -> None:
        sync(self.world.rt, environ={}, home=self.home)


class Program:
    """One program of its own at the gate: a server, or one that a hook has started."""

    def __init__(self, home, rules, ticks, sources):
        self.of = home
        here = home.world.with_runtime(rules=tuple(rules))
        self.follower = Follower(here.rt, (Surroundings({}, None, home.home),), sources, ticks)
        self.world = here.with_runtime(follower=self.follower)

    def hook(self, moment=Moment.PROMPT, name="new"):
        self.of.clock.forward(1_000_000)
        origin = SessionOrigin.STARTUP if moment is Moment.SESSION_START else None
        transcript = str(self.of.folder / f"{name}.jsonl")
        return answer_hook(
            self.world.rt, hook_event("claude_code", moment, name, moment.value, transcript=transcript, origin=origin)
        )

    def begins(self):
        self.hook(Moment.SESSION_START)
        return self.hook()


@pytest.fixture
def home(world, tmp_path, monkeypatch):
    made = Home(world, tmp_path / "home")
    monkeypatch.setattr(follow, "_stamp", made.stamp)
    return made


@pytest.mark.parametrize(
    "period, ago_us, counts",
    [
        ("day", 2 * HOUR, True),
        ("day", 13 * HOUR, False),
        ("week", 4 * 24 * HOUR, True),
        ("week", 6 * 24 * HOUR, False),
        ("month", 20 * 24 * HOUR, True),
        ("month", 28 * 24 * HOUR, False),
        ("never", 400 * 24 * HOUR, True),
        ("5h", 4 * HOUR, True),
        ("5h", 6 * HOUR, False),
    ],
)
def test_what_was_spent_before_tallygate_was_asked_counts_in_a_hard_budget(home, period, ago_us, counts):
    home.wrote("old", 150, ago_us)
    answer = home.program(rule(period)).begins()
    assert answer.stops is counts
    assert not counts or "($1.50 spent)" in answer.message


@pytest.mark.parametrize("set_back", [0, 40 * 24 * HOUR])
@pytest.mark.parametrize("came_ago_us", [0, 2 * HOUR])
def test_a_file_that_says_it_is_old_counts_by_when_it_came(home, set_back, came_ago_us):
    program = home.program(rule("day"))
    assert not program.begins().stops
    home.clock.forward(3 * HOUR)
    file = home.wrote("copied", 150, 4 * HOUR)
    home.came_us[file] = home.clock.at_us - came_ago_us
    written = home.clock.at_us - 4 * HOUR - set_back
    os.utime(file, ns=(written * 1000, written * 1000))
    assert program.hook().stops


def test_what_an_ungated_client_spends_between_two_sessions_counts(home):
    home.wrote("first", 10, 2 * HOUR)
    assert not home.program(rule("day", dollars=90)).begins().stops
    home.clock.forward(3 * HOUR)
    home.wrote("second", 9000, HOUR)
    assert home.program(rule("day", dollars=90)).hook().stops


def test_a_program_that_was_quiet_for_long_looks_again(home):
    program = home.program(rule("day"))
    assert not program.begins().stops
    home.clock.forward(2 * HOUR)
    home.wrote("other", 150, HOUR)
    assert program.hook().stops


def test_a_day_of_soft_limits_counts_what_was_spent_before(home):
    home.wrote("old", 150, 2 * HOUR)
    program = home.program(rule("day", BudgetMode.SOFT))
    assert not program.begins().stops
    with home.world.ledger.reading() as reader:
        [budget] = [each for each in reader.budgets(limit=9) if each.period == "day"]
    assert budget.spent == 15 * NANOS // 10


class Slow:
    """A clock that runs on by a second whenever something is read."""

    def __init__(self, took_us=1_000_000):
        self.at_us, self.took_us = 0, took_us

    def __call__(self):
        return self.at_us

    def reading(self, batch):
        self.at_us += self.took_us
        return batch


def through(sources, noting):
    """The same readers, where somebody sees what they read."""

    def seen(source):
        return lambda *args: (noting(args[0], batch) for batch in source.read(*args))

    return tuple(replace(source, read=seen(source)) for source in sources)


def test_a_history_that_takes_long_to_read_stops_the_step_and_says_so_until_it_is_read(home):
    for number in range(7):
        home.wrote(f"old{number}", 1, 2 * HOUR)

    def program():
        slow = Slow()
        return home.program(rule("day", dollars=90), ticks=slow, sources=through(SOURCES, lambda _, b: slow.reading(b)))

    first = program().begins()
    assert first.stops
    assert first.message == (
        "Tallygate: What was spent before is still being read, so this step cannot be counted against your limits "
        "yet. Try again in a minute; `tallygate sync` shows how far it is."
    )
    assert [program().hook().stops for _ in range(3)] == [True, False, False], "each goes on where one was left"


def test_a_history_that_cannot_be_read_on_as_the_disk_is_full_stops_the_step_and_says_that(home, monkeypatch):
    for number in range(7):
        home.wrote(f"old{number}", 1, 2 * HOUR)
    slow = Slow()
    program = home.program(rule("day", dollars=90), ticks=slow, sources=through(SOURCES, lambda _, b: slow.reading(b)))

    def full(_):
        raise LedgerUnavailable("The disk of the ledger is full.", hint="Make room on it.")

    monkeypatch.setattr("tallygate.operations.runtime.Runtime.prove", full)
    first = program.begins()
    assert first.stops
    assert "The disk of the ledger is full." in first.message


class Over:
    """A clock by which all time is over at each look."""

    at_us = 0

    def __call__(self):
        self.at_us += 60_000_000
        return self.at_us


def test_who_fails_open_goes_on_while_history_is_read(home):
    home.wrote("old", 150, 2 * HOUR)
    program = home.program(rule("day"), ticks=Over())
    program.world = program.world.with_runtime(halt_on_fault=False)
    assert not program.begins().stops


def test_only_a_hard_budget_above_the_session_waits_for_the_history(home):
    home.wrote("old", 150, 2 * HOUR)
    for rules in [(), (rule("day", BudgetMode.SOFT),), (BudgetRule(BudgetScope.SESSION, NANOS),)]:
        assert not home.program(*rules, ticks=Over()).begins().stops, rules


def test_a_step_waits_for_a_reader_at_work_and_counts_what_that_has_read(home):
    """The reader of the background holds what is read: the step that comes in meanwhile goes by it."""
    home.wrote("old", 150, 2 * HOUR)
    at_work, go_on = threading.Event(), threading.Event()

    def slow(_, batch):
        at_work.set()
        go_on.wait(60)
        return batch

    program = home.program(rule("day"), sources=through(SOURCES, slow))
    program.follower.patience_us = 60_000_000
    reader = threading.Thread(target=program.follower.scan)
    reader.start()
    assert at_work.wait(60)
    answers = []
    decider = threading.Thread(target=lambda: answers.append(program.begins()))
    decider.start()
    go_on.set()
    decider.join(60)
    reader.join(60)
    assert [answer.stops for answer in answers] == [True]
    assert "($1.50 spent)" in answers[0].message


def test_agents_that_ask_by_themselves_are_held_to_it_too(home):
    home.wrote("old", 150, 2 * HOUR)
    late = home.program(rule("day"), ticks=Over()).world
    session = late.start("10", client="claude-code")
    late_answer = late.ask(session, 0)
    assert (late_answer.action, late_answer.reason) == ("halt", "ledger_unavailable")
    assert check(late.rt, session).fault is not None
    assert not look_before(late.rt, session, 0, "USD").allowed
    whole = home.program(rule("day")).world
    assert whole.ask(session, 1).reason == "budget_pressure:halt"


def test_what_one_program_has_read_no_other_looks_through_again(home):
    home.wrote("old", 10, 2 * HOUR)
    home.sync()
    home.wrote("newer", 10, FRESH_US // 2)
    files: set[str] = set()

    def noting(file, batch):
        files.add(file.path.name)
        return batch

    def program():
        return home.program(rule("month", dollars=90), sources=through(SOURCES, noting))

    assert not program().begins().stops
    assert files == {"newer.jsonl"}
    files.clear()
    assert not program().hook().stops
    assert files == set()


def test_a_longer_span_than_was_looked_through_is_looked_through(home):
    home.wrote("old", 9000, 3 * 24 * HOUR)
    assert not home.program(rule("day", dollars=90)).begins().stops
    assert home.program(rule("week", dollars=90)).hook().stops


def test_other_places_than_were_looked_through_are_looked_through(home, tmp_path):
    home.sync()
    file = home.wrote("elsewhere", 150, 2 * HOUR)
    other = tmp_path / "other" / "projects" / "p"
    other.mkdir(parents=True)
    file.rename(other / file.name)
    program = home.program(rule("day"))
    # What its client's variables name is read beside the user's own places.
    program.follower.places += (Surroundings({"CLAUDE_CONFIG_DIR": str(tmp_path / "other")}, None, home.home),)
    assert program.begins().stops


def test_a_ledger_that_cannot_be_written_is_no_history_that_was_read(home, monkeypatch):
    home.wrote("old", 150, 2 * HOUR)
    program = home.program(rule("day"))

    def away(*_):
        raise LedgerUnavailable("The ledger is busy.", code="lock_timeout")

    with monkeypatch.context() as patch:
        patch.setattr("tallygate.operations.usage.follow.ingest", away)
        assert program.begins().stops
    assert "($1.50 spent)" in program.hook().message


def test_a_day_that_has_halted_lets_no_new_session_begin_at_less_than_first_steps_have_cost(home):
    """A first step is reserved at a figure of ours until one was seen: a second session goes by that."""
    home.wrote("old", 100, 2 * HOUR)
    program = home.program(rule("day", dollars=40))
    assert not program.begins().stops
    home.clock.forward(1_000_000)
    home.wrote("new", 2500, 0)
    assert program.hook().stops, "the second step of the first session may cost what its first one did"
    program.hook(Moment.SESSION_START, "other")
    refused = program.hook(name="other")
    assert refused.stops
    assert "the next step may cost $25.00" in refused.message


@pytest.mark.parametrize(
    "scope, seen, stops",
    [
        (BudgetScope.SESSION, 1, False),
        (BudgetScope.SESSION, 4, False),
        (BudgetScope.GLOBAL, 1, False),  # one is no evidence
        (BudgetScope.GLOBAL, 3, True),  # three are
    ],
)
def test_what_few_dear_first_steps_have_cost_stops_no_first_step_of_an_untouched_limit(home, scope, seen, stops):
    """A refused step teaches nothing: such a stop would never end, and who has set a limit wants work to begin."""
    dear = home.program()
    for number in range(seen + 1):  # which model the very first one asks, nobody knows before
        name = f"dear{number}"
        dear.hook(Moment.SESSION_START, name)
        assert not dear.hook(name=name).stops
        home.clock.forward(1_000_000)
        home.wrote(name, 2500, 0)
        dear.hook(name=name)
    home.clock.forward(24 * HOUR)
    home.world = home.world.with_runtime(session_limit_nanos=(20 if scope is BudgetScope.SESSION else 100) * NANOS)
    period = "session" if scope is BudgetScope.SESSION else "day"
    program = home.program(BudgetRule(scope, 20 * NANOS, period=period))
    for _ in range(2):
        program.hook(Moment.SESSION_START, "next")
        assert program.hook(name="next").stops is stops
        home.clock.forward(6_000_000)  # the first try was broken off
