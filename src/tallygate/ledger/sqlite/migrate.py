"""Numbered .sql files, each applied in its own transaction with its version; a newer ledger is refused."""

from __future__ import annotations

import sqlite3
from importlib import resources

from tallygate.core.errors import LedgerTooNew


def migrations() -> list[tuple[int, str]]:
    """Every migration that ships with the program, in order: (version, SQL text)."""
    folder = resources.files("tallygate.ledger") / "schema" / "sqlite"
    files = sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".sql"))
    return [(int(name[:4]), (folder / name).read_text(encoding="utf-8")) for name in files]


def statements(sql: str) -> list[str]:
    """Split a script where SQLite says a statement is complete; triggers contain semicolons of their own."""
    parts: list[str] = []
    current = ""
    for line in sql.splitlines(keepends=True):
        current += line
        if ";" in line and sqlite3.complete_statement(current):
            parts.append(current.strip())
            current = ""
    if current.strip():
        parts.append(current.strip())
    return parts


def migrate(connection: sqlite3.Connection, location: str) -> int:
    """Bring the schema up to this program's version; the caller holds the writer's lock. Returns the version.

    Never uses `executescript`: it commits the open transaction before it starts.
    """
    known = migrations()
    newest = known[-1][0]
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    if version > newest:
        raise LedgerTooNew(
            f"The ledger {location} has schema {version}; this program knows up to {newest}.",
            hint="Update Tallygate, or point TALLYGATE_DB at another file.",
        )
    for number, sql in known:
        if number <= version:
            continue
        # The version is written in the same transaction: a program that dies here leaves the schema before or after,
        # and no half.
        connection.execute("BEGIN IMMEDIATE")
        try:
            for statement in statements(sql):
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {number}")
            connection.execute("COMMIT")
        except BaseException:
            connection.execute("ROLLBACK")
            raise
    return newest
