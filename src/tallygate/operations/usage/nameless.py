"""Responses whose record names no model: those around them tell which it was, most likely."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tallygate.core.usage import GUESSED_MODEL, UNKNOWN_MODEL, ObservedUsage, joined_odd
from tallygate.ledger.port.ledger import Reader
from tallygate.operations.runtime import Runtime


def named(rt: Runtime, rows: dict[tuple[str, str], ObservedUsage]) -> dict[tuple[str, str], ObservedUsage]:
    """The responses, where those that name no model have a neighbour's, marked; a price for no model is a wild one."""
    nameless = {key: row for key, row in rows.items() if not row.model}
    if not nameless:
        return rows
    with rt.reading() as reader:
        for key, row in nameless.items():
            near = [each for each in rows.values() if (each.client, each.session) == (row.client, row.session)]
            if (model := _neighbour(reader, row, [each for each in near if each.model])) is not None:
                rows[key] = replace(row, model=model, odd=joined_odd(row.odd, (GUESSED_MODEL,)))
    return rows


def _neighbour(reader: Reader, row: ObservedUsage, near: Sequence[ObservedUsage]) -> str | None:
    """Which model a response that names none was made by, most likely; `near` are those of its session that came along.

    What is known whenever a file is read comes before what only is once it has grown.
    """
    before = [each for each in near if each.at <= row.at]
    if before:
        return max(before, key=lambda each: each.at).model
    known = reader.session_model(row.client, row.session)
    if known is not None:
        return known
    opened = [each.model for each in reader.sessions_linked(row.client, row.session) if each.model != UNKNOWN_MODEL]
    if opened:
        return opened[-1]
    if near:
        return min(near, key=lambda each: each.at).model
    return reader.last_model(row.client)
