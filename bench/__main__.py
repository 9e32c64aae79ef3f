"""`python -m bench [name...]`: run the named programs, or all but the long race, one after the other."""

from __future__ import annotations

import argparse
import importlib
import os
import platform
import sqlite3
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from bench.figures import TABLE, Row
from bench.wire import ROOT

NAMES = (
    "start",
    "resident",
    "ledger",
    "authorize",
    "hook",
    "first_call",
    "end",
    "size",
    "answers",
    "ingest",
    "first_read",
    "verify",
    "scale",
    "replay",
    "house",
    "race",
)
# What takes long, or needs another program beside it, runs when it is named.
BY_DEFAULT = tuple(name for name in NAMES if name not in {"first_read", "race", "scale"})


# The line of the site's navigation that the page stands behind.
BEHIND = '    { "Architecture" = "architecture.md" },\n'
HEADS = ("figure", "floor", "measured", "spread", "goal", "")


def table() -> list[str]:
    """Every figure of this run as one Markdown table, a row each, under the title of its program."""
    lines = ["| " + " | ".join(HEADS) + " |", "|" + "---|" * len(HEADS)]
    title = ""
    for row in TABLE:
        if row.title != title:
            title = row.title
            lines.append(f"| **{title}** |" + " |" * (len(HEADS) - 1))
        lines.append("| " + " | ".join(_cells(row)) + " |")
    return lines


def _cells(row: Row) -> tuple[str, ...]:
    return (row.figure, row.floor, row.value, row.spread, row.goal, row.verdict)


PAGE = """# Performance

Figures are ratios: the thing and its floor are measured in the same run, in turns, so that a busy or a slow machine
moves both. `measured` is the median of the rounds, `spread` what lies between a tenth and nine tenths of them. A goal
that is missed says so. `make bench` takes the figures anew, `make bench ARGS="--page docs/performance.md"` writes this
page, and `make bench-peers` measures other programs of the field beside.

Taken on {day}, {cpus} cores, {system}, CPython {python}, SQLite {sqlite}, mcp {sdk}{quick}.

{table}
"""


def page(*, quick: bool) -> str:
    return PAGE.format(
        day=datetime.now(UTC).date(),
        cpus=len(os.sched_getaffinity(0)),
        system=f"{platform.system()} {platform.machine()}",
        python=platform.python_version(),
        sqlite=sqlite3.sqlite_version,
        sdk=version("mcp"),
        quick="; fewer rounds and smaller ledgers than the goals name" if quick else "",
        table="\n".join(table()),
    )


def list_page(written: Path, config: Path) -> None:
    """Have the page in the site's navigation, where it is one of the site's and stands in it not yet."""
    place, text = written.resolve(), config.read_text(encoding="utf-8")
    if not place.is_relative_to(config.resolve().parent):
        return
    name = place.relative_to(config.resolve().parent).as_posix()
    if f'"{name}"' not in text:
        config.write_text(text.replace(BEHIND, f'{BEHIND}    {{ "Performance" = "{name}" }},\n', 1), encoding="utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="name", help=", ".join(NAMES))
    parser.add_argument("--quick", action="store_true", help="fewer rounds and a smaller ledger")
    parser.add_argument(
        "--page", type=Path, help="write the table of this run into a page, such as docs/performance.md"
    )
    chosen, others = parser.parse_known_args()
    if unknown := [name for name in chosen.names if name not in NAMES]:
        parser.error(f"no program {unknown[0]!r}; there are {', '.join(NAMES)}")
    failed = 0
    for name in chosen.names or BY_DEFAULT:
        program = importlib.import_module(f"bench.{name}")
        failed += program.main([*(["--quick"] if chosen.quick else []), *others])
    if TABLE:
        print("\n" + "\n".join(table()))
    if chosen.page is not None:
        chosen.page.write_text(page(quick=chosen.quick), encoding="utf-8")
        list_page(chosen.page, ROOT / "docs" / "site.toml")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
