"""Lists, one session in full, how everything stands, which runs were stopped."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import field
from datetime import datetime
from functools import partial
from pathlib import Path

from tallygate.clients.registry import REGISTRY
from tallygate.core.bills.causes import Cause, UsedResponse, drift_of, largest_first, unseen
from tallygate.core.costing import SURE, Price, Split, Tokens
from tallygate.core.errors import InvalidArgument, NotFound, present, unknown_session
from tallygate.core.gate import lifecycle, policy
from tallygate.core.gate.answers import GateAnswer
from tallygate.core.gate.lifecycle import ANOMALIES_MAX, CallAnomaly
from tallygate.core.gate.rules import BudgetRule, BudgetScope, may_limit
from tallygate.core.gate.wording import short_name
from tallygate.core.loops import SeenLoop
from tallygate.core.model import (
    SHOWN_MAX,
    Budget,
    Call,
    LimitChange,
    Session,
    in_usd,
    last_raise_us,
    of_settings,
)
from tallygate.core.moments import as_datetime
from tallygate.core.money import COUNTED, to_unit_nanos
from tallygate.core.proof import Head
from tallygate.core.sessions import SessionTotals, stopped_by
from tallygate.core.sums import Observed
from tallygate.core.text import cleaned, shown
from tallygate.core.usage import UNKNOWN_MODEL
from tallygate.core.values import value
from tallygate.core.words import Action, BudgetMode, Pressure, Reason, SessionState
from tallygate.ledger.port import ActivityTotals, QueuedLine, Reader, SpendShare, StoredUsage, UsageReader
from tallygate.operations.budgets.applicable import all_budgets, budgets_now, limited_now, rolled
from tallygate.operations.budgets.figures import (
    LetThroughOver,
    Unsure,
    drawn_on,
    figures_of,
    has_begun_work,
    is_enforced,
    let_through_over,
    used_model,
)
from tallygate.operations.lock_book import as_signed
from tallygate.operations.runtime import Runtime, scope_of
from tallygate.operations.views.usage import folders_of
from tallygate.operations.windows import head_id, is_head

# --- lists -----------------------------------------------------------------------------------------------------------
# Look at what the ledger holds, for people: lists, one session in full, how everything stands. Writes nothing.


PART_MIN = 6
CANDIDATES_SHOWN = 5
SHARES_MAX = 50
WAITING_MAX = 1000
_OPEN_LOOKED_AT = 100


@value(frozen=True, slots=True)
class SessionLine:
    """One session in a list: what it cost itself, and the budget that it draws on, which may be that of its parent.

    `own` is None where no budget of it is in the ledger's tables any more; the others are listed all the same.
    `spent_nanos` is in the session's currency, and `split` what of that is spent at prices that are not sure.
    `left_nanos` is what the tightest of all budgets leaves, in nano-dollars. `model` is the one that most was spent on
    where nobody said at its start which it would be.
    """

    session: Session
    own: Budget | None
    spent_nanos: int
    left_nanos: int | None
    pressure: Pressure
    totals: ActivityTotals
    split: Split = SURE
    model: str = UNKNOWN_MODEL


@value(frozen=True, slots=True)
class ObservedSummary:
    """What the client's own record says of a session, beside what its calls were estimated at."""

    responses: int
    nanos: int
    outside_nanos: int
    incomplete: int
    tokens: Tokens
    estimated_nanos: int


@value(frozen=True, slots=True)
class SessionView:
    """One session in full; `split` is of its own cost, `splits` are of what is spent of each budget."""

    session: Session
    budgets: tuple[Budget, ...]
    calls: list[Call]
    totals: SessionTotals
    by_model: list[SpendShare]
    by_tool: list[SpendShare]
    by_actor: list[SpendShare]
    decisions: list[tuple[Action, Reason, int]]
    children: list[str]
    observed: ObservedSummary | None = None
    drift: list[Cause] = field(default_factory=list)
    enforced: bool = False
    nanos_by_call: dict[str, int] = field(default_factory=dict)
    models_by_call: dict[str, str] = field(default_factory=dict)
    responses: list[StoredUsage] = field(default_factory=list)
    client_sessions: list[tuple[str, str]] = field(default_factory=list)
    limit_changes: list[LimitChange] = field(default_factory=list)
    split: Split = SURE
    splits: tuple[Split, ...] = ()
    anomalies: list[CallAnomaly] = field(default_factory=list)
    over: LetThroughOver | None = None
    loops: list[SeenLoop] = field(default_factory=list)


@value(frozen=True, slots=True)
class LedgerStanding:
    """How the ledger stands now."""

    head: Head
    open_sessions: list[SessionLine]
    waiting: list[QueuedLine]


def list_sessions(rt: Runtime, *, state: SessionState | None, limit: int) -> list[SessionLine]:
    """Sessions, the youngest first."""
    with rt.reading() as reader:
        found = reader.sessions(state=None if state is None else state.value, limit=limit)
        unsure = Unsure(reader, rt.workspace.place_of)
        return [line_of(rt, reader, session, unsure) for session in found]


def show_session(rt: Runtime, session_id: str) -> SessionView:
    """Everything about one session, as of one moment."""
    with rt.reading() as reader:
        session = reader.session(session_id)
        if session is None:
            raise unknown_session(session_id)
        figures = figures_of(reader, session)
        calls, observed = figures.calls, figures.observed
        at_us = session.ended_us or rt.services.clock_us()
        budgets = budgets_now(rt, reader, session, at_us, here=False)
        counted = Counter((call.action, call.reason) for call in calls)
        odd = reader.call_anomalies(ANOMALIES_MAX, session_id)
        responses = reader.usage_of(session_id)
        used = [UsedResponse(each.row, each.cost_nanos, each.call_id) for each in responses]
        unsure = Unsure(reader, rt.workspace.place_of)
        return SessionView(
            session=session,
            budgets=budgets,
            calls=calls,
            totals=figures.totals,
            by_model=_shares(reader, session_id, "model", observed),
            by_tool=_shares(reader, session_id, "tool", observed),
            by_actor=_shares(reader, session_id, "actor", observed),
            decisions=[(action, reason, count) for (action, reason), count in counted.most_common()],
            children=reader.children_of(session_id),
            observed=_observed(observed, calls),
            drift=largest_first(
                [
                    *drift_of(
                        session, calls, used, _quote(rt, session), odd, asks_again=REGISTRY.asks_again(session.client)
                    ),
                    *_unseen(rt, reader, session),
                ]
            ),
            enforced=is_enforced(reader, session),
            limit_changes=reader.limit_changes([each.budget_id for each in budgets], SHOWN_MAX),
            nanos_by_call={key: part.nanos for key, part in observed.items() if key is not None},
            models_by_call={key: part.model for key, part in observed.items() if key and part.model},
            responses=responses,
            client_sessions=reader.links_of(session_id),
            split=unsure.of_session(session_id),
            splits=tuple(unsure.of_budget(each, at_us) for each in budgets),
            anomalies=odd,
            over=let_through_over(reader, session_id),
            loops=reader.loops_of(session_id, SHOWN_MAX),
        )


def _quote(rt: Runtime, session: Session) -> Callable[[str, datetime], Price]:
    """The prices that hold in a session."""
    return partial(rt.workspace.prices.quote, scope=scope_of(rt, session))


def _unseen(rt: Runtime, reader: UsageReader, session: Session) -> list[Cause]:
    """Where a client's own totals differ; one that was read before its session went on says nothing any more."""
    kept = [each for each in reader.session_checks(session.session_id) if each.last_us <= each.read_us]
    found = [unseen(each.check, each.seen, as_datetime(each.last_us), _quote(rt, session)) for each in kept]
    return [cause for cause in found if cause is not None]


def _shares(reader: Reader, session_id: str, column: str, observed: Observed) -> list[SpendShare]:
    """What a session was spent on: by its responses where its client's record is read, else by its calls."""
    return (reader.work_shares if observed else reader.spend_by)(session_id, column, SHARES_MAX)


def _observed(observed: Observed, calls: list[Call]) -> ObservedSummary | None:
    if not observed:
        return None
    outside = observed.get(None)
    return ObservedSummary(
        responses=sum(part.responses for part in observed.values()),
        nanos=sum(part.nanos for part in observed.values()),
        outside_nanos=outside.nanos if outside else 0,
        incomplete=sum(part.partial for part in observed.values()),
        tokens=sum((part.tokens for part in observed.values()), Tokens()),
        estimated_nanos=sum(call.raw_estimate_nanos for call in calls if lifecycle.counts(call)),
    )


def list_budgets(rt: Runtime, *, limit: int) -> list[Budget]:
    """Budgets, those touched last first."""
    with rt.reading() as reader:
        found = [*reader.budgets(limit), *reader.rolling_budgets()]
        found = [standing_now(rt, reader, budget) for budget in found]
    return sorted(found, key=lambda budget: (-budget.touched_us, budget.budget_id))[:limit]


def splits_of(rt: Runtime, budgets: Iterable[Budget]) -> list[Split]:
    """How much of what is spent of each budget rests on prices that are not sure, in its unit."""
    with rt.reading() as reader:
        unsure = Unsure(reader, rt.workspace.place_of)
        return [unsure.of_budget(each, rt.services.clock_us()) for each in budgets]


def limit_changes(rt: Runtime, budgets: Iterable[Budget]) -> list[LimitChange]:
    """How the limits of these budgets were changed, the oldest first; one that was set to what it was is none."""
    with rt.reading() as reader:
        found = reader.limit_changes([each.budget_id for each in budgets], SHOWN_MAX)
    return [each for each in found if each.limit != each.before]


def own_changes(rt: Runtime, names: Iterable[str]) -> dict[str, list[LimitChange]]:
    """How limits of the user's settings file came to be what they are, by their names there, the oldest first."""
    with rt.reading() as reader:
        found = {name: reader.limit_changes([of_settings(name)], SHOWN_MAX) for name in names}
    return {name: [each for each in changes if each.limit != each.before] for name, changes in found.items()}


def changes_behind(rt: Runtime, budget_ids: Iterable[str], own: Mapping[str, BudgetRule]) -> list[LimitChange]:
    """How the limits of budgets came to be what they are, with those of the user's settings that they are made of."""
    named = [*budget_ids]
    with rt.reading() as reader:
        budgets = [budget for name in named if (budget := reader.budget(name)) is not None]
        for name, rule in own.items():
            kind = (rule.scope, rule.period, rule.unit)
            alike = (each for each in budgets if (each.scope, each.period, each.unit) == kind)
            if any(rule.scope is BudgetScope.SESSION or may_limit(rule, each.scope_key) for each in alike):
                named.append(of_settings(name))
        found = reader.limit_changes(named, SHOWN_MAX)
    return [each for each in found if each.limit != each.before]


def newest_limit_changes(rt: Runtime, limit: int) -> list[LimitChange]:
    """How limits were changed last, the newest first."""
    with rt.reading() as reader:
        found = reader.newest_limit_changes(limit)
    return [each for each in found if each.limit != each.before]


def standing(rt: Runtime, *, limit: int) -> LedgerStanding:
    """Head of the chain, open sessions and waiting run-log lines, as of one moment."""
    with rt.reading() as reader:
        found = reader.sessions(state=SessionState.OPEN.value, limit=limit)
        unsure = Unsure(reader, rt.workspace.place_of)
        lines = [line_of(rt, reader, session, unsure) for session in found]
        return LedgerStanding(reader.head(), lines, reader.queued_lines(WAITING_MAX))


def head_of(rt: Runtime) -> Head:
    """The last event: kept elsewhere, its hash shows a history that was rewritten."""
    with rt.reading() as reader:
        return reader.head()


def session_called(rt: Runtime, text: str) -> str:
    """The session an id names, ours or its client's, in full or by a beginning or an end of it that no other has.

    What a client goes on with is one session of its own and several of ours: meant is the youngest.
    """
    with rt.reading() as reader:
        if reader.session(text) is not None:
            return text
        if len(found := reader.sessions_of_client(text, CANDIDATES_SHOWN)) == 1:
            return found[0]
        hint = "`tallygate sessions list` shows the sessions."
        return _only("session", text, reader.sessions_called, hint)


def budget_called(rt: Runtime, text: str) -> str:
    """The budget an id names, in full or by a beginning or an end of it that no other has."""
    with rt.reading() as reader:
        found = reader.budget(text)
        if found is not None:
            return head_id(found)
        return _only("budget", text, reader.budgets_called, "`tallygate budget list` shows the budgets.")


def bill_called(rt: Runtime, text: str) -> str:
    """The bill an id names, in full or by a beginning or an end of it that no other has."""
    with rt.reading() as reader:
        if reader.bill(text) is not None:
            return text
        return _only("bill", text, reader.bills_called, "`tallygate import list` shows the bills.")


def attestation_called(rt: Runtime, text: str) -> str:
    """The attestation an id names, in full or by a beginning or an end of it that no other has."""
    with rt.reading() as reader:
        if reader.attestation(text) is not None:
            return text
        return _only("attestation", text, reader.attestations_called, "`tallygate attest list` shows the attestations.")


def find_budget(rt: Runtime, text: str) -> Budget:
    """The budget an id names, as `budget_called` finds it; of a session's id, the budget that the session lives on."""
    try:
        key = budget_called(rt, text)
    except NotFound as no_budget:
        key = _lived_on(rt, text, no_budget)
    with rt.reading() as reader:
        return standing_now(rt, reader, present(reader.budget(key), f"budget {key} is in the ledger"))


def _lived_on(rt: Runtime, text: str, no_budget: NotFound) -> str:
    """The budget of a session that has none of its own: that of the session it is in, or went on from.

    A budget of the settings is never meant by it: whoever raises a session does not think of everybody's day.
    """
    try:
        session_id = session_called(rt, text)
    except NotFound:
        raise no_budget from None
    with rt.reading() as reader:
        session = present(reader.session(session_id), f"session {session_id} is in the ledger")
        own = drawn_on(reader, session, budgets_now(rt, reader, session, rt.services.clock_us(), here=False))
    if own is None or own.scope != "session":
        said = "no budget that is left in the tables" if own is None else "no budget but those of the settings"
        raise NotFound(
            f"Session {short_name(session_id)} has {said}.",
            hint="`tallygate budget list` shows them.",
            code="unknown_budget",
        )
    return own.budget_id


@value(frozen=True, slots=True)
class Beside:
    """What else holds where a limit was changed: that the session has ended, or a hard budget that leaves less.

    `goes_on` is how somebody goes on with an ended one, in a sentence.
    """

    ended: bool = False
    goes_on: str = ""
    tighter: Budget | None = None


def beside(rt: Runtime, changed: Budget) -> Beside:
    """What else to know of a limit that was changed; of one that several open sessions live on, nothing.

    The budget of a session that has ended is still spent where its client has resumed it.
    """
    with rt.reading() as reader:
        session = reader.session(changed.scope_key) if changed.scope == "session" else None
        if session is not None and session.is_open:
            found = [budgets_now(rt, reader, session, rt.services.clock_us(), here=False)]
        else:
            opened = reader.sessions(state=SessionState.OPEN.value, limit=_OPEN_LOOKED_AT)
            each = (budgets_now(rt, reader, one, rt.services.clock_us(), here=False) for one in opened)
            found = [budgets for budgets in each if any(b.name == changed.name for b in budgets)]
        if session is not None and not found:
            return Beside(ended=True, goes_on=_going_on(reader, session, rt.workspace.around.cwd))
    if len(found) != 1:
        return Beside()
    return Beside(tighter=policy.tightest([b for b in found[0] if b.name != changed.name and _leaves_less(b, changed)]))


def _going_on(reader: Reader, session: Session, here: Path | None) -> str:
    """How somebody who is `here` goes on with a session that has ended: by its client's own command, in its folder."""
    for client, client_session in reversed(reader.links_of(session.session_id)):
        known = REGISTRY.stored(client)
        if known is None or known.program is None:
            continue
        if known.facts is not None and known.facts.begins_anew and not has_begun_work(reader, session):
            return f"It never began, so there is nothing to resume: start it again in {known.title}."
        if (command := known.program.going_on(client_session)) is not None:
            is_there = session.project in {None, str(here)}
            return f"To go on{'' if is_there else f', in {session.project}'}: {command}"
    return "To go on, resume it in its client."


def _leaves_less(other: Budget, changed: Budget) -> bool:
    if other.mode is not BudgetMode.HARD:
        return False
    if other.unit in COUNTED or changed.unit in COUNTED:
        return other.available <= 0  # how calls and money compare is not known, only that nothing goes on
    return in_usd(other.available, other) < in_usd(changed.available, changed)


def standing_now(rt: Runtime, reader: Reader, budget: Budget) -> Budget:
    """A budget as it stands, at the limit of its next step: one of a rolling period with what all its pieces hold."""
    at_us = rt.services.clock_us()
    found = rolled(reader, budget, at_us) if is_head(budget) else budget
    return as_signed(rt, reader, limited_now(rt, found, at_us))


def _only(noun: str, text: str, search: Callable[[str, int], list[str]], hint: str) -> str:
    found = search(text, CANDIDATES_SHOWN + 1) if len(text) >= PART_MIN else []
    if len(found) == 1:
        return found[0]
    if not found:
        short = "" if len(text) >= PART_MIN else f" An id is shortened to {PART_MIN} characters or more."
        raise NotFound(f"No {noun} {shown(text)} is in the ledger.{short}", hint=hint, code=f"unknown_{noun}")
    listed = ", ".join(cleaned(each, 200) for each in found[:CANDIDATES_SHOWN])
    more = ", ..." if len(found) > CANDIDATES_SHOWN else ""
    message = f"{shown(text)} fits more than one {noun}: {listed}{more}."
    raise InvalidArgument(noun, message, hint="Give more of the id.")


def line_of(rt: Runtime, reader: Reader, session: Session, unsure: Unsure) -> SessionLine:
    """One session as lists have it."""
    budgets = budgets_now(rt, reader, session, rt.services.clock_us(), here=False)
    own = drawn_on(reader, session, budgets)
    totals = reader.totals(session.session_id)
    sure = unsure.of_session(session.session_id)
    spent = to_unit_nanos(totals.spent_nanos, session.usd_nanos)
    split = Split(*(to_unit_nanos(each, session.usd_nanos) for each in (sure.approximate_nanos, sure.assumed_nanos)))
    tightest, fullest = policy.tightest(budgets) or own, policy.most_used(budgets) or own
    return SessionLine(
        session=session,
        own=own,
        spent_nanos=spent,
        left_nanos=None if tightest is None else in_usd(tightest.available, tightest),
        pressure=(
            Pressure.CRITICAL if fullest is None else policy.pressure(fullest, rt.workspace.policy.pressure_percents)
        ),
        totals=totals,
        split=split.within(spent),
        model=used_model(reader, session) or _asked_model(reader, session),
    )


# --- stopped runs ----------------------------------------------------------------------------------------------------
# Which of the last runs of a project were stopped, for people and for the scripts that started them.


# So many sessions are looked through for those of a project, and so many steps of each for the one that stopped it.
SESSIONS_LOOKED_AT = 200
STEPS_LOOKED_AT = 500


@value(frozen=True, slots=True)
class StoppedRun:
    """A run that was stopped, and the refusal that did it."""

    session_id: str
    call: Call

    @property
    def message(self) -> str | None:
        """What was said; None where it was not kept."""
        return None if self.answer is None else self.answer.message

    @property
    def command(self) -> str | None:
        """The command that lets it go on."""
        return None if self.answer is None else self.answer.command

    @property
    def answer(self) -> GateAnswer | None:
        """The refusal itself, as far as it was kept."""
        return None if self.call.reply is None else GateAnswer.from_json(self.call.reply)


def _asked_model(reader: Reader, session: Session) -> str:
    """The model a session was opened with; where nobody said and nothing is spent, the one its last step was for."""
    if session.model != UNKNOWN_MODEL:
        return session.model
    last = reader.recent_calls(session.session_id, 2**62, 1)
    return (last[0].model_requested if last else None) or session.model


def last_stops(rt: Runtime) -> list[StoppedRun]:
    """What stopped the last run of this project, and those that were at work beside it; the newest first."""
    with rt.reading() as reader:
        sessions = reader.sessions(state=None, limit=SESSIONS_LOOKED_AT)
        here = _of_project(rt, sessions)
        beside = [each for each in here if each.ended_us is None or each.ended_us >= here[0].started_us]
        found = [stop_of(reader, each, rt.services.clock_us()) for each in beside]
    return [stop for stop in found if stop is not None]


def stop_of(reader: Reader, session: Session, at_us: int) -> StoppedRun | None:
    """The refusal that a session stands still by; None where it was let go on since, or a limit was raised."""
    budgets = all_budgets(reader, session, session.ended_us or at_us)
    changes = reader.limit_changes([each.budget_id for each in budgets], SHOWN_MAX)
    calls = reader.recent_calls(session.session_id, 2**62, STEPS_LOOKED_AT)
    call = stopped_by(calls[::-1], last_raise_us(changes))
    return None if call is None else StoppedRun(session.session_id, call)


def _of_project(rt: Runtime, sessions: Sequence[Session]) -> list[Session]:
    if rt.workspace.project is None:
        anywhere = rt.workspace.folder is None
        return [each for each in sessions if anywhere or each.project is None]
    folders = folders_of(rt, sorted({each.project for each in sessions if each.project}), rt.workspace.project)
    return [each for each in sessions if each.project in folders]
