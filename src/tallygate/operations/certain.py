"""How much of what was spent rests on prices that are not known for the very model: approximate, or assumed."""

from __future__ import annotations

import json
from collections.abc import Iterable

from tallygate.core.costing import Certainty, Split, certainty_of
from tallygate.core.gate.rules import rolling_us
from tallygate.core.model import Amount, Budget
from tallygate.core.money import COUNTED
from tallygate.ledger.port import PricedSum, Reader
from tallygate.operations.runtime import PlaceOf, on_paper
from tallygate.operations.windows import FOR_EVER_US, Facts, on_record

_DEPTH_MAX = 32


def certainties(reader: Reader) -> dict[str, Certainty]:
    """How sure each price is that anything on record was priced at, by its id."""
    found = {}
    for price_id, basis in reader.prices().items():
        kept = json.loads(basis)
        source, known, approximate = kept.get("source", ""), kept.get("known", True), kept.get("approximate", False)
        found[price_id] = certainty_of(source, known=known, approximate=approximate)
    return found


class Unsure:
    """The prices of a ledger that are not sure, and what of its sums rests on them; where there are none, nothing."""

    def __init__(self, reader: Reader, place_of: PlaceOf = on_paper) -> None:
        self._reader = reader
        self._facts = Facts(reader, place_of)
        found = certainties(reader)
        self.approximate = frozenset(name for name, sure in found.items() if sure is Certainty.APPROXIMATE)
        self.assumed = frozenset(name for name, sure in found.items() if sure is Certainty.ASSUMED)
        self._all = self.approximate | self.assumed

    def of_session(self, session_id: str) -> Split:
        """Of what a session's own responses and calls cost, in nano-dollars."""
        return self._split(self._spent(session_id))

    def spent_in(self, session_id: str) -> list[PricedSum]:
        """What a session and those inside it cost at such prices, by model, the dearest first."""
        parts = [part for each in self._tree(session_id) for part in self._spent(each)]
        return sorted(parts, key=lambda part: (-part.nanos, part.model))

    def of_budget(self, budget: Budget, at_us: int) -> Split:
        """Of what is spent of a budget, in its unit: none of tokens and calls, which have no price."""
        if not self._all or budget.unit in COUNTED:
            return Split()
        if budget.scope == "session":
            found = self._split(self.spent_in(budget.scope_key))
            found = Split(*(Amount(nanos).of(budget) for nanos in (found.approximate_nanos, found.assumed_nanos)))
        else:
            span = _span(budget, at_us)
            amounts = (
                sum(on_record(self._reader, self._facts, budget, span, FOR_EVER_US, prices=prices).values())
                if prices
                else 0
                for prices in (self.approximate, self.assumed)
            )
            found = Split(*amounts)
        return found.within(budget.spent_nanos + budget.carried_nanos)

    def _spent(self, session_id: str) -> list[PricedSum]:
        return self._reader.spent_at(session_id, self._all) if self._all else []

    def _tree(self, session_id: str) -> Iterable[str]:
        """A session and those that were opened inside it, whose costs stand in its budget, too."""
        found, now = {session_id: None}, [session_id]
        for _ in range(_DEPTH_MAX):
            now = [child for parent in now for child in self._reader.children_of(parent) if child not in found]
            if not now:
                break
            found |= dict.fromkeys(now)
        return found

    def _split(self, parts: Iterable[PricedSum]) -> Split:
        found = Split()
        for part in parts:
            sure = Certainty.ASSUMED if part.price_id in self.assumed else Certainty.APPROXIMATE
            found += Split.of(sure, part.nanos)
        return found


def _span(budget: Budget, at_us: int) -> tuple[int, int]:
    """The time whose spending a budget counts: its window, or the last hours of one that rolls."""
    length = rolling_us(budget.period)
    if length is not None:
        return at_us - length, FOR_EVER_US
    return budget.start_us or 0, FOR_EVER_US if budget.resets_us is None else budget.resets_us
