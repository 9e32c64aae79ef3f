"""What providers bill for the made-up month: the record, and on some days not quite the record."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import field, replace
from datetime import UTC, date, datetime, time, timedelta

from tallygate.core.costing import Tokens, at_rates
from tallygate.core.moments import DAY_US, as_datetime
from tallygate.core.statements import BilledTokens, BillLine, Grain
from tallygate.core.values import value
from tallygate.operations.bills.keep import Draft, keep_bill
from tallygate.operations.runtime import Runtime

# Bills come late: the last days are in none yet.
LATE_DAYS = 2
_DAYS = 60
_CENT = 10_000_000
# Whose bill tells of which models, and what it is called; nobody has exported the third provider's.
_PROVIDERS = {("claude",): ("anthropic", "anthropic usage.csv"), ("gpt", "codex"): ("openai", "openai usage.csv")}
_DISCOUNTED, _DISCOUNT = "gpt-5.5", 90
_LOST_DAY, _HIDDEN_DAY, _IMAGE_DAY = 9, 13, 6


@value(slots=True)
class _Used:
    tokens: Tokens = field(default_factory=Tokens)
    nanos: int = 0
    requests: int = 0


def bill_month(rt: Runtime) -> None:
    """Keep a bill of each provider that bills, by the operations that imports go through."""
    now_us = rt.services.clock_us()
    last = as_datetime(now_us).date() - timedelta(days=LATE_DAYS)
    used: dict[tuple[date, str], _Used] = {}
    with rt.reading() as reader:
        for stored in reader.usage_between(now_us - _DAYS * DAY_US, now_us):
            day = stored.row.at.astimezone(UTC).date()
            if day <= last:
                mine = used.setdefault((day, stored.row.model), _Used())
                mine.tokens += stored.row.tokens
                mine.nanos += stored.cost_nanos
                mine.requests += 1
    for prefixes, (provider, name) in _PROVIDERS.items():
        own = {key: found for key, found in sorted(used.items()) if key[1].startswith(prefixes)}
        lines = list(_lines(rt, provider, own, last))
        if lines:
            digest = hashlib.sha256(repr(lines).encode()).hexdigest()
            keep_bill(rt, Draft("generic", name, digest, "USD", lines))


def _lines(rt: Runtime, provider: str, used: dict[tuple[date, str], _Used], last: date) -> Iterator[BillLine]:
    number = 0
    for (day, model), found in used.items():
        ago, number = (last - day).days, number + 1
        tokens, nanos = found.tokens, found.nanos
        if model == _DISCOUNTED:
            nanos = nanos * _DISCOUNT // 100  # a price that was agreed on
        elif ago == _LOST_DAY:
            # A client was killed: one answer more was billed than is on record.
            tokens, nanos = _more(tokens, found.requests), nanos + nanos // max(found.requests, 1)
        elif ago == _HIDDEN_DAY:
            extra = tokens.output // 10
            rates = rt.workspace.prices.quote(model, _midnight(day)).rates
            nanos += at_rates(rates, Tokens(output=extra))
            tokens = replace(tokens, output=tokens.output + extra)
        yield _line(provider, number, (day, model), tokens, (nanos + _CENT // 200) // (_CENT // 100) * (_CENT // 100))
    if provider == "openai" and used:
        day = last - timedelta(days=_IMAGE_DAY)
        yield _line(provider, number + 1, (day, "gpt-image-2"), Tokens(fresh_input=1_200, output=8_400), 34 * _CENT)
        yield BillLine(
            number=number + 2,
            grain=Grain.DAY,
            at=_midnight(last - timedelta(days=3)),
            provider=provider,
            identity=("credit", str(number)),
            model="gpt-5.5",
            cost_nanos=-50 * _CENT,
        )


def _more(tokens: Tokens, requests: int) -> Tokens:
    """Counts with one more request like the others."""
    parts = max(requests, 1)
    return tokens + Tokens(
        tokens.fresh_input // parts,
        tokens.cache_read // parts,
        tokens.cache_write_5m // parts,
        tokens.cache_write_1h // parts,
        tokens.output // parts,
    )


def _line(provider: str, number: int, at: tuple[date, str], tokens: Tokens, nanos: int) -> BillLine:
    day, model = at
    written = tokens.cache_write_5m + tokens.cache_write_1h
    return BillLine(
        number=number,
        grain=Grain.DAY,
        at=_midnight(day),
        provider=provider,
        identity=(day.isoformat(), model),
        model=model,
        tokens=BilledTokens(tokens.fresh_input, tokens.cache_read, written, tokens.output),
        cost_nanos=nanos,
    )


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)
