"""The drift review for an agent: the figures of a session as a resource, and a prompt with what to make of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import anyio.to_thread
from mcp.server import MCPServer
from mcp.server.mcpserver.context import Context
from mcp.server.mcpserver.prompts.base import Message, Prompt, PromptArgument, UserMessage
from mcp.shared.exceptions import MCPError
from mcp.types import INVALID_PARAMS

from tallygate.core.errors import NotFound, TallygateError
from tallygate.core.text import shown
from tallygate.entrypoints.mcp_server import arguments as arg
from tallygate.entrypoints.mcp_server.arguments import CallArguments
from tallygate.entrypoints.mcp_server.tools import compact
from tallygate.operations.runtime import Runtime, runtime_for_session

DRIFT = "tally://drift/{session_id}"
# Of each list in the answer: what a model reads is paid for.
ENTRIES_MAX = 20
ARGUMENTS = (arg.text("session_id", "The session to review", required=True),)
TEXT = """\
Review what the session {session_id} cost, for its user. The figures are below, in US dollars, as Tallygate has them; \
tally://drift/{session_id} has them at any time.

1. Say in one sentence what was estimated, what was recorded and what was billed. null is unknown, never 0. \
Without bills say that nothing is known of what was billed, and that `tallygate import FILE` reads a bill.
2. Name the causes with the largest amounts, in plain words, each with its amount. Do not add amounts of causes up: \
they overlap.
3. Say what was not compared and why (not_compared), and what is priced by list (priced_by_list) or API-equivalent, \
which nobody bills.
4. For your own next estimates in this client and model, say by what factor yours were off.
5. Settings under settings_to_add and `tallygate drift --apply` are the user's to decide on: show them, change nothing.

{figures}"""


def session_drift(runtime: Runtime, session_id: str) -> dict[str, Any]:
    """The review of one session in figures. Raises `NotFound`."""
    from tallygate.operations.bills.review import ReviewWanted, review
    from tallygate.reports.drift import payload

    mine = runtime_for_session(runtime, session_id)
    with mine.reading() as reader:
        if reader.session(session_id) is None:
            raise NotFound(f"No session {shown(session_id)} is in the ledger.", code="unknown_session")
    found = review(mine, ReviewWanted(session_id=session_id, limit=ENTRIES_MAX))
    return {"session_id": session_id, **payload(found, ENTRIES_MAX)}


class DriftPrompt(Prompt):
    """The prompt `drift_review`; what is wrong with its argument is the caller's error."""

    async def render(self, arguments: dict[str, Any] | None, context: Context[Any, Any]) -> list[Message]:  # noqa: ARG002
        """The text with the figures, or why there is none."""
        try:
            return [UserMessage(str(await anyio.to_thread.run_sync(self.fn, arguments or {})))]
        except TallygateError as error:
            raise MCPError(INVALID_PARAMS, str(error)) from error


def drift_text(runtime: Runtime, given: Mapping[str, Any]) -> str:
    """The prompt's text for these arguments. Raises `InvalidArgument` and `NotFound`."""
    session_id = CallArguments("drift_review", ARGUMENTS, given).required_name("session_id")
    return TEXT.format(session_id=session_id, figures=compact(session_drift(runtime, session_id)))


def attach(
    server: MCPServer,
    now: Callable[[], Runtime],
    reading: Callable[[str, Callable[[], dict[str, Any]]], Callable[[], str]],
) -> None:
    """Give a server the resource and the prompt; `reading` is how a resource fails."""

    @server.resource(
        DRIFT,
        name="drift",
        title="The drift of a session",
        description="Estimated, recorded and billed of one session by day and model, with the causes.",
        mime_type="application/json",
    )
    def drift(session_id: str) -> str:
        return reading(DRIFT, lambda: session_drift(now(), session_id))()

    server.add_prompt(
        DriftPrompt(
            name="drift_review",
            title="A drift review",
            description="What a session cost against its estimates and the provider's bill, and why.",
            arguments=[
                PromptArgument(name=each.name, description=str(each.schema["description"]), required=each.required)
                for each in ARGUMENTS
            ],
            fn=lambda given: drift_text(now(), given),
            context_kwarg=None,
        )
    )
