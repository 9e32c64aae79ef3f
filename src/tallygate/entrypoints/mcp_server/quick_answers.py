"""Calls of quick tools, answered in the turn in which they are read, byte by byte as the SDK answers them.

The SDK hands each request to a task of its own, through layers that do nothing for these tools: a third of the time
that such a call takes. So what is as plain as clients write it is answered here. Everything else is the SDK's, and so
is everything while it has a request that waits: what was asked first is done first.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mcp.server import MCPServer
from mcp.server.connection import Connection
from mcp.shared.inbound import InboundModernRoute, classify_inbound_request
from mcp.shared.message import SessionMessage
from mcp.types import (
    PROTOCOL_VERSION_META_KEY,
    SERVER_INFO_META_KEY,
    CallToolResult,
    JSONRPCError,
    JSONRPCRequest,
    JSONRPCResponse,
    RequestId,
    TextContent,
)
from mcp_types.methods import validate_client_request
from pydantic import ValidationError
from pydantic_core import to_json

from tallygate.entrypoints.mcp_server.tools import GateTool, answer_call, caller_in, name_of
from tallygate.ledger.port import LedgerBusy

METHOD = "tools/call"
RESERVED = "io.modelcontextprotocol/"
# Earlier versions of the handshake have no structured content.
GREETED_IN = ("2025-06-18", "2025-11-25")
_PARAMS, _TOKENS = frozenset(("name", "arguments", "_meta")), (int, str)


class QuickAnswers:
    """What of a conversation can be answered at once: its era and its client are those that the SDK has accepted."""

    def __init__(self, server: MCPServer) -> None:
        low = server._lowlevel_server  # noqa: SLF001  # as the SDK's own way of serving does
        self._stamp = {SERVER_INFO_META_KEY: low.server_info_stamp}
        self._tools: dict[str, GateTool] = {}
        for tool in server._tool_manager.list_tools():  # noqa: SLF001
            # One that asks the user first, or answers otherwise than its spec says, is of a kind of its own.
            if type(tool) is GateTool and tool.spec.quick:
                self._tools[tool.name] = tool
        self._is_modern: bool | None = None  # which the first request decides
        self._greetings: dict[RequestId, Mapping[str, Any]] = {}
        self._client: str | None = None
        self._envelope = b""

    def heard(self, item: SessionMessage | Exception) -> None:
        """Note what the SDK is handed: the first request, and each greeting."""
        message = None if isinstance(item, Exception) else item.message
        if not isinstance(message, JSONRPCRequest):
            return
        greets = message.method == "initialize"
        if self._is_modern is None:
            self._is_modern = not greets and PROTOCOL_VERSION_META_KEY in _mapping((message.params or {}).get("_meta"))
        if greets:
            self._greetings[message.id] = message.params or {}

    def said(self, item: SessionMessage) -> None:
        """Note what the SDK answers: with an accepted greeting it is known who asks."""
        match item.message:
            case JSONRPCResponse(id=number, result=result) if number in self._greetings:
                told = _mapping(self._greetings.pop(number).get("clientInfo")).get("name")
                is_read = result.get("protocolVersion") in GREETED_IN and isinstance(told, str)
                self._client = (told or "unknown") if is_read and not self._is_modern else None
            case JSONRPCError(id=number) if number is not None:
                self._greetings.pop(number, None)
            case _:
                pass

    def answer(self, item: SessionMessage | Exception) -> str | None:
        """The line that answers a call; None where that is the SDK's to do."""
        message = None if isinstance(item, Exception) else item.message
        if not isinstance(message, JSONRPCRequest) or message.method != METHOD:
            return None
        params = message.params
        if params is None or not params.keys() <= _PARAMS or not isinstance(name := params.get("name"), str):
            return None
        tool, arguments, meta = self._tools.get(name), params.get("arguments", {}), params.get("_meta", {})
        if tool is None or not isinstance(arguments, dict) or not isinstance(meta, dict):
            return None
        if type(meta.get("progressToken", "")) not in _TOKENS or (client := self._caller(meta)) is None:
            return None
        try:
            with tool.at_once():
                result = answer_call(tool.spec, arguments, caller_in(meta, client))
        except LedgerBusy:
            return None  # somebody else has the ledger: there it is waited for on a thread
        return self._line(message.id, result)

    def _caller(self, meta: Mapping[str, Any]) -> str | None:
        """The name of whoever calls; None where the SDK has to look at what is told of them."""
        envelope = {name: told for name, told in meta.items() if name.startswith(RESERVED)}
        if not self._is_modern:
            return None if envelope else self._client
        # A client writes the same into every request: what was looked at once is not looked at again.
        if (written := to_json(envelope)) != self._envelope:
            self._client, self._envelope = _named_by(envelope), written
        return self._client

    def _line(self, number: RequestId, result: CallToolResult) -> str:
        """An answer as it stands on the wire."""
        told: dict[str, Any] = {
            "content": [
                {"text": part.text, "type": "text"} for part in result.content if isinstance(part, TextContent)
            ],
            "isError": result.is_error,
        }
        if self._is_modern:
            told["resultType"] = "complete"
        if result.structured_content is not None:
            told["structuredContent"] = result.structured_content
        if self._is_modern:
            told["_meta"] = self._stamp
        return to_json({"jsonrpc": "2.0", "id": number, "result": told}).decode() + "\n"


def _named_by(envelope: Mapping[str, Any]) -> str | None:
    """The name in the envelope of a request of the later era; None where that is not as it has to be."""
    params = {"name": "any", "_meta": envelope}
    route = classify_inbound_request({"method": METHOD, "params": params})
    if not isinstance(route, InboundModernRoute):
        return None
    try:
        validate_client_request(METHOD, route.protocol_version, params)
    except (ValidationError, ValueError, KeyError):
        return None
    told = Connection.from_envelope(route.protocol_version, route.client_info, route.client_capabilities)
    return name_of(told.client_params)


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
