"""Codex' rollouts: where they lie, packed or not, and what each record of them says was used."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import IO, Any, cast

from tallygate.clients.codex.client import DELTA, LAST, RECORD
from tallygate.clients.codex.plan import windows_told
from tallygate.clients.codex.thread import (
    NONE,
    Counts,
    Thread,
    begins_with,
    counts_of,
    not_yet_counted,
    tokens_of,
    total_of,
    usable,
)
from tallygate.clients.reading import files, lines
from tallygate.core.attribution import SERVED_MAX, Served, served_by, together, tool_of
from tallygate.core.regex import regex
from tallygate.core.usage import ObservedUsage, Quality, ReadingRule

# --- compressed ------------------------------------------------------------------------------------------------------
# Packed rollouts as the stream of their lines, in bounded memory.


# 2**26 bytes: Codex packs with windows of 8 MiB at most, and a file may not make us take more than this.
_WINDOW_LOG = 26


def unpacked(file: IO[bytes]) -> IO[bytes]:
    """The unpacked stream of a file; a damaged one raises Unreadable where it breaks."""
    file.seek(0)
    if sys.version_info >= (3, 14):
        from compression import zstd

        options = {zstd.DecompressionParameter.window_log_max: _WINDOW_LOG}
        return cast("IO[bytes]", _Guarded(zstd.ZstdFile(file, options=options), zstd.ZstdError))
    import zstandard

    unpacker = zstandard.ZstdDecompressor(max_window_size=1 << _WINDOW_LOG)
    stream = unpacker.stream_reader(file, read_across_frames=True, closefd=False)
    return cast("IO[bytes]", _Guarded(stream, zstandard.ZstdError))


class _Guarded:
    """A stream whose library's own errors, which differ by version of Python, become ours."""

    def __init__(self, stream: Any, error: type[Exception]) -> None:
        self._stream = stream
        self._error = error

    def read(self, size: int) -> bytes:
        try:
            return bytes(self._stream.read(size))
        except (self._error, EOFError):
            raise lines.Unreadable(lines.Skip.BAD_FILE) from None


# --- records ---------------------------------------------------------------------------------------------------------
# One Codex rollout's rows as usage: what moves its cumulative total, without what it inherited.


CLIENT = "codex"
FALLBACK_MODEL = "gpt-5"

# The start of a line as Codex writes it. Read from the first byte on, so no text inside can look like it.
_HEAD = regex(
    rb'\{\s*"timestamp":\s*"[^"\\]{0,64}",\s*(?:"ordinal":\s*\d+,\s*)?'
    rb'"type":\s*"(\w+)"(?:,\s*"payload":\s*\{\s*"type":\s*"(\w+)")?'
)
# The same of nearly every line, without what else may stand there: it is found in half the time.
_USUAL = regex(rb'\{"timestamp":"[0-9TZ:.-]{1,64}","type":"(response_item|event_msg)","payload":\{"type":"(\w+)"')
_TOP = frozenset({b"session_meta", b"turn_context", b"token_usage_record"})
_TYPED = frozenset({b"event_msg", b"response_item"})
_EVENTS = frozenset({b"token_count", b"task_started", b"thread_settings_applied"})
_CALLS = frozenset({b"function_call", b"custom_tool_call", b"local_shell_call"})
# What most lines are and what never counts: they are not searched.
_NO_USAGE = frozenset({b"agent_message", b"user_message", b"exec_command_end", b"patch_apply_end"})
_WANTED = regex(
    rb'"(?:token_count|token_usage_record|session_meta|turn_context|task_started|thread_settings_applied'
    rb'|function_call|custom_tool_call|local_shell_call|\w+_token_usage)"'
)
# In every line that counts, whatever it says that it is. Text that speaks of it has its quotes escaped.
_USAGE = b'token_usage":'
_CALL_ID = regex(rb'"call_id":\s*"([!#-\[\]-~]{1,256})"')
# In a call these stand before its arguments, whose quotes are escaped.
_NAME = regex(rb'"name":\s*"([!#-\[\]-~]{1,256})"')
_SPACE = regex(rb'"namespace":\s*"([!#-\[\]-~]{1,256})"')
_SECOND = b'{"timestamp":'
_HEAD_LENGTH = 512
_KEPT_CALLS = 256
_KEPT_RECORDS = 64


class CodexReader(files.TranscriptReader):
    """Reads one rollout; what it must know between lines is in its thread."""

    def __init__(self, *, thread: str, state: files.State | None = None, skipping: bool = False) -> None:
        super().__init__(skipping=skipping)
        self._file_thread = thread
        self._thread = Thread.from_state(state) if isinstance(state, Mapping) else Thread()
        self._rows: list[ObservedUsage] = []
        self.set_known(state)

    def state(self) -> files.State:
        return {**self._thread.as_state(), **self.known()}

    def wants(self, block: bytes, start: int, end: int) -> bool:
        head = _USUAL.match(block, start, end) or _HEAD.match(block, start, end)
        if head is None:
            # Not the order we know: the line is decoded if any of the words stands in it.
            return _WANTED.search(block, start, end) is not None
        kind, inside = head.groups()
        if inside is None and kind in _TYPED:
            return True  # the payload does not begin with its type
        is_item = kind == b"response_item"
        if not is_item and ((kind == b"event_msg" and inside in _EVENTS) or kind in _TOP):
            return True
        if block.find(_SECOND, start + 1, end) >= 0:
            return True  # another writer's record may stand behind this one
        if not is_item:
            return inside not in _NO_USAGE and block.find(_USAGE, start, end) >= 0
        if inside in _CALLS:
            match = _CALL_ID.search(block, start, end)
            self._call_made(match[1].decode() if match else None)
            named, space = _NAME.search(block, start, end), _SPACE.search(block, start, end)
            self._tool_called(inside, named[1].decode() if named else None, space[1].decode() if space else None)
        return False

    def may_count(self, piece: str) -> bool:
        head = _HEAD.match(piece.encode(errors="replace")[:_HEAD_LENGTH])
        if head is None or head[1] in _TOP or head[2] is None:
            return True
        return head[1] == b"event_msg" and head[2] in _EVENTS

    def whose(self) -> str | None:
        return self._thread.thread or self._file_thread

    def finish(self) -> list[ObservedUsage]:
        rows, self._rows = self._rows, []
        return rows

    def take(self, record: lines.Pairs) -> None:
        top = lines.fields(record)
        payload = lines.inner(top, "payload")
        kind = _kind_of(top, payload)
        thread, odd = self._thread, set[str]()
        if kind == "token_count":
            at = self.when(top.get("timestamp"), odd)
            self._snapshot(at, lines.part(payload, "info", odd), odd)
            if not thread.replaying and lines.Odd.NO_TIME not in odd:
                self.plan += windows_told(lines.inner(payload, "rate_limits"), at)
        elif kind == "response_item":
            if str(payload.get("type")).encode() in _CALLS:
                self._call_made(lines.name(payload.get("call_id")))
                named, space = lines.name(payload.get("name")), lines.name(payload.get("namespace"))
                self._tool_called(str(payload.get("type")).encode(), named, space)
        elif kind == "session_meta":
            if thread.thread is None:
                # The time of the line, else the one inside it. A guess would take its work for history.
                made_at = None
                for written in (payload.get("timestamp"), top.get("timestamp")):
                    with suppress(lines.Unreadable):
                        made_at = lines.moment(written)
                thread.begin(payload, self._file_thread, made_at)
            else:
                thread.meet(payload)
        elif kind == "turn_context":
            thread.named(payload.get("model"))
            thread.project = lines.name(payload.get("cwd")) or thread.project
            thread.turn(payload.get("turn_id"))
        elif kind == "task_started":
            thread.turn(payload.get("turn_id"))
        elif kind == "thread_settings_applied":
            thread.settings(lines.inner(payload, "thread_settings"))
        elif kind == "token_usage_record":
            self._record_told(self.when(top.get("timestamp"), odd), payload, odd)

    def _call_made(self, call: str | None) -> None:
        calls = self._thread.calls
        if call is not None and not self._thread.replaying and call not in calls:
            calls.append(call)
            del calls[:-_KEPT_CALLS]

    def _tool_called(self, kind: bytes, named: str | None, space: str | None) -> None:
        tool = called(kind, named, space)
        if tool is not None and not self._thread.replaying and tool not in self._thread.tools:
            self._thread.tools.append(tool)
            if len(self._thread.tools) > 2 * SERVED_MAX:
                self._thread.tools[:] = together(self._thread.tools)

    def _inherits(self, at: datetime) -> bool:
        if self._thread.inherits(at):
            self.report.skipped[lines.Skip.INHERITED] += 1
            return True
        self._thread.worked = True
        return False

    def _snapshot(self, at: datetime, info: lines.Fields, odd: set[str]) -> None:
        """A `token_count`: what the thread's total grew by; `last` where there is none, or where it begins anew."""
        if not info:
            self._left_where(lines.Odd.NO_NUMBER in odd)
            return
        thread = self._thread
        wrong: set[str] = set()
        told = lines.part(info, "last_token_usage", wrong)
        last = counts_of(told, wrong) if told else None
        written = info.get("total_token_usage")
        if type(written) is not tuple:
            if last is not None and not self._inherits(at):
                odd |= wrong | ({lines.Odd.NO_NUMBER} if written is not None else set())
                self._add(thread.bare_mark(self.stamp()), at, last, LAST, odd)
            return
        known, (total, whole) = thread.total, total_of(lines.fields(written), thread.total, odd)
        as_written = None if whole else lines.content_key(written)
        repeated = total == known if whole else as_written == thread.odd_total
        thread.odd_total = as_written
        if not whole and last is not None:
            total = total.larger((known or NONE).plus(last))
        thread.total = total
        if self._inherits(at) or repeated:
            return
        fell = known is not None and total.fell(known)
        if fell:
            thread.resets += 1
            thread.records.clear()
        moved, rule = total.grown(known or NONE), DELTA
        if last is not None and (known is None or fell or moved == last or not whole):
            # Nothing to subtract from, or the counter began anew: only `last` speaks of this response.
            odd |= wrong
            if usable(told, last, wrong) and not (known is None and begins_with(total, last)):
                moved, rule = last, LAST
            elif fell:
                moved = moved.larger(last)
        if moved.input + moved.output == 0:
            # Another total has begun, and nothing says with what: unless it is at its beginning, that is told.
            self._left_where(bool(wrong) and (fell or not whole))
            return
        if total == thread.recorded:
            thread.records.clear()
            return
        left = not_yet_counted(moved, last, thread.records)
        if left != NONE:
            mark = ".".join(map(str, total)) + (f"~{thread.resets}" if thread.resets else "")
            self._add(f"total:{mark}", at, left, rule, odd)

    def _left_where(self, unknown: bool) -> None:
        """Say that a response was left, where it may have used something."""
        if unknown:
            self.report.skipped[lines.Skip.BAD_COUNT] += 1

    def _record_told(self, at: datetime, payload: lines.Fields, odd: set[str]) -> None:
        """A `token_usage_record`: one response with its id, compactions included."""
        thread = self._thread
        owner = lines.name(payload.get("thread_id"))
        if owner is not None and owner != (thread.thread or self._file_thread):
            self.report.skipped[lines.Skip.INHERITED] += 1
            return
        if self._inherits(at):
            return
        used = counts_of(lines.part(payload, "usage", odd), odd)
        written = payload.get("thread_token_usage")
        recorded = counts_of(lines.fields(written), odd) if type(written) is tuple else None
        if lines.countless(odd) and recorded is not None and (thread.recorded or thread.total) is not None:
            # What the thread's total has grown by is what was used, whatever the record says of itself.
            used = used.larger(recorded.grown(thread.recorded or thread.total or NONE))
        if used == NONE:
            self._left_where(lines.countless(odd))
            return
        response = lines.name(payload.get("response_id")) or thread.bare_mark(self.stamp())
        # A gateway may give all responses one id; the thread's total has moved with each of them.
        seen = [response] if recorded is None else [response, f"{response}~{'.'.join(map(str, recorded))}"]
        if seen[-1] in thread.responses:
            return
        if response in thread.responses:
            response = seen[-1]
        thread.responses += seen
        del thread.responses[: -2 * _KEPT_RECORDS]
        thread.recorded = recorded
        if thread.recorded is not None and thread.recorded == thread.total:
            # The snapshot came first and was counted.
            return
        thread.records.append(used)
        del thread.records[:-_KEPT_RECORDS]
        self._add(response, at, used, RECORD, odd, request=response)

    def _add(
        self,
        mark: str,
        at: datetime,
        used: Counts,
        rule: ReadingRule,
        odd: set[str],
        *,
        request: str | None = None,
    ) -> None:
        thread = self._thread
        own = thread.thread or self._file_thread
        calls, thread.calls = tuple(sorted(thread.calls)), []
        served = together(thread.tools, thread.read)
        thread.tools, thread.read = [], thread.tools
        tokens = tokens_of(used, self.report)
        if not tokens.total:
            self._left_where(lines.countless(odd))
            return
        self._rows.append(
            ObservedUsage(
                client=CLIENT,
                session=own,
                # A long response id is the provider's and unique; a short one may be a gateway's counter.
                response_key=mark if request is not None and len(mark) >= 20 else f"{own}/{mark}",
                at=at,
                model=thread.model or FALLBACK_MODEL,
                tokens=tokens,
                rule=rule,
                quality=Quality.FINAL,
                parent_session=thread.parent,
                reasoning=min(used.reasoning, used.output),
                tier=thread.tier,
                tool_use_ids=calls,
                project=thread.project,
                version=thread.version,
                agent_id=own if thread.is_agent else None,
                request_id=request,
                provider=thread.provider,
                odd=tuple(sorted(odd)),
                agent_type=thread.agent_type if thread.is_agent else None,
                served=served,
                branch=thread.branch,
            )
        )


def called(kind: bytes, named: str | None, space: str | None) -> Served | None:
    """The tool that a call is of: a server's, where its space or its name says so; older versions write both in one."""
    if named is None:
        return Served(None, "local_shell") if kind == b"local_shell_call" else None
    if space is not None and space.startswith("mcp__") and (server := space.removeprefix("mcp__").removesuffix("__")):
        return tool_of(server, named)  # whole, whatever signs are in it
    server, apart, tool = named.partition("__")
    if apart and server and tool and server != "mcp":
        return tool_of(server, tool)
    return served_by(named)


def _kind_of(top: lines.Fields, payload: lines.Fields) -> str:
    """What a line is: by what it says, else by what stands in it."""
    kind, inside = top.get("type"), payload.get("type")
    if kind == "event_msg" and inside == "token_count":
        return "token_count"
    if kind == "response_item" or (type(kind) is str and kind.encode() in _TOP):
        return str(kind)
    kind = inside
    if type(kind) is str and kind.encode() in _EVENTS:
        return kind
    # Renamed, but with the same counters in it: better read than passed over, as it is money.
    info = lines.inner(payload, "info")
    if "total_token_usage" in info or "last_token_usage" in info:
        return "token_count"
    return "token_usage_record" if "thread_token_usage" in payload and "usage" in payload else ""


# --- transcripts -----------------------------------------------------------------------------------------------------
# Codex rollouts: where they lie and how one is read. NOTES.md has the shapes and the traps.


_PACKED = ".zst"
_THREAD = regex(r"rollout-.{19}-(.+)\.jsonl")


def locations(env: Mapping[str, str], home: Path) -> list[Path]:
    """The directories of live and of archived sessions, live ones first."""
    roots = files.unique([*files.directories_of(env, "CODEX_HOME", home), home / ".codex"])
    return [*(root / "sessions" for root in roots), *(root / "archived_sessions" for root in roots)]


def discover(env: Mapping[str, str], home: Path) -> Iterator[files.TranscriptFile]:
    """Each rollout once: live before archived, and in each place plain before packed."""
    taken: set[str] = set()
    closed: list[Path] = []
    for root in locations(env, home):
        found = list(files.files_below(root, (".jsonl", ".jsonl" + _PACKED), closed))
        # Both may lie there while Codex packs one: they say the same.
        for path in sorted(found, key=lambda path: path.name.endswith(_PACKED)):
            plain = path.name.removesuffix(_PACKED)
            if plain.startswith("rollout-") and plain not in taken:
                taken.add(plain)
                yield files.TranscriptFile(CLIENT, path)
    yield from (files.TranscriptFile(CLIENT, path) for path in files.unique(closed))


def read(
    file: files.TranscriptFile, position: files.FilePosition | None = None, max_bytes: int | None = None
) -> Iterator[files.Batch]:
    """What is new in one rollout, packed or not."""
    unpack = unpacked if file.path.name.endswith(_PACKED) else None
    return files.read_lines(file.path, position, partial(reader_of, file.path), max_bytes, unpack)


def reader_of(path: Path, state: files.State | None = None, skipping: bool = False) -> CodexReader:
    """The reader of one rollout; the file's name stands in for a thread id that is not written."""
    match = _THREAD.match(path.name)
    return CodexReader(thread=match[1] if match else path.name, state=state, skipping=skipping)


SOURCE = files.Transcripts(CLIENT, locations, discover, read, variables=("CODEX_HOME",))
