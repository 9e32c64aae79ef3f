"""The price basis kept beside every cost, so that history keeps its value when the price table moves."""

from __future__ import annotations

import hashlib
from functools import lru_cache

from tallygate.core.costing import Price, Rates
from tallygate.core.proof import canonical_bytes
from tallygate.ledger.port import Insert, Tx


@lru_cache(maxsize=512)
def basis_of(price: Price) -> tuple[str, str]:
    """Id and JSON text of a price's basis; the time it was asked for is that of the call it stands beside."""
    body: dict[str, object] = {
        "key": price.key,
        "source": price.source,
        "version": price.version,
        "known": price.known,
        "approximate": price.approximate,
        "rates": _rates(price.rates),
    }
    if price.tiers:
        body["tiers"] = [{"above_context_tokens": t.above_context_tokens, **_rates(t.rates)} for t in price.tiers]
    if price.per_request_nanos:
        body["per_request_nanos"] = price.per_request_nanos
    if price.per_search_nanos:
        body["per_search_nanos"] = price.per_search_nanos
    if price.valid_from:
        body["valid_from"] = price.valid_from
    raw = canonical_bytes(body)
    return hashlib.sha256(raw).hexdigest()[:16], raw.decode()


def _rates(rates: Rates) -> dict[str, int]:
    return {
        "input_nanos": rates.input_nanos,
        "output_nanos": rates.output_nanos,
        "cache_read_nanos": rates.cache_read_nanos,
        "cache_write_5m_nanos": rates.cache_write_5m_nanos,
        "cache_write_1h_nanos": rates.cache_write_1h_nanos,
    }


def basis_changes(tx: Tx, price: Price, seen: set[str]) -> tuple[str, list[Insert]]:
    """The id of a price's basis, and the row to insert where the ledger does not have it yet."""
    price_id, basis = basis_of(price)
    if price_id in seen or tx.knows_price(price_id):
        return price_id, []
    return price_id, [Insert("price", {"price_id": price_id, "basis": basis})]
