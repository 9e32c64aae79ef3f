"""How a command fails: one line on stderr, and an exit code that scripts can rely on.

0    done
1    failed: a check found something, the run log cannot be written, a fault of the program
2    wrong usage or an impossible value
3    no session, call or budget has that id
4    a conflict with what the ledger holds
5    the ledger cannot be opened, read or written
6    settings that cannot be used
7    only the user may do that, and an agent asked
8    a run was stopped by its budget (`status --exit-code`)
130  interrupted
"""

from __future__ import annotations

from tallygate.clients.client import runnable
from tallygate.core.errors import (
    Conflict,
    InvalidArgument,
    LedgerUnavailable,
    NotFound,
    SettingsError,
    TallygateError,
    UsersOnly,
)
from tallygate.core.text import cleaned

FAILED, USAGE, STOPPED, INTERRUPTED = 1, 2, 8, 130
_CODES: tuple[tuple[type[TallygateError], int], ...] = (
    (InvalidArgument, USAGE),
    (NotFound, 3),
    (Conflict, 4),
    (LedgerUnavailable, 5),
    (SettingsError, 6),
    (UsersOnly, 7),
)
_LINE_MAX = 2000


def exit_code(error: TallygateError) -> int:
    """The exit code of an expected failure."""
    return next((code for kind, code in _CODES if isinstance(error, kind)), FAILED)


def sentence(error: TallygateError | str, hint: str = "") -> str:
    """A failure as the one line that a command says about it."""
    if isinstance(error, TallygateError):
        return f"tallygate: {cleaned(runnable(f'{error.message} {error.hint}'), _LINE_MAX)}"
    return f"tallygate: {cleaned(runnable(f'{error} {hint}'), _LINE_MAX)}"
