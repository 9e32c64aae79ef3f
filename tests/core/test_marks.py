"""What an anchor's slots hold: a mark that was written, or nothing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallygate.core.proof import SLOT_BYTES, Mark, in_force, mark_in, marks_in, rolled_back

words = st.text(st.sampled_from("abcdefghijklmnopqrstuvwxyzABC0123456789._-"), min_size=1, max_size=100)
numbers = st.integers(0, 2**63 - 1)
marks = st.builds(
    Mark, st.integers(0, 10**6), st.text("0123456789abcdef", min_size=32, max_size=32), numbers, words, numbers,
    st.binary(min_size=32, max_size=32), numbers, st.text("0123456789abcdef-", min_size=1, max_size=36),
)  # fmt: skip
NEW = Mark(3, "ab" * 16, 812, "default", 800, b"\x17" * 32, 1_790_000_000_000_000, "boot")
OLD = Mark(3, "ab" * 16, 640, "default", 630, b"\x16" * 32, 1_780_000_000_000_000, "boot")


@given(marks)
def test_a_mark_comes_out_of_its_slot_as_it_went_in(mark):
    slot = mark.slot()
    assert slot is not None
    assert len(slot) == SLOT_BYTES
    assert mark_in(slot) == mark


def test_a_slot_whose_writing_was_broken_off_anywhere_holds_the_old_mark_the_new_one_or_none():
    new, old = NEW.slot(), OLD.slot()
    assert new is not None
    assert old is not None
    for cut in range(SLOT_BYTES + 1):
        assert mark_in(new[:cut] + old[cut:]) in (NEW, OLD, None)
        assert mark_in(new[:cut] + bytes(SLOT_BYTES - cut)) in (NEW, None)


@given(marks, marks, st.integers(0, SLOT_BYTES), st.integers(0, SLOT_BYTES))
def test_no_torn_slot_makes_up_an_event(new, old, begin, end):
    first, second = new.slot(), old.slot()
    assert first is not None
    assert second is not None
    torn = first[:begin] + second[begin:end] + first[max(begin, end) :]
    assert mark_in(torn[:SLOT_BYTES]) in (new, old, None)


@given(st.binary(max_size=2 * SLOT_BYTES + 10))
def test_bytes_of_anybody_are_no_marks(data):
    assert marks_in(data) == []


@given(st.lists(marks, min_size=2, max_size=2), st.integers(0, 2 * SLOT_BYTES - 1), st.integers(1, 255))
def test_a_changed_byte_costs_at_most_the_slot_it_is_in(pair, at, flip):
    slots = [mark.slot() or b"" for mark in pair]
    data = bytearray(b"".join(slots))
    data[at] ^= flip
    kept = marks_in(bytes(data))
    assert pair[1 - at // SLOT_BYTES] in kept
    assert all(mark in pair for mark in kept)


def test_a_mark_that_fits_in_no_slot_is_not_written():
    assert Mark(1, "ab" * 16, 1, "t" * 600, 1, bytes(32), 1).slot() is None
    assert Mark(1, "ab" * 16, 1, "two words", 1, bytes(32), 1).slot() is None


def test_what_the_user_went_on_from_says_nothing_any_more():
    after = Mark(4, "cd" * 16, 2)
    assert in_force([NEW, after, OLD]) == (after,)
    assert in_force([NEW, OLD]) == (OLD, NEW)
    assert in_force([]) == ()


@pytest.mark.parametrize(
    ("boot", "is_said"), [("boot", False), ("another", True), ("-", False)], ids=["same", "later", "unknown"]
)
def test_a_ledger_that_ends_earlier_tells_both_ends_and_a_start_of_the_machine_between(boot, is_said):
    error = rolled_back("/l.db", NEW, OLD, boot)
    for part in ("event 630 of 2026-05-28", "event 800 of 2026-09-21", "missing"):
        assert part in error.message
    assert ("power cut" in error.message) == is_said
    assert "ledger accept --reason" in error.hint
    assert "restore FILE" in error.hint
