"""A bill against the ledger: everything ends in one bucket, whatever the order; dear is $1,000 per million tokens."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallygate.core.bills.lines import Billed, Bucket, Gap, How, LedgerLine, ModelKey, Part, Who, split_cost, unit_of
from tallygate.core.bills.matching import Matcher
from tallygate.core.costing import Price, Rates, Tokens
from tallygate.core.statements import BilledTokens, Billing, BillLine, Grain, TokenClass

K = 10**9
CENT = 10_000_000
MILL = 1_000_000
RATES = {
    "dear": Rates(1_000 * K, 2_000 * K, 100 * K, 1_250 * K, 2_000 * K),
    "cheap": Rates(10 * K, 20 * K, K, 10 * K, 20 * K),
    "free": Rates(0, 0, 0, 0, 0),
}
DAY = datetime(2026, 9, 21, tzinfo=UTC)
DEAR, CHEAP, FREE = (ModelKey("acme", name) for name in ("dear", "cheap", "free"))


def price_of(key, _day, part):
    rates = RATES.get(key.name)
    if rates is None:
        return None
    return {
        Part.INPUT: rates.input_nanos,
        Part.READ: rates.input_nanos,
        Part.CACHE_READ: rates.cache_read_nanos,
        Part.CACHE_WRITE: rates.cache_write_5m_nanos,
        Part.OUTPUT: rates.output_nanos,
    }.get(part)


def cost_of(model, tokens):
    return Price(model, RATES[model], "test", "1").cost_nanos(tokens)


def recorded(fresh=0, read=0, written=0, output=0, *, key=DEAR, at=DAY, extra=0, **more):
    tokens = Tokens(fresh, read, written, 0, output)
    price = Price(key.name, RATES[key.name], "test", "1")
    cost = price.cost_nanos(tokens) + extra
    return LedgerLine(
        at=at + timedelta(hours=9),
        key=key,
        tokens=tokens,
        nanos=split_cost(tokens, price, cost),
        client=more.pop("client", "test"),
        session_id=more.pop("session", "s1"),
        price_key=key.name,
        **more,
    )


def billed(tokens=None, nanos=None, *, key=DEAR, at=DAY, format_="generic", bill="b1", **line):
    unit = line.pop("unit", 1)
    made = BillLine(
        number=1,
        grain=line.pop("grain", Grain.DAY),
        at=at,
        provider="acme",
        identity=("x",),
        tokens=BilledTokens() if tokens is None else tokens,
        **line,
    )
    return Billed(made, bill, format_, key, nanos, unit)


def counts(fresh=None, cached=None, written=None, output=None, all_read=None):
    return BilledTokens(fresh, cached, written, output, all_read)


def told(fresh, mills=None, **more):
    """A line of fresh input and its cost in thousandths of a dollar."""
    return billed(counts(fresh, 0, 0, 0), None if mills is None else mills * MILL, **more)


def alike(line, **more):
    """The line of a bill that says what was recorded."""
    tokens = line.tokens
    written = tokens.cache_write_5m + tokens.cache_write_1h
    told = counts(tokens.fresh_input, tokens.cache_read, written, tokens.output)
    return billed(told, line.cost_nanos, **{"key": line.key, "at": DAY.replace(day=line.day.day)} | more)


def match(ledger, bill, price_of):
    """Hold all lines of some bills against all lines of a ledger."""
    matcher = Matcher(price_of)
    for line in bill:
        matcher.billed(line)
    for line in ledger:
        matcher.recorded(line)
    return matcher.result()


def buckets(found):
    """Tokens, recorded and billed money of each bucket, over everything."""
    sums = {}
    for outcome in [*(cell.outcome for cell in found.cells), found.unplaced]:
        for end, share in outcome.shares.items():
            bucket = end if isinstance(end, Bucket) else Bucket.UNCOMPARED
            tokens = max(share.recorded.total_tokens, share.billed.total_tokens)
            mine = (tokens, share.recorded.total_nanos, share.billed.total_nanos)
            sums[bucket] = tuple(a + b for a, b in zip(sums.get(bucket, (0, 0, 0)), mine, strict=True))
    return {bucket: each for bucket, each in sums.items() if any(each)}


def gaps(found):
    sums = Counter()
    for outcome in [*(cell.outcome for cell in found.cells), found.unplaced]:
        sums.update(outcome.gaps)
    return dict(sums)


def test_a_bill_that_says_what_was_recorded_is_matched_to_the_last_token():
    lines = [recorded(100, 2_000, 30, 40), recorded(7, key=CHEAP), recorded(1, 1, 1, 1, at=DAY + timedelta(days=1))]
    found = match(lines, map(alike, lines), price_of)
    cost = sum(line.cost_nanos for line in lines)
    assert buckets(found) == {Bucket.MATCHED: (2_181, cost, cost)}
    assert gaps(found) == {}


@pytest.mark.parametrize(
    ("mine", "theirs", "expected"),
    [
        (recorded(100), told(60, 60), {"matched": (60, 60, 60), "ledger_only": (40, 40, 0)}),
        (recorded(60), told(100, 100), {"matched": (60, 60, 60), "bill_only": (40, 0, 40)}),
        (recorded(100), told(100, 85), {"price_drift": (100, 100, 85)}),
        (recorded(100), told(60, 30), {"price_drift": (60, 60, 30), "ledger_only": (40, 40, 0)}),
        (recorded(100), told(100), {"matched": (100, 100, 100)}),
        (recorded(100), told(150), {"matched": (100, 100, 100), "bill_only": (50, 0, 50)}),
        (recorded(100), billed(None, 60 * MILL), {"matched": (60, 60, 60), "ledger_only": (40, 40, 0)}),
        (recorded(100), billed(None, 130 * MILL), {"matched": (100, 100, 100), "bill_only": (0, 0, 30)}),
        (
            recorded(10, 1_000, 0, 10),
            billed(counts(output=10, all_read=1_010), 130 * MILL),
            {"matched": (1_020, 130, 130)},
        ),
        (
            recorded(10, 0, 0, 10),
            billed(None, 20 * MILL, token_class=TokenClass.OUTPUT),
            {"matched": (10, 20, 20), "ledger_only": (10, 10, 0)},
        ),
        (recorded(10), told(10, 10, key=CHEAP), {"ledger_only": (10, 10, 0), "bill_only": (10, 0, 10)}),
        (
            recorded(10, 100),
            billed(counts(10, None, None, 0), 20 * MILL),
            {"matched": (10, 10, 10), "uncompared": (100, 10, 10)},
        ),
        (recorded(10, extra=CENT), told(10, 20), {"matched": (10, 20, 20)}),
        (recorded(10, extra=CENT), told(10, 10), {"price_drift": (10, 20, 10)}),
        (recorded(10), told(0, 5, key=CHEAP), {"ledger_only": (10, 10, 0), "bill_only": (0, 0, 5)}),
        (
            recorded(10),
            billed(None, 3 * MILL, key=CHEAP, unit=CENT),
            {"ledger_only": (10, 10, 0), "bill_only": (0, 0, 3)},
        ),
        (recorded(10, key=FREE), told(10, 5, key=FREE), {"price_drift": (10, 0, 5)}),
    ],
)  # fmt: skip
def test_what_is_common_is_matched_and_the_rest_stays_with_the_side_that_has_it(mine, theirs, expected):
    """Amounts in thousandths of a dollar."""
    found = buckets(match([mine], [theirs], price_of))
    assert {b.value: (t, m // MILL, n // MILL) for b, (t, m, n) in found.items()} == expected


@pytest.mark.parametrize(
    ("off", "unit", "bucket"),
    [
        (CENT, CENT, Bucket.MATCHED),
        (-CENT, CENT, Bucket.MATCHED),
        (CENT + 100, CENT, Bucket.PRICE_DRIFT),
        (CENT, 1, Bucket.PRICE_DRIFT),
    ],
)
def test_money_may_be_off_by_the_rounding_of_the_bill_and_no_more(off, unit, bucket):
    line = recorded(100_000)
    found = match([line], [billed(counts(100_000, 0, 0, 0), line.cost_nanos + off, unit=unit)], price_of)
    assert [*buckets(found)] == [bucket]
    assert abs(found.cells[0].outcome.tolerance_nanos - unit) < 50


def test_many_lines_in_cents_may_be_off_by_a_cent_each_and_the_cell_says_so():
    line = recorded(100_000)
    bill = [billed(counts(1_000, 0, 0, 0), CENT * 100 + CENT * (n % 2), unit=CENT) for n in range(100)]
    found = match([line], bill, price_of)
    assert [*buckets(found)] == [Bucket.MATCHED]
    assert found.cells[0].outcome.tolerance_nanos >= 100 * CENT


def test_a_request_is_known_by_its_id_whatever_the_model_is_called_and_across_midnight():
    mine = recorded(100, ids=("callback-7", "chatcmpl-7"))
    theirs = billed(
        counts(100, 0, 0, 0), 1_000_000, key=CHEAP, request_id="chatcmpl-7", at=DAY - timedelta(minutes=1),
        grain=Grain.REQUEST,
    )  # fmt: skip
    found = match([mine], [theirs], price_of)
    [cell] = found.cells
    assert (cell.how, cell.key, cell.billed_as) == (How.REQUEST, DEAR, CHEAP)
    assert buckets(found) == {Bucket.PRICE_DRIFT: (100, 100_000_000, 1_000_000)}


def test_an_id_that_the_ledger_does_not_have_is_compared_by_its_day():
    found = match([recorded(100, ids=("req_1",))], [alike(recorded(100), request_id="chatcmpl-7")], price_of)
    assert [(cell.how, [*cell.outcome.shares]) for cell in found.cells] == [(How.DAY, [Bucket.MATCHED])]


def test_an_id_days_away_is_another_request():
    mine = recorded(100, ids=("r",), at=DAY + timedelta(days=3))
    found = match([mine], [alike(recorded(100), request_id="r")], price_of)
    assert Bucket.MATCHED not in buckets(found)


def test_requests_that_were_let_go_are_compared_by_their_day():
    matcher = Matcher(price_of)
    matcher.billed(alike(recorded(100), request_id="r"))
    matcher.settle(before=date(2026, 9, 22))
    matcher.recorded(recorded(100, ids=("r",)))
    [cell] = matcher.result().cells
    assert (cell.how, [*cell.outcome.shares]) == (How.DAY, [Bucket.MATCHED])


def test_counts_of_one_bill_and_money_of_another_make_one_statement():
    line = recorded(10, 1_000, 0, 10)
    bill = [
        billed(counts(10, 1_000, 0, 10), format_="usage"),
        billed(None, 10_000_000, format_="cost", token_class=TokenClass.INPUT),
        billed(None, 100_000_000, format_="cost", token_class=TokenClass.CACHE_READ),
        billed(None, 15_000_000, format_="cost", token_class=TokenClass.OUTPUT),
    ]
    found = buckets(match([line], bill, price_of))
    assert found == {
        Bucket.MATCHED: (1_010, 110_000_000, 110_000_000),
        Bucket.PRICE_DRIFT: (10, 20_000_000, 15_000_000),
    }


def test_what_two_formats_tell_of_the_same_use_counts_once():
    line = recorded(100)
    bill = [alike(line, format_="usage"), alike(line, format_="proxy", bill="b2")]
    found = match([line], bill, price_of)
    assert buckets(found)[Bucket.MATCHED] == (100, 100_000_000, 100_000_000)
    assert (buckets(found)[Bucket.UNCOMPARED], gaps(found)) == ((100, 0, 100_000_000), {Gap.TOLD_AGAIN: 1})


def test_a_proxys_requests_and_the_providers_day_make_one_statement():
    through, beside = recorded(60, ids=("r1",)), recorded(40)
    bill = [alike(through, format_="proxy", request_id="r1"), alike(recorded(100), format_="usage", bill="b2")]
    found = match([through, beside], bill, price_of)
    assert buckets(found)[Bucket.MATCHED] == (100, 100_000_000, 100_000_000)
    assert buckets(found)[Bucket.UNCOMPARED] == (60, 0, 60_000_000)


def test_a_plans_use_is_compared_by_its_counts_and_no_money_of_it_drifts():
    bill = [billed(counts(100, 0, 0, 0), 5 * CENT, billing=Billing.INCLUDED)]
    [cell] = match([recorded(100)], bill, price_of).cells
    assert (cell.included, [*cell.outcome.shares]) == (True, [Bucket.MATCHED])


def test_a_plans_use_gets_what_metered_use_has_left():
    bill = [
        billed(counts(60, 0, 0, 0), 60_000_000),
        billed(counts(40, 0, 0, 0), billing=Billing.INCLUDED),
    ]
    found = match([recorded(100)], bill, price_of)
    assert buckets(found) == {Bucket.MATCHED: (100, 100_000_000, 100_000_000)}


def test_a_credit_is_billed_and_belongs_to_no_use():
    line = recorded(100)
    found = match([line], [alike(line), billed(None, -5 * CENT)], price_of)
    assert buckets(found) == {Bucket.MATCHED: (100, 100_000_000, 100_000_000)}
    assert found.credits == {(date(2026, 9, 21), DEAR): -5 * CENT}


@pytest.mark.parametrize(
    ("days", "grain", "compared"),
    [(-1, Grain.DAY, False), (0, Grain.DAY, True), (1, Grain.DAY, False), (-20, Grain.MONTH, True),
     (-60, Grain.MONTH, False)],
)  # fmt: skip
def test_a_credit_from_outside_what_was_recorded_is_compared_with_nothing(days, grain, compared):
    credit = billed(None, -5 * CENT, at=DAY + timedelta(days=days), grain=grain)
    found = match([recorded(100)], [credit], price_of)
    share = found.unplaced.shares.get(Gap.NOT_RECORDED)
    kept = 0 if share is None else share.billed.total_nanos
    assert (sum(found.credits.values()), kept) == ((-5 * CENT, 0) if compared else (0, -5 * CENT))


MONTH = {"at": DAY.replace(day=1), "grain": Grain.MONTH}
OTHER = DAY + timedelta(days=3)


def test_a_month_gets_what_its_days_have_left():
    bill = [billed(counts(30, 0, 0, 0), 30_000_000), billed(counts(70, 0, 0, 0), 70_000_000, **MONTH)]
    found = match([recorded(50), recorded(50, at=OTHER)], bill, price_of)
    assert buckets(found) == {Bucket.MATCHED: (100, 100_000_000, 100_000_000)}


def counted_once(found):
    """What counts as billed, and what is told again."""
    again = [
        each.outcome.shares[Gap.TOLD_AGAIN].billed for each in found.cells if Gap.TOLD_AGAIN in each.outcome.shares
    ]
    counts = sum(
        share.billed.total_nanos
        for cell in found.cells
        for end, share in cell.outcome.shares.items()
        if end is not Gap.TOLD_AGAIN
    )
    return counts, sum(each.total_nanos for each in again)


@pytest.mark.parametrize(
    "whole, days, again, format_",
    [
        (100, (60, 40), 100, "month"),  # the sum of its days
        (100, (60,), 60, "month"),  # a day is missing from the other bill
        (100, (60, 50), 100, "month"),  # the days come to more
        (101, (60, 40), 101, "month"),  # the same, as far as both are rounded
        (110, (60, 40), 100, "month"),
        (100, (60, 40), 100, "days"),  # two answers of one form
        (100, (), 0, "month"),
    ],
)
@pytest.mark.parametrize("turned", [False, True])
def test_a_months_sum_is_held_against_the_days_of_another_bill_and_neither_counts_twice(
    whole, days, again, format_, turned
):
    bill = [billed(None, whole * CENT, bill="m", format_=format_, unit=CENT, **MONTH)]
    bill += [
        billed(None, cents * CENT, at=at, bill="d", format_="days", unit=CENT)
        for cents, at in zip(days, (DAY, OTHER), strict=False)
    ]
    found = match([recorded(600), recorded(400, at=OTHER)], bill[::-1] if turned else bill, price_of)
    assert counted_once(found) == ((whole + sum(days) - again) * CENT, again * CENT)


def test_what_a_month_is_billed_stands_with_its_own_model_and_not_with_the_last_one_that_was_recorded():
    bill = [billed(None, 50 * CENT, format_="month", **MONTH)]
    found = match([recorded(500), recorded(7, key=FREE, at=OTHER)], bill, price_of)
    [span] = [cell for cell in found.cells if cell.how is How.SPAN]
    assert (span.key, span.outcome.shares[Bucket.MATCHED].billed.total_nanos) == (DEAR, 50 * CENT)
    assert span.recorded.total_tokens == 500, "what another model used is none of it"
    assert [cell.key for cell in found.cells if cell.outcome.compared()] == [DEAR]


def test_a_year_holds_its_months_and_these_hold_their_days():
    year = {"at": DAY.replace(month=1, day=1), "grain": Grain.MONTH, "until": DAY.replace(year=2027, month=1, day=1)}
    bill = [
        billed(None, 100 * CENT, bill="y", format_="api", **year),
        billed(None, 100 * CENT, bill="m", format_="api", **MONTH),
        billed(None, 60 * CENT, bill="d", format_="days"),
        billed(None, 40 * CENT, bill="d", format_="days", at=OTHER),
    ]
    found = match([recorded(600), recorded(400, at=OTHER)], bill, price_of)
    assert counted_once(found) == (100 * CENT, 200 * CENT)


def test_what_a_year_tells_beyond_its_months_is_not_taken_for_their_days():
    year = {"at": DAY.replace(month=1, day=1), "grain": Grain.MONTH, "until": DAY.replace(year=2027, month=1, day=1)}
    bill = [
        billed(None, 150 * CENT, bill="y", format_="api", **year),
        billed(None, 100 * CENT, bill="m", format_="api", **MONTH),
        billed(None, 100 * CENT, bill="d", format_="days"),
        billed(None, 100 * CENT, bill="e", format_="more days"),
    ]
    assert counted_once(match([recorded(1500)], bill, price_of)) == (150 * CENT, 300 * CENT)


@pytest.mark.parametrize("whole, days", [((30, "m"), 20), ((20, "m"), 20), ((15, "m"), 20), ((30, "d"), 20)])
@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("turned", [False, True])
def test_what_a_month_tells_of_no_model_or_gives_back_is_held_against_the_days_of_another_bill(
    whole, days, sign, turned
):
    """Of one bill a month and a day are two things."""
    cents, by = whole
    key = None if sign > 0 else DEAR
    bill = [
        billed(None, sign * cents * CENT, key=key, bill=by, format_="month", unit=CENT, **MONTH),
        billed(None, sign * days * CENT, key=key, bill="d", format_="days", unit=CENT),
    ]
    found = match([recorded(1), recorded(1, at=OTHER)], bill[::-1] if turned else bill, price_of)
    once = cents + days if by == "d" else max(cents, days)
    counted = sum(found.credits.values()) if sign < 0 else found.unplaced.shares[Gap.NO_MODEL].billed.total_nanos
    again = found.unplaced.shares.get(Gap.TOLD_AGAIN)
    assert counted == sign * once * CENT
    assert (again.billed.total_nanos if again else 0) == sign * (cents + days - once) * CENT


def test_what_two_formats_give_back_or_tell_of_no_model_counts_once():
    bill = [billed(None, cents * CENT, format_=name, bill=name) for cents, name in ((-5, "f"), (-3, "g"))]
    bill += [billed(None, 7 * CENT, key=None, format_=name, bill=name) for name in ("f", "g")]
    found = match([recorded(1)], bill, price_of)
    assert found.credits == {(date(2026, 9, 21), DEAR): -5 * CENT}
    assert found.unplaced.shares[Gap.NO_MODEL].billed.total_nanos == 7 * CENT
    assert found.unplaced.shares[Gap.TOLD_AGAIN].billed.total_nanos == 4 * CENT
    assert gaps(found)[Gap.NO_MODEL] == 2


def test_money_that_names_neither_model_nor_class_is_other_money():
    found = match([recorded(1)], [billed(None, 5, key=None)], price_of)
    assert found.unplaced.shares[Gap.NO_MODEL].billed.nanos == {Part.OTHER: 5}


def test_a_record_without_a_provider_is_billed_by_whoever_bills_that_model():
    router = ModelKey("openrouter", "dear")
    line = recorded(100, is_bare=True)
    found = match([line], [alike(line, key=router)], price_of)
    assert [cell.key for cell in found.cells] == [router]
    assert [*buckets(found)] == [Bucket.MATCHED]


def test_a_record_that_names_its_provider_stays_with_it():
    line = recorded(100)
    found = match([line], [alike(line, key=ModelKey("openrouter", "dear"))], price_of)
    assert Bucket.MATCHED not in buckets(found)


@pytest.mark.parametrize(
    ("mine", "theirs", "gap"),
    [
        ([recorded(5, at=DAY + timedelta(days=1))], [alike(recorded(100))], Gap.NO_BILL),
        ([recorded(5, at=DAY + timedelta(days=1))], [alike(recorded(100))], Gap.NOT_RECORDED),
        ([recorded(5)], [billed(counts(5, 0, 0, 0), 5, key=None)], Gap.NO_MODEL),
        ([recorded(5)], [billed(None, None, requests=3)], Gap.NOTHING_TOLD),
        ([recorded(5)], [billed(None, 5_000_000)], Gap.NO_COUNTS),
        ([recorded(5, 5)], [billed(counts(5, None, 0, 0), 5_000_000)], Gap.CLASS_NOT_TOLD),
        ([recorded(5)], [billed(counts(5, 0, 0, 0), key=ModelKey("acme", "new"))], Gap.UNKNOWN_PRICE),
    ],
)
def test_what_cannot_be_compared_is_named_with_its_reason(mine, theirs, gap):
    assert gap in gaps(match(mine, theirs, price_of))


def test_output_beyond_what_was_written_down_is_hidden_only_where_the_input_is_the_same():
    line = recorded(100, 0, 0, 10)
    [cell] = match([line], [billed(counts(100, 0, 0, 50), 200_000_000)], price_of).cells
    assert cell.hidden == (40, 80_000_000)
    [cell] = match([line], [billed(counts(101, 0, 0, 50), 201_000_000)], price_of).cells
    assert cell.hidden == (0, 0)


def test_a_cell_knows_what_each_session_had_in_it():
    lines = [recorded(10, session="a"), recorded(30, session="b"), recorded(2, session=None, client="codex")]
    [cell] = match(lines, [], price_of).cells
    assert cell.recorded.sessions == {
        Who("a", "test"): 10**7,
        Who("b", "test"): 3 * 10**7,
        Who(None, "codex"): 2 * 10**6,
    }


@pytest.mark.parametrize(
    ("tokens", "extra"), [(Tokens(3, 5, 7, 11, 13), 0), (Tokens(1, 0, 0, 0, 0), CENT), (Tokens(), 5), (Tokens(9), -5)]
)
def test_the_parts_of_a_cost_add_up_to_it(tokens, extra):
    cost = cost_of("dear", tokens) + extra
    parts = split_cost(tokens, Price("dear", RATES["dear"], "test", "1"), cost)
    assert sum(parts) == cost
    assert all(part >= 0 for part in parts)


@given(st.integers(-(10**15), 10**15))
def test_the_unit_of_an_amount_divides_it(nanos):
    unit = unit_of(nanos)
    assert nanos % unit == 0
    assert 1 <= unit <= CENT


small = st.integers(0, 3)
keys = st.sampled_from([DEAR, CHEAP, ModelKey("router", "dear"), FREE])
days = st.sampled_from([DAY + timedelta(days=n) for n in range(4)])
ledger_lines = st.builds(
    recorded, small, small, small, small, key=keys, at=days, ids=st.sampled_from([(), ("r1",), ("r2", "r1"), ("r3",)]),
    session=st.sampled_from(["a", "b", None]), is_bare=st.booleans(), is_final=st.booleans(),
    extra=st.sampled_from([0, 7]),
)  # fmt: skip
maybe = st.none() | small
bill_lines = st.builds(
    billed,
    st.builds(counts, maybe, maybe, maybe, maybe, maybe),
    st.none() | st.integers(-10, 10**7),
    key=st.none() | keys,
    at=days,
    format_=st.sampled_from(["f", "g"]),
    grain=st.sampled_from([Grain.DAY, Grain.MONTH]),
    token_class=st.none() | st.sampled_from(TokenClass),
    request_id=st.sampled_from([None, "r1", "r2", "r4"]),
    billing=st.sampled_from(Billing),
    unit=st.sampled_from([1, CENT]),
)


def told_tokens(line):
    found = line.line.tokens
    classes = (found.fresh_input, found.cache_read, found.cache_write)
    if found.read is not None and (found.fresh_input is None or found.cache_read is None):
        classes = (found.read,)
    return sum(count or 0 for count in (*classes, found.output))


@given(st.lists(ledger_lines, max_size=8), st.lists(bill_lines, max_size=8))
def test_every_token_and_all_money_ends_in_exactly_one_bucket(ledger, bill):
    found = match(ledger, bill, price_of)
    shares = [s for o in [*(c.outcome for c in found.cells), found.unplaced] for s in o.shares.values()]
    assert sum(share.recorded.total_tokens for share in shares) == sum(line.tokens.total for line in ledger)
    assert sum(share.recorded.total_nanos for share in shares) == sum(line.cost_nanos for line in ledger)
    assert sum(share.billed.total_tokens for share in shares) == sum(map(told_tokens, bill))
    for bucket, empty in ((Bucket.LEDGER_ONLY, "billed"), (Bucket.BILL_ONLY, "recorded")):
        for outcome in (cell.outcome for cell in found.cells):
            if bucket in outcome.shares:
                assert getattr(outcome.shares[bucket], empty).total_tokens == 0


@given(st.lists(ledger_lines, max_size=8), st.lists(bill_lines, max_size=8))
def test_billed_money_is_neither_lost_nor_made(ledger, bill):
    metered = [replace(line, line=replace(line.line, billing=Billing.METERED)) for line in bill]
    metered = [replace(line, nanos=line.nanos or 0) for line in metered]
    found = match(ledger, metered, price_of)
    shares = [s for o in [*(c.outcome for c in found.cells), found.unplaced] for s in o.shares.values()]
    priced = sum(cell.outcome.priced_nanos for cell in found.cells)
    money = sum(share.billed.total_nanos for share in shares) + sum(found.credits.values())
    assert money - priced == sum(line.nanos for line in metered)


@given(st.lists(ledger_lines, max_size=6), st.lists(bill_lines, max_size=6), st.randoms())
def test_the_order_of_lines_does_not_matter(ledger, bill, chance: random.Random):
    before = match(ledger, bill, price_of)
    chance.shuffle(ledger)
    chance.shuffle(bill)
    after = match(ledger, bill, price_of)
    assert (before.cells, before.unplaced, before.credits) == (after.cells, after.unplaced, after.credits)


@given(st.lists(ledger_lines, max_size=8))
def test_a_bill_made_of_the_ledger_matches_it_whole(ledger):
    ledger = [replace(line, ids=(f"i{number}",)) for number, line in enumerate(ledger)]
    for bill in ([alike(line) for line in ledger], [alike(line, request_id=line.ids[0]) for line in ledger]):
        assert {*buckets(match(ledger, bill, price_of))} <= {Bucket.MATCHED}
