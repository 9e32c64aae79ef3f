"""The session of `tallygate demo`: what a client asks, what has to be answered, and how both are told."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TextIO

import tallygate
from tallygate.core.money import format_amount, parse_amount_nanos

if TYPE_CHECKING:
    from mcp import Client

MODEL, CHEAPER = "claude-opus-4.7", "claude-haiku-4.5"
SETTINGS = f"""\
# The models to fall back to, dearest first: what makes a reroute name its target.
[ladder]
default = ["{MODEL}", "claude-sonnet-4.6", "{CHEAPER}"]
"""
SECONDS_MAX = 60


class DemoFailed(Exception):
    """A step was not answered as it has to be."""


@dataclass(frozen=True, slots=True)
class Step:
    """One tool call as it is told."""

    name: str
    asked: str
    answered: str
    left_nanos: int | None


@dataclass(slots=True)
class Talk:
    """What was said, and the first answer that was wrong."""

    steps: list[Step] = field(default_factory=list)
    session_id: str = ""
    halt_message: str = ""
    failure: str | None = None


async def talk_to_server(environ: Mapping[str, str], log: TextIO) -> Talk:
    """Start a server as a client does, and hold one session with it over stdio."""
    import anyio
    from mcp import Client, StdioServerParameters, stdio_client
    from mcp.types import Implementation

    server = StdioServerParameters(command=sys.executable, args=["-P", "-m", "tallygate", "serve"], env=dict(environ))
    who = Implementation(name="tallygate-demo", version=tallygate.__version__)
    talk = Talk()
    with anyio.fail_after(SECONDS_MAX):
        async with Client(stdio_client(server, errlog=log), client_info=who) as client:
            try:
                await _session(client, talk)
            except DemoFailed as failure:
                talk.failure = str(failure)
    return talk


async def _session(client: Client, talk: Talk) -> None:
    """A session that meets every answer of the gate; the amounts are those of the model's list prices."""
    answer = await _ask(client, "l6e_run_start", budget_usd=1.00, model=MODEL, task_summary="Tallygate demo")
    talk.session_id = str(answer["session_id"])
    talk.steps.append(Step("start", f"$1.00 for {MODEL}", "session opened", 1_000_000_000))

    call = await _authorize(client, talk, "plan", (20_000, 2_000), expect="allow")
    await _record(client, talk, "plan", call, {"fresh": 6_000, "cache_read": 40_000, "output": 1_200})
    call = await _authorize(client, talk, "implement", (90_000, 12_000), expect="allow")
    await _record(client, talk, "implement", call, {"fresh": 30_000, "cache_read": 200_000, "output": 22_000})
    call = await _authorize(client, talk, "write tests", (8_000, 1_000), expect="reroute", agent="tester")
    await _record(client, talk, "write tests", call, {"fresh": 8_000, "output": 1_000}, model=CHEAPER)
    await _authorize(client, talk, "read everything", (120_000, 2_000), expect="halt")

    answer = await _ask(client, "l6e_run_end", session_id=talk.session_id, task_summary="All four answers seen")
    total, calls = _usd(answer["total_cost_usd"]), answer["calls_made"]
    _must(calls == 3 and total is not None and total > 0, f"3 calls and a cost, not {answer}")
    said = f"{calls} calls, {format_amount(total or 0)}, savings confidence {answer['savings_confidence']}"
    talk.steps.append(Step("end", "the session's totals", said, None))


async def _authorize(
    client: Client, talk: Talk, tool: str, tokens: tuple[int, int], *, expect: str, agent: str | None = None
) -> str:
    who = {} if agent is None else {"actor_type": "subagent", "actor_id": agent}
    answer = await _ask(
        client,
        "l6e_authorize_call",
        session_id=talk.session_id,
        tool_name=tool,
        estimated_prompt_tokens=tokens[0],
        estimated_completion_tokens=tokens[1],
        **who,
    )
    said = str(answer["action"])
    _must(said == expect, f"{tool}: {expect}, not {said} ({answer['reason']})")
    if said == "reroute":
        _must(answer.get("target_model") == CHEAPER, f"{tool}: the target {CHEAPER}, not {answer.get('target_model')}")
        said += f" to {CHEAPER}"
    if said == "halt":
        talk.halt_message = str(answer.get("message", ""))
        _must("call_id" not in answer and "tallygate budget raise" in talk.halt_message, f"{tool}: a way to go on")
        said += f" ({answer['reason']})"
    asked = f"{tool}? {_thousands(tokens[0])} in, {_thousands(tokens[1])} out"
    talk.steps.append(Step("ask", asked, said, _usd(answer["remaining_usd"])))
    return str(answer.get("call_id", ""))


async def _record(
    client: Client, talk: Talk, tool: str, call_id: str, used: Mapping[str, int], *, model: str = MODEL
) -> None:
    answer = await _ask(
        client,
        "l6e_record_usage",
        call_id=call_id,
        actual_prompt_tokens=used["fresh"],
        actual_completion_tokens=used["output"],
        cache_read_tokens=used.get("cache_read", 0),
        model_used=model,
    )
    _must(answer["exactness_state"] == "exact_recorded", f"{tool}: exact usage, not {answer['exactness_state']}")
    cached = f" + {_thousands(used['cache_read'])} cached" if "cache_read" in used else ""
    asked = f"{tool}: {_thousands(used['fresh'])}{cached} in, {_thousands(used['output'])} out"
    said = f"recorded, {format_amount(_usd(answer['spend_so_far_usd']) or 0)} spent"
    talk.steps.append(Step("record", asked, said, _usd(answer["remaining_usd"])))


async def _ask(client: Client, tool: str, **arguments: Any) -> dict[str, Any]:
    result = await client.call_tool(tool, arguments)
    answer = result.structured_content
    _must(not result.is_error and answer is not None, f"{tool}: an answer, not {answer}")
    return dict(answer or {})


def _thousands(tokens: int) -> str:
    return f"{tokens / 1000:g}k"


def _usd(value: Any) -> int | None:
    return None if value is None else parse_amount_nanos("amount", value, allow_zero=True)


def _must(condition: bool, wanted: str) -> None:
    if not condition:
        raise DemoFailed(f"Expected {wanted}.")
