"""Whether a budget refuses a step only because of prices that are not sure, and what would settle them."""

from __future__ import annotations

from collections.abc import Iterable

from tallygate.core.costing import Certainty
from tallygate.core.gate import policy
from tallygate.core.gate.wording import doubtful
from tallygate.core.model import Budget, CallRequest, needed
from tallygate.core.moments import as_datetime
from tallygate.core.money import COUNTED
from tallygate.core.usage import priced_as
from tallygate.core.words import BudgetMode
from tallygate.ledger.port import Reader
from tallygate.operations.certain import Unsure
from tallygate.operations.runtime import Runtime, scope_called


def in_doubt(rt: Runtime, reader: Reader, request: CallRequest, budgets: Iterable[Budget], at_us: int) -> str | None:
    """What to say where every budget that refuses would carry the step at known prices alone; else nothing.

    Looked at only once a step is refused, and sums are made only where the step's own price does not explain it.
    """
    asked = needed(request)
    refusing = [b for b in budgets if b.mode is BudgetMode.HARD and not policy.admits(b, asked.of(b))]
    if not refusing or any(budget.unit in COUNTED for budget in refusing):
        return None
    own = request.price.certainty
    unsure: Unsure | None = None
    most = 0, refusing[0]
    for budget in refusing:
        missing = (asked.of(budget) if own is Certainty.KNOWN else 0) - budget.available_nanos
        if missing <= 0:
            continue
        unsure = unsure or Unsure(reader, rt.place_of)
        spent = unsure.of_budget(budget, at_us).unsure_nanos
        if spent < missing:
            return None
        most = max(most, (spent, budget), key=lambda found: found[0])
    model = request.model
    served = {model}
    if own is Certainty.KNOWN:
        parts = [] if unsure is None else unsure.spent_in(request.session_id)
        model = parts[0].model if parts else ""
        rows = (each.row for each in reader.usage_of(request.session_id))
        served = {model, *(priced_as(row) for row in rows if row.model == model)}
    scope = scope_called(rt, request.session_id)
    settles = bool(model) and any(rt.prices.to_paste(each, as_datetime(at_us), scope) for each in served)
    return doubtful(most[1], most[0], own, model, settles=settles)
