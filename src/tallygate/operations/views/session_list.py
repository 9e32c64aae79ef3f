"""Sessions of a span of days, those that stand still among them, and what the usual one comes to."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

from tallygate.core.chosen import Filter, Span
from tallygate.core.model import Session
from tallygate.core.values import value
from tallygate.core.words import client_name
from tallygate.ledger.port import ActivityTotals, Reader
from tallygate.operations.budgets.figures import Unsure
from tallygate.operations.runtime import Runtime
from tallygate.operations.views.frame import Frame, frame
from tallygate.operations.views.overview import SessionLine, line_of
from tallygate.operations.views.usage import folders_of, made_for_of, sessions_made_for
from tallygate.pricing.identity import means, one_name

# So many of a span are looked at: the youngest. Figures say so where there are more.
LOOKED_AT = 500
PAGE = 25


class Order(StrEnum):
    """What comes first."""

    YOUNGEST = "youngest"
    DEAREST = "dearest"
    HALTED = "halted"


@value(frozen=True, slots=True)
class Looked:
    """One session, and what its calls add up to."""

    session: Session
    totals: ActivityTotals


@value(frozen=True, slots=True)
class SessionList:
    """One page of a list; `all` are those that it was made of, and `is_cut` that a span holds more than these."""

    frame: Frame
    span: Span
    order: Order
    all: tuple[Looked, ...]
    lines: tuple[SessionLine, ...]
    first: int
    is_cut: bool

    @property
    def spent_nanos(self) -> int:
        """What all of them spent, in nano-dollars."""
        return sum(each.totals.spent_nanos for each in self.all)


def sessions_of(rt: Runtime, span: Span, chosen: Filter, order: Order, first: int) -> SessionList:
    """Sessions that began in a span, as of one moment; of the whole list those from `first` on."""
    with rt.reading() as reader:
        around = frame(rt)
        found = reader.sessions_started(span.from_us, span.until_us, LOOKED_AT + 1)
        # Who is at work now belongs to a span that goes on, whenever it began.
        if around.now_us < span.until_us:
            known = {each.session_id for each in found}
            found += [each for each in around.open if each.session_id not in known]
        wanted = sessions_meant(rt, reader, found[:LOOKED_AT], chosen)
        looked = _ordered([Looked(each, reader.totals(each.session_id)) for each in wanted], order)
        shown = looked[first : first + PAGE]
        return SessionList(
            frame=around,
            span=span,
            order=order,
            all=tuple(looked),
            lines=_lines(rt, reader, [each.session for each in shown]),
            first=first,
            is_cut=len(found) > LOOKED_AT,
        )


def _lines(rt: Runtime, reader: Reader, sessions: Sequence[Session]) -> tuple[SessionLine, ...]:
    unsure = Unsure(reader, rt.workspace.place_of)
    return tuple(line_of(rt, reader, each, unsure) for each in sessions)


def sessions_meant(rt: Runtime, reader: Reader, sessions: Sequence[Session], chosen: Filter) -> list[Session]:
    """Those that a filter means: by the project, the client and the model that they were opened with.

    Of an agent, a skill, a branch or a server those are meant in which anything was made for it.
    """
    made_for, inside = made_for_of(chosen), set[str]()
    if made_for and sessions:
        inside = sessions_made_for(rt, reader, made_for, min(each.started_us for each in sessions), 2**62)
    project, client, model = (chosen.of(key) for key in ("project", "client", "model"))
    folders = None if project is None else folders_of(rt, {each.project for each in sessions if each.project}, project)
    return [
        each
        for each in sessions
        if (not made_for or each.session_id in inside)
        and (folders is None or each.project in folders)
        and (client is None or client_name(client) in map(client_name, each.clients))
        and (model is None or means(model, each.model) or model.lower() in one_name(each.model))
    ]


def _ordered(found: list[Looked], order: Order) -> list[Looked]:
    match order:
        case Order.DEAREST:
            return sorted(found, key=lambda each: -each.totals.spent_nanos)
        case Order.HALTED:
            return sorted((each for each in found if each.totals.denied), key=lambda each: -each.totals.denied)
        case Order.YOUNGEST:
            return sorted(found, key=lambda each: -each.session.started_us)
