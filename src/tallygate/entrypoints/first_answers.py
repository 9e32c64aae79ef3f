"""What a client asks first is answered from what the SDK's own server said, before the SDK is imported.

A client waits for its servers' lists before it calls its model. They depend on nothing but the version, the family of
tools and the era of the protocol, so they stand in a file of the package, `mcp_server/frozen_answers.txt`, which
`python -m tallygate.entrypoints.mcp_server.freezing` makes. Only a line that is as plain as those of real clients is
answered from it. Every other one waits for the SDK, and so does all behind one that could have decided the era: the SDK
takes that from the first request it sees. What decides it is shown to the SDK as well, and its answer not given twice.

Nothing but the standard library is imported here, and of that as little as can be.
"""

import _thread
import os
import select
import sys
from _json import make_scanner

from tallygate import __version__

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from tallygate.entrypoints.unsettled import SaidBefore, Unsettled

LINE_BYTES_MAX, WAITING_BYTES_MAX, PIECE = 1 << 16, 1 << 20, 1 << 16
ID_MAX, NUMBER_MAX = 200, 1 << 53
# For so long nothing else is done: clients ask at once, and an import on the same core would keep them waiting.
FIRST_MS, NEXT_MS = 20, 2
HANDSHAKE_VERSIONS = ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25")
MODERN_VERSION = "2026-07-28"
HANDSHAKE, MODERN = "handshake", MODERN_VERSION
LISTS = ("tools/list", "prompts/list", "resources/list", "resources/templates/list")
# Where the version that a client asks for goes in the answer to its greeting.
VERSION_HERE = "@VERSION@"
_META = "io.modelcontextprotocol/"
_ENVELOPE = {f"{_META}protocolVersion", f"{_META}clientInfo", f"{_META}clientCapabilities"}
_CLIENT = {"name", "version", "title", "description", "websiteUrl"}

Frozen = dict[tuple[str, str], bytes]  # (era, method) -> the result as JSON


def frozen_answers(family: str, text: bytes, path: "list[str] | None" = None) -> Frozen:
    """The answers of a family as they were frozen; none where another version of the SDK is installed."""
    head, *rows = text.split(b"\n")
    ours, *packages = head.decode().split()
    at = sys.path if path is None else path
    there = (any(os.path.isdir(f"{folder}/{package}.dist-info") for folder in at) for package in packages)
    if ours != __version__ or not all(there):
        return {}
    found = {}
    for row in rows:
        era, of, method, result = row.split(b" ", 3)
        if of == family.encode():
            found[era.decode(), method.decode()] = result
    return found


class Plain:
    """What a line of a client's says, where that is as plain as it can be; everything else is not understood."""

    def __init__(self) -> None:
        # What the scanner of `json` asks for; that module itself takes longer to import than all of this.
        self.strict = True
        self.object_hook = None
        self.object_pairs_hook = _once
        self.parse_float = self.parse_constant = _refused
        self.parse_int = int
        self.memo: dict[str, str] = {}
        self._scan = make_scanner(self)  # type: ignore[arg-type]  # it takes what has these

    def read(self, line: bytes) -> "dict[str, Any] | None":
        """An object without fractions, escapes or a name said twice; None where it is something else."""
        if len(line) > LINE_BYTES_MAX or not line.startswith(b"{") or b"\\" in line or not line.isascii():
            return None
        text = line.decode("ascii")
        try:
            found, end = self._scan(text, 0)
        except (ValueError, StopIteration, RecursionError, SystemError):
            return (
                None  # the last one where the scanner does not find the error that it would raise: `json` is not there
            )
        return found if end == len(text) else None


class FirstAnswers:
    """Reads a client's lines until the SDK does: answers what is frozen, keeps the rest in its order."""

    def __init__(
        self,
        frozen: Frozen,
        reading: int = 0,
        writing: int = 1,
        notes: "Unsettled | None" = None,
        kept: "SaidBefore | None" = None,
    ) -> None:
        # Lines for the SDK, and of which of them the answer has been given.
        self.kept: list[tuple[bytes, bool]] = []
        self.rest = b""
        self.taken = 0
        self.is_over = False
        self.is_waited_for = False
        self._frozen = frozen
        self._plain = Plain()
        self._era = ""
        self._is_open = bool(frozen)
        self._notes = notes
        if kept is not None and (kept.lines or kept.rest):
            # Another process has begun to serve this client: from here on the SDK goes on.
            self.kept, self.rest, self._is_open = kept.lines, kept.rest, False
            self.is_waited_for = not all(is_answered for _, is_answered in kept.lines)
        self._reading = reading
        self._writing = writing
        self._woken, self._wake = os.pipe()
        self._done = _thread.allocate_lock()

    def begin(self, when_over: "Callable[[], None]") -> None:
        """Answer what a client asks at once; then go on beside the imports.

        `when_over` is called where the client has closed its end and waits for nothing.
        """
        wait = FIRST_MS
        while not self.is_over and not self.is_waited_for and self._turn(wait):
            wait = NEXT_MS
        self._done.acquire()
        _thread.start_new_thread(self._go_on, (when_over,))

    def finish(self) -> None:
        """Read no more: from here on the SDK does."""
        os.write(self._wake, b".")
        self._done.acquire()
        os.close(self._wake)
        os.close(self._woken)

    def _go_on(self, when_over: "Callable[[], None]") -> None:
        try:
            while not self.is_over and self.taken < WAITING_BYTES_MAX and self._turn(None):
                pass
            if self.is_over and not self.is_waited_for:
                when_over()
        finally:
            self._done.release()

    def _turn(self, wait_ms: int | None) -> bool:
        """Take what has come; False where nothing has, or where the SDK takes over."""
        looks = select.poll()
        looks.register(self._reading, select.POLLIN)
        looks.register(self._woken, select.POLLIN)
        ready = [end for end, _ in looks.poll(wait_ms)]
        if self._woken in ready or not ready:
            return False
        try:
            piece = os.read(self._reading, PIECE) if self._notes is None else self._notes.take(self._reading)
        except BlockingIOError:  # somebody else has taken it
            return True
        except OSError:
            piece = b""
        if not piece:
            self.is_over = True
            last, self.rest = self.rest, b""
            self._take(last)  # a script does not always end its last line
            return True
        self.taken += len(piece)
        *lines, self.rest = (self.rest + piece).split(b"\n")
        for line in lines:
            self._take(line)
        return True

    def _take(self, line: bytes) -> None:
        if not line.strip():
            return
        found = self._plain.read(line.rstrip(b"\r")) if self._is_open else None
        answer = None if found is None else self._answer(found)
        if answer is None:
            # What waits before the era is decided may decide it.
            self._is_open = self._is_open and bool(self._era)
            self.is_waited_for = self.is_waited_for or found is None or "id" in found
            self.kept.append((line, False))
            return
        era, said = answer
        if not self._era:
            self._era = era
            self.kept.append((line, True))
        if self._notes is not None:
            self._notes.begins_to_say()
        self._say(said)
        if self._notes is not None:
            self._notes.has_said()
            self._notes.read(line)
            self._notes.settled(None if found is None else found.get("id"))

    def _say(self, said: bytes) -> None:
        """Write a whole answer, also where the client has made its pipe one that does not wait."""
        while said:
            try:
                said = said[os.write(self._writing, said) :]
            except BlockingIOError:
                looks = select.poll()
                looks.register(self._writing, select.POLLOUT)
                looks.poll()
            except OSError:  # nobody reads answers any more, so nobody asks
                self.is_over = True
                return

    def _answer(self, found: "dict[str, Any]") -> tuple[str, bytes] | None:
        """The era and the whole answer to a request that is plain and frozen."""
        number, method, params = found.get("id"), found.get("method"), found.get("params", {})
        if found.get("jsonrpc") != "2.0" or set(found) - {"jsonrpc", "id", "method", "params"}:
            return None
        if not isinstance(method, str) or not isinstance(params, dict) or not _is_plain_id(number):
            return None
        era, version = self._era_of(method, params)
        result = self._frozen.get((era, method))
        if result is None or (self._era and (era != self._era or method == "initialize")):
            return None
        if not self._era and era == HANDSHAKE and method != "initialize":
            return None
        if method == "initialize":
            result = result.replace(VERSION_HERE.encode(), version.encode())
        shown = str(number) if isinstance(number, int) else f'"{number}"'
        return era, b'{"jsonrpc":"2.0","id":' + shown.encode() + b',"result":' + result + b"}\n"

    def _era_of(self, method: str, params: "dict[str, Any]") -> tuple[str, str]:
        """By which era a request is made, and the version that a greeting asks for; nothing where it is not plain."""
        if method == "initialize":
            version = params.get("protocolVersion")
            if set(params) != {"protocolVersion", "capabilities", "clientInfo"} or version not in HANDSHAKE_VERSIONS:
                return "", ""
            plain = _is_plain_client(params["clientInfo"]) and _are_plain_capabilities(params["capabilities"])
            return (HANDSHAKE, version) if plain else ("", "")
        meta = params.get("_meta", {})
        if set(params) - {"_meta"} or not isinstance(meta, dict):
            return "", ""
        if not set(meta) - {"progressToken"}:
            return (HANDSHAKE, "") if _is_plain_id(meta.get("progressToken", 0)) else ("", "")
        plain = (
            set(meta) == _ENVELOPE
            and meta[f"{_META}protocolVersion"] == MODERN_VERSION
            and _is_plain_client(meta[f"{_META}clientInfo"])
            and _are_plain_capabilities(meta[f"{_META}clientCapabilities"])
        )
        return (MODERN, "") if plain else ("", "")


def _is_plain_id(value: object) -> bool:
    """Whether an id is a whole number or text that is written as it is read."""
    if isinstance(value, int) and not isinstance(value, bool):
        return 0 <= value < NUMBER_MAX
    return isinstance(value, str) and 0 < len(value) <= ID_MAX and value.isprintable()


def _is_plain_client(value: object) -> bool:
    """Whether a client's description of itself has nothing but texts, its name and version among them."""
    return (
        isinstance(value, dict)
        and {"name", "version"} <= set(value) <= _CLIENT
        and all(isinstance(text, str) for text in value.values())
    )


def _are_plain_capabilities(value: object) -> bool:
    """Whether these are capabilities as clients have them today."""
    if not isinstance(value, dict):
        return False
    for name, what in value.items():
        if not isinstance(what, dict):
            return False
        if name == "roots":
            plain = not what or (set(what) == {"listChanged"} and isinstance(what["listChanged"], bool))
        elif name == "elicitation":
            plain = not set(what) - {"form", "url"} and all(each == {} for each in what.values())
        elif name == "sampling":
            plain = not what
        elif name in ("experimental", "extensions"):
            plain = all(isinstance(each, dict) for each in what.values())
        else:
            plain = False
        if not plain:
            return False
    return True


def _once(pairs: "list[tuple[str, Any]]") -> "dict[str, Any]":
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name twice")
    return found


def _refused(_: str) -> None:
    raise ValueError("a fraction")
