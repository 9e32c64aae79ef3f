"""What a client has asked and has no answer to, kept where it outlasts the process that serves the client.

The serving process takes what comes through a file in memory that the front has open as well: what is taken from the
client's pipe is in that file, whenever the process is killed. Beside it stands which requests have their answer, and
the client's greeting, which is said once. The front reads the files only when it has lost the serving process.

Nothing but the standard library is imported here, and of that as little as can be.
"""

import os
import select
import sys

PIECE = 1 << 16
# So large the file of what was asked becomes before it is begun anew, and the least that tells two pieces apart.
FULL_BYTES, TELLING = 1 << 18, 16
# Between these an answer goes out in pieces.
BEGUN, WHOLE = b"w", b"W"
INITIALIZED = b'"notifications/initialized"'
SAID_ONCE, GREETING_BYTES_MAX = (b'"initialize"', INITIALIZED, b'"server/discover"'), 1 << 16


class SaidBefore:
    """What a client has said already: lines with whether each has its answer, and the beginning of one."""

    def __init__(self, lines: "list[tuple[bytes, bool]]", rest: bytes) -> None:
        self.lines = lines
        self.rest = rest

    def packed(self) -> list[bytes]:
        """As pieces of bytes."""
        return [self.rest, *(b"+-"[not is_answered :][:1] + line for line, is_answered in self.lines)]

    @classmethod
    def unpacked(cls, parts: list[bytes]) -> "SaidBefore":
        """From pieces of bytes."""
        rest, *lines = parts
        return cls([(line[1:], line[:1] == b"+") for line in lines], rest)


class Unsettled:
    """The serving process's side: takes what the client says, and notes what is answered."""

    def __init__(self, asked: int, said: int, greeted: int) -> None:
        self._asked = asked
        self._said = said
        self._greeted = greeted
        self._size = 0
        # Bytes that were taken and are no whole line yet, or were not looked at.
        self.unread = 0
        self._greetings: dict[int | str, bytes] = {}

    def begin(self, kept: SaidBefore) -> None:
        """Note once more what another process was told."""
        for line, is_answered in kept.lines:
            if is_answered:
                self._greet(line)
        left = b"".join(line + b"\n" for line, is_answered in kept.lines if not is_answered) + kept.rest
        if left:
            os.write(self._asked, left)
        self._size = len(left)

    def take(self, end: int) -> bytes:
        """What has come at an end of the client's; empty when that is closed. Raises `BlockingIOError` for nothing."""
        if self._is_socket(end):
            return self._of_socket(end)
        try:
            size = os.splice(end, self._asked, PIECE, flags=os.SPLICE_F_NONBLOCK)
        except BlockingIOError:
            raise
        except OSError:  # a system without it
            data = os.read(end, PIECE)
            size = os.write(self._asked, data)
        self._size += size
        self.unread += size
        return os.pread(self._asked, size, self._size - size)

    @staticmethod
    def _is_socket(end: int) -> bool:
        import _stat

        return _stat.S_ISSOCK(os.fstat(end).st_mode)

    def _of_socket(self, end: int) -> bytes:
        import socket

        with socket.socket(fileno=os.dup(end)) as link:  # closed with this copy, not with the client's
            data = link.recv(PIECE, socket.MSG_PEEK | socket.MSG_DONTWAIT)
            os.write(self._asked, data)
            self._size += len(data)
            self.unread += len(data)
            # What is gone from the socket is in the file, and what is in both the front can tell.
            return link.recv(len(data)) if data else b""

    def read(self, line: bytes) -> None:
        """A line is looked at; what a client says once is kept, a request of it when it has its answer."""
        if len(line) > GREETING_BYTES_MAX or not any(method in line for method in SAID_ONCE):
            return
        import json

        try:
            found = json.loads(line)
        except (ValueError, RecursionError):
            return
        method, number = (found.get("method"), found.get("id")) if isinstance(found, dict) else ("", None)
        if method == "notifications/initialized":
            self._greet(line)
        elif method in ("initialize", "server/discover") and isinstance(number, int | str):
            self._greetings[number] = line

    def settled(self, number: "int | str | None") -> None:
        """A request has its answer, or will have none."""
        if number is not None and number in self._greetings:
            self._greet(self._greetings.pop(number))
        shown = b"%d" % number if isinstance(number, int) else _quoted(number)
        os.write(self._said, shown + b"\n")

    def begins_to_say(self) -> None:
        """An answer follows that may not go out in one piece."""
        os.write(self._said, BEGUN + b"\n")

    def has_said(self) -> None:
        """It has gone out."""
        os.write(self._said, WHOLE + b"\n")

    def _greet(self, line: bytes) -> None:
        os.write(self._greeted, line.strip() + b"\n")

    def all_settled(self) -> None:
        """Nothing is open: where nothing is half read either, what was noted is not needed any more."""
        if self._size < FULL_BYTES or self.unread:
            return
        for end in (self._asked, self._said):
            os.ftruncate(end, 0)
            os.lseek(end, 0, os.SEEK_SET)
        self._size = 0


def _quoted(number: str | None) -> bytes:
    """An id as it is found again among what was asked."""
    import json

    return json.dumps(number).encode()


def settle(asked: int, said: int, greeted: int, *, reading: int, writing: int, why: str) -> SaidBefore:
    """Answer what was in work when the serving process was lost; what comes back the next one has to know.

    A call is answered with an error: whether it was decided is not known here. What only reads is asked once more.
    """
    import json

    taken = _all_of(asked)
    _take_twice(reading, taken)
    *lines, rest = taken.split(b"\n")
    answered = _counted(_all_of(said).split(b"\n"))
    greetings = [line for line in _all_of(greeted).split(b"\n") if line]
    kept = [(line, True) for line in greetings]
    # Where half an answer stands in the pipe the next line begins anew.
    words = b"\n" if answered.get(BEGUN, 0) > answered.get(WHOLE, 0) else b""
    for line in lines:
        if not line.strip() or line.strip() in greetings:
            continue
        if INITIALIZED in line:
            kept.append((line, False))
            continue
        open_requests, is_call = _open_in(line, answered)
        if not is_call:
            kept += [(line, False)] if open_requests else []
            continue
        for number in open_requests:
            error = {"code": -32603, "message": why}
            words += json.dumps({"jsonrpc": "2.0", "id": number, "error": error}).encode() + b"\n"
    if words:
        _say(writing, words)
    return SaidBefore(kept, rest)


def _open_in(line: bytes, answered: dict[bytes, int]) -> "tuple[list[int | str], bool]":
    """The requests of a line that have no answer, and whether they ask for something to be done."""
    import json

    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return [], False
    numbers, is_call = [], False
    for each in found if isinstance(found, list) else [found]:
        if not isinstance(each, dict) or not isinstance(each.get("method"), str):
            continue
        number = each.get("id")
        if isinstance(number, bool) or not isinstance(number, int | str):
            continue
        key = json.dumps(number).encode()
        if answered.get(key, 0):
            answered[key] -= 1
            continue
        numbers.append(number)
        is_call = is_call or each["method"] == "tools/call" or isinstance(found, list)
    return numbers, is_call


def _counted(lines: list[bytes]) -> dict[bytes, int]:
    found: dict[bytes, int] = {}
    for line in lines:
        found[line] = found.get(line, 0) + 1
    return found


def _all_of(end: int) -> bytes:
    return os.pread(end, os.fstat(end).st_size, 0)


def _take_twice(end: int, taken: bytes) -> None:
    """Take from a socket what was noted already and not taken yet."""
    import socket
    import stat

    if not stat.S_ISSOCK(os.fstat(end).st_mode):
        return
    with socket.socket(fileno=os.dup(end)) as link:
        try:
            waiting = link.recv(PIECE, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except OSError:
            return
        for size in range(min(len(waiting), len(taken)), TELLING - 1, -1):
            if taken.endswith(waiting[:size]):
                link.recv(size)
                return


def _say(end: int, words: bytes) -> None:
    looks = select.poll()
    looks.register(end, select.POLLOUT)
    while words:
        try:
            words = words[os.write(end, words) :]
        except BlockingIOError:
            looks.poll()
        except OSError as error:  # nobody reads any more, and what is left to do the next process finds out
            sys.stderr.write(f"Tallygate: the client reads no answers any more: {error}\n")
            return
