"""What a tool is here: a name, its words, its schemas and the function that answers; and how answers look."""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any

import anyio.to_thread
from mcp.server.mcpserver.context import Context
from mcp.server.mcpserver.tools import Tool
from mcp.server.mcpserver.utilities.func_metadata import ArgModelBase, FuncMetadata
from mcp.types import CallToolResult, TextContent, ToolAnnotations

from tallygate.clients.registry import REGISTRY
from tallygate.core.errors import TallygateError
from tallygate.entrypoints.mcp_server.arguments import Argument, CallArguments, input_schema
from tallygate.entrypoints.runnable import runnable
from tallygate.ledger.port import LedgerBusy
from tallygate.operations.runtime import Runtime

log = logging.getLogger("tallygate.mcp")

# What a client may say of a call by itself: its id, and of some which of their sessions makes it.
KEY_META = ("tallygate/idempotency-key", *(key for each in REGISTRY.clients.values() for key in each.keys_of_calls))
SESSION_META = "sessionId"
KEY_MAX = 200


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls: the client's own name, its id for this very call and for its session where it gives them."""

    client: str = "unknown"
    key: str | None = None
    client_session: str | None = None


def asked_over(rt: Runtime, caller: Caller) -> Runtime:
    """The program as one asks it who is connected: their name stands in events, and their budgets bind."""
    return replace(rt, by=f"mcp:{caller.client[:60]}", asked_by=caller.client)


Answer = Callable[[CallArguments, Caller], dict[str, Any]]


@dataclass(frozen=True, slots=True)
class ToolSpec:
    """Everything a client sees of a tool, and what answers it; `asks` does where the user can be asked first."""

    name: str
    title: str
    description: str
    arguments: tuple[Argument, ...]
    output: Mapping[str, Any]
    answer: Answer
    read_only: bool = False
    idempotent: bool = False
    quick: bool = False
    asks: Any = None


class GateTool(Tool):
    """A tool whose arguments are checked by us and whose answer is compact; the SDK only carries it."""

    spec: Any = None
    at_once: Any = None

    async def run(
        self,
        arguments: dict[str, Any],
        context: Context[Any, Any],
        convert_result: bool = False,  # noqa: ARG002  # the SDK's signature; our result is made here
    ) -> Any:
        """Answer one call; an expected failure is an error result, everything else is logged and hidden."""
        spec: ToolSpec = self.spec
        caller = caller_of(context)
        if spec.quick:
            # The answer takes less time than handing it to another thread, as long as nobody else has the ledger.
            with contextlib.suppress(LedgerBusy), self.at_once():
                return answer_call(spec, arguments, caller)
        return await anyio.to_thread.run_sync(answer_call, spec, arguments, caller)


def answer_call(spec: ToolSpec, arguments: Mapping[str, Any], caller: Caller) -> CallToolResult:
    """Check the arguments, do the work, shape the answer; safe on any thread."""
    try:
        return _answered(spec.answer(CallArguments(spec.name, spec.arguments, arguments), caller))
    except Exception as fault:  # noqa: BLE001  # said to the client, and logged
        return _failed(spec.name, fault)


def result_of(name: str, answer: Callable[[], dict[str, Any]]) -> CallToolResult:
    """What one piece of a tool's work answers, or why it could not be done."""
    try:
        return _answered(answer())
    except Exception as fault:  # noqa: BLE001  # said to the client, and logged
        return _failed(name, fault)


def _answered(payload: dict[str, Any]) -> CallToolResult:
    """The answer, its sentences of ours with commands that can be run; everything else is as it was recorded."""
    for name, value in payload.items():
        if isinstance(value, str) and (name == "message" or name.endswith("warning")):
            payload[name] = runnable(value)
        elif name == "warnings" and isinstance(value, list):
            payload[name] = [runnable(each) for each in value]
    return CallToolResult(
        content=[TextContent(type="text", text=compact(payload))], structured_content=payload, is_error=False
    )


def _failed(name: str, fault: Exception) -> CallToolResult:
    """Why a piece of a tool's work could not be done; a ledger that somebody else has is asked again elsewhere."""
    if isinstance(fault, LedgerBusy):
        raise fault
    if isinstance(fault, TallygateError):
        return error_result(fault.code, fault.message, fault.hint)
    log.error("%s failed", name, exc_info=fault)
    return error_result(
        "internal_error",
        f"{name} failed inside Tallygate; nothing was recorded.",
        "The server's standard error has the details. Do not treat this as an allow.",
    )


def error_result(code: str, message: str, hint: str) -> CallToolResult:
    """An expected failure as the model reads it: what, the values, what to do next.

    Text alone: clients hold structured content against the tool's output schema, also that of an error.
    """
    text = runnable(f"{code}: {message}" + (f" {hint}" if hint else ""))
    return CallToolResult(content=[TextContent(type="text", text=text)], is_error=True)


def compact(payload: Mapping[str, Any]) -> str:
    """The answer as the shortest JSON that keeps the field names rules are written against."""
    return json.dumps(payload, separators=(",", ":"), ensure_ascii=False)


def caller_of(context: Context[Any, Any]) -> Caller:
    """The client's name and its id for this call, from what the protocol carries."""
    request = context.request_context
    return caller_in(request.meta or {}, name_of(getattr(request.session, "client_params", None)))


def name_of(client: Any) -> str:
    """A client's name by its greeting, or by what it writes into each request instead."""
    return getattr(getattr(client, "client_info", None), "name", None) or "unknown"


def caller_in(meta: Mapping[str, Any], client: str) -> Caller:
    """Who calls, by what a request says beside its arguments."""
    key = next((str(meta[name])[:KEY_MAX] for name in KEY_META if isinstance(meta.get(name), str)), None)
    session = meta.get(SESSION_META)
    return Caller(
        client=client,
        key=key or None,
        client_session=session[:KEY_MAX] if isinstance(session, str) and session else None,
    )


def build(
    spec: ToolSpec, at_once: Callable[[], AbstractContextManager[None]], kind: type[GateTool] = GateTool
) -> GateTool:
    """The SDK's tool for a spec; inside `at_once` the ledger answers without waiting or not at all."""
    return kind(
        fn=answer_call,
        name=spec.name,
        title=spec.title,
        description=spec.description,
        parameters=input_schema(spec.arguments),
        fn_metadata=FuncMetadata(arg_model=ArgModelBase, output_schema=dict(spec.output)),
        is_async=False,
        context_kwarg=None,
        annotations=ToolAnnotations(
            title=spec.title,
            read_only_hint=spec.read_only,
            destructive_hint=False,
            idempotent_hint=spec.idempotent or spec.read_only,
            open_world_hint=False,
        ),
        icons=None,
        meta=None,
        spec=spec,
        at_once=at_once,
    )


def output(required: str, **properties: Mapping[str, Any]) -> dict[str, Any]:
    """The schema of an answer; `required` lists, in words, what is always there."""
    return {"type": "object", "properties": properties, "required": required.split()}


TEXT: dict[str, Any] = {"type": "string"}
NUMBER: dict[str, Any] = {"type": "number"}
NUMBER_OR_NULL: dict[str, Any] = {"anyOf": [{"type": "number"}, {"type": "null"}]}
TEXT_OR_NULL: dict[str, Any] = {"anyOf": [{"type": "string"}, {"type": "null"}]}
BOOLEAN: dict[str, Any] = {"type": "boolean"}
INTEGER: dict[str, Any] = {"type": "integer"}
OBJECT: dict[str, Any] = {"type": "object"}
TEXTS: dict[str, Any] = {"type": "array", "items": TEXT}
OBJECTS: dict[str, Any] = {"type": "array", "items": OBJECT}
