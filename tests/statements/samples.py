"""Small bills in tests/usage/bills, made by hand from documented headers, and the lines that each of them holds.

`lines.txt` there has every file with its format, and below it each line: its number in the file, its grain and time,
who bills it, and what else the bill says of it. What a bill does not say is not there.
"""

from __future__ import annotations

from pathlib import Path

from tallygate.core.money import exact_text
from tallygate.core.statements import BillLine

SAMPLES = Path(__file__).parent / "bills"
TABLE = SAMPLES / "lines.txt"
EMPTY = SAMPLES / "openai_usage_empty.csv"
FILES = sorted(path for path in SAMPLES.iterdir() if path.suffix in {".csv", ".json"} and path != EMPTY)


def told(line: BillLine) -> str:
    """A line as the table has it."""
    tokens = line.tokens
    said = {
        "until": line.until and when(line.until),
        "model": line.model,
        "fresh": tokens.fresh_input,
        "cached": tokens.cache_read,
        "written": tokens.cache_write,
        "output": tokens.output,
        "read": tokens.read,
        "cost": None if line.cost_nanos is None else exact_text(line.cost_nanos),
        "requests": line.requests,
        "class": line.token_class,
        "id": line.request_id,
        "key": line.key,
        "workspace": line.workspace,
    }
    parts = [f"{name}={value}" for name, value in said.items() if value is not None]
    return "; ".join([f"{line.number} {line.grain} {when(line.at)} {line.provider} {line.billing}", *parts])


def when(at) -> str:
    return at.replace(tzinfo=None).isoformat().removesuffix("T00:00:00").removesuffix(":00")


def expected() -> dict[str, tuple[str, list[str]]]:
    """The format and the lines of each file."""
    found: dict[str, tuple[str, list[str]]] = {}
    for block in TABLE.read_text(encoding="utf-8").strip().split("\n\n"):
        head, *lines = block.splitlines()
        name, form = head.split(": ")
        found[name] = (form, lines)
    return found
