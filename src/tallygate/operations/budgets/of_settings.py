"""The budgets of the settings as they stand: which bind nothing, and what became looser."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from tallygate.clients.registry import REGISTRY
from tallygate.core.gate.rules import BudgetRule, BudgetScope, applies_to_model, from_text, may_limit
from tallygate.core.hooks import FOUND_BY_HOOK
from tallygate.core.model import Session, unit_number
from tallygate.core.moments import as_datetime, iso
from tallygate.core.money import format_amount
from tallygate.core.text import cleaned, shown
from tallygate.core.values import value
from tallygate.core.words import BudgetMode
from tallygate.ledger.port import ProofReader, Reader, SessionReader, Used
from tallygate.operations.budgets.applicable import rules_for
from tallygate.operations.runtime import Runtime, every_tenant
from tallygate.pricing.book import rows_that_lower
from tallygate.pricing.identity import is_family, means, one_name
from tallygate.pricing.user_prices import PriceList
from tallygate.workspace import is_no_folder

# --- unbound ---------------------------------------------------------------------------------------------------------
# Which budgets of the settings bind nothing: one that is misspelled limits nobody, and would never be noticed.


# A budget that has bound before may rest for so long while work goes on elsewhere, before that is told.
REST_US = 30 * 24 * 3600 * 1_000_000
ADVICE = (
    "See how its scope and match are written: tallygate usage --by client, model, project, agent, skill or mcp "
    "shows the names."
)


_NAMES_NONE = {
    BudgetScope.MODEL: "means no model that is listed or was used; one that is yet to come it would bind",
    BudgetScope.CLIENT: "means no client that is known; a session that names itself so it would bind",
    BudgetScope.PROJECT: "binds nothing: there is no such folder",
}


@value(frozen=True, slots=True)
class Unbound:
    """A rule that has bound nothing since a time; `ever` where it did before, else since the ledger began.

    `names_none` where it means no model that is listed or was used, no client that is known, or a folder that is not
    there; of such a one no work has to tell.
    """

    rule: BudgetRule
    since_us: int | None
    ever: bool
    names_none: bool = False

    @property
    def name(self) -> str:
        """The rule as its user would point to it."""
        rule = self.rule
        what = rule.scope.value if rule.match is None else f"{rule.scope.value} {shown(rule.match, 200)}"
        return f"{what}, {rule.period}, {rule.mode.value}, {format_amount(rule.limit, rule.unit)}"

    def told(self, since: str) -> str:
        """The fact in a sentence; `since` is the time as it is shown."""
        if self.names_none:
            return f"{self.name}: {_NAMES_NONE[self.rule.scope]}"
        return f"{self.name}: has bound nothing since {since}{'' if self.ever else ', when the ledger began'}"

    def stated(self) -> dict[str, Any]:
        """The same for programs."""
        rule = self.rule
        return {
            "scope": rule.scope.value,
            "match": rule.match,
            "period": rule.period,
            "mode": rule.mode.value,
            "currency": rule.unit,
            "limit": unit_number(rule.limit, rule.unit),
            "since": iso(self.since_us),
            "ever_bound": self.ever,
            "names_none": self.names_none,
        }


def unbound(rt: Runtime) -> list[Unbound]:
    """The budgets above the session that no step has met while others were made, in the order of the settings.

    All tenants count: what binds in one of them binds. Where nothing was ever spent, nothing can have been bound, but
    for a model that is misspelled.
    """
    rules = [rule for rule in rt.workspace.rules if rule.scope is not BudgetScope.SESSION]
    if not rules:
        return []
    with rt.reading() as reader:
        tenants = dict.fromkeys((rt.tenant, *reader.tenants()))
    used: list[Used] = []
    worked: list[int] = []
    began: list[int] = []
    for tenant in tenants:
        with rt.services.ledger.reading(tenant) as reader:
            used += reader.windows_used()
            worked += [at_us for at_us in (reader.worked_us(),) if at_us is not None]
            seq, at_us = reader.first_after(0)
            began += [at_us] if seq else []
    since_us = min(began, default=None)
    found = []
    for rule in rules:
        kind = (rule.scope.value, rule.period, rule.unit, rule.mode.value)
        alike = (each for each in used if (each.scope, each.period, each.unit, each.mode) == kind)
        last_us = max((each.last_us for each in alike if may_limit(rule, each.scope_key)), default=None)
        # Never met. Of a model that is not even listed this is told before anything was spent; of others only once
        # something was, since it stands there, that could have met it.
        if last_us is None:
            is_none = names_none(rt, rule)
            written_us = rt.workspace.rule_written_us(rule) or 0
            if is_none or (began and written_us < max(worked, default=0)):
                found.append(Unbound(rule, since_us, ever=False, names_none=is_none))
        elif last_us + REST_US < max(worked, default=0):
            found.append(Unbound(rule, last_us, ever=True))
    return found


def names_none(rt: Runtime, rule: BudgetRule) -> bool:
    """Whether a budget means no client that is known, a folder that is not there, or no model.

    No model is one that is not listed, and that no response of any tenant names.
    Lists have ids like `claude-opus-latest` too. Every budget of that family binds what is asked for so, and is no
    better known for it.
    """
    if rule.match is None:
        return False
    if rule.scope is BudgetScope.CLIENT:
        return not REGISTRY.fits(rule.match)
    if rule.scope is BudgetScope.PROJECT:
        return is_no_folder(rule.match)
    if rule.scope is not BudgetScope.MODEL:
        return False
    listed = (each.id for each in rt.workspace.prices.models(as_datetime(rt.services.clock_us())))
    if any(applies_to_model(rule, model, means) for model in listed if not is_family(one_name(model))):
        return False
    for here in every_tenant(rt):
        with here.reading() as reader:
            if any(applies_to_model(rule, model, means) for model in reader.usage_models()):
                return False
    return True


# --- looser ----------------------------------------------------------------------------------------------------------
# What of the settings became looser between sessions of a project: named, since an agent can edit a file.


SESSIONS_LOOKED_AT = 50
SHOWN_MAX = 4
DAYS_US = 7 * 86_400_000_000
_TEXT_MAX = 120


@value(frozen=True, slots=True)
class LooserSettings:
    """What became looser, and when the first session opened with it; None where none has yet."""

    at_us: int | None
    changes: tuple[str, ...]

    @property
    def text(self) -> str:
        """The changes in a row; of many the first few."""
        more = f" and {len(self.changes) - SHOWN_MAX} more" if len(self.changes) > SHOWN_MAX else ""
        return "; ".join(self.changes[:SHOWN_MAX]) + more


@value(frozen=True, slots=True)
class _Bounds:
    """The limits on one thing, in its unit: the one that stops, and the one that only warns."""

    hard: int | None = None
    soft: int | None = None
    unit: str = "USD"

    @property
    def text(self) -> str:
        for mode, limit in (("hard", self.hard), ("soft", self.soft)):
            if limit is not None:
                return f"{mode} {format_amount(limit, self.unit)}"
        return "none"

    def beside(self, mode: BudgetMode, limit: int) -> _Bounds:
        """These with one more limit: of two that do the same the lower one counts."""
        if mode is BudgetMode.HARD:
            return replace(self, hard=limit if self.hard is None else min(self.hard, limit))
        return replace(self, soft=limit if self.soft is None else min(self.soft, limit))

    def loosened(self, after: _Bounds) -> str | None:
        """What became looser, in words. What stops is weighed first: no warning takes its place, at any amount.

        A warning that is gone or comes later is looser, too, but not where something stops now that did not before, or
        stops no later than the warning came.
        """
        if self.hard is not None and (after.hard is None or after.hard > self.hard):
            return f"{replace(self, soft=None).text} -> {after.text}"
        if self.soft is None or (after.soft is not None and after.soft <= self.soft):
            return None
        if after.hard is not None and (self.hard is None or after.hard <= self.soft):
            return None
        return f"{replace(self, hard=None).text} -> {replace(after, hard=None).text}"


@value(frozen=True, slots=True)
class _Held:
    """What a session is held to by the settings: budgets above it, its own, and the list of its prices."""

    rules: tuple[BudgetRule, ...]
    own: _Bounds | None
    prices: str | None


def looser_than_before(rt: Runtime, session: Session) -> LooserSettings | None:
    """What the settings of a session that has just opened leave out of those of the last one here."""
    with rt.reading() as reader:
        for before in _here(rt, reader):
            if before.session_id != session.session_id and before.client == session.client:
                changes = tuple(text for _, text in _changes(rt, reader, _held(reader, before), _held(reader, session)))
                return LooserSettings(session.started_us, changes) if changes else None
    return None


def recently_looser(rt: Runtime) -> list[LooserSettings]:
    """What became looser here in the last days, the newest first; first of all what no session has opened with yet.

    What has been tightened again since is none of it: a change is told for as long as it is looser than before.
    """
    found = []
    with rt.reading() as reader:
        later: dict[str, tuple[int | None, _Held]] = {}
        for session in _here(rt, reader):
            # The youngest come first: everything behind this one is older still.
            if session.started_us < rt.services.clock_us() - DAYS_US:
                break
            held = _held(reader, session)
            now = _now(rt, session, held)
            at_us, after = later.get(session.client) or (None, now)
            changed = [*_changes(rt, reader, held, after)]
            still = {what for what, _ in _changes(rt, reader, held, now)} if changed else set()
            if changes := tuple(text for what, text in changed if what in still):
                found.append(LooserSettings(at_us, changes))
            later[session.client] = (session.started_us, held)
    return found


def _here(rt: Runtime, reader: SessionReader) -> Iterator[Session]:
    """The last sessions of this project that lay in no other, the youngest first."""
    for session in reader.sessions(state=None, limit=SESSIONS_LOOKED_AT):
        if (
            session.project == rt.workspace.project
            and session.parent_session_id is None
            and session.opened_from is None
        ):
            yield session


def _held(reader: Reader, session: Session) -> _Held:
    own = None
    if FOUND_BY_HOOK in reader.links_found_by(session.session_id):  # an agent's own limit is no setting
        budget = reader.budget(session.session_id)
        if budget is not None and budget.rule_limit is not None:
            own = _Bounds(unit=budget.unit).beside(budget.mode, budget.rule_limit)
    return _Held(from_text(session.rules), own, session.prices)


def _now(rt: Runtime, session: Session, held: _Held) -> _Held:
    """What a session of the same client would be held to if it opened now."""
    place = rt.workspace.place_of(session.project or rt.workspace.folder)
    rules = rules_for(rt, client=session.client, also_client=session.also_client, place=place)
    own = _Bounds().beside(BudgetMode(rt.workspace.session_mode), rt.workspace.session_limit_nanos)
    return _Held(from_text(rules), None if held.own is None else own, rt.workspace.prices.list_id)


def _changes(rt: Runtime, reader: ProofReader, before: _Held, after: _Held) -> Iterator[tuple[str, str]]:
    """What became looser: which thing, and how, in words."""
    if before.own is not None and after.own is not None and (said := before.own.loosened(after.own)):
        yield "session", f"the budget of a session {said}"
    bounds, bounds_now = _bounds(before.rules), _bounds(after.rules)
    for name, (rule, each) in bounds.items():
        _, now_bound = bounds_now.get(name, (rule, _Bounds(unit=rule.unit)))
        if said := each.loosened(now_bound):
            yield name, f"{_name(rule)} {said}"
    # Sessions of older versions kept no list: what their prices were is not known, and so nothing is said to be
    # cheaper.
    if before.prices is None or after.prices in (None, before.prices):
        return
    prices = rt.workspace.prices
    stated = [reader.price_list(each) for each in (before.prices, str(after.prices))]
    was, is_now = (prices.of(None if text is None else PriceList.from_text(text)) for text in stated)
    is_now = is_now or (prices if after.prices == prices.list_id else None)
    if was is None or is_now is None:
        return
    for row in rows_that_lower(was, is_now, as_datetime(rt.services.clock_us())):
        text = cleaned(row, _TEXT_MAX)
        yield text, text


def _bounds(rules: tuple[BudgetRule, ...]) -> dict[str, tuple[BudgetRule, _Bounds]]:
    """The limits on each thing that rules limit, by a name of it that is the same for hard and soft ones."""
    found: dict[str, tuple[BudgetRule, _Bounds]] = {}
    for rule in rules:
        is_client = rule.scope is BudgetScope.CLIENT and rule.key is not None
        key = REGISTRY.names.meant(str(rule.key)) if is_client else rule.key
        name = replace(rule, mode=BudgetMode.HARD, key=key).budget_id("")
        first, bounds = found.get(name, (rule, _Bounds(unit=rule.unit)))
        found[name] = first, bounds.beside(rule.mode, rule.limit)
    return found


def _name(rule: BudgetRule) -> str:
    whose = "" if rule.scope is BudgetScope.GLOBAL else f" of {cleaned(str(rule.key), _TEXT_MAX)}"
    period = "" if rule.period == "never" else f" ({rule.period})"
    return f"the {rule.scope} budget{whose}{period}"
