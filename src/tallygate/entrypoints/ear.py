"""A server's ear for hooks, announced before anything of ours is imported: a hook that finds it waits for the answer.

A client starts its hooks while its server starts. A hook that found nobody would import the whole gate beside a server
that is importing it, on the same cores. So a port is opened and written down first; whoever asks there meanwhile waits
in the kernel's queue until the server can answer, and is turned away at once where it cannot, or dies.

Nothing but the standard library is imported here, and of that as little as can be.
"""

import os

from tallygate.entrypoints import hook

# How many hooks may wait while a server starts.
WAITING_MAX = 64


class Ear:
    """A port that hooks find, and the id under which the server will live that answers there."""

    def __init__(self, folder: str, parent: int, workspace: bytes) -> None:
        import _socket  # the plain C module: `socket` takes as long to import as everything else here together

        self.server_id = os.urandom(16).hex()
        # Behind the secret, the process: of one that is gone before it serves nobody waits for an answer.
        self.token = f"{os.urandom(16).hex()}.{os.getpid()}"
        self.file = f"{folder}/{self.server_id}.hook"
        self._link = _socket.socket(_socket.AF_INET, _socket.SOCK_STREAM)
        try:
            self._link.bind(("127.0.0.1", 0))
            self._link.listen(WAITING_MAX)
            announce(self.file, self._link.getsockname()[1], self.token, parent, workspace)
        except OSError:
            self._link.close()
            raise

    def handed_over(self) -> int:
        """The port's descriptor, for whoever answers there from now on."""
        return self._link.detach()

    def withdraw(self) -> None:
        """Nobody will answer: who waits is turned away, and asks elsewhere."""
        try:
            os.unlink(self.file)
        except OSError:
            pass
        self._link.close()


def folder_of(places: str) -> str:
    """Where servers and hooks of a ledger find one another, by the file that they were given; empty for none."""
    return hook.read_places(places).get("servers", "") if places else hook.servers_folder()


def open_ear(places: str, parent: int) -> Ear | None:
    """An ear for the server of the client that is `parent`, where hooks of its ledger look; None where it cannot be."""
    given = hook.read_places(places) if places else {}
    folder = folder_of(places)
    if not folder:
        return None
    try:
        try:
            os.mkdir(folder, 0o700)
        except FileExistsError:
            pass
        # What hooks of this client will most probably say; what that folder belongs to, only settings tell.
        return Ear(folder, parent, hook.workspace_of_client(given))
    except OSError:  # there is no ledger yet, or its folder cannot be written: hooks answer by themselves
        return None


def announce(file: str, port: int, token: str, parent: int, workspace: bytes) -> None:
    """Write down where hooks reach a server and whose it is; read by its owner alone, complete or not at all."""
    beside = f"{file}.new"
    try:
        os.unlink(beside)
    except OSError:
        pass
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        os.write(descriptor, f"{port} {token} {parent} {' '.join(hook.here())}\n".encode() + workspace)
    finally:
        os.close(descriptor)
    os.replace(beside, file)
