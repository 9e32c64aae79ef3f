"""What `sqlite3` is told to do with a database: a plain read, or anything else."""

from __future__ import annotations

import re

from tallygate.core.regex import regex

CHANGES = regex(
    r"\b(?:insert\s+(?:or\s+\w+\s+)?into|replace\s+into|update\s+(?:or\s+\w+\s+)?\w+\s+set|delete\s+from|drop\s+\w+"
    r"|alter\s+table|create\s+trigger|pragma\s+\w+\s*=|begin\s+(?:exclusive|immediate))|^\s*\.(?:restore|import|clone)\b",
    re.IGNORECASE | re.MULTILINE,
)
# Files that a database is told to write or to change beside its own.
_FILES = regex(
    r"(?:^\s*\.(?:backup|save|output|once|clone)\s+|\bvacuum\s+into\s+|\battach\s+(?:database\s+)?)['\"]?([^\s'\";]+)",
    re.IGNORECASE | re.MULTILINE,
)
# What is no word of a statement: comments, and text and names in quotes.
_ASIDE = regex(r"--[^\n]*|/\*.*?(?:\*/|\Z)|'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|`[^`]*`|\[[^\]]*\]", re.DOTALL)
_READS = regex(
    r"(?:select|values|explain|(?:at|de)tach|vacuum\s+into|commit|end|rollback)\b.*"
    r"|with\b(?!.*\b(?:insert|update|delete|replace\s+into)\b).*"
    r"|begin(?:\s+deferred)?(?:\s+transaction)?"
    r"|pragma\s+(?:\w+\s*\.\s*)?(?!wal_checkpoint|optimize|incremental_vacuum)\w+"
    r"|pragma\s+(?:\w+\s*\.\s*)?(?:(?:table|index)_x?(?:info|list)|foreign_key_\w+|(?:integrity|quick)_check)\s*\(.*",
    re.IGNORECASE | re.DOTALL,
)
_READING_WORDS = frozenset({
    "schema", "fullschema", "tables", "indexes", "indices", "databases", "dbinfo", "dump", "mode", "headers", "header",
    "width", "separator", "nullvalue", "timeout", "timer", "stats", "show", "echo", "bail", "print", "help", "explain",
    "eqp", "quit", "exit", "sha3sum", "changes", "limits", "output", "once", "backup", "save", "version",
})  # fmt: skip
_TAKE_ONE = frozenset({
    "cmd", "init", "separator", "newline", "nullvalue", "mmap", "maxsize", "vfs", "heap", "nonce", "escape",
})  # fmt: skip


def of_sqlite(given: list[str], text: str | None) -> tuple[list[str], bool]:
    """The databases and files that sqlite3 would change, and whether it is told anything but to read.

    What it reads from a file or from a program is not known here, and no plain read unless it is told to only read.
    """
    names, said, only_reads, unknown = [], [], False, False
    at = 0
    while at < len(given):
        word = given[at]
        option = word.lstrip("-") if word.startswith("-") else None
        if option is None:
            names.append(word)
        elif option in _TAKE_ONE:
            at += 1
            said += given[at : at + 1] if option == "cmd" else []
            unknown = unknown or option == "init"
        only_reads = only_reads or option in {"readonly", "help", "version"}
        at += 1
    said += [*names[1:], *([] if text is None else [text])]
    database, _, asked = (names[0] if names else "").removeprefix("file:").partition("?")
    only_reads = only_reads or "mode=ro" in asked or "immutable=1" in asked
    reads = bool(said) and not unknown and all(map(_only_reads, said))
    changes = not (reads or (only_reads and not any(map(CHANGES.search, said))))
    found = [each for one in said for each in _FILES.finditer(one)]
    others = [each[1] for each in found if changes or not each[0].lstrip().lower().startswith("attach")]
    return [*([database] if changes and database else []), *others], bool(changes or others)


def _only_reads(text: str) -> bool:
    """Whether a text holds nothing but commands of sqlite3's own shell and statements that read."""
    words = (found[1].lower() for found in re.finditer(r"^\s*\.(\w+)", text, re.MULTILINE))
    if not _READING_WORDS.issuperset(words):
        return False
    statements = re.sub(r"^\s*\.\w+.*$", "", text, flags=re.MULTILINE)
    # A semicolon in a comment or in quotes ends nothing: a blank and a word stand for them.
    plain = _ASIDE.sub(lambda found: " " if found[0].startswith(("--", "/*")) else " x ", statements)
    return all(map(_READS.fullmatch, filter(None, map(str.strip, plain.split(";")))))
