"""Whose rows an id is found among: each tenant has its own sessions, budgets and journal in the one ledger."""

from __future__ import annotations

import re
from dataclasses import replace

from tallygate.core.errors import InvalidArgument, LedgerUnavailable
from tallygate.core.gate.rules import Scope
from tallygate.core.model import DEFAULT_TENANT
from tallygate.core.text import shown
from tallygate.core.words import BudgetMode
from tallygate.operations.runtime import Runtime

SESSIONS_KEPT = 10_000
_TENANT = re.compile(r"[A-Za-z0-9._-]{1,100}")


def tenant_id(text: str) -> str:
    """A tenant's id from outside, checked."""
    if not _TENANT.fullmatch(text):
        raise InvalidArgument(
            "tenant_id",
            f"tenant_id {shown(text)} is none.",
            hint="It takes 1 to 100 letters, digits, dots, dashes and underscores.",
        )
    return text


def in_tenant(rt: Runtime, tenant: str) -> Runtime:
    """The program among the rows of a tenant."""
    if tenant == rt.tenant:
        return rt
    return replace(rt, tenant=tenant, known_prices=rt.tenant_prices.setdefault(tenant, set()))


def opened_in(rt: Runtime, tenant: str) -> Runtime:
    """The program among the rows of a tenant that a caller has named for a new session.

    Where the settings say whose the work is, a caller names no other. Budgets are counted in each tenant by itself:
    where the settings limit more than sessions, a name that they do not know would be a way around every limit, so it
    is refused.
    """
    tenant = tenant_id(tenant)
    if tenant == rt.tenant:
        return rt
    if rt.tenant != DEFAULT_TENANT:
        raise InvalidArgument(
            "tenant_id",
            f"The work here is that of the tenant {shown(rt.tenant)}, as the settings say; "
            f"tenant_id {shown(tenant)} is another.",
            hint="Leave tenant_id out.",
        )
    above = [rule for rule in rt.rules if rule.mode is BudgetMode.HARD and rule.scope is not Scope.SESSION]
    if above and not any(rule.scope is Scope.TENANT and rule.match in (None, tenant) for rule in above):
        raise InvalidArgument(
            "tenant_id",
            f"The settings limit more than single sessions and have no budget for the tenant {shown(tenant)}.",
            hint='Leave tenant_id out, or let the user add a [[budget]] with scope = "tenant" '
            f'and match = "{tenant}" to config.toml.',
        )
    return _away(rt, tenant)


def runtime_for_session(rt: Runtime, session_id: str) -> Runtime:
    """The program among the rows where a session is that may be named here; its own where there is none.

    That is a session of the program's own tenant, or one that was opened from it for another. The operation then says
    of any other id that it names nothing, whoever has a session of that id. A ledger that cannot be asked is met by
    the operation itself, which knows what a fault means.
    """
    tenant = rt.session_tenants.get((rt.tenant, session_id))
    if tenant is None:
        try:
            with rt.ledger.reading(rt.tenant) as reader:
                tenant = reader.reached_session(session_id)
        except LedgerUnavailable:
            return rt
        if tenant is None:
            return rt
        if len(rt.session_tenants) >= SESSIONS_KEPT:
            rt.session_tenants.clear()
        rt.session_tenants[rt.tenant, session_id] = tenant
    return _away(rt, tenant)


def runtime_for_call(rt: Runtime, call_id: str) -> Runtime:
    """The program among the rows where a call is that may be named here; its own where there is none."""
    with rt.ledger.reading(rt.tenant) as reader:
        tenant = reader.reached_call(call_id)
    return rt if tenant is None else _away(rt, tenant)


def _away(rt: Runtime, tenant: str) -> Runtime:
    return rt if tenant == rt.tenant else replace(in_tenant(rt, tenant), home=rt.tenant)


def wherever(rt: Runtime, session_id: str) -> Runtime:
    """The program among the rows of whatever tenant has a session, for the user alone, who may look at all of them."""
    with rt.ledger.reading(rt.tenant) as reader:
        found = reader.tenants_of_session(session_id)
    if not found or rt.tenant in found:
        return rt
    if len(found) > 1:
        raise InvalidArgument(
            "tenant",
            f"{len(found)} tenants have a session {shown(session_id)}: {', '.join(found)}.",
            hint="Say which: --tenant ID where the command takes it, else TALLYGATE_TENANT=ID before the command.",
        )
    return in_tenant(rt, found[0])


def every_tenant(rt: Runtime) -> list[Runtime]:
    """The program among the rows of each tenant that has any."""
    with rt.ledger.reading(rt.tenant) as reader:
        found = reader.tenants()
    return [rt, *(in_tenant(rt, tenant) for tenant in found if tenant != rt.tenant)]
