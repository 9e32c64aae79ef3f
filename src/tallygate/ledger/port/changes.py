"""Changes of rows, as events state them, and whose rows they are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import ClassVar, Protocol

from tallygate.core.values import value

Value = str | int | None


# The user's signature of some bytes, as text.
Sign = Callable[[bytes], str]


@value(frozen=True, slots=True)
class Insert:
    """A new row of a projection table; `op` is how an event says it."""

    op: ClassVar[str] = "+"
    table: str
    row: Mapping[str, Value]


@value(frozen=True, slots=True)
class Update:
    """Columns of an existing row, its key columns included."""

    op: ClassVar[str] = "~"
    table: str
    row: Mapping[str, Value]


@value(frozen=True, slots=True)
class Delete:
    """A row that is no more, by its key columns: another one has taken what it said."""

    op: ClassVar[str] = "-"
    table: str
    row: Mapping[str, Value]


Change = Insert | Update | Delete


class OfTenant(Protocol):
    """Rows of one tenant. `is_changing` where some may be seen that are not committed, and may be taken back."""

    @property
    def tenant(self) -> str: ...
    @property
    def is_changing(self) -> bool: ...
