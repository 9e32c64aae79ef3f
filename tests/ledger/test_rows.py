"""Rows as values and back: everything that a table holds comes from the fields of its dataclass."""

from __future__ import annotations

import re
import sqlite3
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import pytest
from tests.reading_rules import Rule

from tallygate.clients.registry import REGISTRY
from tallygate.core.costing import Tokens
from tallygate.core.errors import InvariantBroken
from tallygate.core.model import Budget, Call, Hold, ModeCoverage, Session
from tallygate.core.usage import ObservedUsage, Quality
from tallygate.core.words import (
    AccountingMode,
    Action,
    ActorType,
    BudgetMode,
    CallMode,
    CallState,
    Reason,
    SessionState,
    UnknownPrice,
    UsageChannel,
)
from tallygate.ledger import rows
from tallygate.ledger.events import SqlTables, apply
from tallygate.ledger.layout import Layout
from tallygate.ledger.port import StoredUsage
from tallygate.ledger.sqlite.files import migrations, statements

SESSION = Session(
    "t", "s", "c", "m", SessionState.OPEN, AccountingMode.EXACT_OPTIONAL, UsageChannel.MANUAL_IMPORT,
    ModeCoverage(ask=True, plan=False, agent=True), UnknownPrice.WARN_ONLY, "EUR", 1, usd_nanos=7, also_client="other",
)  # fmt: skip
BUDGET = Budget("t", "b", "user", "me", "USD", BudgetMode.SOFT, 5, raises=((1, 2), (3, 4)), also=("é", "x"), seed=0)
CALL = Call(
    "t", "k", "s", CallState.RECONCILED, Action.REROUTE, Reason.ALLOW, "edit", "m", 1, 2, 3, 4, 5, ActorType.SUBAGENT,
    6, booked_nanos=9, actual=Tokens(1, 2, 3, 4, 5), call_mode=CallMode.PLAN, mode_capable=False,
    holds=(Hold("b", 1, 9), Hold("tokens", 2, 3)),
)  # fmt: skip
RESPONSE = ObservedUsage(
    "claude_code", "c", "r", datetime(2026, 9, 21, 1, 2, 3, 4, tzinfo=UTC), "m", Tokens(1, 2, 3, 4, 5),
    Rule.CLAUDE_SUBAGENT, Quality.PARTIAL, native_cost_text="0.1", tool_use_ids=("a", "b"), odd=("x",),
    counted_by=Rule.CLAUDE_RESPONSE,
)  # fmt: skip
USAGE = StoredUsage(RESPONSE, "p", 11, "s", "k", (("b", 11), ("tokens", 15)), "why")
VALUES = [
    (rows.SESSION, SESSION),
    (rows.SESSION, replace(SESSION, currency="USD", usd_nanos=1_000_000_000)),
    (rows.BUDGET, BUDGET),
    (rows.BUDGET, replace(BUDGET, raises=(), also=(), usd_nanos=3)),
    (rows.CALL, CALL),
    (rows.CALL, replace(CALL, actual=None, call_mode=None, mode_capable=None, holds=())),
    (rows.USAGE, USAGE),
    (rows.USAGE, StoredUsage(replace(RESPONSE, odd=(), tool_use_ids=(), counted_by=None), "p", 0)),
]


@pytest.mark.parametrize(("layout", "value"), VALUES)
def test_what_a_row_says_is_read_back_as_it_was(layout, value):
    row = layout.row(value)
    row = {"tenant": "t", **row}
    assert set(row.values()) == {each for each in row.values() if each is None or type(each) in (str, int)}
    stated = tuple(row.get(column) for column in layout.columns)
    assert (rows.to_usage(stated, REGISTRY.rules) if layout is rows.USAGE else layout.value(stated)) == value


def test_counts_of_a_call_that_its_row_does_not_have_are_none():
    row = rows.from_call(CALL) | {"cache_read": None}
    read = rows.to_call(tuple(row.get(column) for column in rows.CALL.columns))
    assert read.actual == Tokens(1, 0, 3, 4, 5)


def test_every_table_has_the_columns_that_its_rows_are_made_of():
    model = sqlite3.connect(":memory:")
    for _, sql in migrations():
        for statement in statements(sql):
            model.execute(statement)
    for table, columns in rows.COLUMNS.items():
        there = [name for _, name, *_ in model.execute(f"PRAGMA table_info({table})") if name != "id"]
        assert sorted(columns) == sorted(there), table
    model.close()


def test_a_word_that_no_version_wrote_is_refused_by_name():
    row = {"tenant": "t", **rows.from_budget(BUDGET), "mode": "firm"}
    with pytest.raises(ValueError, match="'firm' is not a valid BudgetMode"):
        rows.to_budget(tuple(row.get(column) for column in rows.BUDGET.columns))


@dataclass
class Unfit:
    name: str
    forgotten: str = field(default="", metadata={"column": None})
    behind: int = 0


@dataclass
class Several:
    parts: tuple[str, ...]


@pytest.mark.parametrize(("unfit", "what"), [(Unfit, "behind is kept"), (Several, "parts takes a form")])
def test_a_dataclass_that_cannot_be_read_back_is_refused_where_it_is_laid_out(unfit, what):
    with pytest.raises(InvariantBroken, match=what):
        Layout(unfit)


class Written:
    """What a database is asked, and how many rows it says that met."""

    def __init__(self, met=1):
        self.asked, self.rowcount = [], met

    def execute(self, sql, parameters):
        self.asked.append((sql, parameters))
        return self

    def execute_many(self, sql, values):
        self.asked.append((sql, list(values)))


def written(*stated, met=1):
    database = Written(met)
    apply("t", stated, SqlTables(database.execute, database.execute_many, rows.COLUMNS))
    return database.asked


def test_rows_are_written_in_the_order_of_their_event_and_neighbours_of_one_table_at_once():
    asked = written(
        ["+", "price", {"price_id": "a", "basis": "{}"}],
        ["+", "price", {"basis": "{}", "price_id": "b"}],
        ["~", "bill", {"bill_id": "x", "lines": 2}],
        ["+", "price", {"price_id": "c", "basis": None}],
        ["-", "worktree", {"top": "/p"}],
        ["+", "session_budget", {"budget_id": "b", "session_id": "s"}],
    )
    assert [parameters for _, parameters in asked] == [
        [("t", "a", "{}"), ("t", "b", "{}")],
        {"tenant": "t", "bill_id": "x", "lines": 2},
        [("t", "c", None)],
        {"tenant": "t", "top": "/p"},
        [("t", "s", "b")],
    ]


@pytest.mark.parametrize(
    ("stated", "what"),
    [
        (["+", "event", {"seq": 1}], "names table 'event'"),
        (["!", "price", {"price_id": "a"}], "names '!' of a row of price"),
        (["+", "price", {"price_id": "a", "x) --": 1}], "a row of price has other columns"),
        (["+", "price", {"price_id": "a", "basis": None, "x) --": None}], "a row of price has other columns"),
        (["~", "price", {"price_id": "a", "x = 1 --": 1}], "price has not all of the columns"),
        (["-", "price", {"price_id": "a", "basis": "{}"}], "is deleted by its key"),
    ],
)
def test_what_no_table_has_is_refused_before_it_is_asked_for(stated, what):
    with pytest.raises(InvariantBroken, match=re.escape(what)):
        written(stated)


@pytest.mark.parametrize("met", [0, 2])
def test_a_change_that_meets_no_row_or_several_is_none(met):
    with pytest.raises(InvariantBroken, match=f"met {met} rows"):
        written(["~", "price", {"price_id": "a", "basis": "{}"}], met=met)
