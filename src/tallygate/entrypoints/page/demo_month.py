"""A made-up month: sessions of four repositories, written by the operations of the program into a ledger of its own.

It is the same for the same moment: chance comes from a row of numbers that begins anew each time.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import field, replace
from datetime import datetime, time, timedelta, tzinfo
from pathlib import Path

from tallygate.clients.registry import REGISTRY
from tallygate.core.attribution import Served
from tallygate.core.authority import Authority, EntryDoor
from tallygate.core.chosen import start_us
from tallygate.core.costing import Tokens
from tallygate.core.gate.rules import BudgetRule, BudgetScope
from tallygate.core.model import Actor
from tallygate.core.moments import DAY_US, as_datetime, microseconds
from tallygate.core.usage import ObservedUsage
from tallygate.core.values import value
from tallygate.core.words import Action, ActorType, BudgetMode
from tallygate.entrypoints.page.demo_bills import bill_month
from tallygate.ledger.sqlite.database import SqliteLedger
from tallygate.operations.budgets.change import raise_budget
from tallygate.operations.gate.authorize import StatedStep, authorize
from tallygate.operations.runtime import Runtime, on_paper
from tallygate.operations.sessions.ending import end_session
from tallygate.operations.sessions.opening import Opening, start_session
from tallygate.operations.usage.ingest import FileReading, ingest, link_session

DAYS = 40
_DOLLAR = 1_000_000_000
_SECOND = 1_000_000
_MINUTE = 60 * _SECOND
_OPUS, _SONNET, _HAIKU = "claude-opus-4-7", "claude-sonnet-4-6", "claude-haiku-4-5"
_USER = Authority(EntryDoor.COMMAND, "you", guarded=False)


@value(frozen=True, slots=True)
class DemoClient:
    """A client as the month has it: its names, the rule its records are read by, and the models it works with."""

    name: str
    stored: str
    rule: str
    models: tuple[str, ...]


_CLAUDE = DemoClient("claude-code", "claude_code", "claude.response", (_OPUS, _OPUS, _SONNET))
_CODEX = DemoClient(
    "codex", "codex", "codex.last_usage", ("gpt-5.5", "gpt-5.5", "gpt-5.3-codex-spark", "codex-auto-review")
)
_GEMINI = DemoClient("gemini-cli", "gemini", "gemini.message", ("gemini-3.1-flash",))
# What was worked on: a task, its client, its repository.
_TASKS: tuple[tuple[str, DemoClient, str], ...] = (
    ("fix flaky retry test", _CLAUDE, "api"),
    ("review open pull requests", _CODEX, "shop"),
    ("help pages in German", _GEMINI, "web"),
    ("checkout: address autofill", _CLAUDE, "shop"),
    ("bisect slow query", _CODEX, "api"),
    ("cursor pagination", _CLAUDE, "api"),
    ("nightly dependency check", _CODEX, "shop"),
    ("gift card emails", _CLAUDE, "shop"),
    ("terraform state split", _CODEX, "infra"),
    ("image sizes on the start page", _GEMINI, "web"),
    ("rate limits per key", _CLAUDE, "api"),
    ("search filters", _CLAUDE, "shop"),
)

# What its steps served, one after the other: tools of the client's own, those of two servers, and none.
_SERVED = (
    (Served(None, "Edit"),),
    (Served("github", "get_pull_request"), Served(None, "Bash")),
    (),
    (Served(None, "Read"),),
    (Served("postgres", "query"),),
)


class DemoClock:
    """The time of the month, which goes on as its sessions do, and from its end on as the clock on the wall."""

    def __init__(self, wall_us: Callable[[], int]) -> None:
        self._wall_us = wall_us
        self.at_us: int | None = 0

    def __call__(self) -> int:
        return self._wall_us() if self.at_us is None else self.at_us


class Chance:
    """Numbers that look like chance and are the same each time."""

    def __init__(self, seed: int = 20_261) -> None:
        self._state = seed

    def below(self, most: int) -> int:
        """A number from nothing up to, and without, the most."""
        self._state = (self._state * 6_364_136_223_846_793_005 + 1_442_695_040_888_963_407) % 2**64
        return (self._state >> 33) % most

    def token(self, size: int) -> str:
        """An id of so many bytes."""
        return "".join(f"{self.below(256):02x}" for _ in range(size))


@value(slots=True)
class Work:
    """One session of the month: when it begins, how many steps it takes, and where it stands."""

    start_us: int
    task: str
    client: DemoClient
    folder: str
    limit: int
    steps: int
    pause_us: int
    ends: bool = True
    raised: int | None = None
    model: str = ""
    session_id: str = ""
    done: int = 0
    context: int = 0
    key: str = ""
    agents: dict[str, int] = field(default_factory=dict)
    refused: StatedStep | None = None


class MonthGivenUp(Exception):
    """Nobody waits for the month any more."""


def _nobody(_: int) -> None:
    """Nobody is told how far it is."""


@contextmanager
def demo_month(rt: Runtime, folder: Path, zone: tzinfo, *, told: Callable[[int], None] = _nobody) -> Iterator[Runtime]:
    """A program on a ledger that holds the month up to now; it is closed at the end, and its folder is the caller's.

    `told` hears how many per cent of it are made, and may raise `MonthGivenUp`.
    """
    now_us = rt.services.clock_us()
    clock, chance = DemoClock(rt.services.clock_us), Chance()
    ledger = SqliteLedger(
        folder / "ledger.db",
        clock=clock,
        new_ledger_id=lambda: chance.token(16),
        durability="normal",
        rules=REGISTRY.rules,
    )
    try:
        clock.at_us = now_us - (DAYS + 1) * 24 * 60 * _MINUTE
        services = replace(rt.services, ledger=ledger, clock_us=clock, new_token=chance.token, keys=None)
        workspace = replace(
            rt.workspace,
            rules=rules_of(str(zone)),
            rule_written_us=lambda _: None,
            place_of=on_paper,
            project=None,
            folder=None,
            run_log_path=folder / "runs.jsonl",
            session_limit_nanos=5 * _DOLLAR,
            zone=str(zone),
            user="you",
        )
        made = replace(rt, services=services, workspace=workspace, tenant="default", caches=type(rt.caches)())
        _play(made, clock, chance, plan(chance, now_us, zone), told)
        clock.at_us = now_us - 2 * _SECOND
        bill_month(made)
        clock.at_us = None
        yield replace(made, services=replace(services, new_token=rt.services.new_token))
    finally:
        ledger.close()


def rules_of(zone: str) -> tuple[BudgetRule, ...]:
    """The limits of whoever has this month."""
    hard, soft = BudgetMode.HARD, BudgetMode.SOFT
    return (
        BudgetRule(BudgetScope.USER, 30 * _DOLLAR, period="day", mode=hard, zone=zone),
        BudgetRule(BudgetScope.USER, 120 * _DOLLAR, period="week", mode=soft, zone=zone),
        BudgetRule(BudgetScope.USER, 450 * _DOLLAR, period="month", mode=hard, zone=zone),
        BudgetRule(BudgetScope.PROJECT, 180 * _DOLLAR, period="month", mode=hard, match="/demo/shop", zone=zone),
        BudgetRule(BudgetScope.PROJECT, 175 * _DOLLAR, period="month", mode=hard, match="/demo/api", zone=zone),
        BudgetRule(BudgetScope.MODEL, 20 * _DOLLAR, period="day", mode=soft, match="claude-opus-*", zone=zone),
    )


def plan(chance: Chance, now_us: int, zone: tzinfo) -> list[Work]:
    """The sessions, as they would go if nothing stopped them."""
    today = as_datetime(now_us).astimezone(zone).date()
    found: list[Work] = []
    for back in range(DAYS, 0, -1):
        day = today - timedelta(days=back)
        number = chance.below(2) if day.weekday() > 4 else 2 + chance.below(3)
        for _ in range(number):
            task, client, project = _TASKS[chance.below(len(_TASKS))]
            at = microseconds(datetime.combine(day, time(8 + chance.below(10), chance.below(60)), zone))
            limit = (5 if chance.below(3) else 10) * _DOLLAR
            steps = 3 + chance.below(8) + chance.below(14)
            # Some have a tight limit, and half of those go on after a raise, so that their halts can be judged.
            limit = limit if len(found) % 5 else _DOLLAR
            raised = None if len(found) % 10 else _DOLLAR
            found.append(Work(at, task, client, f"/demo/{project}", limit, steps, 2 * _MINUTE, raised=raised))
    first = start_us(today, zone)
    passed = now_us - first
    # However early in the day it is, three sessions are open: one stands still, two go on.
    begin = now_us - min(passed * 2 // 3, 150 * _MINUTE)
    quick = max(min((now_us - begin) // 40, 3 * _MINUTE), 5 * _SECOND)
    api, shop, infra = "/demo/api", "/demo/shop", "/demo/infra"
    found += [
        Work(begin, "split the billing module", _CLAUDE, api, _DOLLAR, 60, quick, False, _DOLLAR // 2, _OPUS),
        Work(begin + quick, "gift cards in checkout", _CLAUDE, shop, 10 * _DOLLAR, 16, 2 * quick, ends=False),
        Work(begin + 9 * quick, "terraform providers", _CODEX, infra, 5 * _DOLLAR, 7, 3 * quick, ends=False),
    ]
    return found


def _play(rt: Runtime, clock: DemoClock, chance: Chance, works: Sequence[Work], told: Callable[[int], None]) -> None:
    """Let all sessions go on side by side, as time goes."""
    now_us = rt.services.clock_us() + (DAYS + 1) * DAY_US
    queue = [(work.start_us, number) for number, work in enumerate(works)]
    heapq.heapify(queue)
    while queue:
        at_us, number = heapq.heappop(queue)
        if at_us >= now_us - 2 * _SECOND:
            continue
        clock.at_us = max(at_us, (clock.at_us or 0) + 1)
        told(max(100 - (now_us - clock.at_us) * 100 // ((DAYS + 1) * DAY_US), 0))
        work = works[number]
        here = replace(rt, workspace=replace(rt.workspace, project=work.folder))
        goes_on = _step(here, clock, chance, work) if work.session_id else _begin(here, chance, work)
        if goes_on:
            pause = work.pause_us // 2 + chance.below(max(work.pause_us, 1))
            heapq.heappush(queue, ((clock.at_us or 0) + pause, number))
        elif work.ends:
            end_session(here, work.session_id)


def _begin(rt: Runtime, chance: Chance, work: Work) -> bool:
    work.model = work.model or work.client.models[chance.below(len(work.client.models))]
    work.context = 14_000 + chance.below(9_000)
    work.key = chance.token(8)
    opening = Opening(work.limit, work.model, work.client.name, task_summary=work.task)
    work.session_id = start_session(rt, opening).session.session_id
    link_session(rt, work.client.stored, work.key, work.session_id)
    return True


def _step(rt: Runtime, clock: DemoClock, chance: Chance, work: Work) -> bool:
    """One step: asked for, and where it is let through made and written down. False where it was the last."""
    helper = work.client is _CLAUDE and work.done > 3 and chance.below(5) == 0
    agent = f"explore {1 + chance.below(2)}" if helper else None
    model = _HAIKU if agent else work.model
    context = work.agents.get(agent, 9_000) if agent else work.context
    more, output = 1_500 + chance.below(7_000), 300 + chance.below(1_700)
    step = StatedStep(
        work.session_id,
        ("Edit", "Bash", "Read", "prompt")[chance.below(4)],
        model=model,
        prompt_tokens=more + context // 12,
        completion_tokens=output,
        actor=Actor(ActorType.SUBAGENT, f"{work.key}-{agent}", agent) if agent else Actor(),
        client_key=f"{work.key}-{work.done}",
    )
    if work.refused is not None:
        # What was refused is asked for once more, as agents do.
        step = replace(work.refused, client_key=step.client_key)
        agent, model, work.refused = step.actor.name, step.model or model, None
    answer = authorize(rt, step)
    work.done += 1
    if answer.action is Action.HALT:
        if work.raised is None:
            return False
        clock.at_us = (clock.at_us or 0) + 3 * _SECOND
        raise_budget(rt, work.session_id, work.raised, reason="finish the split", authority=_USER)
        work.raised, work.refused = None, step
        return True
    if not work.ends and work.done >= work.steps:
        return False  # its last call is on its way
    clock.at_us = (clock.at_us or 0) + (4 + chance.below(14)) * _SECOND // (1 if work.ends else 4)
    row = ObservedUsage(
        work.client.stored,
        work.key,
        f"{work.key}:{work.done}",
        as_datetime(clock.at_us),
        model,
        Tokens(fresh_input=40 + chance.below(400), cache_read=context, cache_write_5m=more, output=output),
        REGISTRY.rules[work.client.rule],
        agent_id=f"{work.key}-{agent}" if agent else None,
        project=work.folder,
        agent_type="explore" if agent else None,
        skill="release-notes" if work.task.startswith("review") else None,
        served=_SERVED[work.done % len(_SERVED)] if work.client is _CLAUDE else (),
        branch=work.task.replace(":", "").replace(" ", "-"),
    )
    ingest(rt, FileReading(work.client.stored, f"/demo/{work.key}.jsonl", [row]))
    if agent:
        work.agents[agent] = context + more
    else:
        work.context = min(context + more, 150_000)
    return work.done < work.steps
