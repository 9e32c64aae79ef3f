from __future__ import annotations

import subprocess
import sys
import zipfile
from datetime import UTC, date, datetime, timedelta, timezone
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallygate.core.errors import InvalidArgument, InvariantBroken
from tallygate.pricing.exchange import CONFIGURED, ECB, USD, ExchangeBook, Rate, ReferenceRates, _divided

BOOK = ExchangeBook()
LIST = """\
Date,USD,JPY,GBP,HRK,RUB,
2026-11-20,1.1500,180.00,0.8800,N/A,N/A,
2026-11-19,1.1400,N/A,0.8700,N/A,N/A,
2026-11-18,1.1300,178.00,N/A,N/A,90.5,
2022-12-30,1.0666,140.66,0.88693,7.5365,N/A,
"""


def moment(text):
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.fixture
def shelf(tmp_path):
    """Makes a book from the text of a list, or from the bytes of its file."""

    def book(text, **configured):
        file = tmp_path / "rates.zip"
        if isinstance(text, bytes):
            file.write_bytes(text)
        elif text is not None:
            with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
                archive.writestr("rates.csv", text)
        return ExchangeBook(configured, ReferenceRates(file))

    return book


# currency  asked at          | of          nano-dollars
LISTED = [
    ("GBP", "2026-11-22", "2026-11-20", 1_306_818_182),
    ("GBP", "2026-11-20", "2026-11-20", 1_306_818_182),
    ("GBP", "2026-11-19T23:59", "2026-11-19", 1_310_344_828),
    ("GBP", "2026-11-18", "2022-12-30", 1_202_575_175),
    ("JPY", "2026-11-22", "2026-11-20", 6_388_889),
    ("JPY", "2026-11-19", "2026-11-18", 6_348_315),
    ("EUR", "2026-11-22", "2026-11-20", 1_150_000_000),
    ("EUR", "2026-11-01", "2022-12-30", 1_066_600_000),
    ("JPY", "1970-01-01", "2022-12-30", 7_582_824),
]


@pytest.mark.parametrize("code,at,day,nanos", LISTED)
def test_a_rate_is_of_the_latest_day_until_then_else_of_the_first(shelf, code, at, day, nanos):
    rate = shelf(LIST).rate(code, moment(at))
    assert (rate.day.isoformat(), rate.usd_per_unit_nanos) == (day, nanos)
    assert (rate.code, rate.source) == (code, ECB)


def test_the_day_of_a_moment_is_that_of_utc(shelf):
    in_tokyo = datetime(2026, 11, 20, 8, 0, tzinfo=timezone(timedelta(hours=9)))
    assert shelf(LIST).rate("GBP", in_tokyo).day == date(2026, 11, 19)


def test_what_the_user_has_set_comes_before_the_list_whatever_the_time(shelf):
    own = Rate(1_250_000_000, date(2026, 11, 1), CONFIGURED, "GBP")
    book = shelf(LIST, GBP=own)
    assert [book.rate("GBP", moment(at)) for at in ("2020-01-01", "2026-11-22")] == [own, own]
    assert book.rate("JPY", moment("2026-11-22")).source == ECB


def test_a_dollar_is_a_dollar_without_any_list(shelf):
    rate = shelf(None).rate(USD, moment("2026-11-22"))
    assert (rate.usd_per_unit_nanos, rate.text) == (10**9, "1 USD = 1 USD (exact)")


@pytest.mark.parametrize("code", ["HRK", "RUB", "AED"])
def test_a_currency_without_a_rate_is_refused_with_the_lines_that_would_settle_it(shelf, code):
    with pytest.raises(InvalidArgument) as refused:
        shelf(LIST).rate(code, moment("2026-11-22"))
    assert refused.value.argument == "currency"
    assert refused.value.message.startswith(f"No exchange rate is known for {code}: ")
    assert f"[exchange.{code}]\nusd_per_unit = 1.00" in refused.value.hint


@pytest.mark.parametrize("code", ["", "gbp", "GB", "GBPX", "Dat", "G P", "£££", "ÄÖÜ", "]\nx", "x" * 10_000])
def test_what_is_no_code_is_refused_in_a_short_harmless_sentence(code):
    with pytest.raises(InvalidArgument, match="ISO 4217") as refused:
        BOOK.rate(code, moment("2026-11-22"))
    assert len(refused.value.message) < 150
    assert refused.value.message.isprintable()


DAMAGED = {
    "no file": None,
    "no archive": b"Date,USD\n",
    "an archive cut short": b"PK\x03\x04" + b"\0" * 40,
    "nothing": "",
    "no days": "Date,USD,GBP,\n",
    "no dollars": "Date,GBP,\n2026-11-20,0.88,\n",
    "a short row": "Date,USD,GBP,\n2026-11-20,1.15\n",
    "no day": "Date,USD,GBP,\nyesterday,1.15,0.88,\n",
    "an impossible day": "Date,USD,GBP,\n2026-02-30,1.15,0.88,\n",
    "oldest first": "Date,USD,GBP,\n2026-11-19,1.15,0.88,\n2026-11-20,1.15,0.88,\n",
    "a rate of nothing": "Date,USD,GBP,\n2026-11-20,1.15,0,\n",
    "no dollars that day": "Date,USD,GBP,\n2026-11-20,N/A,0.88,\n",
    "dollars of nothing": "Date,USD,GBP,\n2026-11-20,0,0.88,\n",
    "a rate too large": "Date,USD,GBP,\n2026-11-20,1.15,0.000001,\n",
    "foreign letters": "Date,USD,GBP,\n2026-11-20,1.15,\u0660.\u0668,\n",
}


@pytest.mark.parametrize("what", DAMAGED)
def test_a_damaged_list_is_said_to_be_unreadable_and_gives_no_rate(shelf, what):
    book = shelf(DAMAGED[what])
    with pytest.raises(InvalidArgument, match=r"No exchange rate is known for GBP: .* cannot be read") as refused:
        book.rate("GBP", moment("2026-11-18"))
    assert "[exchange.GBP]" in refused.value.hint


@pytest.mark.parametrize("units", ["N/A", "", "1e5", "-1", "nan", "1/3", "1_0"])
def test_what_the_newest_day_has_no_number_for_has_no_rate(shelf, units):
    with pytest.raises(InvalidArgument, match="has none"):
        shelf(f"Date,USD,GBP,\n2026-11-20,1.15,{units},\n2026-11-19,1.15,0.88,\n").rate("GBP", moment("2026-11-22"))


UNITS = st.decimals("0.0001", 99_999, places=6).map(lambda units: f"{units:f}")


@given(UNITS, UNITS)
def test_a_rate_is_the_quotient_rounded_once_to_the_nearest_nano_dollar(dollars, units):
    exact = Fraction(dollars) / Fraction(units) * 10**9
    if 1 <= exact < 10**15 - 1:
        assert abs(_divided(dollars, units) - exact) <= Fraction(1, 2)


@pytest.mark.parametrize("dollars,units,nanos", [("0.000000005", "2", 2), ("0.000000007", "2", 4)])
def test_half_a_nano_dollar_goes_to_the_even_side(dollars, units, nanos):
    assert _divided(dollars, units) == nanos


@pytest.mark.parametrize("nanos", [0, -1, 10**15])
def test_a_rate_of_nothing_or_without_bounds_cannot_exist(nanos):
    with pytest.raises(InvariantBroken):
        Rate(nanos, date(2026, 11, 1), CONFIGURED, "GBP")


def test_a_rate_is_asked_as_of_a_moment():
    with pytest.raises(InvariantBroken):
        BOOK.rate("GBP", datetime(2026, 11, 22))  # noqa: DTZ001


# What the bank published, which no newer package changes.
PUBLISHED = [
    ("GBP", "2014-03-28", "1 GBP = 1.66332205 USD (ECB reference rate of 2014-03-28)"),
    ("EUR", "2014-03-30", "1 EUR = 1.3759 USD (ECB reference rate of 2014-03-28)"),
    ("JPY", "2014-03-28", "1 JPY = 0.009765082 USD (ECB reference rate of 2014-03-28)"),
    ("GBP", "2026-10-30", "1 GBP = 1.339889662 USD (ECB reference rate of 2026-10-30)"),
]


@pytest.mark.parametrize("code,at,text", PUBLISHED)
def test_the_installed_list_has_the_rates_that_were_published(code, at, text):
    assert BOOK.rate(code, moment(at)).text == text


@pytest.mark.parametrize("code", ["AUD", "BRL", "CAD", "CHF", "CNY", "EUR", "GBP", "INR", "JPY", "KRW", "PLN", "SEK"])
def test_the_installed_list_has_a_late_rate_of_the_currencies_people_work_in(code):
    assert BOOK.rate(code, moment("2027-01-01")).day >= date(2026, 10, 30)


def test_the_package_with_the_list_is_never_run_and_the_list_not_opened_before_it_is_needed():
    program = (
        "import sys, datetime as dt, tallygate.app\n"
        "before = 'zipfile' in sys.modules\n"
        "book = tallygate.app.ExchangeBook()\n"
        "book.rate('USD', dt.datetime.now(dt.UTC)); unopened = 'zipfile' in sys.modules\n"
        "book.rate('GBP', dt.datetime.now(dt.UTC))\n"
        "ran = [m for m in sys.modules if m.startswith(('currency_converter', 'urllib.request', 'http'))]\n"
        "print(before, unopened, 'zipfile' in sys.modules, ran)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split(maxsplit=3) == ["False", "False", "True", "[]\n"]
