"""When an agent goes round in circles: what repeats in one turn, told by counts and digests alone.

A call is stale when its input came to the same result before, or when it failed as one has failed before. Five stale
calls in a row, five same failures, five same calls with the same result or three subagents on one task are worth a
warning; eight stale ones, eight same failures or the third such subagent are a loop. Money is never the reason: it is
the price in the sentence.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import field, replace
from enum import StrEnum
from typing import Any, Protocol

from tallygate.core.likeness import Likeness, RunKind
from tallygate.core.moments import iso
from tallygate.core.money import exact_number, format_amount
from tallygate.core.text import plural
from tallygate.core.values import value

WARN_AT, STOP_AT = 5, 8
SPAWNS_AT = 3
# Of a turn so many different calls are remembered: a longer circle than that is not seen.
SEEN_MAX = 200
THREADS_MAX = 32


class LoopMode(StrEnum):
    """What is done about loops. In this order each is stricter than the one before."""

    OFF = "off"
    WARN = "warn"
    HALT = "halt"


class LoopKind(StrEnum):
    """What repeats."""

    STALE = "stale"
    ERROR = "error"
    SAME = "same"
    SPAWN = "spawn"


class LoopStage(StrEnum):
    """What was done about it: the model was warned; it is a loop, and was let go on; or the next call is stopped."""

    WARNED = "warned"
    REACHED = "reached"
    STOPPED = "stopped"


@value(frozen=True, slots=True)
class Loop:
    """Something that repeats, when it comes to as many as are told: `calls` calls since `since_us` and call `first`.

    `asked` is the digest of what the last of them was given, by which the same call is known when it is asked again.
    """

    kind: LoopKind
    is_loop: bool
    times: int
    calls: int
    number: int
    since_us: int
    tool: str
    asked: str


@value(frozen=True, slots=True)
class SeenLoop:
    """A loop as the ledger keeps it: `number` is the call of its turn at which it was seen, `tool` that call's tool.

    `allowed_us` is when a person let it go on, `wrong_us` when one said that it was none.
    """

    session_id: str
    at_us: int
    kind: LoopKind
    stage: LoopStage
    tool: str
    times: int
    calls: int
    number: int
    agent_id: str | None = None
    cost_nanos: int | None = None
    allowed_us: int | None = None
    wrong_us: int | None = None

    @property
    def told(self) -> str:
        """What was seen, in one sentence; of the call itself only its tool is known."""
        is_loop = self.stage is not LoopStage.WARNED
        loop = Loop(self.kind, is_loop, self.times, self.calls, self.number, 0, self.tool, "")
        return told(loop, None, self.cost_nanos)

    @property
    def done(self) -> str:
        """What was done about it, in a few words."""
        done = {
            LoopStage.WARNED: "the model was warned",
            LoopStage.REACHED: "let go on, as loops only warn",
            LoopStage.STOPPED: "the next call was stopped",
        }[self.stage]
        done += "" if self.allowed_us is None else "; you let it go on"
        return done if self.wrong_us is None else f"{done}; you said that it was none"

    def stated(self) -> dict[str, object]:
        """The same for programs."""
        return {
            "session_id": self.session_id,
            "at": iso(self.at_us),
            "kind": self.kind.value,
            "stage": self.stage.value,
            "tool": self.tool,
            "times": self.times,
            "calls": self.calls,
            "at_call": self.number,
            "agent_id": self.agent_id,
            "cost_usd": exact_number(self.cost_nanos),
            "allowed_at": None if self.allowed_us is None else iso(self.allowed_us),
            "wrong_at": None if self.wrong_us is None else iso(self.wrong_us),
        }


@value(frozen=True, slots=True)
class Repeated:
    """How often something was seen in a turn, at which call first, and when the call before that was through."""

    times: int
    first: int
    since_us: int


@value(frozen=True, slots=True)
class AgentTurn:
    """What one agent has done in one turn: `calls` that counted, what was seen, and a row of stale ones.

    `last_us` is when the last call was through, and before the first one when the turn began.

    `warned` and `reached` are the calls at which the last warning was given and the last loop was seen; `halted` is the
    loop that its next call is stopped for, `kept_us` when the last loop was written down, `refused` how many calls were
    stopped for it. `asked_for` are the calls that a person was asked about.
    """

    calls: int = 0
    last_us: int = 0
    seen: Mapping[str, Repeated] = field(default_factory=dict)
    stale: int = 0
    stale_first: int = 0
    stale_us: int = 0
    after_wait: bool = False
    warned: int = 0
    reached: int = 0
    halted: Loop | None = None
    kept_us: int = 0
    refused: int = 0
    asked_for: tuple[str, ...] = ()


def took(thread: AgentTurn, like: Likeness, tool: str, at_us: int) -> tuple[AgentTurn, Loop | None]:
    """A turn after one more call that is through, and what that makes of it.

    What directly follows a wait is what was waited for: who polls asks the same until the answer is another.
    """
    if like.kind is not RunKind.COUNTS:
        return replace(thread, last_us=at_us, after_wait=thread.after_wait or like.kind is RunKind.WAIT), None
    if thread.after_wait:
        seen = _noted(thread, {f"r{like.pair}", f"e{like.error}"} if like.error else {f"r{like.pair}"})
        return replace(thread, calls=thread.calls + 1, last_us=at_us, after_wait=False, seen=seen), None
    number = thread.calls + 1
    pair, error = f"r{like.pair}", None if like.error is None else f"e{like.error}"
    is_stale = pair in thread.seen or (error is not None and error in thread.seen)
    seen = _counted(thread, pair, number)
    if error is not None:
        seen = _counted(replace(thread, seen=seen), error, number)
    begins = is_stale and not thread.stale
    thread = replace(
        thread,
        calls=number,
        last_us=at_us,
        seen=seen,
        stale=thread.stale + 1 if is_stale else 0,
        stale_first=number if begins else thread.stale_first,
        stale_us=thread.last_us if begins else thread.stale_us,
    )
    found = [(LoopKind.STALE, Repeated(thread.stale, thread.stale_first, thread.stale_us))]
    found += [] if error is None else [(LoopKind.ERROR, seen[error])]
    found += [] if error is not None else [(LoopKind.SAME, seen[pair])]
    return _judged(thread, [(kind, each, like.asked, tool) for kind, each in reversed(found)])


def spawns(thread: AgentTurn, task: str, asked: str, tool: str) -> tuple[AgentTurn, Loop | None]:
    """A turn in which a subagent is about to be started on a task, and what that makes of it."""
    seen = _counted(thread, f"s{task}", thread.calls + 1)
    thread = replace(thread, seen=seen)
    return _judged(thread, [(LoopKind.SPAWN, seen[f"s{task}"], asked, tool)])


def _noted(thread: AgentTurn, keys: set[str]) -> Mapping[str, Repeated]:
    """What was seen with something more, which is not counted."""
    new = {key: Repeated(1, thread.calls + 1, thread.last_us) for key in sorted(keys) if key not in thread.seen}
    return _bounded({**thread.seen, **new})


def _counted(thread: AgentTurn, key: str, number: int) -> Mapping[str, Repeated]:
    """What was seen with one thing counted once more; it becomes the youngest of all."""
    seen = dict(thread.seen)
    known = seen.pop(key, None)
    seen[key] = Repeated(1, number, thread.last_us) if known is None else replace(known, times=known.times + 1)
    return _bounded(seen)


def _bounded(seen: dict[str, Repeated]) -> Mapping[str, Repeated]:
    while len(seen) > SEEN_MAX:
        seen.pop(next(iter(seen)))
    return seen


def _judged(thread: AgentTurn, found: list[tuple[LoopKind, Repeated, str, str]]) -> tuple[AgentTurn, Loop | None]:
    """What is told of what repeats: of each only once, and nothing of what something else was told of already."""
    for is_loop in (True, False):
        told = thread.reached if is_loop else max(thread.warned, thread.reached)
        for kind, each, asked, tool in found:
            at = SPAWNS_AT if kind is LoopKind.SPAWN else STOP_AT if is_loop else WARN_AT
            if each.times < at or told >= each.first or (is_loop and kind is LoopKind.SAME):
                continue
            number = thread.calls + 1 if kind is LoopKind.SPAWN else thread.calls
            loop = Loop(kind, is_loop, each.times, number - each.first + 1, number, each.since_us, tool, asked)
            return (replace(thread, reached=number) if is_loop else replace(thread, warned=number)), loop
    return thread, None


# --- words -----------------------------------------------------------------------------------------------------------
# What is said of a loop. The call is named by whoever has it before him; where it is another one only its tool is.


def told(loop: Loop, call: str | None, usd_nanos: int | None) -> str:
    """The evidence in one sentence, with its price where that is known.

    >>> loop = Loop(LoopKind.ERROR, True, 8, 8, 8, 0, "Bash", "")
    >>> told(loop, "npm install x", 960_000_000)
    '$0.96 in 8 calls without anything new: `npm install x` failed the same way 8 times.'
    """
    name = f"a call of `{loop.tool}`" if call is None else f"`{call}`"
    if loop.kind is LoopKind.SPAWN:
        spent = "" if usd_nanos is None else f"{format_amount(usd_nanos)} so far: "
        return f"{spent}{loop.times} subagents on the same task in one turn."
    spent = "" if usd_nanos is None else f"{format_amount(usd_nanos)} in "
    calls = plural(loop.calls, "call")
    only = loop.kind is LoopKind.STALE or loop.calls == loop.times
    begun = f"{spent}{calls} without anything new" if only else f"{spent}{calls}"
    if loop.kind is LoopKind.ERROR:
        return f"{begun}: {name} failed the same way {loop.times} times."
    if loop.kind is LoopKind.SAME:
        return f"{begun}: {name} came to the same result {loop.times} times."
    return f"{begun}: each asked and answered before in this turn, {name} the last of them."


def warning(sentence: str, mode: LoopMode) -> str:
    """What the model is told once."""
    goes = " If it goes on so, the user is asked." if mode is LoopMode.HALT else ""
    return f"{sentence} Try another way, or tell the user what is missing.{goes}"


def reached(sentence: str) -> str:
    """What is told of a loop that is let go on."""
    return f"{sentence} This is a loop: stop here, and tell the user what is missing."


def refusal(sentence: str) -> str:
    """What the next call of a loop is refused with."""
    return (
        f"{sentence} This call waits for the user, who goes on with a new prompt, or in a terminal with: "
        "tallygate loop allow"
    )


def question(sentence: str) -> str:
    """What a person is asked."""
    return f"{sentence} Let it go on?"


# --- kept ------------------------------------------------------------------------------------------------------------
# The threads of a session's turn as text: counts, moments and digests, and the names of tools.


def as_text(threads: Mapping[str, AgentTurn]) -> str:
    """Threads as they are kept, the youngest last; of too many the oldest are left out."""
    listed = sorted(threads.items(), key=lambda each: each[1].last_us)[-THREADS_MAX:]
    return json.dumps({name: _stated(each) for name, each in listed}, separators=(",", ":"))


def from_text(text: str) -> dict[str, AgentTurn]:
    """Threads that were kept; of what cannot be read none, and counting begins anew."""
    try:
        found = json.loads(text)
        return {str(name): _read(each) for name, each in found.items()}
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return {}


def _stated(thread: AgentTurn) -> list[Any]:
    begun = min([thread.last_us, *(each.since_us for each in thread.seen.values())])
    seen = {key: [each.times, each.first, each.since_us - begun] for key, each in thread.seen.items()}
    halted = None
    if (loop := thread.halted) is not None:
        halted = [loop.kind.value, loop.times, loop.calls, loop.number, loop.since_us, loop.tool, loop.asked]
    return [
        begun, thread.calls, thread.last_us, thread.stale, thread.stale_first, thread.stale_us,
        int(thread.after_wait), thread.warned, thread.reached, halted, thread.kept_us, thread.refused,
        list(thread.asked_for), seen,
    ]  # fmt: skip


def _read(kept: list[Any]) -> AgentTurn:
    begun, calls, last_us, stale, first, stale_us, after_wait, warned, reached_at, halted, *more = kept
    kept_us, refused, asked_for, seen = more
    loop = None
    if halted is not None:
        kind, times, of_calls, number, since_us, tool, asked = halted
        loop = Loop(LoopKind(kind), True, int(times), int(of_calls), int(number), int(since_us), str(tool), str(asked))
    return AgentTurn(
        int(calls),
        int(last_us),
        {str(key): Repeated(int(n), int(at), int(begun) + int(since)) for key, (n, at, since) in seen.items()},
        int(stale),
        int(first),
        int(stale_us),
        bool(after_wait),
        int(warned),
        int(reached_at),
        loop,
        int(kept_us),
        int(refused),
        tuple(map(str, asked_for)),
    )


class TurnText(Protocol):
    """What is kept of a turn, to be read and set."""

    text: str


class TurnKeeper(Protocol):
    """Where counts and digests of a client's session are kept while its turn lasts, and the key of the digests."""

    def key(self) -> bytes | None: ...
    def turn(self, client: str, session: str) -> AbstractContextManager[TurnText | None]: ...
    def forget(self, client: str, session: str) -> None: ...
