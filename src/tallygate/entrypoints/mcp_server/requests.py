"""What a line from a client is: a message to hand on, or a request that must be told why it is none.

The SDK drops what it cannot read, and the client then waits until its own time is over. So each line is looked at
first; one that is no message is answered with the error of JSON-RPC, with the request's id where that can be read.
"""

from __future__ import annotations

import json
import re
from typing import Any

from mcp.types import (
    INVALID_PARAMS,
    INVALID_REQUEST,
    PARSE_ERROR,
    JSONRPCMessage,
    JSONRPCNotification,
    jsonrpc_message_adapter,
)

from tallygate.core.regex import regex
from tallygate.core.values import value

# The only version of the protocol in which one line may carry several messages.
BATCHES_IN = "2025-03-26"
BATCH_MAX = 1000
_BOM = b"\xef\xbb\xbf"
_TOKEN = regex(rb'"(?:[^"\\]|\\.)*"|[{}\[\]]', re.DOTALL)
_ID = regex(rb'\s*:\s*("(?:[^"\\]|\\.){0,200}"|-?\d{1,18}(?![\d.eE]))', re.DOTALL)


@value(frozen=True, slots=True)
class MessageBatch:
    """Messages to hand on, and answers to requests that are none."""

    onward: tuple[JSONRPCMessage, ...] = ()
    refused: tuple[dict[str, Any], ...] = ()


def sort_out(line: bytes, *, batches: bool) -> MessageBatch:
    """Tell messages from what must be refused; `batches` says whether a line may carry several."""
    line = line.removeprefix(_BOM).strip()
    if not line:
        return MessageBatch()
    if (message := _message(line)) is not None:
        return MessageBatch((message,))
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return MessageBatch(refused=(_refusal(PARSE_ERROR, "This is no JSON that can be read.", id_in(line)),))
    if isinstance(found, list):
        return _batch(found, allowed=batches)
    # Text that ends within a character, as when an emoji was cut, is text all the same.
    mended = json.dumps(found, ensure_ascii=False).encode("utf-8", "replace")
    if mended != line and (message := _message(mended)) is not None:
        return MessageBatch((message,))
    return MessageBatch(refused=_wrong(found))


def id_in(line: bytes) -> int | str | None:
    """The id of a request, also where the rest of it cannot be read; None where it has none that is valid."""
    depth = 0
    # A request that cannot be read has to be refused by its id, or its client waits for ever: so the id is looked for
    # without reading the rest, at the outermost level alone.
    for token in _TOKEN.finditer(line):
        text = token[0]
        if text in b"{[":
            depth += 1
        elif text in b"}]":
            depth -= 1
        elif depth == 1 and text == b'"id"' and (value := _ID.match(line, token.end())):
            try:
                found: int | str = json.loads(value[1])
            except ValueError:
                return None
            return found
    return None


def version_asked(line: bytes) -> str | None:
    """The version of the protocol that a greeting asks for."""
    if b'"initialize"' not in line:
        return None
    try:
        found = json.loads(line)
        version = found["params"]["protocolVersion"] if found["method"] == "initialize" else None
    except (ValueError, RecursionError, KeyError, TypeError):
        return None
    return version if isinstance(version, str) else None


def _message(line: bytes) -> JSONRPCMessage | None:
    try:
        message = jsonrpc_message_adapter.validate_json(line, by_name=False)
    except ValueError:
        return None
    # A request whose id is none would pass for a notification, which nobody answers.
    if isinstance(message, JSONRPCNotification) and b'"id"' in line and "id" in json.loads(line):
        return None
    return message


def _batch(found: list[Any], *, allowed: bool) -> MessageBatch:
    if not found or len(found) > BATCH_MAX:
        return MessageBatch(refused=(_refusal(INVALID_REQUEST, f"A batch holds 1 to {BATCH_MAX} messages.", None),))
    if not allowed:
        why = f"Several messages in one line are part of protocol version {BATCHES_IN} only."
        asked = [each for each in found if isinstance(each, dict) and "id" in each]
        return MessageBatch(refused=tuple(_refusal(INVALID_REQUEST, why, _valid_id(each)) for each in asked or [{}]))
    parts = [sort_out(json.dumps(each).encode(), batches=False) for each in found if not isinstance(each, list)]
    nested = tuple(
        _refusal(INVALID_REQUEST, "A batch holds no batch.", None) for each in found if isinstance(each, list)
    )
    return MessageBatch(tuple(x for p in parts for x in p.onward), tuple(x for p in parts for x in p.refused) + nested)


def _wrong(found: object) -> tuple[dict[str, Any], ...]:
    """What is wrong with JSON that is no message; an answer of the client's is not answered."""
    if not isinstance(found, dict):
        return (_refusal(INVALID_REQUEST, "A request is a JSON object.", None),)
    if "method" not in found and ("result" in found or "error" in found):
        return ()
    request_id = _valid_id(found)
    if "id" in found and request_id is None:
        return (_refusal(INVALID_REQUEST, "The id of a request is text or a whole number.", None),)
    if isinstance(found.get("method"), str) and not isinstance(found.get("params"), dict | None):
        return (_refusal(INVALID_PARAMS, "params must be an object.", request_id),)
    why = 'A request has "jsonrpc": "2.0", an id, a method and params that can be read.'
    return (_refusal(INVALID_REQUEST, why, request_id),)


def _valid_id(found: dict[str, Any]) -> int | str | None:
    value = found.get("id")
    return value if isinstance(value, int | str) and not isinstance(value, bool) else None


def _refusal(code: int, message: str, request_id: int | str | None) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": request_id, "error": {"code": code, "message": message}}
