"""Small hand-made transcripts for the tests: lines as the clients write them, contents made up."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from tallygate.clients.reading.files import TranscriptReader
from tallygate.core.costing import Tokens
from tallygate.core.usage import ObservedUsage, merged

ID = "msg_01AbCdEfGhJjKkMnPpQrStUv"
THREAD = "019a0000-1111-7000-8000-000000000001"
PARENT = "01990000-1111-7000-8000-000000000001"
OLD_TURN = "01990000-2222-7000-8000-000000000002"
OWN_TURN = "019a0000-2222-7000-8000-000000000002"


def lines(*rows: Any) -> bytes:
    return b"".join(json.dumps(row, separators=(",", ":")).encode() + b"\n" for row in rows)


def taken(reader: TranscriptReader, *rows: Any) -> list[ObservedUsage]:
    """The rows a reader brings for some lines, merged, in order of their keys."""
    return rows_in(reader.feed(lines(*rows)))


def rows_in(rows: Iterable[ObservedUsage]) -> list[ObservedUsage]:
    return sorted(merged(rows).values(), key=lambda row: row.response_key)


def total(rows: Iterable[ObservedUsage]) -> Tokens:
    return sum((row.tokens for row in rows), Tokens())


def message(message_id: str | None = ID, **changes: Any) -> dict[str, Any]:
    usage = {
        "input_tokens": 3,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 1000,
        "output_tokens": changes.pop("output", 50),
        **changes.pop("usage", {}),
    }
    made = {
        "id": message_id,
        "model": "claude-opus-4-6",
        "role": "assistant",
        "content": [],
        "stop_reason": "end_turn",
        "usage": usage,
    }
    return made | changes


def claude(message_id: str | None = ID, top: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    """An assistant's line; `top` changes the line, everything else its message."""
    row = {
        "type": "assistant",
        "timestamp": "2026-03-01T10:00:00.000Z",
        "sessionId": "s1",
        "requestId": "req_1",
        "uuid": "u1",
        "isSidechain": False,
        "version": "2.1.49",
        "cwd": "/home/me/project",
        "message": message(message_id, **changes),
    }
    return row | (top or {})


def progress(message_id: str = ID, agent: str = "a1", **changes: Any) -> dict[str, Any]:
    """A subagent's response as its parent's transcript carries it."""
    inner = {
        "type": "assistant",
        "timestamp": "2026-03-01T10:00:05.000Z",
        "requestId": "req_p",
        "message": message(message_id, **changes),
    }
    row = claude(top={"type": "progress"})
    del row["message"], row["requestId"]
    return row | {"data": {"type": "agent_progress", "agentId": agent, "message": inner}}


def at(second: int) -> str:
    return f"2026-04-11T10:{second // 60:02d}:{second % 60:02d}.000Z"


def codex(kind: str, payload: dict[str, Any], second: int = 0) -> dict[str, Any]:
    return {"timestamp": at(second), "type": kind, "payload": payload}


def meta(thread: str = THREAD, **more: Any) -> dict[str, Any]:
    payload = {"id": thread, "cwd": "/home/me/project", "cli_version": "0.118.0", "source": "cli"}
    return codex("session_meta", payload | more)


def turn(model: str | None, turn_id: str = OWN_TURN, second: int = 0) -> dict[str, Any]:
    return codex("turn_context", {"turn_id": turn_id, "model": model, "cwd": "/home/me/project"}, second)


def started(turn_id: str, second: int = 0) -> dict[str, Any]:
    return codex("event_msg", {"type": "task_started", "turn_id": turn_id}, second)


def usage(read: int, cached: int = 0, out: int = 0, thought: int = 0) -> dict[str, int]:
    return {
        "input_tokens": read,
        "cached_input_tokens": cached,
        "output_tokens": out,
        "reasoning_output_tokens": thought,
        "total_tokens": read + out,
    }


def counted(whole: dict[str, int] | None, last: dict[str, int] | None, second: int = 10) -> dict[str, Any]:
    info = {"total_token_usage": whole, "last_token_usage": last, "model_context_window": 258400}
    payload = {"type": "token_count", "info": {k: v for k, v in info.items() if v is not None}}
    return codex("event_msg", payload, second)


def recorded(
    response: str, used: dict[str, int], whole: dict[str, int] | None = None, second: int = 10, thread: str = THREAD
) -> dict[str, Any]:
    payload: dict[str, Any] = {"thread_id": thread, "response_id": response, "usage": used}
    if whole is not None:
        payload["thread_token_usage"] = whole
    return codex("token_usage_record", payload, second)


def answered(uuid: str, top: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    """A response as Qwen Code's telemetry writes it; `top` changes the line, everything else the event."""
    event = {
        "event.name": "qwen-code.api_response",
        "response_id": "chatcmpl-1",
        "model": "qwen3-coder-plus",
        "input_token_count": 1000,
        "output_token_count": 80,
        "cached_content_token_count": 900,
        "thoughts_token_count": 30,
        "total_token_count": 1080,
        "prompt_id": "q1########0",
        "auth_type": "openai",
    }
    row = {
        "uuid": uuid,
        "parentUuid": None,
        "sessionId": "q1",
        "timestamp": "2026-03-01T10:00:00.000Z",
        "type": "system",
        "cwd": "/home/me/project",
        "version": "0.24.4",
        "subtype": "ui_telemetry",
        "systemPayload": {"uiEvent": event | changes},
    }
    return row | (top or {})


def happened(kind: str, data: dict[str, Any], event: str = "e1", **top: Any) -> dict[str, Any]:
    """An event of Copilot CLI."""
    return {"type": kind, "data": data, "id": event, "timestamp": "2026-03-01T10:00:00.000Z"} | top


def receipt(sequence: int, source: str = "p1", agent: str | None = None, **changes: Any) -> dict[str, Any]:
    """Copilot CLI's receipt for a response."""
    call = changes.pop("call", f"chatcmpl-{sequence}")
    used = {
        "model": "gpt-4.1",
        "inputTokens": 1000,
        "outputTokens": 80,
        "cacheReadTokens": 900,
        "cacheWriteTokens": 0,
        "reasoningTokens": 30,
        "apiCallId": call,
        "accounting": {"sourceSessionId": source, "sequence": sequence, "usageId": call},
    }
    top = {} if agent is None else {"agentId": agent}
    return happened("session.usage_record", {"usage": used | changes}, f"e{sequence}", **top)


def ended(metrics: dict[str, Any], event: str = "end") -> dict[str, Any]:
    """The event with which a run of Copilot CLI ends."""
    return happened("session.shutdown", {"shutdownType": "routine", "modelMetrics": metrics}, event)
