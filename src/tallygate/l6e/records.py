"""Sessions and calls in the form l6e-mcp keeps them, each value checked once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from enum import StrEnum
from numbers import Real
from pathlib import Path
from typing import Any, TypeVar

from tallygate.clients.reading.lines import Pairs, Skip, Unreadable, decode, fields
from tallygate.core.costing import Tokens
from tallygate.core.errors import InvalidArgument
from tallygate.core.model import Actor, ModeCoverage
from tallygate.core.money import TOKENS_MAX, recorded_nanos
from tallygate.core.text import cleaned
from tallygate.core.values import value
from tallygate.core.words import AccountingMode, ActorType, CallMode, UnknownPrice, UsageChannel

NAME_MAX = 500
# Before the first of these years nobody kept such a session, after the last one a calendar ends.
_TIME_MIN, _TIME_MAX = 946_684_800, 253_402_300_799

Word = TypeVar("Word", bound=StrEnum)
Default = TypeVar("Default", bound=StrEnum | None)


class Remark(StrEnum):
    """What came in otherwise than l6e-mcp wrote it, or is worth a second look."""

    FREE = "priced_at_zero"
    TOKENS = "tokens_unknown"
    TIME = "time_unknown"
    WORD = "word_unknown"
    PARENT = "parent_unknown"
    AHEAD = "time_ahead"
    RENAMED = "renamed"
    TOTAL = "total_differs"
    CHANGED = "changed_since"


class Unusable(Exception):
    """One session cannot be taken; the others can. Says where it stands and what is wrong."""

    def __init__(self, where: str, why: str) -> None:
        super().__init__(f"{where}: {why}")
        self.where = where
        self.why = why


@value(frozen=True, slots=True)
class KeptCall:
    """One call that l6e-mcp let through; it kept no other. `actual` is there where usage was reported."""

    call_id: str
    where: str
    tool_name: str
    model_requested: str
    model_used: str
    prompt_tokens: int
    completion_tokens: int
    estimate_nanos: int
    raw_nanos: int
    rerouted: bool
    actor: Actor
    actual: Tokens | None = None
    actual_nanos: int | None = None
    at_us: int | None = None
    resolved_us: int | None = None
    parent_call_id: str | None = None
    call_mode: CallMode | None = None
    mode_capable: bool | None = None
    correlation: Mapping[str, str] = field(default_factory=dict)
    remarks: frozenset[Remark] = frozenset()

    @property
    def cost_nanos(self) -> int:
        """What the call counts for there: its actual cost, or else its estimate."""
        return self.estimate_nanos if self.actual_nanos is None else self.actual_nanos


@value(frozen=True, slots=True)
class KeptSession:
    """One session as it was kept, without its calls."""

    session_id: str
    where: str
    client: str
    model: str
    limit_nanos: int
    is_ended: bool
    started_us: int | None
    ended_us: int | None = None
    accounting_mode: AccountingMode = AccountingMode.ESTIMATE_ONLY
    usage_channel: UsageChannel = UsageChannel.NONE
    coverage: ModeCoverage = field(default_factory=lambda: ModeCoverage(ask=False, plan=False, agent=False))
    unknown_price: UnknownPrice = UnknownPrice.WARN_ONLY
    parent_session_id: str | None = None
    task_summary: str | None = None
    end_summary: str | None = None
    remarks: frozenset[Remark] = frozenset()


class Cells:
    """The values of one row or record, each asked for in the form it must have."""

    def __init__(self, values: Mapping[str, Any], where: str) -> None:
        self._values = values
        self.where = where
        self.remarks: set[Remark] = set()

    def has(self, name: str) -> bool:
        return self._values.get(name) is not None

    def identity(self, name: str) -> str:
        """An id as it is, whatever it holds; without one nothing can be told apart."""
        value = self._values.get(name)
        if not isinstance(value, str) or not value.strip():
            raise Unusable(self.where, f"{name} is {kind_of(value)}, not an id")
        return value

    def text(self, name: str, longest: int = NAME_MAX) -> str | None:
        """Text that is safe to keep; None where there is none."""
        value = self._values.get(name)
        return (cleaned(value, longest) or None) if isinstance(value, str) else None

    def amount(self, name: str) -> int:
        """Nano-dollars. What is no amount cannot be added up, so its session is not taken."""
        value = self._values.get(name)
        try:
            return recorded_nanos(name, value)
        except InvalidArgument as error:
            raise Unusable(self.where, error.message.rstrip(".")) from None

    def tokens(self, name: str) -> int | None:
        """A count of tokens; None where that is not known."""
        value = self._values.get(name)
        return value if type(value) is int and 0 <= value <= TOKENS_MAX else None

    def flag(self, name: str) -> bool:
        return self._values.get(name) in (1, True)

    def moment(self, name: str) -> int | None:
        """Seconds since 1970 as ledger time; None where there is no such time."""
        value: Any = self._values.get(name)
        return round(value * 1_000_000) if _is_number(value) and _TIME_MIN <= value <= _TIME_MAX else None

    def word(self, name: str, words: type[Word], otherwise: Default) -> Word | Default:
        """One of a closed list of words; any other is remarked upon and read as the default."""
        value = self._values.get(name)
        if value is None:
            return otherwise
        try:
            return words(str(value))
        except ValueError:
            self.remarks.add(Remark.WORD)
            return otherwise

    def policy(self, name: str) -> Cells:
        """The settings a session ran under, which are JSON in the database and an object in the log."""
        value = self._values.get(name)
        if isinstance(value, str):
            try:
                value = decode(value.encode())
            except (Unreadable, UnicodeEncodeError):
                value = None
        if type(value) is not tuple:
            raise Unusable(self.where, f"{name} is {kind_of(value)}, not the settings of a session")
        return Cells(object_of(value, self.where), self.where)


def object_of(pairs: Pairs, where: str) -> dict[str, Any]:
    """An object by key."""
    try:
        return fields(pairs)
    except Unreadable:
        raise Unusable(where, "a key stands in it twice") from None


def actor_of(cells: Cells) -> Actor:
    """Who asked."""
    kind = cells.word("actor_type", ActorType, ActorType.PARENT_AGENT)
    return Actor(kind, cells.text("actor_id"), cells.text("actor_name"))


def kind_of(value: object) -> str:
    """What stands where something else was looked for."""
    if value is None:
        return "missing"
    if isinstance(value, bytes):
        return "binary data"
    if isinstance(value, str):
        return "text" if value.strip() else "empty"
    return "a number" if _is_number(value) else "something else"


def _is_number(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def why_of(reason: Skip) -> str:
    """Why a line could not be decoded, in words."""
    return {
        Skip.TOO_LONG: "it is longer than is read",
        Skip.BAD_UTF8: "it is no text",
        Skip.BAD_JSON: "it is no JSON",
        Skip.TOO_DEEP: "it is nested too deep",
        Skip.HUGE_NUMBER: "a number has thousands of digits",
        Skip.NOT_OBJECT: "it is no object",
        Skip.DUPLICATE_KEY: "a key stands in it twice",
    }.get(reason, reason.value)


@value(frozen=True, slots=True)
class L6ePlaces:
    """Where l6e-mcp keeps things, unless it was told otherwise."""

    database: Path
    run_log: Path

    @staticmethod
    def default(environ: Mapping[str, str], cwd: Path, home: Path) -> L6ePlaces:
        """By its variables, else in the home folder and in the working directory."""
        database, log = environ.get("L6E_SESSION_DB_PATH"), environ.get("L6E_LOG_PATH")
        return L6ePlaces(
            cwd / database if database else home / ".l6e" / "sessions.db",
            cwd / log if log else cwd / ".l6e" / "runs.jsonl",
        )
