"""Totals on real transcripts, where they are at hand: `../shared/corpus`, or the directory TALLYGATE_CORPUS names."""

from __future__ import annotations

import json
import os
import random
from collections import Counter
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from tests.reading_rules import Rule

from tallygate.clients.claude_code.transcripts import reader_of as claude_reader
from tallygate.clients.codex.transcripts import reader_of as codex_reader
from tallygate.clients.gemini.transcripts import reader_of as gemini_reader
from tallygate.clients.reading.files import TranscriptFile, Transcripts
from tallygate.clients.registry import REGISTRY
from tallygate.core.usage import ObservedUsage, Quality, merged

ROOT = Path(__file__).resolve().parent.parent.parent
# Read once here: the fixture that protects the user's files takes the variable away from the tests.
CORPUS = Path(os.environ.get("TALLYGATE_CORPUS") or ROOT.parent / "shared" / "corpus")

pytestmark = pytest.mark.skipif(not (CORPUS / "expected_claude.json").exists(), reason="the corpus is not here")

MAKERS = {"claude": claude_reader, "codex": codex_reader, "gemini": gemini_reader}
FAMILY = "codex/sessions/2026/04/11/"


def known(name: str) -> Any:
    path = CORPUS / name
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


@cache
def rows_of(place: str) -> tuple[ObservedUsage, ...]:
    """The merged rows of one corpus file, as an ingester would bring them."""
    folder = place.partition("/")[0]
    client = "claude_code" if folder == "claude" else folder
    source: Transcripts = REGISTRY.sources[client]
    batches = source.read(TranscriptFile(client, CORPUS / place), None, None)
    return tuple(merged(row for batch in batches for row in batch.rows).values())


def by_model(rows: Iterable[ObservedUsage]) -> dict[str, Counter[str]]:
    sums: dict[str, Counter[str]] = {}
    for row in rows:
        tokens = row.tokens
        sums.setdefault(row.model, Counter()).update(
            calls=1,
            input=tokens.fresh_input,
            cache_write_5m=tokens.cache_write_5m,
            cache_write_1h=tokens.cache_write_1h,
            cache_read=tokens.cache_read,
            output=tokens.output,
        )
    return sums


@pytest.mark.parametrize("place", known("expected_claude.json"))
def test_a_claude_session_has_the_tokens_and_partial_responses_that_are_known(place):
    expected = known("expected_claude.json")[place]
    told = [row for row in rows_of(place) if row.rule is Rule.CLAUDE_PROGRESS]
    own = [row for row in rows_of(place) if row.rule is not Rule.CLAUDE_PROGRESS]
    main = {model: Counter(counts) for model, counts in expected["main"].items() if model != "<synthetic>"}
    assert by_model(own) == main
    assert by_model(told) == {model: Counter(counts) for model, counts in expected["subagent_progress"].items()}
    assert sum(row.quality is Quality.PARTIAL for row in own) == expected["responses_without_final_usage"]


CODEX = known("expected_codex.json")


@pytest.mark.parametrize("place", [place for place, told in CODEX.items() if not told["forked_from_id"]])
def test_a_codex_thread_has_the_tokens_that_are_known(place):
    found: dict[str, Counter[str]] = {}
    for row in rows_of(place):
        tokens = row.tokens
        found.setdefault(row.model, Counter()).update(
            calls=1,
            input=tokens.context,
            cached=tokens.cache_read,
            output=tokens.output,
            reasoning=row.reasoning,
            total=tokens.total,
        )
    expected = CODEX[place]["by_model_last_usage_when_total_changed"]
    # A thread without a model is expected under no name, and read under the fallback.
    assert found == {("gpt-5" if model == "None" else model): Counter(told) for model, told in expected.items()}


def test_a_codex_fork_family_counts_each_response_once():
    """Eight forks hold 163.9 million tokens, 108.4 of which their parent had spent before they began."""
    family = [place for place in CODEX if place.startswith(FAMILY)]
    assert len(family) == 11
    forks = [place for place in family if CODEX[place]["forked_from_id"]]
    final = sum(CODEX[place]["final_cumulative"]["total_tokens"] for place in forks)
    own = sum(row.tokens.total for place in forks for row in rows_of(place))
    told = {item["sessionFile"]: item["totalTokens"] for item in known("ccusage_codex_session.json")["sessions"]}
    assert (len(forks), final, own) == (8, 163_864_299, 55_484_225)
    assert own == sum(told[Path(place).stem] for place in forks)
    everything = merged(row for place in family for row in rows_of(place)).values()
    assert sum(row.tokens.total for row in everything) == 118_715_765


def test_a_forks_own_tokens_and_what_it_inherited_are_its_counter():
    parent = next(place for place in CODEX if place.startswith(FAMILY))
    running = [0]
    for row in sorted(rows_of(parent), key=lambda row: row.at):
        running.append(running[-1] + row.tokens.total)
    for place in CODEX:
        if CODEX[place]["forked_from_id"]:
            own = sum(row.tokens.total for row in rows_of(place))
            assert CODEX[place]["final_cumulative"]["total_tokens"] - own in running


def test_gemini_sessions_have_the_tokens_another_tool_finds():
    found = Counter()
    for path in sorted((CORPUS / "gemini").rglob("*.json")):
        for row in rows_of(path.relative_to(CORPUS).as_posix()):
            found[row.session] += row.tokens.total
    told = known("ccusage_gemini_session.json")["sessions"]
    assert found == Counter({item["sessionId"]: item["totalTokens"] for item in told})


def test_all_claude_sessions_together_are_the_sum_of_each():
    places = list(known("expected_claude.json"))
    everything = merged(row for place in places for row in rows_of(place))
    assert len(everything) == sum(len(rows_of(place)) for place in places)
    assert sum(row.tokens.total for row in everything.values()) == 659_090_637


def test_random_cuts_interleaving_and_reading_twice_give_the_same_rows():
    chance = random.Random(20260411)
    places = [
        path
        for kind, suffix in (("claude", "*.jsonl"), ("codex", "*.jsonl"))
        for path in sorted((CORPUS / kind).rglob(suffix))
    ]
    sample = chance.sample(places, 24) + [path for path in places if FAMILY in path.as_posix()]
    expected = merged(row for path in sample for row in rows_of(path.relative_to(CORPUS).as_posix()))
    found: list[ObservedUsage] = []
    for _ in range(2):
        open_readers = []
        for path in sample:
            kind = path.relative_to(CORPUS).parts[0]
            open_readers.append([kind, path, MAKERS[kind](path), path.read_bytes(), 0])
        while open_readers:
            entry = chance.choice(open_readers)
            kind, path, reader, data, at = entry
            size = chance.choice([1, 7, 300, 5000, 60_000])
            found += reader.feed(data[at : at + size])
            entry[4] = at + size
            if not reader.splitter.held and chance.random() < 0.3:
                entry[2] = MAKERS[kind](path, json.loads(json.dumps(reader.state())))
            if at + size >= len(data):
                open_readers.remove(entry)
        chance.shuffle(found)
    assert merged(found) == expected
