"""Limits put into a settings file, changed and taken out: every other byte of it stays."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from tallygate.core.errors import SettingsError
from tallygate.core.gate.rules import NAMED, BudgetRule, BudgetScope, scope_words
from tallygate.core.gate.wording import per
from tallygate.core.money import COUNTED, PERCENT, WHOLE, exact_text, format_amount, json_number
from tallygate.core.plan import PlanRule, PlanUnknown, window_name
from tallygate.core.regex import regex
from tallygate.core.values import value
from tallygate.core.words import BudgetMode
from tallygate.settings import sections
from tallygate.settings.budgets import numbered_budgets, numbered_plan
from tallygate.settings.model import Paths, Settings
from tallygate.settings.source import Document, key_lines, parse_document, read_document

_BY_HAND = "Change it there by hand."
_NOT_IN_NAMES = regex(r"[^a-z0-9.*]+")


@value(frozen=True, slots=True)
class NamedLimit:
    """One `[[budget]]` of a settings file, with the name that commands know it by and its place in the file."""

    name: str
    rule: BudgetRule | PlanRule
    index: int

    @property
    def amount(self) -> int:
        """How far it goes, in its unit."""
        return self.rule.at_percent if isinstance(self.rule, PlanRule) else self.rule.limit

    @property
    def unit(self) -> str:
        """What its amount is counted in."""
        return PERCENT if isinstance(self.rule, PlanRule) else self.rule.unit

    @property
    def told(self) -> str:
        """What it limits, in words."""
        rule = self.rule
        if isinstance(rule, PlanRule):
            whose = "each client that tells of one" if rule.client is None else rule.client
            halts = ", stops while nobody knows" if rule.unknown is PlanUnknown.HALT else ""
            soft = ", only warns" if rule.mode is BudgetMode.SOFT else ""
            window = window_name(rule.minutes)
            return (
                f"{format_amount(rule.at_percent, PERCENT)} of the {window} window of the plan of {whose}{halts}{soft}"
            )
        period = f" {per(rule.period)}"
        whose = "" if rule.match is None else f" for {scope_words(rule.scope)} {rule.match}"
        if rule.match is None and rule.scope not in (BudgetScope.SESSION, BudgetScope.USER):
            whose = " for all work" if rule.scope is BudgetScope.GLOBAL else f" for each {rule.scope.value}"
        soft = ", only warns" if rule.mode is BudgetMode.SOFT else ""
        return f"{format_amount(rule.limit, rule.unit)}{period}{whose}{soft}"

    def stated(self) -> dict[str, Any]:
        """The same for programs."""
        rule = self.rule
        if isinstance(rule, PlanRule):
            scope, match, period = BudgetScope.PLAN, rule.client, window_name(rule.minutes)
        else:
            scope, match, period = rule.scope, rule.match, rule.period
        return {
            "name": self.name,
            "scope": scope.value,
            "match": match,
            "period": period,
            "mode": rule.mode.value,
            "currency": self.unit,
            "limit": self.amount if self.unit in WHOLE else json_number(self.amount),
        }


def limits_in(document: Document, paths: Paths) -> list[NamedLimit]:
    """The limits of a file, named by what tells them apart. Raises `SettingsError` where it says something unusable."""
    found: list[NamedLimit] = []
    taken: set[str] = set()
    mode = sections.apply(Settings(paths), document, project=False).policy.budget_mode
    rows: list[tuple[int, BudgetRule | PlanRule]] = [*numbered_budgets(document, mode), *numbered_plan(document, mode)]
    for index, rule in sorted(rows, key=lambda row: row[0]):
        plain = _NOT_IN_NAMES.sub("-", "-".join(_parts(rule)).lower()).strip("-")
        soft = [f"{plain}-soft"] if rule.mode is BudgetMode.SOFT else []
        numbered = (f"{plain}-{number}" for number in range(2, 10_000))
        name = next(each for each in (plain, *soft, *numbered) if each not in taken)
        taken.add(name)
        found.append(NamedLimit(name, rule, index))
    return found


def _parts(rule: BudgetRule | PlanRule) -> list[str]:
    """What tells a limit from others, for its name."""
    if isinstance(rule, PlanRule):
        return ["plan", window_name(rule.minutes), *([] if rule.client is None else [rule.client])]
    parts = [rule.period]
    if rule.scope not in (BudgetScope.SESSION, BudgetScope.USER):
        parts.append("all" if rule.scope is BudgetScope.GLOBAL else rule.scope.value)
    parts += [rule.match] if rule.match is not None else []
    return parts + ([rule.unit] if rule.unit != "USD" else [])


def with_limit(document: Document, rule: BudgetRule | PlanRule, *, names_mode: bool) -> str:
    """The file's text with one more limit, at its end."""
    if isinstance(rule, PlanRule):
        lines = ["[[budget]]", f'scope = "{BudgetScope.PLAN.value}"', f'window = "{window_name(rule.minutes)}"']
        lines += [] if rule.client is None else [f"client = {_quoted(rule.client)}"]
        lines += [] if rule.unknown is PlanUnknown.WARN else [f'unknown = "{rule.unknown.value}"']
    else:
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


def with_other_amount(document: Document, found: NamedLimit, rule: BudgetRule | PlanRule) -> str:
    """The file's text with another amount in a limit of it; what stands behind the amount stays.

    A limit on a plan may stand there without its amount, which then gets a line of its own.
    """
    key, value = _amount(rule)[0]
    lines = document.text.splitlines(keepends=True)
    begins = key_lines(document.text)
    at = begins.get(("budget", found.index, key))
    window = begins.get(("budget", found.index, "window"))
    if at is not None:
        lines[at - 1] = re.sub(rf"""^(\s*["']?{key}["']?\s*=\s*)[^\s#]+""", rf"\g<1>{value}", lines[at - 1])
    elif window is not None and key not in document.values["budget"][found.index]:
        newline = "\r\n" if "\r\n" in document.text else "\n"
        lines.insert(window - 1, f"{key} = {value}{newline}")
    else:
        raise _by_hand(document, found, f"its limit is not written as {key}")
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


def _amount(rule: BudgetRule | PlanRule) -> list[tuple[str, str]]:
    """The keys that say how far a limit goes, the amount first."""
    if isinstance(rule, PlanRule):
        return [("at_percent", str(rule.at_percent))]
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
