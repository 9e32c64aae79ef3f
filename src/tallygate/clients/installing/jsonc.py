"""JSON with comments and trailing commas, read into nodes that know where they stand in the text."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from typing import Any, NamedTuple

_DEPTH_MAX = 200
_TOKEN = re.compile(
    r"""(?P<space>[ \t\r\n]+)"""
    r"""|(?P<line>//[^\r\n]*)"""
    r"""|(?P<block>/\*.*?\*/)"""
    r"""|(?P<string>"(?:[^"\\\x00-\x1f]|\\.)*")"""
    r"""|(?P<scalar>-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?(?![\w.+-])|(?:true|false|null)(?!\w))"""
    r"""|(?P<sign>[\[\]{},:])""",
    re.DOTALL,
)


class Malformed(ValueError):
    """The text is not what it should be; `line` is where that shows."""

    def __init__(self, line: int, why: str) -> None:
        super().__init__(f"line {line}: {why}")
        self.line = line
        self.why = why


class Kind(StrEnum):
    """What a piece of the text is."""

    SPACE = "space"
    LINE = "line"
    BLOCK = "block"
    STRING = "string"
    SCALAR = "scalar"
    SIGN = "sign"


_KINDS = {kind.value: kind for kind in Kind}


class Token(NamedTuple):
    """One piece of the text; pieces leave nothing out."""

    kind: Kind
    start: int
    end: int


@dataclass(slots=True)
class Node:
    """A value and where it stands. `children` are an array's items or an object's members in order."""

    sign: str  # "{", "[" or "" for a scalar
    start: int
    end: int = 0
    children: list[Child] = field(default_factory=list)

    def child(self, key: str) -> Child | None:
        """The member of that name; of several the last, which is the one that counts."""
        return next((child for child in reversed(self.children) if child.key == key), None)

    def times(self, key: str) -> int:
        """How often a name stands in an object."""
        return sum(child.key == key for child in self.children)


@dataclass(slots=True)
class Child:
    """One member or item: from its key on, where it has one, to the end of its value, and the comma behind it."""

    key: str | None
    start: int
    node: Node
    comma: int | None = None

    @property
    def end(self) -> int:
        return self.node.end


def tokens(text: str) -> Iterator[Token]:
    """Every piece of the text from its start to its end."""
    at = 0
    for match in _TOKEN.finditer(text):
        if match.start() != at or match.lastgroup is None:
            break
        at = match.end()
        yield Token(_KINDS[match.lastgroup], match.start(), at)
    if at < len(text):
        raise Malformed(line_of(text, at), _what_is_wrong(text, at))


def line_of(text: str, at: int) -> int:
    """The number of the line a place is on."""
    return text.count("\n", 0, at) + 1


def _what_is_wrong(text: str, at: int) -> str:
    if text[at] == '"':
        return "a text that begins here has no end on its line, or holds a control character"
    if text.startswith("/*", at):
        return "a comment that begins here has no end"
    return f"{text[at : at + 20]!a} is not JSON"


@lru_cache(maxsize=2)
def parse(text: str) -> Node | None:
    """The one value of a text; None where there is none at all. Its nodes are shared with whoever asks next."""
    reader = _Reader(text)
    if reader.at_end:
        return None
    root = reader.value(0)
    if not reader.at_end:
        reader.wrong("there is something after the end of the value")
    return root


def plain(text: str, node: Node) -> Any:
    """What a node stands for, in Python's own values."""
    if node.sign == "{":
        return {child.key: plain(text, child.node) for child in node.children}
    if node.sign == "[":
        return [plain(text, child.node) for child in node.children]
    return _scalar(text, node.start, node.end)


def _scalar(text: str, start: int, end: int) -> Any:
    try:
        return json.loads(text[start:end])
    except ValueError as error:
        raise Malformed(line_of(text, start), f"{text[start : min(end, start + 20)]!a} cannot be read") from error


class _Reader:
    def __init__(self, text: str) -> None:
        self._text = text
        skipped = (Kind.SPACE, Kind.LINE, Kind.BLOCK)
        self._tokens = [token for token in tokens(text) if token.kind not in skipped]
        self._at = 0

    @property
    def at_end(self) -> bool:
        return self._at == len(self._tokens)

    def wrong(self, why: str) -> None:
        at = len(self._text) if self.at_end else self._tokens[self._at].start
        raise Malformed(line_of(self._text, at), why)

    def value(self, depth: int) -> Node:
        if depth > _DEPTH_MAX:
            self.wrong(f"more than {_DEPTH_MAX} values inside one another")
        token = self._next("a value")
        sign = self._sign(token)
        if sign == "":
            if token.kind is Kind.STRING:
                _scalar(self._text, token.start, token.end)
            return Node("", token.start, token.end)
        if sign not in "{[":
            self._at -= 1
            self.wrong(f"a value is missing before {sign!r}")
        node = Node(sign, token.start)
        closing = "}" if sign == "{" else "]"
        while self._peek() != closing:
            node.children.append(self._child(sign, depth))
            if self._peek() == ",":
                node.children[-1].comma = self._tokens[self._at].start
                self._at += 1
            elif self._peek() != closing:
                self.wrong(f"',' or {closing!r} is missing")
        node.end = self._next(closing).end
        return node

    def _child(self, sign: str, depth: int) -> Child:
        if sign == "[":
            node = self.value(depth + 1)
            return Child(None, node.start, node)
        token = self._next("a name")
        if token.kind is not Kind.STRING:
            self._at -= 1
            self.wrong("a name in quotes is missing")
        key = _scalar(self._text, token.start, token.end)
        if self._peek() != ":":
            self.wrong("':' is missing")
        self._at += 1
        return Child(key, token.start, self.value(depth + 1))

    def _next(self, wanted: str) -> Token:
        if self.at_end:
            self.wrong(f"the text ends where {wanted} is missing")
        self._at += 1
        return self._tokens[self._at - 1]

    def _peek(self) -> str:
        return "" if self.at_end else self._sign(self._tokens[self._at])

    def _sign(self, token: Token) -> str:
        return self._text[token.start] if token.kind is Kind.SIGN else ""
