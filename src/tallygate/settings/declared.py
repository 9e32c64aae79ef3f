"""How a setting is declared: once, beside its value. Checks, variables, reference and what may tighten go by it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from typing import Any

from tallygate.settings.checks import Check

_DECLARED = "setting"


# A hook without a server loads this anew: no method is generated that nobody calls.
@dataclass(eq=False, repr=False)
class Setting:
    """One key of a settings file: the attribute it sets, what its value may be, and what the reference says of it.

    `variables` set it too, the first one that is set; `parts` of what is kept make one of what a file says.
    `tightens` says of two values whether the second is the tighter: where the limits are locked it counts unsigned
    then, and where `projects_may` it counts in a project that nobody has trusted. Without it every other value waits,
    but where it `loosens_nothing`; what `only_tells` counts from the environment of a client as well.
    """

    check: Check
    example: str
    about: str
    attribute: str = ""
    default: Any = None
    required: bool = False
    variables: tuple[str, ...] = ()
    parts: int = 1
    tightens: Callable[[Any, Any], bool] | None = None
    projects_may: bool = False
    loosens_nothing: bool = False
    only_tells: bool = False
    has_effect: bool = True

    def is_tighter(self, before: Any, now: Any) -> bool:
        """Whether a value leaves less than the one before."""
        return self.tightens is not None and self.tightens(before, now)

    def value_in(self, settings: Any, section: str) -> Any:
        """What settings have in this place; what is at the top has no section."""
        return getattr(getattr(settings, section) if section else settings, self.attribute)


Table = Mapping[str, Setting]


def setting(default: Any, key: str, check: Check, example: str, about: str, **more: Any) -> Any:
    """A field of a dataclass that a key of the settings sets."""
    metadata = {_DECLARED: (key, check, example, about, more)}
    return field(metadata=metadata) if default is MISSING else field(default=default, metadata=metadata)


def table_of(kind: type[Any]) -> Table:
    """The settings that the fields of a dataclass declare, by their keys."""
    table = {}
    for each in fields(kind):
        if _DECLARED in each.metadata:
            key, check, example, about, more = each.metadata[_DECLARED]
            default = None if each.default is MISSING else each.default
            table[key] = Setting(check, example, about, each.name, default, **more)
    return table
