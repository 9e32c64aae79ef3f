"""Files read once more: what older readers left out of responses that are on record, and nothing else.

Older versions did not keep whom a response was made for. Their files are read a second time for that alone: no response
is added, no count and no cost changes, and how far a file was read stays as it was.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from tallygate.clients.reading.files import Batch, TranscriptFile, Transcripts
from tallygate.core.usage import ObservedUsage, attributed, merged
from tallygate.ledger import rows
from tallygate.ledger.port import Change, StoredUsage, Update, Value
from tallygate.operations.budgets.metering import Meter
from tallygate.operations.runtime import Runtime
from tallygate.operations.usage.checkouts import Checkouts
from tallygate.operations.usage.ingest import key_of

# The lock of the ledger is held for one commit, and an agent may be waiting at the gate for it.
_ROWS_A_COMMIT = 1500
_FILES_AT_ONCE = 100
_COLUMNS = ("agent_type", "skill", "served", "branch", "repository")


def read_again(rt: Runtime, sources: Mapping[str, Transcripts]) -> int:
    """Read the files that are still there once more; returns how many were."""
    return sum(reading_again(rt, sources))


def reading_again(rt: Runtime, sources: Mapping[str, Transcripts]) -> Iterator[bool]:
    """The same one file after the other: whether each was read, for who has little time at once.

    One whose end is not on record yet is left for the next time, as is one that cannot be read.
    """
    for path, client in _of_old_form(rt):
        source = sources.get(client)
        if source is not None:
            yield _read_file(rt, source, TranscriptFile(client, Path(path)))


def _of_old_form(rt: Runtime) -> Iterator[tuple[str, str]]:
    after = ""
    while True:
        with rt.reading() as reader:
            found = reader.of_old_form(after, _FILES_AT_ONCE)
        yield from found
        if len(found) < _FILES_AT_ONCE:
            return
        after = found[-1][0]


def _read_file(rt: Runtime, source: Transcripts, file: TranscriptFile) -> bool:
    last: Batch | None = None
    for batch in source.read(file, None, None):
        last = batch
        told = list(merged(batch.rows).values())
        for start in range(0, len(told), _ROWS_A_COMMIT):
            fill(rt, file.client, told[start : start + _ROWS_A_COMMIT])
    if last is None or last.position is None:
        return False
    with rt.writing() as tx:
        return tx.save_read_again(key_of(file.path), last.position.as_json())


def fill(rt: Runtime, client: str, told: Sequence[ObservedUsage]) -> None:
    """Add to responses that are on record what these rows of them tell of whom they were made for."""
    with rt.writing() as tx:
        known = tx.usage_known(client, [row.response_key for row in told])
        meter, checkouts = Meter(tx, rt.workspace.place_of), Checkouts(rt)
        changes: list[Change] = []
        for row in told:
            before = known.get(row.response_key)
            if before is None:
                continue
            after = checkouts.placed(StoredUsage(attributed(before.row, row), before.price_id, before.cost_nanos)).row
            if after != before.row:
                changes.append(_filled(before, meter.recount(before, after)))
        if changes:
            note: dict[str, Value] = {"client": client, "responses": len(changes)}
            tx.append("usage.attributed", [*meter.changes(), *changes], by=rt.by, note=note)


def _filled(before: StoredUsage, after: StoredUsage) -> Update:
    old, new = rows.from_usage(before), rows.from_usage(after)
    changed = {column: new[column] for column in (*_COLUMNS, "charges") if old[column] != new[column]}
    return Update("usage", {"client": old["client"], "response_key": old["response_key"], **changed})
