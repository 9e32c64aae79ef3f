"""Running one statement for one tenant, through any database that takes `:named` parameters."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol

from tallygate.ledger.port import Value


class Cursor(Protocol):
    """What a database gives back for one statement."""

    @property
    def rowcount(self) -> int: ...
    @property
    def lastrowid(self) -> int | None: ...
    def fetchone(self) -> Any: ...
    def fetchall(self) -> list[Any]: ...
    def __iter__(self) -> Iterator[Any]: ...


Execute = Callable[[str, dict[str, Any]], Cursor]
# The same statement once for each row of values, which stand in the order of its marks.
ExecuteMany = Callable[[str, Iterable[tuple[Any, ...]]], Cursor]


class Statements:
    """Statements with the tenant always among their parameters."""

    def __init__(self, execute: Execute, tenant: str) -> None:
        self._execute = execute
        self.tenant = tenant

    def _one(self, sql: str, **parameters: Value) -> Any:
        return self._execute(sql, {"tenant": self.tenant, **parameters}).fetchone()

    def _all(self, sql: str, **parameters: Value) -> list[Any]:
        return self._execute(sql, {"tenant": self.tenant, **parameters}).fetchall()
