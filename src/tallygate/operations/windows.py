"""Windows count everything on record in their span, gated or not: what one begins with, and what counts in which."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Collection, Iterable
from dataclasses import replace
from zoneinfo import ZoneInfo

from tallygate.clients.registry import REGISTRY
from tallygate.core.attribution import Served, label, served_by
from tallygate.core.errors import HistoryUnread
from tallygate.core.gate.rules import (
    NAMED,
    NEVER,
    PIECES,
    BudgetRule,
    BudgetScope,
    SpendFacts,
    counted_since,
    counts_in,
    piece_of,
    rolling_us,
    rules_of,
    weighed_in,
    window_of,
    within_of,
)
from tallygate.core.model import NOTHING, Amount, Budget, Call, Hold, Session
from tallygate.core.moments import HOUR_US, microseconds
from tallygate.core.usage import priced_as_standard
from tallygate.core.words import ActorType, BudgetMode, CallState
from tallygate.ledger import rows
from tallygate.ledger.port import AttributedItem, BudgetReader, Change, Insert, Reader, StoredUsage, Update
from tallygate.operations.runtime import PlaceOf, Runtime, on_paper
from tallygate.pricing.identity import means

# How long a window can be: clocks are changed by an hour, and a user may move its end.
_LONGEST_US = {"day": 48 * HOUR_US, "week": 8 * 24 * HOUR_US, "month": 33 * 24 * HOUR_US}
_MONTH_US = 31 * 24 * HOUR_US
FOR_EVER_US = 2**62


class Facts:
    """What is known of what was spent, with the sessions it counts for looked up once each."""

    def __init__(self, reader: Reader, place_of: PlaceOf = on_paper) -> None:
        self._reader = reader
        self._place_of = place_of
        self._sessions: dict[str, Session | None] = {}
        self._folders: dict[tuple[str | None, ...], tuple[str, ...]] = {}

    def of_call(self, call: Call) -> SpendFacts:
        session = self._session(call.session_id)
        made_for = asked_for(call.actor_type, call.actor_name, call.tool_name)
        return self._spent(session, call.asked_by, call.folder, (call.model_used or call.model_requested,), made_for)

    def of_usage(self, stored: StoredUsage) -> SpendFacts:
        row = stored.row
        made_for = (row.agent_type, row.skill, row.served)
        session = self._session(stored.session_id)
        return self._spent(session, row.client, row.project, (priced_as_standard(row),), made_for)

    def of_attributed(self, item: AttributedItem) -> SpendFacts:
        made_for = (item.agent_type, item.skill, item.served)
        return self._spent(self._session(item.session_id), item.client, item.project, (), made_for)

    def of_names(
        self, client: str | None, project: str | None, session_id: str | None, model: str | None
    ) -> SpendFacts:
        return self._spent(self._session(session_id), client, project, () if model is None else (model,))

    def _session(self, session_id: str | None) -> Session | None:
        if session_id is None:
            return None
        if session_id not in self._sessions:
            self._sessions[session_id] = self._reader.session(session_id)
        return self._sessions[session_id]

    def _spent(
        self,
        session: Session | None,
        client: str | None = None,
        project: str | None = None,
        models: tuple[str, ...] = (),
        made_for: tuple[str | None, str | None, tuple[Served, ...]] = (None, None, ()),
    ) -> SpendFacts:
        agent, skill, served = made_for
        clients = (client, *(() if session is None else session.clients))
        folders = self._around(project, None if session is None else session.project)
        if session is not None:
            folders += projects_of(session)
        agents, skills = (() if each is None else (each,) for each in (agent, skill))
        return SpendFacts(REGISTRY.names.all_of(clients), folders, models, agents, skills, served)

    def _around(self, *projects: str | None) -> tuple[str, ...]:
        """What the folders lie in that something was done in; most responses share theirs."""
        found = self._folders.get(projects)
        if found is None:
            places = [self._place_of(each) for each in set(projects)]
            found = tuple(folder for place in places if place is not None for folder in place.around)
            self._folders[projects] = found
        return found


def asked_for(
    actor_type: ActorType, actor_name: str | None, tool_name: str | None
) -> tuple[str | None, str | None, tuple[Served, ...]]:
    """Whom a step is taken for, by who asks for it and for which tool."""
    agent = label(actor_name) if actor_type is ActorType.SUBAGENT else None
    tool = None if tool_name is None else served_by(tool_name)
    return agent, None, () if tool is None else (tool,)


def projects_of(session: Session) -> tuple[str, ...]:
    """The projects whose budgets bind a session since it was opened.

    What it spends counts there wherever its shell stands by then, and also once its worktree is gone from the disk.
    """
    bound = rules_of(session)
    keys = [rule.key for rule in bound if rule.scope is BudgetScope.PROJECT]
    return tuple(each for each in (*keys, *(rule.within for rule in bound)) if each is not None)


def history_is_read(rt: Runtime) -> None:
    """See that what was spent before is on record where a hard budget counts it.

    Raises `HistoryUnread` where it is still being read: who spends meanwhile would spend it a second time. Budgets
    that only warn count it as soon as it is there.
    """
    rules = rt.workspace.rules
    if not rules:
        return
    now_us = rt.services.clock_us()
    hard_us = counted_since(rules, now_us, BudgetMode.HARD)
    since_us = hard_us if hard_us is not None else counted_since(rules, now_us)
    if since_us is not None and not rt.follower.has_read_since(since_us) and hard_us is not None:
        rt.prove()  # on a full disk nothing is read on, and that is the reason to be told
        raise HistoryUnread(
            "What was spent before is still being read, so this step cannot be counted against your limits yet.",
            hint="Try again in a minute; `tallygate sync` shows how far it is.",
        )


def counts(budget: Budget, spent: SpendFacts) -> bool:
    """Whether a window counts something that was spent."""
    return counts_in(budget, spent, means)


def booked_amount(call: Call) -> Amount:
    """What a call weighs in every window: what it was booked at, by what it used or by its estimate."""
    if call.cost_basis == "actual" and call.actual is not None:
        return Amount(call.booked_nanos, call.actual.total, 1)
    if call.cost_basis == "estimate":
        return Amount(call.booked_nanos, call.prompt_tokens + call.completion_tokens, 1)
    return NOTHING


def on_record(
    reader: BudgetReader,
    facts: Facts,
    budget: Budget,
    span: tuple[int, int],
    size_us: int,
    *,
    prices: Collection[str] | None = None,
) -> dict[int, int]:
    """What a budget's windows of a size count of a span, by the number of the window: one sum along an index.

    With `prices` only what was priced by one of these.
    Money of another currency is converted response by response, as it is when one comes in, so that both agree.
    """
    converted = budget.usd_nanos != 1_000_000_000
    placed = within_of(budget.budget_id) is not None
    found: dict[int, int] = {}
    if budget.scope in NAMED:
        for item in reader.attributed(budget.scope, span[0], span[1], size_us, prices=prices):
            spent = facts.of_attributed(item)
            if counts(budget, spent):
                whole = Amount(item.usd_nanos, item.tokens, 1)
                amount = weighed_in(budget, spent, whole).of(budget)
                if item.charges:
                    amount = max(amount, min(_booked_alike(reader, budget, item.charges), whole.of(budget)))
                found[item.piece] = found.get(item.piece, 0) + amount * item.times
        return found
    for each in reader.weighed(budget.scope, span[0], span[1], size_us, apart=converted, placed=placed, prices=prices):
        spent = facts.of_names(each.client, each.project, each.session_id, each.model)
        if counts(budget, spent):
            amount = Amount(each.usd_nanos, each.tokens, each.calls).of(budget)
            found[each.piece] = found.get(each.piece, 0) + amount * each.times
    return found


def _booked_alike(reader: BudgetReader, budget: Budget, charges: Collection[tuple[str, int]]) -> int:
    """The most that is booked of a response in another window on the same, which a smaller share does not take back."""
    start, kind = f"{budget.scope}:{budget.scope_key}:", (budget.scope, budget.scope_key, budget.unit, budget.usd_nanos)
    most = 0
    for budget_id, amount in charges:
        other = reader.budget(budget_id) if amount > most and budget_id.startswith(start) else None
        if other is not None and (other.scope, other.scope_key, other.unit, other.usd_nanos) == kind:
            most = amount
    return most


def begun(budget: Budget, amount: int) -> Budget:
    """A window with what is on record of it beyond what it has counted; past its limit that is named as overage."""
    spent = budget.spent + amount
    over = spent + budget.reserved - budget.limit
    return replace(
        budget,
        spent=spent,
        seed=(budget.seed or 0) + amount,
        overage=max(budget.overage, over),
    )


def begin(reader: BudgetReader, facts: Facts, budget: Budget, start_us: int, end_us: int | None) -> Budget:
    """A calendar window with all that is on record in it.

    One that was opened keeps its counter, also where its days begin at another hour by now: it then reaches over both
    spans, so that nothing is left out. One that an older version made counted only what was gated.
    """
    until_us = FOR_EVER_US if end_us is None else end_us
    if budget.start_us is None:
        counted = sum(on_record(reader, facts, budget, (start_us, until_us), FOR_EVER_US).values())
        opened = replace(budget, start_us=start_us, resets_us=end_us)
        return begun(opened, max(counted - budget.spent, 0))
    old_until = FOR_EVER_US if budget.resets_us is None else budget.resets_us
    more = 0
    # Its days begin at another hour now: what lies before and behind the old span is counted to it, and nothing twice.
    for span in ((start_us, budget.start_us), (old_until, until_us)):
        if span[0] < span[1]:
            more += sum(on_record(reader, facts, budget, span, FOR_EVER_US).values())
    wider = replace(
        budget,
        start_us=min(start_us, budget.start_us),
        resets_us=None if FOR_EVER_US in (old_until, until_us) else max(old_until, until_us),
    )
    return begun(wider, more)


def new_window(tenant: str, budget_id: str, rule: BudgetRule, start_us: int | None = None) -> Budget:
    """An empty window of a rule."""
    return Budget(
        tenant=tenant,
        budget_id=budget_id,
        scope=rule.scope.value,
        scope_key=str(rule.key),
        unit=rule.unit,
        mode=rule.mode,
        limit=rule.limit,
        period=rule.period,
        usd_nanos=rule.usd_nanos,
        rate_day=rule.rate_day,
        rule_limit=rule.limit,
        start_us=start_us,
        also=rule.also,
    )


def rule_of(budget: Budget) -> BudgetRule:
    """The rule that a budget above the session stands for, as far as the budget tells of it."""
    return BudgetRule(
        scope=BudgetScope(budget.scope),
        limit=budget.limit if budget.rule_limit is None else budget.rule_limit,
        unit=budget.unit,
        period=budget.period,
        mode=budget.mode,
        usd_nanos=budget.usd_nanos,
        rate_day=budget.rate_day,
        key=budget.scope_key,
        also=budget.also,
        within=within_of(budget.budget_id),
    )


def is_head(budget: Budget) -> bool:
    """Whether a budget stands for all pieces of a rolling period."""
    return budget.resets_us is None and rolling_us(budget.period) is not None


def is_piece(budget: Budget) -> bool:
    """Whether a budget is one piece of a rolling period."""
    return budget.resets_us is not None and rolling_us(budget.period) is not None


def head_id(budget: Budget) -> str:
    """The id that a budget is known by: for a piece that of its rolling period."""
    return rule_of(budget).head_id if is_piece(budget) else budget.budget_id


def limit_of(head: Budget, at_us: int) -> int:
    """The limit of a rolling period at a time: its own, and what was added for something that has not aged out yet."""
    return head.limit + sum(added for added, until_us in head.raises if at_us < until_us)


def piece_at(head: Budget, at_us: int, limit: int) -> Budget:
    """An empty piece of a rolling period, for a moment."""
    window = piece_of(head.period, at_us)
    return replace(
        head,
        budget_id=rule_of(head).budget_id(window.name),
        limit=limit,
        spent=0,
        reserved=0,
        overage=0,
        start_us=window.start_us,
        resets_us=window.end_us,
        seed=None,
        raises=(),
    )


def held_by(call: Call, budget: Budget) -> Hold | None:
    """What a pending call holds of a window that is opened after it was asked about; None where it does already.

    Of a call whose responses come in only what they have not used yet: its session's own budget tells.
    """
    own = next((hold.held for hold in call.holds if hold.budget_id == call.session_id), None)
    if any(hold.budget_id == budget.budget_id for hold in call.holds):
        return None
    nanos = call.estimate_nanos if own is None or call.observed_nanos is None else min(own, call.estimate_nanos)
    return Hold(budget.budget_id, Amount(nanos, call.prompt_tokens + call.completion_tokens, 1).of(budget))


# What was spent, when, and how much of it. By whom and where is worked out only where a window asks for it.
State = tuple[Callable[[], SpendFacts], int, Amount]


class OpenWindows:
    """The windows in the ledger that count something, whoever's settings made them; read a stretch of time at once.

    A rolling period has a piece only where something was spent: one that is missing for what comes in late is made
    here and stands in `fresh`.
    """

    def __init__(self, reader: Reader, facts: Facts, now_us: int) -> None:
        self._reader = reader
        self._facts = facts
        self._now_us = now_us
        self._periods = reader.window_periods()
        self._lasting = {p: reader.lasting(p) for p in self._periods if p == NEVER or rolling_us(p) is not None}
        self._stretches: dict[tuple[str, int], tuple[list[int], list[Budget]]] = {}
        self._changes: list[tuple[int, Callable[[], State]]] = []
        self._looked_for: set[str] = set()
        self.fresh: dict[str, Budget] = {}

    def open(self, tenant: str, rule: BudgetRule, at_us: int) -> None:
        """See that a rule has its window of a day, week or month at a time; a rolling period begins when it is asked.

        A window that is not there begins with what is on record, and with what this event has changed of that so far.
        """
        if rolling_us(rule.period) is not None:
            return
        window = window_of(rule.period, at_us, ZoneInfo(rule.zone))
        name = rule.budget_id(window.name)
        if name in self._looked_for:
            return
        self._looked_for.add(name)
        if self._reader.budget(name) is not None:
            return
        budget = begin(self._reader, self._facts, new_window(tenant, name, rule), window.start_us, window.end_us)
        until_us = FOR_EVER_US if window.end_us is None else window.end_us
        changed = sum(
            sign * weighed_in(budget, spent(), amount).of(budget)
            for sign, change in self._changes
            for spent, when_us, amount in (change(),)
            if window.start_us <= when_us < until_us and counts(budget, spent())
        )
        self.fresh[name] = begun(budget, changed)
        if rule.period not in self._periods:
            self._periods.append(rule.period)
            self._lasting.setdefault(rule.period, [])

    def changed(self, sign: int, state: State) -> dict[str, int]:
        """What something that is on record no more (-1) or from now on (1) adds to the windows, by their ids."""
        spent, at_us, amount = state
        if amount == NOTHING:
            return {}
        # Also where no window is there to be changed: one that is opened later in this event begins with it.
        self._changes.append((sign, lambda: state))
        if not self._periods:
            return {}
        facts = spent()
        return {b.budget_id: sign * weighed_in(b, facts, amount).of(b) for b in self.of(facts, at_us)}

    def add_unseen(self, state: Callable[[], State]) -> bool:
        """Keep something that is new on record for windows that are yet to be made; False where one may be there."""
        if self._periods:
            return False
        self._changes.append((1, state))
        return True

    def of(self, spent: SpendFacts, at_us: int) -> list[Budget]:
        """The windows that something counts in which was spent at a time."""
        found: list[Budget] = []
        for period in self._periods:
            length = rolling_us(period)
            if period == NEVER:
                made = [b for b in self.fresh.values() if b.period == period]
                found += self._meant([*self._lasting[period], *made], spent)
            elif length is None:
                found += self._meant(self._around(period, at_us, _LONGEST_US[period], _MONTH_US), spent)
            else:
                size = length // PIECES
                pieces = self._meant(self._around(period, at_us, size, length), spent)
                found += [*pieces, *self._missing(period, spent, at_us, pieces)]
        return found

    def _meant(self, budgets: Iterable[Budget], spent: SpendFacts) -> list[Budget]:
        return [budget for budget in budgets if counts(budget, spent)]

    def _around(self, period: str, at_us: int, longest_us: int, stretch_us: int) -> list[Budget]:
        key = (period, at_us // stretch_us)
        if key not in self._stretches:
            first = key[1] * stretch_us
            read = self._reader.windows_between(period, first - longest_us, first + stretch_us)
            self._stretches[key] = ([budget.start_us or 0 for budget in read], read)
        starts, budgets = self._stretches[key]
        last = bisect_right(starts, at_us)
        first = bisect_right(starts, at_us - longest_us)
        made = [b for b in self.fresh.values() if b.period == period and (b.start_us or 0) <= at_us]
        return [b for b in (*budgets[first:last], *made) if b.resets_us is not None and at_us < b.resets_us]

    def _missing(self, period: str, spent: SpendFacts, at_us: int, there: list[Budget]) -> list[Budget]:
        """The pieces to be made for heads that have none at a time which still counts, or will."""
        length = rolling_us(period) or 0
        if at_us < self._now_us - length - 2 * (length // PIECES):
            return []
        known = {budget.budget_id for budget in there}
        made = []
        for head in self._meant(self._lasting[period], spent):
            piece = piece_at(head, at_us, limit_of(head, self._now_us))
            if piece.budget_id in known or self._reader.budget(piece.budget_id) is not None:
                continue  # the latter an older version made: it is told apart when it is next asked for
            span = (piece.start_us or 0, piece.resets_us or 0)
            counted = on_record(self._reader, self._facts, head, span, FOR_EVER_US)
            made.append(begun(piece, sum(counted.values())))
            self.fresh[piece.budget_id] = made[-1]
        return made


def changed_in(windows: OpenWindows, befores: Iterable[State], after: State | None) -> dict[str, int]:
    """What a change of something that was spent adds to the windows, by their ids; below zero where it takes away.

    A window always counts what is on record as it is: what it counted before goes, what is now comes.
    """
    found: dict[str, int] = {}
    for sign, states in ((-1, list(befores)), (1, [] if after is None else [after])):
        for state in states:
            for budget_id, more in windows.changed(sign, state).items():
                found[budget_id] = found.get(budget_id, 0) + more
    return {budget_id: more for budget_id, more in found.items() if more}


def budget_change(budget: Budget, at_us: int, *, fresh: bool, moved: bool = False) -> Change:
    """What the ledger is told of a budget that a call or a response changes."""
    if budget.head is not None and budget.start_us is not None and (length := rolling_us(budget.period)) is not None:
        # What is said of a rolling period is when something of it goes; a piece itself has an end like any window.
        budget = replace(budget, resets_us=budget.start_us + length // PIECES)
    if fresh:
        return Insert("budget", rows.from_budget(replace(budget, touched_us=at_us)))
    counters = rows.budget_counters(budget, at_us)
    if moved:
        counters |= {
            "limit_nanos": budget.limit,
            "rule_limit": budget.rule_limit,
            "start_us": budget.start_us,
            "seed_nanos": budget.seed,
            "resets_us": budget.resets_us,
        }
    return Update("budget", counters)


def time_of(stored: StoredUsage) -> int:
    """When a response counts."""
    return microseconds(stored.row.at)


def is_pending(call: Call) -> bool:
    """Whether a call still holds something."""
    return call.state is CallState.PENDING
