"""What providers bill: the one form of every statement, whatever its columns are called."""

from __future__ import annotations

import hashlib
import json
from dataclasses import field
from datetime import UTC, datetime
from enum import StrEnum

from tallygate.core.errors import ensure
from tallygate.core.text import shown
from tallygate.core.values import value

# What the ledger keeps; every sum of it stays inside 64 bits.
COUNT_MAX = 1_000_000_000_000
LINE_NANOS_MAX = 4_000_000_000_000_000
TOTAL_NANOS_MAX = 4_000_000_000_000_000_000
BILL_LINES_MAX = 1_000_000
_FIRST, _LAST = datetime(2000, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)


class Grain(StrEnum):
    """What one line of a bill stands for."""

    REQUEST = "request"
    HOUR = "hour"
    DAY = "day"
    MONTH = "month"


class Billing(StrEnum):
    """Whether a line is charged by use, or is part of a subscription whose use it tells."""

    METERED = "metered"
    INCLUDED = "included"


class TokenClass(StrEnum):
    """What a line is for, where a bill has one line for each."""

    INPUT = "input"
    CACHE_READ = "cache_read"
    CACHE_WRITE = "cache_write"
    OUTPUT = "output"
    OTHER = "other"


@value(frozen=True, slots=True)
class BilledTokens:
    """Counts as a bill gives them; None where it does not say, which is never 0.

    The classes are disjoint, `output` contains reasoning. `read` is everything the model read, for bills that do not
    tell cached from fresh input; where they do, it is their sum or None.
    """

    fresh_input: int | None = None
    cache_read: int | None = None
    cache_write: int | None = None
    output: int | None = None
    read: int | None = field(default=None, metadata={"column": "read_tokens"})


NO_TOKENS = BilledTokens()


@value(frozen=True, slots=True)
class BillLine:
    """One line of a bill, in the bill's currency.

    `number` is the line of the file it stands in (of several, the first), or its place in the answers of an API.
    `at` is when the request was made or the span begins, in UTC; `until` is the end of a span. `cost_nanos` is below
    zero for a credit and None where the bill tells no money. `requests` is how many requests the line covers. `key`
    and `workspace` are what the bill calls the API key and the account's part. `identity` names the line so that a
    later export of the same days can replace it: time, model, key, token class or request id, without anything that
    still changes; rows that are alike in it are told apart by nothing and all count. A line that comes back from the
    ledger has the digest of its identity there, in one part.
    """

    number: int
    grain: Grain
    at: datetime = field(metadata={"column": "at_us"})
    provider: str
    identity: tuple[str, ...]
    model: str | None = None
    tokens: BilledTokens = NO_TOKENS
    cost_nanos: int | None = None
    until: datetime | None = field(default=None, metadata={"column": "until_us"})
    requests: int | None = None
    token_class: TokenClass | None = None
    request_id: str | None = None
    key: str | None = field(default=None, metadata={"column": "key_name"})
    workspace: str | None = None
    billing: Billing = Billing.METERED


@value(frozen=True, slots=True)
class Bill:
    """One imported bill. It counts once it is complete and until it is deleted; times in microseconds.

    `total_nanos` is what is charged; what is included in a subscription is not in it, and None means no money is told.
    """

    tenant: str
    bill_id: str
    format: str
    name: str
    digest: str
    currency: str
    lines: int
    imported_us: int
    from_us: int | None = None
    until_us: int | None = None
    total_nanos: int | None = None
    complete_us: int | None = None
    deleted_us: int | None = None

    @property
    def counts(self) -> bool:
        return self.complete_us is not None and self.deleted_us is None


@value(frozen=True, slots=True)
class BilledLine:
    """A line that counts, with the bill it stands in."""

    bill_id: str
    format: str
    currency: str
    line: BillLine


def identity_digest(form: str, identity: tuple[str, ...]) -> str:
    """What makes a line the same line in a later export of its format, as SHA-256."""
    return hashlib.sha256(json.dumps([form, *identity], separators=(",", ":")).encode()).hexdigest()


def unfit(line: BillLine) -> str | None:
    """Why a line cannot be kept, as a sentence without its number; None where it can."""
    ensure(line.number > 0, f"a line of a bill has the number {line.number}")
    for name, at in (("time", line.at), ("end", line.until)):
        if at is not None and not _FIRST <= at < _LAST:
            return f"the {name} {at:%Y-%m-%d} lies outside of the years 2000 to 2199"
    # A line whose days run backwards would match no day, and its money be lost without a word.
    if line.until is not None and line.until < line.at:
        return f"the end {line.until.isoformat()} lies before the beginning {line.at.isoformat()}"
    tokens = line.tokens
    counts = (tokens.fresh_input, tokens.cache_read, tokens.cache_write, tokens.output, tokens.read, line.requests)
    for count in counts:
        if count is not None and not 0 <= count <= COUNT_MAX:
            return f"the count {shown(count)} is not one from 0 to {COUNT_MAX:,}"
    if line.cost_nanos is not None and abs(line.cost_nanos) > LINE_NANOS_MAX:
        return "the amount is above 4,000,000"
    if not line.provider:
        return "nobody is named who bills it"
    return None
