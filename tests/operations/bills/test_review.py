"""The drift review of a ledger with bills; a token of `dear` costs a tenth of a cent, of `cheap` a tenth of that."""

from __future__ import annotations

import hashlib
import itertools
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest
from tests.operations.usage.test_ingest import PROJECT, response, take
from tests.world import PRICES, T0, the_user

from tallygate.core.bills.lines import Bucket, Gap
from tallygate.core.bills.review import MILLION
from tallygate.core.costing import Tokens
from tallygate.core.errors import InvalidArgument
from tallygate.core.statements import BilledTokens, Billing, BillLine, Grain
from tallygate.core.usage import Quality
from tallygate.operations.bills.keep import Draft, delete_bill, keep_bill
from tallygate.operations.bills.keys import ModelNames
from tallygate.operations.bills.review import DAY_US, ReviewWanted, apply_review, review
from tallygate.operations.budgets.calls import sweep
from tallygate.operations.gate.record import UsageReport, record_usage, void_call
from tallygate.pricing.book import PriceBook, PricingSettings
from tallygate.pricing.exchange import CONFIGURED, ExchangeBook, Rate
from tallygate.reports.drift import main_cause, payload

K = 10**9
MILL = 10**6
TODAY = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=T0)
_numbers = itertools.count(1)


def line(tokens=None, cost=None, *, model="dear", days=0, **more):
    """A line of a bill; cost in thousandths of its currency."""
    number = next(_numbers)
    counts = None if tokens is None else BilledTokens(*tokens)
    return BillLine(
        number=number,
        grain=more.pop("grain", Grain.DAY),
        at=more.pop("at", TODAY.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=days)),
        provider=more.pop("provider", "acme"),
        identity=more.pop("identity", (str(number),)),
        model=model,
        tokens=counts or BilledTokens(),
        cost_nanos=None if cost is None else cost * MILL,
        **more,
    )


def bill(world, *lines, currency="USD", form="generic"):
    digest = hashlib.sha256(repr(lines).encode()).hexdigest()
    return keep_bill(world.rt, Draft(form, "bill.csv", digest, currency, lines)).bill.bill_id


def worked(world, *reports, model="dear", estimate=100, **options):
    """A session whose agent reports what each call used, each with an id."""
    session = world.start("100", model=model, client="agent", **options)
    for number, tokens in enumerate(reports):
        call = world.ask(session, estimate).call_id
        report = UsageReport(call, tokens, correlation={"callback_request_id": f"req-{session[-6:]}-{number}"})
        record_usage(world.rt, report)
    return session


def request(session, number=0):
    return f"req-{session[-6:]}-{number}"


def look(world, **wanted):
    return review(world.rt, ReviewWanted(**wanted))


def causes(found):
    return {str(cause.kind) for each in found.lines for cause in each.causes}


def gaps(found):
    return {gap.gap: gap.count for gap in found.gaps}


def sums(found):
    return {
        each.bucket: (each.tokens, each.recorded_nanos // MILL, each.billed_nanos // MILL) for each in found.buckets
    }


@pytest.fixture
def live(world):
    return world.with_runtime(project=PROJECT)


def test_without_a_bill_the_review_is_of_estimates_and_the_record(world):
    session = worked(world, Tokens(300), Tokens(100))
    found = look(world)
    [mine] = found.lines
    assert (mine.place.who.session_id, mine.place.model, mine.place.day) == (session, "dear", TODAY.date())
    assert (mine.estimate_nanos, mine.recorded_nanos, mine.billed_nanos) == (200 * MILL, 400 * MILL, None)
    assert (mine.recorded_micros, mine.billed_micros) == (2_000_000, None)
    assert (found.has_bills, found.buckets, found.factors()) == (False, [], {})


def test_a_total_makes_a_ratio_only_of_lines_that_have_both_sides(live):
    take(live, response(live, "r1", 2_000))
    assert look(live).total.recorded_micros is None
    session = worked(live, Tokens(300), model="cheap")
    bill(live, line((300, 0, 0, 0), 45, model="cheap", request_id=request(session), grain=Grain.REQUEST))
    total = look(live).total
    assert (total.estimate_nanos, total.recorded_nanos, total.billed_nanos) == (10 * MILL, 2_030 * MILL, 45 * MILL)
    assert (total.recorded_micros, total.billed_micros) == (3_000_000, 1_500_000)


def test_a_session_that_named_the_wrong_model_is_named_by_the_request_id(world):
    session = worked(world, Tokens(300))
    bill(world, line((300, 0, 0, 0), 30, model="cheap", request_id=request(session), grain=Grain.REQUEST))
    found = look(world)
    [mine] = found.lines
    assert main_cause(mine, found.causes).kind == "other_model"
    assert "dear was named, the bill has cheap for the same requests: $0.27 less" in mine.causes[0].text
    assert (mine.recorded_nanos, mine.billed_nanos) == (300 * MILL, 30 * MILL)
    assert found.pastes == [], "another model is no other price"
    assert found.factors() == {}


def test_a_session_that_named_the_wrong_model_is_named_by_the_counts_of_its_day(world):
    session = worked(world, Tokens(300, output=40))
    worked(world, Tokens(77))
    bill(world, line((300, 0, 0, 40), 34, model="cheap"), line((77, 0, 0, 0), 77))
    found = look(world)
    mine = next(each for each in found.lines if each.place.who and each.place.who.session_id == session)
    assert mine.billed_nanos is not None, "its part of what its model was billed that day"
    found = look(world, session_id=session)
    assert sums(found)[Bucket.LEDGER_ONLY][0] == 340


def test_two_models_that_were_swapped_for_a_day_are_told(world):
    worked(world, Tokens(300, output=40))
    bill(world, line((300, 0, 0, 40), 34, model="cheap"))
    found = look(world)
    assert "other_model" in causes(found)
    assert "dear was named; the bill has cheap with the same counts that day" in found.lines[0].causes[0].text


def test_a_session_in_which_the_cache_dominates_says_so(world):
    worked(world, Tokens(100, cache_read=5_000))
    bill(world, line((100, 5_000, 0, 0), 600))
    [mine] = look(world).lines
    finding = next(each for each in mine.causes if each.kind == "cache_dominates")
    assert "83 %" in finding.text
    assert (mine.estimate_nanos, mine.recorded_nanos, mine.billed_nanos) == (100 * MILL, 600 * MILL, 600 * MILL)


def test_a_session_whose_reasoning_is_hidden_says_so(world):
    session = worked(world, Tokens(100, output=20))
    bill(world, line((100, 0, 0, 90), 190, request_id=request(session), grain=Grain.REQUEST))
    found = look(world)
    [mine] = found.lines
    assert main_cause(mine, found.causes).kind == "hidden_reasoning"
    assert "70 tokens of output were billed that nobody saw" in mine.causes[0].text
    assert (mine.billed_nanos, sums(found)[Bucket.BILL_ONLY]) == (190 * MILL, (70, 0, 70))


def test_output_beyond_rows_without_a_final_count_is_no_hidden_reasoning(live):
    take(live, response(live, "r1", 20, tokens=Tokens(100, output=20), quality=Quality.PARTIAL))
    bill(live, line((100, 0, 0, 90), 190))
    found = look(live)
    assert "partial_rows" in causes(found)
    assert "hidden_reasoning" not in causes(found)
    assert gaps(found) == {Gap.PARTIAL: 1}


def test_bills_that_overlap_count_once(world):
    worked(world, Tokens(100), Tokens(50))
    first = bill(world, line((100, 0, 0, 0), 100, identity=("today",)))
    second = bill(world, line((150, 0, 0, 0), 150, identity=("today",)))
    assert sums(look(world)) == {Bucket.MATCHED: (150, 150, 150)}
    delete_bill(world.rt, second)
    assert sums(look(world)) == {Bucket.MATCHED: (100, 100, 100), Bucket.LEDGER_ONLY: (50, 50, 0)}
    delete_bill(world.rt, first)
    assert look(world).has_bills is False


def test_a_bill_in_another_currency_is_compared_in_dollars_at_the_day_s_rate(world):
    rate = Rate(1_250_000_000, date(2026, 9, 21), CONFIGURED, "EUR")
    euro = world.with_runtime(exchange=ExchangeBook({"EUR": rate}))
    worked(euro, Tokens(1_000))
    bill(euro, line((1_000, 0, 0, 0), 800), currency="EUR")
    found = look(euro)
    assert sums(found) == {Bucket.MATCHED: (1_000, 1_000, 1_000)}
    assert found.rates == {"EUR": rate.text}
    assert (found.bills[0].nanos, found.bills[0].usd_nanos) == (800 * MILL, 1_000 * MILL)


def test_a_bill_in_a_currency_without_a_rate_is_compared_by_its_tokens(world):
    worked(world, Tokens(1_000))
    bill(world, line((1_000, 0, 0, 0), 800), currency="XTS")
    found = look(world)
    assert (sums(found)[Bucket.MATCHED][0], gaps(found)) == (1_000, {Gap.NO_RATE: 1})


def test_a_bill_with_credits_is_matched_and_the_credit_stands_apart(world):
    worked(world, Tokens(100))
    bill(world, line((100, 0, 0, 0), 100), line(None, -40), line(None, -5, model=None))
    found = look(world)
    assert sums(found) == {Bucket.MATCHED: (100, 100, 100)}
    assert found.total.billed_nanos == 55 * MILL
    assert "credit" in causes(found)


def test_a_plan_s_use_is_api_equivalent_and_never_a_drift_of_money(world):
    worked(world, Tokens(100))
    bill(world, line((100, 0, 0, 0), 1, billing=Billing.INCLUDED))
    found = look(world)
    [mine] = found.lines
    assert (mine.included_nanos, mine.billed_nanos, "subscription" in causes(found)) == (100 * MILL, None, True)
    assert sums(found) == {Bucket.MATCHED: (100, 100, 100)}
    assert found.factors() == {}


def test_sessions_of_one_day_share_what_a_bill_does_not_tell_apart(world):
    first, second = worked(world, Tokens(300)), worked(world, Tokens(100))
    bill(world, line((400, 0, 0, 0), 200))
    found = {each.place.who.session_id: each for each in look(world).lines}
    assert (found[first].billed_nanos, found[second].billed_nanos) == (150 * MILL, 50 * MILL)
    assert found[first].is_shared
    assert look(world, session_id=second).total.billed_nanos == 50 * MILL


def test_a_price_that_differs_constantly_gives_the_line_to_paste(world):
    listed = replace(PRICES, overrides=PRICES.overrides[1:], aliases=(("dear", "claude-opus-4-7"),))
    world = world.with_runtime(prices=PriceBook(listed))
    session = world.start("100", model="claude-opus-4-7")
    for _ in range(10):
        record_usage(world.rt, UsageReport(world.ask(session, 100).call_id, Tokens(100_000)))
    [mine] = look(world).lines
    cost = mine.recorded_nanos * 85 // 100 // MILL
    bill(world, line((1_000_000, 0, 0, 0), cost, model="claude-opus-4-7", provider="anthropic"))
    found = look(world)
    [paste] = found.pastes
    assert paste.text == '[[discount]]\nmatch = "claude-opus-4-7"\nmultiplier = 0.85'
    assert found.factors() == {"anthropic:claude-opus-4-7": 850_000}


@pytest.mark.parametrize(
    ("counted", "mills", "factor"),
    [(100, 4_800, 1), (100, 6_000, 1.25), (90, 4_790, 1), (110, 4_810, 1), (100, 2_400, 0.5)],
)
def test_a_bill_that_leaves_the_cached_tokens_out_of_its_counts_teaches_no_price_for_the_rest(
    world, counted, mills, factor
):
    worked(world, *[Tokens(10, cache_read=3_700, output=100)] * 10)
    assert look(world).total.recorded_nanos == (100 + 1_000 + 3_700) * MILL
    bill(world, line((None, None, None, 1_000, counted), mills))
    found = look(world)
    [mine] = [each for each in found.lines if each.place.who]
    assert mine.billed_micros == pytest.approx(mills * MILLION / 4_800, rel=0.01)
    assert found.billed_factors[0].micros == pytest.approx(factor * MILLION, rel=0.02)
    assert len(found.pastes) == (factor != 1)
    [untold] = [gap for gap in found.gaps if gap.gap is Gap.CLASS_NOT_TOLD]
    assert untold.tokens == 37_000, "what the bill does not count is named"


def test_a_bill_whose_money_is_that_of_its_few_counts_does_not_pay_for_the_cache(world):
    worked(world, *[Tokens(10, cache_read=3_700, output=100)] * 10)
    bill(world, line((None, None, None, 1_000, 100), 1_090))
    assert Gap.CLASS_NOT_TOLD not in gaps(look(world))


def test_a_price_of_the_user_s_own_that_differs_gives_a_price_to_paste(world):
    worked(world, Tokens(1_000, output=1_000))
    bill(world, line((1_000, 0, 0, 1_000), 3_000))
    [paste] = look(world).pastes
    assert paste.text.splitlines()[:4] == ["[[price]]", 'match = "dear"', "input = 1500", "output = 1500"]


def test_the_calibration_says_how_much_it_rests_on_and_is_kept_by_apply(world):
    worked(world, *[Tokens(100)] * 12)
    bill(world, line((1_200, 0, 0, 0), 1_800))
    worked(world, *[Tokens(100)] * 3, model="cheap")
    found = look(world)
    [factor] = found.billed_factors
    assert (factor.responses, factor.tokens, factor.micros) == (12, 1_200, 1_500_000)
    before = world.events()
    assert apply_review(world.rt, found, authority=the_user("me")) == {"dear": 1_500_000}
    assert world.events() == before + 1
    with world.ledger.reading() as reader:
        assert reader.calibration_factor("dear") == 1_500_000


def test_a_factor_that_is_no_longer_off_is_taken_back_by_the_next_review(world):
    worked(world, *[Tokens(100)] * 10)
    first = bill(world, line((1_000, 0, 0, 0), 1_500))
    apply_review(world.rt, look(world), authority=the_user("me"))
    delete_bill(world.rt, first)
    bill(world, line((1_000, 0, 0, 0), 1_000))
    assert apply_review(world.rt, look(world), authority=the_user("me")) == {"dear": 1_000_000}
    before = world.events()
    assert (apply_review(world.rt, look(world), authority=the_user("me")), world.events()) == ({}, before)


def test_too_few_responses_imply_nothing(world):
    worked(world, *[Tokens(100)] * 9)
    bill(world, line((900, 0, 0, 0), 1_800))
    found = look(world)
    assert (found.billed_factors[0].micros, found.factors()) == (None, {})


def test_what_only_one_side_has_is_told(world):
    worked(world, Tokens(100))
    worked(world, Tokens(100), model="cheap")
    bill(world, line((300, 0, 0, 0), 300), line((5, 0, 0, 0), 5, model="cents"))
    found = look(world)
    assert {"not_in_ledger"} <= causes(found)
    alone = [each for each in found.lines if each.place.who is None]
    assert sorted((each.place.model, each.billed_nanos) for each in alone) == [
        ("cents", 5 * MILL),
        ("dear", 200 * MILL),
    ]


def test_days_without_a_bill_and_bills_without_a_record_are_no_drift(world):
    worked(world, Tokens(100))
    world.clock.forward(3 * DAY_US)
    worked(world, Tokens(100))
    bill(world, line((100, 0, 0, 0), 100), line((70, 0, 0, 0), 70, days=-5))
    found = look(world)
    assert sums(found)[Bucket.MATCHED] == (100, 100, 100)
    assert gaps(found) == {Gap.NO_BILL: 1, Gap.NOT_RECORDED: 1}


def test_calls_of_which_only_an_estimate_is_known_are_listed_and_not_compared(world):
    session = world.start("100")
    world.ask(session, 500)
    world.clock.forward(7_200_000_000)
    sweep(world.rt)
    bill(world, line((500, 0, 0, 0), 500))
    found = look(world)
    mine = next(each for each in found.lines if each.place.who)
    assert (mine.estimate_nanos, mine.recorded_nanos) == (500 * MILL, None)
    assert gaps(found)[Gap.ESTIMATE_ONLY] == 1


def test_the_key_of_a_bill_narrows_it_and_an_unknown_one_is_named(world):
    worked(world, Tokens(100))
    bill(world, line((100, 0, 0, 0), 100, key="mine"), line((900, 0, 0, 0), 900, key="theirs"))
    assert sums(look(world, key="mine")) == {Bucket.MATCHED: (100, 100, 100)}
    with pytest.raises(InvalidArgument, match="no one") as refused:
        look(world, key="no one")
    assert "'mine', 'theirs'" in refused.value.hint


def test_a_span_and_a_model_narrow_the_review(world):
    worked(world, Tokens(100))
    world.clock.forward(2 * DAY_US)
    worked(world, Tokens(50))
    worked(world, Tokens(70), model="cheap")
    bill(world, line((100, 0, 0, 0), 100), line((50, 0, 0, 0), 50, days=2))
    assert look(world, from_us=T0 + DAY_US).total.recorded_nanos == 57 * MILL
    assert look(world, until_us=T0 + DAY_US).total.recorded_nanos == 100 * MILL
    assert look(world, model="chea").total.recorded_nanos == 7 * MILL
    assert look(world, limit=1).hidden == 2


def test_a_response_stands_beside_the_estimate_of_its_call_whatever_model_it_named(live):
    session = live.start("10", client="claude-code", model="dear")
    live.clock.forward(1_000_000)
    live.ask(session, 300)
    take(live, response(live, "r1", 200, seconds=1, model="cheap", request_id="req_1"))
    found = look(live)
    [mine] = found.lines
    assert (mine.place.model, mine.estimate_nanos, mine.recorded_nanos) == ("cheap", 300 * MILL, 20 * MILL)
    assert "other_model" in {cause.kind for cause in found.causes[session]}


def test_an_estimate_stands_where_the_first_response_of_its_call_does(live):
    session = live.start("100", client="claude-code", model="dear")
    live.clock.forward(DAY_US - T0 % DAY_US - 10_000_000)
    live.ask(session, 300)
    take(live, response(live, "r1", 10, seconds=20, model="cheap"))
    take(live, response(live, "r2", 10, seconds=30))
    found = [(each.place.day, each.place.model) for each in look(live).lines if each.estimate_nanos]
    assert found == [(TODAY.date() + timedelta(days=1), "cheap")]


def test_calls_that_did_not_happen_or_were_on_other_days_have_no_estimate_in_a_review(world):
    session = worked(world, Tokens(100), estimate=300)
    void_call(world.rt, world.ask(session, 500).call_id, "not needed")
    assert [each.estimate_nanos for each in look(world).lines] == [300 * MILL]
    world.clock.forward(3 * DAY_US)
    record_usage(world.rt, UsageReport(world.ask(session, 700).call_id, Tokens(7)))
    later = T0 + 2 * DAY_US
    assert [each.estimate_nanos for each in look(world, from_us=later).lines] == [700 * MILL]
    assert [each.estimate_nanos for each in look(world, until_us=later).lines] == [300 * MILL]


def test_a_review_of_a_session_is_of_all_days_that_it_has_a_call_or_a_response_on(live):
    session = live.start("100", client="claude-code", model="dear")
    live.ask(session, 300)
    take(live, response(live, "r1", 10, seconds=1))
    live.clock.forward(5 * DAY_US)
    take(live, response(live, "r2", 10))
    days = {each.place.day for each in look(live, session_id=session).lines}
    assert days == {TODAY.date(), TODAY.date() + timedelta(days=5)}


def test_use_outside_any_session_that_costs_the_same_as_a_session_is_listed_beside_it(live):
    take(live, response(live, "r1", 100, session="of nobody"))
    session = worked(live, Tokens(output=100), estimate=100)
    assert [each.place.who.session_id for each in look(live).lines] == [None, session]


def test_a_transcript_is_matched_by_the_request_that_it_names(live):
    rows = [response(live, f"msg_{n}:req_{n}", 10 * n, request_id=f"req_{n}") for n in (1, 2, 3)]
    take(live, *rows)
    bill(live, *(line((0, 0, 0, 10 * n), 10 * n, request_id=f"req_{n}", grain=Grain.REQUEST) for n in (1, 2, 3)))
    assert sums(look(live)) == {Bucket.MATCHED: (60, 60, 60)}


def test_a_review_writes_nothing_and_its_data_is_plain(world):
    session = worked(world, Tokens(100))
    bill(world, line((100, 0, 0, 0), 83))
    before = world.events()
    found = payload(look(world))
    assert world.events() == before
    assert found["lines"][0]["session_id"] == session
    assert (found["lines"][0]["recorded"], found["lines"][0]["billed"]) == (0.1, 0.083)
    assert [each["bucket"] for each in found["buckets"]] == ["price_drift"]


def test_a_ledger_without_anything_is_reviewed(world):
    found = look(world)
    assert (found.lines, found.total.recorded_nanos, payload(found)["since"]) == ([], None, None)


@pytest.mark.parametrize(
    ("named", "provider", "is_open"),
    [
        ("gpt-5.1-codex", "openai", True),
        ("my-gateway/gpt-5.1-codex", "openai", True),
        ("openrouter/openai/gpt-5.1-codex", "openrouter", False),
        ("bedrock/anthropic.claude-sonnet-4-5-20250929-v1:0", "aws", False),
    ],
)
def test_a_provider_that_only_a_clients_settings_know_leaves_open_who_bills(named, provider, is_open):
    key, bare = ModelNames(PriceBook(PricingSettings())).recorded(named)
    assert (key.provider, bare) == (provider, is_open)


@pytest.mark.parametrize(
    ("recorded", "provider", "billed"),
    [
        ("azure/gpt-35-turbo", "azure", "gpt-3.5-turbo"),
        ("claude-opus-4-7[1m]", "anthropic", "claude-opus-4-7-20260115"),
        ("bedrock/us.anthropic.claude-sonnet-4-20250514-v1:0", "aws", "claude-sonnet-4-0"),
        ("databricks-claude-opus-4-7", "anthropic", "anthropic/claude-opus-4.7"),
        ("fireworks_ai/accounts/fireworks/models/deepseek-v3p1", "fireworks", "deepseek-v3.1"),
    ],
)
def test_a_bill_and_a_record_that_spell_a_model_differently_name_one_model(recorded, provider, billed):
    names = ModelNames(PriceBook(PricingSettings()))
    assert names.recorded(recorded)[0].name == names.billed(billed, provider).name


def test_a_faster_model_and_another_version_are_other_models_on_a_bill():
    names = ModelNames(PriceBook(PricingSettings()))
    found = [names.billed(each, "anthropic") for each in ("claude-opus-4-7", "claude-opus-4-7-fast", "claude-opus-4-8")]
    assert len(set(found)) == 3
