"""What is on record of a response before anybody says whom it was made for, held against the step at hand.

A client's telemetry may tell what a response cost some fifty milliseconds before its transcript says which server,
skill or folder it was for. A step that is decided in between would find a name's budget without that response, and its
limit would be passed by one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from tallygate.core.attribution import MadeFor, Served, label
from tallygate.core.gate.rules import NAMED, BudgetScope, SpendFacts, within_of
from tallygate.core.model import Budget, Session
from tallygate.core.usage import ResponseKind
from tallygate.core.words import ActorType
from tallygate.ledger.port import Reader, StoredUsage
from tallygate.operations.runtime import Runtime
from tallygate.operations.windows import Facts, counts

# As many as agents may be at work at once, and a few more.
LOOKED_AT = 32
_TOOL = "?"


def told_alone(recent: Iterable[StoredUsage]) -> list[StoredUsage]:
    """Of each agent its last response, where only telemetry tells of that yet; `recent` has the latest first.

    Only of the last one the transcript can still be on its way: an agent goes on after it is written down. So what a
    transcript never has counts for a name once, and not with everything before it.
    """
    found: dict[str | None, StoredUsage] = {}
    for each in recent:
        if each.row.rule.kind is not ResponseKind.AUXILIARY:
            found.setdefault(each.row.agent_id, each)
    return [each for each in found.values() if each.row.is_told]


def is_said_late(budget: Budget, *, elsewhere: bool) -> bool:
    """Whether a transcript alone says what counts in a budget: of a name, or of a folder that is not the session's."""
    if budget.scope in NAMED:
        return True
    return elsewhere and (budget.scope == BudgetScope.PROJECT or within_of(budget.budget_id) is not None)


def unsaid(
    rt: Runtime, reader: Reader, session: Session, budgets: Sequence[Budget], *, elsewhere: bool
) -> dict[str, int]:
    """What budgets of the step at hand do not count yet of responses that may have been made for the same.

    The last response of the agent that takes the step counts whole for what the step carries: its tool was asked for by
    that response. Those of other agents count for the kind that they are known to be of, and for nothing else. As soon
    as the transcript says more, that holds instead. `elsewhere` says that the step may be taken in another folder than
    the session's.
    """
    asked = [each for each in budgets if is_said_late(each, elsewhere=elsewhere)]
    if not asked:
        return {}
    links = reader.links_of(session.session_id)
    recent = [stored for link in links for stored in reader.recent_usage(*link, LOOKED_AT)]
    told = told_alone(recent)
    if not told:
        return {}
    facts, kinds = Facts(reader, rt.workspace.place_of), _kinds(reader, session.session_id, recent, rt.made_for)
    place = rt.workspace.place_of(rt.workspace.project or rt.workspace.folder)
    found: dict[str, int] = {}
    for stored in told:
        known = facts.of_usage(stored)
        agent = stored.row.agent_id
        kind = None if agent is None else kinds.get(agent)
        most = replace(known, agents=() if kind is None else (kind,))
        if agent == rt.made_for.agent_id:
            most = _as_the_step(most, rt.made_for, () if place is None else place.around)
        for budget in asked:
            if counts(budget, most) and not counts(budget, known):
                found[budget.budget_id] = found.get(budget.budget_id, 0) + stored.amount.of(budget)
    return found


def _as_the_step(known: SpendFacts, made_for: MadeFor, here: tuple[str, ...]) -> SpendFacts:
    served = tuple(Served(server, _TOOL) for server in made_for.servers)
    return replace(known, folders=(*known.folders, *here), skills=made_for.skills, served=served)


def _kinds(reader: Reader, session_id: str, recent: Iterable[StoredUsage], made_for: MadeFor) -> dict[str, str]:
    """The kinds of agents, by their ids: as their responses before say, or the hooks by which they began."""
    found: dict[str, str] = {}
    for call in reader.recent_calls(session_id, 2**62, LOOKED_AT):
        kind = label(call.actor_name) if call.actor_type is ActorType.SUBAGENT else None
        if call.actor_id is not None and kind is not None:
            found[call.actor_id] = kind
    for stored in recent:
        if stored.row.agent_id is not None and stored.row.agent_type is not None:
            found[stored.row.agent_id] = stored.row.agent_type
    if made_for.agent_id is not None and made_for.kind is not None:
        found[made_for.agent_id] = made_for.kind
    return found
