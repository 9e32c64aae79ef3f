"""Log records out of OTLP/JSON, whatever is sent under that name."""

from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.telling import record, request

from tallygate.clients.reading import otlp
from tallygate.clients.reading.otlp import TelemetrySkip, read_logs
from tallygate.core.errors import InvalidArgument


def read(value):
    return read_logs(json.dumps(value).encode())


def attributes_of(*attributes):
    found = read(request({"attributes": list(attributes)}))
    return [each.attributes for each in found.records], dict(found.left)


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        ({"stringValue": "text"}, "text"),
        ({"stringValue": ""}, ""),
        ({"intValue": 12}, 12),
        ({"intValue": "12"}, 12),
        ({"intValue": "-9223372036854775808"}, -(2**63)),
        ({"intValue": "9223372036854775808"}, "9223372036854775808"),
        ({"intValue": 10**30}, str(10**30)),
        ({"intValue": 10**3000}, ""),
        ({"intValue": "1e3"}, "1e3"),
        ({"intValue": "100,000"}, "100,000"),
        ({"intValue": True}, ""),
        ({"intValue": 1.5}, "1.5"),
        ({"doubleValue": 0.0016279999999999999}, "0.0016279999999999999"),
        ({"doubleValue": 3}, "3"),
        ({"doubleValue": float("nan")}, "NaN"),
        ({"boolValue": False}, False),
        ({"boolValue": "false"}, ""),
        ({"stringValue": 5}, ""),
        ({"stringValue": "x" * 5000}, ""),
        ({"arrayValue": {"values": []}}, ""),
        ({"stringValue": "a", "intValue": 1}, ""),
        ({}, ""),
        (None, None),
        ("text", ""),
    ],
)
def test_an_attribute_is_one_plain_value_or_there_without_one(value, plain):
    [found], left = attributes_of({"key": "k", "value": value})
    assert found == ({} if plain is None else {"k": plain})
    assert left == {}


def test_an_attribute_written_twice_has_no_one_meaning():
    assert attributes_of({"key": "k", "value": {"intValue": 1}}, {"key": "k", "value": {"intValue": 2}}) == (
        [],
        {TelemetrySkip.DUPLICATE_KEY: 1},
    )


def test_names_that_are_none_are_left_out():
    [found], _ = attributes_of({"key": 5, "value": {"intValue": 1}}, {"value": {"intValue": 1}}, {"key": "x" * 300})
    assert found == {}


def test_records_carry_the_attributes_of_their_resource_and_their_time():
    [found] = read(request(record({"a": 1}, 5))).records
    assert found.resource == {"service.name": "claude-code", "service.version": "2.1.330"}
    assert (found.attributes, found.at_ns) == ({"a": 1}, 5)


@pytest.mark.parametrize(
    ("times", "at_ns"),
    [
        ({"timeUnixNano": "7"}, 7),
        ({"timeUnixNano": 7}, 7),
        ({"timeUnixNano": "0", "observedTimeUnixNano": "8"}, 8),
        ({"timeUnixNano": "soon"}, None),
        ({}, None),
    ],
)
def test_the_time_is_that_of_the_event_else_when_it_was_seen(times, at_ns):
    [found] = read(request({"attributes": [], **times})).records
    assert found.at_ns == at_ns


@pytest.mark.parametrize(
    ("value", "left"),
    [
        ({}, {}),
        ({"resourceLogs": None}, {}),
        ({"resourceLogs": "text"}, {TelemetrySkip.NOT_OBJECT: 1}),
        ({"resourceLogs": [5, {"scopeLogs": [None, {"logRecords": ["x", []]}]}]}, {TelemetrySkip.NOT_OBJECT: 4}),
        ({"resourceSpans": [{}]}, {}),
    ],
)
def test_what_is_no_record_is_counted_and_passed_over(value, left):
    found = read(value)
    assert (found.records, dict(found.left), dict(found.lost)) == ([], left, left)


@pytest.mark.parametrize(
    ("attributes", "lost"),
    [
        ([5, {"key": "a", "value": {"intValue": 1}}], {}),
        ([{"key": "a", "value": {"intValue": 1}}] * 2, {TelemetrySkip.DUPLICATE_KEY: 1}),
        ([{"key": f"k{number}"} for number in range(300)], {TelemetrySkip.TOO_MANY_ATTRIBUTES: 1}),
    ],
)
def test_a_record_is_lost_only_where_none_of_it_can_be_used(attributes, lost):
    for one in ({"attributes": attributes}, None):
        group = {"resource": {"attributes": attributes}, "scopeLogs": []}
        found = read(request(one) if one else {"resourceLogs": [group]})
        assert dict(found.lost) == lost, "also of a resource, without which nobody knows whose its records are"


def test_a_record_without_a_readable_resource_has_an_empty_one():
    found = read({"resourceLogs": [{"resource": 5, "scopeLogs": [{"logRecords": [record({"a": 1})]}]}]})
    assert [each.resource for each in found.records] == [{}]


def test_more_records_than_an_exporter_sends_are_counted_and_left(monkeypatch):
    monkeypatch.setattr(otlp, "RECORDS_MAX", 2)
    found = read(request(*[record({"a": 1})] * 5))
    assert (len(found.records), found.left[TelemetrySkip.TOO_MANY]) == (2, 3)


def test_a_record_with_too_many_attributes_is_counted_and_left():
    many = [{"key": f"k{number}", "value": {"intValue": 1}} for number in range(300)]
    assert attributes_of(*many) == ([], {TelemetrySkip.TOO_MANY_ATTRIBUTES: 1})


@pytest.mark.parametrize(
    ("payload", "what"),
    [
        (b"", "not valid JSON"),
        (b"\x0a\x02", "not valid JSON"),
        (b"\xff", "not valid JSON"),
        (b"[]", "not a JSON object"),
        (b"5", "not a JSON object"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"a": ' + b"9" * 10_000 + b"}", "not valid JSON"),
        (b" " * (8 * 1024 * 1024 + 1), "longer than"),
    ],
)
def test_a_payload_that_is_no_request_is_refused(payload, what):
    with pytest.raises(InvalidArgument, match=what):
        read_logs(payload)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                [
                    "resourceLogs",
                    "resource",
                    "scopeLogs",
                    "logRecords",
                    "attributes",
                    "key",
                    "value",
                    "intValue",
                    "stringValue",
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=30,
)


@given(json_values)
def test_any_json_is_read_or_refused_and_nothing_else_happens(value):
    try:
        found = read(value)
    except InvalidArgument:
        assert not isinstance(value, dict)
        return
    for each in found.records:
        assert all(type(held) in (str, int, bool) for held in each.attributes.values())


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(raw):
    with contextlib.suppress(InvalidArgument):
        assert read_logs(raw).records == []
