"""What a unit of another currency is in dollars: the user's own rate, else the European Central Bank's of the day.

The bank's rates come from the data file of an installed package, of which nothing is run. It is opened at the first
question about another currency and read from its newest day back; the network is never asked.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Iterator, Mapping
from contextlib import closing
from datetime import UTC, date, datetime
from functools import lru_cache
from pathlib import Path

from tallygate.core.errors import InvalidArgument, ensure
from tallygate.core.money import NANOS_PER_UNIT, exact_text
from tallygate.core.values import value

__all__ = ["CONFIGURED", "ECB", "USD", "ExchangeBook", "Rate", "ReferenceRates"]

USD = "USD"
CONFIGURED, ECB, EXACT = "configured rate", "ECB reference rate", "exact"
RATE_NANOS_END = 1_000_000 * NANOS_PER_UNIT

_PACKAGE, _FILE = "currency_converter", "eurofxref-hist.zip"
# The bank gives rates in euros: units of a currency for one euro.
_BASE = "EUR"
_DAY, _UNITS = r"\d{4}-\d\d-\d\d", r"\d{1,9}(\.\d{1,9})?"
_LINE_MAX = 4096
_RATES_KEPT = 1024


@value(frozen=True, slots=True)
class Rate:
    """Dollars for one unit of a currency, in nano-dollars, with the day it is of and who says so."""

    usd_per_unit_nanos: int
    day: date
    source: str
    code: str

    def __post_init__(self) -> None:
        fits = 0 < self.usd_per_unit_nanos < RATE_NANOS_END
        ensure(fits, f"a rate of {self.usd_per_unit_nanos} nano-dollars is none")

    @property
    def text(self) -> str:
        """The rate with its basis, for every answer that rests on it.

        >>> Rate(1_310_200_000, date(2026, 11, 20), ECB, "GBP").text
        '1 GBP = 1.3102 USD (ECB reference rate of 2026-11-20)'
        """
        basis = self.source if self.code == USD else f"{self.source} of {self.day}"
        return f"1 {self.code} = {exact_text(self.usd_per_unit_nanos)} USD ({basis})"


class _Unlisted(Exception):
    """Why the list has no rate, as a clause."""


class ReferenceRates:
    """The European Central Bank's reference rates, as the installed package has them."""

    def __init__(self, file: Path | None = None) -> None:
        self._file = file
        self._kept = lru_cache(maxsize=_RATES_KEPT)(self._find)

    def rate(self, code: str, day: date) -> Rate:
        """The rate of the latest day up to `day`; of the first day there is, where all are later.

        Raises `InvalidArgument` for a currency that the newest day has no rate of: what the bank gave up is no rate.
        """
        try:
            return self._kept(code, day.isoformat())
        except _Unlisted as unlisted:
            why = str(unlisted)
        raise InvalidArgument(
            "currency",
            f"No exchange rate is known for {code}: {why}.",
            hint=f"Add to config.toml:\n[exchange.{code}]\nusd_per_unit = 1.00  # US dollars for one {code}\n"
            "day = 2026-11-01     # the day of that rate",
        )

    def _find(self, code: str, until: str) -> Rate:
        import zipfile
        import zlib

        try:
            with closing(self._rows()) as rows:
                day, dollars, units = _search(rows, code, until)
            return Rate(_divided(dollars, units), date.fromisoformat(day), ECB, code)
        except (OSError, ValueError, LookupError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            raise _Unlisted(f"the European Central Bank's list cannot be read ({type(error).__name__})") from None

    def _rows(self) -> Generator[list[str]]:
        """The names of the columns, then the days, newest first."""
        import io
        import zipfile

        with (
            zipfile.ZipFile(self._file or _installed()) as archive,
            archive.open(archive.namelist()[0]) as raw,
            io.TextIOWrapper(raw, encoding="ascii") as lines,
        ):
            yield lines.readline(_LINE_MAX).rstrip("\n").split(",")
            newer = "9999-99-99"
            while line := lines.readline(_LINE_MAX):
                cells = line.rstrip("\n").split(",")
                # The search ends at the first day that is not later: a list out of order would give a wrong day's rate
                # without a word.
                if not re.fullmatch(_DAY, cells[0]) or cells[0] >= newer:
                    raise ValueError(cells[0])
                newer = cells[0]
                yield cells


def _search(rows: Iterator[list[str]], code: str, until: str) -> tuple[str, str, str]:
    """The day, and what one euro is that day in dollars and in units of the currency."""
    names = next(rows)
    dollars = names.index(USD)
    if code != _BASE and code not in names:
        raise _Unlisted("the European Central Bank's list has none")
    column = None if code == _BASE else names.index(code)
    found = None
    for cells in rows:
        units = "1" if column is None else cells[column]
        # Days on which the bank set no rate for it are passed over for the one before; a time before the whole list
        # gets its first day.
        if re.fullmatch(_UNITS, units):
            found = cells[0], cells[dollars], units
            if cells[0] <= until:
                return found
        # On its newest day the list has none any more: the currency is gone, and an old rate would be made up.
        elif found is None:
            raise _Unlisted(f"the European Central Bank's list of {cells[0]} has none")
    if found is None:
        raise ValueError(until)
    return found


def _installed() -> Path:
    """The data file of the package. The package itself can fetch, so it is found and not imported."""
    from importlib.util import find_spec

    spec = find_spec(_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise FileNotFoundError(_PACKAGE)
    return Path(spec.submodule_search_locations[0]) / _FILE


def _divided(dollars: str, units: str) -> int:
    """Nano-dollars for one unit, rounded half-even, once."""
    from fractions import Fraction

    if not re.fullmatch(_UNITS, dollars) or not Fraction(units):
        raise ValueError(dollars)
    nanos = round(Fraction(dollars) / Fraction(units) * NANOS_PER_UNIT)
    if not 0 < nanos < RATE_NANOS_END:
        raise ValueError(nanos)
    return nanos


class ExchangeBook:
    """The rate of any currency as of a time: the one the user has set, else the bank's."""

    def __init__(self, configured: Mapping[str, Rate] | None = None, reference: ReferenceRates | None = None) -> None:
        self._configured = dict(configured or {})
        self._reference = reference or ReferenceRates()

    def rate(self, code: str, at: datetime) -> Rate:
        """Dollars for one unit of a currency. Raises `InvalidArgument` where nobody says, with the line to add."""
        ensure(at.tzinfo is not None, "a rate is asked as of a moment, which needs a time zone")
        if not (len(code) == 3 and code.isascii() and code.isalpha() and code.isupper()):
            raise InvalidArgument("currency", f"currency must be an ISO 4217 code such as GBP, not {code[:40]!r}.")
        day = at.astimezone(UTC).date()
        if code == USD:
            return Rate(NANOS_PER_UNIT, day, EXACT, USD)
        return self._configured.get(code) or self._reference.rate(code, day)
