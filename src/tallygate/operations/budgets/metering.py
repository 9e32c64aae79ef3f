"""What one batch of responses finds in the ledger already, and changes in the budgets and calls of its session."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from operator import attrgetter, itemgetter

from tallygate.core.attribution import MadeFor, servers_meant
from tallygate.core.errors import present
from tallygate.core.gate import lifecycle
from tallygate.core.gate.rules import BudgetScope, applies_to_model, applies_to_step, rules_of, weighed_in
from tallygate.core.learning.calibration import CostOrigin
from tallygate.core.model import Budget, Call, CostBasis, Hold, Session
from tallygate.core.moments import MINUTE_US, microseconds
from tallygate.core.sessions import call_for, closed_by
from tallygate.core.usage import ObservedUsage, Quality, ResponseKind, nearest, priced_as_standard, tells_of
from tallygate.core.words import Action, ActorType, CallState
from tallygate.ledger import rows
from tallygate.ledger.port import Change, Insert, StoredUsage, Tx, Update
from tallygate.operations.learning.estimates import sample_of
from tallygate.operations.runtime import PlaceOf, on_paper
from tallygate.operations.windows import (
    Facts,
    OpenWindows,
    State,
    booked_amount,
    budget_change,
    changed_in,
    counts,
    time_of,
)
from tallygate.pricing.identity import means

# --- responses that are known ----------------------------------------------------------------------------------------
# Find what the ledger has of a response already: under its own key, or told of by another source.


class StoredResponses:
    """The responses in the ledger that one batch of one client may touch, as they stand after each change."""

    def __init__(self, tx: Tx, client: str, rows: Sequence[ObservedUsage]) -> None:
        self.touched: set[str] = set()
        # Only what telemetry tells is looked for by its request, or looks by it.
        self._tells = any(row.is_told for row in rows)
        self._by_key = tx.usage_known(client, [row.response_key for row in rows])
        self._of_request: dict[str, set[str]] = {}
        requests = {row.request_id for row in rows if row.request_id is not None}
        # A transcript's row looks only for what telemetry told of it; copies of its own are found by the key.
        for stored in tx.usage_of_requests(client, requests, told=not self._tells) if requests else ():
            self._by_key.setdefault(stored.row.response_key, stored)
        for stored in self._by_key.values():
            self._index(stored)

    def before(self, row: ObservedUsage) -> StoredUsage | None:
        """The response as it stands: by its key, and for telemetry also by the transcript's row of its request."""
        stored = self._by_key.get(row.response_key)
        if stored is not None or not row.is_told:
            return stored
        near = nearest(each.row for each in self._with_request_of(row) if tells_of(row, each.row))
        return None if near is None else self._by_key[near.response_key]

    def told(self, row: ObservedUsage) -> StoredUsage | None:
        """What telemetry told of a transcript's response, standing there as a row of its own."""
        if not self._of_request:
            return None
        others = (each for each in self._with_request_of(row) if each.row.response_key != row.response_key)
        return next((each for each in others if tells_of(each.row, row)), None)

    def has(self, key: str) -> bool:
        """Whether a response is known by a key."""
        return key in self._by_key

    def put(self, stored: StoredUsage) -> None:
        """Take a response as it is now."""
        self.touched.add(stored.row.response_key)
        self._by_key[stored.row.response_key] = stored
        self._index(stored)

    def drop(self, stored: StoredUsage) -> None:
        """Forget a row whose response stands in another one now."""
        self.touched.add(stored.row.response_key)
        del self._by_key[stored.row.response_key]

    def _with_request_of(self, row: ObservedUsage) -> list[StoredUsage]:
        keys = self._of_request.get(row.request_id or "", ())
        return [self._by_key[key] for key in sorted(keys) if key in self._by_key]

    def _index(self, stored: StoredUsage) -> None:
        if stored.row.request_id is not None and (self._tells or stored.row.is_told):
            self._of_request.setdefault(stored.row.request_id, set()).add(stored.row.response_key)


# --- metered sessions ------------------------------------------------------------------------------------------------
# Sessions whose client's own record is read: what a response changes in budgets and calls.
#
# From the first response on, a session's budgets hold what was used and nothing else: estimates that were booked and
# usage that an agent reported give way, and a pending call holds only what its responses have not used yet.


# What a session at work needs. Only where none of those is surely the one more are looked at, and where older responses
# come in, all up to the bound.
CALLS_AT_WORK = 32
CALLS_LOOKED_AT = 500
CALLS_MAX = 50_000
NEVER_US = -(2**62)


class SessionCalls:
    """Calls of one session, so arranged that the one a response was made for is found among any number."""

    def __init__(self, calls: Iterable[Call]) -> None:
        self._by_id: dict[str, Call] = {}
        self.pending: dict[str, Call] = {}
        self._asked: dict[tuple[ActorType, str | None], list[tuple[int, str]]] = {}
        for call in sorted(calls, key=attrgetter("at_us", "call_id")):
            self._asked.setdefault((call.actor_type, call.actor_id), []).append((call.at_us, call.call_id))
            self.put(call)

    def get(self, call_id: str) -> Call | None:
        return self._by_id.get(call_id)

    def put(self, call: Call) -> None:
        """Take a call as it is now."""
        self._by_id[call.call_id] = call
        if call.state is CallState.PENDING:
            self.pending[call.call_id] = call
        else:
            self.pending.pop(call.call_id, None)

    def last_before(self, at_us: int) -> list[Call]:
        """The last call that each actor was let through with by a time."""
        last = []
        for asked in self._asked.values():
            index = bisect_right(asked, at_us, key=itemgetter(0)) - 1
            while index >= 0 and self._by_id[asked[index][1]].action is Action.HALT:
                index -= 1
            if index >= 0:
                last.append(self._by_id[asked[index][1]])
        return last


class Meter:
    """The budgets and calls that one batch of responses changes, loaded once and written once."""

    def __init__(self, tx: Tx, place_of: PlaceOf = on_paper) -> None:
        self._tx = tx
        self._budgets: dict[str, Budget] = {}
        self._calls: dict[str, SessionCalls] = {}
        # How many calls of a session were looked at, and since when these are all that there are.
        self._reach: dict[str, tuple[int, int]] = {}
        self._own: dict[str, tuple[str, ...]] = {}
        self._opened: set[tuple[str, str, MadeFor, int]] = set()
        self._facts = Facts(tx, place_of)
        self._windows = OpenWindows(tx, self._facts, tx.at_us)
        self._touched_budgets: set[str] = set()
        self._touched_calls: dict[str, Call] = {}
        self._links: list[Change] = []
        self._learned: list[Change] = []

    def link(self, session: Session, client: str, client_session: str, found_by: str) -> None:
        """Make a session live: what its calls had booked gives way to what the client's record says."""
        # Linked in this very event, perhaps: what is not written yet cannot be read back.
        was_metered = self._tx.is_metered(session.session_id) or any(
            change.row["session_id"] == session.session_id for change in self._links
        )
        row = {
            "client": client,
            "client_session": client_session,
            "session_id": session.session_id,
            "found_by": found_by,
        }
        self._links.append(Insert("client_session", row))
        if was_metered:
            return
        for call in self._tx.booked_calls(session.session_id):
            basis: CostBasis = "transcript" if call.state is CallState.RECONCILED else "none"
            self._touch(replace(self._unbooked(call), cost_basis=basis))

    def count(self, stored: StoredUsage, befores: Sequence[StoredUsage] = ()) -> StoredUsage:
        """Count a response of no session: into every window that it lies in.

        `befores` are the rows it stood in until now; they count for what they did, and it takes over their charges.
        """
        if not befores and not stored.charges and self._windows.add_unseen(partial(self._state_of, stored)):
            return stored
        charges = self._charged(stored, befores, (), {})
        return stored if charges == stored.charges else replace(stored, charges=charges)

    def recount(self, before: StoredUsage, row: ObservedUsage) -> StoredUsage:
        """A response of which only what it was made for is told anew: windows that go by that count it, or no more."""
        stored = replace(before, row=row)
        charges = self._charged(stored, [before], [budget_id for budget_id, _ in before.charges], {})
        return stored if charges == stored.charges else replace(stored, charges=charges)

    def charge(self, stored: StoredUsage, session: Session, befores: Sequence[StoredUsage] = ()) -> StoredUsage:
        """Count a response into its session's budgets, its call, and every window that it lies in."""
        # The order matters. A window that is opened here begins without this response, which is then added as to any
        # other. What a hold gives way reaches a budget together with what is booked in its place: one after the other,
        # both would stand there for a moment and name an overage that never was. Calls end last, since what they came
        # to is learned from, and this response is part of it.
        session_id = session.session_id
        stored = replace(stored, session_id=session_id)
        self._open_windows(session, stored)
        current = self._call_of(stored, session_id)
        of_call = [each for each in befores if current is not None and each.call_id == current.call_id]
        if session_id not in self._own:
            own = self._tx.budgets_of(session_id)
            self._own[session_id] = tuple(budget.budget_id for budget in own)
            for budget in own:
                self._budgets.setdefault(budget.budget_id, budget)
        released = self._release(current, stored, of_call)
        charges = self._charged(stored, befores, self._own[session_id], released)
        for each in befores:
            call = None if each.call_id is None or each in of_call else self._tx.call(each.call_id)
            if call is not None:
                self._observed(call, -each.cost_nanos)
        if current is not None:
            self._observed(current, stored.cost_nanos - sum(each.cost_nanos for each in of_call))
            if current.state is CallState.EXPIRED and any(hold.booked for hold in current.holds):
                # What stood booked, as nobody had reported on it, gives way to its first response.
                self._touch(reconciled_by_transcript(self._unbooked(current), self._tx.at_us))
            calls = self._calls[session_id]  # they were looked through for this one
            done = [] if stored.call_id is not None else closed_by(current, list(calls.pending.values()))
            if current.is_model_call and stored.row.quality is Quality.FINAL and current.call_id in calls.pending:
                done.append(calls.pending[current.call_id])
            self._close(done, session)
        call_id = None if current is None else current.call_id
        return replace(stored, call_id=call_id, charges=charges)

    def _charged(
        self,
        stored: StoredUsage,
        befores: Sequence[StoredUsage],
        own: Sequence[str],
        released: Mapping[str, int],
    ) -> tuple[tuple[str, int], ...]:
        """Book what is more of a response than stood on record of it; returns what stands of it in each budget.

        Windows had counted the rows before, whether those name them or came before the windows were made; a session's
        own budgets hold what the rows name, and the whole of the response from now on.
        """
        stands: dict[str, int] = dict.fromkeys(own, 0)
        for each in befores:
            for budget_id, amount in each.charges:
                stands[budget_id] = stands.get(budget_id, 0) + amount
        counted = [self._state_of(each) for each in befores]
        state = self._state_of(stored)
        old, new = changed_in(self._windows, counted, None), changed_in(self._windows, (), state)
        more = new if not befores else self._kept(old, new, stands, stored)
        for budget_id, amount in stands.items():
            budget = self._budget(budget_id)
            # A budget that is no window counts by what the rows name: the whole of the response, less what stands
            # there.
            if budget.start_us is None:
                more[budget_id] = state[2].of(budget) - amount
        for budget_id in {*more, *released}:
            cost, held = more.get(budget_id, 0), released.get(budget_id, 0)
            if cost or held or budget_id in own or budget_id in self._windows.fresh:
                self._add(budget_id, cost, held=held)
            stands[budget_id] = stands.get(budget_id, 0) + more.get(budget_id, 0)
        return tuple((budget_id, amount) for budget_id, amount in stands.items() if amount or budget_id in own)

    def _kept(
        self, old: Mapping[str, int], new: Mapping[str, int], stands: Mapping[str, int], stored: StoredUsage
    ) -> dict[str, int]:
        """What windows count more of a response that is told again; less only where the user has corrected it.

        What one has booked stays where it is told anew whom, where or by which model it was made. Otherwise one more
        line in a transcript, which its agent can write, would take back what a limit has counted. The larger amount
        stands from then on, and never twice; a window that counts it now as well has it, too.
        """
        more = {}
        for budget_id in {*old, *new, *(stands if stored.corrected is not None else ())}:
            budget = self._budget(budget_id)
            if budget.start_us is None:
                continue
            booked, now = max(-old.get(budget_id, 0), stands.get(budget_id, 0)), new.get(budget_id, 0)
            if stored.corrected is None:
                now = max(now, min(booked, stored.amount.of(budget)))
            more[budget_id] = now - booked
        return more

    def changes(self) -> list[Change]:
        """Everything that changed, to be written with the responses in one event."""
        budgets = [
            budget_change(self._budgets[key], self._tx.at_us, fresh=key in self._windows.fresh)
            for key in sorted(self._touched_budgets)
        ]
        calls: list[Change] = [Update("call", _call_columns(call)) for call in self._touched_calls.values()]
        return [*self._links, *budgets, *calls, *self._learned]

    def _state_of(self, stored: StoredUsage) -> State:
        return partial(self._facts.of_usage, stored), time_of(stored), stored.amount

    def _call_of(self, stored: StoredUsage, session_id: str) -> Call | None:
        """The call a response counts for: the one it has, else the one it was made for.

        What a client does of its own accord (it compacts, it finds a title) is no part of any step.
        """
        if stored.row.rule.kind is ResponseKind.AUXILIARY:
            return None
        calls = self._calls.get(session_id) or self._load(session_id, CALLS_AT_WORK)
        if stored.call_id is not None:
            return calls.get(stored.call_id) or self._tx.call(stored.call_id)
        agent, at_us = stored.row.agent_id, microseconds(stored.row.at)
        call = call_for(agent_id=agent, at_us=at_us, calls=calls.last_before(at_us))
        # Mostly one of the last calls; the farther ones are loaded only where these leave it open.
        for limit in (CALLS_LOOKED_AT, CALLS_MAX):
            if self._is_surely(call, agent, at_us, session_id):
                break
            if limit > self._reach[session_id][0]:
                calls = self._load(session_id, limit)
                call = call_for(agent_id=agent, at_us=at_us, calls=calls.last_before(at_us))
        return call

    def _is_surely(self, call: Call | None, agent: str | None, at_us: int, session_id: str) -> bool:
        """Whether no call that was not looked at can be nearer to a response than the one that was found.

        Among the few calls of a session at work only an agent's own says so: where there is none of a subagent, another
        one's is taken, and its own may lie further back.
        """
        limit, since_us = self._reach[session_id]
        if call is None or at_us < since_us:
            return since_us == NEVER_US
        if limit > CALLS_AT_WORK or since_us == NEVER_US:
            return True
        is_own = agent is None or (call.actor_type is ActorType.SUBAGENT and call.actor_id == agent)
        return is_own and call.at_us >= since_us

    def _load(self, session_id: str, limit: int) -> SessionCalls:
        recent = self._tx.recent_calls(session_id, self._tx.at_us, limit)
        # Nothing is older than the first call of a session, and nothing is looked for beyond the bound.
        whole = len(recent) < limit or limit == CALLS_MAX
        self._reach[session_id] = limit, NEVER_US if whole else recent[-1].at_us
        if not whole and limit == CALLS_AT_WORK:
            # What still waits for a response further back ends with the next call of its agent, too.
            looked_at = {call.call_id for call in recent}
            pending = self._tx.pending_calls(session_id, CALLS_LOOKED_AT)
            recent += [call for call in pending if call.at_us <= recent[-1].at_us and call.call_id not in looked_at]
        calls = self._calls[session_id] = SessionCalls(self._touched_calls.get(c.call_id, c) for c in recent)
        return calls

    def _open_windows(self, session: Session, stored: StoredUsage) -> None:
        """See that the windows of a session's rules are there, so that lists show them with what they count."""
        if session.rules is None:
            return
        model, at_us, row = priced_as_standard(stored.row), time_of(stored), stored.row
        made_for = made_for_row(row)
        key = (session.session_id, model, made_for, at_us // MINUTE_US)  # no window begins or ends within a minute
        if key not in self._opened:
            self._opened.add(key)
            for rule in rules_of(session):
                if applies_to_model(rule, model, means) and applies_to_step(rule, made_for):
                    self._windows.open(session.tenant, rule, at_us)

    def _release(self, call: Call | None, stored: StoredUsage, befores: Sequence[StoredUsage]) -> dict[str, int]:
        """Take from a pending call's holds what its response used more than it did before; returns what came free."""
        if call is None or call.state is not CallState.PENDING:
            return {}
        freed = {}
        for hold in call.holds:
            budget = self._budget(hold.budget_id)
            used = self._weight(budget, stored) - sum(self._weight(budget, each) for each in befores)
            freed[hold.budget_id] = max(min(hold.held, used), 0)
        if not any(freed.values()):
            return {}
        holds = tuple(replace(hold, held=hold.held - freed[hold.budget_id]) for hold in call.holds)
        self._touch(replace(call, holds=holds))
        return freed

    def _weight(self, budget: Budget, stored: StoredUsage) -> int:
        """What a response takes of a budget that its call holds something of: a server's only its share."""
        if budget.scope != BudgetScope.MCP_SERVER:
            return stored.amount.of(budget)
        spent = self._facts.of_usage(stored)
        return weighed_in(budget, spent, stored.amount).of(budget) if counts(budget, spent) else 0

    def _observed(self, call: Call, more_nanos: int) -> None:
        """Add to what the responses of a pending call have cost, where that is held against an expectation."""
        call = self._touched_calls.get(call.call_id, call)
        if call.state is CallState.PENDING and call.expected_nanos is not None:
            self._touch(replace(call, observed_nanos=max((call.observed_nanos or 0) + more_nanos, 0)))

    def _unbooked(self, call: Call) -> Call:
        """A call that stands in no budget any more."""
        before = (partial(self._facts.of_call, call), call.at_us, booked_amount(call))
        less = changed_in(self._windows, [before], None)
        holds = []
        for hold in call.holds:
            is_window = self._budget(hold.budget_id).start_us is not None
            added = less.pop(hold.budget_id, 0) if is_window else -hold.booked
            self._add(hold.budget_id, added)
            holds.append(replace(hold, booked=hold.booked + added))
        for budget_id, added in less.items():
            self._add(budget_id, added)
            holds.append(Hold(budget_id, 0, added))
        return replace(call, booked_nanos=0, holds=tuple(holds))

    def _close(self, calls: Iterable[Call], session: Session) -> None:
        """End pending calls of a session whose use is known, and learn from what they came to."""
        for call in calls:
            # What it still holds comes free, and nothing is booked for it: its responses are counted already.
            for hold in call.holds:
                self._add(hold.budget_id, 0, held=hold.held)
            self._touch(reconciled_by_transcript(call, self._tx.at_us))
            self._learned += sample_of(self._tx, call, call.observed_nanos or 0, CostOrigin.OBSERVED, session)

    def _budget(self, budget_id: str) -> Budget:
        if budget_id not in self._budgets:
            budget = self._windows.fresh.get(budget_id) or self._tx.budget(budget_id)
            self._budgets[budget_id] = present(budget, f"budget {budget_id} is in the ledger")
        return self._budgets[budget_id]

    def _add(self, budget_id: str, more: int, *, held: int = 0) -> None:
        self._budgets[budget_id] = lifecycle.add(self._budget(budget_id), more, held=held)
        self._touched_budgets.add(budget_id)

    def _touch(self, call: Call) -> None:
        self._touched_calls[call.call_id] = call
        (self._calls.get(call.session_id) or self._load(call.session_id, CALLS_AT_WORK)).put(call)


def made_for_row(row: ObservedUsage) -> MadeFor:
    """Whom a response was made for, as rules that bind steps ask for it."""
    servers = tuple(server for each in row.served for server in servers_meant(each))
    agents, skills = (() if each is None else (each,) for each in (row.agent_type, row.skill))
    return MadeFor(agents, skills, servers)


def reconciled_by_transcript(call: Call, at_us: int) -> Call:
    """A pending call whose use is known from its responses: it holds nothing any more."""
    return replace(
        call,
        state=CallState.RECONCILED,
        cost_basis="transcript",
        expires_us=None,
        resolved_us=at_us,
        holds=tuple(replace(hold, held=0) for hold in call.holds),
    )


def _call_columns(call: Call) -> dict[str, str | int | None]:
    return {
        "call_id": call.call_id,
        "state": call.state.value,
        "booked_nanos": call.booked_nanos,
        "cost_basis": call.cost_basis,
        "expires_us": call.expires_us,
        "resolved_us": call.resolved_us,
        "holds": rows.holds_text(call.holds, call.booked_nanos),
        "observed_nanos": call.observed_nanos,
    }
