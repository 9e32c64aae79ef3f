"""`python -m bench [name...]`: run the named programs, or all but the long race, one after the other."""

from __future__ import annotations

import argparse
import importlib
import sys

NAMES = (
    "start",
    "ledger",
    "authorize",
    "hook",
    "end",
    "size",
    "answers",
    "ingest",
    "first_read",
    "verify",
    "replay",
    "house",
    "race",
)
BY_DEFAULT = ("start", "ledger", "authorize", "hook", "end", "size", "answers", "ingest", "verify", "replay", "house")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="name", help=", ".join(NAMES))
    parser.add_argument("--quick", action="store_true", help="fewer rounds and a smaller ledger")
    chosen, others = parser.parse_known_args()
    if unknown := [name for name in chosen.names if name not in NAMES]:
        parser.error(f"no program {unknown[0]!r}; there are {', '.join(NAMES)}")
    failed = 0
    for name in chosen.names or BY_DEFAULT:
        program = importlib.import_module(f"bench.{name}")
        failed += program.main([*(["--quick"] if chosen.quick else []), *others])
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
