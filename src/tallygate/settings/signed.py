"""The user's file while the limits are locked: what was signed is in force, and of the file only what is tighter."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

from tallygate.core.errors import LedgerUnavailable, SettingsError
from tallygate.core.gate.rules import BudgetRule, BudgetScope
from tallygate.core.lock import LockStanding
from tallygate.core.money import format_amount
from tallygate.core.plan import PlanRule, window_name
from tallygate.core.text import cleaned
from tallygate.core.words import BudgetMode
from tallygate.settings import sections
from tallygate.settings.alerts import read_alerts
from tallygate.settings.budgets import with_budgets
from tallygate.settings.model import Paths, Settings, Waiting
from tallygate.settings.projects import NOT_SET, dearer, entries_of, holds, listed_rows, toml
from tallygate.settings.source import Document

SIGNED_NAME = "the settings you have signed"
WAITS = "which waits for your yes and does not count while the limits are locked. See it with: tallygate trust --user"
# Whoever sets them: they loosen nothing.
NEUTRAL = frozenset(path for path, each in sections.SCALARS.items() if each.loosens_nothing)
_TABLES = ("ladder", "calibration", "alias", "unknown_price", "pricing", "exchange")
_SHOWN_MAX = 300


def users_rows(document: Document | None) -> str:
    """The rows of the user's file in one form, without those that loosen nothing; what a signature stands for."""
    values: Mapping[str, Any] = {} if document is None else document.values
    kept = {}
    for key, value in values.items():
        if key in sections.WITHOUT_EFFECT or ("", key) in NEUTRAL:
            continue
        if key in sections.SECTIONS and isinstance(value, Mapping):
            value = {name: each for name, each in value.items() if (key, name) not in NEUTRAL}  # noqa: PLW2901
            if not value:
                continue
        kept[key] = _stated(value)
    return json.dumps(kept, separators=(",", ":"), sort_keys=True, ensure_ascii=True)


def signed_document(text: str) -> Document:
    """The rows that were signed. Raises `SettingsError` where they are none."""
    try:
        return Document(SIGNED_NAME, {key: _read(value) for key, value in json.loads(text).items()})
    except (ValueError, ArithmeticError, AttributeError, TypeError, KeyError, RecursionError):
        raise SettingsError(f"{SIGNED_NAME} cannot be read.", hint="Run: tallygate trust --user") from None


def in_force(blank: Settings, rows: str, current: Document | None) -> Settings:
    """What holds of signed rows and the user's file: the tighter of both; `loosened` names what waits."""
    now = Document(SIGNED_NAME, {}) if current is None else current
    whole = _applied(blank, now)
    if rows == users_rows(current):
        return whole
    try:
        signed = signed_document(rows)
        base = _applied(blank, replace(signed, values={**signed.values, **_neutral(now, signed)}))
    except SettingsError as error:
        fault = SettingsError(
            f"The settings that you have signed cannot be used: {error.message}", hint="Run: tallygate trust --user"
        )
        return replace(whole, fault=fault, notices=(*whole.notices, str(fault)))
    # From what was signed on: of what the file says otherwise a key that loosens nothing is taken over, the rest waits.
    found, waiting = base, []
    for path, before, after in _scalars(base, whole):
        section, key = path
        rule = sections.SCALARS[path]
        if rule.loosens_nothing or rule.is_tighter(before, after):
            found = _with(found, section, rule.attribute, after)
        else:
            name = f"{section}.{key}" if section else key
            waiting.append(_row(name, f"{name}: {holds(rule, before)} -> {holds(rule, after)}", now))
    waiting += _moved(signed, now)
    if base.alerts != whole.alerts:
        waiting.append(_row("alert", "alerts are others than you have signed", now))
    waiting += [row for section in _TABLES for row in _entries(base, whole, now, section)]
    waiting += [row for section in ("price", "discount") for row in _priced(signed, now, section)]
    rules, loose = _budgets(base, whole)
    plan, open_ = _plan(base, whole)
    waiting += [_row("budget", text, now) for text in (*loose, *open_)]
    found = replace(
        found, budgets=rules, plan=plan, dearer=dearer(base, whole), notices=whole.notices, loosened=tuple(waiting)
    )
    if not waiting:
        return found
    text = waits_text(now, waiting)
    return replace(found, notices=(*found.notices, text), spoken=(*found.spoken, text))


def is_only_tighter(paths: Paths, before: Document, after: Document) -> bool:
    """Whether the budgets of a changed file leave nobody more than they did; what else stands there is the same."""
    both = [_applied(Settings(paths), each) for each in (before, after)]
    return not (_budgets(*both)[1] or _plan(*both)[1])


def waits_text(document: Document, waiting: list[Waiting]) -> str:
    """What of the user's file does not count yet, and what makes it count."""
    where = "No settings file of yours is there" if document.name == SIGNED_NAME else document.name
    return f"{where}: {listed_rows(waiting)}: not as you have signed it, {WAITS}"


def _applied(blank: Settings, document: Document) -> Settings:
    applied = sections.apply(blank, document, project=False)
    return replace(with_budgets(applied, document), alerts=read_alerts(document))


def _neutral(now: Document, signed: Document) -> dict[str, Any]:
    """What of the file counts whatever was signed."""
    found: dict[str, Any] = {key: now.values[key] for section, key in NEUTRAL if not section and key in now.values}
    for section, key in NEUTRAL:
        if section and key in now.values.get(section, {}):
            kept = found.get(section, signed.values.get(section, {}))
            found[section] = {**kept, key: now.values[section][key]}
    return found


def _scalars(base: Settings, whole: Settings) -> Iterator[tuple[tuple[str, str], Any, Any]]:
    """Every key with one value that the file says otherwise, whether it stands there or was taken away."""
    for path, rule in sections.SCALARS.items():
        before, now = (rule.value_in(each, path[0]) for each in (base, whole))
        if before != now:
            yield path, before, now


def _with(settings: Settings, section: str, attribute: str, value: Any) -> Settings:
    if not section:
        return replace(settings, **{attribute: value})
    return replace(settings, **{section: replace(getattr(settings, section), **{attribute: value})})


def _entries(base: Settings, whole: Settings, now: Document, section: str) -> Iterator[Waiting]:
    before, after = entries_of(base, section), entries_of(whole, section)
    for name in sorted({*before, *after}):
        if before.get(name) != after.get(name):
            yield _row(section, f"{section}.{name} is another than you have signed", now)


def _moved(signed: Document, now: Document) -> Iterator[Waiting]:
    """Places that the file names otherwise than it was signed: what is counted and kept lies there."""
    before, after = (sections.read_paths(each) for each in (signed, now))
    for name in sections.PATHS:
        if before.get(name) != after.get(name):
            was, is_now = (each.get(name, "where it is by default") for each in (before, after))
            yield _row(f"paths.{name}", f"paths.{name}: {was} -> {is_now}", now)


def _priced(signed: Document, now: Document, section: str) -> Iterator[Waiting]:
    """Rows of prices that are not those that were signed; the dearer ones count until then."""
    before, after = ([toml(row) for row in each.values.get(section, ())] for each in (signed, now))
    yield from (_row(section, f"[[{section}]] new: {row}", now) for row in after if row not in before)
    yield from (_row(section, f"[[{section}]] gone: {row}", now) for row in before if row not in after)


def _budgets(base: Settings, whole: Settings) -> tuple[tuple[BudgetRule, ...], list[str]]:
    """The budgets that hold, each with the tighter of its limits, and in words what became looser."""
    mine, theirs = _by_name(base), _by_name(whole)
    held, loose = [], []
    for name, rule in mine.items():
        there = theirs.get(name)
        if there is None or there.limit > rule.limit:
            after = "none" if there is None else format_amount(there.limit, there.unit)
            loose.append(f"{_told(rule)}: {format_amount(rule.limit, rule.unit)} -> {after}")
        held.append(rule if there is None or there.limit > rule.limit else there)
    held += [rule for name, rule in theirs.items() if name not in mine]
    own, new = base.session_budget, whole.session_budget
    softer = new.mode is BudgetMode.SOFT and own.mode is BudgetMode.HARD
    if new.limit > own.limit or softer:
        was, now = (f"{format_amount(each.limit)} {each.mode.value}" for each in (own, new))
        loose.append(f"the budget of a session: {was} -> {now}")
    session = replace(new, limit=min(own.limit, new.limit), mode=own.mode if softer else new.mode)
    return (*held, session), loose


def _plan(base: Settings, whole: Settings) -> tuple[tuple[PlanRule, ...], list[str]]:
    """The limits on plans that hold, those that were signed among them, and in words what became looser."""
    loose = [rule for rule in base.plan if not any(each.is_as_tight(rule) for each in whole.plan)]
    return (*loose, *whole.plan), [
        f"the {rule.mode.value} limit on a plan, {window_name(rule.minutes)} at {rule.at_percent} %: looser or gone"
        for rule in loose
    ]


def _by_name(settings: Settings) -> dict[tuple[object, ...], BudgetRule]:
    """Rules by what they limit; of several on one thing the tightest. What one session may cost is apart."""
    found: dict[tuple[object, ...], BudgetRule] = {}
    for rule in settings.budgets:
        if rule.scope is BudgetScope.SESSION and rule.unit == "USD":
            continue
        name = (rule.scope, rule.match, rule.unit, rule.period, rule.mode)
        if name not in found or rule.limit < found[name].limit:
            found[name] = rule
    return found


def _told(rule: BudgetRule) -> str:
    whose = f" {rule.match}" if rule.match else ""
    period = "" if rule.period in ("session", "never") else f", {rule.period}"
    return f"the {rule.mode.value} budget of {rule.scope.value}{whose}{period}"


def _row(key: str, shown: str, document: Document) -> Waiting:
    path = (key,) if key in document.values else tuple(key.split("."))
    where = SIGNED_NAME if document.name == SIGNED_NAME else document.where(path)
    return Waiting(key=key, value="", shown=cleaned(shown, _SHOWN_MAX), before=NOT_SET, where=where)


def _stated(value: Any) -> Any:
    """A value of a settings file as JSON that can be read back as what it was."""
    if isinstance(value, Mapping):
        return {"map": {str(key): _stated(each) for key, each in value.items()}}
    if isinstance(value, list):
        return [_stated(each) for each in value]
    if isinstance(value, bool | str):
        return value
    if isinstance(value, int):
        return {"int": str(value)}
    if isinstance(value, Decimal):
        return {"number": str(value)}
    return {"time": [type(value).__name__, value.isoformat()]}


_TIMES: Mapping[str, Callable[[str], Any]] = {
    "date": dt.date.fromisoformat,
    "time": dt.time.fromisoformat,
    "datetime": dt.datetime.fromisoformat,
}


def _read(value: Any) -> Any:
    if isinstance(value, list):
        return [_read(each) for each in value]
    if not isinstance(value, Mapping):
        return value
    [(kind, content)] = value.items()
    if kind == "map":
        return {key: _read(each) for key, each in content.items()}
    if kind == "int":
        return int(content)
    if kind == "number":
        return Decimal(content)
    return _TIMES[content[0]](content[1])


# --- locked places ---------------------------------------------------------------------------------------------------
# Where things are while the limits are locked: by the `[paths]` that the user has signed, whatever the file says now.
#
# The lock stands in the ledger that is locked, and the file says where that is. So a file that leads elsewhere is held
# against the locks that are remembered in folders which it cannot move.


# Whether the limits of a ledger at some places are locked.
StandingOf = Callable[[Paths], LockStanding]
PathsBy = Callable[[Document | None], Paths]


def where_locked(
    paths_by: PathsBy, user: Document | None, folders: Sequence[Path], standing: StandingOf
) -> tuple[Paths, LockStanding]:
    """The places by the user's file, or by what they have signed of it, and how the limits stand there.

    `folders` is where locks are remembered; none where somebody names other places than the file.
    """
    paths = paths_by(user)
    found = _remembered(paths_by, folders)
    if found and paths.database not in found:
        if len(found) > 1:
            listed = " and ".join(sorted(map(str, found)))
            return paths, LockStanding(
                unread=LedgerUnavailable(
                    f"Locks of several ledgers are remembered, {listed}, and the settings name another one.",
                    hint="Name the right one in [paths] of your settings file.",
                )
            )
        [paths] = found.values()
    stands = standing(paths)
    if stands.lock is not None:
        with suppress(SettingsError):  # told of where the other rows are read
            signed = paths_by(_places_in(stands.lock.settings))
            paths = replace(signed, database=paths.database, by_variable=paths.by_variable)
    return paths, stands


def _remembered(paths_by: PathsBy, folders: Sequence[Path]) -> dict[Path, Paths]:
    """The places of each ledger of which a lock is remembered, as they were signed with it."""
    if not folders:
        return {}
    from tallygate.ledger.anchor import of_path
    from tallygate.operations.lock_book import locks_remembered_in

    found = {}
    for begin, lock in locks_remembered_in(folders):
        with suppress(SettingsError):
            paths = paths_by(_places_in(lock.settings))
            if of_path(paths.database) == begin:
                found[paths.database] = paths
    return found


def _places_in(rows: str) -> Document:
    """Of signed rows those that say where things are."""
    signed = signed_document(rows)
    return replace(signed, values={key: value for key, value in signed.values.items() if key == "paths"})
