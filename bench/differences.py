"""Print where our token totals differ from the other tool's on the same transcripts, each with its reason.

    PYTHONPATH=src python bench/differences.py [CORPUS]

A reason is not asserted but computed: a difference counts as explained only where the tokens it names are
exactly the tokens that differ. Anything else is printed as UNEXPLAINED and makes the exit code 1.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from tallygate.clients.claude_code import client as claude_code
from tallygate.clients.reading.files import TranscriptFile
from tallygate.clients.registry import REGISTRY
from tallygate.core.usage import ObservedUsage, Quality, merged

ROOT = Path(__file__).resolve().parent.parent
CLASSES = ("fresh", "written", "read", "output")
Counts = tuple[int, int, int, int]
NONE: Counts = (0, 0, 0, 0)
PROGRESS = "subagent calls that stand only in agent_progress rows: the other tool's sessions leave them out"


def counts_of(row: ObservedUsage) -> Counts:
    tokens = row.tokens
    return tokens.fresh_input, tokens.cache_write_5m + tokens.cache_write_1h, tokens.cache_read, tokens.output


def plus(one: Counts, other: Counts, sign: int = 1) -> Counts:
    return tuple(a + sign * b for a, b in zip(one, other, strict=True))  # type: ignore[return-value]


def summed(rows: Iterable[ObservedUsage]) -> Counts:
    total = NONE
    for row in rows:
        total = plus(total, counts_of(row))
    return total


def told_counts(item: dict[str, Any]) -> Counts:
    return item["inputTokens"], item["cacheCreationTokens"], item["cacheReadTokens"], item["outputTokens"]


def cells_of(items: list[dict[str, Any]], key: str) -> dict[str, Counts]:
    return {item[key]: told_counts(item) for item in items}


def rows_below(client: str, corpus: Path, folder: str, pattern: str) -> list[ObservedUsage]:
    read = REGISTRY.sources[client].read
    files = sorted((corpus / folder).rglob(pattern))
    batches = (batch for path in files for batch in read(TranscriptFile(client, path), None, None))
    return list(merged(row for batch in batches for row in batch.rows).values())


class Table:
    """Compares two sets of cells and prints each difference with the reason that accounts for it."""

    def __init__(self) -> None:
        self.unexplained = 0

    def compare(
        self,
        title: str,
        ours: dict[str, list[ObservedUsage]],
        told: dict[str, Counts],
        reasons: Callable[[str, Counts], str | None],
    ) -> None:
        mine = {key: summed(rows) for key, rows in ours.items()}
        whole, other = NONE, NONE
        for counts in mine.values():
            whole = plus(whole, counts)
        for counts in told.values():
            other = plus(other, counts)
        keys = sorted(mine.keys() | told.keys())
        lines: dict[str, tuple[int, Counts]] = {}
        for key in keys:
            difference = plus(mine.get(key, NONE), told.get(key, NONE), -1)
            if difference != NONE:
                reason = reasons(key, difference)
                if reason is None:
                    self.unexplained += 1
                    reason = f"UNEXPLAINED {key}"
                number, so_far = lines.get(reason, (0, NONE))
                lines[reason] = (number + 1, plus(so_far, difference))
        print(f"\n{title}: ours {sum(whole):,}, theirs {sum(other):,}, {len(keys)} cells")
        if not lines:
            print("  equal in every cell")
        for reason, (number, difference) in lines.items():
            parts = ", ".join(f"{name} {part:+,}" for name, part in zip(CLASSES, difference, strict=True) if part)
            print(f"  {number} cells, {parts or 'nothing in sum'}: {reason}")


def grouped(rows: Iterable[ObservedUsage], key: Callable[[ObservedUsage], str]) -> dict[str, list[ObservedUsage]]:
    groups: dict[str, list[ObservedUsage]] = defaultdict(list)
    for row in rows:
        groups[key(row)].append(row)
    return groups


def day(row: ObservedUsage) -> str:
    return row.at.date().isoformat()


def claude(table: Table, corpus: Path, told: Callable[[str], dict[str, Any]]) -> None:
    rows = rows_below("claude_code", corpus, "claude", "*.jsonl")
    sessions = grouped(rows, lambda row: row.session)

    def of_session(key: str, difference: Counts) -> str | None:
        progress = summed(row for row in sessions.get(key, []) if row.rule is claude_code.PROGRESS)
        return PROGRESS if difference == progress else None

    table.compare(
        "Claude Code by session",
        sessions,
        cells_of(told("ccusage_claude_session.json")["sessions"], "sessionId"),
        of_session,
    )
    days = cells_of(told("ccusage_claude_daily.json")["daily"], "date")
    table.compare("Claude Code by day", grouped(rows, day), days, lambda *_: None)
    models: dict[str, Counts] = defaultdict(lambda: NONE)
    for item in told("ccusage_claude_daily.json")["daily"]:
        for part in item["modelBreakdowns"]:
            models[part["modelName"]] = plus(models[part["modelName"]], told_counts(part))
    table.compare("Claude Code by model", grouped(rows, lambda row: row.model), models, lambda *_: None)
    partial = [row for row in rows if row.quality is Quality.PARTIAL]
    long = sum(row.tokens.cache_write_1h for row in rows)
    print(f"  not in their figures: {len(partial):,} of {len(rows):,} responses have no final usage")
    print(f"  not in their figures: {long:,} of the written tokens are one-hour writes, at twice the input price")


def codex(table: Table, corpus: Path, told: Callable[[str], dict[str, Any]]) -> None:
    rows = rows_below("codex", corpus, "codex", "*.jsonl")
    items = told("ccusage_codex_session.json")["sessions"]
    by_thread = {item["sessionFile"][-36:]: told_counts(item) for item in items}
    table.compare("Codex by thread", grouped(rows, lambda row: row.session), by_thread, lambda *_: None)
    days = cells_of(told("ccusage_codex_daily.json")["daily"], "date")
    table.compare("Codex by day", grouped(rows, day), days, lambda *_: None)


def gemini(table: Table, corpus: Path, told: Callable[[str], dict[str, Any]]) -> None:
    rows = rows_below("gemini", corpus, "gemini", "session-*.json*")
    sessions = grouped(rows, lambda row: row.session)
    days = grouped(rows, day)
    reason = "thoughts: in our output, because they are billed as output; the other tool adds them to the total only"

    def thoughts(groups: dict[str, list[ObservedUsage]]) -> Callable[[str, Counts], str | None]:
        return lambda key, found: (
            reason if found == (0, 0, 0, sum(row.reasoning for row in groups.get(key, []))) else None
        )

    table.compare(
        "Gemini by session",
        sessions,
        cells_of(told("ccusage_gemini_session.json")["sessions"], "sessionId"),
        thoughts(sessions),
    )
    table.compare("Gemini by day", days, cells_of(told("ccusage_gemini_daily.json")["daily"], "date"), thoughts(days))


def main() -> int:
    corpus = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT.parent / "shared" / "corpus"
    if not (corpus / "ccusage_claude_daily.json").exists():
        print(f"No corpus at {corpus}.")
        return 2
    table = Table()
    for part in (claude, codex, gemini):
        part(table, corpus, lambda name: json.loads((corpus / name).read_text(encoding="utf-8")))
    print(f"\n{table.unexplained} differences without a reason")
    return 1 if table.unexplained else 0


if __name__ == "__main__":
    raise SystemExit(main())
