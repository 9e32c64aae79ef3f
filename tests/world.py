"""A small world for tests: a real ledger on disk, real prices from overrides, a clock that is moved by hand."""

from __future__ import annotations

import itertools
import os
from dataclasses import dataclass, fields, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from tests.postgres import shared

from tallygate.clients.program import programs
from tallygate.clients.registry import REGISTRY
from tallygate.core.authority import Authority, EntryDoor
from tallygate.core.hooks import HookEvent
from tallygate.core.model import DEFAULT_TENANT, Policy
from tallygate.core.words import CalibrationMode
from tallygate.ledger.audit.audit import audit
from tallygate.ledger.presence import ServerPresence
from tallygate.ledger.runlog import JsonLinesLog
from tallygate.ledger.sqlite.database import SqliteLedger
from tallygate.ledger.turn_files import TurnFiles
from tallygate.operations.gate.authorize import StatedStep, authorize
from tallygate.operations.runtime import Runtime, Services, Workspace
from tallygate.operations.sessions.opening import Opening, start_session
from tallygate.pricing.book import PriceBook, PricingSettings
from tallygate.pricing.overrides import PriceOverride

NANOS = 1_000_000_000
MINUTE = 60_000_000
T0 = 1_790_000_000_000_000  # 2026-09-21 in microseconds

# One dollar a thousand tokens in and out makes sums that can be done in the head.
PRICES = PricingSettings(
    overrides=(
        PriceOverride("dear", Decimal(1000), Decimal(1000), cache_read=Decimal(100)),
        PriceOverride("cheap", Decimal(100), Decimal(100), cache_read=Decimal(10)),
        PriceOverride("cents", Decimal(10), Decimal(10)),
    )
)


def the_user(actor, door=EntryDoor.COMMAND):
    """The user, who speaks through a door that no agent stands in."""
    return Authority(door, actor)


def agent_variables():
    """What clients set in the shells of their agents."""
    return frozenset(name for program in programs() for name in program.markers)


class Clock:
    """Wall time that moves only when a test says so."""

    def __init__(self, at_us: int = T0) -> None:
        self.at_us = at_us

    def __call__(self) -> int:
        return self.at_us

    def forward(self, microseconds: int) -> None:
        self.at_us += microseconds


class Tokens:
    """Ids that count up instead of being random."""

    def __init__(self, start: int = 1) -> None:
        self._count = itertools.count(start)

    def __call__(self, size: int) -> str:
        return f"{next(self._count):0{size * 2}x}"


def changed(rt: Runtime, **changes: Any) -> Runtime:
    """The program with other parts, each named as it is called wherever it stands."""
    for place in ("services", "workspace", "caches"):
        part = getattr(rt, place)
        of_it = {name: changes.pop(name) for name in [*changes] if name in {each.name for each in fields(part)}}
        rt = replace(rt, **{place: replace(part, **of_it)}) if of_it else rt
    return replace(rt, **changes)


@dataclass
class World:
    """Everything a test of an operation needs."""

    rt: Runtime
    ledger: SqliteLedger
    clock: Clock
    folder: Path

    def start(self, dollars: str = "1", **options: Any) -> str:
        limit = int(Decimal(dollars) * NANOS)
        return start_session(self.rt, Opening(limit, options.pop("model", "dear"), **options)).session.session_id

    def ask(self, session_id: str, tokens: int = 100, **options: Any):
        """Authorize a step of this many prompt tokens and no completion, at a tenth of a cent a token."""
        step = StatedStep(
            session_id, options.pop("tool_name", "edit"), prompt_tokens=tokens, completion_tokens=0, **options
        )
        return authorize(self.rt, step)

    def with_policy(self, **changes: Any) -> World:
        return self.with_runtime(policy=replace(self.rt.workspace.policy, **changes))

    def with_runtime(self, **changes: Any) -> World:
        return replace(self, rt=changed(self.rt, **changes))

    def budget(self, session_id: str, tenant: str = DEFAULT_TENANT):
        with self.ledger.reading(tenant) as reader:
            found = reader.budget(session_id)
        assert found is not None
        return found

    def call(self, call_id: str):
        with self.ledger.reading() as reader:
            return reader.call(call_id)

    def calls(self, session_id: str, tenant: str = DEFAULT_TENANT):
        with self.ledger.reading(tenant) as reader:
            return list(reader.calls_of(session_id))

    def events(self) -> int:
        with self.ledger.reading() as reader:
            return reader.head().seq

    def problems(self):
        return audit(self.ledger)


# Which database the worlds of this run stand on: whole folders of tests say the same of both.
ON_POSTGRES = os.environ.get("TESTS_LEDGER") == "postgres"
_DATABASES: dict[Path, str] = {}


def open_ledger(folder: Path, clock: Clock) -> Any:
    """The ledger of a folder: a file in it, or a database of its own on a server that all tests share."""
    if not ON_POSTGRES:
        return SqliteLedger(
            folder / "ledger.db",
            clock=clock,
            new_ledger_id=lambda: "ab" * 16,
            lock_timeout_ms=200,
            rules=REGISTRY.rules,
        )
    if folder not in _DATABASES:
        _DATABASES[folder] = shared().database()
    return on_postgres(_DATABASES[folder], clock)


def on_postgres(url: str, clock: Clock, **options: Any) -> Any:
    """The ledger in a database."""
    from tallygate.ledger.postgres.database import PostgresLedger

    class OnServer(PostgresLedger):
        """One that skips tests which look into a ledger's file."""

        @property
        def path(self) -> Path:
            return pytest.skip("looks into a ledger's file")

        _connection = backup = path

    return OnServer(url, clock=clock, rules=REGISTRY.rules, **{"lock_timeout_ms": 200, **options})


def make_world(folder: Path, *, clock: Clock | None = None, tokens: Tokens | None = None) -> World:
    clock = clock or Clock()
    ledger = open_ledger(folder, clock)
    services = Services(
        ledger=ledger,
        clock_us=clock,
        new_token=tokens or Tokens(),
        run_log=JsonLinesLog(),
        presence=ServerPresence(folder / "servers"),
        turns=TurnFiles(folder / "turns", tokens or Tokens()),
    )
    workspace = Workspace(prices=PriceBook(PRICES), policy=Policy(), run_log_path=folder / "runs.jsonl")
    rt = Runtime(services, workspace, by="test")
    return World(rt, ledger, clock, folder)


def as_said(world: World) -> World:
    """The world where steps are held at what is said of them, whatever earlier ones have cost."""
    return world.with_policy(calibration=CalibrationMode.OBSERVE)


def hook_event(client: str, *args: Any, **more: Any) -> HookEvent:
    """An event as the dispatcher hands it on: with what holds for its client."""
    facts = REGISTRY.facts_of(client)
    assert facts is not None
    return HookEvent(client, *args, **more, facts=facts)
