"""How near the price of an unlisted model comes to the real one, with older price lists as the lists of their day.

    python bench/unknown_models.py FOLDER...

Each FOLDER is an unpacked release of genai-prices, the oldest first (`pip download --no-deps genai-prices==0.1.8`, then
unzip). Every model that a later release lists and the one before does not is priced by the one before, as it would have
been on the day it came out. What counts is ten parts read to one written; models for images, voices and sorting, copies
of other makers' models, and ids that the older list already knows are left out.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tallygate.pricing.relatives import current, taken_apart

MAKERS = ("openai", "anthropic", "google", "x-ai", "deepseek", "mistral", "moonshotai", "zai", "minimax")
INPUT_PARTS = 10
# What runs in a process whose genai_prices is the older one: prices ids, and lists what its makers have.
ASK = """
import json, sys
from datetime import UTC, datetime
from tallygate.pricing.catalog import Catalog
from tallygate.pricing.identifiers import identify
at, catalog = datetime(2026, 11, 28, 12, tzinfo=UTC), Catalog()
def rates(price):
    return [price.rates.input_nanos, price.rates.output_nanos]
found = {}
for name in json.load(sys.stdin):
    known = identify(name)
    price = catalog.find(known, at, certain=True)
    if price is None:
        price = catalog.find(known, at, certain=False) or catalog.relative(known, at) or catalog.dearest(known, at)
        found[name] = None if price is None else [price.key, *rates(price)]
print(json.dumps({"listed": {f"{m.provider}:{m.id}": rates(m.price) for m in catalog.models(at)}, "asked": found}))
"""


def ask(release: str, names: list[str]) -> dict[str, Any]:
    """What a release lists, and what it says of names that it does not."""
    source = str(Path(__file__).resolve().parent.parent / "src")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", ASK],
        input=json.dumps(names),
        env={**os.environ, "PYTHONPATH": os.pathsep.join([release, source])},
        capture_output=True,
        text=True,
        check=True,
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def newcomers(before: dict[str, list[int]], after: dict[str, list[int]]) -> dict[str, list[int]]:
    """The models of each maker that came with a release, and what they really cost."""
    known = {key.partition(":")[2].lower().rpartition("/")[2] for key in before}
    found = {}
    for key, rates in after.items():
        maker, _, name = key.partition(":")
        foreign = "claude" in name and maker != "anthropic"
        if maker in MAKERS and not foreign and name.lower() not in known and current([(taken_apart(name), name)]):
            found[name] = rates
    return found


def main(releases: list[str]) -> int:
    rows = []
    lists = [ask(release, [])["listed"] for release in releases]
    for release, before, after in zip(releases, lists, lists[1:], strict=False):
        came = newcomers(before, after)
        guessed = ask(release, list(came))["asked"] if came else {}
        rows += [(name, came[name], guess) for name, guess in guessed.items()]
    near = cheap = 0
    for name, real, guess in rows[-40:]:
        ratio = 99.0 if guess is None else (INPUT_PARTS * guess[1] + guess[2]) / (INPUT_PARTS * real[0] + real[1])
        near += 1 / 3 <= ratio <= 3
        cheap += ratio < 1 / 3
        if not 1 / 3 <= ratio <= 3:
            print(f"{name}: {'no price' if guess is None else guess[0]}, {ratio:.2f} times the real price")
    print(f"Of the last {len(rows[-40:])} models {near} are within three times their real price, {cheap} too cheap.")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
