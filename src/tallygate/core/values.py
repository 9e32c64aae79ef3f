"""Values that are made by the hundred thousand: fixed for whoever writes the program, cheap for the machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dataclasses import dataclass as value
else:
    from dataclasses import dataclass, fields
    from operator import attrgetter

    def value(*, frozen: bool, slots: bool, kw_only: bool = False) -> Any:
        """As `dataclass(frozen=True, slots=True)`, made in a third of the time; so is the class itself.

        A frozen dataclass sets each of its fields through a call, so that nobody can set one later. Here the type
        checker alone forbids that, which every change has to pass; equality and hash are those of a frozen one.
        """

        def made(of: type) -> type:
            own = {name for name, method in of.__dict__.items() if method is not None}
            # What a dataclass would write and compile for each class anew is said once for all of them: a hook that
            # starts the gate for itself makes two hundred classes first.
            found = dataclass(slots=slots, kw_only=kw_only, eq=False, repr=False)(of)
            for name, method in _methods(found, hashed=frozen).items():
                if name not in own:
                    setattr(found, name, method)
            return found

        return made

    def _methods(of: type, *, hashed: bool) -> dict[str, Any]:
        compared = [each.name for each in fields(of) if each.compare]
        shown = [each.name for each in fields(of) if each.repr]
        said = attrgetter(*compared) if compared else type

        def is_equal(self: Any, other: Any) -> Any:
            return said(self) == said(other) if other.__class__ is self.__class__ else NotImplemented

        def digest(self: Any) -> int:
            return hash(said(self))

        def text(self: Any) -> str:
            told = ", ".join(f"{name}={getattr(self, name)!r}" for name in shown)
            return f"{self.__class__.__qualname__}({told})"

        return {"__eq__": is_equal, "__hash__": digest if hashed else None, "__repr__": text}


__all__ = ["value"]
