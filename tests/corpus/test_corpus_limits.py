"""Walking through real sessions: limits that are proposed from what is known then stop at most one in ten."""

from __future__ import annotations

import csv
import gzip
from collections import defaultdict

import pytest
from tests.corpus.test_corpus_totals import CORPUS

from tallygate.core.money import NANOS_PER_UNIT
from tallygate.core.proposals import ENOUGH, proposals

TABLES = ["steps.tsv.gz", "steps_short.tsv.gz"]
pytestmark = pytest.mark.skipif(not (CORPUS / TABLES[0]).exists(), reason="the tables of steps are not here")


def costs_of(name):
    """What each session cost and what each day, in the order in which they ended."""
    sessions, days, ends = defaultdict(int), defaultdict(int), {}
    with gzip.open(CORPUS / name, "rt", encoding="utf-8") as file:
        for row in csv.DictReader(file, delimiter="\t"):
            key, nanos = (row["src"], row["project"], row["session"]), int(float(row["cost"]) * NANOS_PER_UNIT)
            sessions[key] += nanos
            days[row["ts"][:10]] += nanos
            ends[key] = max(ends.get(key, ""), row["ts"])
    return [sessions[key] for key in sorted(sessions, key=ends.get)], [days[day] for day in sorted(days)]


@pytest.mark.parametrize("name", TABLES)
def test_at_most_one_in_ten_sessions_and_days_is_stopped(name):
    sessions, days = costs_of(name)
    over = [sessions[at] > proposals(sessions[:at], []).session.limit_nanos for at in range(len(sessions))]
    over_days = [days[at] > proposals([], days[:at]).day.limit_nanos for at in range(len(days))]
    for found in (over, over_days):
        assert sum(found[ENOUGH:]) <= len(found[ENOUGH:]) / 10
        assert sum(found[:ENOUGH]) <= 1
