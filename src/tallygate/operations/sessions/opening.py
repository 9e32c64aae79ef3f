"""Open a session with its budget: for an agent that starts one, by an id of its choice, or for a client's hook."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path

from tallygate.clients.registry import REGISTRY
from tallygate.core.errors import InvalidArgument, NotFound, present, same_or_conflict, session_ended
from tallygate.core.gate.policy import own_budget
from tallygate.core.gate.rules import BudgetScope
from tallygate.core.hooks import FOUND_BY_HOOK, HookEvent, SessionOrigin
from tallygate.core.model import Budget, ModeCoverage, Session, in_usd
from tallygate.core.moments import as_datetime
from tallygate.core.money import COUNTED, NANOS_PER_UNIT, exact_text
from tallygate.core.text import in_digits, shown
from tallygate.core.usage import UNKNOWN_MODEL
from tallygate.core.values import value
from tallygate.core.words import AccountingMode, BudgetMode, SessionState, UnknownPrice, UsageChannel
from tallygate.ledger import rows
from tallygate.ledger.port import Change, Insert, SessionReader, Tx, Value
from tallygate.operations.budgets.applicable import rules_for, session_now
from tallygate.operations.budgets.figures import is_enforced
from tallygate.operations.gate.record import ID_MAX
from tallygate.operations.runtime import (
    Runtime,
    kept_summary,
    named_before,
    opened_in,
    prices_kept,
    remember,
    scope_here,
)
from tallygate.operations.usage.ingest import link_session
from tallygate.operations.worktrees import met_at_work
from tallygate.pricing.exchange import Rate

# --- a session -------------------------------------------------------------------------------------------------------
# Open a session with its budget, end it with its run-log line.


@value(frozen=True, slots=True)
class Opening:
    """What a session is opened with; what is None takes its default: the channel's coverage, a fresh id."""

    limit_nanos: int
    model: str
    client: str = "unknown"
    currency: str = "USD"
    usd_nanos: int = NANOS_PER_UNIT
    rate_day: str | None = None
    task_summary: str | None = None
    parent_session_id: str | None = None
    accounting_mode: AccountingMode = AccountingMode.ESTIMATE_ONLY
    usage_channel: UsageChannel = UsageChannel.NONE
    ask_capable: bool | None = None
    plan_capable: bool | None = None
    agent_capable: bool | None = None
    unknown_price: UnknownPrice = UnknownPrice.WARN_ONLY
    session_id: str | None = None
    also_client: str | None = None


@value(frozen=True, slots=True)
class OpenedSession:
    """A new session, with what there is to say about it at once, or the one that has the chosen id already."""

    session: Session
    budgets: tuple[Budget, ...]
    tighter: tuple[Budget, ...]
    pricing_warning: str | None
    is_new: bool = True


def start_session(rt: Runtime, opening: Opening) -> OpenedSession:
    """Open a session: its own budget, and those of its ancestors, which its calls also spend.

    A session that has the chosen id already is given back as it is: the caller says what that means.
    """
    rt.follower.catch_up()
    at = as_datetime(rt.services.clock_us())
    session_id = opening.session_id or new_session_id(rt, opening.client)
    price = rt.workspace.prices.quote(opening.model, at, replace(scope_here(rt), session=session_id))
    with rt.writing() as tx:
        before = None if opening.session_id is None else named_before(rt, tx, session_id)
        if before is not None:
            return OpenedSession(*before, (), None, is_new=False)
        parent, inherited = _parent(tx, opening.parent_session_id)
        begun = _begin(rt, tx, opening, session_id, parent=parent, inherited=inherited, mode=rt.workspace.default_mode)
        session, own = begun.session, present(begun.own, "a session that is asked for has a budget of its own")
        every = session_now(rt, tx, session, begun.budgets, session.model, at_us=tx.at_us).budgets
    remember(rt, session)
    # Of two budgets one of which counts tokens or calls nobody can tell which leaves less: it is named.
    tighter = tuple(
        other
        for other in every
        if other is not own
        and other.mode is BudgetMode.HARD
        and (other.unit in COUNTED or own.unit in COUNTED or in_usd(other.available, other) < in_usd(own.limit, own))
    )
    return OpenedSession(session, every, tighter, price.warning)


@value(frozen=True, slots=True)
class _Begun:
    """A session that was just written, its own budget, and every budget of sessions that it spends."""

    session: Session
    own: Budget | None
    budgets: tuple[Budget, ...]


def _begin(
    rt: Runtime,
    tx: Tx,
    opening: Opening,
    session_id: str,
    *,
    parent: Session | None,
    inherited: Sequence[Budget],
    mode: str | None,
    beside: Sequence[Change] = (),
    note: dict[str, Value] | None = None,
) -> _Begun:
    """The one way in which a session begins: its row, its budgets and what it is tied to, in one event.

    It spends the budgets that it has inherited beside its own. Without a `mode` it has none of its own: it goes on
    with those of its parent.
    """
    session = new_session(rt, opening, session_id, tx.at_us, parent)
    own = None if mode is None else own_new_budget(session, opening.limit_nanos, BudgetMode(mode))
    mine = () if own is None else (own, *policy_budgets(rt, session, own))
    budgets = tuple(sorted((*mine, *inherited), key=lambda budget: budget.budget_id))
    kept = [*prices_kept(rt, tx), *met_at_work(rt, tx)]
    changes = [*kept, *opening_changes(session, mine, budgets), *beside]
    tx.append("session.started", changes, by=rt.by, note=note)
    return _Begun(session, own, budgets)


def new_session_id(rt: Runtime, client: str) -> str:
    """A fresh session id that tells the client and the day."""
    day = f"{as_datetime(rt.services.clock_us()):%Y-%m-%d}"
    return f"session_{client_slug(client)}_{day}_{in_digits(rt.services.new_token(8))}"


def own_new_budget(session: Session, limit_nanos: int, mode: BudgetMode) -> Budget:
    """The budget a session is opened with."""
    return Budget(
        tenant=session.tenant,
        budget_id=session.session_id,
        scope="session",
        scope_key=session.session_id,
        unit=session.currency,
        mode=mode,
        limit=limit_nanos,
        touched_us=session.started_us,
        usd_nanos=session.usd_nanos,
        rate_day=session.rate_day,
        rule_limit=limit_nanos,
    )


def policy_budgets(rt: Runtime, session: Session, own: Budget) -> list[Budget]:
    """The budgets that the settings give every session beside its own: in other units, or tighter than it asks for."""
    found = []
    for rule in rt.workspace.rules:
        if rule.scope is not BudgetScope.SESSION:
            continue
        # A warning at less stands for no stop: a soft budget of its own leaves a higher hard one in force.
        stops = rule.mode is BudgetMode.HARD and own.mode is BudgetMode.SOFT
        if rule.unit == own.unit and rule.limit >= own.limit and not stops:
            continue
        name = f"{session.session_id}:{rule.unit}" + (":soft" if rule.mode is BudgetMode.SOFT else "")
        found.append(
            replace(
                own,
                budget_id=name,
                unit=rule.unit,
                mode=rule.mode,
                limit=rule.limit,
                usd_nanos=rule.usd_nanos,
                rate_day=rule.rate_day,
                rule_limit=None,
            )
        )
    return list({budget.budget_id: budget for budget in found}.values())


def opening_changes(session: Session, new: Sequence[Budget], budgets: tuple[Budget, ...]) -> list[Change]:
    """What opening a session writes: its row, its new budgets, and every budget of sessions that it spends."""
    changes: list[Change] = [Insert("session", {k: v for k, v in rows.from_session(session).items() if v is not None})]
    changes += [Insert("budget", rows.from_budget(b)) for b in new]
    for budget in budgets:
        row: dict[str, Value] = {"session_id": session.session_id, "budget_id": budget.budget_id}
        changes.append(Insert("session_budget", row))
    return changes


def client_slug(client: str) -> str:
    """The client's name as it may stand in a session id."""
    slug = re.sub(r"[^a-z0-9.-]+", "-", client.lower()).strip("-.")[:40]
    return slug or "unknown"


def _parent(tx: SessionReader, parent_session_id: str | None) -> tuple[Session | None, tuple[Budget, ...]]:
    """A session's parent with the budgets of it and its ancestors."""
    if parent_session_id is None:
        return None, ()
    found = tx.session_with_budgets(parent_session_id)
    if found is None:
        raise NotFound(
            f"No session {parent_session_id!r} is in the ledger, so it cannot be a parent.",
            hint="Pass the session_id of the parent's l6e_run_start, or leave parent_session_id out.",
            code="unknown_parent",
        )
    return found


def new_session(rt: Runtime, opening: Opening, session_id: str, at_us: int, parent: Session | None = None) -> Session:
    """An open session as it is asked for."""
    default = ModeCoverage.default(opening.accounting_mode, opening.usage_channel)
    given = (opening.ask_capable, opening.plan_capable, opening.agent_capable)
    ask, plan, agent = (
        chosen if chosen is not None else fallback
        for chosen, fallback in zip(given, (default.ask, default.plan, default.agent), strict=True)
    )
    return Session(
        tenant=rt.tenant,
        session_id=session_id,
        client=opening.client,
        model=opening.model,
        state=SessionState.OPEN,
        accounting_mode=opening.accounting_mode,
        usage_channel=opening.usage_channel,
        coverage=ModeCoverage(ask=ask, plan=plan, agent=agent),
        unknown_price=opening.unknown_price,
        currency=opening.currency,
        started_us=at_us,
        parent_session_id=opening.parent_session_id,
        task_summary=kept_summary(rt, opening.task_summary),
        project=rt.workspace.project,
        run_log=str(rt.workspace.run_log_path),
        server_id=rt.server_id,
        usd_nanos=opening.usd_nanos,
        rate_day=opening.rate_day,
        opened_from=rt.home,
        also_client=opening.also_client,
        prices=rt.workspace.prices.list_id if parent is None or parent.prices is None else parent.prices,
        rules=rules_for(
            rt,
            client=opening.client,
            also_client=opening.also_client,
            place=rt.workspace.place_of(rt.workspace.project or rt.workspace.folder),
            inherited=None if parent is None else parent.rules,
        ),
    )


# --- a client's session ----------------------------------------------------------------------------------------------
# Whose budget a client's session spends: the session that was opened for it, one that opens now, or none any more.


# Sessions open at one time; more are not looked through for the few that a server has.
OPEN_LOOKED_AT = 1000


@value(frozen=True, slots=True)
class ClientBudget:
    """The session a client's session spends; `continues` names the one whose budget it goes on with."""

    session: Session
    opened: bool = False
    continues: str | None = None


def session_for_client(rt: Runtime, event: HookEvent) -> ClientBudget:
    """The open session of a client's session, opened from the policy where there is none.

    A client's session that is taken up again goes on with the budget it had: a new session spends it, so that
    neither ending nor resuming makes a budget fresh.
    """
    found = open_session_of(rt, event.client, event.client_session)
    if found is not None:
        return ClientBudget(found)
    with rt.writing() as tx:
        linked = tx.sessions_linked(event.client, event.client_session)
        found = _innermost(linked)
        return ClientBudget(found) if found is not None else _opened(rt, tx, event, linked)


def open_session_of(rt: Runtime, client: str, client_session: str) -> Session | None:
    """The innermost open session of a client's session, if it has one."""
    with rt.reading() as reader:
        return innermost_open(reader, client, client_session)


def innermost_open(reader: SessionReader, client: str, client_session: str) -> Session | None:
    """The same, in a reading that is under way."""
    return _innermost(reader.sessions_linked(client, client_session))


def start_within(
    rt: Runtime, opening: Opening, tool_use_id: str | None = None, client_session: str | None = None
) -> OpenedSession:
    """Open a session that an agent asks for, inside the one that hooks opened for its client, if there is one.

    Whose agent it is comes from the hook that saw its tool call, from what the client says with the call, or from
    this server having opened one session only. The new session then spends the budget of both, and the client's
    responses count into it. What clients write down is counted among the program's own rows, so a session that lies
    elsewhere is not tied to them.
    """
    if rt.home is not None:
        return start_session(rt, opening)
    owner = _owner(rt, opening.client, tool_use_id, client_session)
    around = None if owner is None else open_session_of(rt, *owner)
    if around is not None and opening.parent_session_id is None:
        opening = replace(opening, parent_session_id=around.session_id)
    opened = start_session(rt, opening)
    if owner is not None:
        link_session(rt, *owner, opened.session.session_id)
    return opened


def _owner(rt: Runtime, client: str, tool_use_id: str | None, client_session: str | None) -> tuple[str, str] | None:
    if tool_use_id is not None and tool_use_id in rt.caches.tool_owners:
        return rt.caches.tool_owners[tool_use_id]
    its = None if client_session is None else REGISTRY.of_family(client)
    if client_session is not None and its is not None and its.tells_session_in_meta:
        return (its.stored_as, client_session)
    if rt.server_id is None:
        return None
    with rt.reading() as reader:
        found: set[tuple[str, str]] = set()
        for session in reader.sessions(state="open", limit=OPEN_LOOKED_AT):
            if session.server_id == rt.server_id and FOUND_BY_HOOK in reader.links_found_by(session.session_id):
                found.update(reader.links_of(session.session_id))
    return found.pop() if len(found) == 1 else None


def _innermost(linked: Sequence[Session]) -> Session | None:
    """The session that was opened last: it lies inside the others and spends their budgets too."""
    still_open = [session for session in linked if session.is_open]
    return still_open[-1] if still_open else None


def _opened(rt: Runtime, tx: Tx, event: HookEvent, linked: Sequence[Session]) -> ClientBudget:
    client = event.client.replace("_", "-")
    before = linked[0] if linked else None  # what came later lay inside it, or went on with its budget
    parent = _around(tx, event) if before is None else before
    opening = Opening(
        limit_nanos=rt.workspace.session_limit_nanos,
        model=event.model or UNKNOWN_MODEL,
        client=client,
        parent_session_id=None if parent is None else parent.session_id,
        accounting_mode=AccountingMode.EXACT_OPTIONAL,
        ask_capable=True,
        plan_capable=True,
        agent_capable=True,
    )
    session_id = new_session_id(rt, client)
    begun = _seen_whole(rt, tx, event) and before is None and not tx.recent_usage(event.client, event.client_session, 1)
    link: dict[str, Value] = {
        "client": event.client,
        "client_session": event.client_session,
        "session_id": session_id,
        "found_by": FOUND_BY_HOOK,
        **({"begun": 1} if begun else {}),
    }
    session = _begin(
        rt,
        tx,
        opening,
        session_id,
        parent=parent,
        inherited=() if parent is None else tx.budgets_of(parent.session_id),
        mode=rt.workspace.session_mode if before is None else None,
        beside=[Insert("client_session", link)],
        note={"hook": event.name},
    ).session
    return ClientBudget(session, opened=True, continues=None if before is None else before.session_id)


def _around(tx: SessionReader, event: HookEvent) -> Session | None:
    """The session of the client that this one was started in, by an agent in a shell: it spends that one's budgets."""
    if not event.inside:
        return None
    found = [s for s in tx.sessions(state="open", limit=OPEN_LOOKED_AT) if s.server_id in event.inside]
    return next((session for session in found if is_enforced(tx, session)), None)


def _seen_whole(rt: Runtime, tx: Tx, event: HookEvent) -> bool:
    """Whether all that a client's session wrote is read as its session opens; kept of its files, for what comes later.

    One that is taken up again in a file which is not there yet may begin it with a copy of what was before.
    """
    transcript = None if event.transcript is None else Path(event.transcript)
    paths = rt.follower.read_whole(event.client, transcript, event.client_session)
    goes_on = event.origin in (SessionOrigin.RESUME, SessionOrigin.FORK, SessionOrigin.COMPACT)
    if paths is None or (goes_on and any(tx.position(path) is None for path in paths)):
        return False
    for path in paths:
        tx.save_whole(path, event.client)
    return not goes_on


# --- spend -----------------------------------------------------------------------------------------------------------
# Open a session with a chosen id, and book steps that were made without asking before.


@value(frozen=True, slots=True)
class BudgetWanted:
    """A session as an agent asks for it; `limit` is in nano-units of the currency."""

    limit: int
    currency: str = "USD"
    session_id: str | None = None
    tenant: str | None = None
    description: str | None = None
    client: str = "unknown"
    also_client: str | None = None


@value(frozen=True, slots=True)
class BudgetStarted:
    """The session, what its own budget's limit is now, and the rate that its costs are converted at."""

    session: Session
    limit: int
    exchange: str


def start_budget(
    rt: Runtime, wanted: BudgetWanted, tool_use_id: str | None = None, client_session: str | None = None
) -> BudgetStarted:
    """Open a session with an id of the caller's choice, or a fresh one.

    The same wish again finds the same session as it is by now; nothing is reset. Raises `Conflict` where the id is
    that of a session with other fields, naming the first, or of one that has ended.
    """
    if (name := wanted.session_id) is not None and (
        not 1 <= len(name) <= ID_MAX or not name.isprintable() or ":" in name
    ):
        # One with a colon could be taken for that of a budget of the settings.
        hint = f"It takes 1 to {ID_MAX} printable characters without a colon; left out, a fresh one is made."
        raise InvalidArgument("session_id", f"session_id {shown(name)} is none.", hint=hint)
    if wanted.tenant is not None:
        rt = opened_in(rt, wanted.tenant)
    rate = rt.workspace.exchange.rate(wanted.currency, as_datetime(rt.services.clock_us()))
    opened = None
    if wanted.session_id is not None:
        rt.prove()  # a session that is found again is work that goes on
        with rt.reading() as reader:
            before = named_before(rt, reader, wanted.session_id)
        opened = None if before is None else OpenedSession(*before, (), None, is_new=False)
    if opened is None:
        opening = Opening(
            limit_nanos=wanted.limit,
            model=UNKNOWN_MODEL,
            client=wanted.client,
            also_client=wanted.also_client,
            currency=wanted.currency,
            usd_nanos=rate.usd_per_unit_nanos,
            rate_day=None if wanted.currency == "USD" else rate.day.isoformat(),
            task_summary=wanted.description,
            session_id=wanted.session_id,
        )
        opened = start_within(rt, opening, tool_use_id, client_session)
    own = own_budget(opened.session, opened.budgets)
    if not opened.is_new:
        _same_wish(rt, opened.session, own, wanted)
    # The rate that a session was opened with is that of today where it opens now.
    day = rate.day if opened.session.rate_day is None else date.fromisoformat(opened.session.rate_day)
    if (opened.session.usd_nanos, day) != (rate.usd_per_unit_nanos, rate.day):
        rate = Rate(opened.session.usd_nanos, day, "rate", opened.session.currency)
    return BudgetStarted(opened.session, own.limit, rate.text)


def _same_wish(rt: Runtime, session: Session, own: Budget, wanted: BudgetWanted) -> None:
    limit = own.limit if own.rule_limit is None else own.rule_limit
    fields = (
        ("currency", session.currency, wanted.currency),
        ("budget", exact_text(limit), exact_text(wanted.limit)),
        ("description", session.task_summary, kept_summary(rt, wanted.description)),
    )
    same_or_conflict(
        fields,
        f"Session {session.session_id!r} was opened",
        hint="It stays as it is, and only the user changes its budget. Use another session_id for other work.",
        code="session_conflict",
    )
    if not session.is_open:
        raise session_ended(session.session_id)
