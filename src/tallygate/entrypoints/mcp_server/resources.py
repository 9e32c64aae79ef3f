"""Read-only state as MCP resources, and the prompts: how a budgeted task goes, and a drift review."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from mcp.server import MCPServer
from mcp.server.mcpserver.context import Context
from mcp.server.mcpserver.exceptions import ResourceError, ResourceNotFoundError
from mcp.server.mcpserver.prompts.base import Message, Prompt, PromptArgument, UserMessage
from mcp.server.mcpserver.resources import FunctionResource
from mcp.shared.exceptions import MCPError
from mcp.types import INVALID_PARAMS

from tallygate.core.errors import InvalidArgument, NotFound, TallygateError
from tallygate.core.gate.answers import DecidingBudget
from tallygate.core.model import Budget, Session
from tallygate.core.moments import iso
from tallygate.core.money import format_amount, to_unit_nanos
from tallygate.core.text import cleaned
from tallygate.core.words import SessionState, UnknownPrice
from tallygate.entrypoints.mcp_server import arguments as arg
from tallygate.entrypoints.mcp_server import drift_review
from tallygate.entrypoints.mcp_server.arguments import CallArguments
from tallygate.entrypoints.mcp_server.payloads import budget_payload, usd
from tallygate.entrypoints.mcp_server.tools import compact
from tallygate.ledger.port import SpendShare
from tallygate.operations.budgets.applicable import usable
from tallygate.operations.runtime import Runtime, runtime_for_session

if TYPE_CHECKING:
    from tallygate.operations.views.overview import ObservedSummary, SessionLine, SessionView

log = logging.getLogger("tallygate.mcp")

SESSIONS, SESSION, POLICY = "tally://sessions", "tally://session/{session_id}", "tally://policy"
HISTORY = "tally://history"
SESSIONS_MAX = 50
NAME_MAX = 120
TASK_MAX = 4000
TASK_ARGUMENTS = (
    arg.amount("budget_usd", "Limit of the task in US dollars", required=True),
    arg.text("task", "What is to be done", required=True),
)
TASK = """\
Do the task below within a budget of {budget}, which Tallygate keeps.

1. Call l6e_run_start with budget_usd {number} and your model. Keep the session_id.
2. Before each stage of the work call l6e_authorize_call with the session_id, a short tool_name and the tokens that \
the stage will take.
   - allow: do the stage.
   - reroute: do it with target_model where one is named and you can switch, else with as few tokens as it takes.
   - halt: stop. Show the user the message and the command as they are. Only the user raises a budget; another \
session would be no way around it.
3. After the stage call l6e_record_usage with the call_id and the tokens it used, where you know them.
4. At the end, also after a halt, call l6e_run_end with the session_id.

The task: {task}"""


# The program of the moment, and what its user has decided of models without a price.
Now = Callable[[], tuple[Runtime, UnknownPrice]]


class ResourceState:
    """What the resources answer: one look at the ledger each, in the words of the tools.

    What looks at the ledger is imported with the first read, since most servers are never asked for one.
    """

    def __init__(self, now: Now) -> None:
        self._now = now

    def sessions(self) -> dict[str, Any]:
        """The open sessions, the youngest first."""
        from tallygate.operations.views.overview import list_sessions

        runtime, _ = self._now()
        usable(runtime)
        lines = list_sessions(runtime, state=SessionState.OPEN, limit=SESSIONS_MAX)
        return {"sessions": [_line(line) for line in lines]}

    def session(self, session_id: str) -> dict[str, Any]:
        """One session in figures; what people wrote about it stays out."""
        from tallygate.operations.views.overview import show_session

        runtime, _ = self._now()
        usable(runtime)
        view = show_session(runtime_for_session(runtime, session_id), session_id)
        ladder = runtime.workspace.ladder(view.session.client)
        return {**_view(view), "ladder": [_name(model) for model in ladder]}

    def history(self) -> dict[str, Any]:
        """What sessions of this project came to; what agents said that they were for stays out."""
        from tallygate.operations.views.history import cost_history

        runtime, _ = self._now()
        usable(runtime)
        return {"currency": "USD", "sessions": cost_history(runtime).sessions.stated()}

    def policy(self) -> dict[str, Any]:
        """What the user has decided that an agent meets."""
        runtime, unknown_price = self._now()
        policy = runtime.workspace.policy
        moderate, high, critical = policy.pressure_percents
        return {
            "reroute_at_percent": policy.reroute_at_percent,
            "pressure_percents": {"moderate": moderate, "high": high, "critical": critical},
            "ladder": [_name(model) for model in runtime.workspace.ladder("")],
            "local_model": None if runtime.workspace.local_model is None else _name(runtime.workspace.local_model),
            "budget_mode": runtime.workspace.default_mode,
            "on_fault": "halt" if runtime.workspace.halt_on_fault else "allow",
            "reservation_seconds": policy.reservation_ttl_us // 1_000_000,
            "expire_as": policy.expire_as.value,
            "abandon_after_seconds": runtime.workspace.abandon_after_us // 1_000_000,
            "unknown_model_pricing_mode": unknown_price.value,
            "task_summaries_kept": runtime.workspace.keep_summaries,
        }


class TaskPrompt(Prompt):
    """The prompt `budgeted_task`; its arguments are checked as those of the tools are."""

    async def render(self, arguments: dict[str, Any] | None, context: Context[Any, Any]) -> list[Message]:  # noqa: ARG002
        """The text, or what is wrong with the arguments."""
        try:
            return [UserMessage(task_text(arguments or {}))]
        except InvalidArgument as error:
            raise MCPError(INVALID_PARAMS, str(error)) from error


def attach(server: MCPServer, now: Now) -> None:
    """Give a server the resources and the prompts; what it lists as tools stays as it is."""
    state = ResourceState(now)
    for uri, name, title, description, answer in (
        (SESSIONS, "sessions", "Open sessions", "Open sessions with what is left of their budgets.", state.sessions),
        (POLICY, "policy", "Settings in force", "Thresholds and rules that the gate follows.", state.policy),
        (HISTORY, "history", "What sessions came to", "What ended sessions of this project cost.", state.history),
    ):
        server.add_resource(
            FunctionResource(
                uri=uri,
                name=name,
                title=title,
                description=description,
                mime_type="application/json",
                fn=_reading(uri, answer),
            )
        )

    @server.resource(
        SESSION,
        name="session",
        title="A session",
        description="Budgets, totals, decisions and observed usage of one session.",
        mime_type="application/json",
    )
    def session(session_id: str) -> str:
        return _reading(SESSION, lambda: state.session(session_id))()

    server.add_prompt(
        TaskPrompt(
            name="budgeted_task",
            title="A task with a budget",
            description="How to do a task within a budget: start, ask, record, end; stop on a halt.",
            arguments=[
                PromptArgument(name=each.name, description=str(each.schema["description"]), required=each.required)
                for each in TASK_ARGUMENTS
            ],
            fn=task_text,
            context_kwarg=None,
        )
    )
    drift_review.attach(server, lambda: now()[0], _reading)


def task_text(given: Mapping[str, Any]) -> str:
    """The prompt's text for these arguments. Raises `InvalidArgument`."""
    found = CallArguments("budgeted_task", TASK_ARGUMENTS, given)
    nanos = found.amount_nanos("budget_usd")
    task = found.text("task", longest=TASK_MAX)
    if task is None:
        raise InvalidArgument("task", "task must not be empty.")
    return TASK.format(budget=format_amount(nanos, "USD"), number=usd(nanos), task=task)


def _reading(uri: str, answer: Callable[[], dict[str, Any]]) -> Callable[[], str]:
    """One read: expected failures keep their words, anything else is logged and hidden."""

    def read() -> str:
        try:
            return compact(answer())
        except NotFound as error:
            raise ResourceNotFoundError(str(error)) from error
        except TallygateError as error:
            raise ResourceError(f"{error.code}: {error}") from error
        except Exception as error:
            log.exception("%s failed", uri)
            raise ResourceError(f"internal_error: {uri} failed inside Tallygate; nothing was changed.") from error

    return read


def _line(line: SessionLine) -> dict[str, Any]:
    own = line.own
    return {
        **_session(line.session),
        "currency": line.session.currency if own is None else own.unit,
        "limit": None if own is None else usd(own.limit),
        "spent": usd(to_unit_nanos(line.totals.spent_nanos, (own or line.session).usd_nanos)),
        "reserved": None if own is None else usd(own.reserved),
        "remaining": None if line.left_nanos is None else usd(line.left_nanos),
        "budget_pressure": line.pressure.value,
        "calls_made": line.totals.calls,
        "pending": line.totals.pending,
        "halts": line.totals.denied,
    }


def _view(view: SessionView) -> dict[str, Any]:
    totals = view.totals
    return {
        **_session(view.session),
        "ended_at": iso(view.session.ended_us),
        "state": view.session.state.value,
        "accounting_mode": view.session.accounting_mode.value,
        "unknown_model_pricing_mode": view.session.unknown_price.value,
        "budgets": [_budget(budget) for budget in view.budgets],
        "limit_changes": [change.stated() for change in view.limit_changes],
        "total_cost_usd": usd(totals.total_nanos),
        "calls_made": totals.calls_made,
        "halts": totals.halts,
        "exactness_state": totals.exactness,
        "usage_basis": totals.basis.value,
        "pending_exact_calls": totals.pending_exact_calls,
        "last_reconciled_at": iso(totals.last_reconciled_us),
        "by_model": _shares(view.by_model),
        "by_tool": _shares(view.by_tool),
        "by_actor": _shares(view.by_actor),
        "decisions": [
            {"action": action.value, "reason": reason.value, "count": count} for action, reason, count in view.decisions
        ],
        "observed": None if view.observed is None else _observed(view.observed),
        "children": [_name(child) for child in view.children],
    }


def _session(session: Session) -> dict[str, Any]:
    return {
        "session_id": session.session_id,
        "client": _name(session.client),
        "model": _name(session.model),
        "parent_session_id": session.parent_session_id,
        "started_at": iso(session.started_us),
    }


def _budget(budget: Budget) -> dict[str, Any]:
    return {**budget_payload(DecidingBudget.of(budget), whole=True), "scope": budget.scope, "mode": budget.mode.value}


def _shares(shares: list[SpendShare]) -> list[dict[str, Any]]:
    return [{"name": _name(share.label), "calls": share.calls, "usd": usd(share.nanos)} for share in shares]


def _observed(observed: ObservedSummary) -> dict[str, Any]:
    tokens = observed.tokens
    return {
        "responses": observed.responses,
        "usd": usd(observed.nanos),
        "outside_calls_usd": usd(observed.outside_nanos),
        "incomplete_responses": observed.incomplete,
        "estimated_usd": usd(observed.estimated_nanos),
        "tokens": {
            "fresh_input": tokens.fresh_input,
            "cache_read": tokens.cache_read,
            "cache_write_5m": tokens.cache_write_5m,
            "cache_write_1h": tokens.cache_write_1h,
            "output": tokens.output,
        },
    }


def _name(text: str) -> str:
    """A name that some client gave, as it may be handed to a model."""
    return cleaned(text, NAME_MAX)
