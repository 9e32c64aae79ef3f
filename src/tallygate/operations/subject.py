"""Which rules of the settings bind a session, when it opens and whenever its own workspace's settings are at hand."""

from __future__ import annotations

from dataclasses import replace

from tallygate.core.model import Session
from tallygate.core.places import Place
from tallygate.core.rules import Rule, Scope, Subject, bound, from_text, to_text
from tallygate.operations.runtime import Runtime


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
