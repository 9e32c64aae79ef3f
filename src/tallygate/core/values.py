"""Values that are made by the hundred thousand: fixed for whoever writes the program, cheap for the machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dataclasses import dataclass as value
else:
    from dataclasses import dataclass

    def value(*, frozen: bool, slots: bool) -> Any:
        """As `dataclass(frozen=True, slots=True)`, made in a third of the time.

        A frozen dataclass sets each of its fields through a call, so that nobody can set one later. Here the type
        checker alone forbids that, which every change has to pass; equality and hash are those of a frozen one.
        """
        return dataclass(slots=slots, unsafe_hash=frozen)


__all__ = ["value"]
