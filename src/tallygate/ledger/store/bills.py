"""Bills in the ledger: the queries, and which of their lines count."""

from __future__ import annotations

from collections.abc import Iterator

from tallygate.core.moments import DAY_US
from tallygate.core.statements import Bill, BilledLine, BillLine
from tallygate.ledger.rows import BILL, BILL_LINE, Statements

_BILL = BILL.select("b")
_LINE = BILL_LINE.select("l")
_LIVE = "{0}.complete_us IS NOT NULL AND {0}.deleted_us IS NULL"

SELECT_BILLS = (
    f"SELECT {_BILL} FROM bill b WHERE b.tenant = :tenant ORDER BY b.imported_us DESC, b.id DESC LIMIT :limit"
)
SELECT_BILL = f"SELECT {_BILL} FROM bill b WHERE b.tenant = :tenant AND b.bill_id = :bill_id"
SELECT_CALLED = (
    "SELECT bill_id FROM bill WHERE tenant = :tenant AND (substr(bill_id, 1, length(:part)) = :part"
    " OR substr(bill_id, -length(:part)) = :part) ORDER BY imported_us DESC LIMIT :limit"
)
SELECT_LIVE = (
    f"SELECT {_BILL} FROM bill b WHERE b.tenant = :tenant AND b.format = :form AND b.digest = :digest"
    f" AND {_LIVE.format('b')} ORDER BY b.id DESC LIMIT 1"
)
SELECT_UNFINISHED = (
    f"SELECT {_BILL} FROM bill b WHERE b.tenant = :tenant AND b.complete_us IS NULL AND b.deleted_us IS NULL"
    " ORDER BY b.id"
)
SELECT_LINES = (
    f"SELECT {_LINE} FROM bill_line l WHERE l.tenant = :tenant AND l.bill_id = :bill_id"
    " ORDER BY l.number, l.part LIMIT :limit"
)
# Whether a line stands in another bill `o` that counts, of the same format, imported before or after its own bill `b`.
# Only bills of about the same days are asked, each by its index, however many lines are alike.
_ELSEWHERE = (
    f"EXISTS (SELECT 1 FROM bill o WHERE o.tenant = b.tenant AND o.format = b.format AND {_LIVE.format('o')}"
    f" AND l.at_us BETWEEN o.from_us - {DAY_US} AND o.until_us + {DAY_US}"
    " AND (o.imported_us, o.id) {order} (b.imported_us, b.id)"
    " AND EXISTS (SELECT 1 FROM bill_line other"
    " WHERE other.tenant = l.tenant AND other.identity = l.identity AND other.bill_id = o.bill_id))"
)
# CROSS JOIN keeps the order of the tables: along the time of the lines, from each to its bill.
SELECT_BILLED = (
    f"SELECT b.bill_id, b.format, b.currency, {_LINE} FROM bill_line l CROSS JOIN bill b"
    " WHERE l.tenant = :tenant AND l.at_us >= :from_us AND l.at_us < :until_us"
    f" AND b.tenant = l.tenant AND b.bill_id = l.bill_id AND {_LIVE.format('b')}"
    f" AND NOT {_ELSEWHERE.format(order='>')} ORDER BY l.at_us, l.id"
)
_COUNT_LINES = (
    "SELECT COUNT(*) FROM bill b CROSS JOIN bill_line l WHERE b.tenant = :tenant AND b.bill_id = :bill_id"
    " AND l.tenant = b.tenant AND l.bill_id = b.bill_id AND"
)
_EARLIER, _LATER = _ELSEWHERE.format(order="<"), _ELSEWHERE.format(order=">")
COUNT_REPLACING = f"{_COUNT_LINES} {_EARLIER} AND NOT {_LATER}"
COUNT_REPLACED = f"{_COUNT_LINES} {_LATER}"


class BillReads(Statements):
    """Reads of bills; a part of every reader."""

    def bills(self, limit: int) -> list[Bill]:
        """Every bill, the youngest first; also those that are deleted or were never finished."""
        return [BILL.value(row) for row in self._all(SELECT_BILLS, limit=limit)]

    def bill(self, bill_id: str) -> Bill | None:
        """One bill by its id."""
        row = self._one(SELECT_BILL, bill_id=bill_id)
        return None if row is None else BILL.value(row)

    def bills_called(self, part: str, limit: int) -> list[str]:
        """The ids that begin or end with a text."""
        return [row[0] for row in self._all(SELECT_CALLED, part=part, limit=limit)]

    def live_bill(self, form: str, digest: str) -> Bill | None:
        """The bill that counts and was made of these very bytes, read as this format."""
        row = self._one(SELECT_LIVE, form=form, digest=digest)
        return None if row is None else BILL.value(row)

    def unfinished_bills(self) -> list[Bill]:
        """Bills that are still being read in, or were when their import was killed."""
        return [BILL.value(row) for row in self._all(SELECT_UNFINISHED)]

    def bill_lines(self, bill_id: str, limit: int) -> list[BillLine]:
        """The lines of a bill in the order of its file, also those that a later bill replaces."""
        return [BILL_LINE.value(row) for row in self._all(SELECT_LINES, bill_id=bill_id, limit=limit)]

    def billed_between(self, from_us: int, until_us: int) -> Iterator[BilledLine]:
        """The lines that count and begin in a span of time, in order of time.

        Lines count of bills that are complete and not deleted. What stands in several of them by its identity counts
        in the one that was imported last; lines that are alike within one bill all count.
        """
        parameters = {"tenant": self.tenant, "from_us": from_us, "until_us": until_us}
        for bill_id, form, currency, *line in self._execute(SELECT_BILLED, parameters):
            yield BilledLine(bill_id, form, currency, BILL_LINE.value(tuple(line)))

    def lines_replacing(self, bill_id: str) -> int:
        """How many lines of a bill that count stand in earlier ones as well, where they count no more."""
        return int(self._one(COUNT_REPLACING, bill_id=bill_id)[0])

    def lines_replaced(self, bill_id: str) -> int:
        """How many lines of a bill count no more, since a later bill has them as well."""
        return int(self._one(COUNT_REPLACED, bill_id=bill_id)[0])
