"""What stands on record in a span of time, and the windows that count it."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping

from tallygate.core.attribution import served_by
from tallygate.core.gate.rules import BudgetScope
from tallygate.core.model import Budget, Call
from tallygate.core.places import Tree
from tallygate.ledger import rows
from tallygate.ledger.port import AttributedItem, PricedSum, SpendItem, SpendShare, Used
from tallygate.ledger.rows import Statements

_BUDGET = rows.BUDGET.select("b")
_CALL = rows.CALL.select("c")
SELECT_WINDOWS = (
    f"SELECT {_BUDGET} FROM budget b WHERE b.tenant = :tenant AND b.period = :period"
    " AND b.start_us > :after_us AND b.start_us <= :until_us ORDER BY b.start_us"
)
# Of what has no end there are few rows, which an index of their own has; of days there are many, and one is enough.
SELECT_PERIODS = (
    "SELECT DISTINCT period FROM budget WHERE tenant = :tenant AND start_us = 0 UNION ALL SELECT period FROM ("
    "SELECT 'day' AS period UNION ALL SELECT 'week' UNION ALL SELECT 'month') p WHERE EXISTS ("
    "SELECT 1 FROM budget b WHERE b.tenant = :tenant AND b.period = p.period AND b.start_us IS NOT NULL)"
)
SELECT_LASTING = f"SELECT {_BUDGET} FROM budget b WHERE b.tenant = :tenant AND b.period = :period AND b.start_us = 0"
SELECT_PENDING_BETWEEN = (
    f"SELECT {_CALL} FROM call c WHERE c.tenant = :tenant AND c.state = 'pending'"
    " AND c.at_us >= :from_us AND c.at_us < :until_us ORDER BY c.at_us, c.call_id"
)
SELECT_USED = (
    "SELECT scope, scope_key, period, unit, mode, MAX(touched_us) FROM budget"
    " WHERE tenant = :tenant AND scope <> 'session' GROUP BY 1, 2, 3, 4, 5"
)
SELECT_WORKED = "SELECT MAX(touched_us) FROM budget WHERE tenant = :tenant AND spent_nanos + reserved_nanos > 0"
_USAGE_TOKENS = "fresh_input + cache_read + cache_write_5m + cache_write_1h + output"
_CALL_TOKENS = (
    "CASE WHEN cost_basis = 'actual' THEN fresh_input + COALESCE(cache_read, 0) + COALESCE(cache_write_5m, 0)"
    " + COALESCE(cache_write_1h, 0) + output ELSE prompt_tokens + completion_tokens END"
)
_SPAN = "tenant = :tenant AND at_us >= :from_us AND at_us < :until_us"
# Who serves a model is part of its name, as where its price is asked.
_SERVED = (
    "CASE WHEN provider <> '' AND instr(model, '/') = 0 THEN provider || '/' || model"
    " ELSE COALESCE(NULLIF(model, ''), 'unknown') END"
)
# What a scope looks at, of responses and of booked calls: client, project, session, model.
_USAGE_KEYS = {
    BudgetScope.CLIENT: ("client", "NULL", "session_id", "NULL"),
    BudgetScope.PROJECT: ("NULL", "project", "session_id", "NULL"),
    BudgetScope.MODEL: ("NULL", "NULL", "NULL", _SERVED),
}
_CALL_KEYS = {
    BudgetScope.CLIENT: ("asked_by", "NULL", "session_id", "NULL"),
    BudgetScope.PROJECT: ("NULL", "folder", "session_id", "NULL"),
    BudgetScope.MODEL: ("NULL", "NULL", "NULL", "COALESCE(model_used, model_requested)"),
}
# Which responses and booked calls were made for somebody that a scope may name.
_ATTRIBUTED = {
    BudgetScope.AGENT: ("agent_type IS NOT NULL", "actor_type = 'subagent' AND actor_name IS NOT NULL"),
    BudgetScope.SKILL: ("skill IS NOT NULL", "0 = 1"),
    BudgetScope.MCP_SERVER: ("served IS NOT NULL", "tool_name LIKE 'mcp!_!_%' ESCAPE '!'"),
}
SELECT_ATTRIBUTED = (
    "SELECT at_us / :size_us, client, project, session_id, agent_type, skill, served, NULL, cost_nanos,"
    f" {_USAGE_TOKENS}, {{charges}}, COUNT(*) FROM usage WHERE {_SPAN} AND {{usage}}{{of_usage}}"
    " GROUP BY 1, 2, 3, 4, 5, 6, 7, 9, 10, 11 UNION ALL"
    " SELECT at_us / :size_us, asked_by, folder, session_id,"
    " CASE WHEN actor_type = 'subagent' THEN actor_name END, NULL, NULL, tool_name, booked_nanos,"
    f" {_CALL_TOKENS}, NULL, COUNT(*) FROM call WHERE {_SPAN} AND {{call}}{{of_calls}}"
    " AND cost_basis IN ('actual', 'estimate')"
    " GROUP BY 1, 2, 3, 4, 5, 8, 9, 10"
)
# A response that was told again has a smaller share than was booked of it, which stands with it alone.
_CHARGES = {BudgetScope.MCP_SERVER: "CASE WHEN instr(charges, '\"mcp_server:') > 0 THEN charges END"}
# A call that was recorded has the price of what was recorded.
USAGE_PRICED = " AND price_id IN (SELECT value FROM json_each(:prices))"
CALL_PRICED = " AND COALESCE(actual_price_id, price_id) IN (SELECT value FROM json_each(:prices))"
SELECT_SPENT_AT = (
    "SELECT model, price_id, SUM(nanos) FROM (SELECT model, price_id, cost_nanos AS nanos FROM usage"
    f" WHERE tenant = :tenant AND session_id = :session_id{USAGE_PRICED} UNION ALL"
    " SELECT COALESCE(model_used, model_requested), COALESCE(actual_price_id, price_id), booked_nanos FROM call"
    f" WHERE tenant = :tenant AND session_id = :session_id AND booked_nanos > 0{CALL_PRICED}) s GROUP BY 1, 2"
)
_NOTHING = ("NULL", "NULL", "NULL", "NULL")
_MODEL_KEY = 3
# Of a session and of those inside it that draw on the same budget; what is only reserved is not spent.
_TREE = (
    "WITH RECURSIVE tree (session_id) AS (SELECT :session_id UNION SELECT s.session_id FROM tree t"
    " JOIN session s ON s.tenant = :tenant AND s.parent_session_id = t.session_id),"
    " paid AS (SELECT session_id FROM tree t WHERE EXISTS (SELECT 1 FROM session_budget b"
    " WHERE b.tenant = :tenant AND b.session_id = t.session_id AND b.budget_id = :budget_id))"
)
_ALONE = "WITH paid (session_id) AS (SELECT :session_id)"
SELECT_PAID = (
    "{paid} SELECT model, SUM(times), SUM(nanos) AS total FROM ("
    "SELECT u.model, 1 AS times, u.cost_nanos AS nanos FROM paid p CROSS JOIN usage u"
    " WHERE u.tenant = :tenant AND u.session_id = p.session_id UNION ALL"
    " SELECT COALESCE(c.model_used, c.model_requested), 1, c.booked_nanos FROM paid p CROSS JOIN call c"
    " WHERE c.tenant = :tenant AND c.session_id = p.session_id AND c.booked_nanos > 0) s"
    " GROUP BY 1 HAVING SUM(nanos) > 0 ORDER BY total DESC, 1 LIMIT :limit"
)


def _with_folder(keys: Mapping[BudgetScope, tuple[str, ...]], scope: BudgetScope, *, placed: bool) -> tuple[str, ...]:
    """What tells of a scope, and where something was done if that is asked, too."""
    found = keys.get(scope, _NOTHING)
    if not placed:
        return found
    return tuple(one if one != "NULL" else other for one, other in zip(found, keys[BudgetScope.PROJECT], strict=True))


SELECT_WORKTREES = (
    "SELECT top, repository FROM worktree WHERE tenant = :tenant AND top IN (SELECT value FROM json_each(:folders))"
)
# Asked where a folder is gone of which nothing is known: the latest are enough.
SELECT_WORKED_IN = (
    "SELECT repository FROM worktree WHERE tenant = :tenant UNION SELECT project FROM (SELECT project FROM session"
    " WHERE tenant = :tenant ORDER BY started_us DESC LIMIT 1000) s WHERE project IS NOT NULL"
)


class WindowReads(Statements):
    """Reads for windows; a part of every reader."""

    def window_periods(self) -> list[str]:
        """The periods of which there are windows that count everything on record."""
        return [row[0] for row in self._all(SELECT_PERIODS)]

    def windows_between(self, period: str, after_us: int, until_us: int) -> list[Budget]:
        """The windows of a period that begin after one time and until another, in that order."""
        found = self._all(SELECT_WINDOWS, period=period, after_us=after_us, until_us=until_us)
        return [rows.to_budget(row) for row in found]

    def lasting(self, period: str) -> list[Budget]:
        """The budgets of a period that have no end: for ever, or standing for all pieces of a rolling one."""
        return [rows.to_budget(row) for row in self._all(SELECT_LASTING, period=period)]

    def windows_used(self) -> list[Used]:
        """What budgets above the session limit, and when a window of each was last asked."""
        return [Used(*row) for row in self._all(SELECT_USED)]

    def worktrees(self, folders: Collection[str]) -> list[Tree]:
        """Those of some folders that were worktrees when something was read or opened there."""
        return [Tree(*row) for row in self._all(SELECT_WORKTREES, folders=json.dumps(list(folders)))]

    def projects_worked_in(self) -> tuple[str, ...]:
        """Repositories that have worktrees, and the projects of the last sessions."""
        return tuple(row[0] for row in self._all(SELECT_WORKED_IN))

    def worked_us(self) -> int | None:
        """When something was last spent or reserved; None where nothing ever was."""
        row = self._one(SELECT_WORKED)
        return None if row is None else row[0]

    def pending_between(self, from_us: int, until_us: int) -> list[Call]:
        """The calls asked about in a span that still hold something."""
        return [rows.to_call(row) for row in self._all(SELECT_PENDING_BETWEEN, from_us=from_us, until_us=until_us)]

    def weighed(
        self,
        scope: str,
        from_us: int,
        until_us: int,
        size_us: int,
        *,
        apart: bool,
        placed: bool = False,
        prices: Collection[str] | None = None,
        named: bool = False,
    ) -> list[SpendItem]:
        """What was spent in a span: responses, and the calls of sessions whose client writes nothing down.

        Sums by what a scope looks at and by pieces of a size; costs that are converted one by one stay `apart`. What is
        `placed` is told with its folder, too, and what is `named` with its model. With `prices` only what was priced by
        one of these.
        """
        what = BudgetScope(scope)
        usage, calls = (_with_folder(keys, what, placed=placed) for keys in (_USAGE_KEYS, _CALL_KEYS))
        if named and what is not BudgetScope.MODEL:
            usage, calls = (
                (*usage[:_MODEL_KEY], "model"),
                (*calls[:_MODEL_KEY], *_CALL_KEYS[BudgetScope.MODEL][_MODEL_KEY:]),
            )
        of_usage, of_calls = ("", "") if prices is None else (USAGE_PRICED, CALL_PRICED)
        found = self._weighed(("usage", "cost_nanos", _USAGE_TOKENS, of_usage), usage, apart)
        booked = ("call", "booked_nanos", _CALL_TOKENS, f" AND cost_basis IN ('actual', 'estimate'){of_calls}")
        sql = f"{found} UNION ALL {self._weighed(booked, calls, apart)}"
        listed = {} if prices is None else {"prices": json.dumps(sorted(prices))}
        found_rows = self._all(sql, from_us=from_us, until_us=until_us, size_us=size_us, **listed)
        return [SpendItem(*row) for row in found_rows]

    def attributed(
        self, scope: str, from_us: int, until_us: int, size_us: int, *, prices: Collection[str] | None = None
    ) -> list[AttributedItem]:
        """What was spent in a span for somebody that a scope names: what shares its cost is told one by one."""
        usage, call = _ATTRIBUTED[BudgetScope(scope)]
        of_usage, of_calls = ("", "") if prices is None else (USAGE_PRICED, CALL_PRICED)
        charges = _CHARGES.get(BudgetScope(scope), "NULL")
        sql = SELECT_ATTRIBUTED.format(usage=usage, call=call, of_usage=of_usage, of_calls=of_calls, charges=charges)
        listed = {} if prices is None else {"prices": json.dumps(sorted(prices))}
        found = []
        for row in self._all(sql, from_us=from_us, until_us=until_us, size_us=size_us, **listed):
            piece, client, project, session_id, agent, skill, served, tool, nanos, tokens, charged, times = row
            called = None if tool is None else served_by(tool)
            tools = rows.served_in(served) if served is not None else () if called is None else (called,)
            whose = (piece, client, project, session_id, agent, skill)
            found.append(AttributedItem(*whose, tools, nanos, tokens, times, rows.charges_in(charged, nanos)))
        return found

    def spent_at(self, session_id: str, prices: Collection[str]) -> list[PricedSum]:
        """What a session's responses and calls cost that were priced by one of these, by model and price."""
        listed = json.dumps(sorted(prices))
        return [PricedSum(*row) for row in self._all(SELECT_SPENT_AT, session_id=session_id, prices=listed)]

    def paid_by_model(self, session_id: str, limit: int, budget_id: str | None = None) -> list[SpendShare]:
        """What a session spent, by model, the dearest first; with a budget also what those inside it spent of that."""
        sql = SELECT_PAID.format(paid=_ALONE if budget_id is None else _TREE)
        found: dict[str, str | int] = {"session_id": session_id, "limit": limit}
        found |= {} if budget_id is None else {"budget_id": budget_id}
        return [SpendShare(*row) for row in self._all(sql, **found)]

    @staticmethod
    def _weighed(source: tuple[str, str, str, str], keys: tuple[str, ...], apart: bool) -> str:
        table, cost, tokens, only = source
        amount = f"{cost}, COUNT(*)" if apart else f"SUM({cost}), 1"
        grouped = [
            "1",
            *(str(2 + number) for number, key in enumerate(keys) if key != "NULL"),
            *(["6"] if apart else []),
        ]
        return (
            f"SELECT at_us / :size_us, {', '.join(keys)}, {amount}, SUM({tokens}), COUNT(*)"
            f" FROM {table} WHERE {_SPAN}{only} GROUP BY {', '.join(grouped)}"
        )
