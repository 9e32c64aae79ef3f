"""Every request gets an answer, whatever is wrong with it."""

from __future__ import annotations

import json
import random

import pytest
from bench.wire import SERVE, Server
from mcp.types import JSONRPCRequest

from tallygate.entrypoints.mcp_server.requests import id_in, sort_out

PING = b'{"jsonrpc":"2.0","id":7,"method":"ping"}'
HUGE = b"9" * 4301
REFUSED = {
    "invalid JSON": (b'{"jsonrpc":"2.0","id":7,"method":"ping"', -32700, 7),
    "no JSON at all": (b"hello", -32700, None),
    "bytes that are no UTF-8": (b"\xff\xfe", -32700, None),
    "an integer of 4,301 digits": (b'{"jsonrpc":"2.0","id":7,"method":"m","params":{"n":' + HUGE + b"}}", -32700, 7),
    "arrays nested 200 deep": (
        b'{"id":"x","jsonrpc":"2.0","method":"m","params":{"n":' + b"[" * 200 + b"]" * 200 + b"}}",
        -32600,
        "x",
    ),
    "params that are a list": (b'{"jsonrpc":"2.0","id":7,"method":"ping","params":[]}', -32602, 7),
    "a fractional id": (b'{"jsonrpc":"2.0","id":1.5,"method":"ping"}', -32600, None),
    "an id of null": (b'{"jsonrpc":"2.0","id":null,"method":"ping"}', -32600, None),
    "another version of JSON-RPC": (b'{"jsonrpc":"1.0","id":7,"method":"ping"}', -32600, 7),
    "a number": (b"5", -32600, None),
    "an empty batch": (b"[]", -32600, None),
    "a batch outside its version": (b"[" + PING + b"]", -32600, 7),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_request_is_refused_with_its_id_where_that_can_be_read(name):
    line, code, request_id = REFUSED[name]
    found = sort_out(line, batches=False)
    assert found.onward == ()
    assert [(each["error"]["code"], each["id"]) for each in found.refused] == [(code, request_id)]


def test_a_byte_order_mark_and_a_cut_emoji_are_no_reason_to_refuse():
    (onward,) = sort_out(b"\xef\xbb\xbf" + PING + b"\r\n", batches=False).onward
    assert (onward.id, onward.method) == (7, "ping")
    cut = b'{"jsonrpc":"2.0","id":7,"method":"m","params":{"t":"fix \\ud83d"}}'
    (onward,) = sort_out(cut, batches=False).onward
    assert onward.params == {"t": "fix ?"}


def test_a_batch_is_taken_apart_where_its_version_has_batches():
    found = sort_out(b"[" + PING + b',5,{"jsonrpc":"2.0","method":"notifications/initialized"}]', batches=True)
    assert len(found.onward) == 2
    assert [each["id"] for each in found.refused] == [None]


def test_notifications_blank_lines_and_broken_answers_are_not_answered():
    for line in (b"\n", b'{"jsonrpc":"2.0","method":"m"}', b'{"jsonrpc":"2.0","id":1.5,"result":{}}'):
        assert sort_out(line, batches=False).refused == ()


def test_only_the_id_of_the_request_itself_is_its_id():
    assert id_in(b'{"params":{"id":1},"x":"\\"id\\":2","id":"three"') == "three"


@pytest.mark.slow
def test_each_of_2000_fuzzed_requests_is_answered(tmp_path):
    chance = random.Random(7)
    with Server(SERVE, tmp_path / "home", quiet=True) as server:
        server.greet()
        for number in range(2000):
            line = bytearray(
                json.dumps({"jsonrpc": "2.0", "method": "ping", "params": {"a": [1, "b"]}, "id": number}).encode()
            )
            for _ in range(chance.randrange(4)):
                line[chance.randrange(1, len(line))] = chance.choice(b'{}[]",:\\019ae\xff ')
            server.process.stdin.write(bytes(line) + b"\n")
            server.process.stdin.flush()
            found = sort_out(bytes(line), batches=False)
            asked = [each for each in found.onward if isinstance(each, JSONRPCRequest)]
            for _ in (*found.refused, *asked):
                answer = server.receive()
                assert ("error" in answer) or not found.refused
            assert found.refused or asked or "id" not in json.loads(line)
        assert server.request("ping") == {}
