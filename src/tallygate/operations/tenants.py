"""Whose rows an id is found among: each tenant has its own sessions, budgets and journal in the one ledger."""

from __future__ import annotations

import re
from dataclasses import replace

from tallygate.core.errors import InvalidArgument, LedgerUnavailable
from tallygate.core.rules import Scope
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

    Budgets are counted in each tenant by itself. Where the settings limit more than sessions, a name that they do not
    know would be a way around every limit, so it is refused.
    """
    tenant = tenant_id(tenant)
    above = [rule for rule in rt.rules if rule.mode is BudgetMode.HARD and rule.scope is not Scope.SESSION]
    known = any(rule.scope is Scope.TENANT and rule.match in (None, tenant) for rule in above)
    if tenant != rt.tenant and above and not known:
        raise InvalidArgument(
            "tenant_id",
            f"The settings limit more than single sessions and have no budget for the tenant {shown(tenant)}.",
            hint='Leave tenant_id out, or let the user add a [[budget]] with scope = "tenant" '
            f'and match = "{tenant}" to config.toml.',
        )
    return in_tenant(rt, tenant)


def runtime_for_session(rt: Runtime, session_id: str) -> Runtime:
    """The program among the rows where a session is; its own where there is none, which then says so.

    A ledger that cannot be asked is met by the operation itself, which knows what a fault means.
    """
    tenant = rt.session_tenants.get(session_id)
    if tenant is None:
        try:
            with rt.ledger.reading(rt.tenant) as reader:
                found = reader.tenants_of_session(session_id)
        except LedgerUnavailable:
            return rt
        if not found:
            return rt
        if len(rt.session_tenants) >= SESSIONS_KEPT:
            rt.session_tenants.clear()
        tenant = rt.session_tenants[session_id] = rt.tenant if rt.tenant in found else found[0]
    return in_tenant(rt, tenant)


def runtime_for_call(rt: Runtime, call_id: str) -> Runtime:
    """The program among the rows where a call is; its own where there is none, which then says so."""
    with rt.ledger.reading(rt.tenant) as reader:
        found = reader.tenants_of_call(call_id)
    return rt if not found or rt.tenant in found else in_tenant(rt, found[0])


def every_tenant(rt: Runtime) -> list[Runtime]:
    """The program among the rows of each tenant that has any."""
    with rt.ledger.reading(rt.tenant) as reader:
        found = reader.tenants()
    return [rt, *(in_tenant(rt, tenant) for tenant in found if tenant != rt.tenant)]
