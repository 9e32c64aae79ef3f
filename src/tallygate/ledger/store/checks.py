"""Clients' own totals of their sessions, kept to compare with: the last of each session."""

from __future__ import annotations

import json
from typing import Any

from tallygate.core.costing import Tokens
from tallygate.core.usage import ModelTotal, SessionCheck
from tallygate.ledger.port import KeptCheck
from tallygate.ledger.rows import Statements

CHECK_COLUMNS = ("tenant", "client", "client_session", "total_tokens", "stated", "read_us")
# Totals only grow, and a file that repeats an older one may be read later.
UPSERT_CHECK = (
    f"INSERT INTO session_check ({', '.join(CHECK_COLUMNS)})"
    " VALUES (:tenant, :client, :client_session, :total_tokens, :stated, :read_us)"
    " ON CONFLICT (tenant, client, client_session) DO UPDATE SET total_tokens = excluded.total_tokens,"
    " stated = excluded.stated, read_us = excluded.read_us"
    " WHERE excluded.total_tokens > session_check.total_tokens"
)
SELECT_CHECKS = (
    "SELECT DISTINCT c.client, c.client_session, c.stated, c.read_us FROM client_session l CROSS JOIN session_check c"
    " WHERE l.tenant = :tenant AND l.session_id = :session_id AND c.tenant = l.tenant AND c.client = l.client"
    " AND c.client_session = l.client_session ORDER BY c.client, c.client_session"
)
SELECT_SEEN = (
    "SELECT model, SUM(fresh_input), SUM(cache_read), SUM(cache_write_5m), SUM(cache_write_1h), SUM(output), MAX(at_us)"
    " FROM usage WHERE tenant = :tenant AND client = :client AND client_session = :client_session GROUP BY model"
)


class CheckReads(Statements):
    """Reads of clients' own totals; a part of every reader."""

    def session_checks(self, session_id: str) -> list[KeptCheck]:
        """The totals of the client sessions that a budget session is known to hold, with what was seen of them."""
        return [self._kept(*row) for row in self._all(SELECT_CHECKS, session_id=session_id)]

    def _kept(self, client: str, client_session: str, stated: str, read_us: int) -> KeptCheck:
        seen = self._all(SELECT_SEEN, client=client, client_session=client_session)
        return KeptCheck(
            check=_check(client, client_session, json.loads(stated)),
            read_us=read_us,
            seen={row[0]: Tokens(*row[1:6]) for row in seen},
            last_us=max((row[6] for row in seen), default=0),
        )


class CheckWrites(CheckReads):
    """What an importer writes beside its event."""

    at_us: int

    def save_check(self, check: SessionCheck) -> None:
        """Keep a client's own total of a session, in place of a smaller one."""
        parameters = {
            "tenant": self.tenant,
            "client": check.client,
            "client_session": check.session,
            "total_tokens": check.total,
            "stated": json.dumps(_stated(check), separators=(",", ":")),
            "read_us": self.at_us,
        }
        self._execute(UPSERT_CHECK, parameters)


def _stated(check: SessionCheck) -> dict[str, Any]:
    models = [
        [
            each.model,
            [
                each.tokens.fresh_input,
                each.tokens.cache_read,
                each.tokens.cache_write_5m,
                each.tokens.cache_write_1h,
                each.tokens.output,
            ],
            each.web_searches,
            each.cost_text,
        ]
        for each in check.models
    ]
    stated = {"models": models, "cost": check.cost_text, "unknown_model_cost": check.unknown_model_cost}
    return stated | ({"includes": list(check.includes)} if check.includes else {})


def _check(client: str, client_session: str, stated: dict[str, Any]) -> SessionCheck:
    models = [ModelTotal(model, Tokens(*counts), searches, cost) for model, counts, searches, cost in stated["models"]]
    includes = tuple(stated.get("includes", ()))
    return SessionCheck(client, client_session, tuple(models), stated["cost"], stated["unknown_model_cost"], includes)
