"""What Claude Code gives its status line: whatever is odd in it is left out, and the rest is read."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallygate.clients.claude_code.status_line import read_status
from tallygate.clients.reading.status_line import StatusInput

AT_S = 1_790_000_000
LIMITS = {
    "five_hour": {"used_percentage": 23.5, "resets_at": AT_S + 60},
    "seven_day": {"used_percentage": 41, "resets_at": AT_S + 9_999},
}


def read(**raw):
    return read_status(json.loads(json.dumps(raw)), AT_S * 10**6)


def test_the_session_its_transcript_and_both_windows_are_read():
    found = read(session_id="s", transcript_path="/t.jsonl", workspace={"current_dir": "/w"}, rate_limits=LIMITS)
    assert (found.session, found.transcript, found.folder) == ("s", "/t.jsonl", "/w")
    assert [(each.client, each.minutes, each.used, each.resets_us) for each in found.plan] == [
        ("claude_code", 300, 2350, (AT_S + 60) * 10**6),
        ("claude_code", 10_080, 4100, (AT_S + 9_999) * 10**6),
    ]


@pytest.mark.parametrize("odd", [None, [], "x", 5, {}, {"five_hour": None}, {"five_hour": {"used_percentage": "much"}}])
def test_limits_that_cannot_be_read_are_none(odd):
    assert read(session_id="s", rate_limits=odd) == StatusInput("s")


@pytest.mark.parametrize("session", [None, "", "a\nb", "x" * 201, 7, ["s"]])
def test_a_session_that_cannot_be_one_is_none(session):
    assert read(session_id=session).session is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(st.fixed_dictionaries({}, optional=dict.fromkeys(("session_id", "rate_limits", "workspace", "cwd"), JSON)))
def test_nothing_that_json_can_say_fails(raw):
    assert isinstance(read_status(raw, AT_S * 10**6), StatusInput)


@given(st.fixed_dictionaries({"used_percentage": JSON, "resets_at": JSON}))
def test_no_window_that_json_can_say_is_absurd(told):
    for each in read_status({"rate_limits": {"five_hour": told}}, AT_S * 10**6).plan:
        assert 0 <= each.used <= 100_000
        assert each.resets_us is None or abs(each.resets_us - AT_S * 10**6) <= 600 * 60 * 10**6
