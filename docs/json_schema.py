"""What `--json` answers with, from docs/json.toml: one JSON schema of all commands, and the page that says it."""  # noqa: INP001

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

SOURCE = Path(__file__).with_name("json.toml")
DRAFT = "https://json-schema.org/draft/2020-12/schema"
_TIME = r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$"
# A type with what it is in a schema.
TYPES: dict[str, dict[str, Any]] = {
    "id": {"type": "string"},
    "money": {"type": "number"},
    "number": {"type": "number"},
    "count": {"type": "integer", "minimum": 0},
    "percent": {"type": "number"},
    "time": {"type": "string", "pattern": _TIME},
    "day": {"type": "string", "pattern": r"^(\d{4}-\d\d-\d\d|before 1971|after 2199)$"},
    "currency": {"type": "string"},
    "flag": {"type": "boolean"},
    "hash": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
    "text": {"type": "string"},
    "object": {"type": "object"},
}
Declared = Mapping[str, Any]


def declared() -> Declared:
    """What docs/json.toml says."""
    return tomllib.loads(SOURCE.read_text(encoding="utf-8"))


def schema(found: Declared, *, closed: bool = False) -> dict[str, Any]:
    """The schema of every command's answer; with `closed` nothing may stand there that is not said."""
    shapes = {name: _shape(found, name, closed=closed) for name in found["shapes"]}
    commands = {f"command {name}": {"$ref": f"#/$defs/{shape}"} for name, shape in found["commands"].items()}
    return {
        "$schema": DRAFT,
        "title": "What commands of tallygate answer with --json",
        "description": "Of a command: #/$defs/command%20NAME, such as #/$defs/command%20usage.",
        "$defs": commands | shapes,
    }


def schema_of(found: Declared, command: str) -> dict[str, Any]:
    """The closed schema of one command's answer."""
    whole = schema(found, closed=True)
    return {**whole, "$ref": f"#/$defs/{found['commands'][command]}"}


def fields_of(found: Declared, shape: str) -> Iterator[tuple[str, str, bool]]:
    """The fields of a shape: name, type, and whether it is always there."""
    for word in found["shapes"][shape].split():
        if word.startswith("+"):
            yield from fields_of(found, word[1:])
            continue
        name, _, other = word.removeprefix("~").partition(":")
        yield name, other or found["fields"][name][0], not word.startswith("~")


def _shape(found: Declared, shape: str, *, closed: bool) -> dict[str, Any]:
    fields = [*fields_of(found, shape)]
    about = {name: found["fields"].get(name, ["", ""])[1] for name, _, _ in fields}
    made = {
        "type": "object",
        "required": [name for name, _, always in fields if always],
        "properties": {
            name: ({"description": about[name]} if about[name] and not closed else {}) | _type(of)
            for name, of, _ in fields
        },
    }
    return made | ({"additionalProperties": False} if closed else {})


def _type(text: str) -> dict[str, Any]:
    if text.endswith("?"):
        inner = _type(text[:-1])
        kind = inner.get("type")
        return {"anyOf": [inner, {"type": "null"}]} if kind is None else {**inner, "type": [kind, "null"]}
    if text.startswith("["):
        return {"type": "array", "items": _type(text[1:-1])}
    if text.startswith("{"):
        return {"type": "object", "additionalProperties": _type(text[1:-1])}
    if text.startswith("<"):
        return {"$ref": f"#/$defs/{text[1:-1]}"}
    return dict(TYPES[text])


def written(found: Declared) -> str:
    """The schema as a file: each form on a line of its own, so that a change of one is seen."""
    whole = schema(found)
    defs = ",\n".join(f"  {json.dumps(name)}: {json.dumps(shape)}" for name, shape in whole.pop("$defs").items())
    head = "\n".join(f" {json.dumps(name)}: {json.dumps(value)}," for name, value in whole.items())
    return f'{{\n{head}\n "$defs": {{\n{defs}\n }}\n}}\n'


def paragraphs(found: Declared) -> Iterator[str]:
    """The page: what holds of all answers, and what each command answers with."""
    yield (
        "Every command that lists or changes something takes `--json` and prints one document: ASCII, so that nothing "
        "in it acts on a terminal; `sync --watch` prints a line for each change. Notes go to standard error, and exit "
        "codes are the same as without it. Names are added; one that is here keeps its meaning, or the changelog says "
        "so. [One JSON schema](json.schema.json) has all commands, each under `$defs`, and says of each name what it "
        "means: it has one type and one meaning wherever it stands."
    )
    yield (
        "Amounts are US dollars, rounded to six digits, or what the `currency` beside them says: tokens and calls are "
        "whole. Moments are UTC by ISO 8601 with `Z`, hashes SHA-256 in hexadecimal digits, 51 per cent is 51 and a "
        "share of one 0.51. `null` means that nobody knows, or that there is none; 0 is never said for that."
    )
    forms: dict[str, list[str]] = {}
    for name, shape in found["commands"].items():
        forms.setdefault(shape, []).append(f"`{name}`")
    yield "## Commands"
    yield _list((", ".join(names), f"`<{shape}>`") for shape, names in forms.items())
    yield "## Forms"
    yield (
        "A name in brackets is left out where it does not apply; `<...>` is a form, `[...]` a list of it, `{...}` an "
        "object of such values."
    )
    yield _list((f"`<{name}>`", _line(found, name)) for name in found["shapes"])


def _list(rows: Iterable[tuple[str, str]]) -> str:
    return "\n".join(f"- {name}: {about}" for name, about in rows)


def _line(found: Declared, shape: str) -> str:
    parts = []
    for word in found["shapes"][shape].split():
        if word.startswith("+"):
            parts.append(f"all of `<{word[1:]}>`")
        else:
            name, _, other = word.removeprefix("~").partition(":")
            of = other or found["fields"][name][0]
            text = f"`{name}`" + (f" `{of}`" if "<" in of else "")
            parts.append(f"({text})" if word.startswith("~") else text)
    return ", ".join(parts)
