"""Limits put into a settings file, changed and taken out: every other byte of it stays."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tallygate.core.errors import SettingsError
from tallygate.core.gate.rules import NAMED, BudgetRule, BudgetScope, scope_words
from tallygate.core.money import COUNTED, exact_text, format_amount, json_number
from tallygate.core.words import BudgetMode
from tallygate.settings import sections
from tallygate.settings.budgets import numbered_budgets
from tallygate.settings.model import Paths, Settings
from tallygate.settings.source import Document, key_lines, parse_document, read_document

_BY_HAND = "Change it there by hand."
_NOT_IN_NAMES = re.compile(r"[^a-z0-9.*]+")


@dataclass(frozen=True, slots=True)
class NamedLimit:
    """One `[[budget]]` of a settings file, with the name that commands know it by and its place in the file."""

    name: str
    rule: BudgetRule
    index: int

    @property
    def told(self) -> str:
        """What it limits, in words."""
        rule = self.rule
        period = {"session": " a session", "never": " in all"}.get(rule.period, f" a {rule.period}")
        if rule.period.endswith("h"):
            period = f" in {rule.period.removesuffix('h')} hours"
        whose = "" if rule.match is None else f" for {scope_words(rule.scope)} {rule.match}"
        if rule.match is None and rule.scope not in (BudgetScope.SESSION, BudgetScope.USER):
            whose = " for all work" if rule.scope is BudgetScope.GLOBAL else f" for each {rule.scope.value}"
        soft = ", only warns" if rule.mode is BudgetMode.SOFT else ""
        return f"{format_amount(rule.limit, rule.unit)}{period}{whose}{soft}"

    def stated(self) -> dict[str, Any]:
        """The same for programs."""
        rule = self.rule
        return {
            "name": self.name,
            "scope": rule.scope.value,
            "match": rule.match,
            "period": rule.period,
            "mode": rule.mode.value,
            "currency": rule.unit,
            "limit": rule.limit if rule.unit in COUNTED else json_number(rule.limit),
        }


def limits_in(document: Document, paths: Paths) -> list[NamedLimit]:
    """The limits of a file, named by what tells them apart. Raises `SettingsError` where it says something unusable."""
    found: list[NamedLimit] = []
    taken: set[str] = set()
    mode = sections.apply(Settings(paths), document, project=False).policy.budget_mode
    for index, rule in numbered_budgets(document, mode):
        parts = [rule.period]
        if rule.scope not in (BudgetScope.SESSION, BudgetScope.USER):
            parts.append("all" if rule.scope is BudgetScope.GLOBAL else rule.scope.value)
        parts += [rule.match] if rule.match is not None else []
        parts += [rule.unit] if rule.unit != "USD" else []
        plain = _NOT_IN_NAMES.sub("-", "-".join(parts).lower()).strip("-")
        soft = [f"{plain}-soft"] if rule.mode is BudgetMode.SOFT else []
        numbered = (f"{plain}-{number}" for number in range(2, 10_000))
        name = next(each for each in (plain, *soft, *numbered) if each not in taken)
        taken.add(name)
        found.append(NamedLimit(name, rule, index))
    return found


def with_limit(document: Document, rule: BudgetRule, *, names_mode: bool) -> str:
    """The file's text with one more limit, at its end."""
    lines = ["[[budget]]", f'scope = "{rule.scope.value}"']
    key = "name" if rule.scope in NAMED else "match"
    lines += [] if rule.match is None else [f"{key} = {_quoted(rule.match)}"]
    lines += [] if rule.scope is BudgetScope.SESSION else [f'period = "{rule.period}"']
    lines += [f"{key} = {value}" for key, value in _amount(rule)]
    lines += [f'mode = "{rule.mode.value}"'] if names_mode else []
    text = document.text
    newline = "\r\n" if "\r\n" in text else "\n"
    between = "" if not text else newline if text.endswith("\n") else newline * 2
    new = text + between + newline.join([*lines, ""])
    values = [*document.values.get("budget", ()), parse_document(document.name, "\n".join(lines)).values["budget"][0]]
    return _checked(document, new, values)


def with_other_amount(document: Document, found: NamedLimit, rule: BudgetRule) -> str:
    """The file's text with another amount in a limit of it; what stands behind the amount stays."""
    key, value = _amount(rule)[0]
    lines = document.text.splitlines(keepends=True)
    at = key_lines(document.text).get(("budget", found.index, key))
    if at is None:
        raise _by_hand(document, found, f"its limit is not written as {key}")
    changed = re.sub(rf"""^(\s*["']?{key}["']?\s*=\s*)[^\s#]+""", rf"\g<1>{value}", lines[at - 1])
    lines[at - 1] = changed
    rows = [dict(row) for row in document.values["budget"]]
    rows[found.index][key] = parse_document(document.name, f"{key} = {value}").values[key]
    return _checked(document, "".join(lines), rows, found)


def without_limit(document: Document, found: NamedLimit) -> str:
    """The file's text without a limit: its table to the next one, whose own comments stay with that."""
    begins = key_lines(document.text)
    lines = document.text.splitlines(keepends=True)
    first = begins.get(("budget", found.index))
    if first is None:
        raise _by_hand(document, found, "it does not stand as [[budget]] of its own")
    headers = [line for line, text in enumerate(lines, 1) if line > first and text.lstrip().startswith("[")]
    end = next((line for line in headers if line in set(begins.values())), len(lines) + 1) - 1
    while end > first and (lines[end - 1].strip() == "" or lines[end - 1].lstrip().startswith("#")):
        end -= 1
    while end < len(lines) and lines[end].strip() == "" and (first == 1 or lines[first - 2].strip() == ""):
        end += 1  # one gap stays of two
    if end == len(lines) and first > 1 and lines[first - 2].strip() == "":
        first -= 1
    rows = [row for index, row in enumerate(document.values["budget"]) if index != found.index]
    return _checked(document, "".join([*lines[: first - 1], *lines[end:]]), rows, found)


def _checked(document: Document, new: str, rows: Sequence[Mapping[str, Any]], found: NamedLimit | None = None) -> str:
    """A new text, if it says what the old one said, but for its limits."""
    try:
        after = dict(parse_document(document.name, new).values)
    except SettingsError:
        after = {}
    wanted = {**document.values, "budget": list(rows)}
    if not rows:
        del wanted["budget"]
    if after != wanted:
        raise _by_hand(document, found, "it cannot be changed without changing more than that")
    return new


def _by_hand(document: Document, found: NamedLimit | None, why: str) -> SettingsError:
    path = ("budget",) if found is None else ("budget", found.index)
    what = "a limit" if found is None else f"the limit {found.name}"
    return document.error(path, f"{what}: {why}; nothing was changed.", hint=_BY_HAND)


def _amount(rule: BudgetRule) -> list[tuple[str, str]]:
    """The keys that say how far a limit goes, the amount first."""
    if rule.unit in COUNTED:
        return [(f"limit_{rule.unit}", str(rule.limit))]
    text = exact_text(rule.limit)
    whole, _, cents = text.partition(".")
    money = f"{whole}.{cents.ljust(2, '0')}"
    return [("limit_usd", money)] if rule.unit == "USD" else [("limit", money), ("currency", f'"{rule.unit}"')]


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def users_file(paths: Paths) -> Document:
    """The user's own file as it stands, with nothing in it where there is none yet."""
    file = paths.user_file or (paths.config_dir or paths.data_dir) / "config.toml"
    return read_document(file, required=False, users=True) or Document(str(file), {})
