"""What providers bill: the one form of every statement, whatever its columns are called."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


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


@dataclass(frozen=True, slots=True)
class BilledTokens:
    """Counts as a bill gives them; None where it does not say, which is never 0.

    The classes are disjoint, `output` contains reasoning. `read` is everything the model read, for bills that do not
    tell cached from fresh input; where they do, it is their sum or None.
    """

    fresh_input: int | None = None
    cache_read: int | None = None
    cache_write: int | None = None
    output: int | None = None
    read: int | None = None


NO_TOKENS = BilledTokens()


@dataclass(frozen=True, slots=True)
class BillLine:
    """One line of a bill, in the bill's currency.

    `number` is the line of the file it stands in (of several, the first), or its place in the answers of an API.
    `at` is when the request was made or the span begins, in UTC; `until` is the end of a span. `cost_nanos` is below
    zero for a credit and None where the bill tells no money. `requests` is how many requests the line covers. `key`
    and `workspace` are what the bill calls the API key and the account's part. `identity` names the line so that a
    later export of the same days can replace it: format, time, model, key, token class or request id, without
    anything that still changes; rows that are alike in it are told apart by nothing and all count.
    """

    number: int
    grain: Grain
    at: datetime
    provider: str
    identity: tuple[str, ...]
    model: str | None = None
    tokens: BilledTokens = NO_TOKENS
    cost_nanos: int | None = None
    until: datetime | None = None
    requests: int | None = None
    token_class: TokenClass | None = None
    request_id: str | None = None
    key: str | None = None
    workspace: str | None = None
    billing: Billing = Billing.METERED


@dataclass(frozen=True, slots=True)
class Bill:
    """One imported bill. It counts once it is complete and until it is deleted; times in microseconds."""

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
