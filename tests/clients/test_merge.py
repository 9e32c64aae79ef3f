"""Rows of one response meet the same way in any order."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from tallygate.core.costing import Tokens
from tallygate.core.observed import ObservedUsage, Quality, Rule, better, merged

few = st.integers(0, 3)


@st.composite
def rows(draw: st.DrawFn) -> ObservedUsage:
    quality = draw(st.sampled_from(Quality))
    estimate = None if quality is Quality.FINAL else draw(st.none() | few)
    return ObservedUsage(
        client="claude_code",
        session=draw(st.sampled_from("ab")),
        response_key="k",
        at=datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=draw(few)),
        model=draw(st.sampled_from(["m", "n"])),
        tokens=Tokens(draw(few), draw(few), draw(few), draw(few), draw(few)),
        rule=draw(st.sampled_from(Rule)),
        quality=quality,
        reasoning=draw(few),
        request_id=draw(st.none() | st.sampled_from("xy")),
        agent_id=draw(st.none() | st.just("g")),
        estimated_output=estimate,
        tool_use_ids=tuple(sorted(draw(st.sets(st.sampled_from("tuv"))))),
    )


@given(rows(), rows())
def test_merging_does_not_depend_on_order(a, b):
    assert better(a, b) == better(b, a)


@given(rows(), rows(), rows())
def test_merging_does_not_depend_on_grouping(a, b, c):
    assert better(better(a, b), c) == better(a, better(b, c))


@given(rows(), rows())
def test_merging_again_changes_nothing(a, b):
    assert better(a, a) == a
    assert better(better(a, b), b) == better(a, b)


@given(st.lists(rows(), min_size=1, max_size=6), st.randoms())
def test_any_order_and_repetition_gives_the_same_rows(many, chance):
    shuffled = many + many[: chance.randint(0, len(many))]
    chance.shuffle(shuffled)
    assert merged(shuffled) == merged(many)


@given(rows(), rows())
def test_a_partial_row_keeps_its_estimate_beside_the_record_and_a_final_one_has_none(a, b):
    row = better(a, b)
    assert (row.quality is Quality.FINAL) <= (row.estimated_output is None)
    assert row.tokens in (a.tokens, b.tokens)
