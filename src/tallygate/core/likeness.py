"""Whether two calls of a tool are one call: told by digests that say nothing of what was asked or answered.

Of a call its input is brought into one form, and its result is rid of what is another each time: hours, durations,
ids, addresses, temporary paths. Both become keyed digests, and nothing else of them is ever kept.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import field
from enum import StrEnum
from typing import Any

from tallygate.core.regex import regex
from tallygate.core.shell import commands
from tallygate.core.text import cleaned
from tallygate.core.values import value

# Of a long result both ends are rid of what changes; what lies between counts as it stands.
ENDS_CHARS = 4096
DIGEST_BYTES = 6
COMMAND_CHARS = 60
_COMMANDS = ("command", "cmd")
_PATHS = ("file_path", "filePath", "path", "absolute_path", "notebook_path", "url", "uri")
# Told beside a command, in other words each time or for the program's own sake: not what is done.
_BESIDE = frozenset(
    {
        "description", "explanation", "justification", "reason", "title", "timeout", "timeout_ms", "yield_time_ms",
        "max_output_tokens", "run_in_background", "is_background", "initial_wait", "session_id", "shellId", "sessionId",
    }
)  # fmt: skip
_TASKS = ("prompt", "message", "task", "instructions", "items")


class RunKind(StrEnum):
    """What a call is in a turn: one that counts, or one that neither counts nor breaks a row of others."""

    COUNTS = "counts"
    WAIT = "wait"
    NOTE = "note"


@value(frozen=True, slots=True)
class ToolRun:
    """One call of a tool as its client tells it: looked at, and never kept. `failed` is None where nobody says."""

    tool: str
    given: Any = field(compare=False, repr=False)
    gave: Any = field(default=None, compare=False, repr=False)
    failed: bool | None = None
    call_id: str | None = None


@value(frozen=True, slots=True)
class Likeness:
    """What is known of a call once it is digested: its kind, its input, input and result, and its error if it failed.

    >>> run = ToolRun("Bash", {"command": "make"}, "make: *** No rule. Exit code 2 at 10:11:12", failed=True)
    >>> again = ToolRun("Bash", {"command": "make"}, "make: *** No rule. Exit code 2 at 10:11:15", failed=True)
    >>> likeness_of(b"secret", run) == likeness_of(b"secret", again)
    True
    """

    kind: RunKind
    asked: str
    pair: str
    error: str | None = None


# --- kinds -----------------------------------------------------------------------------------------------------------
# Who waits or writes itself a note asks the same for good reasons.


# Names without their signs, as `TaskOutput`, `task_output` and `task-output` are one.
_WAITS = frozenset(
    {
        "taskoutput", "bashoutput", "agentoutput", "agentoutputtool", "sleep", "wait", "waitagent", "waitforagent",
        "readbash", "readpowershell", "readagent", "monitor", "getterminaloutput", "await", "schedulewakeup",
    }
)  # fmt: skip
_NOTES = frozenset(
    {
        "todowrite", "todoread", "writetodos", "updatetodo", "updateplan", "taskcreate", "taskupdate", "tasklist",
        "taskget", "savememory", "reportintent", "think", "sequentialthinking", "enterplanmode", "exitplanmode",
    }
)  # fmt: skip
_WAITING = frozenset({"sleep", "watch", "wait", "start-sleep", "inotifywait", "timeout.exe"})
_STARTERS = frozenset({"sudo", "env", "nohup", "exec", "command", "time", "nice"})
# Our own tools: an agent that asks before each step asks the same each time.
_OWN = regex(r"(?:^|_)tallygate(?:_|$)|(?:^|_)l6e_\w+$")


def kind_of(run: ToolRun) -> RunKind:
    """Whether a call counts."""
    tool = run.tool.lower()
    plain = re.sub(r"[^a-z0-9]", "", tool.rpartition("__")[2])
    if _OWN.search(tool.replace("-", "_")) or plain in _NOTES:
        return RunKind.NOTE
    if plain in _WAITS:
        return RunKind.WAIT
    given = run.given if isinstance(run.given, Mapping) else {}
    if plain in {"writestdin", "writebash", "writepowershell"}:
        return RunKind.COUNTS if given.get("chars") or given.get("input") else RunKind.WAIT
    return RunKind.WAIT if _waits(command_of(run.given)) else RunKind.COUNTS


def _waits(command: str) -> bool:
    """Whether a command waits: it has one that does, or it follows a file."""
    lowered = command.lower()
    if not any(word in lowered for word in ("sleep", "watch", "wait", "tail")):
        return False  # most commands have none of these words, and need not be taken apart
    for simple in commands(command[:ENDS_CHARS]):
        words = [word.lower() for word in simple.words]
        while words and (words[0] in _STARTERS or "=" in words[0]):
            words = words[1:]
        if words and words[0].rpartition("/")[2] in _WAITING:
            return True
        if words[:1] == ["tail"] and any(re.fullmatch(r"-\w*f\w*|--follow\S*", word) for word in words[1:]):
            return True
        if any(re.fullmatch(r"--watch(=true)?|--follow|--wait", word) for word in words[1:]):
            return True
    return False


# --- digests ---------------------------------------------------------------------------------------------------------
# What is compared. A digest without its key is as good as chance.


def likeness_of(key: bytes, run: ToolRun) -> Likeness:
    """The digests of a call that is through."""
    kind, asked = kind_of(run), asked_of(key, run)
    if kind is not RunKind.COUNTS:
        return Likeness(kind, asked, asked)
    result = settled(text_of(run.gave))
    failed = looks_failed(result) if run.failed is None else run.failed
    error = _digest(key, "error", run.tool, _named(run.given, result), result) if failed else None
    return Likeness(kind, asked, _digest(key, "pair", asked, result), error)


def asked_of(key: bytes, run: ToolRun) -> str:
    """The digest of what a tool was given."""
    return _digest(key, "asked", run.tool, canonical(run.given))


def task_of(key: bytes, run: ToolRun) -> str | None:
    """The digest of what a subagent is to do; None where the tool does not say."""
    given = run.given if isinstance(run.given, Mapping) else {}
    told = [(name, given[name]) for name in _TASKS if given.get(name)]
    return _digest(key, "task", " ".join(_plain(dict(told)).split())) if told else None


def _digest(key: bytes, *parts: str) -> str:
    digest = hashlib.blake2b(key=key[:64], digest_size=DIGEST_BYTES)
    for part in parts:
        data = part.encode("utf-8", "surrogatepass")
        digest.update(len(data).to_bytes(8, "big"))
        digest.update(data)
    return digest.hexdigest()


def canonical(given: Any) -> str:
    """What a tool is given in one form: the order of its fields says nothing, nor do words told beside a command.

    >>> canonical({"command": " make", "description": "Build it"}) == canonical({"command": "make"})
    True
    """
    if isinstance(given, Mapping) and any(isinstance(given.get(name), str | list) for name in _COMMANDS):
        kept = {name: each for name, each in given.items() if name not in _BESIDE and each not in ("", None)}
        return _plain({name: each.strip() if isinstance(each, str) else each for name, each in kept.items()})
    # A client hands over the fields that a tool does not have as empty text.
    return _plain({name: each for name, each in given.items() if each != ""} if isinstance(given, Mapping) else given)


def _plain(found: Any) -> str:
    if isinstance(found, str):
        return found
    try:
        return json.dumps(found, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=str)
    except (ValueError, TypeError, RecursionError):
        return repr(type(found))


def _named(given: Any, result: str) -> str:
    """What of an input belongs to its error: many a failure is told in words that do not say what failed.

    Of a tool for files it is the file. Of a command it is its program, or all of it where the words are few.
    """
    if command := command_of(given):
        words = re.sub(r"exit(?:ed)?(?: with)? code:? \d+|error:?", "", result, flags=re.IGNORECASE)
        return command.split(maxsplit=1)[0] if len(words.strip()) >= COMMAND_CHARS else canonical(given)
    found = given if isinstance(given, Mapping) else {}
    return _plain([found[name] for name in _PATHS if found.get(name)])


def command_of(given: Any) -> str:
    """The command that a tool is given to run; empty where it is none."""
    found = given if isinstance(given, Mapping) else {}
    command = next((found[name] for name in _COMMANDS if found.get(name)), "")
    if isinstance(command, list):
        return " ".join(map(str, command))
    return command if isinstance(command, str) else ""


def called(run: ToolRun) -> str:
    """How a call is named in a sentence: its command's first line, cut short, or its tool."""
    first = command_of(run.given).strip().partition("\n")[0]
    text = cleaned(first.replace("`", "'"), COMMAND_CHARS + 1) or cleaned(run.tool, COMMAND_CHARS)
    return text if len(text) <= COMMAND_CHARS else f"{text[: COMMAND_CHARS - 3].rstrip()}..."


def text_of(gave: Any) -> str:
    """A result as text: what it says, whatever form a client has for it."""
    if isinstance(gave, str):
        return gave
    if isinstance(gave, list) and all(isinstance(each, Mapping) and isinstance(each.get("text"), str) for each in gave):
        return "\n".join(each["text"] for each in gave)
    return "" if gave is None else _plain(gave)


# What stands in place of a result where a tool was refused: our own words, which some clients introduce as a hook's,
# or that a person did not want it.
_KEPT_BACK = regex(
    r"\W{0,40}(?:[^\n]{0,100}\bhook\b[^\n]{0,40}: )?Tallygate: "
    r"|.{0,200}user (?:doesn't|does not|did not|didn't) want to",
    re.DOTALL,
)


def was_kept_back(run: ToolRun) -> bool:
    """Whether a tool did not run, by what its client says instead of a result: a person or the gate kept it back."""
    return _KEPT_BACK.match(text_of(run.gave)[:ENDS_CHARS]) is not None


_HEX = r"(?:0x[0-9a-f]+|(?=[0-9a-f]*[0-9])(?=[0-9a-f]*[a-f])[0-9a-f]{7,})"
_CHANGING = regex(
    r"\b\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:[.,]\d+)?)?(?: ?(?:Z|UTC|[+-]\d\d:?\d\d)\b)?)?"  # a date
    r"|(?<![\w:.])\d{1,2}:\d\d(?::\d\d(?:[.,]\d+)?(?: ?[AP]M\b)?| ?[AP]M\b)"  # an hour, and no line and column
    r"|\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b"
    r"|\b(?:\d+h ?)?(?:\d+m ?)?\d+(?:\.\d+)? ?(?:ns|us|µs|ms|s|secs?|seconds?|mins?|minutes?)\b"  # a duration
    r"|\b(?:p?pid|pgid|process(?: group)?(?: pgid)?|thread|shell ?id|chunk id)\b[ :=#\[(]{1,3}\w+"
    r"|\b[a-z]{2,8}_(?=[a-z]*\d)[a-z0-9]{8,}\b"  # an id with its kind before it
    rf"|\b{_HEX}\b"
    r"|\b\d{6,}\b"
    r"|(?:(?<![\w/])(?:/private)?(?:/tmp|/var/tmp|/dev/shm|/var/folders)|[a-z]:\\\S*\\temp)[/\\][^\s\"'`:,;()\[\]<>]+",
    re.IGNORECASE,
)
_MADE_UP = regex(r"^tmp|\d")


def settled(text: str) -> str:
    r"""A result without what is another each time it is asked for.

    >>> settled("ran 3 tests in 0.31s, pid 4711\n/tmp/pytest-12/run0/notes.txt") == settled(
    ...     "ran 3 tests in 1.02s, pid 4800\n/tmp/pytest-13/run1/notes.txt")
    True
    >>> settled("a.py:12:30: error") == settled("a.py:12:31: error")
    False
    """
    text = text.strip()
    if len(text) <= 2 * ENDS_CHARS:
        return _CHANGING.sub(_still, text)
    head, middle, tail = text[:ENDS_CHARS], text[ENDS_CHARS:-ENDS_CHARS], text[-ENDS_CHARS:]
    return _CHANGING.sub(_still, head) + middle + _CHANGING.sub(_still, tail)


def _still(found: re.Match[str]) -> str:
    """What stands in place of something that changes: of a temporary file the name that somebody gave it."""
    text = found[0]
    if "/" not in text and "\\" not in text:
        return "~"
    name = re.split(r"[/\\]", text.rstrip("/\\"))[-1]
    return "~" if _MADE_UP.search(name) else f"~/{name}"


_FAILED = regex(
    r"\bexit(?:ed)?(?: with)?(?: code| status)?:? (?:code |status )?[1-9]\d*\b|^Traceback \(most recent call last\)"
    r"|^(?:npm (?:ERR!|error)|error(?:\[\w+\])?:(?! \(none\))|fatal:|make: \*\*\*|FAILED\b)"
    r"|: (?:command not found|No such file)"
    r"|\b[1-9]\d* (?:failed|failures?)\b",
    re.MULTILINE | re.IGNORECASE,
)


def looks_failed(result: str) -> bool:
    """Whether a result reads as that of a failure, where its client does not say."""
    return _FAILED.search(result[:ENDS_CHARS]) is not None or _FAILED.search(result[-ENDS_CHARS:]) is not None
