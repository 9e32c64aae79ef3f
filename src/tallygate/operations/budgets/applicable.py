"""Every budget that a step spends now: its session's, its ancestors', and the windows of the settings' rules."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import field, replace
from functools import lru_cache
from zoneinfo import ZoneInfo

from tallygate.clients.registry import REGISTRY
from tallygate.core.attribution import NOBODY, MadeFor
from tallygate.core.errors import unknown_session
from tallygate.core.gate import lifecycle
from tallygate.core.gate.rules import (
    PIECES,
    BudgetRule,
    BudgetScope,
    RuleTarget,
    Window,
    applies_to_model,
    applies_to_step,
    from_text,
    may_limit,
    piece_of,
    rolling_us,
    rules_that_apply,
    to_text,
    window_of,
    within_of,
)
from tallygate.core.lock import Bounds, Off
from tallygate.core.model import Budget, Call, Currency, Session
from tallygate.core.moments import as_datetime
from tallygate.core.places import Place
from tallygate.core.values import value
from tallygate.core.words import UNNAMED
from tallygate.ledger import rows
from tallygate.ledger.port import Change, Reader, Update, Value
from tallygate.operations.lock_book import as_opened, more_by_rate, must_fit, off_by
from tallygate.operations.runtime import PlaceOf, Runtime, on_paper
from tallygate.operations.unsaid import unsaid
from tallygate.operations.windows import (
    FOR_EVER_US,
    Facts,
    begin,
    begun,
    budget_change,
    counts,
    held_by,
    is_head,
    limit_of,
    new_window,
    on_record,
    piece_at,
    rule_of,
)
from tallygate.operations.worktrees import still_worked_in
from tallygate.pricing.identity import means

# --- a session's rules -----------------------------------------------------------------------------------------------
# Which rules of the settings bind a session, when it opens and at each of its steps, and in which budgets.


def rules_for(
    rt: Runtime, *, client: str, place: Place | None, also_client: str | None = None, inherited: str | None = None
) -> str | None:
    """The rules that bind a session of a client at a place, as they are kept with it; those of its parent, too."""
    mine = rules_that_apply(
        rt.workspace.rules,
        RuleTarget(rt.tenant, client, rt.workspace.user, place, also_client, names_of=REGISTRY.names.of),
    )
    return to_text(_joined(mine, from_text(inherited)))


@value(frozen=True, slots=True)
class SessionNow:
    """A session as its workspace's settings have it by now, with every budget that its next step must pass.

    `rules_before` are those that it was kept with, `off` is the user's word that nothing is stopped, where it holds.
    """

    session: Session
    to: ApplicableBudgets
    rules_before: str | None
    off: Off | None

    @property
    def budgets(self) -> tuple[Budget, ...]:
        """The budgets as this session may spend them."""
        return self.to.seen(self.to.budgets)


def session_now(
    rt: Runtime,
    reader: Reader,
    session: Session,
    own: tuple[Budget, ...],
    model: str,
    *,
    at_us: int,
    here: bool = True,
) -> SessionNow:
    """The budgets that bind a session's step of a model at a time: what the gate asks, and what everybody is told.

    `own` are those of the session itself. `here` is where the step stands; who looks at a session from anywhere else
    does not.

    What the settings have tightened since the session was opened binds it from now on. Settings that became looser
    count for sessions that open after it: whoever could change them while an agent works might be the agent. Where the
    settings of another workspace are at hand, they change neither the rules of the session nor the limits of these.
    """
    standing, bounds = rt.services.locks.standing_and_bounds(rt.services.ledger.ledger_id, reader)
    before = session.rules
    if bounds is not None and session.is_open:
        first, own = as_opened(rt, reader, session, own)
        if _whose(session) != _whose(first):
            session = replace(
                session,
                client=first.client,
                also_client=first.also_client,
                project=first.project,
                rules=_tighter_text(before, first.rules),
            )
    now, limits = session, None
    # Only where the settings at hand are those of the session's own project have they anything to say of it.
    if session.project == rt.workspace.project:
        limits = dict[str, int]()
        mine = (
            rules_that_apply(rt.workspace.rules, _subject(rt, session, session.project)) if rt.workspace.rules else ()
        )
        for rule in mine:
            name = rule.budget_id("")
            limits[name] = min(rule.limit, limits.get(name, rule.limit))
        rules = to_text(_joined(mine, from_text(session.rules))) if mine else session.rules
        now = session if rules == session.rules else replace(session, rules=rules)
    asked = visiting(rt, reader, now, at_us) if here and rt.workspace.rules else now
    found = applicable_budgets(
        reader,
        asked,
        own,
        model,
        at_us,
        limits=limits,
        place_of=rt.workspace.place_of,
        bounds=bounds,
        made_for=rt.made_for if here else NOBODY,
    )
    if here and (more := unsaid(rt, reader, asked, found.budgets, elsewhere=asked is not now)):
        found = replace(found, unsaid=more)
    return SessionNow(now, found, before, off_by(rt, standing))


def _whose(session: Session) -> tuple[str | None, ...]:
    return session.client, session.also_client, session.project, session.rules


@lru_cache(maxsize=256)
def _tighter_text(rules: str | None, others: str | None) -> str | None:
    """Rules of two texts, each budget once and with the tighter of its limits."""
    return rules if rules == others else to_text(_joined(from_text(rules), from_text(others)))


def limited_now(rt: Runtime, budget: Budget, at_us: int) -> Budget:
    """A budget above the session with the limit that the gate would apply to its next step, by the settings at hand.

    A window keeps the limit it had until a step is asked for.
    """
    ended = budget.resets_us is not None and budget.resets_us <= at_us and not is_head(budget)
    if budget.rule_limit is None or budget.scope == BudgetScope.SESSION.value or ended:
        return budget
    kind = (budget.scope, budget.period, budget.unit, budget.mode, within_of(budget.budget_id))
    limits = [
        rule.limit
        for rule in rt.workspace.rules
        if (rule.scope.value, rule.period, rule.unit, rule.mode, rule.within) == kind
        and may_limit(rule, budget.scope_key)
    ]
    return relimited(budget, min(limits)) if limits else budget


def visiting(rt: Runtime, reader: Reader, session: Session, at_us: int) -> Session:
    """A session for one step that stands in another project than its own, or is asked for by another client.

    The budgets of that project and of that client bind it, too. What the step spends is counted there, so it has to be
    asked there. They bind this step alone. A client may say of a step another folder than of its response, so where
    the last responses were made is asked as well, until the work has gone on elsewhere.
    """
    client, folder = visited_by(rt, session)
    placed = any(rule.scope is BudgetScope.PROJECT or rule.within is not None for rule in rt.workspace.rules)
    worked = still_worked_in(rt, reader, session, at_us) if placed else ()
    mine: tuple[BudgetRule, ...] = ()
    for each in dict.fromkeys((folder, *worked)):
        there = (
            () if each in (None, session.project) else rules_that_apply(rt.workspace.rules, _subject(rt, session, each))
        )
        mine += tuple(
            rule
            for rule in there
            if (rule.scope is BudgetScope.PROJECT or rule.within is not None) and rule not in mine
        )
    if client is not None:
        place = rt.workspace.place_of(folder or session.project)
        asking = rules_that_apply(
            rt.workspace.rules, RuleTarget(rt.tenant, client, rt.workspace.user, place, names_of=REGISTRY.names.of)
        )
        mine += tuple(rule for rule in asking if rule.scope is BudgetScope.CLIENT and rule not in mine)
    return replace(session, rules=to_text(_joined(mine, from_text(session.rules)))) if mine else session


def visited_by(rt: Runtime, session: Session) -> tuple[str | None, str | None]:
    """The client that asks for a step and the folder it stands in, each where it is not the session's own."""
    asks, there = rt.asked_by, rt.workspace.project or rt.workspace.folder
    names = REGISTRY.names
    # Mostly it is the session's own client by the very name.
    is_other = asks not in (None, session.client) and not {*names.of(asks)} <= {
        "",
        UNNAMED,
        *names.all_of(session.clients),
    }
    return asks if is_other else None, None if there == session.project else there


def _subject(rt: Runtime, session: Session, folder: str | None) -> RuleTarget:
    place = rt.workspace.place_of(folder)
    return RuleTarget(
        rt.tenant, session.client, rt.workspace.user, place, session.also_client, names_of=REGISTRY.names.of
    )


def _joined(mine: tuple[BudgetRule, ...], others: tuple[BudgetRule, ...]) -> list[BudgetRule]:
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


# --- budgets that bind -----------------------------------------------------------------------------------------------
# Every budget a call spends: those of its session, and the windows of the rules that bind it.


@value(frozen=True, slots=True)
class ApplicableBudgets:
    """Budgets by id; those in `fresh` are not in the ledger yet, those in `moved` have more to be told than counters.

    `beside` are budgets that stand behind these and are new or moved: the other pieces of rolling periods. `calls` are
    pending ones that hold something of a fresh window, which they were asked about before. `stricter` says by how much
    the session's own rules are below the limit that its settings have by now, `unsaid` what may count and is unsaid.
    """

    budgets: tuple[Budget, ...]
    fresh: frozenset[str] = frozenset()
    moved: frozenset[str] = frozenset()
    beside: tuple[Budget, ...] = ()
    calls: tuple[Call, ...] = ()
    stricter: Mapping[str, int] = field(default_factory=dict)
    unsaid: Mapping[str, int] = field(default_factory=dict)

    def seen(self, budgets: tuple[Budget, ...]) -> tuple[Budget, ...]:
        """Budgets as this session may spend them: by the rules it was opened with."""
        if self.unsaid:
            budgets = tuple(replace(b, carried=b.carried + self.unsaid.get(b.budget_id, 0)) for b in budgets)
        less = self.stricter
        return tuple(replace(b, limit=max(b.limit - less.get(b.budget_id, 0), 0)) for b in budgets) if less else budgets


def applicable_budgets(
    reader: Reader,
    session: Session,
    own: tuple[Budget, ...],
    model: str,
    at_us: int,
    *,
    limits: Mapping[str, int] | None = None,
    place_of: PlaceOf = on_paper,
    bounds: Bounds | None = None,
    made_for: MadeFor = NOBODY,
) -> ApplicableBudgets:
    """The budgets that bind a call of a model in a session at a time; `own` are those of the session itself.

    `limits` are what the settings have now, by the name of a rule: one that was changed changes that of its window,
    too. What the user has added to it by hand stays added; while the limits are locked, what they have signed, which
    `bounds` tell. Rules for somebody that is named bind what is `made_for` that.
    """
    rules = [
        rule
        for rule in (from_text(session.rules) if session.rules else ())
        if applies_to_model(rule, model, means) and applies_to_step(rule, made_for)
    ]
    if not rules:
        return ApplicableBudgets(own, stricter={} if bounds is None else _unproven(own, bounds, {}))
    found = _Windows(reader, session.tenant, at_us, limits=limits, place_of=place_of)
    found.look_up(rules)
    if bounds is not None:
        found.hold_to_rules()
    windows = [found.window(rule) for rule in rules]
    if bounds is not None:  # whether one is hard is the rules' to say, not the table's
        windows = [replace(each, mode=rule.mode) for each, rule in zip(windows, rules, strict=True)]
    budgets = {budget.budget_id: budget for budget in (*own, *windows)}
    stricter = _unproven(budgets.values(), bounds, found.bases)
    for name, less in found.stricter.items():
        stricter[name] = max(less, stricter.get(name, 0))
    if bounds is not None:
        for budget, rule in zip(windows, rules, strict=True):
            if more := more_by_rate(budget, rule):
                stricter[budget.budget_id] = stricter.get(budget.budget_id, 0) + more
    return ApplicableBudgets(
        tuple(budgets[name] for name in sorted(budgets)),
        frozenset(found.fresh),
        frozenset(found.moved),
        tuple(budget for name, budget in sorted(found.beside.items()) if name not in budgets),
        tuple(found.calls.values()),
        stricter,
    )


def _unproven(budgets: Iterable[Budget], bounds: Bounds | None, bases: Mapping[str, int]) -> dict[str, int]:
    """By how much budgets are above what the user has signed; `bases` are the limits of their rules by now."""
    found = {}
    if bounds is not None:
        for budget in budgets:
            most = bounds.of(budget.name, bases.get(budget.budget_id, budget.rule_limit))
            if most is not None and budget.limit > most:
                found[budget.budget_id] = budget.limit - most
    return found


def rolled(reader: Reader, head: Budget, at_us: int) -> Budget:
    """The budget of a rolling period as it stands at a time: what all its pieces hold, and when that begins to go."""
    found = _Windows(reader, head.tenant, at_us)
    rule = rule_of(head)
    found.look_up([rule])
    piece = found.rolling(rule)
    return replace(
        head,
        limit=piece.limit,
        spent=piece.spent,
        reserved=piece.reserved,
        carried=piece.carried,
        resets_us=piece.resets_us if piece.committed else None,
        touched_us=max(each.touched_us for each in (head, *found.known.values())),
        head=head.budget_id,
    )


def aged_out_us(reader: Reader, head: Budget, at_us: int) -> int:
    """When all that a rolling period holds at a time has aged out of it; where it holds nothing, a period from now."""
    found = _Windows(reader, head.tenant, at_us)
    rule = rule_of(head)
    found.look_up([rule])
    found.rolling(rule)
    ends = [b.resets_us for b in found.known.values() if b.committed and b.resets_us is not None]
    return max(ends, default=piece_at(head, at_us, 0).resets_us or at_us) + (rolling_us(head.period) or 0)


def relimited(budget: Budget, now: int) -> Budget:
    """A budget whose rule has another limit by now; what the user has added to it by hand stays added."""
    if budget.rule_limit is None or budget.rule_limit == now:
        return budget
    raised = max(budget.limit + now - budget.rule_limit, 0)
    return replace(lifecycle.change_limit(budget, raised), rule_limit=now)


class _Windows:
    """The windows of some rules at one time, as they are in the ledger or as they will begin."""

    def __init__(
        self,
        reader: Reader,
        tenant: str,
        at_us: int,
        *,
        limits: Mapping[str, int] | None = None,
        place_of: PlaceOf = on_paper,
    ) -> None:
        self._reader = reader
        self._facts = Facts(reader, place_of)
        self._tenant = tenant
        self._at_us = at_us
        self._limits = limits
        self.stricter: dict[str, int] = {}
        self.bases: dict[str, int] = {}
        self.known: dict[str, Budget] = {}
        self._rules: dict[str, BudgetRule] = {}
        self.fresh: set[str] = set()
        self.moved: set[str] = set()
        self.beside: dict[str, Budget] = {}
        self.calls: dict[str, Call] = {}

    def look_up(self, rules: Iterable[BudgetRule]) -> None:
        """Read all that these rules need, at once."""
        for rule in rules:
            self._rules[rule.budget_id(_window(rule, self._at_us).name)] = rule
            if rolling_us(rule.period) is not None:
                self._rules |= dict.fromkeys([rule.head_id, *_older(rule, self._at_us)], rule)
        self.known = {budget.budget_id: budget for budget in self._reader.budgets_named(list(self._rules))}

    def hold_to_rules(self) -> None:
        """Raise `LedgerCorrupt` where a row is not of what its rule limits."""
        for name, budget in self.known.items():
            must_fit(budget, self._rules[name])

    def window(self, rule: BudgetRule) -> Budget:
        """The window of a rule that is now; a new one gets the limit of the settings where that is the higher one."""
        fresh = replace(rule, limit=max(rule.limit, self._now(rule)))
        found = self.rolling(fresh) if rolling_us(rule.period) is not None else self.calendar(fresh)
        self.bases[found.budget_id] = fresh.limit if self._limits is None else self._now(rule)
        return self._noted(found, rule)

    def calendar(self, rule: BudgetRule) -> Budget:
        """The window of a day, week or month, or the one for ever."""
        window = _window(rule, self._at_us)
        name = rule.budget_id(window.name)
        budget = self.known.get(name)
        if budget is None:
            self.fresh.add(name)
            return self._held(
                begin(self._reader, self._facts, new_window(self._tenant, name, rule), window.start_us, window.end_us)
            )
        if (budget.start_us, budget.resets_us) != (window.start_us, window.end_us):
            before, budget = budget, begin(self._reader, self._facts, budget, window.start_us, window.end_us)
            if before.start_us is None:
                budget = self._held(budget)
            if budget != before:
                self.moved.add(name)
        return self._relimited(budget, rule)

    def rolling(self, rule: BudgetRule) -> Budget:
        """The piece of a rolling period that is now, with what the others hold and the limit of all of them."""
        length = rolling_us(rule.period) or 0
        head = self.known.get(rule.head_id)
        is_new = head is None
        if head is None:
            head = new_window(self._tenant, rule.head_id, rule, start_us=0)
            self.fresh.add(head.budget_id)
        else:
            head = self._relimited(head, rule)
        self.beside[head.budget_id] = head
        limit = limit_of(head, self._at_us)
        name = rule.budget_id(_window(rule, self._at_us).name)
        older = _older(rule, self._at_us)
        if is_new or name not in self.known or self.known[name].start_us is None:
            self._fill(head, limit, length // PIECES)
        piece = self.known[name]
        if (piece.limit, piece.rule_limit) != (limit, head.rule_limit):
            # Both move together: what a session's own rule is held against is the limit that this one stands for.
            piece = replace(lifecycle.change_limit(piece, limit), rule_limit=head.rule_limit)
            self.moved.add(name)
        pieces = [self.known[each] for each in older if each in self.known]
        held = [each for each in pieces if each.committed]
        first = min((each.resets_us for each in held if each.resets_us is not None), default=None)
        return replace(
            piece,
            head=head.budget_id,
            carried=sum(each.committed for each in held),
            resets_us=piece.resets_us if first is None else first + length,
        )

    def _fill(self, head: Budget, limit: int, size_us: int) -> None:
        """Make the pieces in which something is on record, and the one that is now: one sum for all of them.

        From then on each counts what comes in; the next such sum is due when the next piece begins.
        """
        number = self._at_us // size_us
        span = ((number - PIECES) * size_us, (number + 1) * size_us)
        counted = on_record(self._reader, self._facts, head, span, size_us)
        for each in range(number - PIECES, number + 1):
            empty = piece_at(head, each * size_us, limit)
            name = empty.budget_id
            known = self.known.get(name)
            if known is None and (counted.get(each) or each == number):
                self.fresh.add(name)
                made = self._held(begun(empty, counted.get(each, 0)))
            elif known is not None and known.start_us is None:
                self.moved.add(name)
                made = begun(
                    replace(known, start_us=empty.start_us, resets_us=empty.resets_us),
                    max(counted.get(each, 0) - known.spent, 0),
                )
            else:
                continue
            self.known[name] = self.beside[name] = made

    def _relimited(self, budget: Budget, rule: BudgetRule) -> Budget:
        """A budget with the limit that its rule has in the settings now, if they are at hand."""
        now = self._now(rule)
        if self._limits is None or budget.rule_limit is None or budget.rule_limit == now:
            return budget
        self.moved.add(budget.budget_id)
        return relimited(budget, now)

    def _now(self, rule: BudgetRule) -> int:
        return rule.limit if self._limits is None else self._limits.get(rule.budget_id(""), rule.limit)

    def _noted(self, budget: Budget, rule: BudgetRule) -> Budget:
        """Keep by how much a session's own rule is below the limit of its budget."""
        if budget.rule_limit is not None and budget.rule_limit > rule.limit:
            self.stricter[budget.budget_id] = budget.rule_limit - rule.limit
        return budget

    def _held(self, budget: Budget) -> Budget:
        """A window that begins now, with what calls hold of it that were asked about in its span and are pending."""
        until_us = FOR_EVER_US if budget.resets_us is None else budget.resets_us
        for pending in self._reader.pending_between(budget.start_us or 0, until_us):
            call = self.calls.get(pending.call_id, pending)
            hold = held_by(call, budget)
            if hold is not None and counts(budget, self._facts.of_call(call)):
                self.calls[call.call_id] = replace(call, holds=(*call.holds, hold))
                reserved = budget.reserved + hold.held
                over = budget.spent + reserved - budget.limit
                budget = replace(budget, reserved=reserved, overage=max(budget.overage, over))
        return budget


def _window(rule: BudgetRule, at_us: int) -> Window:
    if rolling_us(rule.period) is not None:
        return piece_of(rule.period, at_us)
    return window_of(rule.period, at_us, ZoneInfo(rule.zone))


def _older(rule: BudgetRule, at_us: int) -> list[str]:
    """The ids of the earlier pieces that a rolling period still holds.

    There is one more than the period has: of the oldest only a part is older than the period, and a piece goes whole.
    """
    number = int(piece_of(rule.period, at_us).name)
    return [rule.budget_id(str(piece)) for piece in range(number - PIECES, number)]


def changes_of(found: ApplicableBudgets, after: Iterable[Budget], at_us: int, *, touched: bool) -> list[Change]:
    """What an answer leaves in the budgets it was decided on; one that holds nothing only makes the new ones known."""
    changes: list[Change] = []
    for told, budgets in ((False, found.beside), (touched, after)):
        for budget in budgets:
            fresh, moved = budget.budget_id in found.fresh, budget.budget_id in found.moved
            if told or fresh or moved:
                changes.append(budget_change(budget, at_us, fresh=fresh, moved=moved))
    for call in found.calls:
        row: dict[str, Value] = {"call_id": call.call_id, "holds": rows.holds_text(call.holds, call.booked_nanos)}
        changes.append(Update("call", row))
    return changes


# --- finding ---------------------------------------------------------------------------------------------------------
# Finding what an id names, or saying clearly that it names nothing.


def all_budgets(reader: Reader, session: Session, at_us: int) -> tuple[Budget, ...]:
    """Every budget that binds a session at a time, by the model it was started with; for people to look at."""
    found = applicable_budgets(reader, session, reader.budgets_of(session.session_id), session.model, at_us)
    return found.seen(found.budgets)


def budgets_now(
    rt: Runtime,
    reader: Reader,
    session: Session,
    at_us: int,
    *,
    own: tuple[Budget, ...] | None = None,
    model: str | None = None,
    here: bool = True,
) -> tuple[Budget, ...]:
    """Every budget that binds a session, as its next step will be held to them; of one that has ended, as they stand.

    `here` is where that step stands, and not who looks from anywhere.
    """
    own, model = reader.budgets_of(session.session_id) if own is None else own, model or session.model
    if session.is_open:
        return session_now(rt, reader, session, own, model, at_us=at_us, here=here).budgets
    found = applicable_budgets(reader, session, own, model, at_us, place_of=rt.workspace.place_of)
    return found.seen(found.budgets)


def usable(rt: Runtime) -> None:
    """Raise `LedgerUnavailable` before somebody is told what is left, where nothing that is spent could be recorded."""
    if rt.workspace.halt_on_fault:
        rt.prove()


def currency_of(rt: Runtime, session: Session, code: str) -> Currency:
    """A currency as a session counts it: its own at its own rate, another at that of the day it began."""
    if session.currency == code:
        return Currency(code, session.usd_nanos)
    rate = rt.workspace.exchange.rate(code, as_datetime(session.started_us))
    return Currency(code, rate.usd_per_unit_nanos, rate.text)


def session_with_standing(rt: Runtime, reader: Reader, session_id: str) -> tuple[Session, tuple[Budget, ...]]:
    """A session with every budget that binds it now, as its workspace's settings have them."""
    found = reader.session_with_budgets(session_id)
    if found is None:
        raise unknown_session(session_id)
    bound = session_now(rt, reader, *found, found[0].model, at_us=rt.services.clock_us())
    return bound.session, bound.budgets
