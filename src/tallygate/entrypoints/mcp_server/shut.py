"""The server where the settings cannot be read: it lists its tools, and every gate is shut.

A server that does not start is a missing tool to an agent, and work goes on without it.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn, cast

from mcp.server import MCPServer
from mcp.server.mcpserver.tools import Tool

from tallygate.clients.registry import REGISTRY
from tallygate.core.errors import SettingsError
from tallygate.core.gate.answers import GateAnswer
from tallygate.core.gate.wording import settings_message
from tallygate.core.words import Action, CheckReason, Pressure, Reason
from tallygate.entrypoints.entrance import Entrance
from tallygate.entrypoints.hook_dispatcher import HookDispatcher
from tallygate.entrypoints.mcp_server import streams
from tallygate.entrypoints.mcp_server.arguments import CallArguments
from tallygate.entrypoints.mcp_server.hook_tool import hook_tool
from tallygate.entrypoints.mcp_server.payloads import gate_payload
from tallygate.entrypoints.mcp_server.serve import interruptible
from tallygate.entrypoints.mcp_server.server import Family, server_of, tool_specs
from tallygate.entrypoints.mcp_server.tools import Caller, ToolSpec, build
from tallygate.operations.runtime import Runtime


def serve_shut(fault: SettingsError, parent: int, family: Family = "all", entrance: Entrance | None = None) -> None:
    """Serve one client over stdio without settings, until it closes its end."""
    entrance = entrance or Entrance()
    with suppress(KeyboardInterrupt), interruptible():
        server = build_shut_server(fault, family, parent)
        streams.run(server, parent, entrance.behind, entrance.first, entrance.notes)
    if entrance.behind is not None:
        entrance.behind.let_go()


def build_shut_server(fault: SettingsError, family: Family = "all", parent: int = 0) -> MCPServer:
    """The server with all that it lists, none of which does anything but say what is wrong with the settings."""
    refusing = _refusing(fault)
    # What tools are called and take depends on no settings; whatever would use them is replaced here.
    specs = [_shut(spec, fault) for spec in tool_specs(cast("Runtime", None), family=family)]
    tools: list[Tool] = [*(build(spec, nullcontext) for spec in specs)]
    return server_of([*tools, hook_tool(HookDispatcher(refusing), ends=parent)], family, lambda: refusing(None))


def shut_to_clients(specs: list[ToolSpec], *, fault: SettingsError) -> list[ToolSpec]:
    """Tools that are shut to the clients which are known here, and answer everybody else."""
    return [_shut_to_clients(spec, _shut(spec, fault)) for spec in specs]


def _shut_to_clients(spec: ToolSpec, shut: ToolSpec) -> ToolSpec:
    def answer(given: CallArguments, caller: Caller) -> dict[str, Any]:
        return (spec if REGISTRY.names.known(caller.client) is None else shut).answer(given, caller)

    return replace(shut, answer=answer)


def _shut(spec: ToolSpec, fault: SettingsError) -> ToolSpec:
    message = settings_message(fault.message, fault.hint)
    gates: dict[str, dict[str, Any]] = {
        "l6e_authorize_call": gate_payload(
            GateAnswer(Action.HALT, Reason.SETTINGS_INVALID, None, Pressure.CRITICAL, message=message)
        ),
        "check_budget": {
            "allowed": False,
            "reason": CheckReason.SETTINGS_INVALID.value,
            "budget_remaining_gbp": None,
            "pct_used": None,
            "message": message,
        },
    }

    def answer(given: CallArguments, caller: Caller) -> dict[str, Any]:  # noqa: ARG001 - whoever asks, and for what
        if (halt := gates.get(spec.name)) is None:
            raise SettingsError(message)
        return halt

    return replace(spec, answer=answer, quick=False, asks=None)


def _refusing(fault: SettingsError) -> Callable[[Path | None], NoReturn]:
    def runtime_for(workspace: Path | None) -> NoReturn:  # noqa: ARG001 - no folder has settings then
        raise SettingsError(fault.message, hint=fault.hint)

    return runtime_for
