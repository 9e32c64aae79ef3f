"""What clients tell of their plan: shares of windows, and how long each says something."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallygate.core.plan import (
    MINUTE_US,
    QUARTER_US,
    PlanSource,
    PlanWindow,
    last_of_quarters,
    minutes_named,
    newest_of,
    percent,
    plan_window,
    share_of,
    told_beside,
    window_name,
)

AT = 1_790_000_000_000_000
HOURS_5 = 300 * MINUTE_US


def window(used=1300, at_us=AT, resets_us=AT + MINUTE_US, minutes=300, limit="codex"):
    return PlanWindow("codex", limit, minutes, used, at_us, resets_us, PlanSource.TRANSCRIPT)


@pytest.mark.parametrize(
    ("written", "used"),
    [
        (0, 0), (13, 1300), ("13.0", 1300), ("41.231", 4124), ("99.999", 10_000), (100, 10_000), ("250", 25_000),
        (-1, None), (True, None), (None, None), ("", None), ("1e9", None), ("NaN", None), (10**30, None), ([], None),
        (1001, None), ("٣", None),
    ],
)  # fmt: skip
def test_a_share_is_read_upwards_and_what_is_none_is_unknown(written, used):
    assert share_of(written) == used


@given(st.integers(0, 100_000))
def test_a_share_is_never_said_to_be_more_than_it_is(used):
    said = percent(used)
    assert said == "under 1 %" if 0 < used < 100 else int(said.split()[0]) * 100 <= used


@pytest.mark.parametrize(
    ("later_us", "resets_us", "is_true"),
    [
        (0, AT + MINUTE_US, True),
        (MINUTE_US - 1, AT + MINUTE_US, True),
        (MINUTE_US, AT + MINUTE_US, False),
        (HOURS_5 - 1, None, True),
        (HOURS_5, None, False),
        (HOURS_5, AT + 2 * HOURS_5, False),
        (-2 * 3_600_000_000, None, False),
    ],
)
def test_a_value_is_true_until_its_window_begins_anew_or_could_have(later_us, resets_us, is_true):
    assert window(resets_us=resets_us).is_true_at(AT + later_us) is is_true


@pytest.mark.parametrize(
    ("minutes", "share", "resets_us", "found"),
    [
        (300, 5, AT + 1, (500, AT + 1)),
        (300, 5, AT - 1, (500, AT - 1)),
        (300, 5, AT + 2 * HOURS_5, (500, None)),
        (300, 5, AT - 2 * HOURS_5, (500, None)),
        (300, 5, None, (500, None)),
        (0, 5, None, None),
        ("300", 5, None, None),
        (True, 5, None, None),
        (10**9, 5, None, None),
        (300, None, None, None),
    ],
)
def test_a_window_needs_its_length_and_share_and_a_reset_that_can_be_one(minutes, share, resets_us, found):
    told = plan_window("codex", (minutes, share, resets_us), AT, PlanSource.TRANSCRIPT)
    assert found == (None if told is None else (told.used, told.resets_us))


@pytest.mark.parametrize(
    ("text", "minutes", "name"),
    [("5h", 300, "5h"), ("weekly", 10_080, "weekly"), ("168h", 10_080, "weekly"), ("24h", 1440, "24h")],
)
def test_a_window_is_named_as_people_call_it(text, minutes, name):
    assert minutes_named(text) == minutes
    assert window_name(minutes) == name


@pytest.mark.parametrize("text", ["", "h", "0h", "-5h", "5", "5m", "99999h", "day", "5 h"])
def test_what_names_no_window_is_none(text):
    assert minutes_named(text) is None


def test_of_each_window_the_value_that_was_told_last_counts():
    old, new, week = window(100), window(200, AT + 1), window(50, minutes=10_080)
    assert newest_of([new, week, old]) == [new, week]


def test_of_a_quarter_of_an_hour_the_last_value_is_kept_and_of_one_moment_the_larger():
    first = AT // QUARTER_US * QUARTER_US
    told = [window(1, first), window(3, first + 5), window(2, first + 5), window(9, first + QUARTER_US)]
    assert [each.used for each in last_of_quarters(told)] == [3, 9]


HOUR_US = 60 * MINUTE_US


@pytest.mark.parametrize(
    ("source", "known_resets", "told", "after_us", "kept"),
    [
        (PlanSource.STATUS_LINE, 2 * HOUR_US, (0, 2 * HOUR_US), 1, (9500, 2 * HOUR_US)),
        (PlanSource.STATUS_LINE, 2 * HOUR_US, (0, 1), HOUR_US, (9500, 2 * HOUR_US)),
        (PlanSource.STATUS_LINE, 2 * HOUR_US, (0, None), HOUR_US, (9500, 2 * HOUR_US)),
        (PlanSource.STATUS_LINE, 2 * HOUR_US, (9700, 1), HOUR_US, (9700, 2 * HOUR_US)),
        (PlanSource.STATUS_LINE, 2 * HOUR_US, (0, 9 * HOUR_US), HOUR_US, (9500, 6 * HOUR_US)),
        (PlanSource.STATUS_LINE, None, (0, 2 * HOUR_US), HOUR_US, (9500, 5 * HOUR_US)),
        (PlanSource.STATUS_LINE, 2 * HOUR_US, (100, 7 * HOUR_US), 2 * HOUR_US, (100, 7 * HOUR_US)),
        (PlanSource.STATUS_LINE, None, (100, 6 * HOUR_US), 5 * HOUR_US, (100, 6 * HOUR_US)),
        (PlanSource.TRANSCRIPT, 2 * HOUR_US, (0, HOUR_US), 1, (0, HOUR_US)),
    ],
)
def test_a_status_line_only_tightens_until_the_window_begins_anew_and_a_clients_file_is_its_word(
    source, known_resets, told, after_us, kept
):
    known = PlanWindow("claude_code", "", 300, 9500, 0, known_resets, PlanSource.STATUS_LINE)
    found = told_beside(PlanWindow("claude_code", "", 300, told[0], after_us, told[1], source), known, after_us)
    assert (found.used, found.resets_us, found.at_us) == (*kept, after_us)
    assert told_beside(known, None, 0) == known


# used and reset that are known, told and kept, and when it is told; all of a window of five hours
@pytest.mark.parametrize(
    ("known", "told", "after_us", "kept"),
    [
        ((1000, 2 * HOUR_US), (10_000, 2 * HOUR_US), 1, (3000, 2 * HOUR_US)),  # one odd line stops nobody
        ((9500, 2 * HOUR_US), (0, 2 * HOUR_US), 1, (7500, 2 * HOUR_US)),  # nor does one give a plan back
        ((9500, 2 * HOUR_US), (0, 9 * HOUR_US), 1, (7500, 5 * HOUR_US + 1)),  # also not as a window that is anew
        ((9500, 2 * HOUR_US), (9500, 1), HOUR_US, (9500, 2 * HOUR_US)),  # or that ends at once
        ((9500, 2 * HOUR_US), (9500, None), HOUR_US, (9500, 2 * HOUR_US)),
        ((1000, 2 * HOUR_US), (2900, 2 * HOUR_US), 1, (2900, 2 * HOUR_US)),  # what may be is as it is told
        ((2900, 2 * HOUR_US), (1000, 2 * HOUR_US), 1, (1000, 2 * HOUR_US)),
        ((9500, 2 * HOUR_US), (0, 7 * HOUR_US), 2 * HOUR_US, (0, 7 * HOUR_US)),  # the window has begun anew
        ((9500, 2 * HOUR_US), (0, 2 * HOUR_US), -1, (0, 2 * HOUR_US)),  # of an earlier moment, which counts no more
    ],
)
def test_one_line_of_a_clients_file_moves_the_share_by_a_step_at_most_while_the_window_is_on(
    known, told, after_us, kept
):
    before = PlanWindow("codex", "", 300, known[0], 0, known[1], PlanSource.TRANSCRIPT)
    line = PlanWindow("codex", "", 300, told[0], after_us, told[1], PlanSource.TRANSCRIPT)
    found = told_beside(line, before, max(after_us, 0))
    assert (found.used, found.resets_us) == kept


def test_what_a_clients_file_says_again_and_again_is_reached_in_five_lines():
    for first, last in ((0, 10_000), (10_000, 0)):
        known = PlanWindow("codex", "", 300, first, 0, 2 * HOUR_US, PlanSource.TRANSCRIPT)
        for number in range(5):
            known = told_beside(replace(known, used=last, at_us=number + 1), known, number + 1)
        assert known.used == last
