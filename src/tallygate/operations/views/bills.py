"""Bills beside the record as the page shows them: the review of `tallygate drift`, and the list of `import list`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, timedelta

from tallygate.core.chosen import Filter, Span, start_us
from tallygate.core.moments import DAY_US
from tallygate.core.statements import Bill
from tallygate.core.values import value
from tallygate.operations.bills.review import ReviewWanted, review
from tallygate.operations.runtime import Runtime
from tallygate.operations.views.frame import Frame, frame
from tallygate.reports.drift import Review

BILLS_MAX = 200
_EVER_US = 2**62
_ONE_DAY = timedelta(days=1)


@value(frozen=True, slots=True)
class BillsSeen:
    """Bills, the youngest first, and what they say of a span; without one that counts there is no review.

    `wanted` is what the review is about: whole days of UTC, as bills have them. Of everything on record those are the
    days from the first that a bill tells of. `other` are words of the filter that no bill could be looked through by.
    """

    span: Span
    bills: Sequence[Bill]
    is_cut: bool
    wanted: ReviewWanted | None
    review: Review | None
    other: tuple[str, ...]
    frame: Frame

    @property
    def counting(self) -> int:
        """How many bills count."""
        return sum(bill.counts for bill in self.bills)


def bills_seen(rt: Runtime, span: Span, chosen: Filter) -> BillsSeen:
    """What stands in bills and in the record, of one moment; nothing is written by looking."""
    with rt.reading() as reader:
        found = reader.bills(BILLS_MAX + 1)
        bills = found[:BILLS_MAX]
        wanted = _wanted(span, bills, chosen.of("model"))
        return BillsSeen(
            span=span,
            bills=bills,
            is_cut=len(found) > BILLS_MAX,
            wanted=wanted,
            review=None if wanted is None else review(rt, wanted),
            other=tuple(term.text for term in chosen.terms if term.key != "model"),
            frame=frame(rt),
        )


def _wanted(span: Span, bills: Sequence[Bill], model: str | None) -> ReviewWanted | None:
    begun = [bill.from_us for bill in bills if bill.counts and bill.from_us is not None]
    if not begun:
        return None
    if span.days:
        first, after = _midnight_us(span.days[0]), _midnight_us(span.days[-1] + _ONE_DAY)
    else:
        first, after = min(begun) // DAY_US * DAY_US, _EVER_US
    # Its lines are shown by nobody here, and what they would be explained by is not looked for.
    return ReviewWanted(first, after, model=model, limit=0)


def _midnight_us(day: date) -> int:
    return start_us(day, UTC)
