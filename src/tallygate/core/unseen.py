"""What a client's own total of a session says beside the responses that were seen of it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from tallygate.core.costing import Tokens
from tallygate.core.drift import Cause, CauseKind, PriceOf, at_rates
from tallygate.core.money import format_amount
from tallygate.core.observed import SessionCheck


def unseen(check: SessionCheck, seen: Mapping[str, Tokens], at: datetime, price_of: PriceOf) -> Cause | None:
    """Why a client's own total is not the sum of its responses; None where the two agree.

    `seen` is what the responses add up to by model, `at` the time to price what is missing at.
    """
    ours = sum(tokens.total for tokens in seen.values())
    if check.total == ours:
        return None
    if check.includes:
        text = "the client's own total of this session includes those of the sessions it was forked from: not compared"
        return Cause(CauseKind.UNSEEN, 0, None, text)
    if check.total < ours:
        text = (
            f"the client's own total is {ours - check.total:,} tokens below its responses: "
            "it went on after it had stated that total, or ended without stating one"
        )
        return Cause(CauseKind.UNSEEN, 0, None, text)
    text = f"the client counts {check.total - ours:,} tokens more than was seen of it"
    nanos = _missing_nanos(check, seen, at, price_of)
    if nanos is not None:
        text += f", about {format_amount(nanos)}"
    text += "; calls that no transcript has, such as compaction and titles, are seen only where telemetry is received"
    return Cause(CauseKind.UNSEEN, 0, nanos, text)


def _missing_nanos(check: SessionCheck, seen: Mapping[str, Tokens], at: datetime, price_of: PriceOf) -> int | None:
    """What the missing tokens cost, where they can be told model by model and class by class."""
    stated = {each.model: each.tokens for each in check.models}
    if not seen.keys() <= stated.keys():
        return None
    nanos = 0
    for model, tokens in stated.items():
        known = seen.get(model, Tokens())
        missing = (
            tokens.fresh_input - known.fresh_input,
            tokens.cache_read - known.cache_read,
            tokens.cache_write_5m - known.cache_write_5m,
            tokens.cache_write_1h - known.cache_write_1h,
            tokens.output - known.output,
        )
        if min(missing) < 0:
            return None
        # A sum of many has no context of its own that a higher rate could be told by.
        nanos += at_rates(price_of(model, at).rates, Tokens(*missing))
    return nanos
