"""How hard limits on agents, skills, MCP servers and plans are in the clients here, for `doctor` and `budget list`."""

from __future__ import annotations

from collections.abc import Iterator

from tallygate.clients.client import LIMIT_FACTS, Client
from tallygate.clients.registry import REGISTRY
from tallygate.core.gate.rules import BudgetScope, scope_words
from tallygate.core.values import value
from tallygate.core.words import BudgetMode
from tallygate.entrypoints.cli.check import Check, CheckState
from tallygate.entrypoints.cli.init import surroundings
from tallygate.settings import Settings


@value(frozen=True, slots=True)
class Binding:
    """What becomes of limits of one scope in the clients here; `loose` are those in which a hard one stops nothing."""

    scope: BudgetScope
    clients: tuple[Client, ...]
    loose: tuple[Client, ...]

    @property
    def name(self) -> str:
        """What it is about."""
        return f"limits on {scope_words(self.scope)}s"

    def told(self) -> Iterator[str]:
        """What holds in each client."""
        for client in self.clients:
            said = client.limits.of(self.scope)
            facts = "; ".join(f"{asked}: {what}" for asked, what in said)
            if all(what == "no" for _, what in said):
                facts = "not counted, and nothing is stopped" if len(said) > 1 else f"{said[0][0]}: no"
            yield f"{client.title}: {facts}"


def bindings(settings: Settings) -> list[Binding]:
    """The scopes of which the settings have limits, and how hard those are in the clients that are on this machine."""
    modes: dict[BudgetScope, set[BudgetMode]] = {}
    for rule in settings.budgets:
        modes.setdefault(rule.scope, set()).add(rule.mode)
    for plan in settings.plan:
        modes.setdefault(BudgetScope.PLAN, set()).add(plan.mode)
    named, where = {plan.client for plan in settings.plan}, surroundings(settings)
    hooked = [each for each in REGISTRY.clients.values() if each.has_hooks and each.is_here(where)]
    found = []
    for scope in map(BudgetScope, LIMIT_FACTS):
        if scope not in modes:
            continue
        # A limit on plans that names no client is on those that tell of one.
        meant = [
            each
            for each in hooked
            if scope is not BudgetScope.PLAN or each.name in named or (None in named and each.tells_plan)
        ]
        is_hard = BudgetMode.HARD in modes[scope]
        loose = tuple(each for each in meant if is_hard and not each.limits.stops(scope))
        found.append(Binding(scope, tuple(meant), loose))
    return found


def of_bindings(settings: Settings) -> Iterator[Check]:
    """How hard such limits are here; a client in which a hard one stops nothing is pointed out."""
    for each in bindings(settings):
        told = ". ".join(each.told()) or "none of the clients with hooks is here"
        if not each.loose:
            yield Check(each.name, CheckState.OK, told)
            continue
        names = ", ".join(client.title for client in each.loose)
        to_do = f"What stops {names} is a limit on the client: tallygate budget add AMOUNT --per day --client "
        yield Check(each.name, CheckState.WARN, told, to_do + each.loose[0].name)
