"""A database and a run log as l6e-mcp 0.8.5 (schema_version 2) writes them, by hand-written SQL; and what is none."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Iterable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

# The tables of version 2 that hold something; the columns that later versions added stand last, as they do there.
SCHEMA = """
CREATE TABLE schema_version (version INTEGER NOT NULL, applied_at REAL NOT NULL);
CREATE TABLE sessions (
    session_id TEXT PRIMARY KEY,
    model TEXT NOT NULL,
    policy_json TEXT NOT NULL,
    source TEXT NOT NULL,
    log_path TEXT,
    accounting_mode TEXT NOT NULL DEFAULT 'estimate_only',
    usage_channel TEXT NOT NULL DEFAULT 'none',
    ask_mode_exact_capable INTEGER NOT NULL DEFAULT 0,
    plan_mode_exact_capable INTEGER NOT NULL DEFAULT 0,
    agent_mode_exact_capable INTEGER NOT NULL DEFAULT 0,
    state TEXT NOT NULL,
    next_call_index INTEGER NOT NULL,
    checkpoint_calls INTEGER NOT NULL DEFAULT 0,
    status_calls INTEGER NOT NULL DEFAULT 0,
    created_at REAL NOT NULL,
    ended_at REAL,
    finalized_at REAL,
    start_summary TEXT,
    end_summary TEXT,
    parent_session_id TEXT,
    client TEXT
);
CREATE TABLE calls (
    call_id TEXT PRIMARY KEY,
    session_id TEXT NOT NULL,
    call_index INTEGER NOT NULL,
    tool_name TEXT NOT NULL,
    model_requested TEXT NOT NULL,
    model_used TEXT NOT NULL,
    estimated_prompt_tokens INTEGER NOT NULL,
    estimated_completion_tokens INTEGER NOT NULL,
    estimated_cost_usd TEXT NOT NULL,
    actual_prompt_tokens INTEGER,
    actual_completion_tokens INTEGER,
    actual_cost_usd TEXT,
    rerouted INTEGER NOT NULL,
    elapsed_ms REAL NOT NULL,
    prompt_complexity TEXT,
    is_multi_turn INTEGER NOT NULL,
    status TEXT NOT NULL,
    created_at REAL NOT NULL,
    reconciled_at REAL,
    correlation_key TEXT,
    correlation_source TEXT,
    callback_request_id TEXT,
    callback_trace_id TEXT,
    exactness_state TEXT NOT NULL DEFAULT 'estimate_only',
    hosted_ledger_id TEXT,
    actor_type TEXT NOT NULL DEFAULT 'parent_agent',
    actor_id TEXT,
    actor_name TEXT,
    parent_call_id TEXT,
    call_mode TEXT,
    mode_exact_capable INTEGER,
    raw_estimated_cost_usd TEXT,
    FOREIGN KEY(session_id) REFERENCES sessions(session_id)
);
CREATE INDEX idx_calls_session_id ON calls(session_id, call_index);
CREATE TABLE orphan_callbacks (orphan_id INTEGER PRIMARY KEY AUTOINCREMENT, payload_json TEXT NOT NULL);
INSERT INTO schema_version VALUES (2, 1780000000.25);
"""
# The same without types and constraints, to hold what the other refuses.
LOOSE = re.sub(" (PRIMARY KEY|AUTOINCREMENT|NOT NULL|TEXT|INTEGER|REAL)", "", SCHEMA)

STARTED = 1_780_000_000.5  # 2026-05-28
STARTED_US = 1_780_000_000_500_000


def policy(budget: object = 2.5) -> dict[str, Any]:
    return {
        "budget": budget,
        "budget_mode": "warn",
        "on_budget_exceeded": "raise",
        "fallback_result": None,
        "latency_sla": None,
        "reroute_threshold": 0.8,
        "unknown_model_cost_per_1k_tokens": 0.01,
        "unknown_model_pricing_mode": "warn_only",
        "stage_routing": {},
        "stage_overrides": {},
    }


def session(number: int, *, budget: object = 2.5, ended: bool = True, **more: Any) -> dict[str, Any]:
    """A row of `sessions`; the columns in `more` take the place of the usual ones."""
    at = STARTED + 3600 * number
    return {
        "session_id": f"session_cursor_2026-05-28_{number:08x}",
        "model": "claude-opus-4-6",
        "policy_json": json.dumps(policy(budget)),
        "source": "mcp",
        "log_path": ".l6e/runs.jsonl",
        "state": "finalized" if ended else "active",
        "next_call_index": 2,
        "created_at": at,
        "ended_at": at + 60 if ended else None,
        "finalized_at": at + 90.25 if ended else None,
        "start_summary": f"task {number}",
        "end_summary": f"outcome {number}" if ended else None,
        "client": "cursor",
        **more,
    }


def call(number: int, of: Mapping[str, Any], cost: object = "0.25", **more: Any) -> dict[str, Any]:
    """A row of `calls`: an estimate, which `used` turns into one with its usage."""
    return {
        "call_id": f"call_{number:016x}",
        "session_id": of["session_id"],
        "call_index": number,
        "tool_name": "edit",
        "model_requested": "claude-opus-4-6",
        "model_used": "claude-opus-4-6",
        "estimated_prompt_tokens": 20_000,
        "estimated_completion_tokens": 6_000,
        "estimated_cost_usd": cost,
        "raw_estimated_cost_usd": cost,
        "rerouted": 0,
        "elapsed_ms": 0.0,
        "is_multi_turn": 0,
        "status": "pending",
        "created_at": STARTED + number,
        "correlation_key": f"call_{number:016x}",
        "correlation_source": "checkpoint_call_id",
        **more,
    }


def used(cost: object = "0.125", prompt: object = 9_000, completion: object = 3_200) -> dict[str, Any]:
    """What `l6e_record_usage` puts into a call."""
    return {
        "actual_prompt_tokens": prompt,
        "actual_completion_tokens": completion,
        "actual_cost_usd": cost,
        "status": "reconciled",
        "reconciled_at": STARTED + 30,
        "exactness_state": "exact_recorded",
    }


def make_database(
    path: Path, sessions: Iterable[Mapping[str, Any]], calls: Iterable[Mapping[str, Any]], schema: str = SCHEMA
) -> Path:
    """A database with these rows; called again it adds to what is there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = not path.exists()
    with closing(sqlite3.connect(path)) as database, database:
        if new:
            database.execute("PRAGMA journal_mode = WAL")
            database.executescript(schema)
        for table, rows in (("sessions", sessions), ("calls", calls)):
            for row in rows:
                names, marks = ", ".join(row), ", ".join("?" * len(row))
                database.execute(f"INSERT INTO {table} ({names}) VALUES ({marks})", [*row.values()])
    return path


def change(path: Path, sql: str, *values: object) -> None:
    """Do something to a database as its own program would."""
    with closing(sqlite3.connect(path)) as database, database:
        database.execute(sql, values)


def record(number: int, cost: object = "0.25", **more: Any) -> dict[str, Any]:
    """One of the calls in a line of the run log."""
    return {
        "call_index": number,
        "model_requested": "gpt-5",
        "model_used": "gpt-5",
        "prompt_tokens": 1000,
        "completion_tokens": 50,
        "cost_usd": cost,
        "rerouted": False,
        "elapsed_ms": 0.0,
        "stage": "plan",
        "actor_type": "parent_agent",
        "actor_id": None,
        "actor_name": None,
        "parent_call_id": None,
        **more,
    }


def line(number: int, records: Iterable[Mapping[str, Any]], *, budget: object = 1.5, **more: Any) -> dict[str, Any]:
    """A line of the run log."""
    listed = [*records]
    return {
        "run_id": f"session_windsurf_2026-05-02_{number:08x}",
        "policy": policy(budget),
        "calls_made": len(listed),
        "savings_usd": "0",
        "records": listed,
        "source": "mcp",
        "savings_confidence": "estimate_only",
        **more,
    }


def write_log(path: Path, lines: Iterable[Mapping[str, Any] | bytes]) -> Path:
    """A run log of these lines; bytes are written as they are."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        for each in lines:
            file.write(each if isinstance(each, bytes) else json.dumps(each).encode() + b"\n")
    return path
