"""Lets the hook program ask a running server: on loopback only, and only who can read this user's files.

A server writes a file beside its presence: port, token, who started it, host and start of the machine, and workspace.
The hook program sends its client's input as it came, and gets its client's answer. Requests are one line of words and
lengths, then the bytes they announce:

    tallygate-hook 1 TOKEN CLIENT EVENT own|guest SERVERS WORKSPACE_BYTES INPUT_BYTES
        ->  EXIT_CODE ANSWER_BYTES LAST_WORDS_BYTES HELD_SECONDS

A guest is the hook of a client that this server was not started by: it is answered, and its session is not this
server's to end. SERVERS are those of the clients that this one was started in, or a hyphen; the word `near` among them
says that the client which ran the hook is the one that started this server, and `held` that it asks again for a tool
which was refused and waits.
"""

from __future__ import annotations

import hmac
import logging
import os
import socket
import socketserver
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tallygate.core.hooks import names_in
from tallygate.core.regex import regex
from tallygate.entrypoints.ear import Ear, announce
from tallygate.entrypoints.hook_dispatcher import INPUT_BYTES_MAX, HookDispatcher, Sender, frame

log = logging.getLogger("tallygate.hooks")

GREETING = "tallygate-hook"
_SERVER = regex(r"[0-9a-f]{8,64}")
HEADER_BYTES_MAX = 1024
WORKSPACE_BYTES_MAX = 8192
WAIT_S = 10
AT_ONCE_MAX = 64


@dataclass
class HookListener:
    """One server's ear for the hook program; `announced` is the file by which it is found."""

    dispatcher: HookDispatcher
    announced: Path
    workspace: Path | None
    parent: int
    new_token: Callable[[int], str]
    heard: int = 0
    answered: int = 0
    _server: socketserver.ThreadingTCPServer | None = field(default=None)

    def start(self, ear: Ear | None = None) -> None:
        """Listen on a free port and say where; on that of an ear, where hooks may have been waiting since."""
        token = self.new_token(16) if ear is None else ear.token
        dispatcher, places, listener = self.dispatcher, threading.BoundedSemaphore(AT_ONCE_MAX), self

        class Handler(socketserver.StreamRequestHandler):
            timeout = WAIT_S

            def handle(self) -> None:
                if not places.acquire(blocking=False):
                    return  # the hook program then answers by itself
                listener.heard += 1
                try:
                    converse(self, dispatcher, token)
                except OSError as error:
                    log.info("A hook went away: %s", error)
                finally:
                    listener.answered += 1
                    places.release()

        server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler, bind_and_activate=ear is None)
        if ear is not None:
            server.socket.close()
            server.socket = socket.socket(fileno=ear.handed_over())
            server.server_address = server.socket.getsockname()
        server.daemon_threads = True
        self._server = server
        port = server.server_address[1]
        workspace = b"" if self.workspace is None else os.fsencode(self.workspace)
        announce(str(self.announced), port, token, self.parent, workspace)
        threading.Thread(target=server.serve_forever, name="tallygate-hooks", daemon=True, args=(0.2,)).start()

    def stop(self) -> None:
        """Listen no more; whoever asks now finds nobody and answers by itself."""
        self.announced.unlink(missing_ok=True)
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None


def converse(connection: socketserver.StreamRequestHandler, dispatcher: HookDispatcher, token: str) -> None:
    """Answer one request; one that is not ours, or not whole, gets nothing."""
    words = connection.rfile.readline(HEADER_BYTES_MAX).decode("ascii", "replace").split()
    # Nothing is answered to who has no token, not even that there is one; compared in a time that tells nothing of it.
    if len(words) != 9 or words[:2] != [GREETING, "1"] or not hmac.compare_digest(words[2].encode(), token.encode()):
        return
    client, event, guest = words[3], words[4], words[5] != "own"
    told = words[6].split(",")
    inside = tuple(word for word in told if _SERVER.fullmatch(word))
    sender = Sender(guest, inside, near="near" in told, held="held" in told, foreign=names_in(told))
    if not (words[7].isdecimal() and words[8].isdecimal()):
        return
    path_bytes, input_bytes = int(words[7]), int(words[8])
    if path_bytes > WORKSPACE_BYTES_MAX or input_bytes > INPUT_BYTES_MAX:
        return
    path, data = connection.rfile.read(path_bytes), connection.rfile.read(input_bytes)
    if len(path) != path_bytes or len(data) != input_bytes:
        return
    where = Path(os.fsdecode(path)) if path else None
    reply = dispatcher.answer_bytes(client, None if event == "-" else event, data, where, sender)
    connection.wfile.write(frame(reply))
