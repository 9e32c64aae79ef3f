"""Every failure a user can meet, in one tree.

    TallygateError
    ├── InvalidArgument        a value from outside is out of bounds, of the wrong type, or not known
    ├── NotFound               no session, call or budget has that id
    ├── Conflict               the same id arrived with other values
    ├── UsersOnly              only the user may do that, and an agent asked for it
    │   └── Locked             the limits are locked, and nobody has given the passphrase
    │       └── NoTerminal     nobody can be asked for it here
    ├── SettingsError          a settings file or variable cannot be used
    ├── RunLogError            the run log cannot be written safely
    ├── KeyUnusable            a key cannot be read, is not safe, or is none
    │   └── WrongPassphrase    what was typed does not open the key of the lock
    ├── NotProven              an attestation does not say what it seems to, or nobody trusted has signed it
    ├── ProviderUnavailable    a provider's API does not give the answer that the user asked it for
    │   ├── ProviderRefused    the provider does not take the key, or the question
    │   └── AnswerUnusable     the answer is not what the provider documents
    └── LedgerUnavailable      the ledger cannot be read or written now
        ├── LedgerCorrupt      the file is damaged, or not a ledger
        ├── LedgerTooNew       the file was written by a newer version
        ├── LedgerMissing      the file was there and is gone or empty
        ├── LedgerRolledBack   the file lacks events that were written to it
        └── LedgerReplaced     another ledger lies in its place

Each carries a stable `code`, a message with the values in it, and a `hint` with the next step.
A programmer's error is not in this tree: `ensure` raises `InvariantBroken`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

T = TypeVar("T")


class TallygateError(Exception):
    """Base of every expected failure; entry points render `code`, message and `hint`."""

    code = "error"

    def __init__(self, message: str, *, hint: str = "", code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        if code is not None:
            self.code = code

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".rstrip()


class InvalidArgument(TallygateError):
    """A value given by a caller cannot be used; nothing was changed."""

    code = "invalid_argument"

    def __init__(self, argument: str, message: str, *, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.argument = argument


class NotFound(TallygateError):
    """An id names nothing in the ledger."""

    code = "not_found"


class Conflict(TallygateError):
    """An id came back with values other than those it was first used with."""

    code = "conflict"


def same_or_conflict(
    fields: Iterable[tuple[str, object, object]], what: str, *, hint: str, code: str, then: str = ""
) -> None:
    """Refuse what comes again under an id with another value: the first field that differs is named, with both.

    Each field has its name, what it was and what it is now; `what` says of what it was a field, `then` what follows.
    """
    for name, was, now in fields:
        if was != now:
            raise Conflict(f"{what} with {name} {was!r}; now it came with {now!r}.{then}", hint=hint, code=code)


class UsersOnly(TallygateError):
    """Something that loosens was asked for by an agent; nothing was changed."""

    code = "users_only"


class Locked(UsersOnly):
    """The limits are locked: this needs the user's passphrase, typed in a terminal; nothing was changed."""

    code = "locked"


class NoTerminal(Locked):
    """A passphrase is typed at a terminal, and there is none; nothing was changed."""

    code = "no_terminal"


class SettingsError(TallygateError):
    """Settings are malformed or name something unknown; the message gives file and line."""

    code = "settings_invalid"


class RunLogError(TallygateError):
    """The run log is not a file this program may append to."""

    code = "run_log_unwritable"


class KeyUnusable(TallygateError):
    """A key file cannot be read or written, is open to others, or holds no key."""

    code = "key_unusable"


class WrongPassphrase(KeyUnusable):
    """A passphrase does not open the key of the lock; nothing was changed."""

    code = "passphrase_wrong"


class NotProven(TallygateError):
    """An attestation that a verifier has to refuse."""

    code = "not_proven"


class ProviderUnavailable(TallygateError):
    """A provider's API gave no answer; nothing was imported."""

    code = "provider_unavailable"


class ProviderRefused(ProviderUnavailable):
    """A provider's API does not take the key, or does not answer such a question."""

    code = "provider_refused"


class AnswerUnusable(ProviderUnavailable):
    """A provider's API answered with something else than it documents."""

    code = "provider_answer_unusable"


class LedgerUnavailable(TallygateError):
    """The ledger did not take or give data; hard budgets answer this with a halt."""

    code = "ledger_unavailable"


class HistoryUnread(LedgerUnavailable):
    """What was spent before is not on record yet, so nobody can tell what is left of a budget that counts it."""

    code = "history_unread"


class LedgerCorrupt(LedgerUnavailable):
    """The ledger file is damaged or is not a ledger."""

    code = "ledger_corrupt"


class LedgerTooNew(LedgerUnavailable):
    """A newer version has written this ledger."""

    code = "ledger_too_new"


class LedgerMissing(LedgerUnavailable):
    """The ledger was there and is not; nothing starts anew by itself."""

    code = "ledger_missing"


class LedgerRolledBack(LedgerUnavailable):
    """The ledger lacks events that were written to it: an older copy, or lost in a power cut."""

    code = "ledger_rolled_back"


class LedgerReplaced(LedgerUnavailable):
    """Another ledger lies where this one was."""

    code = "ledger_replaced"


class InvariantBroken(AssertionError):
    """A state that the program itself must never reach."""


def ensure(condition: bool, message: str) -> None:
    """Stop on a broken invariant, also under `python -O`, where assert statements vanish."""
    if not condition:
        raise InvariantBroken(message)


def present(value: T | None, message: str) -> T:
    """The value, where the program itself guarantees that there is one."""
    if value is None:
        raise InvariantBroken(message)
    return value


def unknown_session(session_id: str) -> NotFound:
    """The error for a session id that names nothing."""
    return NotFound(
        f"No session {session_id!r} is in the ledger.",
        hint="Call l6e_run_start or start_budget and pass the session_id it returns.",
        code="unknown_session",
    )


def session_ended(session_id: str) -> Conflict:
    """The error for a session that takes nothing more."""
    return Conflict(
        f"Session {session_id!r} has ended and takes no more calls.",
        hint="Open a session with a budget that the user gives.",
        code="session_ended",
    )
