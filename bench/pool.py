"""The quantiles that a session's forecast begins with: total over spent at a call number, of recorded sessions.

    python -m bench.pool STEPS.tsv.gz ...

Each table has a row a response: where it comes from, its session, its time and cost. What is printed goes into
src/tallygate/core/forecast.py by hand; nothing else of the tables is shipped.
"""

from __future__ import annotations

import csv
import gzip
import sys
from collections import defaultdict
from collections.abc import Iterable, Sequence
from decimal import Decimal
from pathlib import Path

# Call numbers at which a session is looked at, and the shares of sessions that end below.
AT = (5, 10, 20, 30, 50, 100, 200)
SHARES = (10, 30, 50, 70, 90)
_NANOS = 10**9
_MILLION = 10**6


def sessions_in(paths: Iterable[Path]) -> list[list[int]]:
    """The costs of each session's responses in nano-dollars, in their order, sessions by their beginning."""
    found: dict[tuple[str, str, str], list[tuple[str, int]]] = defaultdict(list)
    for path in paths:
        with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file, delimiter="\t"):
                cost = int(Decimal(row["cost"]) * _NANOS)
                found[row["src"], row["project"], row["session"]].append((row["ts"], cost))
    ordered = sorted((sorted(steps) for steps in found.values()), key=lambda steps: steps[0])
    return [[cost for _, cost in steps] for steps in ordered]


def ratios_at(sessions: Iterable[Sequence[int]], number: int) -> list[int]:
    """By how many millionths each session that got so far ended above what it had spent there."""
    found = []
    for costs in sessions:
        spent = sum(costs[:number])
        if len(costs) > number and spent > 0:
            found.append(sum(costs) * _MILLION // spent)
    return sorted(found)


def quantile(ordered: Sequence[int], percent: int) -> int:
    """The value that so many per cent are at or below."""
    return ordered[min(max(-(-len(ordered) * percent // 100) - 1, 0), len(ordered) - 1)]


def main(arguments: list[str]) -> int:
    sessions = sessions_in(map(Path, arguments))
    print(f"# {len(sessions)} sessions, {sum(map(len, sessions))} responses")
    for number in AT:
        ratios = ratios_at(sessions, number)
        row = ", ".join(f"{quantile(ratios, share):_}" for share in SHARES) if ratios else ""
        print(f"    {number}: ({row}),  # {len(ratios)} sessions")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
