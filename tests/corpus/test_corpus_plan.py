"""Plans in real rollouts, where they are at hand: every line that tells of one is read, and nothing else."""

from __future__ import annotations

import json
import os
from itertools import pairwise
from pathlib import Path

import pytest
from tests.world import make_world

from tallygate.clients.codex.transcripts import read
from tallygate.clients.reading.files import TranscriptFile
from tallygate.core.plan import QUARTER_US, newest_of
from tallygate.operations.usage.ingest import ingest, reading_of

ROOT = Path(__file__).resolve().parent.parent.parent
CORPUS = Path(os.environ.get("TALLYGATE_CORPUS") or ROOT.parent / "shared" / "corpus") / "codex"

pytestmark = pytest.mark.skipif(not CORPUS.exists(), reason="the corpus is not here")


def written():
    """Every share that a rollout states, as its JSON says it, in order: what any other reader would find."""
    for path in sorted(CORPUS.rglob("*.jsonl")):
        for line in path.read_text(encoding="utf-8").splitlines():
            limits = json.loads(line).get("payload", {}).get("rate_limits") if '"rate_limits"' in line else None
            if limits is not None:
                yield path, [each for each in (limits.get("primary"), limits.get("secondary")) if each]


def test_what_real_rollouts_tell_of_plans_is_kept_as_they_tell_it(tmp_path):
    lines = list(written())
    assert len(lines) >= 3_555
    world = make_world(tmp_path)
    world.clock.at_us = 1_795_000_000_000_000
    told = []
    for path in sorted({path for path, _ in lines}):
        for batch in read(TranscriptFile("codex", path)):
            told += batch.plan
            ingest(world.rt, reading_of(TranscriptFile("codex", path), batch))
    stated = {
        (each["window_minutes"], each["used_percent"] * 100, each["resets_at"]) for _, found in lines for each in found
    }
    read_here = {(each.minutes, each.used, (each.resets_us or 0) // 10**6) for each in told}
    assert read_here <= stated  # of a quarter of an hour only the last
    assert {minutes for minutes, *_ in stated} == {each.minutes for each in told} == {300, 10_080}
    with world.ledger.reading() as reader:
        kept = reader.plan_windows()
        assert kept == newest_of(told)
        for each in kept:
            shown = reader.plan_history(each.client, each.limit, each.minutes, 0)
            assert shown[-1] == each
            assert all(one.at_us // QUARTER_US < two.at_us // QUARTER_US for one, two in pairwise(shown))
    assert world.problems() == []
    world.ledger.close()
