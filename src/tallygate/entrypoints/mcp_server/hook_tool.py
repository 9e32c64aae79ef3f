"""The tool that hooks of type `mcp_tool` call: answered by name, never listed, and not for models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import anyio.to_thread
from mcp.server.mcpserver.context import Context
from mcp.server.mcpserver.tools import Tool
from mcp.server.mcpserver.utilities.func_metadata import ArgModelBase, FuncMetadata
from mcp.types import CallToolResult, TextContent

from tallygate.core.text import cleaned
from tallygate.entrypoints.hook_desk import HookDesk
from tallygate.entrypoints.mcp_server.tools import compact, error_result

HOOK_TOOL = "tallygate_hook"
# What clients send with a call that a model made, and not with one that a hook made.
_MODEL_META = ("claudecode/toolUseId", "callId")


class HookTool(Tool):
    """Hands a hook's input to the desk and gives back the client's own answer as text."""

    desk: Any = None

    async def run(
        self,
        arguments: dict[str, Any],
        context: Context[Any, Any],
        convert_result: bool = False,  # noqa: ARG002  # the SDK's signature; our result is made here
    ) -> Any:
        """Answer one hook; a call that a model made is refused."""
        meta: Mapping[str, Any] = context.request_context.meta or {}
        if any(name in meta for name in _MODEL_META):
            return error_result("hooks_only", f"{HOOK_TOOL} answers hooks only.", "Use l6e_authorize_call.")
        return await anyio.to_thread.run_sync(self._answered, arguments)

    def _answered(self, arguments: Mapping[str, Any]) -> CallToolResult:
        desk: HookDesk = self.desk
        client, event = (arguments.get(name) for name in ("client", "event"))
        if not isinstance(client, str) or not isinstance(event, str):
            return error_result("hooks_only", f"{HOOK_TOOL} answers hooks only: client and event are missing.", "")
        reply = desk.answer(cleaned(client, 40), cleaned(event, 80), arguments)
        return CallToolResult(content=[TextContent(type="text", text=compact(reply.body or {}))], is_error=False)


def hook_tool(desk: HookDesk) -> HookTool:
    """The SDK's tool for hooks."""
    return HookTool(
        fn=hook_tool,
        name=HOOK_TOOL,
        title="Hook",
        description="For hooks only.",
        parameters={"type": "object"},
        fn_metadata=FuncMetadata(arg_model=ArgModelBase),
        is_async=False,
        context_kwarg=None,
        annotations=None,
        icons=None,
        meta=None,
        desk=desk,
    )
