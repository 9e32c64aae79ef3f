"""Bills from providers' APIs in the ledger: whole, once, and of the days that can be asked for."""

from __future__ import annotations

import json
import sys
from datetime import UTC, date, datetime
from types import ModuleType

import pytest
from tests.statements.server import DAY, KEY, Fault, serving, used_in_march
from tests.world import changed

from tallygate.core.bills.lines import Gap
from tallygate.core.errors import InvalidArgument, ProviderUnavailable, SettingsError
from tallygate.core.moments import microseconds
from tallygate.operations.bills.keep import SOURCES, days_to_fetch, fetch_bills, keep_bill, list_bills
from tallygate.operations.bills.review import ReviewWanted, review
from tallygate.settings.variables import ADDRESS_VARIABLES
from tallygate.statements.apis import price_list
from tallygate.statements.apis.answers import Days
from tallygate.statements.apis.asking import AskingBounds, find_key, from_keyring

TODAY = date(2026, 3, 31)
LIMITS = AskingBounds(connect_us=2_000_000, read_us=2_000_000)
FORMATS = {
    "anthropic": ["anthropic_usage_analytics", "anthropic_cost_analytics"],
    "openai": ["openai_usage_api", "openai_cost_api"],
    "openrouter": ["openrouter_activity_api"],
}


@pytest.fixture
def server():
    with serving(TODAY) as held:
        used_in_march(held)
        yield held


@pytest.fixture
def rt(world):
    return changed(world.rt, clock_us=lambda: microseconds(datetime(2026, 3, 31, 12, tzinfo=UTC)))


def fetched(rt, server, provider, since=None, until=None):
    source = SOURCES[provider]
    days = days_to_fetch(rt, source, since, until)
    return fetch_bills(rt, source, KEY, days, address=server.url, limits=LIMITS)


def counted(rt):
    with rt.services.ledger.reading() as reader:
        return [each.line for each in reader.billed_between(0, 2**60)]


@pytest.mark.parametrize("provider", SOURCES)
def test_fetching_the_same_days_twice_changes_nothing(rt, world, server, provider):
    kept = [keep_bill(rt, draft) for draft in fetched(rt, server, provider)]
    assert [each.bill.format for each in kept] == FORMATS[provider]
    before = world.events()
    server.page_days = 5
    assert [keep_bill(rt, draft).fresh for draft in fetched(rt, server, provider)] == [False] * len(kept)
    assert world.events() == before


def test_where_the_key_may_not_read_the_newer_reports_the_older_ones_come_in_and_it_is_said(rt, server):
    server.analytics, told = False, []
    source = SOURCES["anthropic"]
    days = days_to_fetch(rt, source, None, None)
    drafts = fetch_bills(rt, source, KEY, days, address=server.url, limits=LIMITS, tell=told.append)
    assert [draft.format for draft in drafts] == ["anthropic_usage_api", "anthropic_cost_api"]
    [said] = told
    assert said.startswith("Anthropic does not let this key read usage and costs (HTTP 403); the older reports")
    assert KEY not in said


def test_an_answer_of_the_newer_reports_that_is_not_as_documented_falls_back_too(rt, server):
    server.faults.append(Fault(body=b'{"data": [{"group": {}}], "has_more": false}'))
    told = []
    days = days_to_fetch(rt, SOURCES["anthropic"], None, None)
    drafts = fetch_bills(rt, SOURCES["anthropic"], KEY, days, address=server.url, limits=LIMITS, tell=told.append)
    assert [draft.format for draft in drafts] == ["anthropic_usage_api", "anthropic_cost_api"]
    assert "answered with something else than it documents" in told[0]


@pytest.mark.parametrize(
    "since, newer", [(date(2026, 1, 1), True), (date(2025, 12, 31), False), (date(2026, 3, 30), True)]
)
def test_the_newer_reports_are_asked_for_days_that_they_have_a_month_at_a_time(rt, server, since, newer):
    drafts = fetched(rt, server, "anthropic", since=since)
    assert drafts[0].format == ("anthropic_usage_analytics" if newer else "anthropic_usage_api")
    spans = [query for path, query in server.asked if path.endswith("/analytics/usage")]
    assert len(spans) == ((TODAY - since).days // 31 + 1 if newer else 0)
    if newer:
        assert spans[-1]["ending_at"] == ["2026-03-31T12:00:00Z"], "no end that lies ahead"


def test_the_same_days_from_the_older_and_the_newer_reports_count_once(rt, server):
    server.analytics = False
    for draft in fetched(rt, server, "anthropic"):
        keep_bill(rt, draft)
    once = review(rt, ReviewWanted()).total.billed_nanos, _aside(rt)
    server.analytics = True
    for draft in fetched(rt, server, "anthropic"):
        keep_bill(rt, draft)
    assert (review(rt, ReviewWanted()).total.billed_nanos, _aside(rt)) == once


def _aside(rt):
    """What bills tell of days that nothing was recorded on."""
    return sum(gap.billed_nanos or 0 for gap in review(rt, ReviewWanted()).gaps if gap.gap is Gap.NOT_RECORDED)


def test_a_day_that_was_not_over_is_replaced_by_what_it_came_to(rt, server):
    today, whole = ([row for row in server.openai_costs if (row["day"] == TODAY) is so] for so in (True, False))
    server.openai_costs = [*whole, {**today[0], "value": today[0]["value"] / 2}]
    for draft in fetched(rt, server, "openai"):
        keep_bill(rt, draft)
    server.openai_costs = [*whole, *today]
    for draft in fetched(rt, server, "openai", since=TODAY - 2 * DAY):
        keep_bill(rt, draft)
    held = sum(row["value"] for row in server.openai_costs if row["day"] > TODAY - 31 * DAY)
    assert sum(line.cost_nanos or 0 for line in counted(rt)) == held * 10**9


def test_tokens_and_money_of_one_day_count_once_each(rt, server):
    for draft in fetched(rt, server, "anthropic", since=TODAY, until=TODAY + DAY):
        keep_bill(rt, draft)
    lines = counted(rt)
    held = [row for row in server.anthropic_usage if row["day"] == TODAY]
    cents = sum(row["cents"] for row in server.anthropic_costs if row["day"] == TODAY)
    assert sum(line.tokens.output or 0 for line in lines) == sum(row["output_tokens"] for row in held)
    assert sum(line.cost_nanos or 0 for line in lines) == cents * 10**7
    assert not any(line.tokens.output is not None and line.cost_nanos is not None for line in lines)


def test_a_report_without_rows_is_no_bill(rt, server):
    server.openai_costs.clear()
    assert [draft.format for draft in fetched(rt, server, "openai")] == ["openai_usage_api"]
    server.openai_usage.clear()
    assert fetched(rt, server, "openai") == []


def test_nothing_is_kept_of_a_provider_whose_second_report_fails(rt, server):
    span = {"starting_at": "2026-03-31T00:00:00Z", "ending_at": "2026-04-01T00:00:00Z"}
    usage = {"data": [{**span, "results": [{"output_tokens": 5}]}]}
    server.faults.extend([Fault(body=json.dumps(usage).encode()), Fault(body=b'{"data": 5}')])
    with pytest.raises(ProviderUnavailable) as caught:
        fetched(rt, server, "anthropic")
    assert caught.value.code == "provider_answer_unusable"
    assert "something else than it documents: data is a number, not a list." in caught.value.message
    assert caught.value.__context__ is None
    assert list_bills(rt, limit=9) == []


def test_a_wait_is_told_of_and_taken_from_the_clock_that_is_handed_in(rt, server):
    waits, told = [], []
    server.faults.append(Fault(429, headers={"retry-after": "30"}))
    source = SOURCES["openrouter"]
    patient = changed(rt, pause_us=waits.append)
    days = days_to_fetch(rt, source, None, None)
    assert fetch_bills(patient, source, KEY, days, address=server.url, tell=told.append)
    assert waits == [30_000_000]
    assert told == ["OpenRouter has had too many questions (HTTP 429); asking again in 30 s"]


MARCH = [date(2026, 3, day) for day in range(1, 32)]
APRIL_1 = date(2026, 4, 1)


@pytest.mark.parametrize(
    ("provider", "since", "until", "expected"),
    [
        ("anthropic", None, None, Days(MARCH[0], APRIL_1, open=True)),
        ("openai", None, MARCH[9], Days(MARCH[9] - 31 * DAY, MARCH[9])),
        ("openai", MARCH[0], MARCH[9], Days(MARCH[0], MARCH[9])),
        ("openai", MARCH[30], date(2027, 1, 1), Days(MARCH[30], APRIL_1, open=True)),
        ("anthropic", date(2025, 4, 1), None, Days(date(2025, 4, 1), APRIL_1, open=True)),
        ("openrouter", None, None, Days(MARCH[0], MARCH[30])),
        ("openrouter", MARCH[0], APRIL_1, Days(MARCH[0], MARCH[30])),
        ("openrouter", None, MARCH[9], Days(MARCH[0], MARCH[9])),
    ],
)
def test_the_days_that_are_asked_for(rt, provider, since, until, expected):
    assert days_to_fetch(rt, SOURCES[provider], since, until) == expected


@pytest.mark.parametrize(
    ("provider", "since", "until", "why"),
    [
        ("anthropic", APRIL_1, None, "there are no days to ask Anthropic for"),
        ("openai", MARCH[9], MARCH[9], "there are no days to ask OpenAI for"),
        ("openrouter", MARCH[30], None, "there are no days that are over to ask OpenRouter for"),
        ("openrouter", MARCH[0] - DAY, None, "OpenRouter keeps 30 days: nothing before 2026-03-01"),
        ("openrouter", None, date(2026, 1, 1), "there are no days that are over"),
        ("anthropic", date(2025, 3, 30), None, "are 367 days; at most 366 go at a time"),
        ("anthropic", date.min, None, "0001-01-01 lies before 2000"),
        ("openai", None, date.min, "0001-01-01 lies before 2000"),
        ("openai", MARCH[0], date(1999, 12, 31), "1999-12-31 lies before 2000"),
    ],
)
def test_days_that_cannot_be_asked_for_are_refused_before_anybody_is_asked(rt, provider, since, until, why):
    with pytest.raises(InvalidArgument, match=why):
        days_to_fetch(rt, SOURCES[provider], since, until)


# --- keys ------------------------------------------------------------------------------------------------------


def nothing_filed(_):
    return None, ""


@pytest.mark.parametrize("provider", SOURCES)
def test_the_first_variable_that_is_set_holds_the_key(provider):
    names = SOURCES[provider].provider.variables
    environ = {name: f"sk-of-{name}" for name in names}
    for name in names:
        assert find_key(SOURCES[provider].provider, environ, nothing_filed) == f"sk-of-{name}"
        environ[name] = ""


@pytest.mark.parametrize("provider", SOURCES)
def test_a_key_that_is_nowhere_names_the_variable_to_set_and_the_kind_of_key(provider):
    asked = SOURCES[provider].provider
    with pytest.raises(SettingsError) as caught:
        find_key(asked, {}, nothing_filed)
    assert (caught.value.code, asked.variables[0] in caught.value.message) == ("api_key_missing", True)
    assert f"keyring set tallygate {asked.variables[0]}" in caught.value.hint
    assert asked.key_kind in caught.value.hint


def test_every_address_variable_of_the_settings_is_one_of_a_provider_or_of_the_price_list():
    asked = [*(source.provider.address_variable for source in SOURCES.values()), price_list.ADDRESS_VARIABLE]
    assert sorted(asked) == sorted(ADDRESS_VARIABLES)


class FiledKeys(ModuleType):
    """As much of the keyring library as is used."""

    def __init__(self, entries, error=None):
        super().__init__("keyring")
        self.entries, self.error, self.asked = entries, error, []

    def get_password(self, service, name):
        self.asked.append((service, name))
        if self.error:
            raise self.error
        return self.entries.get(name)


class FiledError(Exception):
    pass


@pytest.fixture
def filed(monkeypatch):
    def install(entries, error=None):
        library, errors = FiledKeys(entries, error), ModuleType("keyring.errors")
        errors.KeyringError = FiledError
        monkeypatch.setitem(sys.modules, "keyring", library)
        monkeypatch.setitem(sys.modules, "keyring.errors", errors)
        return library

    return install


def test_a_key_may_be_filed_in_the_systems_keyring(filed):
    library = filed({"OPENROUTER_API_KEY": "sk-filed-0123"})
    provider = SOURCES["openrouter"].provider
    assert find_key(provider, {}, from_keyring) == "sk-filed-0123"
    assert library.asked == [("tallygate", name) for name in provider.variables]
    assert find_key(provider, {"OPENROUTER_API_KEY": "sk-environment"}, from_keyring) == "sk-environment"
    assert len(library.asked) == len(provider.variables), "where the environment has one, no keyring is opened"


@pytest.mark.parametrize("error", [FiledError("it is locked\x1b[31m"), OSError("no bus"), RuntimeError("no backend")])
def test_a_keyring_that_cannot_be_read_is_named_beside_the_variable(filed, error):
    library = filed({}, error)
    with pytest.raises(SettingsError, match="ANTHROPIC_ADMIN_KEY is not set, and the keyring cannot be read: ") as got:
        find_key(SOURCES["anthropic"].provider, {}, from_keyring)
    assert got.value.message.isprintable()
    assert len(library.asked) == 1


def test_a_filed_key_that_cannot_be_one_is_refused_without_showing_it(filed):
    filed({"OPENAI_ADMIN_KEY": "not a key at all"})
    with pytest.raises(SettingsError, match="The keyring's entry OPENAI_ADMIN_KEY holds no API key") as caught:
        find_key(SOURCES["openai"].provider, {}, from_keyring)
    assert "not a key at all" not in str(caught.value)


def test_without_the_keyring_library_the_environment_is_what_there_is(monkeypatch):
    monkeypatch.setitem(sys.modules, "keyring", None)
    with pytest.raises(SettingsError, match=r"OPENAI_ADMIN_KEY is not set, and tallygate\[keyring\] is not installed"):
        find_key(SOURCES["openai"].provider, {}, from_keyring)
