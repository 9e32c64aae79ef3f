"""The process beside hands over what it reads without taking turns with the one that stores it."""

from __future__ import annotations

import os
import threading

import pytest

from tallygate.clients import feed

PARTS = [bytes((number,)) * 100_000 for number in range(20)]  # more than any pipe holds


def test_reading_goes_on_while_nobody_takes_what_was_read_and_all_of_it_arrives_in_order():
    reader, writer = os.pipe()
    with os.fdopen(writer, "wb") as out, os.fdopen(reader, "rb") as taken:
        ahead = feed._Ahead(out)
        for part in PARTS:
            ahead.put(part)
        found = []
        taking = threading.Thread(target=lambda: found.append(taken.read()))
        taking.start()
        ahead.close()
        out.close()
        taking.join()
    assert found == [b"".join(PARTS)]


def test_so_much_waits_and_no_more():
    reader, writer = os.pipe()
    half = feed._AHEAD_BYTES // 2
    with os.fdopen(writer, "wb") as out, os.fdopen(reader, "rb") as taken:
        ahead = feed._Ahead(out)
        sizes = []

        def put() -> None:
            for _ in range(9):
                ahead.put(bytes(half))
                sizes.append(ahead._size)

        putting = threading.Thread(target=put)
        putting.start()
        while ahead._size < feed._AHEAD_BYTES:
            pass
        left = 9 * half
        while left:
            left -= len(taken.read1(left))
        putting.join()
        ahead.close()
    assert len(sizes) == 9
    assert max(sizes) <= feed._AHEAD_BYTES + half


def test_reading_ends_where_nobody_is_left_to_take_it():
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb", buffering=0) as out:
        ahead = feed._Ahead(out)
        with pytest.raises(BrokenPipeError):
            while True:
                ahead.put(PARTS[0])
        ahead.close()
