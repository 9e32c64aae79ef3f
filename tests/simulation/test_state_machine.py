"""The whole program against a model that is obviously right: random work, invariants after every step."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule
from tests.world import MINUTE, NANOS, as_said, make_world, the_user

from tallygate.core.costing import Tokens
from tallygate.core.errors import Conflict
from tallygate.operations.budgets.calls import sweep
from tallygate.operations.budgets.change import raise_budget, set_budget
from tallygate.operations.gate.record import UsageReport, record_usage, void_call
from tallygate.operations.sessions.ending import end_session

A_TOKEN = 1_000_000  # nano-dollars of one token of the model "dear"
TTL = 10 * MINUTE


class Gate(RuleBasedStateMachine):
    """Sessions in a tree, calls on them; the model keeps two dictionaries and adds up."""

    sessions = Bundle("sessions")
    calls = Bundle("calls")

    def __init__(self):
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        # What is held for a step is what is said of it; what its session has cost so far is told elsewhere.
        self.world = as_said(make_world(Path(self.folder.name)))
        self.limit, self.parent, self.ended = {}, {}, set()
        self.state, self.amount, self.due, self.of = {}, {}, {}, {}

    def teardown(self):
        problems = self.world.problems()
        self.world.ledger.close()
        self.folder.cleanup()
        assert not problems

    def line(self, session):
        """A session and its ancestors: the budgets a call of it spends."""
        while session is not None:
            yield session
            session = self.parent[session]

    def committed(self, budget):
        self.expire_due()
        return sum(
            amount
            for call, amount in self.amount.items()
            if self.state[call] != "voided" and budget in self.line(self.of[call])
        )

    def expire_due(self):
        for call, due in self.due.items():
            if self.state[call] == "pending" and due <= self.world.clock.at_us - 1000:
                self.state[call] = "expired"

    @rule(target=sessions, dollars=st.integers(1, 20), parent=st.none() | sessions)
    def start(self, dollars, parent):
        session = self.world.start(str(dollars), parent_session_id=parent)
        self.limit[session], self.parent[session] = dollars * NANOS, parent
        return session

    @rule(target=calls, session=sessions, extra=st.sampled_from((-1, 0, 1)))
    def authorize_what_is_left_or_a_token_more_or_less(self, session, extra):
        left = min(self.limit[b] - self.committed(b) for b in self.line(session)) // A_TOKEN
        return self.authorize(session, max(left + extra, 0))

    @rule(target=calls, session=sessions, tokens=st.integers(0, 9000))
    def authorize_some(self, session, tokens):
        return self.authorize(session, tokens)

    def authorize(self, session, tokens):
        needed = tokens * A_TOKEN
        open_ = session not in self.ended
        fits = all(self.committed(b) + needed <= self.limit[b] for b in self.line(session))
        answer = self.world.ask(session, tokens)
        assert (answer.action != "halt") == (open_ and fits)
        if answer.call_id is None:
            return "call_denied"
        self.state[answer.call_id], self.amount[answer.call_id] = "pending", needed
        self.of[answer.call_id] = session
        self.due[answer.call_id] = self.world.call(answer.call_id).expires_us
        return answer.call_id

    @rule(call=calls, tokens=st.integers(0, 20_000))
    def record(self, call, tokens):
        if call not in self.state:
            return
        report = UsageReport(call, Tokens(fresh_input=tokens))
        if self.state[call] == "reconciled" and self.amount[call] != tokens * A_TOKEN:
            with pytest.raises(Conflict):
                record_usage(self.world.rt, report)
            return
        record_usage(self.world.rt, report)
        self.state[call], self.amount[call] = "reconciled", tokens * A_TOKEN

    @rule(call=calls)
    def void(self, call):
        if self.state.get(call) == "pending" and self.world.call(call).state == "pending":
            void_call(self.world.rt, call, "did not happen")
            self.state[call], self.amount[call] = "voided", 0

    @rule(session=sessions)
    def end(self, session):
        end_session(self.world.rt, session)
        if session not in self.ended:
            self.ended.add(session)
            for call in self.state:
                if self.of[call] == session and self.state[call] == "pending":
                    self.state[call] = "expired"

    @rule(session=sessions, dollars=st.integers(1, 5))
    def raise_(self, session, dollars):
        raise_budget(self.world.rt, session, dollars * NANOS, reason="r", authority=the_user("u"))
        self.limit[session] += dollars * NANOS

    @rule(session=sessions, dollars=st.integers(0, 5))
    def set_(self, session, dollars):
        set_budget(self.world.rt, session, dollars * NANOS, reason="r", authority=the_user("u"))
        self.limit[session] = dollars * NANOS

    @rule(minutes=st.integers(-30, 30))
    def time_passes(self, minutes):
        self.world.clock.forward(minutes * MINUTE)
        sweep(self.world.rt)

    @invariant()
    def every_counter_is_what_its_calls_add_up_to(self):
        for session in self.limit:
            budget = self.world.budget(session)
            assert budget.committed == self.committed(session)
            assert budget.limit == self.limit[session]
            assert budget.committed <= budget.limit + budget.overage


Gate.TestCase.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
TestGate = Gate.TestCase
