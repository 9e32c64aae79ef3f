"""Asking a billing API: within bounds, patiently, and with a key that is seen by nobody but the provider."""

from __future__ import annotations

import json
import logging
import socket
import traceback
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from ipaddress import ip_address

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st
from tests.statements.server import DAY, KEY, Fault, serving, used_in_march

from tallygate.core.errors import ProviderUnavailable, SettingsError
from tallygate.core.moments import microseconds
from tallygate.core.statements import Billing, TokenClass, unfit
from tallygate.statements.apis import anthropic, anthropic_analytics, openai, openrouter
from tallygate.statements.apis.answers import Days
from tallygate.statements.apis.asking import Api, AskingBounds, BadAnswer, Clock, Number, usable_address, usable_key

TODAY = date(2026, 3, 31)
NOW = datetime(2026, 3, 31, 12, tzinfo=UTC)
WHOLE = Days(date(2026, 3, 1), date(2026, 4, 1), open=True)
QUICK = AskingBounds(connect_us=2_000_000, read_us=2_000_000)
REPORTS = {
    "anthropic_usage": (anthropic.ANTHROPIC, anthropic.usage),
    "anthropic_costs": (anthropic.ANTHROPIC, anthropic.costs),
    "analytics_usage": (anthropic.ANTHROPIC, anthropic_analytics.usage),
    "analytics_costs": (anthropic.ANTHROPIC, anthropic_analytics.costs),
    "openai_usage": (openai.OPENAI, openai.usage),
    "openai_costs": (openai.OPENAI, openai.costs),
    "openrouter": (openrouter.OPENROUTER, openrouter.activity),
}
PAGED = [name for name in REPORTS if name != "openrouter"]
# Those that give buckets of days with rows in them.
BUCKETED = [name for name in PAGED if not name.startswith("analytics")]
HELD = {"analytics_usage": "anthropic_usage", "analytics_costs": "anthropic_costs"}


@pytest.fixture
def server():
    with serving(TODAY) as held:
        used_in_march(held)
        yield held


class Time:
    """A clock that stands still but for the pauses, and by `step` at each look."""

    def __init__(self, step=0):
        self.at_us, self.step, self.pauses = microseconds(NOW), step, []

    def now_us(self):
        self.at_us += self.step
        return self.at_us

    def pause_us(self, span):
        self.pauses.append(span // 1_000_000)
        self.at_us += span


def asked(server, name, *, days=WHOLE, limits=QUICK, time=None, key=KEY, told=None):
    provider, report = REPORTS[name]
    time = time or Time()
    tell = (lambda _: None) if told is None else told.append
    api = Api(provider, server.url, key, Clock(time.now_us, time.pause_us), limits, tell)
    with api.opened():
        return report(api, days)


def refusal(*arguments, **more):
    with pytest.raises(ProviderUnavailable) as caught:
        asked(*arguments, **more)
    said = "".join(traceback.format_exception(caught.value))
    assert KEY not in said + repr(vars(caught.value))
    assert caught.value.__context__ is None, "a library's exception holds the request with its key"
    return caught.value


def days_of(held):
    return [row for row in held if date(2026, 3, 1) <= row["day"] <= TODAY]


# --- what comes in ---------------------------------------------------------------------------------------------


def nanos(amounts, shift=9):
    return int((sum(amounts) * 10**shift).to_integral_exact())


@pytest.mark.parametrize("page_days", [1, 7, 31])
def test_anthropics_tokens_are_those_that_the_provider_holds_on_however_many_pages(server, page_days):
    server.page_days = page_days
    lines = asked(server, "anthropic_usage").lines
    held = days_of(server.anthropic_usage)
    assert len(lines) == 31 * 2, "the tiers of a model are one line: nobody told them apart"
    assert sum(line.tokens.fresh_input for line in lines) == sum(row["uncached_input_tokens"] for row in held)
    assert sum(line.tokens.cache_write for line in lines) == sum(row["hour"] + row["five"] for row in held)
    assert sum(line.tokens.output for line in lines) == sum(row["output_tokens"] for row in held)
    assert all(
        line.tokens.read == line.tokens.fresh_input + line.tokens.cache_read + line.tokens.cache_write for line in lines
    )
    assert {(line.model, line.key, line.workspace) for line in lines} == {
        ("claude-opus-4-6", "apikey_01", "wrkspc_01"),
        ("claude-haiku-4-5", None, None),
    }
    assert all(line.cost_nanos is None and line.requests is None for line in lines)
    assert {line.at for line in lines} == {datetime(2026, 3, day, tzinfo=UTC) for day in range(1, 32)}
    assert all(line.until - line.at == DAY for line in lines)


@pytest.mark.parametrize("page_rows", [1, 7, 1000])
def test_anthropics_analytics_are_what_the_provider_holds_by_day_model_key_and_who(server, page_rows):
    server.page_rows = page_rows
    lines = asked(server, "analytics_usage").lines
    held = days_of(server.anthropic_usage)
    assert sum(line.tokens.fresh_input for line in lines) == sum(row["uncached_input_tokens"] for row in held)
    assert sum(line.tokens.cache_read for line in lines) == sum(row["cache_read_input_tokens"] for row in held)
    assert sum(line.tokens.cache_write for line in lines) == sum(row["hour"] + row["five"] for row in held)
    assert sum(line.tokens.output for line in lines) == sum(row["output_tokens"] for row in held)
    assert {(line.model, line.key, line.workspace) for line in lines} == {
        ("claude-opus-4-6", "apikey_01", "wrkspc_01"),
        ("claude-haiku-4-5", "anna@example.com", None),
    }
    assert {line.requests for line in lines} == {3}
    paid = asked(server, "analytics_costs").lines
    assert sum(line.cost_nanos for line in paid) == nanos([row["cents"] for row in days_of(server.anthropic_costs)], 7)
    classes = {line.token_class for line in paid}
    assert classes == {TokenClass.INPUT, TokenClass.CACHE_WRITE, TokenClass.OUTPUT, TokenClass.OTHER}
    assert len({line.identity for line in (*lines, *paid)}) == len(lines) + len(paid)


@pytest.mark.parametrize("name", ["analytics_usage", "analytics_costs"])
def test_a_row_of_a_day_that_was_not_asked_for_is_refused(server, name):
    row = {"starting_at": "2026-02-28T00:00:00Z", "ending_at": "2026-03-01T00:00:00Z", "group": {}}
    row |= {"usage": {"output_tokens": 1}, "cost": {"amount": "1"}}
    server.faults.append(Fault(body=json.dumps({"data": [row]}).encode()))
    with pytest.raises(BadAnswer, match="is of 2026-02-28, which was not asked for"):
        asked(server, name)


@pytest.mark.parametrize("page_days", [1, 7, 31])
def test_anthropics_cents_come_in_to_the_nano_dollar(server, page_days):
    server.page_days = page_days
    found = asked(server, "anthropic_costs")
    assert found.currency == "USD"
    assert sum(line.cost_nanos for line in found.lines) == nanos(
        [row["cents"] for row in days_of(server.anthropic_costs)], 7
    )
    first = next(line for line in found.lines if line.at.date() == TODAY and line.model == "claude-opus-4-6")
    assert first.cost_nanos == 1_237_891_200
    credit = next(line for line in found.lines if line.token_class is TokenClass.OTHER)
    assert (credit.cost_nanos, credit.model) == (-5_000_000, None)
    kinds = {line.token_class for line in found.lines}
    assert kinds == {TokenClass.INPUT, TokenClass.CACHE_WRITE, TokenClass.OUTPUT, TokenClass.OTHER}


@pytest.mark.parametrize("page_days", [1, 31])
def test_openais_input_holds_its_cached_tokens_and_is_taken_apart(server, page_days):
    server.page_days = page_days
    lines = asked(server, "openai_usage").lines
    held = days_of(server.openai_usage)
    assert sum(line.tokens.read for line in lines) == sum(row["input_tokens"] for row in held)
    assert sum(line.tokens.cache_read for line in lines) == sum(row["input_cached_tokens"] for row in held)
    assert all(line.tokens.fresh_input + line.tokens.cache_read == line.tokens.read for line in lines)
    assert all(line.tokens.cache_write is None for line in lines), "not said is not 0"
    assert sum(line.requests for line in lines) == 5 * 31
    assert {(line.model, line.key, line.workspace) for line in lines} == {("gpt-5.2", "key_1", "proj_abc")}


@pytest.mark.parametrize(
    ("told", "fresh", "cached", "written"),
    [
        ({"input_tokens": 100, "input_cached_tokens": 60}, 40, 60, None),
        ({"input_tokens": 100, "input_cached_tokens": 60, "input_cache_write_tokens": 30}, 10, 60, 30),
        ({"input_tokens": 100, "input_cached_tokens": 60, "input_uncached_tokens": 40}, 40, 60, None),
        ({"input_tokens": 100, "input_uncached_tokens": 40}, 40, None, None),
        ({"input_tokens": 100}, None, None, None),
        ({}, None, None, None),
    ],
)
def test_what_openai_does_not_say_is_not_taken_for_nothing(server, told, fresh, cached, written):
    body = {"data": [{**SPAN["openai_usage"], "results": [told]}]}
    server.faults.append(Fault(body=json.dumps(body).encode()))
    (line,) = asked(server, "openai_usage").lines
    tokens = line.tokens
    assert (tokens.fresh_input, tokens.cache_read, tokens.cache_write) == (fresh, cached, written)
    assert tokens.read == told.get("input_tokens")


def test_openais_amounts_are_units_of_the_currency_and_items_name_model_and_tokens(server):
    found = asked(server, "openai_costs")
    assert found.currency == "USD"
    assert sum(line.cost_nanos for line in found.lines) == nanos([row["value"] for row in days_of(server.openai_costs)])
    assert {(line.model, line.token_class) for line in found.lines} == {
        ("gpt-5.2", TokenClass.INPUT),
        ("gpt-5.2", TokenClass.CACHE_READ),
        ("gpt-5.2", TokenClass.OUTPUT),
        ("web search tool calls", TokenClass.OTHER),
    }


def test_money_of_own_keys_is_told_beside_what_openrouter_charges(server):
    lines = asked(server, "openrouter", days=Days(TODAY - 30 * DAY, TODAY)).lines
    charged = [line for line in lines if line.billing is Billing.METERED]
    elsewhere = [line for line in lines if line.billing is Billing.INCLUDED]
    assert (len(charged), len(elsewhere)) == (30, 15)
    assert sum(line.cost_nanos for line in charged) == 30 * 15_000_000
    assert sum(line.cost_nanos for line in elsewhere) == 15 * 12_000_000
    assert {
        (line.model, line.tokens.read, line.tokens.fresh_input, line.tokens.output, line.requests) for line in charged
    } == {("openai/gpt-4.1", 50, None, 125, 5)}
    assert all(line.requests is None and line.tokens.read is None for line in elsewhere), "each request counts once"


def test_days_that_were_not_asked_for_stay_out(server):
    days = Days(date(2026, 3, 10), date(2026, 3, 12))
    for name in REPORTS:
        assert {line.at.date() for line in asked(server, name, days=days).lines} == {
            date(2026, 3, 10),
            date(2026, 3, 11),
        }


@pytest.mark.parametrize("name", BUCKETED)
def test_an_end_is_asked_for_only_where_it_is_not_in_the_future(server, name):
    asked(server, name, days=WHOLE)
    asked(server, name, days=Days(date(2026, 3, 10), date(2026, 3, 12)))
    first, second = (query for _, query in server.asked)
    assert not {"ending_at", "end_time"} & set(first)
    assert {"ending_at", "end_time"} & set(second)


@pytest.mark.parametrize("name", REPORTS)
def test_the_same_days_have_the_same_digest_however_they_come(server, name):
    days = Days(date(2026, 3, 10), date(2026, 3, 20))
    first = asked(server, name, days=days)
    server.page_days = 3
    server.page_rows = 7
    getattr(server, HELD.get(name, name)).reverse()
    again = asked(server, name, days=days)
    assert again.digest == first.digest
    assert {line.identity for line in again.lines} == {line.identity for line in first.lines}
    assert len({line.identity for line in first.lines}) == len(first.lines)


@pytest.mark.parametrize(
    "name, column", [("anthropic_usage", "output_tokens"), ("anthropic_costs", "cents"), ("openai_costs", "value")]
)
def test_a_day_that_has_grown_has_another_digest_and_the_same_lines(server, name, column):
    days = Days(date(2026, 3, 10), date(2026, 3, 20))
    first = asked(server, name, days=days)
    for row in getattr(server, name):
        row[column] += 1
    again = asked(server, name, days=days)
    assert again.digest != first.digest
    assert [line.identity for line in again.lines] == [line.identity for line in first.lines]


# --- what goes wrong -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", REPORTS)
def test_a_busy_provider_is_asked_again_when_it_says(server, name):
    whole = asked(server, name)
    time, told = Time(), []
    server.faults.extend(
        [Fault(429, headers={"retry-after": "7"}), Fault(503), Fault(529, headers={"retry-after": "x"})]
    )
    assert asked(server, name, time=time, told=told).digest == whole.digest
    assert time.pauses == [7, 2, 4]
    assert "too many questions" in told[0]
    assert "asking again in 7 s" in told[0]


def test_a_retry_after_may_be_a_moment_and_one_in_the_past_is_now(server):
    time = Time()
    server.faults.append(Fault(429, headers={"retry-after": "Tue, 31 Mar 2026 12:00:20 GMT"}))
    server.faults.append(Fault(429, headers={"retry-after": "Tue, 31 Mar 2026 11:00:00 GMT"}))
    asked(server, "openrouter", time=time)
    assert time.pauses == [20, 0]


def test_a_provider_that_wants_to_be_left_alone_for_long_is(server):
    time = Time()
    server.faults.append(Fault(429, headers={"retry-after": "3600"}))
    error = refusal(server, "openai_usage", time=time)
    assert "asked again in 3,600 s" in error.message
    assert time.pauses == []


def test_all_waits_of_a_command_together_are_bounded(server):
    time = Time()
    limits = replace(QUICK, waits_us=100_000_000)
    server.faults.extend([Fault(429, headers={"retry-after": "40"})] * 3)
    refusal(server, "openai_usage", time=time, limits=limits)
    assert time.pauses == [40, 40]


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_a_provider_that_stays_down_is_given_up(server, status):
    time = Time()
    server.faults.extend([Fault(status)] * 99)
    error = refusal(server, "anthropic_costs", time=time)
    assert f"HTTP {status}" in error.message
    assert "asked 5 times" in error.message
    assert (error.code, len(server.asked), time.pauses) == ("provider_unavailable", 5, [1, 2, 4, 8])


KEY_KINDS = {
    "anthropic_usage": "Admin API key (sk-ant-admin",
    "openai_costs": "admin key (sk-admin-",
    "openrouter": "management key",
}


@pytest.mark.parametrize("name", KEY_KINDS)
@pytest.mark.parametrize("status", [401, 403])
def test_a_key_that_may_not_says_which_kind_is_needed_and_is_not_tried_again(server, name, status):
    server.faults.append(Fault(status, json.dumps({"error": {"message": f"Incorrect key {KEY}"}}).encode()))
    error = refusal(server, name)
    assert error.code == "provider_refused"
    assert KEY_KINDS[name] in error.hint
    assert len(server.asked) == 1


def test_a_key_that_the_provider_does_not_know_is_refused_by_the_real_check(server):
    server.key = "sk-another-key-0123"
    for name in REPORTS:
        assert refusal(server, name).code == "provider_refused"


def test_a_question_that_is_refused_says_why_without_anything_like_a_key(server):
    said = {"error": {"message": f"bad \x1b[31mgroup_by for {KEY} and sk-other-1234 and Bearer abc123"}}
    server.faults.append(Fault(400, json.dumps(said).encode()))
    error = refusal(server, "openai_usage")
    assert "HTTP 400): bad [31mgroup_by for [key] and [key] and [key]." in error.message


@pytest.mark.parametrize(
    "body", [b"<html>", b"\xff\xfe", b"[1]", b'{"error": 7}', b"x" * 2**17, b'{"error": {"message": ["x"]}}']
)
def test_a_refusal_may_say_anything(server, body):
    server.faults.append(Fault(404, body))
    assert refusal(server, "openai_usage").message == "OpenAI refused the question (HTTP 404)."


@pytest.mark.parametrize("status", [301, 302, 307, 308])
@pytest.mark.parametrize("target", ["https://evil.example/take", "//evil.example", "/v1/elsewhere", ""])
def test_a_redirect_is_never_followed(server, status, target):
    server.faults.append(Fault(status, headers={"location": target}))
    error = refusal(server, "anthropic_usage")
    assert "redirect" in error.message
    assert ("'evil.example'" in error.message) == ("evil" in target)
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    "body, why",
    [
        (b"", "it is not JSON"),
        (b"{", "it is not JSON"),
        (b"\xff", "it is not JSON"),
        (b"<html>sorry</html>", "it is not JSON"),
        (b'{"data": NaN}', "it is not JSON"),
        (b'{"data": ' + b"9" * 5000 + b"}", "it is not JSON"),
        (b"[]", "it is no JSON object"),
        (b'{"data":' + b"[" * 200_000, "it is nested too deeply"),
        (b"{}", "data is missing"),
        (b'{"data": {}}', "data is an object, not a list"),
        (b'{"data": 1.5}', "data is a number, not a list"),
        (b'{"data": [1]}', r"data\[0\] is no object"),
        (b'{"data": [{}, "x"]}', r"data\[1\] is no object"),
    ],
)
@pytest.mark.parametrize("name", REPORTS)
def test_an_answer_that_is_none_is_refused(server, name, body, why):
    server.faults.append(Fault(body=body))
    with pytest.raises(BadAnswer, match=f"^{why}$"):
        asked(server, name)


SPAN = {
    "analytics_usage": {"starting_at": "2026-03-31T00:00:00Z", "ending_at": "2026-04-01T00:00:00Z"},
    "analytics_costs": {"starting_at": "2026-03-31T00:00:00Z", "ending_at": "2026-04-01T00:00:00Z"},
    "anthropic_usage": {"starting_at": "2026-03-31T00:00:00Z", "ending_at": "2026-04-01T00:00:00Z"},
    "anthropic_costs": {"starting_at": "2026-03-31T00:00:00Z", "ending_at": "2026-04-01T00:00:00Z"},
    "openai_usage": {"start_time": 1774915200, "end_time": 1775001600},
    "openai_costs": {"start_time": 1774915200, "end_time": 1775001600},
}
WRONG_ROWS = (
    ("anthropic_usage", {"uncached_input_tokens": -1}, "uncached_input_tokens is -1, not a count"),
    ("anthropic_usage", {"uncached_input_tokens": "12"}, "uncached_input_tokens is '12', not a count"),
    ("anthropic_usage", {"output_tokens": True}, "output_tokens is True, not a count"),
    ("anthropic_usage", {"output_tokens": 1.5}, "output_tokens is '1.5', not a count"),
    ("anthropic_usage", {"output_tokens": 10**13}, "output_tokens is 10000000000000, not a count"),
    ("anthropic_usage", {"cache_creation": 5}, "cache_creation is a number, not an object"),
    ("anthropic_usage", {"model": 5}, "model is a number, not text"),
    ("anthropic_usage", {"model": ["x"]}, "model is a list, not text"),
    ("anthropic_costs", {}, "amount is missing"),
    ("anthropic_costs", {"amount": "1,50"}, "amount is '1,50', not an amount"),
    ("anthropic_costs", {"amount": "1_000"}, "amount is '1_000', not an amount"),
    ("anthropic_costs", {"amount": "NaN"}, "amount is 'NaN', not an amount"),
    ("anthropic_costs", {"amount": "1e99"}, "amount must be from 0 to 4,000,000,000"),
    ("anthropic_costs", {"amount": "400000001"}, "amount is '400000001', more than 4,000,000"),
    ("anthropic_costs", {"amount": False}, "amount is False, not an amount"),
    ("anthropic_costs", {"amount": "1", "currency": "EUR"}, "amounts are in EUR, whose smallest unit"),
    ("anthropic_costs", {"amount": "1", "currency": "$$"}, r"currency is '\$\$'"),
    ("openai_usage", {"input_tokens": 5, "input_cached_tokens": 6}, "less than the cached ones"),
    ("openai_costs", {}, "amount is missing"),
    ("openai_costs", {"amount": {}}, "amount.value is missing"),
    ("openai_costs", {"amount": {"value": [1]}}, "amount.value is .*, not an amount"),
    ("openai_costs", {"amount": {"value": 1, "currency": 4}}, "amount.currency is a number, not text"),
)


@pytest.mark.parametrize("name, row, why", WRONG_ROWS)
def test_a_field_of_another_type_is_named_with_its_place(server, name, row, why):
    body = {"data": [{**SPAN[name], "results": [row]}], "has_more": False}
    server.faults.append(Fault(body=json.dumps(body).encode()))
    with pytest.raises(BadAnswer, match=why):
        asked(server, name)


def test_amounts_in_several_currencies_are_no_bill(server):
    results = [{"amount": {"value": 1, "currency": unit}} for unit in ("usd", "eur")]
    body = {"data": [{**SPAN["openai_costs"], "results": results}]}
    server.faults.append(Fault(body=json.dumps(body).encode()))
    with pytest.raises(BadAnswer, match="several currencies: EUR, USD"):
        asked(server, "openai_costs")


@pytest.mark.parametrize(
    "amount, expected",
    [
        ({"value": 0.06}, 60_000_000),
        ({"value": "2.25"}, 2_250_000_000),
        ({"value": 3}, 3_000_000_000),
        ({"value": "0E-28"}, 0),
        ({"value": 1e-07}, 100),
        ({"value": "-1.5"}, -1_500_000_000),
        ({"value": 0.44999999999999996}, 450_000_000),
    ],
)
def test_an_amount_may_be_a_number_or_text_and_is_taken_by_its_digits(server, amount, expected):
    body = {"data": [{**SPAN["openai_costs"], "results": [{"amount": amount}]}]}
    server.faults.append(Fault(body=json.dumps(body).encode()))
    assert [line.cost_nanos for line in asked(server, "openai_costs").lines] == [expected]


@pytest.mark.parametrize(
    "span, why",
    [
        ({"starting_at": "2026-03-31T00:00:00Z"}, "ending_at is None, not a moment"),
        ({"starting_at": 1.5, "ending_at": 2}, "starting_at is '1.5', not a moment"),
        ({"starting_at": "yesterday", "ending_at": "today"}, "starting_at is 'yesterday', not a moment"),
        ({"starting_at": 10**30, "ending_at": 2}, "starting_at is a number of more than 18 digits"),
        ({"starting_at": "2026-03-31T00:00:00Z", "ending_at": "2026-03-31T01:00:00Z"}, "not a day"),
        ({"starting_at": "2026-03-31T06:00:00Z", "ending_at": "2026-04-01T06:00:00Z"}, "not a day"),
        ({"starting_at": "2026-04-01T00:00:00Z", "ending_at": "2026-03-31T00:00:00Z"}, "not a day"),
    ],
)
def test_a_bucket_is_one_utc_day(server, span, why):
    server.faults.append(Fault(body=json.dumps({"data": [{**span, "results": []}]}).encode()))
    with pytest.raises(BadAnswer, match=why):
        asked(server, "anthropic_usage")


@pytest.mark.parametrize("when", ["2026-03-30", "2026-03-30T00:00:00Z", "2026-03-30 00:00:00"])
def test_openrouters_date_may_carry_the_first_moment_of_its_day(server, when):
    server.faults.append(Fault(body=json.dumps({"data": [{"date": when, "usage": 1, "requests": 2.0}]}).encode()))
    (line,) = asked(server, "openrouter").lines
    assert (line.at, line.requests, line.cost_nanos) == (datetime(2026, 3, 30, tzinfo=UTC), 2, 10**9)


@pytest.mark.parametrize(
    "row, why",
    [
        ({"usage": 1}, "date is None, not a moment"),
        ({"date": "2026-03-30T10:00:00Z", "usage": 1}, "not a day"),
        ({"date": "2026-03-30"}, "usage is missing"),
        ({"date": "2026-03-30", "usage": 1, "requests": 0.5}, "requests is '0.5', not a count"),
    ],
)
def test_a_wrong_row_of_openrouter_is_named(server, row, why):
    server.faults.append(Fault(body=json.dumps({"data": [row]}).encode()))
    with pytest.raises(BadAnswer, match=why):
        asked(server, "openrouter")


def test_names_from_outside_are_cleaned_and_cut(server):
    row = {"model": "claude\x1b[31m\u202e" + "x" * 500, "output_tokens": 1}
    server.faults.append(Fault(body=json.dumps({"data": [{**SPAN["anthropic_usage"], "results": [row]}]}).encode()))
    (line,) = asked(server, "anthropic_usage").lines
    assert line.model.startswith("claude [31m xxx")
    assert len(line.model) == 200


@pytest.mark.parametrize("name", PAGED)
def test_pages_that_never_end_are_given_up(server, name):
    body = {"data": [], "has_more": True, "next_page": "page_1"}
    server.faults.extend([Fault(body=json.dumps(body).encode())] * 3)
    with pytest.raises(BadAnswer, match="leads back to an earlier one"):
        asked(server, name)
    server.faults.clear()
    server.faults.extend(
        Fault(body=json.dumps({**body, "next_page": f"page_{number}"}).encode()) for number in range(20)
    )
    with pytest.raises(BadAnswer, match="goes on after 10 pages"):
        asked(server, name, limits=replace(QUICK, pages=10))


@pytest.mark.parametrize(
    "cursor, why",
    [
        (None, "has_more is true and next_page is missing"),
        ("", "has_more is true and next_page is missing"),
        (7, "next_page is a number, not text"),
        ("x" * 4001, "next_page has 4,001 characters"),
    ],
)
def test_a_page_that_promises_another_and_does_not_lead_there_is_refused(server, cursor, why):
    server.faults.append(Fault(body=json.dumps({"data": [], "has_more": True, "next_page": cursor}).encode()))
    with pytest.raises(BadAnswer, match=why):
        asked(server, "openai_usage")


def test_has_more_is_true_or_false(server):
    server.faults.append(Fault(body=b'{"data": [], "has_more": "no"}'))
    with pytest.raises(BadAnswer, match="has_more is text, not true or false"):
        asked(server, "openai_usage")


@pytest.mark.parametrize("name", REPORTS)
def test_more_rows_than_a_bill_may_have_are_refused(server, name):
    with pytest.raises(BadAnswer, match="more than 20 rows"):
        asked(server, name, limits=replace(QUICK, rows=20))


def test_an_answer_that_is_too_large_is_not_read_to_its_end(server):
    error = refusal(server, "anthropic_costs", limits=replace(QUICK, answer_bytes=2**10))
    assert "more than 0.000976562 MiB" in error.message
    assert error.code == "provider_answer_unusable"


def test_an_answer_in_another_encoding_is_not_unpacked(server):
    server.faults.append(Fault(headers={"content-encoding": "gzip"}))
    assert "an encoding that was not asked for" in refusal(server, "openai_usage").message


def test_a_truncated_answer_is_asked_for_again(server):
    whole = asked(server, "openai_usage").digest
    time = Time()
    server.faults.append(Fault(body=b'{"data": [', length=5000))
    assert asked(server, "openai_usage", time=time).digest == whole
    assert time.pauses == [1]


def test_an_answer_that_stays_truncated_is_given_up(server):
    server.faults.extend([Fault(body=b'{"data": [', length=5000)] * 9)
    assert "OpenAI could not be asked" in refusal(server, "openai_usage").message


def test_a_provider_that_is_silent_is_given_up(server):
    server.faults.extend([Fault(hangs=True)] * 2)
    limits = replace(QUICK, read_us=50_000, attempts=2)
    assert "did not answer in time. It was asked 2 times." in refusal(server, "openai_usage", limits=limits).message


def test_an_answer_that_trickles_in_is_given_up(server):
    time = Time(step=200_000_000)
    assert "took more than 180 s" in refusal(server, "openai_usage", time=time).message


def test_an_address_where_nobody_listens_is_named_as_such(server):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        server.url = f"http://127.0.0.1:{probe.getsockname()[1]}"
        assert "OpenRouter could not be asked" in refusal(server, "openrouter").message


def test_the_key_goes_to_the_provider_and_into_no_log(server, caplog):
    caplog.set_level(logging.DEBUG)
    for name in REPORTS:
        asked(server, name)
    assert KEY not in caplog.text
    assert KEY not in json.dumps(server.asked)
    api = Api(openai.OPENAI, server.url, KEY, Clock(Time().now_us, Time().pause_us))
    assert KEY not in repr(api)


def certificate(folder):
    """A certificate for 127.0.0.1 that nobody but its owner has signed."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    address = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
    now = datetime.now(UTC)
    made = x509.CertificateBuilder(name, name, key.public_key(), 1, now - DAY, now + DAY)
    path = folder / "server.pem"
    path.write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        + made.add_extension(address, critical=False).sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)
    )
    return path


def test_a_server_that_cannot_prove_who_it_is_gets_no_question(tmp_path):
    with serving(TODAY, certificate(tmp_path)) as server:
        error = refusal(server, "anthropic_usage", limits=replace(QUICK, attempts=2))
        assert "Anthropic could not be asked" in error.message
        assert "certificate verify failed" in error.message
        assert server.asked == []


class Told:
    """An API that answers what it is given."""

    limits, provider, clock = QUICK, openai.OPENAI, Clock(lambda: microseconds(NOW), lambda _: None)

    def __init__(self, answer):
        self.answer = answer

    def get(self, path, query, headers=None):
        return self.answer


FIELDS = (
    "data", "results", "has_more", "next_page", "starting_at", "ending_at", "start_time", "end_time", "date", "amount",
    "value", "currency", "model", "uncached_input_tokens", "cache_creation", "ephemeral_5m_input_tokens",
    "output_tokens", "input_tokens", "input_cached_tokens", "line_item", "usage", "byok_usage_inference", "requests",
)  # fmt: skip
LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.text(max_size=20),
    st.sampled_from([1774915200, 1775001600, "2026-03-31T00:00:00Z", "2026-04-01T00:00:00Z", "2026-03-30", "1.5"]),
    st.sampled_from(["1e400", "-1.5", "0.1E-9", "NaN"]).map(Number),
)
ANSWERS = st.recursive(
    LEAVES,
    lambda below: st.lists(below, max_size=3) | st.dictionaries(st.sampled_from(FIELDS), below, max_size=6),
    max_leaves=20,
)


@pytest.mark.parametrize("name", REPORTS)
@given(row=st.dictionaries(st.sampled_from(FIELDS), ANSWERS, max_size=8), whole=st.booleans())
def test_whatever_is_answered_is_read_or_refused(name, row, whole):
    answer = row
    if not whole:
        shared = {"results": [row], "group": row, "usage": row, "cost": row}
        answer = {"data": [row if name == "openrouter" else {**SPAN[name], **shared}]}
    with suppress(BadAnswer):
        for line in REPORTS[name][1](Told(answer), WHOLE).lines:
            assert unfit(line) is None


# --- what the user sets ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text", ["https://api.example", "https://gateway.example:8443/anthropic/", "http://127.0.0.1:9", "http://[::1]:9/"]
)
def test_an_address_is_https_or_on_this_machine(text):
    assert usable_address("TALLYGATE_OPENAI_URL", text) == text.rstrip("/")


@pytest.mark.parametrize(
    "text",
    [
        "http://api.openai.com",
        "http://localhost:9",
        "http://127.0.0.1.evil.example",
        "http://10.0.0.1",
        "ftp://127.0.0.1",
        "file:///etc/passwd",
        "127.0.0.1:9",
        "https://",
        "https://user:secret@api.example",
        "https://api.example?x=1",
        "https://api.example#x",
        "https://api.example/a b",
        "https://api.example:port",
        "https://[::1",
        "https://api.example/\u202e",
        "nonsense",
    ],
)
def test_no_key_is_sent_to_any_other_address(text):
    with pytest.raises(SettingsError, match=r"^TALLYGATE_OPENAI_URL: .* is no address that a key may be sent to"):
        usable_address("TALLYGATE_OPENAI_URL", text)


@pytest.mark.parametrize("text", ["", "short", "with a space", "line\nbreak-0123", "umlaut-ä-0123456", "x" * 1001])
def test_what_cannot_be_a_key_is_refused_without_showing_it(text):
    with pytest.raises(SettingsError, match="OPENAI_ADMIN_KEY holds no API key") as caught:
        usable_key("OPENAI_ADMIN_KEY", text)
    assert not text or text not in str(caught.value)


def test_a_key_is_taken_without_the_line_end_that_came_with_it():
    assert usable_key("OPENAI_ADMIN_KEY", f"{KEY}\n") == KEY


def test_every_digit_of_documented_cents_counts():
    assert nanos([Decimal("123.78912")], 7) == 1_237_891_200
