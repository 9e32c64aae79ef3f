"""Open the ledger in a database; the driver is imported here, when it is opened, and by nobody who does not need it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NoReturn, TypedDict, Unpack

from tallygate.core.errors import LedgerUnavailable
from tallygate.core.moments import ClockWatch
from tallygate.core.usage import Rules

if TYPE_CHECKING:
    from tallygate.ledger.postgres.database import PostgresLedger


class CommonOptions(TypedDict):
    """What every ledger is opened with, wherever it is."""

    clock: Callable[[], int]
    durability: str
    lock_timeout_ms: int
    watch: ClockWatch
    rules: Rules


def open_server(server: str, **options: Unpack[CommonOptions]) -> PostgresLedger:
    """The ledger in a database. Raises `LedgerUnavailable` where that cannot be reached, or is not made yet."""
    try:
        from tallygate.ledger.postgres.database import PostgresLedger
    except ImportError as error:
        raise without_driver() from error
    return PostgresLedger(server, **options)


def migrate_server(server: str, *, new_ledger_id: Callable[[], str], at_us: int) -> tuple[int, int]:
    """Bring the tables of a database up to this program's; returns the number of its schema before, and now."""
    try:
        from tallygate.ledger.postgres.schema import migrate
        from tallygate.ledger.postgres.server import Server
    except ImportError as error:
        raise without_driver() from error
    reached = Server(server, connections_max=1)
    try:
        connection = reached.take()
        try:
            with reached.translated():
                return migrate(connection, reached.name, ledger_id=new_ledger_id(), at_us=at_us)
        finally:
            reached.leave(connection)
    finally:
        reached.close()


def hook_opens_none() -> NoReturn:
    """Refuse: for the driver alone a hook would need longer than its client waits for all of it."""
    raise LedgerUnavailable(
        "The ledger is in a database, and no server of Tallygate runs here that could ask it.",
        hint="Start the client again, which starts its server.",
    )


def without_driver() -> LedgerUnavailable:
    """The error where the extra is missing."""
    return LedgerUnavailable(
        "The ledger is in a database, and what reaches one is not installed.",
        hint="Install the extra: pip install 'tallygate[postgres]'",
        code="driver_missing",
    )
