"""Values that are made by the hundred thousand: fixed for whoever writes the program, cheap for the machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dataclasses import dataclass as value
else:
    from dataclasses import MISSING, dataclass, fields
    from functools import cache
    from operator import attrgetter
    from types import CodeType, FunctionType

    def value(*, slots: bool, frozen: bool = False, kw_only: bool = False, eq: bool = True) -> Any:
        """As `dataclass(frozen=True, slots=True)`, made in a third of the time; so is the class itself.

        A frozen dataclass sets each of its fields through a call, so that nobody can set one later. Here the type
        checker alone forbids that, which every change has to pass; equality and hash are those of a frozen one.
        """

        def made(of: type) -> type:
            own = {name for name, method in of.__dict__.items() if method is not None}
            # What a dataclass would write and compile for each class anew is said once for all of them: a hook that
            # starts the gate for itself makes two hundred and fifty classes first.
            found = dataclass(slots=slots, kw_only=kw_only, init=False, eq=False, repr=False)(of)
            for name, method in {"__init__": _init(found), **_methods(found, eq=eq, hashed=frozen)}.items():
                if name not in own:
                    setattr(found, name, method)
            return found

        return made

    def _init(of: type) -> FunctionType:
        """What takes the fields in their order: one code for all classes with so many, with their names put in."""
        taken = fields(of)
        if not all(each.init for each in taken):
            raise TypeError(f"{of.__qualname__}: every field of a value is given")
        positional = [each for each in taken if not each.kw_only]
        # In a class the given ones are sorted as a signature has them: those by name alone come last.
        ordered = [*positional, *(each for each in taken if each.kw_only)]
        made = "".join("m" if each.default_factory is not MISSING else "." for each in ordered)
        code = _taking(made, len(positional), hasattr(of, "__post_init__"))
        named = {f"a{number}": each.name for number, each in enumerate(ordered)}
        code = code.replace(
            co_varnames=tuple(named.get(name, name) for name in code.co_varnames),
            co_names=tuple(named.get(name, name) for name in code.co_names),
            co_qualname=f"{of.__qualname__}.__init__",
        )
        held = {f"f{number}": each.default_factory for number, each in enumerate(ordered) if made[number] == "m"}
        found = FunctionType(code, {"__builtins__": {}, "made": MISSING, **held}, "__init__")
        found.__defaults__ = tuple(_default(each) for each in positional if _default(each) is not _NONE) or None
        found.__kwdefaults__ = {
            each.name: _default(each) for each in ordered[len(positional) :] if _default(each) is not _NONE
        } or None
        found.__module__, found.__qualname__ = of.__module__, f"{of.__qualname__}.__init__"
        return found

    _NONE = object()

    def _default(field: Any) -> Any:
        """What stands for a field that is not given; what is made anew each time is made by the code."""
        if field.default is not MISSING:
            return field.default
        return MISSING if field.default_factory is not MISSING else _NONE

    @cache
    def _taking(made: str, positional: int, after: bool) -> CodeType:
        names = [f"a{number}" for number in range(len(made))]
        given = [*names[:positional], *(["*"] if positional < len(names) else []), *names[positional:]]
        lines = [
            f" self.{name} = f{name[1:]}() if {name} is made else {name}" if kind == "m" else f" self.{name} = {name}"
            for name, kind in zip(names, made, strict=True)
        ]
        lines += [" self.__post_init__()"] if after else [] if lines else [" pass"]
        whole = compile(f"def __init__({', '.join(['self', *given])}):\n" + "\n".join(lines), __file__, "exec")
        return next(each for each in whole.co_consts if isinstance(each, CodeType))

    def _methods(of: type, *, eq: bool, hashed: bool) -> dict[str, Any]:
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

        if not eq:
            return {"__repr__": text}
        return {"__eq__": is_equal, "__hash__": digest if hashed else None, "__repr__": text}


__all__ = ["value"]
