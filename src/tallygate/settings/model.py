"""What can be set, each with its default; amounts in nano-units, shares in per cent, factors in millionths."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from tallygate.core.alerts import AlertRule
from tallygate.core.authority import Loosening
from tallygate.core.errors import LedgerUnavailable, SettingsError
from tallygate.core.gate.rules import BudgetRule, BudgetScope
from tallygate.core.lock import Lock
from tallygate.core.loops import LoopMode
from tallygate.core.model import DEFAULT_TENANT
from tallygate.core.moments import MINUTE_US
from tallygate.core.plan import PlanRule
from tallygate.core.status_line import StatusPiece
from tallygate.core.words import BudgetMode, CalibrationMode, ExpireAs, UnknownPrice, client_among
from tallygate.pricing.book import PricingSettings
from tallygate.pricing.exchange import Rate
from tallygate.settings import checks
from tallygate.settings.declared import setting

# Logs of what an automated system did are kept for six months where the law asks for them.
RETENTION_DAYS_MIN = 183
RETENTION_WHY = "; what an AI system did is to be kept for six months at least"
_STRICTNESS = (UnknownPrice.WARN_ONLY, UnknownPrice.REROUTE_REQUIRED, UnknownPrice.HALT)


def _towards(tight: object) -> Callable[[Any, Any], bool]:
    return lambda _, now: now is tight


class OnFault(StrEnum):
    """What a hard budget answers while the ledger cannot be read or written."""

    HALT = "halt"
    ALLOW = "allow"


class StopPolicy(StrEnum):
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
    """Where things are: absolute, and set by the user or the environment only, never by a project's file.

    `given` are those of a command that `init` has installed.
    """

    data_dir: Path = setting(
        MISSING, "data_dir", checks.path_text, '"~/tallygate"',
        "Folder of the ledger and of a run log without a project. Without it: the system's folder for a user's data.",
        variables=("TALLYGATE_HOME",),
    )  # fmt: skip
    database: Path = setting(
        MISSING, "database", checks.database_text, '"~/tallygate/ledger.db"',
        "The ledger: a file, or a team's database, `postgresql://HOST/NAME` without a password"
        " ([Teams](../guides/teams.md)). Without it: `ledger.db` in `data_dir`.",
        variables=("TALLYGATE_DB", "L6E_SESSION_DB_PATH"),
    )  # fmt: skip
    key_dir: Path = setting(
        MISSING, "key_dir", checks.path_text, '"~/tallygate/keys"',
        "Folder for keys. Without it: `keys` in `data_dir`.",
        variables=("TALLYGATE_KEY_DIR",),
    )  # fmt: skip
    run_log: Path = setting(
        MISSING, "run_log", checks.path_text, '"~/tallygate/runs.jsonl"',
        "The run log; the name ends in `.jsonl`. Without it: `.l6e/runs.jsonl` in the project, or `runs.jsonl` in"
        " `data_dir`.",
        variables=("TALLYGATE_LOG_PATH", "L6E_LOG_PATH"),
    )  # fmt: skip
    project_root: Path | None = None
    folder: Path | None = None
    user_file: Path | None = None
    project_file: Path | None = None
    outer_files: tuple[Path, ...] = ()
    config_dir: Path | None = None
    by_variable: bool = False
    given: bool = False
    # The database that the ledger is in, where it is in none of these files. Beside `database` servers are found then.
    server: str | None = None

    @property
    def ledger_name(self) -> str:
        """Where the ledger is, as it is named to people."""
        from tallygate.ledger.shapes import spoken

        return str(self.database) if self.server is None else spoken(self.server)

    @property
    def holds_nothing(self) -> bool:
        """Whether there is no ledger yet: of a database only asking it tells, so there may be one."""
        from tallygate.ledger.sqlite.files import is_nothing

        return self.server is None and is_nothing(self.database)

    def in_a_file(self, instead: str = "A database is backed up and restored by its own means.") -> Path:
        """The ledger's file. Raises `LedgerUnavailable`, with what to do `instead`, where it is in a database."""
        if self.server is not None:
            raise LedgerUnavailable(
                f"The ledger is in the database {self.ledger_name}: this is done to a ledger in a file.",
                hint=instead,
                code="not_in_a_file",
            )
        return self.database

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

    reroute_at_percent: int = setting(
        80, "reroute_threshold", checks.share_percent, "0.7",
        "Share of a budget, reservations included, from which the gate answers `reroute`.",
        variables=("TALLYGATE_REROUTE_THRESHOLD",), parts=100,
    )  # fmt: skip
    warn_at_percent: int = setting(
        80, "warn_threshold", checks.share_percent, "0.6",
        "Share of a budget from which `record_call` answers `warning`.",
        variables=("TALLYGATE_WARN_THRESHOLD",), parts=100,
    )  # fmt: skip
    pressure_percents: tuple[int, int, int] = setting(
        (50, 80, 95), "pressure_bands", checks.pressure_bands, "[0.4, 0.7, 0.9]",
        "Where `moderate`, `high` and `critical` pressure begin.",
        parts=100,
    )  # fmt: skip
    budget_mode: BudgetMode = setting(
        BudgetMode.HARD, "budget_mode", checks.choice(BudgetMode), '"soft"',
        "Mode of the budget a new session gets. `hard`: a step that does not fit is halted. `soft`: it is allowed, with"
        " the reason `warn:soft_budget_exceeded`.",
        variables=("TALLYGATE_BUDGET_MODE",), tightens=_towards(BudgetMode.HARD), projects_may=True,
    )  # fmt: skip
    on_fault: OnFault = setting(
        OnFault.HALT, "on_fault", checks.choice(OnFault), '"allow"',
        "What `l6e_authorize_call` answers while the ledger cannot be used.",
        variables=("TALLYGATE_ON_FAULT",), tightens=_towards(OnFault.HALT), projects_may=True,
    )  # fmt: skip
    expire_as: ExpireAs = setting(
        ExpireAs.ESTIMATE, "expire_as", checks.choice(ExpireAs), '"release"',
        "What a call that nobody reported on leaves behind: its estimate as spent, or nothing. It also holds for calls"
        " that are pending when their session ends.",
        variables=("TALLYGATE_EXPIRE_AS",), tightens=_towards(ExpireAs.ESTIMATE), projects_may=True,
    )  # fmt: skip
    reservation_ttl_us: int = setting(
        600_000_000, "reservation_ttl_minutes", checks.whole(1, 1_440, times=MINUTE_US), "30",
        "How long a reservation waits for its usage.",
        variables=("TALLYGATE_RESERVATION_TTL_MINUTES",), parts=MINUTE_US,
    )  # fmt: skip
    abandon_after_us: int = setting(
        3_600_000_000, "abandon_after_minutes", checks.whole(5, 43_200, times=MINUTE_US), "240",
        "How long a session must be idle before the next server start ends it, where its own server is gone.",
        variables=("TALLYGATE_ABANDON_AFTER_MINUTES",), parts=MINUTE_US,
    )  # fmt: skip
    unknown_price: UnknownPrice = setting(
        UnknownPrice.WARN_ONLY, "unknown_price", checks.choice(UnknownPrice), '"halt_on_unknown_pricing"',
        "What the gate does with a model that has no price, where the session does not say.",
        variables=("TALLYGATE_UNKNOWN_PRICE",), projects_may=True,
        tightens=lambda before, now: _STRICTNESS.index(now) > _STRICTNESS.index(before),
    )  # fmt: skip
    local_model: str | None = setting(
        None, "local_model", checks.text, '"ollama/qwen3"',
        "Model to reroute to where `reroute_required` meets an unknown price. It must be one that runs locally.",
        variables=("TALLYGATE_LOCAL_MODEL",),
    )  # fmt: skip
    calibration: CalibrationMode = setting(
        CalibrationMode.ENFORCE, "calibration", checks.choice(CalibrationMode), '"warn"',
        "What is done with what was learned of estimates: decide and reserve by it, warn by it, or only tell it.",
    )  # fmt: skip
    quantile_percent: int = setting(
        80, "calibration_quantile", checks.quantile_percent, "0.90",
        "The share of steps that what is reserved should carry. More halts earlier, less overspends more often.",
        parts=100,
    )  # fmt: skip


# What a session may cost where nobody has set a budget: enough to work with, too little to hurt.
SESSION_LIMIT_NANOS = 5_000_000_000


@dataclass(frozen=True, slots=True)
class LedgerSettings:
    """How the ledger keeps what it is told, and how long."""

    durability: Durability = setting(
        Durability.FULL, "durability", checks.choice(Durability), '"normal"',
        "`full`: an answer survives a power cut. `normal`: it survives the end of the process.",
        variables=("TALLYGATE_DURABILITY",), tightens=_towards(Durability.FULL),
    )  # fmt: skip
    lock_timeout_ms: int = setting(
        2_000, "lock_timeout_ms", checks.whole(50, 60_000), "5000",
        "How long a write waits for another process.",
        variables=("TALLYGATE_LOCK_TIMEOUT_MS",), loosens_nothing=True,
    )  # fmt: skip
    retention_days: int = setting(
        RETENTION_DAYS_MIN, "retention_days", checks.whole(RETENTION_DAYS_MIN, 36_500, why=RETENTION_WHY), "365",
        "How long history is kept at least. The ledger is never shortened, since each event carries the hash of the one"
        " before, so every value is met; nothing is removed afterwards either. Less than 183 days, six months, is"
        " refused.",
        variables=("TALLYGATE_RETENTION_DAYS",), loosens_nothing=True,
    )  # fmt: skip


class ReadTranscripts(StrEnum):
    """Whether the server reads what clients write down of their own work."""

    FOLLOW = "follow"
    OFF = "off"


class TelemetryMode(StrEnum):
    """Whether the server hears what clients tell of their requests while they work."""

    RECEIVE = "receive"
    OFF = "off"


@dataclass(frozen=True, slots=True)
class UsageSettings:
    """Where actual usage comes from without the agent's help."""

    transcripts: ReadTranscripts = setting(
        ReadTranscripts.FOLLOW, "transcripts", checks.choice(ReadTranscripts), '"off"',
        "Whether the server reads what clients write down of their own work, and counts it.",
        variables=("TALLYGATE_TRANSCRIPTS",),
    )  # fmt: skip
    telemetry: TelemetryMode = setting(
        TelemetryMode.RECEIVE, "telemetry", checks.choice(TelemetryMode), '"off"',
        "Whether the server hears Claude Code's telemetry: every response within a tenth of a second, compactions and"
        " titles included.",
        variables=("TALLYGATE_TELEMETRY",),
    )  # fmt: skip
    telemetry_port: int = setting(
        47_318, "telemetry_port", checks.whole(1_024, 65_535), "47319",
        "The port on loopback it is heard on, 1024 to 65535. Change it before `tallygate init`, which tells it to"
        " Claude Code.",
        variables=("TALLYGATE_TELEMETRY_PORT",), loosens_nothing=True,
    )  # fmt: skip


class ResidentMode(StrEnum):
    """Whether a process stands by that becomes the server of the next client at once."""

    AUTO = "auto"
    NEVER = "never"


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """How clients' servers are started."""

    resident: ResidentMode = setting(
        ResidentMode.NEVER, "resident", checks.choice(ResidentMode), '"auto"',
        "Whether a process stands by in which everything is imported (`auto`, on Linux): the server of the next client"
        " is made of it, and is there at once. It ends when no client has come for fifteen minutes. Never where CI is"
        " `true`.",
        variables=("TALLYGATE_RESIDENT",), loosens_nothing=True,
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class PrivacySettings:
    """What is stored of what agents say about their work."""

    task_summaries: Keep = setting(
        Keep.KEEP, "task_summaries", checks.choice(Keep), '"drop"',
        "Whether task summaries are stored.",
        variables=("TALLYGATE_TASK_SUMMARIES",), loosens_nothing=True,
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class EnforcementSettings:
    """What the user leaves to agents of what is the user's; only the user's own file says so."""

    agents_may: tuple[str, ...] = setting(
        (), "agents_may", checks.words_of(Loosening), '["sessions end"]',
        "Commands that loosen and that agents may run all the same, such as `budget raise`. Only your own file says so,"
        " never a project's; `tallygate doctor` names them.",
        tightens=lambda before, now: set(now) <= set(before),
    )  # fmt: skip
    stop: StopPolicy = setting(
        StopPolicy.INTERRUPT, "stop", checks.choice(StopPolicy), '"refuse"',
        "Whether a client that goes on after a refusal by a hard budget is ended (`interrupt`) or refused again"
        " (`refuse`). Ended are `claude -p`, `codex exec`, `qwen -p` and, at a second refusal, Copilot CLI, with the"
        " reason on their stderr; else never a terminal, an editor or an SDK: there the next tool of Codex is held"
        " until the budget is raised.",
        tightens=_towards(StopPolicy.INTERRUPT),
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class StatusLineSettings:
    """What `tallygate statusline` shows."""

    show: tuple[str, ...] = setting(
        ("session", "left", "plan", "context"), "show", checks.words_of(StatusPiece), '["session", "left", "month"]',
        "The pieces of the status line, in this order: `session` (spent and held), `left` (of the tightest budget),"
        " `today`, `month`, `burn` (what the last half hour cost, and how long that lasts), `plan` (windows of the"
        " client's plan), `context` (what the next turn costs, while it is cached and once it is not), `exactness`.",
        loosens_nothing=True,
    )  # fmt: skip
    width: int = setting(
        120, "width", checks.whole(20, 500), "80",
        "How many characters it has at most; what is too wide goes from its end, a piece at a time.",
        loosens_nothing=True,
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class ColdCacheSettings:
    """When it is said that a turn rewrites what its provider's cache has lost."""

    say_from_percent: int = setting(
        5, "say_from", checks.share_percent, "0.02",
        "Said is, once after a pause, a turn whose rewrite costs this share of the tightest limit or more. Nothing is"
        " stopped.",
        parts=100, loosens_nothing=True,
    )  # fmt: skip


_LOOPS = tuple(LoopMode)


@dataclass(frozen=True, slots=True)
class LoopSettings:
    """What is done where an agent goes round in circles."""

    mode: LoopMode = setting(
        LoopMode.WARN, "mode", checks.choice(LoopMode), '"halt"',
        "What is done where an agent fails the same way again and again, or asks what it has asked. `warn`: the model"
        " is told. `halt`: where it goes on, you are asked, or the next tool is refused until you say `tallygate loop"
        " allow`. `off`: nothing is looked at.",
        projects_may=True,
        tightens=lambda before, now: _LOOPS.index(now) > _LOOPS.index(before),
    )  # fmt: skip


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
    server: ServerSettings = ServerSettings()
    privacy: PrivacySettings = PrivacySettings()
    usage: UsageSettings = UsageSettings()
    enforcement: EnforcementSettings = EnforcementSettings()
    statusline: StatusLineSettings = StatusLineSettings()
    cold_cache: ColdCacheSettings = ColdCacheSettings()
    loops: LoopSettings = LoopSettings()
    budgets: tuple[BudgetRule, ...] = ()
    alerts: tuple[AlertRule, ...] = ()
    plan: tuple[PlanRule, ...] = ()
    ladder: Ladder = field(default_factory=Ladder)
    calibration_micros: Mapping[str, int] = field(default_factory=dict)
    pricing: PricingSettings = field(default_factory=PricingSettings)
    exchange: Mapping[str, Rate] = field(default_factory=dict)
    currency: str = setting(
        "USD", "currency", checks.currency, '"EUR"',
        "Currency of budgets.",
        variables=("TALLYGATE_CURRENCY",), loosens_nothing=True, has_effect=False,
    )  # fmt: skip
    time_zone: str = setting(
        "UTC", "time_zone", checks.time_zone, '"Europe/Berlin"',
        "When your days begin, in budgets and in what is shown. Unset: dates are shown in the zone of the machine.",
        variables=("TALLYGATE_TIME_ZONE",),
    )  # fmt: skip
    zone_is_set: bool = False
    log_level: LogLevel = setting(
        LogLevel.WARNING, "log_level", checks.choice(LogLevel), '"debug"',
        "How much the server says on standard error.",
        variables=("TALLYGATE_LOG_LEVEL",), loosens_nothing=True, only_tells=True,
    )  # fmt: skip
    tenant: str = setting(
        DEFAULT_TENANT, "tenant", checks.tenant, '"acme"',
        "Whose the sessions are that open here: each tenant has its own sessions and budgets. Letters, digits, dots,"
        " dashes and underscores.",
        variables=("TALLYGATE_TENANT",),
    )  # fmt: skip
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
    def session_budget(self) -> BudgetRule:
        """What a session that opens by itself may cost: the last rule for sessions, a project's before a user's."""
        rules = [rule for rule in self.budgets if rule.scope is BudgetScope.SESSION and rule.unit == "USD"]
        return (
            rules[-1] if rules else BudgetRule(BudgetScope.SESSION, SESSION_LIMIT_NANOS, mode=self.policy.budget_mode)
        )
