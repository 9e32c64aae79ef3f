"""Which rules of the settings bind a session, when it opens and whenever its own workspace's settings are at hand."""

from __future__ import annotations

from dataclasses import replace

from tallygate.core.model import Session
from tallygate.core.places import Place
from tallygate.core.rules import Rule, Subject, bound, from_text, to_text
from tallygate.operations.runtime import Runtime


def rules_for(rt: Runtime, *, client: str, place: Place | None, inherited: str | None = None) -> str | None:
    """The rules that bind a session of a client at a place, as they are kept with it; those of its parent, too."""
    mine = bound(rt.rules, Subject(rt.tenant, client, rt.user, place))
    return to_text(_joined(mine, from_text(inherited)))


def rebound(rt: Runtime, session: Session) -> Session:
    """A session with the rules as its workspace's settings have them now.

    Where another workspace's settings are at hand, it keeps those it has. Inherited rules that this workspace does
    not have stay as they are.
    """
    if session.project != rt.project:
        return session
    return replace(
        session,
        rules=rules_for(rt, client=session.client, place=rt.place_of(session.project), inherited=session.rules),
    )


def _joined(mine: tuple[Rule, ...], others: tuple[Rule, ...]) -> list[Rule]:
    """Rules of two sources, each budget once; the first source's limit counts."""
    found = {rule.budget_id(""): rule for rule in others}
    tightest: dict[str, Rule] = {}
    for rule in mine:
        name = rule.budget_id("")
        if name not in tightest or rule.limit < tightest[name].limit:
            tightest[name] = rule  # a project may tighten what the user allows, not loosen it
    found |= tightest
    return [found[name] for name in sorted(found)]
