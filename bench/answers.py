"""What the answers of usual conversations cost their model: tokens of every answer, by tool and in all.

The flows are what rules written for l6e-mcp ask an agent to do; `--beside COMMAND` plays the same ones to another
server of those tools, in the same run.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from bench.figures import stated
from bench.wire import SERVE, Server, environment
from tallygate.pricing.tokens import count_tokens

# 1.08 times what l6e-mcp 0.8.5 answers to these, which is 8,105 by the same count, and explains no halt.
TOKENS_MAX = 8_750
SAID_MAX = 30_000

State = dict[str, str]
Arguments = Callable[[State], dict[str, Any]]
Step = tuple[str, Arguments]


def start(budget: str = "5.00", **more: Any) -> Step:
    given = {"budget_usd": json.loads(budget), "model": "gpt-4o", "client": "cursor", **more}
    return "l6e_run_start", lambda _: given


def ask(prompt: int = 8_000, completion: int = 900, **more: Any) -> Step:
    given = {"tool_name": "edit", "estimated_prompt_tokens": prompt, "estimated_completion_tokens": completion, **more}
    return "l6e_authorize_call", lambda state: {"session_id": state["session_id"], **given}


def look(**more: Any) -> Step:
    return "l6e_authorize_call", lambda state: {
        "session_id": state["session_id"],
        "tool_name": "edit",
        "check_only": True,
        **more,
    }


def used(prompt: int = 7_400, completion: int = 650, **more: Any) -> Step:
    given = {"actual_prompt_tokens": prompt, "actual_completion_tokens": completion, **more}
    return "l6e_record_usage", lambda state: {"call_id": state["call_id"], **given}


def end(**more: Any) -> Step:
    return "l6e_run_end", lambda state: {"session_id": state["session_id"], **more}


FLOWS: Mapping[str, tuple[Step, ...]] = {
    "one step, reported": (start(), ask(), used(), end()),
    "one step, not reported": (start(), ask(), end()),
    "five steps, reported": (start(), *(ask(), used()) * 5, end(task_summary="Renamed a module")),
    "ten steps, not reported": (start(), *(ask(),) * 10, end()),
    "ten steps, reported": (start(), *(ask(), used()) * 10, end()),
    "the state between steps": (start(), ask(), look(), ask(), look(), end()),
    "the state at the start": (start(), look(), end()),
    "a step that is too dear": (start("0.01"), ask(900_000, 9_000), end()),
    "halted after spending": (start("0.05"), ask(), used(), ask(), used(), ask(), ask(), end()),
    "asked again after a halt": (start("0.02"), ask(90_000), ask(90_000), look(), end()),
    "near the limit": (start("0.04"), ask(), used(), ask(1_000, 100), end()),
    "a step that did not happen": (start(), ask(), used(0, 0, void_reason="The file was gone"), end()),
    "cached tokens": (start(), ask(), used(600, 500, cache_read_tokens=40_000, cache_write_tokens=2_000), end()),
    "reported twice": (start(), ask(), used(), used(), end()),
    "another model": (start(), ask(model="gpt-4o-mini"), used(model_used="gpt-4o-mini"), end()),
    "a model without a price": (start(model="no-such-model-9"), ask(), end()),
    "a subagent": (start(), ask(actor_type="subagent", actor_id="s1", actor_name="search"), used(), end()),
    "usage that already happened": (start(), ask(actual_prompt_tokens=5_000, actual_completion_tokens=300), end()),
    "modes": (start(), ask(call_mode="plan"), used(), ask(call_mode="agent"), used(), end()),
    "exact accounting": (start(accounting_mode="exact_optional", agent_mode_exact_capable=True), ask(), used(), end()),
    "a session that is not there": (("l6e_authorize_call", lambda _: {"session_id": "gone", "tool_name": "edit"}),),
    "ended twice": (start(), ask(), used(), end(), end()),
}


def played(argv: list[str], home: Path, environ: Mapping[str, str]) -> list[tuple[str, str, str]]:
    """Every answer of every flow as its model reads it: flow, tool, text."""
    answers: list[tuple[str, str, str]] = []
    for number, (flow, steps) in enumerate(FLOWS.items()):
        with Server(argv, home / str(number), environ=environ, quiet=True) as server:
            server.greet()
            state: State = {}
            for tool, given in steps:
                result = server.request("tools/call", {"name": tool, "arguments": given(state)})
                text = "".join(part.get("text", "") for part in result["content"])
                answers.append((flow, tool, text))
                state |= {name: found for name, found in known(text).items() if isinstance(found, str)}
    return answers


def known(text: str) -> dict[str, Any]:
    """The ids in an answer, which the next step names."""
    try:
        answer = json.loads(text)
    except ValueError:
        return {}
    return {name: answer[name] for name in ("session_id", "call_id") if name in answer}


def tokens(text: str) -> int:
    return count_tokens(text, "gpt-5", os.environ).tokens


def told(name: str, answers: list[tuple[str, str, str]]) -> int:
    """Print what the answers of one server cost, by tool; returns the sum."""
    by_tool: Counter[str] = Counter()
    for _, tool, text in answers:
        by_tool[tool] += tokens(text)
    total = by_tool.total()
    parts = ", ".join(f"{tool} {count:,}" for tool, count in by_tool.most_common())
    print(f"  {name}: {total:,} tokens in {len(answers)} answers of {len(FLOWS)} flows ({parts})")
    return total


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench answers", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="the same: it takes seconds")
    parser.add_argument("--show", action="store_true", help="print the answers")
    parser.add_argument("--beside", metavar="COMMAND", help="another server of the same tools")
    chosen = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="tallygate-bench-") as name:
        home = Path(name)
        ours = played(SERVE, home / "ours", environment(home / "home"))
        print(f"answers, counted by {count_tokens('a', 'gpt-5', os.environ).method}")
        total = told("tallygate", ours)
        others = []
        if chosen.beside:
            others = played(shlex.split(chosen.beside), home / "other", environment(home / "theirs"))
            told("the other", others)
    if chosen.show:
        for flow, tool, text in [*ours, *others]:
            print(json.dumps({"flow": flow, "tool": tool, "tokens": tokens(text), "text": text[:SAID_MAX]}))
    flows = f"answers of {len(FLOWS)} usual conversations"
    return stated("size", flows, f"{total:,} tokens", f"<= {TOKENS_MAX:,}", held=total <= TOKENS_MAX)
