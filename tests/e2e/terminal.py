"""A client on a terminal, as a person has it in front of them: what it draws is read, what is typed reaches it."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import threading
from contextlib import suppress

from tests.e2e.driving import WAIT_SECONDS, Machine, wait_for

ROWS, COLUMNS = 50, 160
# What a terminal answers when it is asked what it is, and where its cursor stands.
_ANSWERS = ((re.compile(rb"\x1b\[[>=0]*c"), b"\x1b[?62;c"), (re.compile(rb"\x1b\[6n"), b"\x1b[1;1R"))
_ESCAPES = re.compile(r"\x1b(?:\[[0-9;?<>=]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-_])|[\s\x00-\x1f]")


class Terminal:
    """One client on a terminal of its own."""

    def __init__(self, machine: Machine, argv: list[str]) -> None:
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
        environ = machine.client_environ() | {"TERM": "xterm-256color"}
        self.process = subprocess.Popen(
            argv, cwd=machine.work, env=environ, stdin=slave, stdout=slave, stderr=slave, start_new_session=True
        )
        os.close(slave)
        self._drawn = b""
        self._seen = 0
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def text(self) -> str:
        """Everything drawn since the last `forget`, without the spaces: a client may draw those as movements."""
        return _ESCAPES.sub("", self._drawn[self._seen :].decode(errors="replace"))

    def forget(self) -> None:
        """Look only at what is drawn from now on."""
        self._seen = len(self._drawn)

    def wait_for(self, words: str, seconds: float = WAIT_SECONDS) -> None:
        """Wait until these words are drawn."""
        wanted = re.sub(r"\s", "", words)
        try:
            wait_for(lambda: wanted in self.text, f"{words!r} on the terminal", seconds)
        except AssertionError as error:
            raise AssertionError(f"{error}; the terminal shows ...{self.text[-1500:]}") from None

    def type(self, line: str) -> None:
        """Type a line and then, as a person does, Enter by itself: both at once would be taken for pasted text."""
        self.forget()
        os.write(self._master, line.encode())
        self.wait_for(line)
        os.write(self._master, b"\r")

    def press(self, key: str) -> None:
        """Press a key by itself."""
        self.forget()
        os.write(self._master, key.encode())

    def close(self) -> int:
        """End the client as a closed window does."""
        with suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGHUP)
        try:
            code = self.process.wait(WAIT_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            code = self.process.wait()
        self._reader.join(WAIT_SECONDS)
        with suppress(OSError):
            os.close(self._master)
        return code

    def _read(self) -> None:
        while True:
            ready, _, _ = select.select([self._master], [], [], 0.1)
            if not ready:
                if self.process.poll() is not None:
                    return
                continue
            try:
                some = os.read(self._master, 65_536)
            except OSError:
                return
            self._drawn += some
            for question, answer in _ANSWERS:
                if question.search(some):
                    os.write(self._master, answer)
