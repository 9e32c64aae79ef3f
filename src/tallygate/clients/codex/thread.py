"""A thread of Codex as its records tell it: where it comes from, and what it has counted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from datetime import datetime, timedelta
from operator import add, sub
from typing import Any, NamedTuple

from tallygate.clients.reading.attribution import branch, tools_kept
from tallygate.clients.reading.lines import (
    Fields,
    Odd,
    ReadReport,
    Skip,
    Unreadable,
    count,
    counts,
    fields,
    inner,
    moment,
    name,
)
from tallygate.core.attribution import Served, label
from tallygate.core.costing import Tokens
from tallygate.core.values import value

# --- counts ----------------------------------------------------------------------------------------------------------
# Codex's token counts: what they contain, and which of them a later snapshot still brings.


class Counts(NamedTuple):
    """Counts as Codex writes them: input holds cached and cache-write tokens, output holds reasoning."""

    input: int = 0
    cached: int = 0
    written: int = 0
    output: int = 0
    reasoning: int = 0

    def minus(self, other: Counts) -> Counts:
        return Counts(*map(sub, self, other))

    def grown(self, other: Counts) -> Counts:
        """What each counter is above the other's, by which none has fallen."""
        moved = self.minus(other)
        return moved if min(moved) >= 0 else Counts(*(max(number, 0) for number in moved))

    def fell(self, other: Counts) -> bool:
        """Whether this is no later count of the same series: of its parts only, some versions write fewer."""
        return self.input < other.input or self.output < other.output

    def larger(self, other: Counts) -> Counts:
        """Counter by counter the larger."""
        return Counts(*map(max, self, other))

    def plus(self, other: Counts) -> Counts:
        return Counts(*map(add, self, other))


NONE = Counts()
_MAIN = frozenset({"input_tokens", "output_tokens"})
# With these a counter says nothing about how far it is.
_NO_TOTAL = frozenset({Odd.NEGATIVE, Odd.NO_NUMBER, Odd.TOO_LARGE})
_WRITTEN = (
    "input_tokens", "cached_input_tokens", "cache_write_input_tokens", "output_tokens", "reasoning_output_tokens",
)  # fmt: skip


def counts_of(usage: Fields, odd: set[str]) -> Counts:
    """The counts of a usage object; `total_tokens` is left, since after compaction it is no usage."""
    return Counts(*counts(usage, _WRITTEN, odd))


def total_of(usage: Fields, known: Counts | None, odd: set[str]) -> tuple[Counts, bool]:
    """A cumulative count, normalised: a counter that is no number, or not there, stands where it stood.

    The second says whether input and output could be read, so that its growth is what was used. An object without any
    counter is a total that was set to nothing.
    """
    if usage.keys().isdisjoint(_WRITTEN):
        return NONE, True
    before, plain = known or NONE, set[str]()
    numbers = Counts(*counts(usage, _WRITTEN, plain))
    # Nearly every total: all counters are there, and none is below what it was.
    if not plain and _is_whole(usage) and min(numbers.minus(before)) >= 0:
        return numbers, True
    found, whole = [], True
    for key, stood in zip(_WRITTEN, before, strict=True):
        wrong: set[str] = set()
        number = count(usage, key, wrong)
        odd |= wrong
        # A counter that cannot be read did not fall to nothing: it stands where it stood, or its next growth would
        # count twice.
        if usage.get(key) is None or not wrong.isdisjoint(_NO_TOTAL):
            whole = whole and key not in _MAIN
            number = stood
        found.append(number)
    return Counts(*found), whole


def usable(written: Fields, last: Counts, odd: set[str]) -> bool:
    """Whether an event's own counts say what it used."""
    return _is_whole(written) and odd.isdisjoint(_NO_TOTAL) and last.input + last.output > 0


def _is_whole(usage: Fields) -> bool:
    return usage.get("input_tokens") is not None and usage.get("output_tokens") is not None


def begins_with(total: Counts, last: Counts) -> bool:
    """Whether a first total is that of its own event and of none before, although they do not agree in all."""
    return total != last and (last.input == total.input > 0 or last.output == total.output > 0)


def tokens_of(counts: Counts, report: ReadReport) -> Tokens:
    """The disjoint classes; their sum stays the written input where its parts do not fit into it."""
    if counts.cached + counts.written > counts.input:
        report.skipped[Skip.INCONSISTENT] += 1
    # Parts that are more than their whole would make fresh input negative, and money with it.
    cached = min(counts.cached, counts.input)
    written = min(counts.written, counts.input - cached)
    return Tokens(
        fresh_input=counts.input - cached - written,
        cache_read=cached,
        cache_write_5m=written,
        output=counts.output,
    )


def not_yet_counted(moved: Counts, last: Counts | None, records: list[Counts]) -> Counts:
    """What a moved total brings beyond the response records before it, which it may or may not include.

    Ordinary responses and local compactions stand in a record and then in the total; remote compactions
    stand in a record only. Records that the movement explains are removed from the list.
    """
    if not records:
        return moved
    together = NONE
    for record in records:
        together = together.plus(record)
    if moved == together:
        records.clear()
        return NONE
    # The movement is the last response alone: the records before it were of compactions elsewhere, which no total
    # holds.
    if last is not None and moved == last:
        if last in records:
            records.remove(last)
            return NONE
        return moved
    # Where it holds all records and more, the rest is new; where it does not, none of them is in it.
    rest = moved.minus(together)
    if min(rest) >= 0:
        records.clear()
        return rest
    return moved


# --- thread ----------------------------------------------------------------------------------------------------------
# What is known of a Codex thread between two lines of its rollout.


# What the client calls its tiers; one it may invent later must not be taken for the one before.
_TIERS = frozenset({"priority", "fast", "default", "standard", "flex", "auto", "batch"})
_TIMES = ("replayed_at", "made_at")
_TOOLS = ("tools", "read")
_PAUSE = timedelta(seconds=1)


@value(slots=True)
class Thread:
    """A thread's identity, settings and counters; `replaying` while the lines are its parent's."""

    thread: str | None = None
    parent: str | None = None
    is_agent: bool = False
    project: str | None = None
    version: str | None = None
    provider: str | None = None
    model: str | None = None
    tier: str | None = None
    total: Counts | None = None
    recorded: Counts | None = None
    resets: int = 0
    # The last total that could not be read, as it was written: a repetition brings nothing.
    odd_total: str | None = None
    # The time of the last usage that only its time names, and how many had that time.
    bare_at: str | None = None
    bare: int = 0
    replaying: bool = False
    # A turn id said where the replay stands; then pauses say nothing.
    marked: bool = False
    replayed_at: datetime | None = None
    # When the thread was made. Lines that are older were copied with their own times; after those none is re-stamped.
    made_at: datetime | None = None
    kept_times: bool = False
    # Whether anything of the thread's own was counted: what is copied stands before that.
    worked: bool = False
    calls: list[str] = field(default_factory=list)
    # What kind of agent it is, and the branch that it began on.
    agent_type: str | None = None
    branch: str | None = None
    # The tools called since the last response that counted, and those that this one had called.
    tools: list[Served] = field(default_factory=list)
    read: list[Served] = field(default_factory=list)
    responses: list[str] = field(default_factory=list)
    records: list[Counts] = field(default_factory=list)

    def begin(self, meta: Fields, fallback: str, made_at: datetime | None) -> None:
        """Take the first `session_meta`, which is the thread's own."""
        # Pauses in inherited history are counted from the moment the thread was made.
        self.made_at = self.replayed_at = made_at
        self.thread = name(meta.get("id")) or fallback
        self.project = name(meta.get("cwd"))
        self.version = name(meta.get("cli_version"))
        self.provider = name(meta.get("model_provider"))
        source = meta.get("source")
        spawned: Any = None
        self.branch = branch(inner(meta, "git").get("branch"))
        if type(source) is tuple:
            subagent = fields(source).get("subagent")
            self.is_agent = subagent is not None
            self.agent_type = label(subagent)
            if type(subagent) is tuple:
                started = inner(fields(subagent), "thread_spawn")
                spawned = started.get("parent_thread_id")
                # As its hooks name it: by its role. A nickname is another one each time.
                default = "default" if started else None
                self.agent_type = label(started.get("agent_role")) or label(fields(subagent).get("other")) or default
        self.is_agent = self.is_agent or meta.get("thread_source") == "subagent"
        forked = name(meta.get("forked_from_id"))
        self.parent = forked or name(spawned) or name(meta.get("parent_thread_id"))
        self.replaying = self.parent is not None

    def meet(self, meta: Fields) -> None:
        """Take a later `session_meta`: the same thread resumed, or that of a parent whose history is copied here."""
        other = name(meta.get("id"))
        if other == self.thread:
            self.version = name(meta.get("cli_version")) or self.version
        elif other is not None and self.parent is None and not self.worked:
            self.parent, self.replaying = other, True

    def inherits(self, at: datetime) -> bool:
        """Whether usage at this time is a parent's, copied in when the thread began.

        Copies keep the times they had, which are older than the thread, or are written in one go at its beginning,
        while real work pauses for the model. Where turn ids tell where a copy stands, times say nothing.
        """
        if not self.replaying:
            return False
        before, self.replayed_at = self.replayed_at, at
        if self.marked:
            return True
        # Older than the thread itself: a copy, and one that kept its times, so times can be gone by from here on.
        if self.made_at is not None and at < self.made_at:
            self.kept_times = True
            return True
        if self.kept_times or (before is not None and at - before > _PAUSE):
            self.replaying = False
            self.calls.clear()
            self.tools.clear()
            return False
        return True

    def turn(self, written: object) -> None:
        """A turn's id carries the time it was made: one older than the thread is the parent's."""
        turn = name(written)
        if not self.replaying or turn is None or not _timed(turn) or not _timed(self.thread):
            return
        self.marked = True
        if turn[:13] >= str(self.thread)[:13]:
            self.replaying = False
            self.calls.clear()
            self.tools.clear()

    def named(self, written: object) -> None:
        """Take the model of a turn; a name that cannot be read leaves the one before."""
        self.model = name(written) or self.model

    def bare_mark(self, stamp: str) -> str:
        """What names usage that nothing but its time does: by its place where several have one."""
        self.bare = self.bare + 1 if stamp == self.bare_at else 0
        self.bare_at = stamp
        return f"at:{stamp}" + (f"~{self.bare}" if self.bare else "")

    def settings(self, applied: Fields) -> None:
        """A settings event; without the key the tier stays, with an unknown one it is not known."""
        if "service_tier" in applied:
            tier = name(applied["service_tier"])
            self.tier = tier if tier in _TIERS else None

    def as_state(self) -> dict[str, Any]:
        state: dict[str, Any] = {key: getattr(self, key) for key in self.__slots__}
        for key in _TIMES:
            state[key] = None if state[key] is None else state[key].isoformat()
        for key in ("total", "recorded"):
            state[key] = None if state[key] is None else list(state[key])
        state["records"] = [list(record) for record in self.records]
        state["calls"], state["responses"] = list(self.calls), list(self.responses)
        for key in _TOOLS:
            state[key] = [list(tool) for tool in getattr(self, key)]
        return state

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Thread:
        """The thread as it was; keys of another version are left, as a new reader starts without them."""
        known = {key: state[key] for key in cls.__slots__ if key in state}
        for key in ("total", "recorded"):
            if known.get(key) is not None:
                known[key] = Counts(*known[key])
        known["records"] = [Counts(*record) for record in known.get("records", [])]
        for key in ("calls", "responses"):
            known[key] = list(known.get(key, []))
        for key in _TOOLS:
            known[key] = list(tools_kept(known.get(key)))
        for key in _TIMES:
            if known.get(key) is not None:
                try:
                    known[key] = moment(known[key])
                except Unreadable:
                    known[key] = None
        return cls(**known)


def _timed(identifier: str | None) -> bool:
    """Whether an id is a UUID of version 7, whose first 48 bits are milliseconds since 1970."""
    return identifier is not None and len(identifier) == 36 and identifier[14] == "7"
