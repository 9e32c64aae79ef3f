"""The closed vocabularies: every state, mode, action and reason that is stored or sent."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum
from functools import lru_cache

from tallygate.core.text import plain_letters


class Action(StrEnum):
    """What an agent is told to do with the step it asked about."""

    ALLOW = "allow"
    REROUTE = "reroute"
    HALT = "halt"


class Reason(StrEnum):
    """Why; the texts are those that rules written for l6e-mcp look for."""

    ALLOW = "allow"
    BUDGET_PRESSURE = "warn:budget_pressure"
    SOFT_BUDGET_EXCEEDED = "warn:soft_budget_exceeded"
    BUDGET_EXCEEDED = "budget_pressure:halt"
    PLAN_REACHED = "plan_window:halt"
    PLAN_UNKNOWN = "plan_unknown:halt"
    PLAN_PRESSURE = "warn:plan_window"
    PLAN_UNSURE = "warn:plan_unknown"
    PRICE_UNKNOWN = "unknown_model_pricing:halt"
    PRICE_UNKNOWN_REROUTE = "unknown_model_pricing:reroute_required"
    NO_LOCAL_MODEL = "unknown_model_pricing:no_local_model"
    SESSION_ENDED = "session_ended"
    EXACTNESS_REQUIRED = "exactness_required"
    LEDGER_UNAVAILABLE = "ledger_unavailable"
    LEDGER_MISSING = "ledger_missing"
    LEDGER_ROLLED_BACK = "ledger_rolled_back"
    LEDGER_REPLACED = "ledger_replaced"
    LEDGER_UNAVAILABLE_OPEN = "warn:ledger_unavailable"
    SETTINGS_INVALID = "settings_invalid"
    GATE_OFF = "gate_off"


class CalibrationMode(StrEnum):
    """What the gate does with what it has learned: decide on it, warn by it, or only tell it."""

    ENFORCE = "enforce"
    WARN = "warn"
    OBSERVE = "observe"


class CallState(StrEnum):
    """Where a call stands; `denied` calls are recorded and never change."""

    DENIED = "denied"
    PENDING = "pending"
    RECONCILED = "reconciled"
    VOIDED = "voided"
    EXPIRED = "expired"


class SessionState(StrEnum):
    """Whether a session still takes calls."""

    OPEN = "open"
    ENDED = "ended"


class AccountingMode(StrEnum):
    """How much actual usage a session is expected to bring."""

    ESTIMATE_ONLY = "estimate_only"
    EXACT_OPTIONAL = "exact_optional"
    EXACT_REQUIRED = "exact_required"


class UsageChannel(StrEnum):
    """Where actual usage comes from; it only chooses the default mode coverage."""

    NONE = "none"
    HOSTED_EDGE = "hosted_edge"
    SELF_HOSTED_RELAY = "self_hosted_relay"
    MANUAL_IMPORT = "manual_import"


class UnknownPrice(StrEnum):
    """What the gate does with a model that has no price."""

    WARN_ONLY = "warn_only"
    REROUTE_REQUIRED = "reroute_required"
    HALT = "halt_on_unknown_pricing"


class ActorType(StrEnum):
    """Who in a client asks: its main agent or one that it started."""

    PARENT_AGENT = "parent_agent"
    SUBAGENT = "subagent"


class CallMode(StrEnum):
    """The host's mode a call is made in."""

    ASK = "ask"
    PLAN = "plan"
    AGENT = "agent"


class Pressure(StrEnum):
    """How full a budget is, in the four bands agents' rules know."""

    LOW = "low"
    MODERATE = "moderate"
    HIGH = "high"
    CRITICAL = "critical"


class BudgetMode(StrEnum):
    """Whether a budget stops what it does not carry, or only says so."""

    HARD = "hard"
    SOFT = "soft"


class Exactness(StrEnum):
    """How a call's cost is known."""

    ESTIMATE_ONLY = "estimate_only"
    EXACT_PENDING = "exact_pending"
    EXACT_RECORDED = "exact_recorded"
    EXACT_UNAVAILABLE = "exact_unavailable"


class SessionExactness(StrEnum):
    """How much of a session's total is actual usage."""

    ALL_ESTIMATE_ONLY = "all_estimate_only"
    PARTIAL_EXACT = "partial_exact"
    FULLY_EXACT = "fully_exact_for_supported_calls"
    DEGRADED = "exactness_degraded"


class UsageBasis(StrEnum):
    """Who told what was used: a record that the agent does not keep, the agent itself, nobody yet, or several."""

    OBSERVED = "observed"
    REPORTED = "reported"
    ESTIMATED = "estimated"
    MIXED = "mixed"


class ExpireAs(StrEnum):
    """What an expired reservation leaves behind: its estimate as spent, or nothing."""

    ESTIMATE = "estimate"
    RELEASE = "release"


class SpendStatus(StrEnum):
    """How a session stands after a step was recorded."""

    OK = "ok"
    WARNING = "warning"
    EXHAUSTED = "exhausted"


class CheckReason(StrEnum):
    """What a look before a step finds; the first three are those that rules written for agent-token-budget-mcp know."""

    WITHIN_BUDGET = "within_budget"
    ESTIMATED_OVERAGE = "estimated_overage"
    PLAN_REACHED = "plan_window"
    PLAN_UNKNOWN = "plan_unknown"
    BUDGET_EXHAUSTED = "budget_exhausted"
    SESSION_ENDED = "session_ended"
    EXACTNESS_REQUIRED = "exactness_required"
    LEDGER_UNAVAILABLE = "ledger_unavailable"
    LEDGER_MISSING = "ledger_missing"
    LEDGER_ROLLED_BACK = "ledger_rolled_back"
    LEDGER_REPLACED = "ledger_replaced"
    LEDGER_UNAVAILABLE_OPEN = "warn:ledger_unavailable"
    GATE_OFF = "gate_off"
    SETTINGS_INVALID = "settings_invalid"


# --- clients ---------------------------------------------------------------------------------------------------------
# What clients are called: one spelling of each name, however settings, commands and clients themselves write it.


UNNAMED = "unknown"
# What a client's own name may say beside it. Behind `mcp-client` some write which server they are connected to.
_BESIDE = frozenset({"", "agent", "app", "cli", "client", "editor", "ide", "mcp"})


@lru_cache(maxsize=4096)  # the same few names, several times a step
def client_name(text: str) -> str:
    """The one spelling of a client's name: `my_agent`, `my agent` and `My Agent` are `my-agent`.

    Dashes of any kind are one, what cannot be seen says nothing, and letters that look alike are the same.

    >>> client_name("My Agent"), client_name("my_agent"), client_name("other")
    ('my-agent', 'my-agent', 'other')
    >>> client_name("My\u2014\u200bAgent")
    'my-agent'
    """
    return "-".join(plain_letters(text).replace("_", " ").replace("-", " ").split())


def client_among(text: str, names: Iterable[str]) -> str | None:
    """The one of some names that is meant, as it stands there; None where none of them is."""
    wanted = client_name(text)
    return next((name for name in names if client_name(name) == wanted), None)


class ClientNames:
    """What clients call themselves where they connect, and the name that each is known by here.

    `known` are those words, their signs left out; `beside` may stand next to one and says nothing.

    >>> names = ClientNames({"myagent": "my-agent", "other": "other"})
    >>> names.known("my-agent-mcp-client"), names.known("My Agent CLI 2.1"), names.known("bot-of-my-agent")
    ('my-agent', 'my-agent', None)
    """

    def __init__(self, known: Mapping[str, str], beside: Iterable[str] = ()) -> None:
        self._known = known
        self._longest_first = sorted(known, key=len, reverse=True)
        self._beside = _BESIDE.union(beside)
        self.of: Callable[[str], tuple[str, ...]] = lru_cache(maxsize=4096)(self._of)

    def known(self, text: str) -> str | None:
        """The client that calls itself so where it connects; None for one that is not known here."""
        name = client_name(text).partition("-mcp-client")[0]
        words = [word for each in name.split("-") for word in each.split("/")]
        for known in self._longest_first:
            for start in range(len(words)):
                for end in range(start + 1, min(start + 4, len(words) + 1)):
                    rest = (*words[:start], *words[end:])
                    if "".join(words[start:end]) != known:
                        continue
                    # What stands beside a name says nothing where it is a usual addition or a version.
                    if all(word in self._beside or word.lstrip("v").replace(".", "").isdigit() for word in rest):
                        return self._known[known]
        return None

    def meant(self, match: str) -> str:
        """The name of the client that a user's rule is for, by any name it has; a pattern or another name stays."""
        return self.known(match) or match

    def _of(self, client: str) -> tuple[str, ...]:
        """All that a client is limited by: the name it has, and the one that it is known by."""
        name, known = client_name(client), self.known(client)
        return (name,) if known in (None, name) else (str(known), name)

    def all_of(self, clients: Iterable[str | None]) -> tuple[str, ...]:
        """All that some clients are limited by, each once."""
        return tuple(dict.fromkeys(name for client in clients if client is not None for name in self.of(client)))

    def named(self, said: str | None, connected: str) -> tuple[str, str | None]:
        """What a session's client is called, and what else: by what an agent said and by who is connected.

        Who is connected has been seen, so a known one names the session, and what the agent said stands beside. Of a
        program that nobody knows the agent can say more than its name does. Limits hold for both, whoever is named.

        >>> names = ClientNames({"myagent": "my-agent"})
        >>> names.named("other", "my-agent"), names.named("nightly", "python-sdk"), names.named(None, "my_agent CLI")
        (('my-agent', 'other'), ('nightly', 'python-sdk'), ('my-agent', 'my_agent CLI'))
        """
        seen = self.known(connected)
        said = None if said is None or client_name(said) in ("", UNNAMED) else said
        if said is None:
            return (connected, None) if seen is None else (seen, None if client_name(connected) == seen else connected)
        if seen is not None:
            return (seen, None) if client_name(said) == seen else (seen, said)
        return (said, None) if client_name(connected) in (UNNAMED, client_name(said)) else (said, connected)
