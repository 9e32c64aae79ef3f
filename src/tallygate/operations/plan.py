"""How much of clients' own plans is used, against the limits on that, and what is told beside transcripts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tallygate.clients.registry import REGISTRY
from tallygate.core.model import Session
from tallygate.core.places import meant
from tallygate.core.plan import PlanRule, PlanStanding, PlanWindow, standing_of, told_beside
from tallygate.core.words import client_name
from tallygate.ledger.port import UsageReader
from tallygate.operations.runtime import Runtime


def plan_now(rt: Runtime, reader: UsageReader, session: Session, at_us: int) -> tuple[PlanStanding, ...]:
    """How the limits on plans stand that bind a session's next step; nothing is looked up where there are none."""
    rules = [rule for rule in rt.workspace.plan if _binds(rt, rule, session)]
    if not rules:
        return ()
    told = reader.plan_windows()
    names = REGISTRY.names.all_of((session.client, session.also_client))
    bound = [(rule, name) for rule in rules for name in _clients_of(rule, names)]
    return tuple(standing_of(rule, name, windows_of(told, name), at_us) for rule, name in bound)


def plans_standing(
    rt: Runtime, reader: UsageReader, at_us: int, rules: Sequence[PlanRule] | None = None
) -> list[PlanStanding]:
    """How every limit on a plan stands here, or some stand: each for every client that it can bind."""
    told = reader.plan_windows()
    telling = [client.name for client in REGISTRY.clients.values() if client.tells_plan]
    return [
        standing_of(rule, name, windows_of(told, name), at_us)
        for rule in (rt.workspace.plan if rules is None else rules)
        for name in ([rule.client] if rule.client is not None else telling)
    ]


def windows_of(told: Iterable[PlanWindow], client: str) -> list[PlanWindow]:
    """What was told of one client's plan, by its name as people write it."""
    wanted = client_name(client)
    return [each for each in told if client_name(each.client) == wanted]


def _binds(rt: Runtime, rule: PlanRule, session: Session) -> bool:
    """Whether a limit is for work where a session's is done: one of a project's file holds in that alone."""
    if rule.within is None:
        return True
    folder = rt.workspace.project or rt.workspace.folder
    places = (rt.workspace.place_of(each) for each in (session.project, folder))
    return any(bool(meant(place, rule.within)) for place in places)


def _clients_of(rule: PlanRule, names: Sequence[str]) -> list[str]:
    """Whose plan a limit is on, of the names that a session's client has."""
    if rule.client is not None:
        return [name for name in (client_name(rule.client),) if name in names]
    return [name for name in names if (known := REGISTRY.clients.get(name)) is not None and known.tells_plan]


def keep_told(rt: Runtime, told: Sequence[PlanWindow]) -> None:
    """Keep what a client told of its plan where it is no transcript; nothing is written that is known already."""
    if not told:
        return
    with rt.reading() as reader:
        known = {each.kind: each for each in reader.plan_windows()}
    at_us = rt.services.clock_us()
    kept = [(told_beside(each, known.get(each.kind), at_us), known.get(each.kind)) for each in told]
    fresh = [each for each, before in kept if before is None or each.says_more_than(before)]
    if fresh:
        with rt.writing() as tx:
            for each in fresh:
                tx.save_plan(each)
