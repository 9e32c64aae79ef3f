"""A client's server is handed over to the resident: what the client started only waits, and imports nothing of ours.

The resident (resident.py) is a process that has everything imported and opens nothing. It makes one process of its own
for each client. That one gets the client's pipes themselves, its environment, folder and parent, and serves as one that
the client had started would. The process in front keeps the pipes too: where the serving one is killed it answers what
was in work with an error, and hands over once more, with the greeting that the client does not say again.

A resident is found by a socket beside the ledger, which is named by all that must be the same on both sides: the
version and its place, the user with its groups and rights, and the namespaces. Nobody else is spoken to.

Nothing but the standard library is imported here, and of that as little as can be.
"""

import _signal  # type: ignore[import-not-found]  # the plain C module: `signal` makes its enums first
import os
import select
import sys

from tallygate import __version__
from tallygate.entrypoints.front import CODE, LEFT, LOOK_MS, leave_when_told
from tallygate.entrypoints.unsettled import SaidBefore, settle

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket

GREETING = b"tallygate-resident 1\n"
HERE, GO = b"h", b"g"
# Standard input, output and error, the working folder, and the three files of what is unsettled.
ENDS = 7
WAIT_S = 3
# How often in a row a client's server is made anew that has answered nothing.
LOSSES_MAX = 3
# What must be the same: whose the process is, and what it may.
_STATUS = (b"Uid:", b"Gid:", b"Groups:", b"CapPrm:", b"CapEff:", b"CapBnd:", b"Seccomp:")
_NAMESPACES = ("user", "pid", "mnt", "net")
_HANDED_ON = ("PATH", "HOME", "LANG", "LC_ALL", "LC_CTYPE")
_LOADED_BEFORE = ("LD_", "DYLD_", "GLIBC_TUNABLES", "MALLOC_")
RESTARTED = "The process that decided this was ended before it answered. Ask again: what it reserved comes free."


# --- which resident ---------------------------------------------------------------------------------------------------


def likes_residents(environ: "os._Environ[str]") -> bool:
    """Whether this process may be served by one: it is as plain as the resident itself, and of a user at work."""
    if sys.platform != "linux" or environ.get("CI", "").lower() in ("true", "1"):
        return False
    if environ.get("TALLYGATE_RESIDENT") == "never" or sys.warnoptions or sys._xoptions:  # noqa: SLF001 - as documented
        return False
    if not _is_piped():
        return False
    names = _LOADED_BEFORE if sys.flags.isolated else (*_LOADED_BEFORE, "PYTHON")
    return sys.getfilesystemencoding() == "utf-8" and not any(name.startswith(names) for name in environ)


def _is_piped() -> bool:
    """Whether a client is at the other end of a pipe, and all three ends are there to be passed on."""
    import _stat

    try:
        mode = os.fstat(0).st_mode
        return all(os.fstat(end) for end in (1, 2)) and (_stat.S_ISFIFO(mode) or _stat.S_ISSOCK(mode))
    except OSError:
        return False


def name_of(pid: str = "self") -> str | None:
    """The name of the resident's socket for a process; None for one that cannot be looked at, or is confined."""
    import _blake2

    told = [__version__, sys.executable, sys.prefix, os.path.dirname(os.path.realpath(__file__))]
    try:
        with open(f"/proc/{pid}/status", "rb") as file:
            lines = file.read(16384).split(b"\n")
        if b"NoNewPrivs:\t0" not in lines:
            return None  # a sandbox may stand around it that a resident would not have
        told += [os.fsdecode(line) for line in lines if line.startswith(_STATUS)]
        told += [os.readlink(f"/proc/{pid}/ns/{name}") for name in _NAMESPACES]
        told.append(os.readlink(f"/proc/{pid}/root"))
    except OSError:
        return None
    try:
        with open(f"/proc/{pid}/attr/current", "rb") as file:
            told.append(os.fsdecode(file.read(4096)))
    except OSError:  # no security module
        pass
    return "resident-" + _blake2.blake2s("\n".join(told).encode("utf-8", "surrogateescape"), digest_size=8).hexdigest()


def own_folder(folder: str) -> int | None:
    """The folder of sockets, opened; None where others could have put one there."""
    opened = None
    try:
        opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        here, above = os.fstat(opened), os.stat("..", dir_fd=opened)
    except OSError:
        if opened is not None:
            os.close(opened)
        return None
    if here.st_uid == os.getuid() == above.st_uid and not here.st_mode & 0o077 and not above.st_mode & 0o022:
        return opened
    os.close(opened)
    return None


def reached(folder: str) -> "_socket.socket | None":
    """A connection to the resident of a folder; None where there is none."""
    import _socket

    name, opened = name_of(), own_folder(folder)
    if name is None or opened is None:
        return None
    link = None
    try:
        link = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
        link.settimeout(WAIT_S)
        link.connect(f"/proc/self/fd/{opened}/{name}.sock")  # a path in full may be longer than an address can be
        if peer_of(link)[1] != os.getuid():
            raise OSError("another user's")  # noqa: TRY301 - as one that cannot be reached
    except OSError:  # nobody is there, or no such socket can be made here
        if link is not None:
            link.close()
        return None
    finally:
        os.close(opened)
    return link


def peer_of(link: "_socket.socket") -> tuple[int, int]:
    """The process at the other end, and its user."""
    import _socket

    told = link.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, 12)
    pid, uid = (int.from_bytes(told[at : at + 4], sys.byteorder) for at in (0, 4))
    return pid, uid


def residents(folder: str) -> list[tuple[int, int]]:
    """The residents of a folder, each with how many clients it serves."""
    import fcntl

    found = []
    for name in _named(folder, ".lock"):
        try:
            lock = os.open(f"{folder}/{name}", os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            told = os.read(lock, 20).strip()
            if told.isdigit():
                found.append((int(told), max(0, _children_of(int(told)) - 1)))  # one waits for the next client
        finally:
            os.close(lock)
    return found


def _children_of(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/task/{pid}/children", "rb") as file:
            return len(file.read().split())
    except OSError:
        return 0


def _named(folder: str, ending: str) -> list[str]:
    try:
        return [name for name in os.listdir(folder) if name.startswith("resident-") and name.endswith(ending)]
    except OSError:
        return []


def start_resident(folder: str) -> None:
    """Have a resident stand by for the next client, where none does."""
    import subprocess

    opened = own_folder(folder)
    if opened is None:
        return
    os.close(opened)
    mine = f"{name_of()}.lock"
    if any(name == mine for name in _named(folder, ".lock")) and residents(folder):
        return
    environ = {name: value for name, value in os.environ.items() if name in _HANDED_ON}
    main = os.path.join(os.path.dirname(os.path.dirname(os.path.realpath(__file__))), "__main__.py")
    command = [sys.executable, "-I", main, "resident", folder]
    try:
        subprocess.run(  # noqa: S603 - this program itself
            command,
            env=environ,
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            check=False,
        )
    except OSError:  # no more processes for this user: the next client starts as without
        return


def retire_residents(folder: str) -> None:
    """Nobody is to stand by any more: a resident whose socket is gone ends with its clients."""
    for name in _named(folder, ".sock"):
        try:
            os.unlink(f"{folder}/{name}")
        except OSError:
            pass


# --- what is handed over ----------------------------------------------------------------------------------------------


def packed(parts: list[bytes]) -> bytes:
    """Pieces of bytes as one."""
    return b"".join(b"%d:%b" % (len(part), part) for part in parts) + b"."


def unpacked(data: bytes) -> list[bytes]:
    """The pieces again. Raises `ValueError` for what is not whole."""
    parts, at = [], 0
    while data[at : at + 1] != b".":
        colon = data.index(b":", at, at + 20)
        end = colon + 1 + int(data[at:colon])
        if end >= len(data):
            raise ValueError("not whole")
        parts.append(data[colon + 1 : end])
        at = end
    return parts


class Front:
    """The process that a client started, where a resident serves the client."""

    def __init__(self, folder: str, parent: int) -> None:
        self._folder = folder
        self._parent = parent
        self._losses = 0
        self._notes: list[int] = []

    def stand(self) -> "SaidBefore | None":
        """Wait until the client's server is over, and leave; what comes back is for a server in this process.

        None: nothing was handed over, and the client is still to be met.
        """
        kept: SaidBefore | None = None
        leave_when_told()
        while self._losses < LOSSES_MAX:
            link = self._handed_over(kept)
            if link is None:
                return kept
            self._wait(link)
            self._losses = 0 if os.fstat(self._notes[1]).st_size else self._losses + 1
            kept = self._taken_back()
        sys.stderr.write("Tallygate: the server of this client was ended again and again; it is not started again.\n")
        os._exit(1)

    def _handed_over(self, kept: "SaidBefore | None") -> "_socket.socket | None":
        import _socket

        link = reached(self._folder)
        if link is None:
            return None
        try:
            self._renew_notes()
            folder = os.open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                ends = b"".join(end.to_bytes(4, sys.byteorder) for end in (0, 1, 2, folder, *self._notes))
                link.sendmsg([GREETING], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, ends)])
            finally:
                os.close(folder)
            data = packed(self._told(kept or SaidBefore([], b"")))
            link.sendall(len(data).to_bytes(8, "big") + data)
            if link.recv(1) != HERE:
                raise OSError("it is no resident of ours")  # noqa: TRY301 - as one that cannot be reached
            link.sendall(GO)
        except OSError:
            link.close()
            return None
        link.settimeout(None)
        return link

    def _told(self, kept: SaidBefore) -> list[bytes]:
        """Everything that the serving process must know of this one."""
        environ = [os.fsencode(f"{name}={value}") for name, value in os.environ.items()]
        mask = os.umask(0o077)
        os.umask(mask)
        words = [os.fsencode(word) for word in sys.argv]
        facts = [self._parent, mask, _signal.getsignal(_signal.SIGINT) == _signal.SIG_IGN]
        return [packed([b"%d" % fact for fact in facts]), packed(environ), packed(words), packed(kept.packed())]

    def _wait(self, link: "_socket.socket") -> None:
        """Until the serving process is lost. Where it says that it is through, this process leaves as it says."""
        looks, left = select.poll(), False
        looks.register(link.fileno(), select.POLLIN)
        try:
            while not looks.poll(LOOK_MS):
                if not left and os.getppid() != self._parent:
                    link.sendall(LEFT)
                    left = True
            said = link.recv(2)
        except SystemExit:
            os._exit(0)
        except OSError:
            said = b""
        if said[:1] == CODE:
            os._exit(said[1] if len(said) > 1 else 0)
        link.close()

    def _renew_notes(self) -> None:
        for end in self._notes:
            os.close(end)
        self._notes = []
        for name in ("asked", "said", "greeted"):
            self._notes.append(os.memfd_create(name, os.MFD_CLOEXEC))

    def _taken_back(self) -> SaidBefore:
        """What the next server has to know; what was in work is answered here."""
        return settle(*self._notes, reading=0, writing=1, why=RESTARTED)
