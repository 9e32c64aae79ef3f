"""The tables of a team's ledger: numbered migrations, each with its number in one transaction, under a lock."""

from __future__ import annotations

import re
from typing import Any

import psycopg

from tallygate.core.errors import LedgerTooNew, LedgerUnavailable
from tallygate.core.regex import regex
from tallygate.ledger.postgres.server import Connection
from tallygate.ledger.shapes import postgres_scripts

# Whoever migrates waits for whoever does so already.
_LOCK = "SELECT pg_advisory_xact_lock(503057)"
_TABLE = (
    "CREATE TABLE IF NOT EXISTS schema_version (one BIGINT PRIMARY KEY CHECK (one = 1), version BIGINT NOT NULL,"
    " usable_from BIGINT NOT NULL)"
)
_SELECT_VERSION = "SELECT version, usable_from FROM schema_version"
_IS_THERE = "SELECT to_regclass('schema_version') IS NOT NULL, to_regclass('event') IS NOT NULL"
_SAVE = (
    "INSERT INTO schema_version (one, version, usable_from) VALUES (1, %(version)s, %(usable)s)"
    " ON CONFLICT (one) DO UPDATE SET version = excluded.version, usable_from = excluded.usable_from"
)
_IDENTITY = "INSERT INTO ledger (one, ledger_id, created_us) VALUES (1, %(id)s, %(at_us)s) ON CONFLICT (one) DO NOTHING"
_USABLE = regex(r"^-- usable from: (\d+)$", re.MULTILINE)


def migrations() -> list[tuple[int, int, str]]:
    """Every migration that ships with the program: its number, from which program on it can be used, its text.

    One that takes away what older programs use says from which number on programs can do without.
    """
    found, usable = [], 1
    for number, text in postgres_scripts():
        said = _USABLE.search(text)
        usable = usable if said is None else int(said[1])
        found.append((number, usable, text))
    return found


def check_schema(connection: Connection, name: str) -> str:
    """The id of the ledger in a database. Raises where its tables are not those that this program works with."""
    newest = migrations()[-1][0]
    version, usable = _version(connection, name)
    if version < newest:
        what = (
            "has no tables of a ledger" if version == 0 else f"has schema {version}, this program works with {newest}"
        )
        raise LedgerUnavailable(f"The database {name} {what}.", hint="Run: tallygate migrate", code="schema_too_old")
    if usable > newest:
        raise LedgerTooNew(
            f"The database {name} has schema {version}; this program knows up to {newest}.",
            hint="Update Tallygate.",
        )
    row: Any = connection.execute("SELECT ledger_id FROM ledger").fetchone()
    if row is None:
        raise LedgerUnavailable(
            f"The ledger in {name} has no id.", hint="Run: tallygate migrate", code="schema_too_old"
        )
    return str(row[0])


def migrate(connection: Connection, name: str, *, ledger_id: str, at_us: int) -> tuple[int, int]:
    """Bring the tables up to this program's, one transaction a migration; returns the number before and now."""
    known = migrations()
    newest = known[-1][0]
    before = None
    for number, usable, text in [*known, (newest, known[-1][1], "")]:
        with connection.transaction():
            connection.execute(_LOCK)
            version, usable_now = _version(connection, name)
            before = version if before is None else before
            if usable_now > newest:
                raise LedgerTooNew(
                    f"The database {name} has schema {version}; this program knows up to {newest}.",
                    hint="Update Tallygate.",
                )
            if text and number > version:
                connection.execute(_TABLE)
                connection.execute(text.encode())
                connection.execute(_SAVE, {"version": number, "usable": usable})
            elif not text:
                connection.execute(_IDENTITY, {"id": ledger_id, "at_us": at_us})
    return before or 0, max(newest, before or 0)


def _version(connection: psycopg.Connection[Any], name: str) -> tuple[int, int]:
    row = connection.execute(_IS_THERE).fetchone()
    has_version, has_events = (False, False) if row is None else row
    if not has_version:
        if has_events:
            raise LedgerUnavailable(
                f"The database {name} holds tables of another program.",
                hint="Nothing was changed. Create a database of its own for the ledger.",
            )
        return 0, 1
    found = connection.execute(_SELECT_VERSION).fetchone()
    return (0, 1) if found is None else (int(found[0]), int(found[1]))
