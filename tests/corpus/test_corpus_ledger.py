"""The whole corpus through discovery, readers and ingestion into a ledger, where it is at hand."""

from __future__ import annotations

from collections import Counter

import pytest
from tests.corpus.test_corpus_totals import CODEX, CORPUS, known
from tests.reading_rules import Rule
from tests.world import make_world

from tallygate.core.usage import Quality
from tallygate.operations.usage.ingest import IngestResult
from tallygate.operations.usage.sync import sync

pytestmark = pytest.mark.skipif(not (CORPUS / "expected_claude.json").exists(), reason="the corpus is not here")

CLASSES = ("input", "cache_read", "cache_write_5m", "cache_write_1h", "output")


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    made = make_world(tmp_path_factory.mktemp("corpus"))
    yield made
    made.ledger.close()


@pytest.fixture(scope="module")
def first(world):
    return take(world)


@pytest.fixture(scope="module")
def rows(world, first):
    with world.ledger.reading() as reader:
        return [stored.row for stored in reader.usage_between(-(2**62), 2**62)]


def take(world):
    environ = {"CLAUDE_CONFIG_DIR": str(CORPUS / "claude"), "CODEX_HOME": str(CORPUS / "codex")}
    environ["GEMINI_DATA_DIR"] = str(CORPUS / "gemini")
    return sync(world.rt, environ=environ, home=CORPUS / "nobody")


def counted(rows):
    sums = {}
    for row in rows:
        tokens = row.tokens
        counts = (tokens.fresh_input, tokens.cache_read, tokens.cache_write_5m, tokens.cache_write_1h, tokens.output)
        sums.setdefault(row.model, Counter()).update(dict(zip(CLASSES, counts, strict=True)), calls=1)
    return sums


def expected_of(part):
    sums = {}
    for session in known("expected_claude.json").values():
        for model, counts in session[part].items():
            if model != "<synthetic>":
                sums.setdefault(model, Counter()).update(counts)
    return sums


def test_every_file_of_the_corpus_is_read_and_every_response_is_new(first, rows):
    assert (first.faults, first.unchanged) == ([], 0)
    assert first.taken == IngestResult(new=len(rows))


def test_real_history_holds_nothing_odd_and_loses_nothing(world, first):
    with world.ledger.reading() as reader:
        assert (reader.count_anomalies(), reader.unread_files()) == (0, [])


@pytest.mark.parametrize(("part", "told"), [("main", False), ("subagent_progress", True)])
def test_the_ledger_has_the_claude_tokens_that_are_known(rows, part, told):
    chosen = [r for r in rows if r.client == "claude_code" and (r.rule is Rule.CLAUDE_PROGRESS) is told]
    assert counted(chosen) == expected_of(part)


def test_the_ledger_has_the_partial_responses_that_are_known(rows):
    own = [row for row in rows if row.client == "claude_code" and row.rule is not Rule.CLAUDE_PROGRESS]
    expected = sum(session["responses_without_final_usage"] for session in known("expected_claude.json").values())
    assert sum(row.quality is Quality.PARTIAL for row in own) == expected


def test_the_ledger_has_the_codex_tokens_that_are_known(rows):
    """Forks aside, whose files hold their parent's counts too; a test of the readers has their sums."""
    plain = {place: told for place, told in CODEX.items() if not told["forked_from_id"]}
    sessions = {place.rpartition("/")[2].removesuffix(".jsonl")[-36:] for place in plain}
    own = [row for row in rows if row.client == "codex" and row.session in sessions]
    expected = sum(
        used["total"] for told in plain.values() for used in told["by_model_last_usage_when_total_changed"].values()
    )
    assert sum(row.tokens.total for row in own) == expected


def test_gemini_has_the_tokens_that_another_tool_finds(rows):
    told = known("ccusage_gemini_session.json")["sessions"]
    found = Counter()
    for row in rows:
        if row.client == "gemini":
            found[row.session] += row.tokens.total
    assert found == Counter({item["sessionId"]: item["totalTokens"] for item in told})


def test_the_corpus_again_changes_nothing_and_the_ledger_verifies(world, rows):
    events = world.events()
    again = take(world)
    assert (again.taken, again.read) == (IngestResult(), 0)
    assert world.events() == events
    assert world.problems() == []


def test_the_corpus_read_anew_is_known(world, rows):
    with world.ledger.writing() as tx:
        for file in tx.read_files():
            tx.save_position(file.path, file.client, None, {})
    again = take(world)
    assert (again.taken, again.unchanged) == (IngestResult(known=again.taken.known), 0)
    assert again.taken.known >= len(rows)
