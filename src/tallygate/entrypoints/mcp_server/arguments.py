"""The door: what each argument of a tool may be, as JSON Schema for the client and as checks for us.

Schemas are written by hand since every token of them is paid for in each session of each agent. Nothing passes
that was not checked here, whatever the client validated; null counts as left out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from enum import StrEnum
from typing import Any, TypeVar

from tallygate.core.errors import InvalidArgument
from tallygate.core.money import AMOUNT_NANOS_MAX, NANOS_PER_UNIT, TOKENS_MAX, parse_amount_nanos
from tallygate.core.regex import regex
from tallygate.core.text import cleaned, shown

ID_MAX = 200
TEXT_MAX = 2000
Choice = TypeVar("Choice", bound=StrEnum)


@dataclass(frozen=True, slots=True)
class Argument:
    """One argument: its schema, whether it must be given, and what it is for where the name does not say."""

    name: str
    schema: Mapping[str, Any]
    required: bool = False


def _with(schema: dict[str, Any], about: str, default: object) -> dict[str, Any]:
    if about:
        schema["description"] = about
    if default is not None:
        schema["default"] = default
    return schema


def text(name: str, about: str = "", *, required: bool = False, default: str | None = None) -> Argument:
    """An argument that is text: an id, a name or a sentence."""
    return Argument(name, _with({"type": "string"}, about, default), required)


def tokens(name: str, about: str = "", *, required: bool = False, default: int | None = None) -> Argument:
    """An argument that counts tokens."""
    return Argument(name, _with({"type": "integer", "minimum": 0}, about, default), required)


def amount(name: str, about: str = "", *, required: bool = False) -> Argument:
    """An argument that is money of a currency its name tells."""
    return Argument(
        name, _with({"type": "number", "maximum": AMOUNT_NANOS_MAX // NANOS_PER_UNIT}, about, None), required
    )


def flag(name: str, about: str = "", *, default: bool | None = None) -> Argument:
    """An argument that is true or false."""
    return Argument(name, _with({"type": "boolean"}, about, default))


def choice(name: str, values: type[StrEnum], about: str = "", *, default: StrEnum | None = None) -> Argument:
    """An argument that is one of a closed set."""
    schema: dict[str, Any] = {"type": "string", "enum": [value.value for value in values]}
    return Argument(name, _with(schema, about, None if default is None else default.value))


def input_schema(arguments: tuple[Argument, ...]) -> dict[str, Any]:
    """The JSON Schema of a tool's arguments."""
    schema: dict[str, Any] = {
        "type": "object",
        "properties": {argument.name: dict(argument.schema) for argument in arguments},
        "additionalProperties": False,
    }
    if required := [argument.name for argument in arguments if argument.required]:
        schema["required"] = required
    return schema


class CallArguments:
    """The arguments of one call, taken one by one; every refusal names the argument and what it takes."""

    def __init__(self, tool: str, arguments: tuple[Argument, ...], given: Mapping[str, Any]) -> None:
        names = [argument.name for argument in arguments]
        self._given: dict[str, Any] = {}
        for name, value in given.items():
            if name not in names:
                close = get_close_matches(str(name), names, n=1)
                raise InvalidArgument(
                    cleaned(str(name), 80),
                    f"{tool} has no argument {shown(str(name))}.",
                    hint=(f"Did you mean {close[0]}? " if close else "") + f"It takes: {', '.join(names)}.",
                )
            if value is not None:
                self._given[name] = value
        for argument in arguments:
            if argument.required and argument.name not in self._given:
                raise InvalidArgument(argument.name, f"{tool} needs {argument.name}.")

    def has(self, name: str) -> bool:
        return name in self._given

    def text(self, name: str, *, longest: int = TEXT_MAX) -> str | None:
        """Free text, cleaned and cut; empty text counts as left out."""
        value = self._string(name)
        return None if value is None else cleaned(value, longest) or None

    def name(self, name: str) -> str | None:
        """An id or a name: cleaned, and refused when it is too long to be one."""
        if name not in self._given:
            return None
        if not isinstance(value := self._given[name], str):
            raise _no_text(name, value)
        if len(value) > ID_MAX:
            raise InvalidArgument(name, f"{name} has {len(value)} characters; at most {ID_MAX} are taken.")
        return cleaned(value, ID_MAX) or None

    def label(self, name: str) -> str:
        """A name for people that must be there: what is too long is cut, since nothing is found by it."""
        value = self.text(name, longest=ID_MAX)
        if value is None:
            raise InvalidArgument(name, f"{name} must not be empty.")
        return value

    def exact(self, name: str) -> str | None:
        """An id of the caller's own making: taken as it is, or refused where cleaning would make it another."""
        value = self._string(name)
        if value is None or value == "":
            return None
        if len(value) > ID_MAX or cleaned(value, ID_MAX) != value:
            raise InvalidArgument(
                name,
                f"{name} {shown(value)} is no id.",
                hint=f"It takes 1 to {ID_MAX} printable characters without spaces at its ends.",
            )
        return value

    def required_name(self, name: str) -> str:
        value = self.name(name)
        if value is None:
            raise InvalidArgument(name, f"{name} must not be empty.")
        return value

    def tokens(self, name: str) -> int | None:
        """A token count: a whole number from 0 to a thousand million."""
        value = self._given.get(name)
        if value is None:
            return None
        if isinstance(value, str) and _WHOLE.fullmatch(value):
            value = int(value.strip().partition(".")[0])
        if isinstance(value, bool) or not isinstance(value, int | _NUMBER):
            raise InvalidArgument(name, f"{name} must be a whole number of tokens, not {shown(value)}.")
        if not isinstance(value, int):
            if value != value or value in (_INFINITY, -_INFINITY) or value != int(value):  # noqa: PLR0124
                raise InvalidArgument(name, f"{name} must be a whole number of tokens, not {shown(value)}.")
            value = int(value)
        if not 0 <= value <= TOKENS_MAX:
            raise InvalidArgument(name, f"{name} must be from 0 to {TOKENS_MAX:,}, not {shown(value)}.")
        return value

    def amount_nanos(self, name: str, *, allow_zero: bool = False) -> int:
        return parse_amount_nanos(name, self._given.get(name), allow_zero=allow_zero)

    def flag(self, name: str) -> bool | None:
        value = self._given.get(name)
        if isinstance(value, str):
            value = _FLAGS.get(value.strip().lower(), value)
        if value is not None and not isinstance(value, bool):
            raise InvalidArgument(name, f"{name} must be true or false, not {shown(value)}.")
        return value

    def choice(self, name: str, values: type[Choice]) -> Choice | None:
        """One of a closed set, whatever the case and the spaces around it."""
        if name not in self._given:
            return None
        value = self._string(name)
        if value is None:
            return None
        wanted = value.strip().lower()
        for known in values:
            if known.value == wanted:
                return known
        listed = ", ".join(known.value for known in values)
        raise InvalidArgument(name, f"{name} must be one of {listed}, not {shown(value)}.")

    def _string(self, name: str) -> str | None:
        value = self._given.get(name)
        if value is not None and not isinstance(value, str):
            raise _no_text(name, value)
        return value


def _no_text(name: str, value: object) -> InvalidArgument:
    return InvalidArgument(name, f"{name} must be text, not {shown(value)}.")


# The type of a JSON number with a fraction, named without its word: money is never of it.
_NUMBER = float
_INFINITY = 1e999
# Clients and models write numbers as text; only what says one thing is taken.
_WHOLE = regex(r"\s*[+-]?[0-9]{1,18}(?:\.0*)?\s*", re.ASCII)
_FLAGS = {"true": True, "false": False}
