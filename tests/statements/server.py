"""Billing APIs of three providers on loopback: they hold what was used, and answer as it is documented.

What is held is grouped as it is asked for, cut into day buckets and pages. `faults` come first, each for one question.
"""

from __future__ import annotations

import base64
import json
import ssl
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

KEY = "sk-test-0123456789abcdef"
DAY = timedelta(days=1)
Row = dict[str, Any]
_TICK = timedelta(microseconds=1)
_ANALYTICS = (
    "product", "model", "context_window", "inference_geo", "speed", "service_tier", "workspace_id", "api_key_id",
    "actor", "actor_type", "cost_type", "token_type",
)  # fmt: skip
_ANNA = {"type": "user_actor", "user_id": "user_01", "email_address": "anna@example.com", "name": "A", "deleted": False}


@dataclass(frozen=True)
class Fault:
    """One answer that is not the documented one. `hangs` waits until the server is closed."""

    status: int = 200
    body: bytes = b"{}"
    headers: Mapping[str, str] = field(default_factory=dict)
    length: int | None = None
    hangs: bool = False


@dataclass
class BillServer:
    """What the providers hold: rows with a `day`, and with every field that they can be grouped by."""

    today: date
    url: str = ""
    key: str = KEY
    page_days: int = 31
    page_rows: int = 1000
    analytics: bool = True
    anthropic_usage: list[Row] = field(default_factory=list)
    anthropic_costs: list[Row] = field(default_factory=list)
    openai_usage: list[Row] = field(default_factory=list)
    openai_costs: list[Row] = field(default_factory=list)
    openrouter: list[Row] = field(default_factory=list)
    faults: deque[Fault] = field(default_factory=deque)
    asked: list[tuple[str, dict[str, list[str]]]] = field(default_factory=list)
    released: threading.Event = field(default_factory=threading.Event)

    def answer(self, path: str, query: dict[str, list[str]], headers: Mapping[str, str]) -> tuple[int, Any]:
        """The status and the document for one question."""
        reports: dict[str, Callable[[dict[str, list[str]]], tuple[int, Any]]] = {
            "/v1/organizations/usage_report/messages": self._anthropic_usage,
            "/v1/organizations/cost_report": self._anthropic_costs,
            "/v1/organizations/analytics/usage": self._analytics_usage,
            "/v1/organizations/analytics/cost": self._analytics_costs,
            "/v1/organization/usage/completions": self._openai_usage,
            "/v1/organization/costs": self._openai_costs,
            "/api/v1/activity": self._openrouter,
        }
        if path not in reports:
            return 404, {"error": {"message": f"no such path {path}"}}
        if "/organizations/" in path:
            known = headers.get("x-api-key") == self.key and headers.get("anthropic-version") == "2023-06-01"
        else:
            known = headers.get("authorization") == f"Bearer {self.key}"
        if known and "/analytics/" in path:
            if not self.analytics:
                return 403, {"error": {"type": "permission_error", "message": "this key may not read analytics"}}
            if headers.get("anthropic-beta") != "analytics-usage-cost-2026-08-24":
                return 400, {"error": {"type": "invalid_request_error", "message": "this endpoint is in beta"}}
        if not known:
            return 401, {"error": {"message": f"invalid key: {headers.get('x-api-key')}"}}
        return reports[path](query)

    def _anthropic_usage(self, query: dict[str, list[str]]) -> tuple[int, Any]:
        groups = ("model", "api_key_id", "workspace_id", "service_tier", "context_window")
        counts = ("uncached_input_tokens", "cache_read_input_tokens", "hour", "five", "output_tokens")

        def row(names: Row, sums: Row) -> Row:
            creation = {"ephemeral_1h_input_tokens": sums["hour"], "ephemeral_5m_input_tokens": sums["five"]}
            told = {name: sums[name] for name in counts if name not in {"hour", "five"}}
            tools = {"web_search_requests": 0}
            return {**names, **told, "cache_creation": creation, "server_tool_use": tools, "account_id": None}

        return self._anthropic(query, self.anthropic_usage, groups, counts, row)

    def _anthropic_costs(self, query: dict[str, list[str]]) -> tuple[int, Any]:
        described = (
            "description", "cost_type", "model", "token_type", "service_tier", "context_window", "inference_geo",
        )  # fmt: skip

        def row(names: Row, sums: Row) -> Row:
            return {**names, "currency": "USD", "amount": str(sums["cents"])}

        if "description" in query.get("group_by[]", []):
            query = {**query, "group_by[]": [*query["group_by[]"], *described[1:]]}
        return self._anthropic(query, self.anthropic_costs, ("workspace_id", *described), ("cents",), row)

    def _anthropic(self, query: Any, held: list[Row], groups: Any, counts: Any, row: Any) -> tuple[int, Any]:
        since = datetime.fromisoformat(query["starting_at"][0])
        until = datetime.fromisoformat(query["ending_at"][0]) if "ending_at" in query else None
        if query["bucket_width"] != ["1d"] or not 1 <= int(query["limit"][0]) <= 31:
            return 400, {"error": {"type": "invalid_request_error", "message": "limit: at most 31 for 1d"}}
        days, following = self._days(query, since, until, int(query["limit"][0]))
        buckets = [
            {
                "starting_at": f"{day}T00:00:00Z",
                "ending_at": f"{day + DAY}T00:00:00Z",
                "results": self._grouped(query, held, day, groups, counts, row),
            }
            for day in days
        ]
        return 200, {"data": buckets, "has_more": following is not None, "next_page": following}

    def _analytics_usage(self, query: dict[str, list[str]]) -> tuple[int, Any]:
        counts = ("uncached_input_tokens", "cache_read_input_tokens", "hour", "five", "output_tokens")

        def told(sums: Row) -> Row:
            creation = {"ephemeral_1h_input_tokens": sums["hour"], "ephemeral_5m_input_tokens": sums["five"]}
            found = {name: sums[name] for name in counts if name not in {"hour", "five"}}
            total = {"total_tokens": sum(sums.values()), "requests": 3, "server_tool_use": {"web_search_requests": 0}}
            return {"usage": {**found, "cache_creation": creation, **total}}

        return self._analytics(query, self.anthropic_usage, counts, told, frozenset())

    def _analytics_costs(self, query: dict[str, list[str]]) -> tuple[int, Any]:
        def told(sums: Row) -> Row:
            cents = str(sums["cents"])
            return {"cost": {"amount": cents, "list_amount": cents, "currency": "USD", "requests": None}}

        return self._analytics(query, self.anthropic_costs, ("cents",), told, frozenset({"cost_type", "token_type"}))

    def _analytics(self, query: Any, held: list[Row], counts: Any, told: Any, free: Any) -> tuple[int, Any]:
        """Rows of a day each, of every combination that was asked for: at most 31 days and 5 dimensions at a time."""
        since, until = (datetime.fromisoformat(query[name][0]) for name in ("starting_at", "ending_at"))
        groups, limit = query.get("group_by[]", []), int(query.get("limit", ["20"])[0])
        ahead = until > datetime.combine(self.today + DAY, time(), UTC)
        early = since.date() < max(date(2026, 1, 1), self.today - 365 * DAY)
        far = until - since > 31 * DAY or len(set(groups) - free) > 5 or not 1 <= limit <= 1000
        if ahead or early or far or query["time_bucket_width"] != ["1d"] or set(groups) - {*_ANALYTICS}:
            return 400, {"error": {"type": "invalid_request_error", "message": "no such question"}}
        rows = []
        for day in sorted({row["day"] for row in held if since.date() <= row["day"] < (until - _TICK).date() + DAY}):
            found: dict[str, tuple[Row, Row]] = {}
            for each in (row for row in held if row["day"] == day):
                group = {name: each.get(name) if name in groups else None for name in _ANALYTICS}
                _, sums = found.setdefault(json.dumps(group), (group, dict.fromkeys(counts, 0)))
                for name in counts:
                    sums[name] += each[name]
            span = {"starting_at": f"{day}T00:00:00Z", "ending_at": f"{day + DAY}T00:00:00Z"}
            rows += [{**span, "group": group, **told(sums)} for group, sums in found.values()]
        first = int(query["page"][0].removeprefix("page_")) if "page" in query else 0
        last = first + min(limit, self.page_rows)
        following = f"page_{last}" if last < len(rows) else None
        page = {
            "has_more": following is not None,
            "next_page": following,
            "data_refreshed_at": f"{self.today}T11:00:00Z",
        }
        return 200, {"data": rows[first:last], **page}

    def _openai_usage(self, query: dict[str, list[str]]) -> tuple[int, Any]:
        groups = ("model", "api_key_id", "project_id", "user_id", "batch", "service_tier")
        counts = ("input_tokens", "input_cached_tokens", "output_tokens", "num_model_requests")

        def row(names: Row, sums: Row) -> Row:
            return {"object": "organization.usage.completions.result", **names, **sums}

        return self._openai(query, self.openai_usage, groups, counts, row, 31)

    def _openai_costs(self, query: dict[str, list[str]]) -> tuple[int, Any]:
        def row(names: Row, sums: Row) -> Row:
            amount = {"value": _Literal(sums["value"]), "currency": "usd"}
            return {"object": "organization.costs.result", "amount": amount, **names}

        return self._openai(query, self.openai_costs, ("line_item", "project_id", "api_key_id"), ("value",), row, 180)

    def _openai(self, query: Any, held: list[Row], groups: Any, counts: Any, row: Any, longest: int) -> tuple[int, Any]:
        since = datetime.fromtimestamp(int(query["start_time"][0]), UTC)
        until = datetime.fromtimestamp(int(query["end_time"][0]), UTC) if "end_time" in query else None
        if query["bucket_width"] != ["1d"] or not 1 <= int(query["limit"][0]) <= longest:
            return 400, {"error": {"message": f"limit: at most {longest} for 1d"}}
        days, following = self._days(query, since, until, int(query["limit"][0]))
        buckets = [
            {
                "object": "bucket",
                "start_time": _seconds(day),
                "end_time": _seconds(day + DAY),
                "results": self._grouped(query, held, day, groups, counts, row),
            }
            for day in days
        ]
        return 200, {"object": "page", "data": buckets, "has_more": following is not None, "next_page": following}

    def _openrouter(self, _: dict[str, list[str]]) -> tuple[int, Any]:
        kept = [row for row in self.openrouter if self.today - 30 * DAY <= row["day"] < self.today]
        told = [{"date": f"{row['day']}", **{name: row[name] for name in row if name != "day"}} for row in kept]
        return 200, {"data": told}

    def _days(self, query: Any, since: datetime, until: datetime | None, limit: int) -> tuple[list[date], str | None]:
        first, last = since.date(), self.today if until is None else until.date() - DAY
        if "page" in query:
            first = date.fromisoformat(base64.b64decode(query["page"][0].removeprefix("page_")).decode())
        size = min(limit, self.page_days)
        days = [first + number * DAY for number in range((last - first).days + 1)]
        cursor = base64.b64encode(f"{first + size * DAY}".encode()).decode()
        return days[:size], f"page_{cursor}" if len(days) > size else None

    def _grouped(self, query: Any, held: list[Row], day: date, groups: Any, counts: Any, row: Any) -> list[Row]:
        asked = query.get("group_by[]", [])
        found: dict[tuple[Any, ...], Row] = {}
        for each in held:
            if each["day"] == day:
                names = tuple(each.get(name) if name in asked else None for name in groups)
                sums = found.setdefault(names, dict.fromkeys(counts, 0))
                for name in counts:
                    sums[name] += each[name]
        return [row(dict(zip(groups, names, strict=True)), sums) for names, sums in found.items()]


class _Literal(float):
    """An amount that is written into JSON digit for digit."""

    def __new__(cls, text: object) -> Self:
        made = super().__new__(cls, 0)
        made.text = format(text, "f") if isinstance(text, Decimal) else str(text)
        return made

    def __repr__(self) -> str:
        return self.text


def _seconds(day: date) -> int:
    return int(datetime.combine(day, time(), UTC).timestamp())


def _dumped(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(name)}: {_dumped(each)}" for name, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_dumped, value)) + "]"
    return repr(value) if isinstance(value, _Literal) else json.dumps(value)


@contextmanager
def serving(today: date, certificate: Path | None = None) -> Iterator[BillServer]:
    """A server on a free port of this machine, as long as the block runs; with a certificate one by https."""
    held = BillServer(today)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            query = parse_qs(parts.query)
            held.asked.append((parts.path, query))
            if held.faults:
                self.fail(held.faults.popleft())
                return
            status, document = held.answer(parts.path, query, {k.lower(): v for k, v in self.headers.items()})
            self.send(status, _dumped(document).encode(), {})

        def fail(self, fault: Fault) -> None:
            if fault.hangs:
                held.released.wait(30)
                self.close_connection = True
                return
            self.send(fault.status, fault.body, fault.headers, fault.length)

        def send(self, status: int, body: bytes, headers: Mapping[str, str], length: int | None = None) -> None:
            self.send_response(status)
            for name, value in {"content-type": "application/json", **headers}.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(body) if length is None else length))
            self.end_headers()
            try:
                self.wfile.write(body)
            except OSError:
                self.close_connection = True
            if length is not None:
                self.close_connection = True

        def log_message(self, *_: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: Any) -> None:
            """A client that has heard enough hangs up."""

    server = Server(("127.0.0.1", 0), Handler)
    held.url = f"http://127.0.0.1:{server.server_address[1]}"
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        held.url = held.url.replace("http:", "https:")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield held
    finally:
        held.released.set()
        server.shutdown()
        thread.join()
        server.server_close()


def used_in_march(server: BillServer) -> None:
    """Forty days of use at all three providers, with odd cents, credits, caches, tools and a key of one's own."""
    for number in range(40):
        day = server.today - number * DAY
        for model, key in (("claude-opus-4-6", "apikey_01"), ("claude-haiku-4-5", None)):
            names = {"day": day, "model": model, "api_key_id": key, "workspace_id": "wrkspc_01" if key else None}
            names["actor"] = {"type": "api_actor", "api_key_id": key} if key else _ANNA
            for tier in ("standard", "batch"):
                counts = (1500 + number, 200_000, 1000, 500, 700 + number)
                fields = ("uncached_input_tokens", "cache_read_input_tokens", "hour", "five", "output_tokens")
                server.anthropic_usage.append({**names, "service_tier": tier, **dict(zip(fields, counts, strict=True))})
            for kind in ("uncached_input_tokens", "cache_creation.ephemeral_1h_input_tokens", "output_tokens"):
                what = {"description": f"{model} {kind}", "cost_type": "tokens", "token_type": kind}
                cents = Decimal("123.78912") + number
                server.anthropic_costs.append({**names, **what, "service_tier": "standard", "cents": cents})
        search = {"description": "Web Search Usage", "cost_type": "web_search", "cents": Decimal("-0.5")}
        server.anthropic_costs.append({"day": day, **search})
        mine = {"day": day, "project_id": "proj_abc", "api_key_id": "key_1"}
        counts = {"input_tokens": 9000, "input_cached_tokens": 8000 - number, "output_tokens": 500}
        server.openai_usage.append({**mine, "model": "gpt-5.2", **counts, "num_model_requests": 5})
        for item in ("gpt-5.2, input", "gpt-5.2, cached input", "gpt-5.2, output", "web search tool calls"):
            server.openai_costs.append({**mine, "line_item": item, "value": Decimal("0.060000001") * (number + 1)})
        server.openrouter.append(
            {
                "day": day,
                "model": "openai/gpt-4.1",
                "model_permaslug": "openai/gpt-4.1-2025-04-14",
                "endpoint_id": "550e8400-e29b-41d4-a716-446655440000",
                "provider_name": "OpenAI",
                "usage": _Literal("0.015"),
                "byok_usage_inference": _Literal("0.012") if number % 2 else 0,
                "requests": 5,
                "prompt_tokens": 50,
                "completion_tokens": 125,
                "reasoning_tokens": 25,
            }
        )
