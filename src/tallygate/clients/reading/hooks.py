"""A hook's input read, and its answer worded."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, cast

from tallygate.clients.reading.reaching import given_to, reach_of
from tallygate.clients.reading.runs import about_to_run
from tallygate.core.attribution import label
from tallygate.core.errors import InvalidArgument
from tallygate.core.hooks import HookAnswer, HookEvent, HookVerdict, Moment, SessionOrigin
from tallygate.core.regex import regex
from tallygate.core.text import cleaned, cleaned_lines, shown
from tallygate.core.values import value

LONGEST_ID = 200
LONGEST_PATH = 4096
LONGEST_MESSAGE = 2000
MOST_TOOL_CALLS = 1000
# The calls of one response as text, with what they were given and gave back.
LONGEST_TOOL_CALLS = 8 * 1024 * 1024
# Control characters, halves of characters, and what ends a line. Other strange ones do stand in names of files.
_NEVER_IN_PATHS = regex("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
# A prompt that raises: an amount, and the second time the code that was shown for it. Clients put a line that was
# stopped back into their input, so that the next one may follow it there: the last one counts.
_ANY_CASE = re.ASCII | re.IGNORECASE
_RAISE = regex(r"tallygate\s+raise(?:\s+(?P<amount>[$\d.,]+k?)(?:\s+(?P<code>[0-9A-Za-z]{1,40}?))?)?", _ANY_CASE)
_RAISES = regex(rf"\s*(?:{re.sub(r'[?]P<[a-z]+>', '?:', _RAISE.pattern)}\s*)+", _ANY_CASE)
_LAST = regex(rf".*{_RAISE.pattern}\s*", _ANY_CASE | re.DOTALL)
# One word where the amount belongs: it is told how an amount is typed. More words are a sentence.
_MISTYPED = regex(r"\s*tallygate\s+raise\s+\S{1,40}(?:\s+(?:dollars?|usd|euros?|eur|pounds?|gbp))?\s*", _ANY_CASE)
_REFUSED = "Tallygate refuses this step."
# Clients say for a new session what they like; these words are common to them.
_ORIGINS = {origin.value: origin for origin in SessionOrigin} | {"new": SessionOrigin.STARTUP}


@value(frozen=True, slots=True)
class Reply:
    """What a hook gives back to its client: one JSON object for standard output, or nothing at all.

    With `last_words` the client's run in print mode is ended, and they are said on its stderr; at a session's end they
    are what the hook says on its own. It `waits` while responses are in flight; where nothing can be
    ended, it is kept back for `held_s` seconds. What is `settled` needs no end: the
    client ends its turn by the answer itself, or may be asked once more. `beside` is said on the client's stderr in
    print mode, and nothing ends. A `line` is printed as it is, for a status line.
    """

    body: Mapping[str, Any] | None = None
    exit_code: int = 0
    last_words: str = ""
    waits: bool = False
    held_s: int = 0
    settled: bool = False
    beside: str = ""
    line: str | None = None


@value(frozen=True, slots=True)
class Hooks:
    """One client's hooks.

    `read` makes an event of what the client sends, which is not trusted: None where the event is of no interest,
    `InvalidArgument` where something the gate cannot do without is missing or of the wrong form. `name` is the
    event's name where the client does not send it and the installed command says it. `reply` puts an answer into
    the client's own words. `refuse` is the answer to a hook that could not be read or answered at all, for a
    policy that stops on faults; it gets the client's name of the event. `tell` says the same where a client cannot
    be stopped yet: at the start of a session. `moments` are what the client's own words for its hooks mean.
    """

    client: str
    read: Callable[[Mapping[str, Any], str | None], HookEvent | None]
    reply: Callable[[HookEvent, HookAnswer], Reply]
    refuse: Callable[[str, str], Reply]
    tell: Callable[[str, str], Reply]
    moments: Mapping[str, Moment]


_SILENT = Reply()
# What a client's own words for a hook say: None where they are of no interest.
Read = Callable[[Mapping[str, Any], str, Moment], HookEvent | None]


def hooks_of(
    client: str,
    read: Read,
    answered: Callable[[str, HookAnswer, str], Reply],
    moments: Mapping[str, Moment],
    *,
    silence: Reply = _SILENT,
) -> Hooks:
    """The hooks of a client whose answer turns on the event's name and words alone; `silence` is its answer for none.

    `read` is asked only of events that are known.
    """

    def said(name: str, answer: HookAnswer) -> Reply:
        message = message_of(answer)
        return silence if message is None else answered(name, answer, message)

    return Hooks(
        client=client,
        read=partial(_with_wish, read, moments),
        reply=lambda event, answer: said(event.name, answer),
        refuse=lambda name, message: said(name, HookAnswer(HookVerdict.STOP, message)),
        tell=lambda name, message: said(name, HookAnswer(HookVerdict.GO_ON, message)),
        moments=moments,
    )


def event_of(client: str, raw: Mapping[str, Any], name: str, moment: Moment, **told: Any) -> HookEvent:
    """An event with what most clients say in the same words; `told` is what this one says besides, or in others."""
    if "client_session" not in told:
        told["client_session"] = session_of(raw)
    if "transcript" not in told:
        told["transcript"] = file_path(raw, "transcript_path")
    if "cause" not in told:
        told["cause"] = cause_of(raw)
    origin = origin_of(raw) if moment is Moment.SESSION_START else None
    return HookEvent(client, moment, name=name, folder=file_path(raw, "cwd"), origin=origin, **told)


def _with_wish(read: Read, moments: Mapping[str, Moment], raw: Mapping[str, Any], name: str | None) -> HookEvent | None:
    """The event, at a prompt of the main agent what it asks to raise, and at a tool what that is about to be given."""
    fired = event_name(raw, name, moments)
    event = None if fired is None else read(raw, fired, moments[fired])
    if event is not None and event.moment is Moment.TOOL:
        given = given_to(raw)
        starts = named_in(given, _KINDS) if event.starts_agent else None
        call_id = event.tool_use_ids[0] if event.tool_use_ids else None
        runs = about_to_run(raw, event.tool, call_id)
        skill = _skill(event.tool, given)
        return replace(event, reach=reach_of(raw, event.tool), starts_type=starts, skill=skill, runs=runs)
    if event is None or event.moment is not Moment.PROMPT or event.agent_id is not None:
        return event
    text = raw.get("prompt")
    if not isinstance(text, str) or len(text) > LONGEST_ID:
        return event
    # Nothing but the command alone raises a limit: no prompt that merely speaks of it.
    if _RAISES.fullmatch(text) is None:
        return event if _MISTYPED.fullmatch(text) is None else replace(event, raising=("", None))
    found = _LAST.fullmatch(text)
    return event if found is None else replace(event, raising=((found["amount"] or "").lstrip("$"), found["code"]))


# What clients call the kind of agent that a tool starts, and the skill that one uses.
_KINDS = ("subagent_type", "agent_type", "agentType", "agent_name", "agent", "role", "name")
_SKILL_TOOLS = frozenset({"skill", "activate_skill", "use_skill"})
_SKILLS = ("skill", "skill_name", "name", "command")


def _skill(tool: str | None, given: Mapping[str, Any]) -> str | None:
    return named_in(given, _SKILLS) if tool is not None and tool.lower() in _SKILL_TOOLS else None


def named_in(given: Mapping[str, Any], keys: Sequence[str]) -> str | None:
    """The first name under some keys of what a tool is given."""
    return next((found for key in keys if (found := label(given.get(key)))), None)


def event_name(raw: Mapping[str, Any], name: str | None, known: Mapping[str, Moment]) -> str | None:
    """The event that fired, in the client's word; None where it is none of the known.

    What the client says comes before what the installed command says.
    """
    told = identifier(raw, "hook_event_name")
    if told in known:
        return told
    installed = None if name is None else identifier({"event": name}, "event")
    if installed in known:
        return installed
    if told is None and installed is None:
        raise InvalidArgument(
            "event",
            "The hook does not say which event fired.",
            hint="Install the hooks again with: tallygate init",
        )
    return None


def session_of(raw: Mapping[str, Any], argument: str = "session_id") -> str:
    """The client's own session, without which no budget can be found."""
    session = identifier(raw, argument)
    if session is None:
        raise InvalidArgument(
            argument,
            f"The hook does not say which session it belongs to: {argument} is missing.",
            hint="Update the client, or install the hooks again with: tallygate init",
        )
    return session


def identifier(raw: Mapping[str, Any], argument: str) -> str | None:
    """A short printable word from a client, or None where it was left out."""
    if argument not in raw:
        return None
    text = _text(raw, argument, LONGEST_ID)
    if text is not None and not text.isprintable():
        raise InvalidArgument(argument, f"{argument} must be printable, not {shown(text)}.")
    return text


def number(raw: Mapping[str, Any], argument: str, most: int) -> str | None:
    """A whole number from a client as it stands in a key, or None where it was left out."""
    value = raw.get(argument)
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= most:
        raise InvalidArgument(argument, f"{argument} must be a whole number from 0 to {most}, not {shown(value)}.")
    return str(value)


def file_path(raw: Mapping[str, Any], argument: str) -> str | None:
    """The name of a file or folder from a client, or None where it was left out."""
    if argument not in raw:
        return None
    text = _text(raw, argument, LONGEST_PATH)
    if text is not None and _NEVER_IN_PATHS.search(text):
        raise InvalidArgument(argument, f"{argument} must have no control characters, not {shown(text)}.")
    return text


def origin_of(raw: Mapping[str, Any], argument: str = "source") -> SessionOrigin | None:
    """How the session began; None where the client says nothing, or a word nobody knows yet."""
    return _ORIGINS.get(identifier(raw, argument) or "")


def cause_of(raw: Mapping[str, Any], argument: str = "reason") -> str | None:
    """Why something ended, as text for people."""
    if argument not in raw:
        return None
    text = _text(raw, argument, LONGEST_MESSAGE)
    return None if text is None else cleaned(text, LONGEST_ID) or None


def key_of(kind: str, *parts: str | None) -> str | None:
    """A key of the parts that tell one firing from all others; None where a client leaves one of them out."""
    return None if None in parts else ":".join((kind, *cast("tuple[str, ...]", parts)))


def tool_calls_of(raw: Mapping[str, Any]) -> tuple[str, ...]:
    """Ids of the tools of one response, in its order: from their list, its text, or the first one's id alone."""
    calls = raw.get("tool_calls")
    if isinstance(calls, str):
        calls = _decoded(calls)
    if calls is None:
        first = identifier(raw, "tool_use_id")
        return () if first is None else (first,)
    if not isinstance(calls, list):
        raise InvalidArgument("tool_calls", f"tool_calls must be a list, not {shown(calls)}.")
    if len(calls) > MOST_TOOL_CALLS:
        raise InvalidArgument("tool_calls", f"tool_calls has {len(calls)} calls; at most {MOST_TOOL_CALLS} are taken.")
    return tuple([each for call in calls if isinstance(call, dict) and (each := identifier(call, "tool_use_id"))])


def message_of(answer: HookAnswer) -> str | None:
    """The answer's words, safe to print and to hand to a model; a refusal always has some."""
    text = cleaned_lines(answer.message, LONGEST_MESSAGE) if answer.message else ""
    return text or (_REFUSED if answer.stops else None)


def context(name: str, message: str) -> dict[str, Any]:
    """The way of several clients to tell something to the model and to the user."""
    return {
        "hookSpecificOutput": {"hookEventName": name, "additionalContext": message},
        "systemMessage": message,
    }


def denial(name: str, message: str) -> dict[str, Any]:
    """The way of several clients to keep a tool from running."""
    return _permission(name, "deny", message)


def question(name: str, asked: str) -> dict[str, Any]:
    """The way of several clients to have a person decide on a tool."""
    return _permission(name, "ask", cleaned_lines(asked, LONGEST_MESSAGE))


def _permission(name: str, decision: str, why: str) -> dict[str, Any]:
    return {
        "hookSpecificOutput": {
            "hookEventName": name,
            "permissionDecision": decision,
            "permissionDecisionReason": why,
        },
    }


def _text(raw: Mapping[str, Any], argument: str, longest: int) -> str | None:
    """A field's text; None where it is absent, empty, or the unfilled template of it."""
    value = raw.get(argument)
    # A client that knows no such field hands over the template as it is.
    if value is None or value == "" or (isinstance(value, str) and value == "${" + argument + "}"):
        return None
    if not isinstance(value, str):
        raise InvalidArgument(argument, f"{argument} must be text, not {shown(value)}.")
    if len(value) > longest:
        raise InvalidArgument(argument, f"{argument} has {len(value)} characters; at most {longest} are taken.")
    return value


def _decoded(text: str) -> Any:
    if text in {"", "${tool_calls}"}:
        return None
    if len(text) > LONGEST_TOOL_CALLS:
        raise InvalidArgument(
            "tool_calls", f"tool_calls has {len(text)} characters; at most {LONGEST_TOOL_CALLS} are taken."
        )
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise InvalidArgument("tool_calls", f"tool_calls must be a list in JSON, not {shown(text)}.") from None
