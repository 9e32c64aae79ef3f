"""Find what the ledger has of a response already: under its own key, or told of by another source."""

from __future__ import annotations

from collections.abc import Sequence

from tallygate.core.usage import TELEMETRY, ObservedUsage, nearest, tells_of
from tallygate.ledger.port import StoredUsage, Tx


class Stored:
    """The responses in the ledger that one batch of one client may touch, as they stand after each change."""

    def __init__(self, tx: Tx, client: str, rows: Sequence[ObservedUsage]) -> None:
        self.touched: set[str] = set()
        # Only what telemetry tells is looked for by its request, or looks by it.
        self._tells = any(row.is_told for row in rows)
        self._by_key = tx.usage_known(client, [row.response_key for row in rows])
        self._of_request: dict[str, set[str]] = {}
        requests = {row.request_id for row in rows if row.request_id is not None}
        # A transcript's row looks only for what telemetry told of it; copies of its own are found by the key.
        rules = () if self._tells else TELEMETRY
        for stored in tx.usage_of_requests(client, requests, rules) if requests else ():
            self._by_key.setdefault(stored.row.response_key, stored)
        for stored in self._by_key.values():
            self._index(stored)

    def before(self, row: ObservedUsage) -> StoredUsage | None:
        """The response as it stands: by its key, and for telemetry also by the transcript's row of its request."""
        found = self._by_key.get(row.response_key)
        if found is not None or not row.is_told:
            return found
        near = nearest(each.row for each in self._with_request_of(row) if tells_of(row, each.row))
        return None if near is None else self._by_key[near.response_key]

    def told(self, row: ObservedUsage) -> StoredUsage | None:
        """What telemetry told of a transcript's response, standing there as a row of its own."""
        if not self._of_request:
            return None
        others = (each for each in self._with_request_of(row) if each.row.response_key != row.response_key)
        return next((each for each in others if tells_of(each.row, row)), None)

    def has(self, key: str) -> bool:
        """Whether a response is known by a key."""
        return key in self._by_key

    def put(self, stored: StoredUsage) -> None:
        """Take a response as it is now."""
        self.touched.add(stored.row.response_key)
        self._by_key[stored.row.response_key] = stored
        self._index(stored)

    def drop(self, stored: StoredUsage) -> None:
        """Forget a row whose response stands in another one now."""
        self.touched.add(stored.row.response_key)
        del self._by_key[stored.row.response_key]

    def _with_request_of(self, row: ObservedUsage) -> list[StoredUsage]:
        keys = self._of_request.get(row.request_id or "", ())
        return [self._by_key[key] for key in sorted(keys) if key in self._by_key]

    def _index(self, stored: StoredUsage) -> None:
        if stored.row.request_id is not None and (self._tells or stored.row.is_told):
            self._of_request.setdefault(stored.row.request_id, set()).add(stored.row.response_key)
