"""What a project's file may do: tighten at once; whatever else it sets waits until the user trusts it.

A setting says of itself whether a project may tighten it. One that does not waits, also one that is added later.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import os
import stat
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from typing import Any

from tallygate import workspace
from tallygate.core.errors import SettingsError
from tallygate.core.gate.rules import BudgetScope
from tallygate.core.money import format_amount
from tallygate.core.text import cleaned
from tallygate.core.values import value
from tallygate.core.words import BudgetMode
from tallygate.pricing.book import PricingSettings
from tallygate.settings import sections
from tallygate.settings.budgets import numbered_budgets, read_budgets, read_plan
from tallygate.settings.declared import Setting
from tallygate.settings.model import Settings, Waiting
from tallygate.settings.source import Document, KeyPath

_SHOWN_MAX = 300
NAMES_SHOWN = 6
NOT_SET = "not set"


@value(frozen=True, slots=True)
class Project:
    """A project's file held against the user's settings: with what tightens, with everything, and what waits."""

    tight: Settings
    whole: Settings
    waiting: tuple[Waiting, ...]


def divide_project(base: Settings, user: Document | None, document: Document, within: str) -> Project:
    """Divide a project's file into what counts at once and what waits. Raises where the file is malformed."""
    whole = sections.apply(base, document, project=True)
    waiting: list[Waiting] = []
    tight: dict[str, Any] = {}
    for path, before, now in _scalars(base, whole, document):
        section, key = ("", str(path[0])) if len(path) == 1 else (str(path[0]), str(path[1]))
        if before == now:
            continue
        value = document.values[key] if not section else document.values[section][key]
        rule = sections.SCALARS[section, key]
        if rule.projects_may and rule.is_tighter(before, now):
            tight.setdefault(section, {})[key] = value
        else:
            waiting.append(_row(document, path, value, holds(rule, before)))
    for section in _tables(document):
        waiting += _entries((base, whole), user, document, section)
    for section in ("price", "discount"):
        waiting += [
            _row(document, (section, number), table, "")
            for number, table in enumerate(document.values.get(section, ()))
        ]
    notes = {key: document.values[key] for key in sections.WITHOUT_EFFECT if key in document.values}
    counted = sections.apply(base, Document(document.name, {**tight, **notes}, document.text), project=True)
    numbered = numbered_budgets(document, counted.policy.budget_mode)
    rules = [(number, replace(rule, within=within)) for number, rule in numbered]
    mine = base.session_budget
    # A budget of a session that leaves it more than the user does; any other of a project is one more limit.
    loose = [
        number
        for number, rule in rules
        if rule.scope is BudgetScope.SESSION and rule.unit == "USD"
        if rule.limit > mine.limit or (rule.mode is BudgetMode.SOFT and mine.mode is BudgetMode.HARD)
    ]
    waiting += [
        _row(document, ("budget", number), document.values["budget"][number], _session(base)) for number in loose
    ]
    tight_rules = [rule for number, rule in rules if number not in loose]
    all_rules = [replace(rule, within=within) for rule in read_budgets(document, whole.policy.budget_mode)]
    # A limit on a plan only stops: one more binds work here at once.
    tight_plan, plan = (read_plan(document, each.policy.budget_mode, within) for each in (counted, whole))
    # What one session may cost is the user's to say until the project is trusted, and then the project's.
    replaced = {rule.unit for rule in all_rules if rule.scope is BudgetScope.SESSION}
    standing = [rule for rule in base.budgets if rule.scope is not BudgetScope.SESSION or rule.unit not in replaced]
    return Project(
        tight=replace(
            counted,
            budgets=(*base.budgets, *tight_rules),
            plan=(*base.plan, *tight_plan),
            dearer=dearer(base, whole),
        ),
        whole=replace(whole, budgets=(*standing, *all_rules), plan=(*base.plan, *plan)),
        waiting=tuple(waiting),
    )


def fingerprint(waiting: tuple[Waiting, ...]) -> str:
    """The hash of waiting rows in one form: comments, layout and what does not wait are not in it."""
    rows = [[row.key, row.value] for row in waiting]
    text = json.dumps(rows, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(b"tallygate-trust-1\n" + text.encode()).hexdigest()


def _scalars(base: Settings, whole: Settings, document: Document) -> Iterator[tuple[KeyPath, Any, Any]]:
    for (section, key), rule in sections.SCALARS.items():
        if key in (document.values.get(section, {}) if section else document.values):
            path = (section, key) if section else (key,)
            yield path, rule.value_in(base, section), rule.value_in(whole, section)


def _tables(document: Document) -> list[str]:
    """Every other section, also one that this list knows nothing of."""
    known = {*sections.TOP, *sections.SECTIONS, *sections.WITHOUT_EFFECT, *sections.ROWS}
    return sorted(section for section in document.values if section not in known)


def _entries(
    settings: tuple[Settings, Settings], user: Document | None, document: Document, section: str
) -> Iterator[Waiting]:
    """The entries of a section of names that say something else than the user's settings do."""
    before, now = (entries_of(each, section) for each in settings)
    table = document.values[section]
    for name in sorted(table):
        was = before.get(name)
        # What says the same as the user's own settings need not be trusted.
        if was is None or was != now.get(name):
            text = _written(user, (section, name))
            if section == "unknown_price" and was is not None:
                text = holds(sections.UNKNOWN_PRICE[name], was)
            yield _row(document, (section, name), table[name], text)


def entries_of(settings: Settings, section: str) -> Mapping[str, Any]:
    """The entries of a section of names."""
    if section == "ladder":
        return {"default": settings.ladder.default or None, **settings.ladder.by_client}
    if section == "unknown_price":
        return {key: getattr(settings.pricing, rule.attribute, None) for key, rule in sections.UNKNOWN_PRICE.items()}
    found: Mapping[str, Mapping[str, Any]] = {
        "calibration": settings.calibration_micros,
        "alias": dict(settings.pricing.aliases),
        "exchange": settings.exchange,
        "pricing": {"local_channels": (settings.pricing.local_channels, settings.pricing.local_is_said)},
    }
    return found.get(section, {})


def dearer(base: Settings, whole: Settings) -> PricingSettings | None:
    """The user's prices with a project's rows on top, which count where they are the dearer ones."""
    mine, theirs = base.pricing, whole.pricing
    if (mine.overrides, mine.discounts) == (theirs.overrides, theirs.discounts):
        return None
    return replace(mine, overrides=theirs.overrides, discounts=theirs.discounts)


def _written(user: Document | None, path: KeyPath) -> str:
    """What the user has written for a key."""
    value: Any = {} if user is None else user.values
    for part in path:
        value = value.get(part) if isinstance(value, Mapping) else None
    return NOT_SET if value is None else toml(value)


def holds(rule: Setting, value: Any) -> str:
    """A value that holds now, as a settings file would say it, whoever set it: also where nobody did."""
    if value is None:
        return NOT_SET
    if isinstance(value, tuple):
        return "[" + ", ".join(holds(rule, each) for each in value) + "]"
    if isinstance(value, StrEnum):
        return toml(value.value)
    return toml(value) if rule.parts == 1 else _digits(Decimal(value) / rule.parts)


def _session(base: Settings) -> str:
    return f"{format_amount(base.session_budget.limit)} for a session, {base.session_budget.mode.value}"


def _row(document: Document, path: KeyPath, value: Any, before: str) -> Waiting:
    key = ".".join(str(part) for part in path if isinstance(part, str))
    text = json.dumps(_plain(value), separators=(",", ":"), sort_keys=True, ensure_ascii=True)
    return Waiting(
        key=key,
        value=text,
        shown=cleaned(f"{sections.dotted(path)} = {toml(value)}", _SHOWN_MAX),
        before=cleaned(before, _SHOWN_MAX),
        where=document.where(path),
    )


def _plain(value: Any) -> Any:
    """A value in one form, however it was written: 5, 5.0 and 5.00 are one number."""
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_plain(each) for each in value]
    if isinstance(value, bool | str):
        return value
    if isinstance(value, int | Decimal):
        return ["number", str(value) if isinstance(value, int) else _digits(value)]
    return [type(value).__name__, value.isoformat() if isinstance(value, dt.date | dt.time) else str(value)]


def _digits(number: Decimal) -> str:
    if not number.is_finite() or abs(number.adjusted()) > 1000:
        return str(number.normalize()) if number.is_finite() else str(number)
    return f"{number.normalize():f}"


def toml(value: Any) -> str:
    """A value as a settings file would say it."""
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{key} = {toml(each)}" for key, each in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(toml(each) for each in value) + "]"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    return str(value).lower() if isinstance(value, bool) else str(value)


def listed_rows(waiting: Sequence[Waiting]) -> str:
    """The rows that wait by their names, each once; of many the first ones and how many more."""
    names = list(dict.fromkeys(f"[[{row.key}]]" if row.key in sections.ROWS else row.key for row in waiting))
    more = f" and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else ""
    return ", ".join(names[:NAMES_SHOWN]) + more


# --- trust -----------------------------------------------------------------------------------------------------------
# What the user has accepted of projects: for each, the hashes of rows that may count, beside the user's data.


TRUST_FILE = "trust.json"
KEPT = 20
_VERSION = 1
_BYTES_MAX = 4 << 20


def repository_of(root: Path, home: Path) -> Path:
    """The repository that begins in a folder, for a worktree its own; the folder itself where none does."""
    real = root.resolve()
    return Path(workspace.repository_of(str(real), str(home.resolve())) or real)


def accepted_hashes(data_dir: Path, project: str) -> tuple[str, ...]:
    """The hashes that were accepted for a project, the latest last; none where the record cannot be relied on."""
    return tuple(_read(data_dir).get(project, ()))


def accepted_of_all(data_dir: Path) -> dict[str, list[str]]:
    """The hashes that were accepted, by project."""
    return _read(data_dir)


def accept(data_dir: Path, project: str, fingerprint: str) -> None:
    """Keep one more hash for a project; the oldest beyond the last twenty is forgotten."""
    known = _read(data_dir)
    hashes = [each for each in known.get(project, []) if each != fingerprint]
    known[project] = [*hashes, fingerprint][-KEPT:]
    _write(data_dir, known)


def forget(data_dir: Path, project: str) -> bool:
    """Take back everything that was accepted for a project; whether there was anything."""
    known = _read(data_dir)
    if known.pop(project, None) is None:
        return False
    _write(data_dir, known)
    return True


def _read(data_dir: Path) -> dict[str, list[str]]:
    """The record; what is not the user's own file, or damaged, has accepted nothing."""
    try:
        descriptor = os.open(data_dir / TRUST_FILE, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            found = os.fstat(file.fileno())
            # Whoever else can write it could trust a project in the user's name.
            loose = found.st_mode & (stat.S_IWGRP | stat.S_IWOTH) or found.st_uid not in (0, os.getuid())
            stored = json.loads(file.read(_BYTES_MAX)) if stat.S_ISREG(found.st_mode) and not loose else {}
        projects = stored["projects"] if stored.get("version") == _VERSION else {}
        return {str(name): [str(each) for each in hashes] for name, hashes in projects.items()}
    except (OSError, ValueError, AttributeError, KeyError, TypeError):
        return {}


def _write(data_dir: Path, projects: dict[str, list[str]]) -> None:
    text = json.dumps({"version": _VERSION, "projects": projects}, indent=1, sort_keys=True) + "\n"
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(prefix=".trust-", dir=data_dir)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            Path(name).replace(data_dir / TRUST_FILE)
        except BaseException:
            with suppress(OSError):
                Path(name).unlink()
            raise
    except OSError as error:
        raise SettingsError(f"{data_dir / TRUST_FILE} cannot be written: {error.strerror}.") from None
