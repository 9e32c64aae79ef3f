"""Everything that was spent, row by row, for files that other programs read."""

from __future__ import annotations

import heapq
from collections.abc import Iterator

from tallygate.core.costing import Tokens
from tallygate.core.model import Call, Session
from tallygate.core.moments import microseconds
from tallygate.core.words import client_name
from tallygate.ledger.port import Reader, StoredUsage
from tallygate.operations.bills.keys import Bases
from tallygate.operations.runtime import Runtime
from tallygate.operations.views.usage import project_name
from tallygate.pricing.identity import one_name
from tallygate.pricing.vendors import family_and_vendor
from tallygate.reports.export import CALL, RESPONSE, SpentRow

OBSERVED, REPORTED, ESTIMATED = "observed", "reported", "estimated"
_SESSIONS_REMEMBERED = 1000


def spent_rows(rt: Runtime, reader: Reader, from_us: int, until_us: int) -> Iterator[SpentRow]:
    """What was spent in a span, in the order of time, read as it is asked for: many rows take no more room than few."""
    view = _Rows(rt, reader)
    responses = map(view.of_response, reader.usage_between(from_us, until_us))
    calls = map(view.of_call, reader.booked_between(from_us, until_us))
    return heapq.merge(responses, calls, key=lambda row: row.at_us)


class _Rows:
    """What rows have in common is looked up once: prices, the projects of folders, the makers of models."""

    def __init__(self, rt: Runtime, reader: Reader) -> None:
        self._rt = rt
        self._reader = reader
        self._bases = Bases(reader)
        self._projects: dict[str | None, str | None] = {}
        self._makers: dict[str, str | None] = {}
        self._sessions: dict[str, Session | None] = {}

    def of_response(self, stored: StoredUsage) -> SpentRow:
        row = stored.row
        return SpentRow(
            kind=RESPONSE,
            at_us=microseconds(row.at),
            tenant=self._rt.tenant,
            client=client_name(row.client),
            session=row.session,
            session_id=stored.session_id,
            call_id=stored.call_id,
            response=row.response_key,
            model=row.model,
            tokens=row.tokens,
            cost_nanos=stored.cost_nanos,
            basis=OBSERVED,
            price_id=stored.price_id or None,
            price=self._bases.price(stored.price_id),
            provider=row.provider,
            maker=self._maker(row.model),
            parent_session=row.parent_session,
            agent=row.agent_id,
            agent_type=row.agent_type,
            skill=row.skill,
            served=row.served,
            branch=row.branch,
            repository=row.repository,
            project=self._project(row.project),
            folder=row.project,
            tier=row.tier,
            speed=row.speed,
            geo=row.geo,
            request_id=row.request_id,
            client_version=row.version,
            reasoning=row.reasoning,
            web_searches=row.web_searches,
            estimated_output=row.estimated_output,
            quality=row.quality.value,
            rule=row.rule.text,
            counted_by=None if row.counted_by is None else row.counted_by.text,
            odd=row.odd,
            corrected=stored.corrected,
            budgets=tuple(budget_id for budget_id, _ in stored.charges),
        )

    def of_call(self, call: Call) -> SpentRow:
        session = self._session(call.session_id)
        model = call.model_used or call.model_requested
        price_id = call.actual_price_id or call.price_id
        folder = call.folder or (None if session is None else session.project)
        return SpentRow(
            kind=CALL,
            at_us=call.at_us,
            tenant=call.tenant,
            client=client_name(call.asked_by or ("" if session is None else session.client)) or None,
            session=None,
            session_id=call.session_id,
            call_id=call.call_id,
            response=None,
            model=model,
            tokens=call.actual or Tokens(call.prompt_tokens, output=call.completion_tokens),
            cost_nanos=call.booked_nanos,
            basis=REPORTED if call.cost_basis == "actual" else ESTIMATED,
            price_id=price_id,
            price=self._bases.price(price_id),
            maker=self._maker(model),
            agent=call.actor_name or call.actor_id,
            tool=call.tool_name,
            project=self._project(folder),
            folder=folder,
            budgets=tuple(hold.budget_id for hold in call.holds),
        )

    def _project(self, folder: str | None) -> str | None:
        if folder not in self._projects:
            self._projects[folder] = project_name(self._rt, folder)
        return self._projects[folder]

    def _maker(self, model: str) -> str | None:
        if model not in self._makers:
            self._makers[model] = family_and_vendor(one_name(model))[1]
        return self._makers[model]

    def _session(self, session_id: str) -> Session | None:
        if session_id not in self._sessions:
            if len(self._sessions) >= _SESSIONS_REMEMBERED:
                self._sessions.clear()
            self._sessions[session_id] = self._reader.session(session_id)
        return self._sessions[session_id]
