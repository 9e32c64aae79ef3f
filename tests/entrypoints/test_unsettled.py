"""What a client has asked outlasts the process that serves it: each request gets one answer, whenever that ends."""

from __future__ import annotations

import json
import os
import socket
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallygate.entrypoints.unsettled import FULL_BYTES, SaidBefore, Unsettled, settle

GREETING = b'{"jsonrpc":"2.0","id":0,"method":"initialize","params":{}}'
INITIALIZED = b'{"jsonrpc":"2.0","method":"notifications/initialized"}'


class Meeting:
    """A client's two ends, and the files that a front has; `taking` is what serves the client now."""

    def __init__(self, kind):
        if kind == "pipe":
            self.theirs, self.ours = os.pipe()[::-1]
        else:
            ends = socket.socketpair()
            self.theirs, self.ours = (end.detach() for end in ends)
        self.heard, self.said = os.pipe()
        os.set_blocking(self.heard, False)
        self.begin()

    def begin(self):
        self.files = [os.memfd_create(name) for name in ("asked", "said", "greeted")]
        self.taking = Unsettled(*self.files)

    def say(self, data):
        os.write(self.theirs, data)

    def lost(self):
        kept = settle(*self.files, reading=self.ours, writing=self.said, why="lost")
        for end in self.files:
            os.close(end)
        self.begin()
        self.taking.begin(kept)
        return kept

    def answers(self):
        try:
            lines = os.read(self.heard, 1 << 16).split(b"\n")
        except BlockingIOError:
            return []
        return [json.loads(line) for line in lines if line]

    def close(self):
        for end in (self.theirs, self.ours, self.heard, self.said, *self.files):
            os.close(end)


@pytest.fixture(params=["pipe", "socket"])
def meeting(request):
    made = Meeting(request.param)
    yield made
    made.close()


def request_of(number, method="tools/call"):
    return json.dumps({"jsonrpc": "2.0", "id": number, "method": method}).encode()


def test_a_call_in_flight_is_answered_with_an_error_and_one_that_was_answered_is_not(meeting):
    meeting.say(request_of(1) + b"\n" + request_of("two") + b"\n")
    meeting.taking.take(meeting.ours)
    meeting.taking.settled(1)
    assert meeting.lost().lines == []
    assert meeting.answers() == [{"jsonrpc": "2.0", "id": "two", "error": {"code": -32603, "message": "lost"}}]


@pytest.mark.parametrize("whole", [True, False])
def test_a_line_begins_anew_where_half_an_answer_went_out(meeting, whole):
    meeting.say(request_of(1) + b"\n")
    meeting.taking.take(meeting.ours)
    meeting.taking.begins_to_say()
    if whole:
        meeting.taking.has_said()
    meeting.lost()
    assert os.read(meeting.heard, 1) == (b"{" if whole else b"\n")


@pytest.mark.parametrize("method", ["initialize", "server/discover"])
def test_what_is_said_once_is_said_to_the_next_process_and_to_the_one_after_it(meeting, method):
    greeting = request_of(0, method)
    meeting.say(greeting + b"\n" + INITIALIZED + b"\n")
    for line in meeting.taking.take(meeting.ours).splitlines(keepends=True):
        meeting.taking.read(line)
    meeting.taking.settled(0)
    for _ in range(3):
        kept = meeting.lost()
        assert sorted(line for line, _ in kept.lines) == sorted([greeting, INITIALIZED])
        assert dict(kept.lines)[greeting], "the client has its answer"
    assert meeting.answers() == []


def test_what_only_reads_is_asked_once_more_and_a_greeting_without_an_answer_too(meeting):
    meeting.say(GREETING + b"\n" + INITIALIZED + b"\n" + request_of(5, "tools/list") + b"\n")
    meeting.taking.take(meeting.ours)
    kept = [(GREETING, False), (INITIALIZED, False), (request_of(5, "tools/list"), False)]
    assert meeting.lost().lines == kept
    assert meeting.lost().lines == kept, "also where the next process is lost before it has read anything"
    assert meeting.answers() == []


def test_the_beginning_of_a_line_is_kept_for_its_end(meeting):
    meeting.say(request_of(7)[:20])
    meeting.taking.take(meeting.ours)
    kept = meeting.lost()
    assert (kept.lines, kept.rest) == ([], request_of(7)[:20])
    meeting.say(request_of(7)[20:] + b"\n")
    assert kept.rest + meeting.taking.take(meeting.ours) == request_of(7) + b"\n"


def test_what_was_noted_and_not_taken_from_a_socket_is_not_taken_twice():
    meeting = Meeting("socket")
    meeting.say(request_of(1) + b"\n")
    os.write(meeting.files[0], request_of(1) + b"\n")  # killed between both
    meeting.say(request_of(2) + b"\n")
    meeting.lost()
    assert [each["id"] for each in meeting.answers()] == [1]
    assert meeting.taking.take(meeting.ours) == request_of(2) + b"\n"
    meeting.close()


def test_a_system_that_moves_nothing_between_files_takes_what_comes_all_the_same(monkeypatch):
    def unknown(*_, **__):
        raise OSError(22, "Invalid argument")

    monkeypatch.setattr("tallygate.entrypoints.unsettled.os.splice", unknown)
    meeting = Meeting("pipe")
    meeting.say(request_of(1) + b"\n")
    assert meeting.taking.take(meeting.ours) == request_of(1) + b"\n"
    meeting.lost()
    assert [each["id"] for each in meeting.answers()] == [1]
    meeting.close()


def test_every_request_of_a_batch_is_answered(meeting):
    batch = b"[" + request_of(1) + b"," + request_of(2, "tools/list") + b"," + INITIALIZED.replace(b"init", b"x") + b"]"
    meeting.say(batch + b"\n")
    meeting.taking.take(meeting.ours)
    meeting.taking.settled(2)
    meeting.lost()
    assert [each["id"] for each in meeting.answers()] == [1]


def test_files_begin_anew_when_nothing_is_open_and_nothing_is_half_read(meeting):
    long = b'{"id":1,"method":"x","p":"' + b"x" * (1 << 15) + b'"}\n'
    sizes = []
    for _ in range(2 * FULL_BYTES // len(long) + 2):
        meeting.say(long)
        meeting.taking.take(meeting.ours)
        meeting.taking.all_settled()  # no line of it is read yet
        meeting.taking.unread = 0
        meeting.taking.settled(1)
        sizes.append(os.fstat(meeting.files[0]).st_size)
        meeting.taking.all_settled()
    assert FULL_BYTES <= max(sizes) <= FULL_BYTES + len(long)
    assert min(sizes) == len(long)


def test_an_end_that_is_closed_is_told_from_one_at_which_nothing_has_come(meeting):
    with pytest.raises(BlockingIOError):
        meeting.taking.take(meeting.ours)
    os.close(meeting.theirs)
    assert meeting.taking.take(meeting.ours) == b""
    meeting.theirs = os.open(os.devnull, os.O_RDONLY)


STEPS = st.lists(st.sampled_from(["say", "take", "answer", "lose"]), min_size=1, max_size=40)


@given(STEPS, st.sampled_from(["pipe", "socket"]), st.integers(1, 60))
def test_whenever_a_process_is_lost_every_request_gets_exactly_one_answer(steps, kind, piece):
    """Requests are said in pieces of any size, so that half of one may be taken when the process is lost."""
    meeting, number, unsaid, half, open_ones, answered = Meeting(kind), 0, b"", b"", [], []
    for step in steps:
        if step == "say":
            if not unsaid:
                number += 1
                unsaid = request_of(number) + b"\n"
            said, unsaid = unsaid[:piece], unsaid[piece:]
            meeting.say(said)
        elif step == "take":
            try:
                *lines, half = (half + meeting.taking.take(meeting.ours)).split(b"\n")
            except BlockingIOError:
                continue
            for line in lines:
                meeting.taking.read(line + b"\n")
                open_ones.append(json.loads(line)["id"])
        elif step == "answer" and open_ones:
            answered.append(open_ones.pop(0))
            meeting.taking.settled(answered[-1])
        elif step == "lose":
            kept = meeting.lost()
            half, open_ones = kept.rest, [json.loads(line)["id"] for line, _ in kept.lines]
            answered += [each["id"] for each in meeting.answers()]
    meeting.say(unsaid)
    with suppress(BlockingIOError):
        meeting.taking.take(meeting.ours)
    meeting.lost()
    answered += [each["id"] for each in meeting.answers()]
    meeting.close()
    assert sorted(answered) == [*range(1, number + 1)]


@given(st.lists(st.tuples(st.binary(max_size=50), st.booleans())), st.binary(max_size=50))
def test_what_is_kept_is_packed_and_unpacked(lines, rest):
    packed = SaidBefore(lines, rest).packed()
    found = SaidBefore.unpacked(packed)
    assert (found.lines, found.rest) == (lines, rest)
