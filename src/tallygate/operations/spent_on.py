"""What the spending that a budget counts was for: the dearest models, for whoever is told that it is exhausted."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from tallygate.core.gate.rules import PIECES, piece_of, rolling_us, within_of
from tallygate.core.model import Budget
from tallygate.ledger.port import Reader
from tallygate.operations.runtime import PlaceOf, on_paper
from tallygate.operations.windows import FOR_EVER_US, Facts, counts

SHARES_SHOWN = 3
# A sum over a longer time would hold up every refusal; what was spent in the session is told then.
_SUMMED_US = 8 * 24 * 3600 * 1_000_000


@dataclass(frozen=True, slots=True)
class SpentOn:
    """Models with what they cost in nano-dollars, the dearest first; `in_session` where only one session is told."""

    by_model: tuple[tuple[str, int], ...]
    in_session: bool = False


def spent_on(
    reader: Reader, budget: Budget | None, session_id: str, at_us: int, place_of: PlaceOf = on_paper
) -> SpentOn | None:
    """What a budget was spent on; of one whose window is long, what the session itself was. Reserved is not spent."""
    if budget is None:
        return None
    if budget.scope == "session":
        found = reader.paid_by_model(budget.scope_key, SHARES_SHOWN, budget.budget_id)
        return SpentOn(tuple((share.label, share.nanos) for share in found))
    start_us, until_us = _span(budget, at_us)
    if until_us - start_us <= _SUMMED_US:
        return SpentOn(_in_window(reader, budget, (start_us, until_us), place_of))
    alone = reader.paid_by_model(session_id, SHARES_SHOWN)
    return SpentOn(tuple((share.label, share.nanos) for share in alone), in_session=True)


def _in_window(reader: Reader, budget: Budget, span: tuple[int, int], place_of: PlaceOf) -> tuple[tuple[str, int], ...]:
    facts, found = Facts(reader, place_of), Counter[str]()
    placed = within_of(budget.budget_id) is not None
    for each in reader.weighed(budget.scope, *span, FOR_EVER_US, apart=False, placed=placed, named=True):
        if counts(budget, facts.of_names(each.client, each.project, each.session_id, each.model)):
            found[each.model or "unknown"] += each.usd_nanos * each.times
    dearest = sorted(found.items(), key=lambda item: (-item[1], item[0]))
    return tuple((model, nanos) for model, nanos in dearest if nanos > 0)[:SHARES_SHOWN]


def _span(budget: Budget, at_us: int) -> tuple[int, int]:
    """The time whose spending a budget counts: its window, or all pieces of one that rolls."""
    length = rolling_us(budget.period)
    if length is not None:
        now = piece_of(budget.period, at_us)
        return now.start_us - length, now.start_us + length // PIECES
    return budget.start_us or 0, FOR_EVER_US if budget.resets_us is None else budget.resets_us
