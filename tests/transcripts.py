"""Homes with transcripts of all clients, made up, as the clients would write them."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

MODEL = "claude-opus-4-7"
DAY = datetime(2026, 3, 1, 10, tzinfo=UTC)
PROJECT = "/home/me/project"
_BASE_58 = {ord(char): other for char, other in {"0": "z", "O": "o", "I": "i", "l": "L", "-": None, "_": None}.items()}


def minted(name: str) -> str:
    """A message id in the form of those that Anthropic makes; the end of the name is its end."""
    return "msg_01" + name.translate(_BASE_58)[-22:].rjust(22, "x")


def iso(at: datetime) -> str:
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def lines(rows: Sequence[Any]) -> bytes:
    return b"".join(json.dumps(row, separators=(",", ":")).encode() + b"\n" for row in rows)


def claude(number: int, *, session: str = "s1", at: datetime | None = None, output: int = 50, **more: Any) -> Any:
    """One response of Claude Code; every number is another one."""
    usage = {"input_tokens": 3, "cache_read_input_tokens": 1000, "cache_creation_input_tokens": 20}
    message = {"id": minted(f"{session}{number}"), "role": "assistant", "model": more.pop("model", MODEL)}
    message |= {"content": more.pop("content", []), "stop_reason": more.pop("stop_reason", "end_turn")}
    message["usage"] = usage | {"output_tokens": output} | more.pop("usage", {})
    row = {"type": "assistant", "timestamp": iso(at or DAY + timedelta(seconds=number)), "sessionId": session}
    row |= {"requestId": f"req_{session}_{number}", "uuid": f"u{number}", "cwd": PROJECT, "version": "2.1.200"}
    return row | {"message": message} | more


def claude_file(home: Path, session: str = "s1") -> Path:
    path = home / ".claude" / "projects" / "-home-me-project" / f"{session}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def write_claude(home: Path, numbers: Sequence[int], session: str = "s1", **more: Any) -> Path:
    path = claude_file(home, session)
    with path.open("ab") as out:
        out.write(lines([claude(number, session=session, **more) for number in numbers]))
    return path


def write_codex(home: Path, count: int, thread: str = "019a0000-1111-7000-8000-000000000001") -> Path:
    path = home / ".codex" / "sessions" / "2026" / "03" / "01" / f"rollout-2026-03-01T10-00-00-{thread}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    rows: list[tuple[str, dict[str, Any]]] = [
        ("session_meta", {"id": thread, "cwd": PROJECT, "cli_version": "0.118.0", "source": "cli"}),
        ("turn_context", {"turn_id": "t1", "model": "gpt-5.4", "cwd": PROJECT}),
    ]
    last = {"input_tokens": 100, "cached_input_tokens": 60, "output_tokens": 9, "reasoning_output_tokens": 4}
    last["total_tokens"] = 109
    for number in range(1, count + 1):
        info = {"total_token_usage": {name: value * number for name, value in last.items()}, "last_token_usage": last}
        rows.append(("event_msg", {"type": "token_count", "info": info}))
    stamped = [
        {"timestamp": iso(DAY + timedelta(seconds=second)), "type": kind, "payload": payload}
        for second, (kind, payload) in enumerate(rows)
    ]
    path.write_bytes(lines(stamped))
    return path


def write_gemini(home: Path, count: int) -> Path:
    path = home / ".gemini" / "tmp" / "project" / "chats" / "session-1.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    used = {"input": 100, "output": 20, "cached": 60, "thoughts": 5, "tool": 0, "total": 125}
    rows: list[Any] = [{"sessionId": "g1", "projectHash": "h", "startTime": iso(DAY), "kind": "main"}]
    for number in range(count):
        stamp = iso(DAY + timedelta(seconds=number))
        rows.append({"id": f"m{number}", "timestamp": stamp, "type": "gemini", "model": "gemini-2.5-pro"})
        rows[-1]["tokens"] = used
    path.write_bytes(lines(rows))
    return path


def write_opencode(home: Path, count: int) -> Path:
    path = home / ".local" / "share" / "opencode" / "opencode.db"
    path.parent.mkdir(parents=True, exist_ok=True)
    began = int(DAY.timestamp()) * 1000
    with closing(sqlite3.connect(path, isolation_level=None)) as made:
        made.execute("PRAGMA journal_mode=WAL")
        made.execute(
            "CREATE TABLE IF NOT EXISTS message (id TEXT PRIMARY KEY, session_id TEXT, time_created INTEGER,"
            " time_updated INTEGER, data TEXT)"
        )
        for number in range(count):
            at = began + number
            message = {"role": "assistant", "modelID": "claude-sonnet-4-5", "providerID": "anthropic"}
            message |= {"path": {"cwd": PROJECT}, "time": {"created": at, "completed": at + 900}}
            message["tokens"] = {"input": 100, "output": 30, "reasoning": 0, "cache": {"read": 500, "write": 40}}
            values = (f"m{number}", "ses_1", at, at, json.dumps(message))
            made.execute("INSERT OR REPLACE INTO message VALUES (?, ?, ?, ?, ?)", values)
    return path


def write_qwen(home: Path, count: int) -> Path:
    path = home / ".qwen" / "projects" / "-home-me-project" / "chats" / "q1.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    used = {"input_token_count": 100, "cached_content_token_count": 60, "output_token_count": 20}
    used |= {"thoughts_token_count": 5, "total_token_count": 120}
    rows = []
    for number in range(count):
        event = {"event.name": "qwen-code.api_response", "model": "qwen3-coder-plus", "auth_type": "openai"} | used
        row = {"uuid": f"q{number}", "sessionId": "q1", "timestamp": iso(DAY + timedelta(seconds=number))}
        row |= {"type": "system", "cwd": PROJECT, "version": "0.24.4", "subtype": "ui_telemetry"}
        rows.append(row | {"systemPayload": {"uiEvent": event}})
    path.write_bytes(lines(rows))
    return path


def write_copilot(home: Path, count: int) -> Path:
    path = home / ".copilot" / "session-state" / "p1" / "events.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    used = {"model": "gpt-4.1", "inputTokens": 100, "cacheReadTokens": 60, "outputTokens": 20, "reasoningTokens": 5}
    start = {"sessionId": "p1", "copilotVersion": "1.0.102", "context": {"cwd": PROJECT}}
    rows = [{"type": "session.start", "data": start, "id": "e0", "timestamp": iso(DAY)}]
    for number in range(1, count + 1):
        account = {"sourceSessionId": "p1", "sequence": number, "usageId": f"chatcmpl-{number}"}
        row = {"type": "session.usage_record", "data": {"usage": used | {"accounting": account}}, "id": f"e{number}"}
        rows.append(row | {"timestamp": iso(DAY + timedelta(seconds=number))})
    path.write_bytes(lines(rows))
    return path


COUNTS = {"claude_code": 30, "codex": 12, "gemini": 7, "opencode": 5, "qwen": 4, "copilot": 3}
FILES = len(COUNTS) + 1  # Claude Code has two sessions


def write_all(home: Path) -> None:
    """A home in which every client has written something: COUNTS responses in FILES files."""
    write_claude(home, range(20))
    write_claude(home, range(100, 110), "s2")
    write_codex(home, COUNTS["codex"])
    write_gemini(home, COUNTS["gemini"])
    write_opencode(home, COUNTS["opencode"])
    write_qwen(home, COUNTS["qwen"])
    write_copilot(home, COUNTS["copilot"])
