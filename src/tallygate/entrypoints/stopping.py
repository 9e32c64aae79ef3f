"""End a client's run in print mode, where no answer of a hook can: one signal to one process, and why on its stderr.

The hook program loads this only when it is told to; nothing but the standard library is imported. Whatever is not
certain ends nothing: then the hook's answer stands, as it does in a terminal, in an editor's panel and for an SDK.
"""

from __future__ import annotations

import os
import select
import signal
import stat
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from tallygate.clients.ancestry import Process, agent_of

PROC = Path("/proc")
DEPTH_MAX = 16
WAIT_S = 10
TITLES = {
    "codex": "Codex",
    "qwen": "Qwen Code",
    "claude_code": "Claude Code",
    "copilot": "Copilot CLI",
    "gemini": "Gemini CLI",
}
# What each client ends at in order, with an exit code that says so; Claude Code answers SIGINT with 0.
_SIGNALS = {
    "codex": signal.SIGINT,
    "qwen": signal.SIGINT,
    "claude_code": signal.SIGTERM,
    "copilot": signal.SIGINT,
    "gemini": signal.SIGINT,
}
# What may stand between a client and what it runs; a program of any other kind is no client's hook or server.
LAUNCHERS = frozenset({"sh", "dash", "bash", "zsh", "ksh", "fish", "busybox", "uv", "uvx"})
_PRINTS = {
    "qwen": frozenset({"-p", "--prompt"}),
    "claude_code": frozenset({"-p", "--print", "-cp", "-pc"}),
    "copilot": frozenset({"-p", "--prompt"}),
    "gemini": frozenset({"-p", "--prompt"}),
}
# Clients that run what they read and end, where they do not read from a terminal; with these options they stay.
_BY_STDIN = frozenset({"copilot", "gemini", "qwen"})
_STAYS = frozenset({"-i", "--prompt-interactive", "--interactive"})
# Options of Qwen Code that take no value, and those that take one; others may take several.
_QWEN_FLAGS = frozenset({
    "--telemetry", "--telemetry-log-prompts", "--debug", "-d", "--bare", "--safe-mode", "--insecure",
    "--chat-recording", "--sandbox", "-s", "--yolo", "-y",
    "--experimental-lsp", "--experimental-skills", "--restore-ask-user-question",
    "--list-extensions", "-l", "--openai-logging", "--screen-reader", "--include-partial-messages", "--continue", "-c",
    "--fork-session",
})  # fmt: skip
_QWEN_VALUES = frozenset({
    "--telemetry-target", "--telemetry-otlp-endpoint", "--telemetry-otlp-protocol", "--telemetry-outfile", "--proxy",
    "--model", "-m", "--system-prompt", "--append-system-prompt", "--output-style", "--sandbox-image",
    "--approval-mode", "--mcp-config", "--openai-logging-dir", "--openai-api-key", "--openai-base-url",
    "--input-format", "--output-format", "-o", "--json-fd", "--json-file", "--json-schema", "--input-file", "--resume",
    "-r", "--session-id", "--max-session-turns", "--max-wall-time", "--max-tool-calls", "--max-subagent-depth",
    "--auth-type",
})  # fmt: skip
_QWEN_COMMANDS = frozenset({
    "mcp", "extensions", "auth", "hooks", "channel", "board", "review", "serve", "sessions", "update", "sandbox",
})  # fmt: skip
# With these a program talks to it, and no person.
_SPOKEN_TO = frozenset({"--acp", "--headless", "--server", "--stdio", "--connect"})
_TERMINALS = ("/dev/pts/", "/dev/tty")
# The exit codes with which clients show what a hook says as their session ends.
_SHOWN_AT_END = {"claude_code": 1, "copilot": 2}
# How a client was started, where a program of somebody else's started it and reads what it prints.
_ENTRY = b"CLAUDE_CODE_ENTRYPOINT="
_OF_PERSONS = (b"cli", b"sdk-cli")
# What Claude Code itself says of a run without a terminal, to its hooks and servers.
_IN_PRINT_MODE = "sdk-cli"
# Options of Codex that take no value; after any other the next word is taken for its value.
_CODEX_FLAGS = frozenset({
    "--oss", "--search", "--full-auto", "--yolo", "--no-alt-screen", "--strict-config",
    "--dangerously-bypass-approvals-and-sandbox", "--dangerously-bypass-hook-trust",
})  # fmt: skip
# The hooks at which a client in print mode is ended where no gate could be started: each refuses all that comes.
UNDECIDED = {
    "codex": frozenset({"UserPromptSubmit", "PreToolUse"}),
    "qwen": frozenset({"UserPromptSubmit", "PreToolUse", "PreCompact"}),
    "claude_code": frozenset({"UserPromptSubmit", "PreToolUse", "PostToolBatch"}),
}


@dataclass(frozen=True, slots=True)
class Client:
    """A client's process, by everything that tells it from another that got its number later."""

    pid: int
    uid: int
    program: str
    words: tuple[str, ...]
    started: str


def end_run(client: str, text: bytes, *, wait_s: int = WAIT_S) -> bool:
    """End the run of the client that this hook, or this server, belongs to; whether a signal was sent."""
    found = running(client, os.getppid())
    if found is None:
        return False
    process, parent = found
    # Copilot ends with success; its wrapper does not, but only before that.
    one = client == "copilot" and answers_one_prompt(client, process.pid, process.words)
    wrapper = _wrapper(client, parent, PROC) if one else None
    return _sent(process, _SIGNALS[client], text, wait_s, wrapper)


def end_undecided(client: str, event: str, text: bytes, *, subagent: bool) -> bool:
    """End a run whose step no gate could decide, where its client would go on or end as if all were well."""
    if event not in UNDECIDED.get(client, ()) or (subagent and client == "claude_code"):
        return False
    return end_run(client, text)


def _sent(process: Client, how: signal.Signals, text: bytes, wait_s: int, also: Client | None = None) -> bool:
    """Send one signal to a process once it is certain that it is still the one that was found; wait for its end."""
    try:
        handle = os.pidfd_open(process.pid)
    except (AttributeError, OSError):
        return False
    try:
        again = _look(process.pid)
        if again is None or again[0] != process:
            return False
        if text:
            say(process.pid, text)
        signal.pidfd_send_signal(handle, how)
        if also is not None:
            _sent(also, how, b"", 0)
        select.select([handle], [], [], wait_s)  # an answer now would let the turn go on
    except OSError:
        return False
    finally:
        os.close(handle)
    return True


def parting(client: str, *, always: bool, proc: Path = PROC) -> int:
    """The exit code at which a client shows why its run was stopped, as that ends by itself; 0 where all is said.

    Claude Code was told on its stderr when it was stopped, but where that is a plain file, and `always` says that it
    was not. Copilot ends with success, so its wrapper is ended where there is one; `always` says that it went on.
    """
    found = running(client, os.getppid(), proc)
    if found is None or not answers_one_prompt(client, found[0].pid, found[0].words, proc):
        return 0
    if client == "copilot":
        if not always and (wrapper := _wrapper(client, found[1], proc)) is not None:
            _sent(wrapper, signal.SIGINT, b"", 0)
        return 0 if always else _SHOWN_AT_END[client]
    return _SHOWN_AT_END[client] if always or not _heard(proc / str(found[0].pid) / "fd" / "2") else 0


def _wrapper(client: str, parent: int, proc: Path) -> Client | None:
    """The script of a client that started its program and waits for it, where one did."""
    found = _look(parent, proc)
    if found is None:
        return None
    process = found[0]
    title = agent_of(Process(process.pid, process.program, process.words))
    ours = title == TITLES[client] and process.uid == os.getuid() and _same_numbers(process.pid, proc)
    return process if ours and Path(process.program).name.startswith("node") else None


def running(client: str, parent: int, proc: Path = PROC) -> tuple[Client, int] | None:
    """The client that started this, where it is this one, ours, seen by its own number, and runs a prompt by itself."""
    pid = parent
    for _ in range(DEPTH_MAX):
        found = _look(pid, proc)
        if found is None:
            return None
        process, pid = found
        title = agent_of(Process(process.pid, process.program, process.words))
        if title is not None:
            ours = title == TITLES.get(client) and process.uid == os.getuid() and _same_numbers(process.pid, proc)
            ends = answers_one_prompt(client, process.pid, process.words, proc)
            ends = ends or _leaves_a_terminal_clean(client, process, proc)
            return found if ours and ends and _by_a_person(process.pid, proc) else None
        if Path(process.program).name not in LAUNCHERS:
            return None
    return None


def prints(client: str, words: tuple[str, ...]) -> bool:
    """Whether a client was started to run one prompt and end, with nobody before it."""
    if client == "codex":
        return subcommand(words) in {"exec", "e"} and "--experimental-json" not in words  # as its SDK starts it
    given = _PRINTS.get(client, frozenset())
    options = words[: words.index("--")] if "--" in words else words
    if _reads_json(options) or _spoken_to(options):
        return False
    return any(word in given or word.partition("=")[0] in given for word in options)


def answers_one_prompt(client: str, pid: int, words: tuple[str, ...], proc: Path = PROC) -> bool:
    """Whether a client runs one prompt and ends: it was told to, or there is no terminal that a person could type in.

    Claude Code goes by where it writes to and tells its hooks and servers; Copilot, Gemini CLI and Qwen Code go by
    where they read from. Qwen Code also takes a prompt without an option before it, on a terminal too.
    """
    if prints(client, words):
        return True
    options = words[: words.index("--")] if "--" in words else words
    if _reads_json(options) or _spoken_to(options):
        return False
    if client == "claude_code":
        told = os.environ.get(_ENTRY.decode().rstrip("=")) == _IN_PRINT_MODE
        return told and _is_terminal(pid, 1, proc) is False
    if client not in _BY_STDIN or any(word.partition("=")[0] in _STAYS for word in options):
        return False
    first = _prompt_of_qwen(words) if client == "qwen" else None
    if first in _QWEN_COMMANDS:
        return False
    return first is not None or _is_terminal(pid, 0, proc) is False


def _is_terminal(pid: int, number: int, proc: Path) -> bool | None:
    """Whether a process reads from or writes to a terminal; None where that cannot be seen."""
    try:
        return str((proc / str(pid) / "fd" / str(number)).readlink()).startswith(_TERMINALS)
    except OSError:
        return None


def _reads_json(options: tuple[str, ...]) -> bool:
    return "--input-format=stream-json" in options or ("--input-format", "stream-json") in pairwise(options)


def _prompt_of_qwen(words: tuple[str, ...]) -> str | None:
    """The first word that Qwen Code was given beside its options: a prompt, or one of its commands.

    After an option that is not known here everything up to the next one is taken for its values.
    """
    rest = list(words[1:])
    if Path(words[0] if words else "").name.startswith("node"):
        rest = rest[next((at + 1 for at, word in enumerate(rest) if not word.startswith("-")), len(rest)) :]
    while rest and rest[0].startswith("-") and rest[0] != "--":
        name, _, joined = rest.pop(0).partition("=")
        if joined or name in _QWEN_FLAGS or name.startswith("--no-"):
            continue
        values = next((at for at, word in enumerate(rest) if word.startswith("-")), len(rest))
        rest = rest[min(values, 1) if name in _QWEN_VALUES else values :]
    return next((word for word in rest if word != "--"), None)


def subcommand(words: tuple[str, ...]) -> str:
    """Which part of Codex was started; empty for its terminal, or a word of the prompt it was given."""
    rest = list(words[1:])
    while rest and rest[0].startswith("-"):
        rest = rest[1 if "=" in rest[0] or rest[0] in _CODEX_FLAGS else 2 :]
    return rest[0] if rest else ""


def _spoken_to(words: tuple[str, ...]) -> bool:
    return any(word.partition("=")[0] in _SPOKEN_TO for word in words)


def _leaves_a_terminal_clean(client: str, process: Client, proc: Path) -> bool:
    """Whether a client may be ended that a person sits before: Copilot restores the screen and says how to go on."""
    if client != "copilot" or _spoken_to(process.words):
        return False
    return _is_terminal(process.pid, 0, proc) is True


def say(pid: int, text: bytes, proc: Path = PROC) -> None:
    """Write a line to a process's stderr where somebody reads it: in a plain file the client would write over it."""
    place = proc / str(pid) / "fd" / "2"
    with suppress(OSError):
        if _heard(place):
            end = os.open(place, os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY)
            try:
                os.write(end, text + b"\n")
            finally:
                os.close(end)


def _heard(place: Path) -> bool:
    """Whether somebody reads what is written to a process's stderr: a pipe or a terminal, not a file or /dev/null."""
    try:
        kind = place.stat().st_mode
        if not stat.S_ISCHR(kind):
            return stat.S_ISFIFO(kind)
        end = os.open(place, os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError:
        return False
    try:
        return os.isatty(end)
    finally:
        os.close(end)


def _by_a_person(pid: int, proc: Path) -> bool:
    """Whether a client was started by hand or in a script: one that a program of an SDK runs is that program's to end.

    What cannot be read says nothing against it: its words do.
    """
    try:
        variables = (proc / str(pid) / "environ").read_bytes().split(b"\0")
    except OSError:
        return True
    return all(each.removeprefix(_ENTRY) in _OF_PERSONS for each in variables if each.startswith(_ENTRY))


def _look(pid: int, proc: Path = PROC) -> tuple[Client, int] | None:
    """One process and the number of its parent."""
    place = proc / str(pid)
    try:
        fields = (place / "stat").read_bytes().rpartition(b")")[2].split()
        parent, started = int(fields[1]), fields[19].decode("ascii")
        words = tuple(os.fsdecode(word) for word in (place / "cmdline").read_bytes().split(b"\0") if word)
        lines = (place / "status").read_text(encoding="ascii", errors="replace").splitlines()
        uid = int(next(line for line in lines if line.startswith("Uid:")).split()[1])
        program = str((place / "exe").readlink()).removesuffix(" (deleted)")
    except (OSError, ValueError, IndexError, StopIteration):
        return None
    return (Client(pid, uid, program, words, started), parent) if pid > 1 else None


def _same_numbers(pid: int, proc: Path) -> bool:
    """Whether a process's number means the same here: not where either is in a container of its own."""
    try:
        return (proc / "self" / "ns" / "pid").readlink() == (proc / str(pid) / "ns" / "pid").readlink()
    except OSError:
        return False
