"""What a client's JSON file is to hold: put there, brought up to date, and taken out again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field
from typing import Any

from tallygate.core.values import value
from tallygate.editing import json_text as at
from tallygate.editing.edits import Hook, Member, belongs_to_us, is_ours
from tallygate.editing.json_text import Node, plain

Path = tuple[str, ...]


@value(slots=True)
class JsonTrace:
    """What was done to a file, so that it can be undone after the user has edited it.

    `before` holds the text of values that were replaced, `made` the containers that were not there, `tails` what
    was added behind the first entry of a container, `blank` the text of a file that held no value.
    """

    members: dict[Path, str | None] = field(default_factory=dict)
    hooks: list[Path] = field(default_factory=list)
    made: list[Path] = field(default_factory=list)
    tails: dict[Path, str] = field(default_factory=dict)
    blank: str | None = None

    def as_json(self) -> dict[str, Any]:
        return {
            "members": [[list(path), before] for path, before in self.members.items()],
            "hooks": [list(path) for path in self.hooks],
            "made": [list(path) for path in self.made],
            "tails": [[list(path), tail] for path, tail in self.tails.items()],
            "blank": self.blank,
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> JsonTrace:
        return cls(
            members={tuple(path): before for path, before in stored.get("members", ())},
            hooks=[tuple(path) for path in stored.get("hooks", ())],
            made=[tuple(path) for path in stored.get("made", ())],
            tails={tuple(path): tail for path, tail in stored.get("tails", ())},
            blank=stored.get("blank"),
        )

    def put(self, path: Path, put: at.Put) -> str:
        """Remember how an entry came in, and give the text that holds it."""
        depth = len(path) - put.made
        self.made += [path[:length] for length in range(depth, len(path)) if path[:length] not in self.made]
        if put.tail:
            self.tails[path[: depth - 1]] = put.tail
        return put.text


def apply(text: str, edits: Sequence[Member | Hook], trace: JsonTrace) -> tuple[str, list[str]]:
    """Bring a file up to date; entries that are right stay where they are. Answers with the text and notes."""
    notes: list[str] = []
    root = at.root_of(text)
    if root is None:
        trace.blank = text
    before = _settings(text, root, edits, trace)
    wanted: list[Member | Hook] = []
    for edit in edits:
        if isinstance(edit, Member) and edit.yields is not None and edit.yields(before):
            notes += [edit.why] if edit.why not in notes else []
        else:
            wanted.append(edit)
    paths = {edit.path for edit in wanted}
    # First what an older version wanted and this one does not, so that nothing of it is left beside the new.
    members = [path for path in _still_ours(trace, before) if path not in paths]
    text = _strip(text, members, [path for path in trace.hooks if path not in paths], trace)
    for edit in wanted:
        text = _member(text, edit, trace) if isinstance(edit, Member) else _hook(text, edit, trace)
    return text, notes


def strip(text: str, edits: Iterable[Member | Hook], trace: JsonTrace) -> str:
    """Take out what is ours and nothing else."""
    root = at.root_of(text)
    if root is None:
        return text
    edits = list(edits)
    value = _settings(text, root, edits, trace)
    members, hooks = _still_ours(trace, value), list(trace.hooks)
    for edit in edits:
        if isinstance(edit, Hook):
            hooks += [edit.path] if edit.path not in hooks else []
        elif edit.path not in members and belongs_to_us(edit.path, value):
            members.append(edit.path)
    return _strip(text, members, hooks, trace)


def _settings(text: str, root: Node | None, edits: Iterable[Member | Hook], trace: JsonTrace) -> dict[str | None, Any]:
    """What the parts of a file say that we have to do with; the rest may be large."""
    keys = {edit.path[0] for edit in edits} | {path[0] for path in trace.members}
    children = () if root is None else root.children
    return {child.key: plain(text, child.node) for child in children if child.key in keys}


def _still_ours(trace: JsonTrace, root: Any) -> list[Path]:
    """The members we have put in; one that the user has replaced is forgotten."""
    for path in list(trace.members):
        if not belongs_to_us(path, root):
            del trace.members[path]
    return list(trace.members)


def _member(text: str, edit: Member, trace: JsonTrace) -> str:
    node = at.find(text, edit.path)
    if node is None:
        trace.members[edit.path] = None
        return trace.put(edit.path, at.add_member(text, edit.path, edit.value))
    if plain(text, node) == edit.value:
        return text
    trace.members.setdefault(edit.path, text[node.start : node.end])
    return at.replace_value(text, node, edit.value)


def _hook(text: str, edit: Hook, trace: JsonTrace) -> str:
    found = _ours(text, edit.path)
    if edit.path not in trace.hooks:
        trace.hooks.append(edit.path)
    if not found:
        return trace.put((*edit.path, ""), at.add_item(text, edit.path, edit.item))
    # Twice in one list, as two versions may have left it: the first stays, where the user may have moved it.
    for _ in found[1:]:
        text = _cut(text, edit.path, _ours(text, edit.path)[-1], trace)
    ours = _ours(text, edit.path)[0]
    # In a group of the user's own only our entry changes; its matcher is theirs.
    node, wanted = (ours.entry, dict(edit.entry)) if ours.shared else (ours.item, edit.item)
    return text if plain(text, node) == wanted else at.replace_value(text, node, wanted)


@value(frozen=True, slots=True)
class _Found:
    """One of our hooks: the list it stands in, its place there, and the group around it where there is one."""

    item: Node
    entry: Node
    index: int
    group: Node | None = None
    inner: int = 0

    @property
    def shared(self) -> bool:
        """Whether the user has put hooks of their own into its group."""
        return self.group is not None and len(self.group.children) > 1


def _ours(text: str, path: Path) -> list[_Found]:
    listed = at.find(text, path)
    found: list[_Found] = []
    if listed is None or listed.sign != "[":
        return found
    for index, child in enumerate(listed.children):
        inside = child.node.child("hooks") if child.node.sign == "{" else None
        if inside is not None and inside.node.sign == "[":
            found += [
                _Found(child.node, each.node, index, inside.node, inner)
                for inner, each in enumerate(inside.node.children)
                if is_ours(plain(text, each.node))
            ]
        elif is_ours(plain(text, child.node)):
            found.append(_Found(child.node, child.node, index))
    return found


def _cut(text: str, path: Path, found: _Found, trace: JsonTrace) -> str:
    if found.shared and found.group is not None:
        return at.remove_child(text, found.group, found.inner)
    listed = at.find(text, path)
    return text if listed is None else at.remove_child(text, listed, found.index, trace.tails.get(path, ""))


def _strip(text: str, members: list[Path], hooks: list[Path], trace: JsonTrace) -> str:
    for path in reversed(hooks):
        # From the last to the first, and looked up anew after each cut: every cut moves what is behind it.
        while found := _ours(text, path):
            text = _cut(text, path, found[-1], trace)
        if path in trace.hooks:
            trace.hooks.remove(path)
    for path in reversed(members):
        before, node = trace.members.pop(path, None), at.find(text, path)
        # What stood there before us comes back byte for byte.
        if node is not None and before is not None:
            text = text[: node.start] + before + text[node.end :]
        elif node is not None:
            text = at.remove_member(text, path, trace.tails.get(path[:-1], ""))
    # The innermost first: what we made around our entries goes once it is empty, and stays where the user has put
    # something.
    for path in sorted(trace.made, key=len, reverse=True):
        node = at.find(text, path)
        if node is None or at.is_bare(text, node):
            trace.made.remove(path)
            text = at.remove_member(text, path, trace.tails.get(path[:-1], ""))
    root = at.root_of(text)
    if trace.blank is not None and root is not None and at.is_bare(text, root):
        return trace.blank
    return text
