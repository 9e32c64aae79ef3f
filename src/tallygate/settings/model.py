"""What can be set, with its defaults; amounts in nano-units, shares in per cent, factors in millionths."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from tallygate.core.errors import LedgerUnavailable, SettingsError
from tallygate.core.gate.rules import Rule, Scope
from tallygate.core.lock import Lock
from tallygate.core.model import DEFAULT_TENANT
from tallygate.core.words import BudgetMode, CalibrationMode, ExpireAs, UnknownPrice, client_among
from tallygate.pricing.book import PricingSettings
from tallygate.pricing.exchange import Rate


class OnFault(StrEnum):
    """What a hard budget answers while the ledger cannot be read or written."""

    HALT = "halt"
    ALLOW = "allow"


class Stop(StrEnum):
    """Whether a client that goes on after a refusal is ended, where that can be done without harm."""

    REFUSE = "refuse"
    INTERRUPT = "interrupt"


class Durability(StrEnum):
    """Whether an acknowledged commit survives a power cut (full) or only the end of the process (normal)."""

    FULL = "full"
    NORMAL = "normal"


class Keep(StrEnum):
    """What happens to text that may tell what a user works on."""

    KEEP = "keep"
    DROP = "drop"


class LogLevel(StrEnum):
    """How much the program says on stderr."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


def has_been_installed(data_dir: Path) -> bool:
    """Whether `init` has put commands into clients that go by a data folder, from this home or from another's."""
    folder = data_dir / "init"
    if os.access(folder / "manifest.json", os.F_OK):
        return True
    try:
        with os.scandir(folder) as found:
            return any(os.access(f"{each.path}/manifest.json", os.F_OK) for each in found)
    except OSError:
        return False


@dataclass(frozen=True, slots=True)
class Paths:
    """Where things are: absolute, and set by the user or the environment only, never by a project's file."""

    data_dir: Path
    database: Path
    key_dir: Path
    run_log: Path
    project_root: Path | None = None
    folder: Path | None = None
    user_file: Path | None = None
    project_file: Path | None = None
    outer_files: tuple[Path, ...] = ()
    config_dir: Path | None = None
    by_variable: bool = False

    @property
    def is_installed(self) -> bool:
        """Whether `init` has put commands into clients that go by this data folder."""
        return has_been_installed(self.data_dir)

    @property
    def is_passing(self) -> bool:
        """Whether the ledger is one for the time being: a variable names it, and nothing was installed with it."""
        return self.by_variable and not self.is_installed

    @property
    def anchor_places(self) -> tuple[Path, ...]:
        """Where an anchor may lie: beside the keys, and a copy with the settings."""
        beside = self.key_dir / "anchors"
        return (beside,) if self.config_dir is None else (beside, self.config_dir / "anchors")

    @property
    def anchor_folders(self) -> tuple[Path, ...]:
        """Where it is remembered which event of the ledger was the last.

        The copy with the settings is there from `init` on, and stays: before it nothing relies on the ledger, and who
        throws the whole data folder away begins anew. A passing ledger has none either: what is thrown away with its
        folder leaves nothing behind in the user's.
        """
        beside, *copies = self.anchor_places
        if self.is_passing:
            return (beside,)
        return (beside, *(copy for copy in copies if self.is_installed or os.access(copy, os.F_OK)))

    @property
    def settings_files(self) -> tuple[Path, ...]:
        """The files in force: the user's, the project's, those of the projects around it."""
        own = (self.user_file, self.project_file)
        return (*(path for path in own if path is not None), *self.outer_files)


@dataclass(frozen=True, slots=True)
class PolicySettings:
    """What the user lets the gate do."""

    reroute_at_percent: int = 80
    warn_at_percent: int = 80
    pressure_percents: tuple[int, int, int] = (50, 80, 95)
    budget_mode: BudgetMode = BudgetMode.HARD
    on_fault: OnFault = OnFault.HALT
    expire_as: ExpireAs = ExpireAs.ESTIMATE
    reservation_ttl_us: int = 600_000_000
    abandon_after_us: int = 3_600_000_000
    unknown_price: UnknownPrice = UnknownPrice.WARN_ONLY
    local_model: str | None = None
    calibration: CalibrationMode = CalibrationMode.ENFORCE
    quantile_percent: int = 80


# What a session may cost where nobody has set a budget: enough to work with, too little to hurt.
SESSION_LIMIT_NANOS = 5_000_000_000


@dataclass(frozen=True, slots=True)
class LedgerSettings:
    """How the ledger keeps what it is told, and how long."""

    durability: Durability = Durability.FULL
    lock_timeout_ms: int = 2_000
    retention_days: int = 183


class Transcripts(StrEnum):
    """Whether the server reads what clients write down of their own work."""

    FOLLOW = "follow"
    OFF = "off"


class Telemetry(StrEnum):
    """Whether the server hears what clients tell of their requests while they work."""

    RECEIVE = "receive"
    OFF = "off"


TELEMETRY_PORT = 47_318


@dataclass(frozen=True, slots=True)
class UsageSettings:
    """Where actual usage comes from without the agent's help."""

    transcripts: Transcripts = Transcripts.FOLLOW
    telemetry: Telemetry = Telemetry.RECEIVE
    telemetry_port: int = TELEMETRY_PORT


@dataclass(frozen=True, slots=True)
class PrivacySettings:
    """What is stored of what agents say about their work."""

    task_summaries: Keep = Keep.KEEP


@dataclass(frozen=True, slots=True)
class EnforcementSettings:
    """What the user leaves to agents of what is the user's; only the user's own file says so."""

    agents_may: tuple[str, ...] = ()
    stop: Stop = Stop.INTERRUPT


@dataclass(frozen=True, slots=True)
class Ladder:
    """Models the user would switch to, dearest first; a client may have its own."""

    default: tuple[str, ...] = ()
    by_client: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def for_client(self, client: str) -> tuple[str, ...]:
        wanted = client_among(client, self.by_client)
        return self.default if wanted is None else self.by_client[wanted]


@dataclass(frozen=True, slots=True)
class Waiting:
    """One row of a project's file that counts only once the user trusts it.

    `key` and `value` are what is hashed; `shown` is the row for people, `before` what holds without it.
    """

    key: str
    value: str
    shown: str
    before: str
    where: str


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that can be set, after file and environment; `notices` is what the user should be told.

    `waiting` is what a project sets and the user has not trusted; `dearer` are prices with the project's rows among
    them, which count where they are the higher ones. `fault` says why the project's file is not in force.
    While the limits are locked, `lock` is what the user has signed and `loosened` what their file says beyond that.
    `unread` is why nobody knows whether they are: no gate goes by these settings then, they are read again.
    `spoken` is what is said when a session begins. Budgets go by `time_zone`, and so do dates that are shown where
    `zone_is_set`; else those are shown in the machine's. `foreign` are variables of the client that do not
    count.
    """

    paths: Paths
    policy: PolicySettings = PolicySettings()
    ledger: LedgerSettings = LedgerSettings()
    privacy: PrivacySettings = PrivacySettings()
    usage: UsageSettings = UsageSettings()
    enforcement: EnforcementSettings = EnforcementSettings()
    budgets: tuple[Rule, ...] = ()
    ladder: Ladder = field(default_factory=Ladder)
    calibration_micros: Mapping[str, int] = field(default_factory=dict)
    pricing: PricingSettings = field(default_factory=PricingSettings)
    exchange: Mapping[str, Rate] = field(default_factory=dict)
    currency: str = "USD"
    time_zone: str = "UTC"
    zone_is_set: bool = False
    log_level: LogLevel = LogLevel.WARNING
    tenant: str = DEFAULT_TENANT
    notices: tuple[str, ...] = ()
    waiting: tuple[Waiting, ...] = ()
    dearer: PricingSettings | None = None
    spoken: tuple[str, ...] = ()
    foreign: tuple[str, ...] = ()
    lock: Lock | None = None
    loosened: tuple[Waiting, ...] = ()
    unread: LedgerUnavailable | None = field(default=None, compare=False)
    fault: SettingsError | None = field(default=None, compare=False)

    def sound(self) -> Settings:
        """These settings where a gate may go by them. Raises `SettingsError` where the project's cannot be read."""
        if self.fault is not None:
            raise self.fault
        return self

    @property
    def session_budget(self) -> Rule:
        """What a session that opens by itself may cost: the last rule for sessions, a project's before a user's."""
        rules = [rule for rule in self.budgets if rule.scope is Scope.SESSION and rule.unit == "USD"]
        return rules[-1] if rules else Rule(Scope.SESSION, SESSION_LIMIT_NANOS, mode=self.policy.budget_mode)
