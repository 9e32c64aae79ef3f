"""How far everything that is on record is added up, so that sums can be read."""

from __future__ import annotations

from tallygate.ledger import day_shares
from tallygate.ledger.rollups import SELECT_STATE
from tallygate.ledger.rows import Statements


class RollupReads(Statements):
    """Whether sums can be read; a part of every reader."""

    def has_rollups(self) -> bool:
        """Whether everything that is on record is added up."""
        return bool(self._execute(SELECT_STATE, {}).fetchone()[0])

    def is_added_up(self, at_us: int) -> bool:
        """Whether `add_up` would find nothing to do, as of a time."""
        return self.has_rollups() and day_shares.step_of(self._execute, at_us, day_shares.WORTH) is None

    def days_upto(self) -> int:
        """The day of UTC before which days are added up."""
        return int(self._execute(day_shares.SELECT_UPTO, {}).fetchone()[0])
