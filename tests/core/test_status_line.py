"""A status line: one line, of what was chosen, as wide as it may be, whatever its pieces hold."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallygate.core.status_line import NOTHING, StatusPiece, line_of

TOLD = {"session": "$1.00 spent", "left": "$4.00 of $5.00 left", "plan": "5h 13 %", "context": "next turn $0.24"}
ALL = tuple(TOLD)


@pytest.mark.parametrize(
    ("show", "width", "line"),
    [
        (ALL, 120, "tallygate: $1.00 spent, $4.00 of $5.00 left | 5h 13 % | next turn $0.24"),
        (("left", "session"), 120, "tallygate: $4.00 of $5.00 left | $1.00 spent"),
        (("plan", "plan", "month"), 120, "tallygate: 5h 13 %"),
        (ALL, 60, "tallygate: $1.00 spent, $4.00 of $5.00 left | 5h 13 %"),
        (ALL, 22, "tallygate: $1.00 spent"),
        (ALL, 21, "tallygate: $1.00 ..."),
        ((), 120, f"tallygate: {NOTHING}"),
        (("month",), 120, f"tallygate: {NOTHING}"),
    ],
)
def test_pieces_stand_in_the_order_they_were_chosen_in_as_far_as_there_is_room(show, width, line):
    assert line_of(TOLD, show, width) == line


def test_that_the_gate_is_off_is_said_whatever_was_chosen():
    assert line_of(TOLD, ("plan",), 120, "off until noon") == "tallygate: 5h 13 % | off until noon"
    assert line_of({}, (), 120, "off until noon") == "tallygate: off until noon"
    assert "off until noon" in line_of(TOLD, ALL, 60, "off until noon")


PIECES = [piece.value for piece in StatusPiece]


@given(st.dictionaries(st.sampled_from(PIECES), st.text(max_size=300)), st.integers(20, 500))
def test_it_is_one_line_of_what_can_be_seen_and_never_too_wide(told, width):
    line = line_of(told, PIECES, width)
    assert line.isprintable()
    assert line
    assert len(line) <= width
