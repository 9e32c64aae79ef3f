"""How often loops are flagged on recorded sessions of Claude Code and Codex: `python -m bench.loops FOLDER...`.

Where the texts of a recording were taken out and only their lengths are left, those stand for them: calls that differ
then look alike, and the counts are an upper bound.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from tallygate.core.likeness import ToolRun, likeness_of, was_kept_back
from tallygate.core.loops import AgentTurn, Loop, took

KEY = b"bench"
Row = dict[str, Any]


def rows_of(path: Path) -> Iterator[Row]:
    """The rows of a transcript; what is none is passed over."""
    with path.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            try:
                row = json.loads(line)
            except ValueError:
                continue
            if isinstance(row, dict):
                yield row


def steps_of(rows: Iterable[Row]) -> Iterator[ToolRun | None]:
    """The tools of a session as they came through; None where a person wrote a prompt."""
    asked: dict[str, tuple[str, Any]] = {}
    for row in rows:
        message, payload = row.get("message"), row.get("payload")
        if isinstance(message, dict):
            yield from _claude(row, message, asked)
        elif isinstance(payload, dict):
            yield from _codex(payload, asked)


def _claude(row: Row, message: Row, asked: dict[str, tuple[str, Any]]) -> Iterator[ToolRun | None]:
    content = message.get("content")
    parts = [each for each in content if isinstance(each, dict)] if isinstance(content, list) else []
    for part in parts:
        if part.get("type") == "tool_use":
            asked[str(part.get("id"))] = (str(part.get("name")), part.get("input", {"len": part.get("len")}))
        elif part.get("type") == "tool_result" and (known := asked.pop(str(part.get("tool_use_id")), None)):
            gave = part.get("content", f"of length {part.get('len')}")
            yield ToolRun(known[0], known[1], gave, bool(part.get("is_error")))
    is_prompt = row.get("type") == "user" and not row.get("isMeta") and not row.get("isSidechain")
    if is_prompt and not any(part.get("type") == "tool_result" for part in parts):
        yield None


def _codex(payload: Row, asked: dict[str, tuple[str, Any]]) -> Iterator[ToolRun | None]:
    kind, call_id = str(payload.get("type")), str(payload.get("call_id"))
    if kind in {"function_call", "custom_tool_call"}:
        given = payload.get("arguments", payload.get("input", {"len": payload.get("len")}))
        asked[call_id] = (str(payload.get("name")), given)
    elif kind.endswith("_call_output") and (known := asked.pop(call_id, None)):
        yield ToolRun(known[0], known[1], payload.get("output", f"of length {payload.get('len')}"), None)
    elif kind == "user_message":
        yield None


def flagged(path: Path) -> tuple[int, list[Loop]]:
    """How many calls a session has, and what is told of them."""
    turn, calls, found = AgentTurn(), 0, []
    for run in steps_of(rows_of(path)):
        if run is None:
            turn = AgentTurn()
            continue
        calls += 1
        if not was_kept_back(run):
            turn, loop = took(turn, likeness_of(KEY, run), run.tool, calls)
            found += [] if loop is None else [loop]
    return calls, found


def main(folders: list[str]) -> int:
    """Print what is flagged, by tool and length."""
    files = sorted(path for folder in folders for path in Path(folder).rglob("*.jsonl"))
    calls, warned, looped = 0, 0, 0
    by: Counter[str] = Counter()
    for path in files:
        of_file, found = flagged(path)
        calls += of_file
        warned += any(not each.is_loop for each in found)
        looped += any(each.is_loop for each in found)
        for each in found:
            what = "loop" if each.is_loop else "warned"
            by[f"{what} {each.kind.value} {each.tool} x{each.times} in {each.calls} calls, at call {each.number}"] += 1
    print(f"{len(files):,} files, {calls:,} calls: {warned:,} files warned of, {looped:,} with a loop")
    for what, count in by.most_common(40):
        print(f"{count:5}  {what}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
