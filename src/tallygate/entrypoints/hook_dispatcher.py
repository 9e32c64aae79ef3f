"""A hook's input to an event, its answer in the client's words: for a running server, or alone."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable, Mapping
from dataclasses import field, replace
from pathlib import Path
from typing import Any, Protocol

from tallygate.clients.client import STATUS_LINE
from tallygate.clients.client import runnable as with_program
from tallygate.clients.reading.hooks import LONGEST_MESSAGE, Hooks, Reply, message_of
from tallygate.clients.reading.status_line import StatusInput
from tallygate.clients.registry import REGISTRY
from tallygate.core.errors import InvalidArgument, TallygateError
from tallygate.core.hooks import HookEvent, Moment
from tallygate.core.text import cleaned, cleaned_lines, shown
from tallygate.core.values import value
from tallygate.core.words import client_among
from tallygate.entrypoints.hook import GATING
from tallygate.entrypoints.runnable import runnable
from tallygate.entrypoints.stopping import running
from tallygate.operations.hooks import Prompts, all_landed, answer_hook
from tallygate.operations.lock_book import standing_now
from tallygate.operations.runtime import Runtime

# --- hook desk -------------------------------------------------------------------------------------------------------
# Where the hooks of every client come in: read by its rules, answered by the gate, put into its words.


log = logging.getLogger("tallygate.hooks")

INPUT_BYTES_MAX = 16 * 2**20
# The exit code with which a client shows what a hook says as a session ends.
TELLS = 1

# The program as a workspace's settings make it.
RuntimeFor = Callable[[Path | None], Runtime]


LINE_MAX = 200


def client_stored(client: str) -> str:
    """The name that a client's rows are stored under, in whatever spelling it is named."""
    return client if client in REGISTRY.hooks else client_among(client, REGISTRY.hooks) or client


def hooks_of(client: str) -> Hooks | None:
    """What is known of a client's hooks, in whatever spelling it is named."""
    return REGISTRY.hooks.get(client_stored(client))


@value(frozen=True, slots=True)
class Sender:
    """Whose hook it is: that of this server's client or of another, and in which servers' clients that one runs.

    A `held` hook was answered before; its client does not know yet. `foreign` are variables of that client
    which do not count.
    """

    guest: bool = False
    inside: tuple[str, ...] = ()
    near: bool = False
    held: bool = False
    foreign: tuple[str, ...] = ()


ITS_CLIENT = Sender()


def _read(hooks: Hooks, raw: Mapping[str, Any], name: str | None, sender: Sender = ITS_CLIENT) -> HookEvent | None:
    """An event with whose it is and what holds for its client: no client's reader says where a call is reserved."""
    event, facts = hooks.read(raw, name), REGISTRY.facts_of(hooks.client)
    if event is None or facts is None:
        return event
    return replace(event, facts=facts, inside=sender.inside, near=sender.near, held=sender.held, foreign=sender.foreign)


@value(frozen=True, slots=True)
class HookDispatcher:
    """Answers hooks; `runtime_for` gives the program of the workspace a hook comes from."""

    runtime_for: RuntimeFor
    prompts: Prompts = field(default_factory=Prompts)

    def answer(
        self,
        client: str,
        name: str | None,
        raw: Mapping[str, Any],
        workspace: Path | None = None,
        sender: Sender = ITS_CLIENT,
    ) -> Reply:
        """The client's own reply to one hook. Never raises: what fails is logged, and stops what the policy stops."""
        hooks = hooks_of(client)
        if hooks is None:
            known = ", ".join(REGISTRY.hooks)
            log.error("A hook names the client %s; known are: %s.", shown(client), known)
            return Reply(exit_code=1)
        told = raw.get("hook_event_name")
        name = name or (told if isinstance(told, str) else None)
        try:
            return self._answered(hooks, name, raw, workspace, sender)
        except InvalidArgument as error:
            return self._failed(hooks, name, raw, workspace, f"a hook could not be read: {error}", lasting=False)
        except TallygateError as error:
            return self._failed(hooks, name, raw, workspace, str(error))
        except Exception:
            log.exception("The hook %s of %s failed.", shown(str(name)), client)
            what = "the gate failed; its log has the details. Run: tallygate doctor"
            return self._failed(hooks, name, raw, workspace, what, lasting=False)

    def answer_bytes(
        self, client: str, name: str | None, data: bytes, workspace: Path | None = None, sender: Sender = ITS_CLIENT
    ) -> Reply:
        """As `answer`, for what a hook was given on its standard input."""
        raw = hook_input(data)
        if name == STATUS_LINE:
            return self._status_line(client, raw or {}, workspace)
        hooks = hooks_of(client) if raw is None else None
        if hooks is None:
            return self.answer(client, name, raw or {}, workspace, sender)
        what = "a hook's input was no JSON object of a size that can be read."
        return self._failed(hooks, name, {}, workspace, what, lasting=False)

    def _status_line(self, client: str, raw: Mapping[str, Any], workspace: Path | None) -> Reply:
        """The line that a client's status line shows; it is one whatever is wrong, and stops nothing."""
        try:
            known = REGISTRY.stored(client_stored(client))
            read = None if known is None or known.status_line is None else known.status_line.load()
            runtime = self.runtime_for(workspace)
            asked = StatusInput() if read is None else read(raw, runtime.services.clock_us())
            if workspace is None and asked.folder is not None:
                runtime = self.runtime_for(Path(asked.folder))
            # What it looks at is more than all else that a hook needs, and a gate for one hook would import it, too.
            from tallygate.operations.status_line import status_line

            return Reply(line=status_line(runtime, client_stored(client), asked))
        except TallygateError as error:
            return _line(error)
        except Exception:
            log.exception("The status line of %s failed.", shown(client))
            return Reply(line="tallygate: the status line failed; run: tallygate doctor")

    def _answered(
        self, hooks: Hooks, name: str | None, raw: Mapping[str, Any], workspace: Path | None, sender: Sender
    ) -> Reply:
        event = _read(hooks, raw, name, sender)
        if event is None:
            return Reply()
        folder = workspace or (None if event.folder is None else Path(event.folder))
        runtime = self.runtime_for(folder)
        if sender.guest:
            runtime = replace(runtime, server_id=None)
        answer = answer_hook(runtime, event, self.prompts)
        if (answer.alone or answer.asks) and not sender.guest and _nobody_sits(hooks.client, runtime):
            answer = replace(answer, message=answer.alone or answer.message, asks=None)
        # Commands run in the shell of who works there, which may be another than that of this server's own client.
        program = _program(runtime) if answer.message or answer.parting else ""
        if answer.message is not None:
            answer = replace(answer, message=with_program(answer.message, program))
        reply = hooks.reply(event, answer)
        if answer.beside is not None:
            reply = replace(reply, beside=cleaned_lines(runnable(answer.beside), LONGEST_MESSAGE))
        if answer.parting is not None:
            words = cleaned_lines(with_program(answer.parting, program), LONGEST_MESSAGE)
            return replace(reply, last_words=words, exit_code=0 if answer.ends else TELLS)
        if not answer.ends or reply.settled:
            return reply
        if answer.last is not None:
            answer = replace(answer, message=with_program(answer.last, program))
        return replace(reply, last_words=message_of(answer) or "", waits=answer.waits, held_s=answer.held_s)

    def landed(self, client: str, name: str, raw: Mapping[str, Any]) -> bool:
        """Whether nothing is in flight any more of the session that a hook belongs to."""
        hooks = hooks_of(client)
        try:
            event = None if hooks is None else _read(hooks, raw, name)
            if event is None:
                return True
            runtime = self.runtime_for(None if event.folder is None else Path(event.folder))
            runtime.follower.catch_up()
            return all_landed(runtime, event)
        except TallygateError:
            return True  # nothing more can be learned of it

    def _failed(
        self,
        hooks: Hooks,
        name: str | None,
        raw: Mapping[str, Any],
        workspace: Path | None,
        what: str,
        *,
        lasting: bool = True,
    ) -> Reply:
        log.error("Hook %s of %s: %s", shown(str(name)), hooks.client, what)
        try:
            runtime = self.runtime_for(workspace)
            stops, ends = runtime.workspace.halt_on_fault, runtime.workspace.interrupts
        except TallygateError as error:
            what, stops, ends, lasting = what if str(error) in what else f"{what} {error}", True, True, True
        if not stops:
            return Reply()
        return refused(hooks.client, name or "", what, subagent=bool(raw.get("agent_id")), lasting=lasting, ends=ends)


def _line(error: TallygateError) -> Reply:
    """A status line that says why it has nothing else to say."""
    return Reply(line=cleaned(f"tallygate: {error.message}", LINE_MAX))


def _program(runtime: Runtime) -> str:
    """How a command begins in an answer; while it may ask for the passphrase, with the program's full path."""
    try:
        is_locked = standing_now(runtime).lock is not None
    except TallygateError:
        is_locked = False
    return runtime.workspace.program_in_full if is_locked else runtime.workspace.program


def _nobody_sits(client: str, runtime: Runtime) -> bool:
    """Whether the client that this server belongs to runs one prompt and ends."""
    parent = runtime.workspace.around.parent
    return bool(parent) and running(client, parent) is not None


def refused(
    client: str, name: str, why: str, *, subagent: bool = False, lasting: bool = True, ends: bool = True
) -> Reply:
    """The client's own refusal of a step that nothing can be said about.

    A run in print mode that would end in silence, and as if all were well, is ended with the reason, or says it as it
    ends. What is `lasting` refuses the next step as well: a client that asks its model once more need not be asked
    for that one.
    """
    hooks = hooks_of(client)
    if hooks is None:
        return Reply(exit_code=1)
    what = runnable(why)
    # No client lets a hook refuse the start of a session: there it is told what will be.
    if hooks.moments.get(name) is Moment.SESSION_START:
        text = f"Tallygate: nothing can be counted here, so every step will be stopped: {what}"
        reply = hooks.tell(name, text)
    else:
        text = f"Tallygate: this step cannot be counted, so it is stopped: {what}"
        reply = hooks.refuse(name, text)
    moment, facts = hooks.moments.get(name), REGISTRY.facts_of(hooks.client)
    if moment is None or facts is None or reply.settled:
        return reply
    # Whether a client in print mode would keep it to itself, and go on or end as if all were well. Some are ended by a
    # refused prompt by itself; their turn, on a terminal too, is left to what can be asked.
    if moment is Moment.SESSION_END:
        silent = lasting and facts.is_told_of_faults_at_end
    else:
        silent = facts.first_fault_ends and facts.ends_run(moment, again=lasting, subagent=subagent)
    return replace(reply, last_words=cleaned_lines(text, LONGEST_MESSAGE)) if ends and silent else reply


def frame(reply: Reply) -> bytes:
    """A reply as the hook program reads it; nothing is ended while responses are in flight."""
    body = b"" if reply.body is None else json.dumps(reply.body, ensure_ascii=False).encode("utf-8", "replace")
    body = body if reply.line is None else f"{reply.line}\n".encode("utf-8", "replace")
    last = b"" if reply.waits else reply.last_words.encode("utf-8", "replace")
    beside = reply.beside.encode("utf-8", "replace")
    told = f" {len(beside)}" if beside else ""  # a hook program that was started before this version reads no fifth
    return f"{reply.exit_code} {len(body)} {len(last)} {reply.held_s}{told}\n".encode() + body + last + beside


def hook_input(data: bytes) -> dict[str, Any] | None:
    """What a hook was given on its standard input; None where that is no JSON object of a size that can be read."""
    try:
        raw = json.loads(data) if len(data) <= INPUT_BYTES_MAX else None
    except (ValueError, RecursionError):
        return None
    return raw if isinstance(raw, dict) else None


def told_name(raw: Mapping[str, Any]) -> str:
    """The name of a hook as its input says it; nothing where it says none."""
    told = raw.get("hook_event_name")
    return told if isinstance(told, str) else ""


# --- hook alone ------------------------------------------------------------------------------------------------------
# Answer one hook in a process of its own, where no server runs that could.


class HookProgram(Protocol):
    """A composed program that answers one hook and is closed."""

    def for_hooks(self) -> HookProgram: ...
    def note_alone(self, client: str, event: str) -> None: ...
    def runtime_for(self, workspace: Path | None) -> Runtime: ...
    def close(self) -> None: ...


def answer_alone(
    compose: Callable[[], HookProgram], client: str, event: str, *, framed: bool = False, held: bool = False
) -> int:
    """Read a client's JSON from standard input, print the client's JSON; returns the exit code for the client.

    `framed` is for the hook program: the whole reply as a server would send it; `held` says that it asks again.
    """
    data = sys.stdin.buffer.read(INPUT_BYTES_MAX + 1)
    try:
        app = compose()
    except TallygateError as error:  # settings that cannot be read say nothing of what may be let through
        raw = hook_input(data) or {}
        if event == STATUS_LINE:
            sys.stdout.buffer.write(frame(_line(error)) if framed else f"{_line(error).line}\n".encode())
            return 0
        meant = told_name(raw) if event == "-" else event
        reply = refused(client, meant, str(error), subagent=bool(raw.get("agent_id")))
    else:
        if framed and not held and event in GATING.split():
            app.note_alone(client, event)
        try:
            dispatcher, name = HookDispatcher(app.for_hooks().runtime_for), None if event == "-" else event
            reply = dispatcher.answer_bytes(client, name, data, sender=Sender(held=held))
        finally:
            app.close()
    if framed:
        sys.stdout.buffer.write(frame(reply))
        sys.stdout.buffer.flush()
        return 0
    if reply.line is not None:
        sys.stdout.write(f"{reply.line}\n")
    if reply.body is not None:
        sys.stdout.write(json.dumps(reply.body, ensure_ascii=True))
        sys.stdout.flush()
    return reply.exit_code
