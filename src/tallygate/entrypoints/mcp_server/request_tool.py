"""A tool that asks the user through the client before it does anything, in both ways the protocol has for that.

Up to 2025-11-25 the server sends a request of its own and waits. From 2026-07-28 on the tool answers that input is
required, and the client calls again with the user's answer and the sealed state of the question.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import anyio.to_thread
from mcp.server.mcpserver.context import Context
from mcp.shared.exceptions import MCPError
from mcp.types import CallToolResult, ElicitRequest, ElicitRequestFormParams, ElicitResult, InputRequiredResult

from tallygate.clients.registry import REGISTRY
from tallygate.core.errors import InvalidArgument
from tallygate.core.model import Budget, in_usd
from tallygate.core.money import json_number, parse_amount_nanos
from tallygate.core.values import value
from tallygate.core.words import client_among
from tallygate.entrypoints.mcp_server import arguments as arg
from tallygate.entrypoints.mcp_server.arguments import CallArguments
from tallygate.entrypoints.mcp_server.payloads import usd
from tallygate.entrypoints.mcp_server.tools import (
    NUMBER,
    TEXT,
    Caller,
    GateTool,
    ToolSpec,
    asked_over,
    caller_of,
    output,
    result_of,
)
from tallygate.operations import runtime as tenants
from tallygate.operations.budgets import change
from tallygate.operations.hooks import Prompts
from tallygate.operations.runtime import Runtime

# --- asking ----------------------------------------------------------------------------------------------------------
# A tool that asks the user through the client before it does anything, in both ways the protocol has for that.
#
# Up to 2025-11-25 the server sends a request of its own and waits. From 2026-07-28 on the tool answers that input is
# required, and the client calls again with the user's answer and the sealed state of the question.


# From here on a request to the client travels in an answer.
_IN_ANSWERS_SINCE = "2026-07-28"
_KEY = "user"


@value(frozen=True, slots=True)
class Question:
    """What the user is shown, the form they may change, and what of it has to be true when they answer."""

    message: str
    form: Mapping[str, Any]
    state: Mapping[str, Any]


class Asks(Protocol):
    """What a tool that asks is made of."""

    def can_ask(self) -> bool: ...
    def question(self, given: CallArguments, caller: Caller) -> Question: ...
    def accepted(
        self, given: CallArguments, caller: Caller, state: Mapping[str, Any], content: Mapping[str, Any]
    ) -> dict[str, Any]: ...
    def refused(self, given: CallArguments, caller: Caller, action: str) -> dict[str, Any]: ...


class AskTool(GateTool):
    """A tool of which nothing is done unless the user accepts; where nobody can be asked, its spec answers."""

    async def run(
        self,
        arguments: dict[str, Any],
        context: Context[Any, Any],
        convert_result: bool = False,
    ) -> Any:
        """Ask, or take up the answer that this call comes with."""
        asks: Asks = self.spec.asks
        declared = context.client_capabilities
        elicitation = None if declared is None else declared.elicitation
        # A client that declares nothing closer than elicitation has forms.
        has_form = elicitation is not None and (elicitation.form is not None or elicitation.url is None)
        if not (has_form and asks.can_ask()):
            return await super().run(arguments, context, convert_result)
        state = context.request_state
        answer = (context.input_responses or {}).get(_KEY)
        if state is not None and isinstance(answer, ElicitResult):
            return await self._done(arguments, context, json.loads(state), answer)
        asked = await self._asked(arguments, context)
        if isinstance(asked, CallToolResult):
            return asked
        request = ElicitRequest(
            params=ElicitRequestFormParams(message=asked.message, requested_schema=dict(asked.form))
        )
        if str(context.protocol_version) >= _IN_ANSWERS_SINCE:
            return InputRequiredResult(input_requests={_KEY: request}, request_state=json.dumps(asked.state))
        try:
            answer = await context.session.elicit_form(asked.message, dict(asked.form), context.request_id)
        except MCPError:
            return await super().run(arguments, context, convert_result)
        return await self._done(arguments, context, asked.state, answer)

    async def _asked(self, arguments: dict[str, Any], context: Context[Any, Any]) -> Question | CallToolResult:
        """The question, or why it cannot be put."""
        spec: ToolSpec = self.spec
        asks: Asks = spec.asks
        caller = caller_of(context)
        found: list[Question] = []

        def put() -> dict[str, Any]:
            found.append(asks.question(CallArguments(spec.name, spec.arguments, arguments), caller))
            return {}

        result = await anyio.to_thread.run_sync(result_of, spec.name, put)
        return found[0] if found else result

    async def _done(
        self, arguments: dict[str, Any], context: Context[Any, Any], state: Mapping[str, Any], answer: ElicitResult
    ) -> CallToolResult:
        spec: ToolSpec = self.spec
        asks: Asks = spec.asks
        caller = caller_of(context)

        def payload() -> dict[str, Any]:
            given = CallArguments(spec.name, spec.arguments, arguments)
            if answer.action != "accept":
                return asks.refused(given, caller, answer.action)
            return asks.accepted(given, caller, state, answer.content or {})

        return await anyio.to_thread.run_sync(result_of, spec.name, payload)


REASON_MAX = 500
# Clients in which a hook, also one of a project, can answer a form before a person sees it, or after.
_HOOKS_ANSWER_IN = tuple(client.name for client in REGISTRY.clients.values() if client.hooks_answer_forms)
_NOT_CONFIRMED = (
    "The form was accepted, but no hook of Tallygate told that a person did it; other hooks can do that, too. Nothing "
    "was changed. Stop and show the user the command. If they did, `tallygate init` installs the hook that tells."
)


def nobody_knows() -> bool:
    """Where nothing is known of the client, a person may be there."""
    return False


REQUEST = (
    arg.text("session_id", required=True),
    arg.amount("amount_usd", "To add", required=True),
    arg.text("reason", "The user reads it", required=True),
)


class RequestTool:
    """Translates between the tool's words, the form that the user sees, and the raise."""

    def __init__(
        self, runtime: Runtime, prompts: Prompts | None = None, unattended: Callable[[], bool] = nobody_knows
    ) -> None:
        self._runtime, self._prompts, self._unattended = runtime, prompts, unattended

    def can_ask(self) -> bool:
        """Whether a person may be there to answer; in print mode and for an SDK nobody is, though a hook may be."""
        return not self._unattended()

    def request_budget(self, given: CallArguments, caller: Caller) -> dict[str, Any]:
        """What is answered where nobody can be asked: the command that the user can run."""
        found = self._request(given, caller)
        message = "This client cannot ask the user, so nothing was changed. Stop and show the user the command."
        return self._outcome("not_asked", found, message)

    def question(self, given: CallArguments, caller: Caller) -> Question:
        """What the user is shown; they may change the amount."""
        found = self._request(given, caller)
        amount = given.amount_nanos("amount_usd")
        if self._prompts is not None:
            self._prompts.asked()
        form = {
            "type": "object",
            "properties": {
                "amount_usd": {
                    "type": "number",
                    "title": "Raise the limit by (USD)",
                    "default": json_number(amount),
                    "minimum": 0,
                }
            },
        }
        return Question(found.question, form, {"budget": found.budget.name, "limit": found.budget.limit})

    def accepted(
        self, given: CallArguments, caller: Caller, state: Mapping[str, Any], content: Mapping[str, Any]
    ) -> dict[str, Any]:
        """What the user has granted, which may be another amount than was asked for."""
        session_id = given.required_name("session_id")
        value = content.get("amount_usd")
        if client_among(caller.client, _HOOKS_ANSWER_IN) is not None and (
            # Its hooks can answer in a person's place: only our own hook there tells that a person did.
            self._prompts is None or not self._prompts.said_yes(None if value is None else str(value))
        ):
            return self._outcome("not_confirmed", self._request(given, caller), _NOT_CONFIRMED)
        asked = given.amount_nanos("amount_usd")
        added = asked if value is None else parse_amount_nanos("amount_usd", value, allow_zero=True)
        if added == 0:
            return self.refused(given, caller, "decline")
        rt = self._of(caller, session_id)
        seen = (str(state["budget"]), int(state["limit"]))
        changed = change.grant(rt, session_id, seen, added, _reason(given))
        return {
            "session_id": session_id,
            "status": "raised",
            **_standing(changed),
            "message": change.granted(seen[1], changed),
        }

    def refused(self, given: CallArguments, caller: Caller, action: str) -> dict[str, Any]:
        """What is said where the user did not say yes."""
        declined = action == "decline"
        said = "The user declined, or the client did by its settings." if declined else "The user did not answer."
        message = f"{said} The budget stays as it is: stop, or do only what still fits."
        return self._outcome("declined" if declined else "cancelled", self._request(given, caller), message)

    def _request(self, given: CallArguments, caller: Caller) -> change.Request:
        session_id = given.required_name("session_id")
        amount = given.amount_nanos("amount_usd")
        return change.request_of(self._of(caller, session_id), session_id, amount, _reason(given))

    def _outcome(self, status: str, found: change.Request, message: str) -> dict[str, Any]:
        return {
            "session_id": found.session.session_id,
            "status": status,
            **_standing(found.budget),
            "message": message,
            "command": found.command,
        }

    def _of(self, caller: Caller, session_id: str) -> Runtime:
        return tenants.runtime_for_session(asked_over(self._runtime, caller), session_id)

    def spec(self) -> ToolSpec:
        return ToolSpec(
            "request_budget",
            "Ask the user for more",
            "Asks the user to raise the session's tightest budget; returns what they decided, or the command.",
            REQUEST,
            output(
                "session_id status budget_id limit_usd remaining_usd message",
                session_id=TEXT,
                status=TEXT,
                budget_id=TEXT,
                limit_usd=NUMBER,
                remaining_usd=NUMBER,
                message=TEXT,
                command=TEXT,
            ),
            self.request_budget,
            asks=self,
        )


def _reason(given: CallArguments) -> str:
    reason = given.text("reason", longest=REASON_MAX)
    if reason is None:
        raise InvalidArgument("reason", "reason must not be empty.", hint="Say what the money is needed for.")
    return reason


def _standing(budget: Budget) -> dict[str, Any]:
    return {
        "budget_id": budget.name,
        "limit_usd": usd(in_usd(budget.limit, budget)),
        "remaining_usd": usd(in_usd(budget.available, budget)),
    }
