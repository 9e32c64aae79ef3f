"""Which rules of the settings bind a session, when it opens and at each of its steps, and in which budgets."""

from __future__ import annotations

from dataclasses import replace

from tallygate.core.gate.rules import Rule, Scope, Subject, bound, from_text, may_limit, rules_of, to_text, within_of
from tallygate.core.model import Budget, Session
from tallygate.core.places import Place
from tallygate.core.values import value
from tallygate.ledger.port import Reader
from tallygate.operations.binding import Binding, binding, relimited, window_id
from tallygate.operations.lock_book import bounds_now
from tallygate.operations.runtime import Runtime
from tallygate.operations.windows import is_head


def rules_for(
    rt: Runtime, *, client: str, place: Place | None, also_client: str | None = None, inherited: str | None = None
) -> str | None:
    """The rules that bind a session of a client at a place, as they are kept with it; those of its parent, too."""
    mine = bound(rt.rules, Subject(rt.tenant, client, rt.user, place, also_client))
    return to_text(_joined(mine, from_text(inherited)))


def rebound(rt: Runtime, session: Session) -> Session:
    """A session with the rules it was opened with, and with what its workspace's settings have tightened since.

    Settings that became looser count for sessions that open after it: whoever could change them while an agent works
    might be the agent.
    """
    if session.project != rt.project:
        return session
    place = rt.place_of(session.project)
    rules = rules_for(rt, client=session.client, also_client=session.also_client, place=place, inherited=session.rules)
    return session if rules == session.rules else replace(session, rules=rules)


@value(frozen=True, slots=True)
class Bound:
    """A session as its workspace's settings have it by now, with every budget that its next step must pass.

    `rules_before` are those that it was kept with. `visited` are the budgets that only the place of this step brings.
    """

    session: Session
    to: Binding
    rules_before: str | None
    visited: frozenset[str] = frozenset()

    @property
    def budgets(self) -> tuple[Budget, ...]:
        """The budgets as this session may spend them."""
        return self.to.seen(self.to.budgets)

    def parted(self, *, done: bool) -> tuple[tuple[Budget, ...], tuple[Budget, ...]]:
        """The budgets that a step is counted in, and those that are only asked.

        A step that is `done` counts where its session does: of the project that it stood in its responses tell.
        """
        if not done or not self.visited:
            return self.to.budgets, ()
        asked = tuple(budget for budget in self.to.budgets if budget.budget_id in self.visited)
        return tuple(budget for budget in self.to.budgets if budget.budget_id not in self.visited), asked


def bound_now(
    rt: Runtime,
    reader: Reader,
    session: Session,
    own: tuple[Budget, ...],
    model: str,
    *,
    at_us: int,
    here: bool = True,
) -> Bound:
    """The budgets that bind a session's step of a model at a time: what the gate asks, and what everybody is told.

    `own` are those of the session itself. `here` is where the step stands; who looks at a session from anywhere else
    does not.
    """
    now = rebound(rt, session)
    asked = visiting(rt, now) if here else now
    limits = current_limits(rt, now)
    bounds = bounds_now(rt, reader)
    found = binding(reader, asked, own, model, at_us, limits=limits, place_of=rt.place_of, bounds=bounds)
    visited = frozenset[str]()
    if asked is not now:
        mine = {rule.budget_id("") for rule in rules_of(now)}
        visited = frozenset(window_id(rule, at_us) for rule in rules_of(asked) if rule.budget_id("") not in mine)
    return Bound(now, found, session.rules, visited)


def limited_now(rt: Runtime, budget: Budget, at_us: int) -> Budget:
    """A budget above the session with the limit that the gate would apply to its next step, by the settings at hand.

    A window keeps the limit it had until a step is asked for.
    """
    ended = budget.resets_us is not None and budget.resets_us <= at_us and not is_head(budget)
    if budget.rule_limit is None or budget.scope == Scope.SESSION.value or ended:
        return budget
    limits = [rule.limit for rule in rt.rules if _made_by(rule, budget)]
    return relimited(budget, min(limits)) if limits else budget


def _made_by(rule: Rule, budget: Budget) -> bool:
    kind = (rule.scope.value, rule.period, rule.unit, rule.mode, rule.within)
    if kind != (budget.scope, budget.period, budget.unit, budget.mode, within_of(budget.budget_id)):
        return False
    return may_limit(rule, budget.scope_key)


def visiting(rt: Runtime, session: Session) -> Session:
    """A session for one step that stands in another project than its own: the budgets of that project bind it, too.

    What the step spends is counted there, so it has to be asked there. They bind this step alone.
    """
    there = rt.project or rt.folder
    if there is None or session.project == there:
        return session
    mine = bound(rt.rules, _subject(rt, session, there))
    projects = tuple(rule for rule in mine if rule.scope is Scope.PROJECT or rule.within is not None)
    return replace(session, rules=to_text(_joined(projects, from_text(session.rules)))) if projects else session


def current_limits(rt: Runtime, session: Session) -> dict[str, int] | None:
    """The limits that the settings have now, by the name of a rule's budget; None where those of others are at hand."""
    if session.project != rt.project:
        return None
    mine = bound(rt.rules, _subject(rt, session, session.project))
    return {rule.budget_id(""): rule.limit for rule in _joined(mine, ())}


def _subject(rt: Runtime, session: Session, folder: str | None) -> Subject:
    return Subject(rt.tenant, session.client, rt.user, rt.place_of(folder), session.also_client)


def _joined(mine: tuple[Rule, ...], others: tuple[Rule, ...]) -> list[Rule]:
    """Rules of two sources, each budget once and with the tighter of its limits."""
    found = {rule.budget_id(""): rule for rule in others}
    for rule in mine:
        name = rule.budget_id("")
        before = found.get(name)
        if before is None or rule.limit <= before.limit:
            found[name] = rule
        else:
            found[name] = replace(rule, limit=before.limit)
    return [found[name] for name in sorted(found)]
