"""The closed vocabularies: every state, mode, action and reason that is stored or sent."""

from __future__ import annotations

from enum import StrEnum


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
    BUDGET_EXHAUSTED = "budget_exhausted"
    SESSION_ENDED = "session_ended"
    EXACTNESS_REQUIRED = "exactness_required"
    LEDGER_UNAVAILABLE = "ledger_unavailable"
    LEDGER_MISSING = "ledger_missing"
    LEDGER_ROLLED_BACK = "ledger_rolled_back"
    LEDGER_REPLACED = "ledger_replaced"
    LEDGER_UNAVAILABLE_OPEN = "warn:ledger_unavailable"
    SETTINGS_INVALID = "settings_invalid"
