"""JSON with comments: read into places, and edited in place."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import field
from enum import StrEnum
from functools import lru_cache
from typing import Any, NamedTuple

from tallygate.core.regex import regex
from tallygate.core.values import value

# --- jsonc -----------------------------------------------------------------------------------------------------------
# JSON with comments and trailing commas, read into nodes that know where they stand in the text.


_DEPTH_MAX = 200
_TOKEN = regex(
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


class TokenKind(StrEnum):
    """What a piece of the text is."""

    SPACE = "space"
    LINE = "line"
    BLOCK = "block"
    STRING = "string"
    SCALAR = "scalar"
    SIGN = "sign"


_KINDS = {kind.value: kind for kind in TokenKind}


class Token(NamedTuple):
    """One piece of the text; pieces leave nothing out."""

    kind: TokenKind
    start: int
    end: int


@value(slots=True)
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


@value(slots=True)
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
    if at == len(text):
        return
    # What could not be read is told apart for people: they have to find and mend it.
    if text[at] == '"':
        wrong = "a text that begins here has no end on its line, or holds a control character"
    elif text.startswith("/*", at):
        wrong = "a comment that begins here has no end"
    else:
        wrong = f"{text[at : at + 20]!a} is not JSON"
    raise Malformed(line_of(text, at), wrong)


def line_of(text: str, at: int) -> int:
    """The number of the line a place is on."""
    return text.count("\n", 0, at) + 1


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
        skipped = (TokenKind.SPACE, TokenKind.LINE, TokenKind.BLOCK)
        self._tokens = [token for token in tokens(text) if token.kind not in skipped]
        self._at = 0

    @property
    def at_end(self) -> bool:
        return self._at == len(self._tokens)

    def wrong(self, why: str) -> None:
        at = len(self._text) if self.at_end else self._tokens[self._at].start
        raise Malformed(line_of(self._text, at), why)

    def value(self, depth: int) -> Node:
        # Said with a line, before Python's own limit says it without one.
        if depth > _DEPTH_MAX:
            self.wrong(f"more than {_DEPTH_MAX} values inside one another")
        token = self._next("a value")
        sign = self._sign(token)
        if sign == "":
            if token.kind is TokenKind.STRING:
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
        if token.kind is not TokenKind.STRING:
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
        return self._text[token.start] if token.kind is TokenKind.SIGN else ""


# --- json edits ------------------------------------------------------------------------------------------------------
# Editing JSON with comments in place: every byte outside the edited entries stays as it was.
#
# Each function takes a text and answers with a new one. What is put in begins right behind what was there (a comma, a
# value, the comment on its line), so that cutting it out together with the space before it restores the text.


Path = Sequence[str]

_INDENT = "  "
_REST_OF_LINE = regex(r"[ \t]*(?:\r?\n|$)")


@value(frozen=True, slots=True)
class Put:
    """A text after an entry was put in, and what has to be known to take it out again.

    `made` is how many containers around the entry were made for it. `tail` is what was added behind it, which
    only happens where it is the first in a container that was there, empty.
    """

    text: str
    made: int = 0
    tail: str = ""


def root_of(text: str) -> Node | None:
    """The object a settings file is; None where the file says nothing."""
    root = parse(text)
    if root is not None and root.sign != "{":
        raise Malformed(line_of(text, root.start), "the file holds no object")
    return root


def find(text: str, path: Path) -> Node | None:
    """The value at a path of names; None where there is none."""
    node = root_of(text)
    for depth, key in enumerate(path):
        if node is None:
            return None
        if node.sign != "{":
            raise Malformed(line_of(text, node.start), f"{'.'.join(path[:depth])} is no object")
        # Readers differ in which of two they take: an edit of one might be of the other.
        if node.times(key) > 1:
            raise Malformed(line_of(text, node.start), f"{'.'.join(path[: depth + 1])} stands there twice")
        child = node.child(key)
        node = None if child is None else child.node
    return node


def add_member(text: str, path: Path, value: Any) -> Put:
    """Put a member that is not there yet at the end of its object; objects around it that are missing are made."""
    depth = len(path) - 1
    while depth and find(text, path[:depth]) is None:
        depth -= 1
    for key in reversed(path[depth + 1 :]):
        value = {key: value}
    put = _insert(text, path[:depth], "{", path[depth], value)
    return Put(put.text, len(path) - 1 - depth, put.tail)


def add_item(text: str, path: Path, value: Any) -> Put:
    """Put an item at the end of an array; the array, and objects around it, are made where they are missing."""
    if find(text, path) is None:
        put = add_member(text, path, [value])
        return Put(put.text, put.made + 1, put.tail)
    return _insert(text, path, "[", None, value)


def replace_value(text: str, node: Node, value: Any) -> str:
    """Write another value in a value's place, laid out as that one was."""
    on_one_line = bool(node.children) and "\n" not in text[node.start : node.end]
    indent = None if on_one_line else _line_indent(text, node.start)
    compact = on_one_line and _is_compact(text, node)
    return text[: node.start] + _format(text, value, indent, compact=compact) + text[node.end :]


def remove_child(text: str, parent: Node, index: int, tail: str = "") -> str:
    """Cut a member or item out, with its comma and the space before it."""
    child = parent.children[index]
    before, after_comment = _what_comes_before(text, parent, index)
    if child.comma is not None:
        head, rest = text[:before], text[child.end : child.comma] + text[child.comma + 1 :]
    elif index:
        comma = parent.children[index - 1].comma or 0
        head, rest = text[:comma] + text[comma + 1 : before], text[child.end :]
    else:
        head, rest = text[:before], text[child.end :]
    if len(parent.children) == 1 and tail and rest.startswith(tail):
        rest = rest[len(tail) :]
    if after_comment and not _REST_OF_LINE.match(rest):
        head += text[before : child.start]  # or what follows would become part of the comment
    return head + rest


def remove_member(text: str, path: Path, tail: str = "") -> str:
    """Cut the member at a path out; a text without it is answered as it is."""
    parent = find(text, path[:-1])
    if parent is None or parent.sign != "{" or parent.child(path[-1]) is None:
        return text
    index = next(index for index, child in enumerate(parent.children) if child.key == path[-1])
    return remove_child(text, parent, index, tail)


def is_bare(text: str, node: Node) -> bool:
    """Whether a container holds nothing at all, not even a comment."""
    return not node.children and not text[node.start + 1 : node.end - 1].strip()


def _insert(text: str, path: Path, sign: str, key: str | None, value: Any) -> Put:
    container = find(text, path)
    if container is None:
        newline = "\r\n" if "\r\n" in text else "\n"
        body = _format(newline, {key: value}, "", compact=False)
        head = text if not text or text.endswith("\n") else text + newline
        return Put(head + body + newline)
    if container.sign != sign:
        wanted = "object" if sign == "{" else "list"
        raise Malformed(line_of(text, container.start), f"{'.'.join(path) or 'the file'} is no {wanted}")
    children = container.children
    return _append(text, container, key, value) if children else _first(text, container, key, value)


def _append(text: str, container: Node, key: str | None, value: Any) -> Put:
    first, last = container.children[0], container.children[-1]
    after = last.end if last.comma is None else last.comma + 1
    # A comment on the line of the last entry is of that entry: what is new comes behind it.
    place, ends_line = _behind_comments(text, after, container.end - 1)
    across = "\n" in text[container.start : first.start]
    newline = _newline(text)
    if across or ends_line:
        indent = _line_indent(text, first.start if across else container.start) + ("" if across else _unit(text))
        piece = newline + indent + _entry(text, key, value, indent, compact=False)
    else:
        compact = _is_compact(text, container)
        piece = ("" if compact else " ") + _entry(text, key, value, None, compact=compact)
    # A comma behind the last entry is how this file is written: the new last one has one, too.
    if last.comma is not None:
        return Put(text[:place] + piece + "," + text[place:])
    return Put(text[: last.end] + "," + text[last.end : place] + piece + text[place:])


def _first(text: str, container: Node, key: str | None, value: Any) -> Put:
    place, ends_line = _behind_comments(text, container.start + 1, container.end - 1)
    rest = text[place : container.end - 1]
    whole = parse(text)
    if not ends_line and "\n" not in text.strip() and whole is not None and whole.children:
        return Put(text[:place] + _entry(text, key, value, None, compact=True) + text[place:])
    base = _line_indent(text, container.start)
    newline, indent = _newline(text), base + _unit(text)
    tail = "" if "\n" in rest else newline + base
    piece = newline + indent + _entry(text, key, value, indent, compact=False)
    return Put(text[:place] + piece + tail + text[place:], tail=tail)


def _behind_comments(text: str, start: int, end: int) -> tuple[int, bool]:
    """Behind the comments that follow on the same line, and whether the last of them goes on to the line's end."""
    place, ends_line = start, False
    for token in tokens(text[start:end]):
        if token.kind is TokenKind.SPACE:
            if "\n" in text[start + token.start : start + token.end]:
                break
            continue
        if token.kind not in (TokenKind.LINE, TokenKind.BLOCK):
            break
        place, ends_line = start + token.end, token.kind is TokenKind.LINE
    return place, ends_line


def _what_comes_before(text: str, parent: Node, index: int) -> tuple[int, bool]:
    """The end of what stands before an entry, and whether that is a comment that goes on to the end of its line."""
    start = parent.start + 1
    if index:
        earlier = parent.children[index - 1]
        start = earlier.end if earlier.comma is None else earlier.comma + 1
    place, ends_line = start, False
    for token in tokens(text[start : parent.children[index].start]):
        if token.kind is not TokenKind.SPACE:
            place, ends_line = start + token.end, token.kind is TokenKind.LINE
    return place, ends_line


def _line_indent(text: str, place: int) -> str:
    start = text.rfind("\n", 0, place) + 1
    line = text[start:place]
    return line[: len(line) - len(line.lstrip(" \t"))]


def _newline(text: str) -> str:
    at = text.find("\n")
    return "\r\n" if at > 0 and text[at - 1] == "\r" else "\n"


def _unit(text: str) -> str:
    """One step of indentation, as the file's own first member has it."""
    root = parse(text)
    if root is None or not root.children or "\n" not in text[root.start : root.children[0].start]:
        return _INDENT
    return _line_indent(text, root.children[0].start) or _INDENT


def _is_compact(text: str, container: Node) -> bool:
    """Whether nothing stands between a container's entries but signs."""
    child = container.children[0]
    second = container.children[1] if len(container.children) > 1 else None
    if second is not None and child.comma is not None:
        return second.start == child.comma + 1
    return child.key is not None and text[child.node.start - 1] == ":"


def _entry(text: str, key: str | None, value: Any, indent: str | None, *, compact: bool) -> str:
    body = _format(text, value, indent, compact=compact)
    return body if key is None else f"{_json(key)}:{'' if compact else ' '}{body}"


def _format(text: str, value: Any, indent: str | None, *, compact: bool) -> str:
    """A value as JSON: on one line where `indent` is None, else laid out below that indentation."""
    if indent is None:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":") if compact else (", ", ": "))
    body = json.dumps(value, ensure_ascii=False, indent=_unit(text) if text.strip() else _INDENT)
    return body.replace("\n", _newline(text) + indent)


def _json(value: str) -> str:
    return json.dumps(value, ensure_ascii=False)
