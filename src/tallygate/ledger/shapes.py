"""Which kind of database a ledger is in, and whether one that is no file has the tables that this program makes."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from importlib import resources
from typing import Any
from urllib.parse import urlsplit

SQLITE, POSTGRES = "sqlite", "postgres"
Read = Callable[..., Iterator[tuple[Any, ...]]]
# What stands in the schema that the tables are found in: whatever it is called.
_OURS = "relnamespace = (SELECT relnamespace FROM pg_class WHERE oid = CAST('event' AS regclass))"
SELECT_COLUMNS = (
    "SELECT c.relname, a.attname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid"
    f" WHERE c.{_OURS} AND c.relkind IN ('r', 'p') AND a.attnum > 0 AND NOT a.attisdropped"
)
SELECT_INDEXES = f"SELECT relname FROM pg_class WHERE {_OURS} AND relkind IN ('i', 'I')"
SELECT_TRIGGERS = (
    "SELECT t.tgname, t.tgenabled FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid"
    f" WHERE c.{_OURS} AND NOT t.tgisinternal"
)
SELECT_RULES = (
    f"SELECT r.rulename FROM pg_rewrite r JOIN pg_class c ON c.oid = r.ev_class WHERE c.{_OURS} AND c.relkind = 'r'"
)
SELECT_GUARD = (
    "SELECT prosrc FROM pg_proc WHERE proname = 'tally_refused' AND pronamespace ="
    " (SELECT relnamespace FROM pg_class WHERE oid = CAST('event' AS regclass))"
)
_ALTERED, _TAKEN = "writes may have been altered", "a guard of the journal was taken away"


def postgres_scripts() -> list[tuple[int, str]]:
    """The numbered migrations of a team's database, in order."""
    folder = resources.files("tallygate.ledger") / "schema" / "postgres"
    names = sorted(entry.name for entry in folder.iterdir() if re.fullmatch(r"\d{4}_\w+\.sql", entry.name))
    return [(int(name[:4]), (folder / name).read_text(encoding="utf-8")) for name in names]


def postgres_roles() -> str:
    """The script that gives roles the least that they need."""
    return (resources.files("tallygate.ledger") / "schema" / "postgres" / "roles.sql").read_text(encoding="utf-8")


def postgres_columns() -> set[tuple[str, str]]:
    """Every table and column that the migrations make."""
    found: set[tuple[str, str]] = set()
    for _, text in postgres_scripts():
        for table, body in re.findall(r"^CREATE TABLE (\w+) \(\n(.*?)^\);", text, re.MULTILINE | re.DOTALL):
            found |= {(table, name) for name in re.findall(r"^  ([a-z]\w*) +(?:BIGINT|TEXT|BYTEA)", body, re.MULTILINE)}
        found |= set(re.findall(r"^ALTER TABLE (\w+) ADD COLUMN (\w+)", text, re.MULTILINE))
    return found


def strange_in(read: Read) -> Iterator[tuple[str, str, str]]:
    """What in a team's database is not as the migrations make it: name, what is wrong, what that means.

    Tables and indexes of the operators' own are theirs; a trigger or a rule on our tables could change what is written.
    """
    text = "\n".join(sql for _, sql in postgres_scripts())
    there = set(read(SELECT_COLUMNS))
    for table, column in sorted(postgres_columns() - there):
        yield f"column {table}.{column}", "is missing", "a table was changed"
    indexes = {row[0] for row in read(SELECT_INDEXES)}
    for name in sorted(set(re.findall(r"^CREATE (?:UNIQUE )?INDEX (\w+)", text, re.MULTILINE)) - indexes):
        yield f"index {name}", "is missing", _TAKEN
    triggers: dict[str, str] = dict(read(SELECT_TRIGGERS))
    ours = set(re.findall(r"^CREATE TRIGGER (\w+)", text, re.MULTILINE))
    for name in sorted(ours - triggers.keys()):
        yield f"trigger {name}", "is missing", _TAKEN
    for name, state in sorted(triggers.items()):
        if name not in ours:
            yield f"trigger {name}", "is not as this program made it", _ALTERED
        elif state not in ("O", "A"):
            yield f"trigger {name}", "is switched off", _TAKEN
    for (name,) in read(SELECT_RULES):
        yield f"rule {name}", "is not as this program made it", _ALTERED
    made = re.search(r"FUNCTION tally_refused\(\).*?AS \$\$(.*?)\$\$", text, re.DOTALL)
    for (source,) in read(SELECT_GUARD):
        if made is None or source != made[1]:
            yield "function tally_refused", "is not as this program made it", _TAKEN


def spoken(url: str) -> str:
    """A database as it is named to people: without who enters it and how.

    >>> spoken("postgresql://me@db.example:6432/ledger?sslmode=verify-full")
    'postgresql://db.example:6432/ledger'
    """
    parts = urlsplit(url)
    return f"postgresql://{parts.netloc.rpartition('@')[2]}{parts.path}"
