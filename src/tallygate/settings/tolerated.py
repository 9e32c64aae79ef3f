"""What l6e-mcp passes over in silence: here it is passed over too, and said.

Only what carries l6e-mcp's name is read this way. Where our own names are used a mistake is refused, since a limit
that is spelt wrongly binds nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from tallygate.settings import checks, sections
from tallygate.settings.checks import Unfit, as_number
from tallygate.settings.declared import Table
from tallygate.settings.source import Document

_TABLES: Mapping[str, Table] = {
    **sections.SECTIONS,
    "paths": sections.PATHS,
    "pricing": sections.PRICING,
    "unknown_price": sections.UNKNOWN_PRICE,
}


def without_unknown(document: Document) -> tuple[Document, tuple[str, ...]]:
    """A file of l6e-mcp without the keys that mean nothing here, and a sentence for each."""
    values, notices = {}, []
    for key, value in document.values.items():
        if key not in sections.known_names():
            notices.append(f"{document.where((key,))}: {checks.short(key)} means nothing here; it was passed over.")
            continue
        rules = _TABLES.get(key)
        if rules is not None and isinstance(value, dict):
            for name in value:
                if name not in rules:
                    where = document.where((key, name))
                    notices.append(f"{where}: {key}.{checks.short(name)} means nothing here; it was passed over.")
            values[key] = {name: held for name, held in value.items() if name in rules}
        else:
            values[key] = value
    return replace(document, values=values), tuple(notices)


def with_whole_names(document: Document) -> tuple[Document, tuple[str, ...]]:
    """A file whose `[calibration]` names models with a dot and without quotes, as l6e-mcp's guide writes them.

    To TOML the dot begins a table. Nothing else can be meant by one there, so the name is put together again.
    """
    table = document.values.get("calibration")
    if not isinstance(table, dict) or not any(isinstance(value, dict) for value in table.values()):
        return document, ()
    whole: dict[str, Any] = {}
    notices = []
    for name, value in table.items():
        for path, factor in _leaves((name,), value):
            read = ".".join(path)
            if read in whole or (len(path) > 1 and read in table):
                return document, ()  # the same model twice: which of the two is meant, only the user knows
            whole[read] = factor
            if len(path) > 1:
                where = document.where(("calibration", *path))
                notices.append(f"{where}: {checks.short(read)} was read as one name; write it in quotes.")
    return replace(document, values={**document.values, "calibration": whole}), tuple(notices)


def _leaves(path: tuple[str, ...], value: object) -> list[tuple[tuple[str, ...], object]]:
    if not isinstance(value, dict):
        return [(path, value)]
    return [leaf for name, held in value.items() for leaf in _leaves((*path, name), held)]


def factors_passing_over(name: str, text: str) -> tuple[dict[str, int], tuple[str, ...]]:
    """Factors from l6e-mcp's variable; a part that is none is said. Of two for one model the dearer counts."""
    factors: dict[str, int] = {}
    notices = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        model, _, factor = part.rpartition(":")
        try:
            called, micros = checks.text(model.strip()), checks.factor_micros(as_number(factor.strip()))
        except Unfit as error:
            notices.append(f"{name}: {checks.short(part)} is not model:factor and was passed over: each {error}.")
            continue
        if called in factors:
            notices.append(f"{name}: {checks.short(called)} stands there twice; the larger factor counts.")
        factors[called] = max(micros, factors.get(called, 0))
    return factors, tuple(notices)
