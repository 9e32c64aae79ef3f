"""A tool that asks the user through the client before it does anything, in both ways the protocol has for that.

Up to 2025-11-25 the server sends a request of its own and waits. From 2026-07-28 on the tool answers that input is
required, and the client calls again with the user's answer and the sealed state of the question.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import anyio.to_thread
from mcp.server.mcpserver.context import Context
from mcp.shared.exceptions import MCPError
from mcp.types import CallToolResult, ElicitRequest, ElicitRequestFormParams, ElicitResult, InputRequiredResult

from tallygate.entrypoints.mcp_server.arguments import Given
from tallygate.entrypoints.mcp_server.tools import Caller, GateTool, ToolSpec, caller_of, result_of

# From here on a request to the client travels in an answer.
_IN_ANSWERS_SINCE = "2026-07-28"
_KEY = "user"


@dataclass(frozen=True, slots=True)
class Question:
    """What the user is shown, the form they may change, and what of it has to be true when they answer."""

    message: str
    form: Mapping[str, Any]
    state: Mapping[str, Any]


class Asks(Protocol):
    """What a tool that asks is made of."""

    def can_ask(self) -> bool: ...
    def question(self, given: Given, caller: Caller) -> Question: ...
    def accepted(
        self, given: Given, caller: Caller, state: Mapping[str, Any], content: Mapping[str, Any]
    ) -> dict[str, Any]: ...
    def refused(self, given: Given, caller: Caller, action: str) -> dict[str, Any]: ...


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
        if not (_can_ask(context) and asks.can_ask()):
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
            found.append(asks.question(Given(spec.name, spec.arguments, arguments), caller))
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
            given = Given(spec.name, spec.arguments, arguments)
            if answer.action != "accept":
                return asks.refused(given, caller, answer.action)
            return asks.accepted(given, caller, state, answer.content or {})

        return await anyio.to_thread.run_sync(result_of, spec.name, payload)


def _can_ask(context: Context[Any, Any]) -> bool:
    """Whether the client has a form for the user. One that declares nothing closer has."""
    declared = context.client_capabilities
    elicitation = None if declared is None else declared.elicitation
    return elicitation is not None and (elicitation.form is not None or elicitation.url is None)
