"""What only the user may do to a response: set what it counts, also lower than its client wrote it down."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from tallygate.core.authority import Authority, Loosening
from tallygate.core.costing import is_local_runtime
from tallygate.core.errors import Conflict, InvalidArgument, NotFound
from tallygate.core.money import AMOUNT_NANOS_MAX
from tallygate.core.text import cleaned, shown
from tallygate.core.usage import GUESSED_MODEL, MAX_TOKENS, Quality
from tallygate.core.values import value
from tallygate.core.words import client_name
from tallygate.ledger.port import StoredUsage, Update, UsageReader, Value
from tallygate.ledger.rows import from_usage
from tallygate.operations.budgets.metering import Meter
from tallygate.operations.lock_book import signing
from tallygate.operations.runtime import Runtime
from tallygate.operations.usage.ingest import Pricer, new_prices

CLASSES = ("fresh_input", "cache_read", "cache_write_5m", "cache_write_1h", "output")
# What stands before client and key where samples are written.
RESPONSE_PREFIX = "response:"
_REASON_MAX = 200
_CANDIDATES = 5


@value(frozen=True, slots=True)
class Correction:
    """A response before and after the user has set it."""

    before: StoredUsage
    after: StoredUsage


def correct_usage(
    rt: Runtime, part: str, counts: Mapping[str, int], *, model: str | None, reason: str, authority: Authority
) -> Correction:
    """Give a response the counts and the model that the user names; what is read later does not change it again."""
    authority.require(Loosening.USAGE_CORRECT)
    why = cleaned(reason, _REASON_MAX)
    if not why.strip():
        raise InvalidArgument("reason", "A correction needs a reason.", hint="It stands in the journal: --reason TEXT.")
    if any(name not in CLASSES or not 0 <= count <= MAX_TOKENS for name, count in counts.items()):
        raise InvalidArgument("counts", f"A count is a whole number from 0 to {MAX_TOKENS:,}.")
    pricer = Pricer(rt)
    with rt.writing() as tx:
        before = find_usage(tx, part)
        row = before.row
        tokens = replace(row.tokens, **dict(counts))
        row = replace(row, tokens=tokens, model=model or row.model, quality=Quality.FINAL, estimated_output=None)
        if model is not None:
            row = replace(row, odd=tuple(each for each in row.odd if each != GUESSED_MODEL))
        searches = row.web_searches if tokens.total else 0
        runtime = (model or "").partition("/")[0]
        if is_local_runtime(runtime):
            row = replace(row, provider=runtime)  # the user says that it ran on this machine
        row = replace(row, reasoning=min(row.reasoning, tokens.output), web_searches=searches)
        priced = pricer.priced(row)
        session = None if before.session_id is None else tx.session(before.session_id)
        if session is not None:
            priced = pricer.priced_in(priced, session)
        stored, basis = priced
        if stored.cost_nanos > AMOUNT_NANOS_MAX:
            raise InvalidArgument("counts", "No response costs as much as these counts would.")
        after = replace(before, row=row, price_id=stored.price_id, cost_nanos=stored.cost_nanos, corrected=why)
        meter = Meter(tx, rt.workspace.place_of)
        befores = (before,)
        after = meter.count(after, befores) if session is None else meter.charge(after, session, befores)
        changes = [
            *new_prices(rt, tx, {after.price_id: basis}),
            *meter.changes(),
            Update("usage", from_usage(after)),
        ]
        note: dict[str, Value] = {
            "client": row.client,
            "response_key": row.response_key,
            "actor": authority.actor,
            "reason": why,
            "cost_before_nanos": before.cost_nanos,
            "cost_nanos": after.cost_nanos,
        }
        sign = signing(rt, tx, authority, Loosening.USAGE_CORRECT)
        tx.append("usage.corrected", changes, by=rt.by, note=note, sign=sign)
    return Correction(before, after)


def find_usage(reader: UsageReader, part: str) -> StoredUsage:
    """The response of a key, or the one whose key begins with a text; also as `calibrate export` names it."""
    found = reader.usage_called(part, _CANDIDATES)
    if not found and part.startswith(RESPONSE_PREFIX):
        client, _, part = part.removeprefix(RESPONSE_PREFIX).partition(":")
        found = [
            stored
            for stored in reader.usage_called(part, _CANDIDATES)
            if client_name(stored.row.client) == client_name(client)
        ]
    exact = [stored for stored in found if stored.row.response_key == part]
    chosen = exact or found
    if not part or not chosen:
        raise NotFound(
            f"No response {shown(part)} is in the ledger.",
            hint="`tallygate usage anomalies` and `tallygate sessions show ID --calls` name responses.",
            code="unknown_response",
        )
    if len(chosen) > 1:
        named = ", ".join(shown(stored.row.response_key) for stored in chosen)
        raise Conflict(f"Several responses begin with {shown(part)}: {named}.", hint="Give the whole key.")
    return chosen[0]
