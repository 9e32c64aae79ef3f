"""What stands around every page: how far the ledger is, what runs and what stands still, what totals leave out."""

from __future__ import annotations

from tallygate.core.lock import LockStanding, Off
from tallygate.core.model import Session
from tallygate.core.moments import as_datetime
from tallygate.core.proof import Head
from tallygate.core.sums import UnreadSum
from tallygate.core.values import value
from tallygate.core.words import SessionState
from tallygate.operations.lock_book import off_at_a_look, standing_now
from tallygate.operations.runtime import Runtime
from tallygate.operations.views.overview import StoppedRun, stop_of
from tallygate.operations.views.usage import Anomalies, anomalies_of, unread_of
from tallygate.pricing.catalog import CatalogInfo

# So many open sessions are looked through for those that stand still; nobody has more at work at a time.
OPEN_MAX = 100


@value(frozen=True, slots=True)
class Frame:
    """What every page shows beside its own; `stops` are of the open sessions, by their ids."""

    now_us: int
    head: Head
    open: tuple[Session, ...]
    stops: dict[str, StoppedRun]
    unread: UnreadSum
    anomalies: Anomalies
    prices: CatalogInfo
    off: Off | None
    lock: LockStanding

    @property
    def is_new(self) -> bool:
        """Whether nothing was ever written down."""
        return not self.head.seq


def frame(rt: Runtime) -> Frame:
    """What stands around a page, as of one moment."""
    now_us = rt.services.clock_us()
    with rt.reading() as reader:
        found = tuple(reader.sessions(state=SessionState.OPEN.value, limit=OPEN_MAX))
        # A session that was never refused anything does not stand still.
        refused = [each for each in found if reader.totals(each.session_id).denied]
        stops = {each.session_id: stop_of(reader, each, now_us) for each in refused}
        return Frame(
            now_us=now_us,
            head=reader.head(),
            open=found,
            stops={name: stop for name, stop in stops.items() if stop is not None},
            unread=unread_of(reader, now_us),
            anomalies=anomalies_of(reader),
            prices=rt.workspace.prices.info(as_datetime(now_us)),
            off=off_at_a_look(rt),
            lock=standing_now(rt),
        )
