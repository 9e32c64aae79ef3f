"""Bills from files: all are read and checked before any is kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from tallygate.operations.bills import Draft, Kept, draft_bill
from tallygate.operations.runtime import Runtime
from tallygate.statements.files import FORMATS, currency_code, format_named, read_bill
from tallygate.statements.reading.form import BillFormat


def nobody(_: Path) -> None:
    """Where nobody looks, it is not told which file is read."""


def read_files(
    files: Sequence[Path],
    *,
    form: str | None = None,
    currency: str | None = None,
    formats: Sequence[BillFormat] = FORMATS,
    tell: Callable[[Path], None] = nobody,
) -> list[Draft]:
    """Each file as a bill that is not kept yet; raises `InvalidArgument` at the first that is none."""
    forced = None if form is None else format_named(form, formats)
    code = None if currency is None else currency_code(currency)
    drafts = []
    for path in files:
        tell(path)
        read = read_bill(path, formats, forced=forced, currency=code)
        drafts.append(Draft(read.form.name, path.name, read.digest, read.currency, read.lines))
    return drafts


def as_kept(rt: Runtime, drafts: Sequence[Draft]) -> list[Kept]:
    """What keeping these would come to, without keeping any."""
    met: dict[tuple[str, str], Kept] = {}
    found = []
    with rt.ledger.reading(rt.tenant) as reader:
        for draft in drafts:
            key = (draft.format, draft.digest)
            known = reader.live_bill(*key) if key not in met else met[key].bill
            kept = Kept(draft_bill(rt, draft), fresh=True) if known is None else Kept(known, fresh=False)
            met.setdefault(key, kept)
            found.append(kept)
    return found
