"""A budget and a session in figures: for what, how exact and how certain, and what a step usually takes."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable

from tallygate.clients.registry import REGISTRY
from tallygate.core.costing import Certainty, Split, certainty_of
from tallygate.core.gate import lifecycle, policy
from tallygate.core.gate.rules import PIECES, piece_of, rolling_us, within_of
from tallygate.core.gate.wording import doubtful, let_through
from tallygate.core.hooks import FOUND_BY_HOOK
from tallygate.core.model import Amount, Budget, Call, CallRequest, Session, needed
from tallygate.core.moments import as_datetime, microseconds
from tallygate.core.money import COUNTED
from tallygate.core.sessions import SessionTotals, over_limit, totals_of
from tallygate.core.sums import Observed
from tallygate.core.usage import UNKNOWN_MODEL, priced_as
from tallygate.core.values import value
from tallygate.core.words import BudgetMode
from tallygate.ledger.port import PricedSum, ProofReader, Reader, SessionReader, UsageReader
from tallygate.operations.runtime import PlaceOf, Runtime, on_paper, scope_called
from tallygate.operations.windows import FOR_EVER_US, Facts, counts, on_record

# --- totals ----------------------------------------------------------------------------------------------------------
# A session in figures: what it cost, who told so, and how exact that is.


@value(frozen=True, slots=True)
class SessionFigures:
    """What a session's totals are made of, and the totals."""

    calls: list[Call]
    observed: Observed
    totals: SessionTotals


@value(frozen=True, slots=True)
class LetThroughOver:
    """How often a session's steps went over a limit that only warns, and what it had spent when one did first."""

    times: int
    first_us: int
    spent_nanos: int

    @property
    def told(self) -> str:
        return let_through(self.times, self.spent_nanos)


def let_through_over(reader: Reader, session_id: str) -> LetThroughOver | None:
    """What a hard limit would have stopped of a session; None where nothing went over one."""
    over = over_limit(reader.calls_of(session_id))
    if not over:
        return None
    first_us = min(call.at_us for call in over)
    responses = [each for each in reader.usage_of(session_id) if microseconds(each.row.at) <= first_us]
    reported = sum(call.counted_nanos for call in reader.calls_of(session_id) if call.at_us < first_us)
    spent = sum(each.cost_nanos for each in responses) if reader.is_metered(session_id) else reported
    return LetThroughOver(len(over), first_us, spent)


def figures_of(reader: Reader, session: Session) -> SessionFigures:
    """A session in figures, as of one moment."""
    calls, observed = list(reader.calls_of(session.session_id)), reader.observed(session.session_id)
    return SessionFigures(
        calls, observed, totals_of(session, calls, observed, is_whole=_is_whole(reader, session, calls))
    )


def _is_whole(reader: UsageReader, session: Session, calls: list[Call]) -> bool:
    """Whether nothing says that a client had a response which is in no record.

    Its own total of the session may be more than what was seen of it. And some clients ask their model again when a
    tool is refused: where they were killed meanwhile, nobody wrote down what came of it.
    """
    for each in reader.session_checks(session.session_id):
        # Responses have come since the total was read, or it holds those of another session: it cannot be held against
        # these.
        is_later = each.last_us > each.read_us or bool(each.check.includes)
        if not is_later and each.check.total > sum(tokens.total for tokens in each.seen.values()):
            return False
    refused_us = lifecycle.asked_after_refusal_us(calls) if REGISTRY.asks_again(session.client) else None
    if refused_us is None:
        return True
    return any(microseconds(each.row.at) > refused_us for each in reader.usage_of(session.session_id))


# --- certainty -------------------------------------------------------------------------------------------------------
# How much of what was spent rests on prices that are not known for the very model: approximate, or assumed.


_DEPTH_MAX = 32


def certainties(reader: ProofReader) -> dict[str, Certainty]:
    """How sure each price is that anything on record was priced at, by its id."""
    found = {}
    for price_id, basis in reader.prices().items():
        kept = json.loads(basis)
        source, known, approximate = kept.get("source", ""), kept.get("known", True), kept.get("approximate", False)
        found[price_id] = certainty_of(source, known=known, approximate=approximate)
    return found


class Unsure:
    """The prices of a ledger that are not sure, and what of its sums rests on them; where there are none, nothing."""

    def __init__(self, reader: Reader, place_of: PlaceOf = on_paper) -> None:
        self._reader = reader
        self._facts = Facts(reader, place_of)
        found = certainties(reader)
        self.approximate = frozenset(name for name, sure in found.items() if sure is Certainty.APPROXIMATE)
        self.assumed = frozenset(name for name, sure in found.items() if sure is Certainty.ASSUMED)
        self._all = self.approximate | self.assumed

    def of_session(self, session_id: str) -> Split:
        """Of what a session's own responses and calls cost, in nano-dollars."""
        return self._split(self._spent(session_id))

    def spent_in(self, session_id: str) -> list[PricedSum]:
        """What a session and those inside it cost at such prices, by model, the dearest first."""
        parts = [part for each in self._tree(session_id) for part in self._spent(each)]
        return sorted(parts, key=lambda part: (-part.nanos, part.model))

    def of_budget(self, budget: Budget, at_us: int) -> Split:
        """Of what is spent of a budget, in its unit: none of tokens and calls, which have no price."""
        if not self._all or budget.unit in COUNTED:
            return Split()
        if budget.scope == "session":
            found = self._split(self.spent_in(budget.scope_key))
            found = Split(*(Amount(nanos).of(budget) for nanos in (found.approximate_nanos, found.assumed_nanos)))
        else:
            span = _span(budget, at_us)
            amounts = (
                sum(on_record(self._reader, self._facts, budget, span, FOR_EVER_US, prices=prices).values())
                if prices
                else 0
                for prices in (self.approximate, self.assumed)
            )
            found = Split(*amounts)
        return found.within(budget.spent + budget.carried)

    def _spent(self, session_id: str) -> list[PricedSum]:
        return self._reader.spent_at(session_id, self._all) if self._all else []

    def _tree(self, session_id: str) -> Iterable[str]:
        """A session and those that were opened inside it, whose costs stand in its budget, too."""
        found, now = {session_id: None}, [session_id]
        for _ in range(_DEPTH_MAX):
            now = [child for parent in now for child in self._reader.children_of(parent) if child not in found]
            if not now:
                break
            found |= dict.fromkeys(now)
        return found

    def _split(self, parts: Iterable[PricedSum]) -> Split:
        found = Split()
        for part in parts:
            sure = Certainty.ASSUMED if part.price_id in self.assumed else Certainty.APPROXIMATE
            found += Split.of(sure, part.nanos)
        return found


def _span(budget: Budget, at_us: int) -> tuple[int, int]:
    """The time whose spending a budget counts: its window, or the last hours of one that rolls."""
    length = rolling_us(budget.period)
    if length is not None:
        return at_us - length, FOR_EVER_US
    return budget.start_us or 0, FOR_EVER_US if budget.resets_us is None else budget.resets_us


# --- halts in doubt --------------------------------------------------------------------------------------------------
# Whether a budget refuses a step only because of prices that are not sure, and what would settle them.


def in_doubt(rt: Runtime, reader: Reader, request: CallRequest, budgets: Iterable[Budget], at_us: int) -> str | None:
    """What to say where every budget that refuses would carry the step at known prices alone; else nothing.

    Looked at only once a step is refused, and sums are made only where the step's own price does not explain it.
    """
    asked = needed(request)
    refusing = [b for b in budgets if b.mode is BudgetMode.HARD and not policy.admits(b, asked.of(b))]
    if not refusing or any(budget.unit in COUNTED for budget in refusing):
        return None
    own = request.price.certainty
    unsure: Unsure | None = None
    most = 0, refusing[0]
    for budget in refusing:
        missing = (asked.of(budget) if own is Certainty.KNOWN else 0) - budget.available
        if missing <= 0:
            continue
        unsure = unsure or Unsure(reader, rt.workspace.place_of)
        spent = unsure.of_budget(budget, at_us).unsure_nanos
        # One budget that is full at known prices alone is enough to refuse: then no doubt decided.
        if spent < missing:
            return None
        most = max(most, (spent, budget), key=lambda found: found[0])
    model = request.model
    served = {model}
    if own is Certainty.KNOWN:
        parts = [] if unsure is None else unsure.spent_in(request.session_id)
        model = parts[0].model if parts else ""
        rows = (each.row for each in reader.usage_of(request.session_id))
        served = {model, *(priced_as(row) for row in rows if row.model == model)}
    scope = scope_called(rt, request.session_id)
    settles = bool(model) and any(rt.workspace.prices.to_paste(each, as_datetime(at_us), scope) for each in served)
    return doubtful(most[1], most[0], own, model, settles=settles)


# --- spent on --------------------------------------------------------------------------------------------------------
# What the spending that a budget counts was for: the dearest models, for whoever is told that it is exhausted.


SHARES_SHOWN = 3
# A sum over a longer time would hold up every refusal; what was spent in the session is told then.
_SUMMED_US = 8 * 24 * 3600 * 1_000_000


def spent_on(
    reader: Reader, budget: Budget | None, session_id: str, at_us: int, place_of: PlaceOf = on_paper
) -> tuple[tuple[str, int], ...]:
    """Models with what they cost of a budget in nano-dollars, the dearest first. Reserved is not spent.

    Of a budget whose window is long it is what the session itself cost.
    """
    if budget is None:
        return ()
    if budget.scope == "session":
        found = reader.paid_by_model(budget.scope_key, SHARES_SHOWN, budget.budget_id)
        return tuple((share.label, share.nanos) for share in found)
    # The time whose spending a budget counts: its window, or all pieces of one that rolls.
    length = rolling_us(budget.period)
    if length is None:
        start_us, until_us = budget.start_us or 0, FOR_EVER_US if budget.resets_us is None else budget.resets_us
    else:
        now = piece_of(budget.period, at_us)
        start_us, until_us = now.start_us - length, now.start_us + length // PIECES
    if until_us - start_us > _SUMMED_US:
        alone = reader.paid_by_model(session_id, SHARES_SHOWN)
        return tuple((share.label, share.nanos) for share in alone)
    facts, spent = Facts(reader, place_of), Counter[str]()
    placed = within_of(budget.budget_id) is not None
    for each in reader.weighed(budget.scope, start_us, until_us, FOR_EVER_US, apart=False, placed=placed, named=True):
        if counts(budget, facts.of_names(each.client, each.project, each.session_id, each.model)):
            spent[each.model or "unknown"] += each.usd_nanos * each.times
    dearest = sorted(spent.items(), key=lambda item: (-item[1], item[0]))
    return tuple((model, nanos) for model, nanos in dearest if nanos > 0)[:SHARES_SHOWN]


# --- usual steps -----------------------------------------------------------------------------------------------------
# What a session's steps usually take, for the amount that a user is offered to go on with.


STEPS_LOOKED_AT = 24
# A session that is resumed again and again with nothing left has had no step of its own.
SESSIONS_LOOKED_AT = 8


def usual_step(reader: SessionReader, session_id: str, budget: Budget) -> int:
    """What the middle one of a session's last steps took of a budget, in its unit; 0 before there is one.

    A session that has had none yet goes by the one whose work it took up, or that it lies inside.
    """
    for _ in range(SESSIONS_LOOKED_AT):
        calls = reader.recent_calls(session_id, 2**62, STEPS_LOOKED_AT)
        taken = sorted(amount for call in calls if (amount := _taken(call).of(budget)) > 0)
        if taken:
            return taken[len(taken) // 2]
        session = reader.session(session_id)
        if session is None or session.parent_session_id is None:
            return 0
        session_id = session.parent_session_id
    return 0


def _taken(call: Call) -> Amount:
    """What a step took: what it cost or, until that is known, what it reserves; nothing where it was refused."""
    nanos = call.counted_nanos or call.observed_nanos or 0
    if nanos == 0:
        return Amount(0)
    used = call.actual
    tokens = call.prompt_tokens + call.completion_tokens if used is None else used.context + used.output
    return Amount(nanos, tokens, 1)


def used_model(reader: UsageReader, session: Session) -> str | None:
    """The model a session spent most on, where nobody said at its start which it would be."""
    if session.model != UNKNOWN_MODEL:
        return None
    found = reader.usage_by_model(session.session_id, 1)
    return found[0].label if found else None


ANCESTORS_MAX = 32


def drawn_on(reader: SessionReader, session: Session, budgets: tuple[Budget, ...]) -> Budget | None:
    """The budget a session lives on: its own, else that of the nearest session around it, else the tightest.

    None where the ledger's tables have no budget of it any more.
    """
    named = {budget.budget_id: budget for budget in budgets}
    around: Session | None = session
    for _ in range(ANCESTORS_MAX):
        if around is None or around.session_id in named:
            break
        around = None if around.parent_session_id is None else reader.session(around.parent_session_id)
    if around is not None and around.session_id in named:
        return named[around.session_id]
    return policy.tightest(budgets)


def is_enforced(reader: SessionReader, session: Session) -> bool:
    """Whether hooks of the client gate a session, or one that it lies inside; else only an agent's own asking does."""
    for _ in range(ANCESTORS_MAX):
        if FOUND_BY_HOOK in reader.links_found_by(session.session_id):
            return True
        parent = None if session.parent_session_id is None else reader.session(session.parent_session_id)
        if parent is None:
            return False
        session = parent
    return False


def has_begun_work(reader: Reader, session: Session) -> bool:
    """Whether a session's run ever asked a model: itself, another session of the same run, or one inside of these."""
    asked = [session.session_id]
    for link in reader.links_of(session.session_id):
        asked += [each.session_id for each in reader.sessions_linked(*link)]
    for session_id in dict.fromkeys(asked):
        for each in (session_id, *reader.children_of(session_id)):
            if reader.has_usage(each) or reader.totals(each).spent_nanos:
                return True
    return False
