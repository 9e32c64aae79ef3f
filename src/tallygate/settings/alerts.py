"""Alerts of the user's settings file: at which shares of a limit who is told, and how."""

from __future__ import annotations

import ipaddress
from enum import StrEnum
from pathlib import Path
from urllib.parse import urlsplit

from tallygate.core.alerts import AlertRule
from tallygate.core.errors import SettingsError
from tallygate.core.gate.rules import BudgetScope
from tallygate.core.values import value
from tallygate.settings import checks, sections
from tallygate.settings.checks import Unfit
from tallygate.settings.declared import setting, table_of
from tallygate.settings.source import Document, KeyPath

AT = (80, 100)


class AlertForm(StrEnum):
    """What is posted."""

    JSON = "json"
    TEXT = "text"


def _shares(value: object) -> tuple[int, ...]:
    """Whole per cent, rising."""
    fits = isinstance(value, list) and 0 < len(value) <= 20
    numbers = value if isinstance(value, list) and fits else []
    if not numbers or any(isinstance(each, bool) or not isinstance(each, int) for each in numbers):
        raise Unfit(f"must be a list of whole per cent such as [50, 80, 100], not {checks.short(value)}")
    if not all(1 <= each <= 1000 for each in numbers) or sorted({*numbers}) != numbers:
        raise Unfit(f"must rise and lie between 1 and 1000, not {checks.short(value)}")
    return tuple(numbers)


def _arguments(value: object) -> tuple[str, ...]:
    """A program and its arguments, as they are started: there is no shell."""
    texts = isinstance(value, list) and 0 < len(value) <= 50 and all(isinstance(each, str) for each in value)
    if not isinstance(value, list) or not texts or not value[0] or any("\0" in each for each in value):
        raise Unfit('must be a list of texts, the program first, such as ["notify-send", "Tallygate"]')
    if any(each in value[0] for each in "/\\") and not (value[0].startswith("~/") or Path(value[0]).is_absolute()):
        # Every project would have one of its own.
        raise Unfit(f"must begin with a program's name, a whole path or ~/, not {checks.short(value[0])}")
    return tuple(value)


def _address(value: object) -> str:
    """Where to post to: https, or plain http on this machine. The refusal does not repeat it, as it may be secret."""
    wrong = Unfit("must be an https address of at most 2,000 characters; http is for this machine alone (127.0.0.1)")
    if not isinstance(value, str) or len(value) > 2000 or not value.isascii() or not value.isprintable():
        raise wrong
    try:
        parts = urlsplit(value)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise wrong from None
    if not host or " " in value or not (parts.scheme == "https" or (parts.scheme == "http" and _is_here(host))):
        raise wrong
    return value


def _is_here(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@value(frozen=True, slots=True)
class _AlertRow:
    """An alert as it is written."""

    at: tuple[int, ...] = setting(
        AT, "at", _shares, "[50, 80, 100]",
        "At which shares of a limit, in per cent of what is spent. 100 is also a step that the limit has stopped.",
    )  # fmt: skip
    run: tuple[str, ...] = setting(
        (), "run", _arguments, '["notify-send", "Tallygate"]',
        "A program to start, with its arguments: by a whole path, from `~/`, or by a name in the system's folders and"
        " `~/.local/bin`. No shell, the values in `TALLY_ALERT_...` of its environment, ten seconds at most.",
    )  # fmt: skip
    post: str | None = setting(
        None, "post", _address, '"https://ntfy.sh/my-topic"',
        "An address to post to: https, or http on this machine. Exactly one of `run` and `post` is given.",
    )  # fmt: skip
    form: AlertForm = setting(
        AlertForm.JSON, "form", checks.choice(AlertForm), '"text"',
        "What is posted: `json` (all values, with `text` and `content`), or the sentence as plain `text`, as ntfy"
        " takes it.",
    )  # fmt: skip
    scope: BudgetScope | None = setting(
        None, "scope", checks.choice(BudgetScope), '"global"', "Only budgets of this scope."
    )
    budget: str | None = setting(
        None, "budget", checks.text, '"global:*:day:*"', "Only budgets whose id fits, a pattern with `*` and `?`."
    )


ALERT = table_of(_AlertRow)


def read_alerts(document: Document) -> tuple[AlertRule, ...]:
    """The alerts of the user's file."""
    found = []
    for number, row in enumerate(sections.rows(document, "alert", ALERT, _AlertRow)):
        if bool(row.run) == (row.post is not None):
            raise _wrong(document, ("alert", number), "exactly one of run and post is given.")
        as_text = row.form is AlertForm.TEXT
        host = None if row.post is None else urlsplit(row.post).hostname
        found.append(AlertRule(row.at, row.run, row.post, host, as_text, row.scope, row.budget))
    return tuple(found)


def _wrong(document: Document, path: KeyPath, what: str) -> SettingsError:
    return document.error(path, f"{sections.dotted(path)}: {what}", hint='Such as: run = ["notify-send", "Tallygate"]')
