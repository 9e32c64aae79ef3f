"""The drift review as data: what a command line, a page or an agent shows of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field
from datetime import date
from typing import Any

from tallygate.core.bills.causes import Cause
from tallygate.core.bills.drift import DriftPart, RateApart
from tallygate.core.bills.lines import Bucket, Gap
from tallygate.core.bills.review import MILLION, BilledFactor, EndSum, EstimateFactor, Line
from tallygate.core.moments import as_datetime, iso
from tallygate.core.money import json_number
from tallygate.core.text import cleaned
from tallygate.core.values import value
from tallygate.core.words import client_name

_NAME_MAX = 120

# What each reason means, for people.
GAPS = {
    Gap.NO_BILL: "no bill covers these days",
    Gap.NOT_RECORDED: "billed before or after anything that was recorded here",
    Gap.NO_MODEL: "lines of bills that name no model",
    Gap.NOTHING_TOLD: "lines of bills that tell neither tokens nor money",
    Gap.CLASS_NOT_TOLD: "classes of tokens that the bill does not tell apart",
    Gap.NO_COUNTS: "days whose bill tells money and no tokens: compared by money alone",
    Gap.UNKNOWN_PRICE: "billed tokens without money, of models without a known price",
    Gap.ASSUMED: "responses of models without a known price: recorded at an assumed one",
    Gap.PARTIAL: "responses that have no final count: their output is a lower bound",
    Gap.ESTIMATE_ONLY: "calls of which nobody knows what they used, only what was estimated",
    Gap.NO_RATE: "lines of bills in a currency without an exchange rate: compared by tokens alone",
    Gap.TOLD_AGAIN: "use that another bill tells of, too; it counts once",
    Gap.SPAN_CUT: "lines of bills that reach beyond the days looked at",
}


@value(frozen=True, slots=True)
class GapSum:
    """Something that cannot be compared: how often, and what it amounts to where that is known."""

    gap: Gap
    count: int
    tokens: int | None = None
    recorded_nanos: int | None = None
    billed_nanos: int | None = None

    @property
    def text(self) -> str:
        return GAPS[self.gap]


@value(slots=True)
class BillShown:
    """A bill that has lines in the review; amounts in its own currency and in dollars, None where it tells none."""

    bill_id: str
    format: str
    currency: str
    lines: int
    nanos: int | None
    usd_nanos: int | None


@value(frozen=True, slots=True)
class Paste:
    """Lines for config.toml, with the reason."""

    why: str
    text: str


@value(slots=True)
class Review:
    """Everything a review found. `lines` are those shown, `hidden` how many more there are; the total has all.

    `tolerance_nanos` is how far the matched amounts may be off, by the rounding of the bills. `priced_nanos` of what
    stands as billed is of tokens that bills tell no money for. `causes` are why a session's record is not its estimate.
    `parts` are the drift of what was compared, by day, model and cause; `unbilled` is what no bill covers, by day;
    `apart` are rates that bills have otherwise on all days.
    """

    from_us: int
    until_us: int
    lines: list[Line]
    hidden: int
    total: Line
    buckets: list[EndSum]
    gaps: list[GapSum]
    billed_factors: list[BilledFactor]
    estimate_factors: list[EstimateFactor]
    bills: list[BillShown]
    pastes: list[Paste] = field(default_factory=list)
    causes: dict[str, list[Cause]] = field(default_factory=dict)
    rates: Mapping[str, str] = field(default_factory=dict)
    tolerance_nanos: int = 0
    priced_nanos: int = 0
    parts: list[DriftPart] = field(default_factory=list)
    unbilled: Mapping[date, int] = field(default_factory=dict)
    apart: list[RateApart] = field(default_factory=list)

    @property
    def span(self) -> str:
        """The days, first and last; none where nothing was used or billed."""
        if self.from_us >= self.until_us:
            return ""
        return f"{as_datetime(self.from_us):%Y-%m-%d} to {as_datetime(self.until_us - 1):%Y-%m-%d}"

    @property
    def has_bills(self) -> bool:
        return bool(self.bills)

    def factors(self) -> dict[str, int]:
        """The factors that `--apply` keeps, by the name under which estimates know a model."""
        return {
            price: each.micros for each in self.billed_factors if each.is_off and each.micros for price in each.prices
        }


def main_cause(line: Line, causes: Mapping[str, Sequence[Cause]]) -> Cause | None:
    """The cause that moved a line most: of its own those with an amount, then those of its session."""
    who = line.place.who
    of_session = () if who is None or who.session_id is None else causes.get(who.session_id, ())
    return max(
        [*line.causes, *of_session], key=lambda cause: (cause.nanos is not None, abs(cause.nanos or 0)), default=None
    )


# Causes as a column has them; the others are short enough.
_WORDS = {
    "price_drift": "price",
    "hidden_reasoning": "hidden",
    "partial_rows": "partial",
    "cache_dominates": "cache",
    "not_in_bill": "no bill",
    "not_in_ledger": "no record",
    "subscription": "plan",
    "other_model": "model",
    "long_context": "context",
    "outside_calls": "unasked",
    "own_calls": "own calls",
    "no_response": "lost",
    "broken_off": "broken",
    "doubtful_reports": "doubtful",
}


def cause_word(cause: Cause) -> str:
    """A cause in a word, for a column."""
    return _WORDS.get(str(cause.kind), str(cause.kind))


def payload(review: Review, most: int | None = None) -> dict[str, Any]:
    """The review as one JSON document; of each list the first `most` entries, which matter most."""
    used = review.from_us < review.until_us
    told = [(session_id, cause) for session_id, causes in review.causes.items() for cause in causes[:most]]
    return {
        "since": iso(review.from_us) if used else None,
        "until": iso(review.until_us) if used else None,
        "time_zone": "UTC",
        "currency": "USD",
        "bills": [
            {
                "bill_id": bill.bill_id,
                "format": bill.format,
                "currency": bill.currency,
                "lines": bill.lines,
                "total": _money(bill.nanos),
                "total_usd": _money(bill.usd_nanos),
            }
            for bill in review.bills[:most]
        ],
        "exchange_rates": dict(review.rates),
        "lines": [_line(line, most) for line in review.lines[:most]],
        "hidden_lines": review.hidden + len(review.lines[most:] if most is not None else ()),
        "total": _amounts(review.total),
        "causes": [{"session_id": session_id, **_cause(cause)} for session_id, cause in told[:most]],
        "buckets": [
            {
                "bucket": each.bucket.value,
                "model_days": each.cells,
                "tokens": each.tokens,
                "recorded": None if each.bucket is Bucket.BILL_ONLY else json_number(each.recorded_nanos),
                "billed": None if each.bucket is Bucket.LEDGER_ONLY else json_number(each.billed_nanos),
            }
            for each in review.buckets
            if each.bucket is not Bucket.UNCOMPARED
        ],
        "tolerance": json_number(review.tolerance_nanos),
        "priced_by_list": json_number(review.priced_nanos),
        "not_compared": [
            {
                "reason": gap.gap.value,
                "text": gap.text,
                "count": gap.count,
                "tokens": gap.tokens,
                "recorded": _money(gap.recorded_nanos),
                "billed": _money(gap.billed_nanos),
            }
            for gap in review.gaps
        ],
        "calibration": {
            "billed": [
                {
                    "model": factor.key.text,
                    "estimated_as": list(factor.prices),
                    "responses": factor.responses,
                    "tokens": factor.tokens,
                    "recorded": json_number(factor.recorded_nanos),
                    "billed": json_number(factor.billed_nanos),
                    "factor": factor_number(factor.micros),
                    "would_apply": factor.is_off,
                }
                for factor in review.billed_factors[:most]
            ],
            "estimates": [
                {
                    "client": cleaned(client_name(factor.client), _NAME_MAX),
                    "model": cleaned(factor.model, _NAME_MAX),
                    "calls": factor.calls,
                    "estimate": json_number(factor.estimate_nanos),
                    "recorded": json_number(factor.recorded_nanos),
                    "factor": factor_number(factor.micros),
                }
                for factor in review.estimate_factors[:most]
            ],
        },
        "settings_to_add": [{"why": paste.why, "text": paste.text} for paste in review.pastes[:most]],
    }


def _line(line: Line, most: int | None) -> dict[str, Any]:
    who = line.place.who
    return {
        "session_id": None if who is None else who.session_id,
        "client": None if who is None else cleaned(client_name(who.client), _NAME_MAX),
        "in_ledger": who is not None,
        "day": line.place.day.isoformat(),
        "model": cleaned(line.place.model, _NAME_MAX),
        **_amounts(line),
        "billed_by_share": line.is_shared,
        "causes": [_cause(cause) for cause in line.causes[:most]],
    }


def _amounts(line: Line) -> dict[str, Any]:
    split = line.split
    return {
        "calls": line.calls,
        "responses": line.responses,
        "estimate": _money(line.estimate_nanos),
        "recorded": _money(line.recorded_nanos),
        "known_recorded": _money(None if line.recorded_nanos is None else line.recorded_nanos - split.unsure_nanos),
        "approximate_recorded": json_number(split.approximate_nanos),
        "assumed_recorded": json_number(split.assumed_nanos),
        "billed": _money(line.billed_nanos),
        "api_equivalent": _money(line.included_nanos),
        "recorded_by_estimate": factor_number(line.recorded_micros),
        "billed_by_recorded": factor_number(line.billed_micros),
    }


def _cause(cause: Cause) -> dict[str, Any]:
    return {"cause": str(cause.kind), "amount": _money(cause.nanos), "text": cleaned(cause.text, 1000)}


def _money(nanos: int | None) -> Any:
    return None if nanos is None else json_number(nanos)


def factor_number(micros: int | None) -> Any:
    """A factor of millionths as the number that JSON carries."""
    return None if micros is None else json_number(micros * 1000)


def factor_text(micros: int | None) -> str:
    """A factor as people read it: three digits, and only their magnitude where it is far from one.

    >>> [factor_text(n) for n in (1_000_000, 847_300, 12_345_678, 1_234_567_890, 40, None)]
    ['1.00', '0.85', '12.3', '1,234', '<0.01', '-']
    """
    if micros is None:
        return "-"
    if micros < 0:
        return f"-{factor_text(-micros)}"
    if 0 < micros < 5_000:
        return "<0.01"
    if micros >= 100 * MILLION:
        return f"{micros // MILLION:,}"
    if micros >= 9_995_000:
        tenths = (micros + 50_000) // 100_000
        return f"{tenths // 10}.{tenths % 10}"
    cents = (micros + 5_000) // 10_000
    return f"{cents // 100}.{cents % 100:02d}"
