"""The tool that hooks of type `mcp_tool` call: answered by name, never listed, and not for models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import anyio
import anyio.to_thread
from mcp.server.mcpserver.context import Context
from mcp.server.mcpserver.tools import Tool
from mcp.server.mcpserver.utilities.func_metadata import ArgModelBase, FuncMetadata
from mcp.types import CallToolResult, TextContent

from tallygate.clients.reading.hooks import Reply
from tallygate.clients.registry import REGISTRY
from tallygate.core.text import cleaned
from tallygate.entrypoints.hook_dispatcher import HookDispatcher, hooks_of
from tallygate.entrypoints.mcp_server.tools import compact, error_result
from tallygate.entrypoints.stopping import WAIT_S, end_run, running, say, tell

HOOK_TOOL = "tallygate_hook"
# How long a refused agent is held for the responses of others, and how often these are looked for.
FLIGHT_S, LOOK_S = 45, 0.1
# How long nothing must be in flight before a run is ended in which agents worked side by side: the counts of a response
# are written down before its stream is over.
LAST_S = 0.5
# What clients send with a call that a model made, and not with one that a hook made.
_MODEL_META = tuple(word for client in REGISTRY.clients.values() for word in client.call_meta)


class HookTool(Tool):
    """Hands a hook's input to the desk and gives back the client's own answer as text."""

    dispatcher: Any = None
    ends: int = 0
    ending: bool = False
    closing: bool = False
    answering: int = 0
    agents: bool = False
    told: bool = False

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
        client, event = (arguments.get(name) for name in ("client", "event"))
        if not isinstance(client, str) or not isinstance(event, str):
            return error_result("hooks_only", f"{HOOK_TOOL} answers hooks only: client and event are missing.", "")
        client, event = cleaned(client, 40), cleaned(event, 80)
        self.agents = self.agents or bool(arguments.get("agent_id"))
        await self._until_open()
        self.answering += 1
        try:
            reply = await anyio.to_thread.run_sync(self.dispatcher.answer, client, event, arguments)
        finally:
            self.answering -= 1
        hooks = hooks_of(client)
        if reply.beside and self.ends and hooks is not None:
            tell(hooks.client, reply.beside.encode("utf-8", "replace"), self.ends)
        if reply.last_words and self.ends and await self._ended(reply, client, event, arguments):
            await anyio.sleep(WAIT_S)  # an answer now would let the turn go on
        return CallToolResult(content=[TextContent(type="text", text=compact(reply.body or {}))], is_error=False)

    async def _ended(self, reply: Reply, client: str, event: str, arguments: Mapping[str, Any]) -> bool:
        """End the run of the client that started this server, once nothing is in flight that would be lost.

        Agents that work side by side are refused one after the other; one end is enough for all of them. A response
        that takes too long is not waited for: then the run ends by itself, and why is said all the same.
        """
        hooks = hooks_of(client)
        found = None if hooks is None else running(hooks.client, self.ends)
        if hooks is None or found is None:
            return False
        waits, until = reply.waits or self.agents, anyio.current_time() + FLIGHT_S
        while waits and not self.ending and anyio.current_time() < until:
            await anyio.sleep(LOOK_S)
            if not await self._landed(client, event, arguments):
                continue
            # From here on no step is let through, so a second look sees each that was.
            self.closing = True
            await anyio.sleep(LAST_S)
            waits = self.answering > 0 or not await self._landed(client, event, arguments)
            self.closing = not waits
        if self.ending:
            return True
        words = reply.last_words.encode("utf-8", "replace")
        if not waits:
            self.ending = self.closing = end_run(hooks.client, words, wait_s=0, parent=self.ends)
        elif not self.told:
            say(found[0].pid, words)
            self.told = True
        return self.ending

    async def _landed(self, client: str, event: str, arguments: Mapping[str, Any]) -> bool:
        landed: bool = await anyio.to_thread.run_sync(self.dispatcher.landed, client, event, arguments)
        return landed

    async def _until_open(self) -> None:
        """Hold a hook while the run is being ended: an answer would begin another step, which the end breaks off."""
        until = anyio.current_time() + WAIT_S
        while self.closing and anyio.current_time() < until:  # noqa: ASYNC110 - each that ends it may take it back
            await anyio.sleep(LOOK_S)


def hook_tool(dispatcher: HookDispatcher, *, ends: int = 0) -> HookTool:
    """The SDK's tool for hooks; it may end the run of the client that started this server, which is `ends`."""
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
        dispatcher=dispatcher,
        ends=ends,
    )
