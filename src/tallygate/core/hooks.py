"""What hooks tell and what is answered, in one form for all clients."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import field
from enum import StrEnum

from tallygate.core.attribution import MadeFor, label, served_by, servers_meant
from tallygate.core.costing import Tokens
from tallygate.core.guard.fence import Reach
from tallygate.core.likeness import ToolRun
from tallygate.core.regex import regex
from tallygate.core.values import value

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


class SessionOrigin(StrEnum):
    """How a client's session began."""

    STARTUP = "startup"
    RESUME = "resume"
    CLEAR = "clear"
    COMPACT = "compact"
    FORK = "fork"


# Where a client can still be kept from spending; at all others it only tells what happened.
GATED = frozenset({Moment.PROMPT, Moment.MODEL, Moment.TOOL, Moment.TOOLS_DONE, Moment.AGENT_START, Moment.COMPACTION})


@value(frozen=True, slots=True, kw_only=True)
class HookFacts:
    """What holds for every hook of one client.

    `reserves_at` are the moments directly before a model call, with no other hook in between: its cost is reserved
    there. Where `agents_begin_unasked`, a subagent's first call is reserved with the tool that starts it. Agents of the
    types in `auxiliary_agents` make small calls beside the conversation, such as for a title.

    What a first call of a session takes is `first_call`, and it goes to `first_model`, where nobody has said which
    and none of the client's sessions was seen yet. A client that `writes_late` writes down a response only when it has
    been quiet for a moment, and so not while a fast model answers.

    In print mode a refused client is ended at the moments of `ends_at`, and where the step before was refused too at
    those of `ends_again_at`; where its `agents_end_by_themselves` a refused subagent ends nothing. `first_fault_ends`
    says the same of a ledger that cannot be used. One that `lands_first` has agents that work at the same time, and its
    end breaks off what is in flight: it waits for that.

    One that `begins_anew` keeps nothing of a run whose first prompt was refused: it cannot be resumed.

    Without `told_at_end` it is not told, as its session ends, why it was stopped; else it is, but where the refusal was
    that of one of these hooks, after which it says so itself.

    A client that `asks_again` asks its model once more when a tool is refused, as no answer ends a turn of it, or with
    `agents_ask_again` the work of a subagent. A refused tool may be kept back for `held_s` seconds, which is less than
    the client waits for a hook before it lets the tool run.
    """

    reserves_at: frozenset[Moment]
    agents_begin_unasked: bool = False
    auxiliary_agents: frozenset[str] = frozenset()
    first_call: Tokens | None = None
    first_model: str | None = None
    writes_late: bool = False
    ends_at: frozenset[Moment] = frozenset()
    ends_again_at: frozenset[Moment] = frozenset()
    agents_end_by_themselves: bool = False
    first_fault_ends: bool = True
    lands_first: bool = False
    begins_anew: bool = False
    told_at_end: frozenset[str] | None = None
    asks_again: bool = False
    agents_ask_again: bool = False
    held_s: int = 0

    @property
    def is_told_of_faults_at_end(self) -> bool:
        """Whether the end of a run also says why the ledger cannot be used: not where a client says so itself."""
        return self.told_at_end == frozenset()

    def ends_run(self, moment: Moment, *, again: bool, subagent: bool = False) -> bool:
        """Whether a refused client is to be ended where nobody sits before it; `again` after another refusal."""
        if subagent and self.agents_end_by_themselves:
            return False
        return moment in self.ends_at or (again and moment in self.ends_again_at)


# Of an event that nobody has handed on: nothing is known of its client, and nothing may be taken for known.
NOBODYS = HookFacts(reserves_at=frozenset())


@value(frozen=True, slots=True)
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
    waits: it is asked about again. `starts_type` is the kind of subagent that a tool is to start, `skill` the skill
    that it is to use, and `server` whose it is, where its name alone does not tell. `runs` are the tools that are
    through, each with what it was given and gave, or the one that is about to run: looked at, and never kept. A prompt
    is `by_machine` that no person has written. `facts` are those of its client,
    set by whoever hands the event on, and not by what reads a client's words, so that none can forget them.
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
    origin: SessionOrigin | None = None
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
    starts_type: str | None = None
    skill: str | None = None
    server: str | None = None
    runs: tuple[ToolRun, ...] = field(default=(), compare=False, repr=False)
    by_machine: bool = False
    facts: HookFacts = field(default=NOBODYS, compare=False, repr=False)

    @property
    def reserves(self) -> bool:
        """Whether a model call follows this event with no other hook in between."""
        return self.moment in self.facts.reserves_at

    @property
    def made_for(self) -> MadeFor:
        """Whom the step is taken for, as far as the client tells: the agent that asks, and what its tool is of."""
        own = None if self.agent_id is None else label(self.agent_type)
        tool = None if self.tool is None else served_by(self.tool)
        agents = tuple(each for each in (own, self.starts_type) if each is not None)
        servers = servers_meant(tool) if self.server is None else (self.server,)
        return MadeFor(agents, () if self.skill is None else (self.skill,), servers, self.agent_id, own)

    @property
    def begins_unasked(self) -> bool:
        """Whether a tool is about to start a subagent that no later hook can keep from its first model call."""
        return self.starts_agent and self.facts.agents_begin_unasked

    @property
    def is_auxiliary(self) -> bool:
        """Whether a client is about to make a small call of its own, such as for a title."""
        return self.agent_type in self.facts.auxiliary_agents

    @property
    def is_told_at_end(self) -> bool:
        """Whether its client is told, as its session ends, why it was stopped."""
        return self.facts.told_at_end is not None

    def ends_run(self, *, again: bool) -> bool:
        """Whether this refused client is to be ended where nobody sits before it."""
        return self.facts.ends_run(self.moment, again=again, subagent=self.agent_id is not None)

    @property
    def holds_next(self) -> bool:
        """Whether the tool after a refused one is held, where its client cannot be ended."""
        return self.moment is Moment.TOOL and self.facts.asks_again

    def held_s(self, *, again: bool, goes_on: bool) -> int:
        """For how many seconds a refused tool is held where its client cannot be ended; 0 where the answer ends it.

        With clients whose turns an answer does end, it is held only where the agent has gone on after refusals.
        """
        unending = self.facts.asks_again or (self.facts.agents_ask_again and self.agent_id is not None)
        if self.moment is not Moment.TOOL or not (goes_on or (again and unending)):
            return 0
        return self.facts.held_s


class HookVerdict(StrEnum):
    """Whether the client may go on."""

    GO_ON = "go_on"
    STOP = "stop"


@value(frozen=True, slots=True)
class HookAnswer:
    """The gate's answer to a hook, in words; every client's own form is made of it.

    With STOP, `message` says what is spent, which budget binds and the command to go on. With GO_ON it is None,
    or a short notice for the model and the user (what is left, when that has changed enough to be told).
    `ends` says that the client's run in print mode is to be ended, as no answer ends it or says why. `tool_only`
    keeps one tool from running, and the work goes on. `unconfirmed` says that a tool was left to a second question
    before, in this row of refusals, and that none came; `again` that the step before was refused, too. `waits`
    says that responses are in flight that would be lost if it ended now; where it cannot be ended, the answer is kept
    back for `held_s` seconds. `last` is said in place of the message where the run is ended. At a session's end
    `parting` is why it was stopped, and `ends` that its run was ended for that. `beside` is said on a client's stderr
    where nobody sits before it and would see the message; it ends nothing. `alone` is said there in place of the
    message: it names no key to press. `asks` is the question that a person is asked in place of the refusal, where the
    client can ask one.
    """

    verdict: HookVerdict = HookVerdict.GO_ON
    message: str | None = None
    ends: bool = False
    tool_only: bool = False
    unconfirmed: bool = False
    again: bool = False
    waits: bool = False
    held_s: int = 0
    parting: str | None = None
    last: str | None = None
    beside: str | None = None
    alone: str | None = None
    asks: str | None = None

    @property
    def stops(self) -> bool:
        return self.verdict is HookVerdict.STOP


# --- foreign ---------------------------------------------------------------------------------------------------------
# Variables in a client's environment that the gate does not go by: a name each, and what is said of them.


SHOWN_MAX = 8
_NAME = regex(r"[A-Z][A-Z0-9_]{1,60}")


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
