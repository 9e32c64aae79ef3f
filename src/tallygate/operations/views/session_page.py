"""What stands beside a session on its page: where it ends, how far its calls may be off, and sessions beneath it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from tallygate.core.costing import Tokens
from tallygate.core.learning.calibration import LEARNED_AT, MILLION, EstimateKind, Expectation, Level
from tallygate.core.model import Budget, Call, Session
from tallygate.core.values import value
from tallygate.ledger.port import Reader, StoredUsage
from tallygate.operations.budgets.figures import Unsure
from tallygate.operations.learning.estimates import sample_key
from tallygate.operations.runtime import Runtime
from tallygate.operations.views.forecasts import Outlook, outlook
from tallygate.operations.views.overview import SessionLine, SessionView, line_of

_BENEATH_MAX = 50
LOW_PERCENT, HIGH_PERCENT = 10, 90


@value(frozen=True, slots=True)
class SessionBeside:
    """`spreads` are between what eight in ten such calls cost, by what is learned by now; `tokens` what each one used.

    `beneath` are sessions that were opened within this one and have their own page.
    """

    ahead: Outlook
    spreads: Mapping[str, tuple[int, int]]
    tokens: Mapping[str, Tokens]
    beneath: tuple[SessionLine, ...]


def beside(rt: Runtime, reader: Reader, view: SessionView, own: Budget | None) -> SessionBeside:
    """All of it, as of one moment."""
    unsure = Unsure(reader, rt.workspace.place_of)
    children = [child for name in view.children[:_BENEATH_MAX] if (child := reader.session(name)) is not None]
    return SessionBeside(
        ahead=outlook(rt, reader, view.session, own),
        spreads=_spreads(rt, reader, view.session, view.calls),
        tokens=_tokens(view.responses),
        beneath=tuple(line_of(rt, reader, child, unsure) for child in children),
    )


def _spreads(rt: Runtime, reader: Reader, session: Session, calls: Iterable[Call]) -> dict[str, tuple[int, int]]:
    """Of each kind of call and model it is asked once how such calls were off."""
    known: dict[tuple[EstimateKind, str], Expectation] = {}
    found = {}
    for call in calls:
        if not call.expected_nanos:
            continue
        kind = EstimateKind.HOOK if call.is_model_call else EstimateKind.AGENT
        model = call.model_used or call.model_requested
        if (kind, model) not in known:
            key = sample_key(kind, session.client, model)
            known[kind, model] = rt.caches.learned.expect(reader, key, MILLION, Level.of(None))
        learned = known[kind, model]
        if len(learned.residuals) < LEARNED_AT:
            continue
        off = replace(learned, expected_nanos=call.expected_nanos)
        found[call.call_id] = off.upper_nanos(LOW_PERCENT), off.upper_nanos(HIGH_PERCENT)
    return found


def _tokens(responses: Iterable[StoredUsage]) -> dict[str, Tokens]:
    found: dict[str, Tokens] = {}
    for each in responses:
        if each.call_id is not None:
            found[each.call_id] = found.get(each.call_id, Tokens()) + each.row.tokens
    return found
