"""Responses whose record names no model: those around them tell which it was, most likely."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from tallygate.core.costing import is_local_runtime
from tallygate.core.usage import GUESSED_MODEL, UNKNOWN_MODEL, ObservedUsage, joined_odd, tells_model
from tallygate.ledger.port import Reader
from tallygate.operations.runtime import Runtime

# How many responses of a session are looked at for one that tells its model.
NEIGHBOURS_LOOKED_AT = 20


def named(
    rt: Runtime, rows: dict[tuple[str, str], ObservedUsage], is_free: Callable[[ObservedUsage], bool]
) -> dict[tuple[str, str], ObservedUsage]:
    """The responses, where those that name no model have a neighbour's, marked; a price for no model is a wild one.

    A neighbour that cost nothing tells nothing: a guess makes no response free, what is unknown has a price.
    """
    nameless = {
        key: replace(row, model="")
        for key, row in rows.items()
        if not row.model or (not tells_model(row) and is_free(row))
    }
    if not nameless:
        return rows
    together: dict[tuple[str, str], list[tuple[str, str]]] = {
        (row.client, row.session): [] for row in nameless.values()
    }
    for key, row in rows.items():
        if (row.client, row.session) in together:
            together[row.client, row.session].append(key)
    rows |= nameless  # what a reader took from the line before may be free as well
    with rt.reading() as reader:
        for key, row in nameless.items():
            near = [rows[each] for each in together[row.client, row.session]]
            for model, provider in _neighbours(reader, row, [each for each in near if each.model]):
                guess = replace(row, model=model, odd=joined_odd(row.odd, (GUESSED_MODEL,)))
                if not is_free(guess) and not is_free(replace(guess, provider=provider)):
                    rows[key] = guess
                    break
    return rows


def _neighbours(reader: Reader, row: ObservedUsage, near: Sequence[ObservedUsage]) -> Iterator[tuple[str, str | None]]:
    """Which model a response that names none was made by and who served it, the most likely first.

    `near` are those of its session that came along with it. What is known whenever a file is read comes before what
    only is once it has grown.
    """
    in_time = sorted(near, key=lambda each: each.at)
    for each in reversed(in_time):
        if each.at <= row.at:
            yield each.model, each.provider
    for stored in reader.recent_usage(row.client, row.session, NEIGHBOURS_LOOKED_AT):
        if stored.row.model:
            yield stored.row.model, stored.row.provider
    for session in reversed(reader.sessions_linked(row.client, row.session)):
        if session.model != UNKNOWN_MODEL:
            yield session.model, None
    for each in in_time:
        yield each.model, each.provider
    last = reader.last_model(row.client)
    if last is not None:
        provider, _, model = last.partition("/")
        yield (model, provider) if is_local_runtime(provider) else (last, None)
