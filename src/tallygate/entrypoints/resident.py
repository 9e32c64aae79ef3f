"""The resident: a process in which everything is imported, and which becomes a client's server the moment one starts.

It reads nothing and opens nothing. For each client it makes one process of its own, which is given the client's pipes,
environment and folder, and is from then on what the client would have started: one client's fault is no other's. The
resident itself has one thread, so that such a process can be made at any moment, and ends when nobody has come for a
quarter of an hour, or when its code on the disk is another.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import _socket
import contextlib
import fcntl
import gc
import importlib
import os
import select
import sys
from collections.abc import Callable, Iterator

from tallygate.core.values import value
from tallygate.entrypoints import front, handover
from tallygate.entrypoints.first_answers import HANDSHAKE_VERSIONS
from tallygate.entrypoints.front import Behind
from tallygate.entrypoints.handover import ENDS, GO, GREETING, HERE, WAIT_S
from tallygate.entrypoints.unsettled import SaidBefore, Unsettled

# How often it looks whether it is still wanted, and after how many looks without a client it is not.
LOOK_MS, IDLE_LOOKS = 60_000, 15
CLIENTS_MAX, MESSAGE_BYTES_MAX = 256, 1 << 26
# What a server imports only when it is met: by then a client waits.
_MET_LATER = (
    "asyncio",
    "importlib.resources.readers",
    "pwd",
    "anyio._backends._asyncio",
    "tallygate.entrypoints.attended",
    "tallygate.entrypoints.cli.serve",
    "tallygate.entrypoints.cli.whose",
    "tallygate.entrypoints.mcp_server.serve",
    "tallygate.entrypoints.mcp_server.server",
    "tallygate.entrypoints.mcp_server.shut",
    "tallygate.entrypoints.mcp_server.streams",
    "tallygate.entrypoints.receiver",
    "tallygate.operations.usage.telemetry",
)


@value(frozen=True, slots=True)
class HandedOver:
    """The client that this process has become the server of."""

    behind: Behind
    kept: SaidBefore
    notes: Unsettled
    parent: int


def stand_by(folder: str, prepare: Callable[[], None]) -> HandedOver:
    """Be the resident of a folder of servers; what comes back is a process that serves a client.

    `prepare` imports what stands above the ways in.
    """
    _stand_alone()
    with _alone_in(folder) as (opened, name):
        prepare()
        _meet()
        with _listening(opened, name) as (listener, place):
            link = Resident(listener, place).serve()
    _become(link)
    return _met(link)


def _stand_alone() -> None:
    """Belong to no client: no session, folder or parent of one, and nothing that it has open."""
    if os.fork():
        os._exit(0)
    os.setsid()
    os.chdir("/")
    os.umask(0o077)
    nothing = os.open(os.devnull, os.O_RDWR)
    for end in (0, 1, 2):
        os.dup2(nothing, end)
    os.closerange(3, 1024)


def _meet() -> None:
    """Import and make what a server has: what is made here is shared with every process that is made of this one."""
    for name in _MET_LATER:
        importlib.import_module(name)
    from tallygate.clients.registry import REGISTRY
    from tallygate.entrypoints.mcp_server import freezing

    _ = REGISTRY.hooks, REGISTRY.sources
    for asked in (freezing.handshake(HANDSHAKE_VERSIONS[-1]), freezing.modern()):
        freezing.answers_of("all", asked)  # much is made when it is first used
    if len(os.listdir("/proc/self/task")) != 1:
        sys.exit(0)  # of a process with threads no other can be made
    gc.collect()
    gc.freeze()


@contextlib.contextmanager
def _alone_in(folder: str) -> Iterator[tuple[int, str]]:
    """The folder of the socket, and its name; one resident has it, and who comes second leaves."""
    name, opened = handover.name_of(), handover.own_folder(folder)
    if name is None or opened is None:
        sys.exit(0)
    lock = os.open(f"{name}.lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=opened)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        sys.exit(0)
    owner = os.getpid()
    os.ftruncate(lock, 0)
    os.write(lock, b"%d\n" % owner)
    try:
        yield opened, name
    finally:
        if os.getpid() == owner:
            os.unlink(f"{name}.lock", dir_fd=opened)
        os.close(lock)
        os.close(opened)


@contextlib.contextmanager
def _listening(opened: int, name: str) -> Iterator[tuple[_socket.socket, str]]:
    """The socket by which clients' processes find this one, and where it is."""
    listener = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC | _socket.SOCK_NONBLOCK)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(f"{name}.sock", dir_fd=opened)
    mine, owner = f"/proc/self/fd/{opened}/{name}.sock", os.getpid()
    listener.bind(mine)  # for this user alone, as the mask says
    listener.listen(64)
    made = os.stat(mine)
    try:
        yield listener, mine
    finally:
        if os.getpid() == owner:
            with contextlib.suppress(OSError):
                if os.stat(mine)[:2] == made[:2]:
                    os.unlink(f"{name}.sock", dir_fd=opened)
        listener.close()


class Resident:
    """Waits for clients. One process is always made already: it takes the next client, and then another one is made."""

    def __init__(self, listener: _socket.socket, place: str) -> None:
        self._listener = listener
        self._place = place
        self._socket = os.stat(place)[:2]
        self._code, self._folders = _code(), _folders()
        self._name = handover.name_of()
        self._servers: dict[int, int] = {}  # what tells the end of a process, and its number
        self._alive, self._life = os.pipe()  # the second end is closed with this process
        self._told, self._tell = os.pipe()

    def serve(self) -> _socket.socket:
        """Go on until nobody comes any more; what comes back is, in a new process, the connection to a front."""
        looks, idle, spare = select.poll(), 0, -1
        looks.register(self._told, select.POLLIN)
        while not self._is_stale() and (idle < IDLE_LOOKS or len(self._servers) > 1):
            if spare < 0 and len(self._servers) < CLIENTS_MAX:
                server = os.fork()
                if not server:
                    return self._next_client()
                spare = os.pidfd_open(server)
                self._servers[spare] = server
                looks.register(spare, select.POLLIN)
            ready = [end for end, _ in looks.poll(LOOK_MS)]
            idle = 0 if ready else idle + 1
            if self._told in ready:
                os.read(self._told, 1)
                spare = -1
            for end in (each for each in ready if each in self._servers):
                looks.unregister(end)
                os.waitpid(self._servers.pop(end), 0)
                os.close(end)
                if end == spare:  # it was killed before anybody came
                    spare = -1
        raise SystemExit(0)

    def _next_client(self) -> _socket.socket:
        """In a process of its own: wait for a client, for as long as the resident lives."""
        os.setsid()
        os.close(self._life)
        for end in self._servers:
            os.close(end)
        looks = select.poll()
        looks.register(self._listener.fileno(), select.POLLIN)
        looks.register(self._alive, select.POLLIN)
        while True:
            ready = [end for end, _ in looks.poll()]
            if self._alive in ready or _folders() != self._folders:
                os._exit(0)
            link = self._accepted()
            if link is not None:
                os.write(self._tell, b".")
                for end in (self._alive, self._told, self._tell):
                    os.close(end)
                return link

    def _is_stale(self) -> bool:
        """Whether the code on the disk is another, or somebody has taken the socket away."""
        try:
            taken_away = os.stat(self._place)[:2] != self._socket
            return taken_away or _folders() != self._folders or _code() != self._code
        except OSError:
            return True

    def _accepted(self) -> _socket.socket | None:
        """The next connection that is this user's, and of a process that is all that this one is."""
        try:
            end, _ = self._listener._accept()  # type: ignore[attr-defined]  # noqa: SLF001 - as `socket` does
        except OSError:
            return None
        link = _socket.socket(fileno=end)
        link.setblocking(True)
        pid, uid = handover.peer_of(link)
        if uid == os.getuid() and pid > 0 and handover.name_of(str(pid)) == self._name:
            return link
        link.close()
        return None


def _folders() -> tuple[int, ...]:
    """When files were last put into the folders of what was imported: quickly asked, and an upgrade changes it."""
    folders = {os.path.dirname(file) for file in _files().values()}
    return tuple(os.stat(folder).st_mtime_ns for folder in sorted(folders) if os.path.isdir(folder))


def _files() -> dict[str, str]:
    found = {}
    for name, module in sys.modules.items():
        file = getattr(module, "__file__", None)
        if file and name.partition(".")[0] in ("tallygate", "mcp", "mcp_types", "pydantic", "anyio"):
            found[name] = file
    return found


def _code() -> tuple[tuple[str, int, int, int], ...]:
    """The files that were imported, as they are on the disk."""
    found = []
    for name, file in sorted(_files().items()):
        at = os.stat(file)
        found.append((name, at.st_mtime_ns, at.st_size, at.st_ino))
    return tuple(found)


# --- in the new process -----------------------------------------------------------------------------------------------


def _become(link: _socket.socket) -> None:
    """Leave the resident behind: be told to leave as the process of a client is."""
    link.settimeout(WAIT_S)
    front.leave_when_told()


def _met(link: _socket.socket) -> HandedOver:
    """Take over what a front hands over. A front that does not say all of it in time is left."""
    try:
        ends, data = _heard(link)
        facts, environ, words, kept = (handover.unpacked(part) for part in handover.unpacked(data))
        parent, mask, ignores = (int(fact) for fact in facts)
        for at, end in enumerate(ends[:3]):
            os.dup2(end, at)
            os.close(end)
        _open_streams()
        os.fchdir(ends[3])
        os.close(ends[3])
        os.umask(mask)
        os.environ.clear()
        for each in environ:
            name, _, value = os.fsdecode(each).partition("=")
            os.environ[name] = value
        sys.argv[:] = [os.fsdecode(word) for word in words]
        if ignores:
            _signal.signal(_signal.SIGINT, _signal.SIG_IGN)
        link.sendall(HERE)
        if link.recv(1) != GO:
            raise OSError("the front went away")  # noqa: TRY301 - as one that breaks off
    except (OSError, ValueError):
        os._exit(0)
    link.settimeout(None)
    said = link.detach()
    behind = Behind(said, said)
    behind.watch()
    notes, said_before = Unsettled(*ends[4:]), SaidBefore.unpacked(kept)
    notes.begin(said_before)
    return HandedOver(behind, said_before, notes, parent)


def _open_streams() -> None:
    """Open what Python has opened on other files: a pipe is not a file that one can go back in."""
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115 - for as long as the process lives
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", encoding="utf-8", errors="backslashreplace", buffering=1, closefd=False)  # noqa: SIM115


def _heard(link: _socket.socket) -> tuple[list[int], bytes]:
    """The client's ends, and what is said of it."""
    greeting, ancillary, _, _ = link.recvmsg(len(GREETING), _socket.CMSG_SPACE(4 * ENDS), _socket.MSG_CMSG_CLOEXEC)
    raw = b"".join(data for level, kind, data in ancillary if (level, kind) == (_socket.SOL_SOCKET, _socket.SCM_RIGHTS))
    ends = [int.from_bytes(raw[at : at + 4], sys.byteorder) for at in range(0, len(raw), 4)]
    if greeting != GREETING or len(ends) != ENDS:
        raise ValueError("no front of ours")
    size = int.from_bytes(_whole(link, 8), "big")
    if size > MESSAGE_BYTES_MAX:
        raise ValueError("too much")
    return ends, _whole(link, size)


def _whole(link: _socket.socket, size: int) -> bytes:
    found = bytearray()
    while len(found) < size:
        piece = link.recv(min(size - len(found), 1 << 20))
        if not piece:
            raise ValueError("it broke off")
        found += piece
    return bytes(found)
