"""What hooks tell and what is answered, in one form for all clients."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum

from tallygate.core.guard.fence import Reach

# --- hooks -----------------------------------------------------------------------------------------------------------
# What a client's hook tells the gate, and what the gate answers: the one form behind every client's own.


# How a link between a client's session and a budget session came about, where a hook told it.
FOUND_BY_HOOK = "hook"


class Moment(StrEnum):
    """Where in a client's work a hook fires, told by what comes next."""

    SESSION_START = "session_start"
    PROMPT = "prompt"  # a turn begins: a model call follows
    MODEL = "model"  # a model call follows at once
    TOOL = "tool"  # a tool is about to run; a model call follows when its response's tools are through
    TOOL_DONE = "tool_done"
    TOOLS_DONE = "tools_done"  # every tool of one response is through: a model call follows
    AGENT_START = "agent_start"  # a subagent begins: its first model call follows
    AGENT_END = "agent_end"
    COMPACTION = "compaction"  # the client is about to summarise its context: a model call no tool leads to
    TURN_END = "turn_end"
    SESSION_END = "session_end"
    SETTINGS_CHANGE = "settings_change"
    FORM_ANSWERED = "form_answered"  # a person has answered a form that a server of ours put


class Origin(StrEnum):
    """How a client's session began."""

    STARTUP = "startup"
    RESUME = "resume"
    CLEAR = "clear"
    COMPACT = "compact"
    FORK = "fork"


@dataclass(frozen=True, slots=True)
class HookEvent:
    """One firing of one hook.

    `client` is the name its transcripts go by; `name` is the client's own word for the hook. `key` is the same
    for the same firing, however often it is told, and another for every other one of the session; None where
    the client gives nothing to make it of. `agent_id` is None in the main agent. `starts_agent` says that the
    tool is the one by which the client starts a subagent. `changed_file` belongs to SETTINGS_CHANGE. `inside` are
    servers of clients that this one was started in, by an agent in a shell; `near` says that the hook was run by the
    very client that started this server. `raising` is a prompt that asks to raise: the amount and, the second time, the
    code; of no other prompt is anything kept. `reach` is what a tool is about to be given, where the client tells it.
    `answered` is what a person did with a form of ours, and the amount that stands in it.
    `confirms` is a second question for a tool that was asked for already; of a `confirmed` tool there will be one.
    `key_of_response` says that `key` is the same for all tools of one response. A `held` tool was refused before, and
    waits: it is asked about again.
    """

    client: str
    moment: Moment
    client_session: str
    name: str
    key: str | None = None
    tool: str | None = None
    tool_use_ids: tuple[str, ...] = ()
    starts_agent: bool = False
    agent_id: str | None = None
    agent_type: str | None = None
    model: str | None = None
    transcript: str | None = None
    folder: str | None = None
    origin: Origin | None = None
    cause: str | None = None
    changed_file: str | None = None
    inside: tuple[str, ...] = ()
    near: bool = False
    foreign: tuple[str, ...] = ()
    raising: tuple[str, str | None] | None = None
    answered: tuple[str, str | None] | None = None
    reach: Reach | None = field(default=None, compare=False, repr=False)
    confirms: bool = False
    confirmed: bool = False
    key_of_response: bool = False
    held: bool = False


# Where each client's hooks come directly before a model call, so that its cost is reserved there. Claude Code's tools
# are followed by an event for all tools of a response; Codex and Copilot have only the tool itself.
_RESERVE_AT: dict[str, frozenset[Moment]] = {
    "claude_code": frozenset({Moment.PROMPT, Moment.TOOLS_DONE, Moment.AGENT_START}),
    "codex": frozenset({Moment.PROMPT, Moment.TOOL, Moment.AGENT_START}),
    "gemini": frozenset({Moment.MODEL}),
    "opencode": frozenset({Moment.MODEL}),
    "qwen": frozenset({Moment.PROMPT, Moment.MODEL, Moment.AGENT_START}),
    "copilot": frozenset({Moment.PROMPT, Moment.TOOL, Moment.AGENT_START}),
}
# Clients that write down a response only when they have been quiet for a moment, and so not while a fast model answers.
_WRITE_LATE = frozenset({"copilot"})
# Clients whose subagents begin without being asked: their first call is reserved with the tool that starts them.
_BEGIN_UNASKED = frozenset({"claude_code"})
# Where a client can still be kept from spending; at all others it only tells what happened.
GATED = frozenset({Moment.PROMPT, Moment.MODEL, Moment.TOOL, Moment.TOOLS_DONE, Moment.AGENT_START, Moment.COMPACTION})
# Clients whose agents work at the same time, and whose end breaks off what is in flight: it waits for that.
_LANDS_FIRST = frozenset({"claude_code"})
# Clients that show what a hook says as their session ends, and not why it was stopped before; and the hooks of those
# refusals after which one does say it, by its words and exit code.
_TOLD_AT_END = {"claude_code": frozenset[str](), "copilot": frozenset({"userPromptSubmitted"})}


def told_at_end(client: str, refused: str | None) -> bool:
    """Whether a run that was stopped, by the refusal of a tool or of a hook's name, says why by the hook of its end."""
    return client in _TOLD_AT_END and refused not in _TOLD_AT_END[client]


def faults_told_at_end(client: str) -> bool:
    """Whether the end of a run also says why the ledger cannot be used: not where a client says so itself."""
    return client in _TOLD_AT_END and not _TOLD_AT_END[client]


def lands_first(client: str) -> bool:
    """Whether a client is ended only once every response of its session is written down."""
    return client in _LANDS_FIRST


def reserves(client: str, moment: Moment) -> bool:
    """Whether a model call follows this event with no other hook in between."""
    return moment in _RESERVE_AT.get(client, frozenset({Moment.MODEL}))


def begins_unasked(event: HookEvent) -> bool:
    """Whether a tool is about to start a subagent that no later hook can keep from its first model call."""
    return event.starts_agent and event.client in _BEGIN_UNASKED


def writes_late(client: str) -> bool:
    """Whether a client may have had several responses before it writes the first of them down."""
    return client in _WRITE_LATE


def ends_run(client: str, moment: Moment, *, again: bool, subagent: bool = False) -> bool:
    """Whether a refused client is to be ended where nobody sits before it.

    Codex asks the model again for each tool that is refused, so the second refusal in a row is the last. A prompt that
    is refused is told in print mode by neither Codex nor Qwen Code, and looks like success; so does whatever is refused
    in Claude Code, where a subagent ends by itself and its main agent may have less to ask for. Copilot ends a turn
    itself, in a terminal too, by its answer to the question whether a tool may run; where a tool raises no question,
    the second refusal is the last.
    """
    if client == "claude_code":
        return not subagent and moment in {Moment.PROMPT, Moment.TOOL, Moment.TOOLS_DONE}
    if client == "codex":
        return moment is Moment.PROMPT or (again and moment is Moment.TOOL)
    if client == "copilot":
        return moment is Moment.TOOL
    return client == "qwen" and moment in GATED


def holds_next(event: HookEvent) -> bool:
    """Whether the tool after a refused one is held, where its client cannot be ended."""
    return event.client == "codex" and event.moment is Moment.TOOL


# How long a refused tool may be held, which is less than its client waits for a hook before it lets the tool run.
_HELD_S = {"codex": 560, "qwen": 45, "gemini": 45}


def held_s(event: HookEvent, *, again: bool, goes_on: bool) -> int:
    """For how many seconds a refused tool is held where its client cannot be ended; 0 where the answer ends the turn.

    No answer ends a turn of Codex, and none the work of a subagent of Qwen Code. With others that is so only where the
    agent has gone on after refusals.
    """
    unending = event.client == "codex" or (event.client == "qwen" and event.agent_id is not None)
    if event.moment is not Moment.TOOL or not (goes_on or (again and unending)):
        return 0
    return _HELD_S.get(event.client, 0)


class Verdict(StrEnum):
    """Whether the client may go on."""

    GO_ON = "go_on"
    STOP = "stop"


@dataclass(frozen=True, slots=True)
class HookAnswer:
    """The gate's answer to a hook, in words; every client's own form is made of it.

    With STOP, `message` says what is spent, which budget binds and the command to go on. With GO_ON it is None,
    or a short notice for the model and the user (what is left, when that has changed enough to be told).
    `ends` says that the client's run in print mode is to be ended, as no answer ends it or says why. `tool_only`
    keeps one tool from running, and the work goes on. `unconfirmed` says that a tool was left to a second question
    before, in this row of refusals, and that none came; `again` that the step before was refused, too. `waits`
    says that responses are in flight that would be lost if it ended now; where it cannot be ended, the answer is kept
    back for `held_s` seconds. At a session's end `parting` is why it was
    stopped, and `ends` that its run was ended for that.
    """

    verdict: Verdict = Verdict.GO_ON
    message: str | None = None
    ends: bool = False
    tool_only: bool = False
    unconfirmed: bool = False
    again: bool = False
    waits: bool = False
    held_s: int = 0
    parting: str | None = None

    @property
    def stops(self) -> bool:
        return self.verdict is Verdict.STOP


# --- foreign ---------------------------------------------------------------------------------------------------------
# Variables in a client's environment that the gate does not go by: a name each, and what is said of them.


SHOWN_MAX = 8
_NAME = re.compile(r"[A-Z][A-Z0-9_]{1,60}")


def names_in(words: Iterable[str]) -> tuple[str, ...]:
    """What of some words can be the name of a variable: they come from outside."""
    return tuple(word for word in words if _NAME.fullmatch(word))


def foreign_text(names: Iterable[str]) -> str:
    """What is said of them when a session begins, and by `doctor`; nothing where there are none.

    >>> foreign_text(["TALLYGATE_DB"])
    "Not counted, though set in this client's environment: TALLYGATE_DB. If you set it: tallygate init in a terminal."
    """
    listed = sorted(set(names))
    if not listed:
        return ""
    more = f" and {len(listed) - SHOWN_MAX} more" if len(listed) > SHOWN_MAX else ""
    told = f"Not counted, though set in this client's environment: {', '.join(listed[:SHOWN_MAX])}{more}."
    return f"{told} If you set {'it' if len(listed) == 1 else 'them'}: tallygate init in a terminal."
