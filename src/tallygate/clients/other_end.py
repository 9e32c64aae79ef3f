"""Which process is at the other end of a server's standard input: the client itself, behind whatever launched it."""

from __future__ import annotations

import itertools
import os
import socket
import stat
import struct
import sys
from pathlib import Path

from tallygate.clients.ancestry import DEPTH_MAX
from tallygate.core.values import value

_CREDENTIALS = struct.Struct("3i")
_FDS_MAX = 4096


@value(frozen=True, slots=True)
class OtherEnd:
    """A process, and when it began: its number is given to another one some day."""

    pid: int
    began: str

    def lives(self) -> bool:
        """Whether it still runs."""
        return _began(self.pid) == self.began


def other_end(descriptor: int, parent: int) -> OtherEnd | None:
    """The process that made the socket, or the nearest from a parent upwards that can write into the pipe.

    None where none is known.

    What inherited an end cannot be told from the client; so those above are asked alone, and at the start.
    """
    if sys.platform != "linux":
        return None
    try:
        mode = os.fstat(descriptor).st_mode
        pid = _of_pipe(descriptor, parent) if stat.S_ISFIFO(mode) else None
        if stat.S_ISSOCK(mode):
            with socket.socket(fileno=os.dup(descriptor)) as end:  # closed with this copy, not with the client's
                if end.family == socket.AF_UNIX:
                    peer = end.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
                    made_by = int(_CREDENTIALS.unpack(peer)[0])
                    pid = made_by if made_by > 1 and made_by != os.getpid() else None
    except OSError:
        return None
    began = "" if pid is None else _began(pid)
    return OtherEnd(pid, began) if pid is not None and began else None


def _of_pipe(descriptor: int, parent: int) -> int | None:
    """The nearest process above that holds the pipe's other end; a launcher holds only the end it passes on."""
    pipe, pid = Path(f"/proc/self/fd/{descriptor}").readlink(), parent
    for _ in range(DEPTH_MAX):
        if pid <= 1:
            return None
        if _writes(pid, pipe):
            return pid
        fields = _stat(pid)
        pid = int(fields[1]) if fields else 0
    return None


def _writes(pid: int, pipe: Path) -> bool:
    try:
        for each in itertools.islice(Path(f"/proc/{pid}/fd").iterdir(), _FDS_MAX):
            if each.readlink() != pipe:
                continue
            with Path(f"/proc/{pid}/fdinfo/{each.name}").open(encoding="ascii") as file:
                flags = next((line.split()[1] for line in file if line.startswith("flags:")), "0")
            if int(flags, 8) & os.O_ACCMODE in (os.O_WRONLY, os.O_RDWR):
                return True
        return False
    except OSError:  # another user's, or gone meanwhile
        return False


def _began(pid: int) -> str:
    """The moment a process began; nothing where it has ended, also where nobody has taken note of that yet."""
    fields = _stat(pid)
    return "" if len(fields) < 20 or fields[0] in ("Z", "X") else fields[19]


def _stat(pid: int) -> list[str]:
    """What the system says of a process, from its state on."""
    try:
        with Path(f"/proc/{pid}/stat").open("rb") as file:
            return file.read(4096).rpartition(b")")[2].decode("ascii", "replace").split()
    except OSError:
        return []
