"""Who may loosen: tightening is free for everybody, loosening is the user's alone.

Each door into the program makes an `Authority` and passes it to the operation; the operation asks it before anything
is changed. `Loosening` lists everything that takes a cap away or makes work cheaper than it is; what is not in it is
in `FREE`, with the reason, and a test holds that every command and every operation that writes is in one of the two.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field, replace
from enum import StrEnum
from typing import Protocol

from tallygate.core.errors import Locked, UsersOnly
from tallygate.core.values import value


class Loosening(StrEnum):
    """What only the user may do, by the command that does it."""

    BUDGET_RAISE = "budget raise"
    BUDGET_SET = "budget set"
    BUDGET_ADD = "budget add"
    BUDGET_REMOVE = "budget remove"
    TRUST = "trust"
    SESSIONS_END = "sessions end"
    INIT = "init"
    UNINSTALL = "uninstall"
    OFF = "off"
    LOCK = "lock"
    UNLOCK = "unlock"
    CALIBRATE_RESET = "calibrate reset"
    CALIBRATE_REBUILD = "calibrate rebuild"
    DRIFT_APPLY = "drift --apply"
    KEYS_TRUST = "keys trust"
    KEYS_ROTATE = "keys rotate"
    RESTORE = "restore"
    REBUILD = "doctor --rebuild"
    LEDGER_ACCEPT = "ledger accept"
    IMPORT_DELETE = "import delete"
    PRICES_UPDATE = "prices update"
    PRICES_RESET = "prices reset"
    USAGE_CORRECT = "usage correct"
    DASHBOARD = "dashboard"
    LOOP_ALLOW = "loop allow"
    LOOP_WRONG = "loop wrong"


# What changes the files of clients: those are the user's, whatever ledger a variable leads such a command to.
CHANGES_CLIENTS = frozenset({Loosening.INIT, Loosening.UNINSTALL, Loosening.OFF})

# Commands that loosen nothing, and why. One with an option that does is here for the rest of it.
FREE: Mapping[str, str] = {
    "attest export": "reads",
    "attest list": "reads",
    "attest show": "reads",
    "attest verifier": "reads",
    "backup": "copies",
    "budget check": "reads",
    "budget list": "reads",
    "calibrate backtest": "reads",
    "calibrate export": "reads",
    "calibrate show": "reads",
    "demo": "works on a ledger of its own",
    "doctor": "reads; --rebuild is listed",
    "drift": "reads; --apply is listed",
    "estimate": "reads",
    "export": "reads; takes the place of nothing but an earlier export",
    "history": "reads",
    "hook": "what clients run",
    "import fetch": "adds what a provider states",
    "import list": "reads",
    "import show": "reads",
    "import-l6e": "adds what was spent",
    "keys export": "reads",
    "keys show": "makes a key where there is none",
    "loop list": "reads",
    "migrate": "makes tables, or brings them up to date",
    "on": "stops again what is over a limit",
    "prices": "reads",
    "report": "reads",
    "serve": "what clients run",
    "sessions list": "reads",
    "sessions show": "reads",
    "status": "reads",
    "statusline": "reads",
    "sync": "adds what was spent",
    "usage": "adds what was spent",
    "usage anomalies": "reads",
    "verify": "reads",
    "watch": "reads; raising and ending ask as their commands do",
    "why": "reads",
}


class EntryDoor(StrEnum):
    """By which way somebody speaks to the program."""

    COMMAND = "cli"
    ELICITATION = "elicitation"
    PROMPT = "prompt"
    PAGE = "page"


class Seal(Protocol):
    """The key of a lock, which the user's passphrase opens."""

    @property
    def public(self) -> str: ...
    @property
    def is_open(self) -> bool: ...
    def open(self, what: str) -> None: ...
    def sign(self, message: bytes) -> str: ...


@value(frozen=True, slots=True)
class Authority:
    """Who speaks, through which door, and whether that is the user.

    `beneath` names the agent that this was started by, as far as one was found. `agents_may` are the commands that
    the user's own settings leave to agents. `guarded` is false where the ledger is none of the user's own: those of
    tests and demonstrations are nobody's money. `servers` are those of the clients around, to find the session that
    this was started in. `lock` is the key that the limits are locked with, where they are.
    """

    door: EntryDoor
    actor: str
    beneath: str | None = None
    guarded: bool = True
    agents_may: frozenset[str] = frozenset()
    servers: tuple[str, ...] = ()
    lock: Seal | None = field(default=None, compare=False)

    def require(self, what: Loosening) -> None:
        """Go on only where the user speaks, and has given the passphrase while the limits are locked.

        Raises `UsersOnly`. A passphrase takes its time to be typed: never ask while the ledger is held.
        """
        if self.beneath is not None and self.guarded and what.value not in self.agents_may:
            hint = _TERMINAL if self.lock is not None else _WAY_OUT.get(what, _TERMINAL)
            raise UsersOnly(
                f"`tallygate {what.value}` is the user's alone, and this was started by an agent: {self.beneath}.",
                hint=hint,
            )
        if self.lock is None:
            return
        if self.beneath is not None:
            raise locked(what, f"and this was started by an agent: {self.beneath}.")
        self.lock.open(what.value)


def locked(what: Loosening, why: str = "which is typed in a terminal.", hint: str = "") -> Locked:
    """The refusal of what needs the passphrase of the lock."""
    return Locked(
        f"The limits are locked: `tallygate {what.value}` needs your passphrase, {why}", hint=hint or _TERMINAL
    )


_TERMINAL = "Run it in a terminal of your own, outside the agent; nothing was changed."
_WAY_OUT = {
    Loosening.BUDGET_RAISE: "Run it in a terminal of your own, or type `tallygate raise AMOUNT` as a prompt of the "
    "agent's client; nothing was changed.",
}


def within(authority: Authority, agents_may: frozenset[str], *, guarded: bool) -> Authority:
    """The same, by what the settings say."""
    return replace(authority, agents_may=agents_may, guarded=guarded)
