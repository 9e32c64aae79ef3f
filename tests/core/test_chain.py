from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallygate.core.proof import GENESIS, Head, Link, Walk, canonical_bytes, event_hash


def links(count, chain_id="ledger/t"):
    made, previous = [], GENESIS
    for seq in range(1, count + 1):
        body = canonical_bytes({"seq": seq, "text": "ü"})
        previous = event_hash(chain_id, seq, previous, body)
        made.append(Link(seq, body, previous))
    return made


def test_an_event_s_hash_is_built_as_documented():
    expected = hashlib.sha256(
        b"tallygate/event/v1\x00" + b"\x00\x03l/t" + (1).to_bytes(8, "big") + bytes(32) + b'{"a":1}'
    ).digest()
    assert event_hash("l/t", 1, GENESIS, b'{"a":1}') == expected


def test_canonical_bytes_do_not_depend_on_the_order_of_keys():
    assert canonical_bytes({"b": 1, "a": "ü"}) == canonical_bytes({"a": "ü", "b": 1}) == '{"a":"ü","b":1}'.encode()


def first_break(chain_id, links, head):
    """What is wrong with a chain first; None where it holds, up to its head where one is expected."""
    walk = Walk(chain_id)
    broken = next(filter(None, map(walk.take, links)), None)
    return broken or (None if head is None else walk.end(head))


def test_a_whole_chain_holds():
    chain = links(5)
    assert first_break("ledger/t", chain, Head(5, chain[-1].hash)) is None


@pytest.mark.parametrize("at", range(5))
def test_a_changed_event_breaks_the_chain_there(at):
    chain = links(5)
    chain[at] = Link(chain[at].seq, chain[at].body + b" ", chain[at].hash)
    broken = first_break("ledger/t", chain, None)
    assert broken is not None
    assert broken.seq == at + 1


def test_a_removed_event_a_cut_tail_and_another_ledger_are_seen():
    chain = links(5)
    head = Head(5, chain[-1].hash)
    assert first_break("ledger/t", chain[:2] + chain[3:], head) is not None
    assert first_break("ledger/t", chain[:4], head) is not None
    assert first_break("other/t", chain, head) is not None


@given(st.integers(0, 4), st.integers(0, 4))
def test_swapped_events_are_seen(first, second):
    chain = links(5)
    chain[first], chain[second] = chain[second], chain[first]
    assert (first_break("ledger/t", chain, None) is None) == (first == second)
