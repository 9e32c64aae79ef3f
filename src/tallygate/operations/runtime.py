"""What every operation needs and never makes itself: the ledger, prices, the clock, ids and the user's policy."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Protocol

from tallygate.attest.ring import KeyRing
from tallygate.core.gate.rules import Rule
from tallygate.core.guard.fence import Guarded
from tallygate.core.hooks import HookEvent
from tallygate.core.model import DEFAULT_TENANT, Policy
from tallygate.core.places import Place, as_written
from tallygate.ledger.port import Ledger
from tallygate.operations.learned import Learned
from tallygate.operations.locked import LockBook
from tallygate.pricing.book import PriceBook
from tallygate.pricing.exchange import ExchangeBook


class RunLog(Protocol):
    """Where finished sessions are written for other programs."""

    def append(self, path: Path, line: str) -> None: ...
    def holds(self, path: Path, line: str) -> bool: ...


class Presence(Protocol):
    """Which servers are alive."""

    def is_alive(self, server_id: str) -> bool: ...


def nothing_to_follow() -> None:
    """Where no transcripts are read, there is nothing to catch up with before a decision."""


def nobody_follows(client: str, transcript: Path | None, session: str | None) -> None:
    """Where no transcripts are read, one more is not read either."""


def nothing_is_whole(_client: str, _transcript: Path | None, _session: str | None) -> tuple[str, ...] | None:
    """Where no transcripts are read, nobody knows that all of one was."""
    return None


def nothing_weakens(_: HookEvent) -> str | None:
    """Where no client's settings can be looked at, nothing in them is seen to take its hooks from the gate."""
    return None


def no_waiting(_: int) -> None:
    """Where nobody else is at work, nothing comes of waiting."""


def in_no_tenant(_: str | None) -> str | None:
    """Where no settings say whose a project is, what was made in it is counted wherever it is read."""
    return None


PlaceOf = Callable[[str | None], Place | None]


def on_paper(folder: str | None) -> Place | None:
    """Where no disk is looked at, a place is what its path says."""
    return None if folder is None else as_written(folder)


def no_ladder(_: str) -> tuple[str, ...]:
    """No model to switch to, whatever the client."""
    return ()


class SessionHead(NamedTuple):
    """What never changes of a session: the model it was started with, its client and project, the prices it keeps."""

    model: str
    client: str
    project: str | None
    prices: str | None


@dataclass(frozen=True, slots=True)
class Runtime:
    """The composed program, as operations see it. `by` names who acts, in every event.

    `home` is the program's own tenant while it is among the rows of another, which a caller has named for a session.
    `tenant_of` tells whose a project is, by its folder; `place_of` what a folder belongs to. `folder` is where work is
    done that belongs to no `project`. `tool_owners` tells which client's session a tool call belongs
    to, by the id that a hook gave: (client, session). `compactions` tells when a session's agent last summarised its
    conversation. `keys` sign; without any, nothing is attested. `told_at_start`
    is what a user is told of the settings when a session begins, `foreign` names variables of the client that do not
    count. `program` is how a user's shell starts this one, `zone` the time zone that times are told in.
    """

    ledger: Ledger
    prices: PriceBook
    policy: Policy
    clock_us: Callable[[], int]
    new_token: Callable[[int], str]
    run_log: RunLog
    run_log_path: Path
    presence: Presence
    exchange: ExchangeBook = field(default_factory=ExchangeBook)
    keys: KeyRing | None = None
    by: str = "tallygate"
    program: str = "tallygate"
    zone: str = "UTC"
    tenant: str = DEFAULT_TENANT
    home: str | None = None
    tenant_of: Callable[[str | None], str | None] = in_no_tenant
    server_id: str | None = None
    project: str | None = None
    folder: str | None = None
    place_of: PlaceOf = on_paper
    halt_on_fault: bool = True
    interrupts: bool = True
    factors_micros: Mapping[str, int] = field(default_factory=dict)
    ladder: Callable[[str], tuple[str, ...]] = no_ladder
    local_model: str | None = None
    keep_summaries: bool = True
    abandon_after_us: int = 3_600_000_000
    default_mode: str = "hard"
    rules: tuple[Rule, ...] = ()
    user: str = "user"
    session_limit_nanos: int = 5_000_000_000
    session_mode: str = "hard"
    catch_up: Callable[[], object] = nothing_to_follow
    follow: Callable[[str, Path | None, str | None], None] = nobody_follows
    read_whole: Callable[[str, Path | None, str | None], tuple[str, ...] | None] = nothing_is_whole
    told_at_start: tuple[str, ...] = ()
    foreign: tuple[str, ...] = ()
    weakens: Callable[[HookEvent], str | None] = nothing_weakens
    stand_in: Callable[[HookEvent], str | None] = nothing_weakens
    guarded: Callable[[], Guarded] = Guarded
    pause_us: Callable[[int], None] = no_waiting
    session_heads: dict[tuple[str, str], SessionHead] = field(default_factory=dict)
    learned: Learned = field(default_factory=Learned)
    locks: LockBook = field(default_factory=LockBook)
    known_prices: set[str] = field(default_factory=set)
    tool_owners: dict[str, tuple[str, str]] = field(default_factory=dict)
    compactions: dict[tuple[str, str | None], int] = field(default_factory=dict)
    session_tenants: dict[tuple[str, str], str] = field(default_factory=dict)
    tenant_prices: dict[str, set[str]] = field(default_factory=dict)
