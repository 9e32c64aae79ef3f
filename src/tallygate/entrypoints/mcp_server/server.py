"""Build the MCP server and serve it over stdio."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Literal

from mcp.server import MCPServer
from mcp.server.caching import CacheHint
from mcp.server.mcpserver.tools import Tool
from mcp.types import Tool as MCPTool

from tallygate import __version__
from tallygate.core.words import UnknownPrice
from tallygate.entrypoints.hook_dispatcher import HookDispatcher
from tallygate.entrypoints.mcp_server.budget_tools import BudgetTools
from tallygate.entrypoints.mcp_server.catalog_tools import CatalogTools
from tallygate.entrypoints.mcp_server.hook_tool import HOOK_TOOL, hook_tool
from tallygate.entrypoints.mcp_server.request_tool import AskTool, RequestTool, nobody_knows
from tallygate.entrypoints.mcp_server.resources import Now, attach
from tallygate.entrypoints.mcp_server.session_tools import SessionTools
from tallygate.entrypoints.mcp_server.tools import GateTool, ToolSpec, build
from tallygate.operations.hooks import Prompts
from tallygate.operations.runtime import Runtime

_GATE = (
    "A session is opened by l6e_run_start with a budget in USD; l6e_authorize_call "
    "prices a step and answers allow, reroute or halt; l6e_record_usage replaces the estimate by the tokens used; "
    "l6e_run_end closes the session and writes its run-log line. A halt carries a message for the user with the "
    "command that raises the budget; no tool raises it."
)
_TALLY = (
    "start_budget opens a session with a budget in GBP; check_budget says whether the next step is within it; "
    "record_call books a step that was made. Only the user raises a budget: request_budget asks them, or returns the "
    "command for them to run."
)
_BOTH = "Both families of tools work on the same sessions."
Family = Literal["all", "l6e", "budget"]
LogLevel = Literal["DEBUG", "INFO", "WARNING", "ERROR"]


def instructions(family: Family = "all") -> str:
    """What the server says of itself: how its tools belong together."""
    parts = {"all": (_GATE, _TALLY, _BOTH), "l6e": (_GATE,), "budget": (_TALLY,)}[family]
    return " ".join(("Spend gate with a local ledger.", *parts))


def tool_specs(
    runtime: Runtime,
    unknown_price: UnknownPrice = UnknownPrice.WARN_ONLY,
    family: Family = "all",
    prompts: Prompts | None = None,
    unattended: Callable[[], bool] = nobody_knows,
) -> list[ToolSpec]:
    """The tools of a family or of both, in the order clients list them; it is fixed, so that prompt caches hold."""
    sessions = [] if family == "budget" else SessionTools(runtime, unknown_price).specs()
    budgets = (
        [] if family == "l6e" else [*BudgetTools(runtime).specs(), RequestTool(runtime, prompts, unattended).spec()]
    )
    return [*sessions, *budgets, *CatalogTools(runtime).specs()]


class GateServer(MCPServer):
    """The SDK's server with a tool that is answered and not listed: listing it would cost every session its tokens."""

    async def list_tools(self) -> list[MCPTool]:
        return [tool for tool in await super().list_tools() if tool.name != HOOK_TOOL]


def build_server(
    runtime: Runtime,
    *,
    dispatcher: HookDispatcher | None = None,
    unknown_price: UnknownPrice = UnknownPrice.WARN_ONLY,
    family: Family = "all",
    log_level: LogLevel = "WARNING",
    ends: int = 0,
    unattended: Callable[[], bool] = nobody_knows,
    answered: Callable[[list[ToolSpec]], list[ToolSpec]] | None = None,
    now: Now | None = None,
) -> MCPServer:
    """The server with its tools, resources and prompt, not yet serving.

    Its hooks may end the run of the client that started it, which is `ends`; an `unattended` one is put no form.
    `answered` puts other answers in the place of the tools' own; `now` is by what resources and prompts are answered.
    """
    specs = tool_specs(runtime, unknown_price, family, None if dispatcher is None else dispatcher.prompts, unattended)
    if answered is not None:
        specs = answered(specs)
    tools: list[Tool] = [
        build(spec, runtime.services.ledger.at_once, GateTool if spec.asks is None else AskTool) for spec in specs
    ]
    if dispatcher is not None:
        tools.append(hook_tool(dispatcher, ends=ends))
    return server_of(tools, family, now or (lambda: (runtime, unknown_price)), log_level)


def server_of(tools: list[Tool], family: Family, now: Now, log_level: LogLevel = "WARNING") -> MCPServer:
    """The SDK's server around these tools. What it says of itself and lists depends on the family alone.

    It is answered before there is such a server: entrypoints/first_answers.py.
    """
    server: MCPServer = GateServer(
        "tallygate",
        title="Tallygate",
        version=__version__,
        description="Spend gate and tally for AI agents",
        instructions=instructions(family),
        tools=tools,
        subscriptions=False,
        log_level=log_level,
        cache_hints={"tools/list": CacheHint(ttl_ms=300_000, scope="private")},
    )
    attach(server, now)
    logging.getLogger("mcp").setLevel(log_level)
    return server
