"""Ask for a passphrase at the terminal itself: never from a pipe, never shown, and the terminal is left as it was."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, BinaryIO

from tallygate.attest import sealed
from tallygate.attest.keys import PublicKey, Signer, b64url, unb64url
from tallygate.core.authority import Loosening, locked
from tallygate.core.errors import InvalidArgument, InvariantBroken, NoTerminal

TERMINAL = "/dev/tty"


class TypedSeal:
    """The key of the lock in force, opened by what the user types; once for a command."""

    def __init__(self, public: str, folder: Path, ask: Callable[[str], str] | None = None) -> None:
        self.public = public
        self._folder = folder
        self._ask = ask or ask_hidden
        self._signer: Signer | None = None

    @property
    def is_open(self) -> bool:
        return self._signer is not None

    def open(self, what: str) -> None:
        """Ask for the passphrase, where that was not done yet. Raises `Locked` or `KeyUnusable`."""
        if self._signer is not None:
            return
        key = sealed.find(self._folder, PublicKey(unb64url(self.public, "the lock")))
        try:
            typed = self._ask(f"Passphrase of the lock, for `tallygate {what}`: ")
        except NoTerminal:
            raise locked(Loosening(what)) from None
        self._signer = key.opened(typed)

    def sign(self, message: bytes) -> str:
        """The user's signature of some bytes."""
        if self._signer is None:
            raise InvariantBroken("the lock was not opened")
        return b64url(self._signer.sign(message))


def new_passphrase() -> str:
    """A passphrase for a new lock, typed twice. Raises `NoTerminal` or `InvalidArgument`."""
    first = ask_hidden(f"New passphrase, at least {sealed.PASSPHRASE_MIN} characters: ")
    if len(first.strip()) < sealed.PASSPHRASE_MIN:
        raise InvalidArgument(
            "passphrase",
            f"A passphrase has at least {sealed.PASSPHRASE_MIN} characters; nothing was changed.",
            hint="Several words are easy to keep in mind.",
        )
    if ask_hidden("The same again: ") != first:
        raise InvalidArgument("passphrase", "The two were not the same; nothing was changed.", hint="Try again.")
    return first


def ask_hidden(question: str) -> str:
    """One line that is typed at the terminal and not shown. Raises `NoTerminal`."""
    with _terminal() as terminal, _unseen(terminal):
        terminal.write(question.encode())
        try:
            return _line(terminal)
        finally:
            terminal.write(b"\n")


def ask_shown(question: str) -> str:
    """One line that is typed at the terminal. Raises `NoTerminal`."""
    with _terminal() as terminal:
        terminal.write(question.encode())
        return _line(terminal)


@contextmanager
def _terminal() -> Iterator[BinaryIO]:
    """The terminal that this process belongs to, whatever its input and output lead to."""
    try:
        descriptor = os.open(TERMINAL, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        raise NoTerminal("There is no terminal to type a passphrase at.", hint="Run it in one of your own.") from None
    with os.fdopen(descriptor, "r+b", buffering=0) as terminal:
        yield terminal


def _line(terminal: BinaryIO) -> str:
    typed = bytearray()
    while not typed.endswith(b"\n"):
        part = terminal.read(1)
        if not part:
            break
        typed += part
        if len(typed) > sealed.PASSPHRASE_BYTES_MAX:
            raise InvalidArgument("passphrase", "That is too long for a passphrase; nothing was changed.")
    try:
        return bytes(typed).decode().rstrip("\r\n")
    except UnicodeDecodeError:
        raise InvalidArgument("passphrase", "That is not text; nothing was changed.") from None


@contextmanager
def _unseen(terminal: BinaryIO) -> Iterator[None]:
    """A terminal that does not show what is typed, and is set back however this ends."""
    import termios

    before = termios.tcgetattr(terminal)
    hidden = [*before]
    hidden[3] &= ~(termios.ECHO | termios.ECHONL)
    with _ended_by_signals():
        termios.tcsetattr(terminal, termios.TCSAFLUSH, hidden)
        try:
            yield
        finally:
            termios.tcsetattr(terminal, termios.TCSAFLUSH, before)


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Where signals that end a program come as interrupts, so that what was begun is set back first."""

    def interrupt(_: int, __: FrameType | None) -> None:
        raise KeyboardInterrupt

    kinds = [signal.SIGTERM, signal.SIGHUP]
    before: list[Any] = []
    try:
        before = [signal.signal(kind, interrupt) for kind in kinds]
    except ValueError:  # not the main thread: nobody sends it signals
        kinds = []
    try:
        yield
    finally:
        for kind, handler in zip(kinds, before, strict=False):
            signal.signal(kind, handler)
