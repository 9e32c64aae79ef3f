"""A ledger with as many calls as wanted, made with the program's own writer in few large transactions.

The chain, the counters and the tables are as if every call had been made one by one; what is left out is waiting for
the disk after each. `python -m bench.fill FOLDER CALLS` makes one.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from tallygate.app import App, compose
from tallygate.core.costing import Tokens, basis_of
from tallygate.core.model import Budget, Call, Hold
from tallygate.core.moments import as_datetime
from tallygate.core.words import Action, ActorType, CallState, Reason
from tallygate.ledger import rows
from tallygate.ledger.port import Insert, Tx, Update, Value
from tallygate.ledger.sqlite.files import migrations
from tallygate.operations.runtime import Runtime
from tallygate.operations.sessions.opening import Opening, start_session
from tallygate.settings import UserPlaces, load_settings

MODEL = "gpt-4o"
LIMIT = 900_000_000_000_000
CALLS_PER_SESSION = 1_000
CALLS_PER_COMMIT = 20_000
TOKENS = Tokens(fresh_input=2_000, output=400)


def open_in(home: Path, **environ: str) -> App:
    """The program on the ledger of a folder, with nothing of this user's."""
    where = UserPlaces(home, home / "config", home / "data")
    return compose(load_settings({"TALLYGATE_HOME": str(home / "data"), **environ}, home, where), by="bench")


def fill(home: Path, calls: int, *, session_id: str | None = None, pending: bool = False) -> str:
    """Add calls to a ledger, to one session or to as many as it takes; returns the last session."""
    app = open_in(home, TALLYGATE_DURABILITY="normal")
    try:
        connection = app.ledger._connection  # noqa: SLF001
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("PRAGMA cache_size = -262144")
        connection.execute("PRAGMA wal_autocheckpoint = 100000")
        left = calls
        last = session_id or ""
        while left > 0:
            if session_id is None:
                last = start_session(app.runtime, Opening(LIMIT, MODEL, client="bench")).session.session_id
            size = left if session_id is not None else min(left, CALLS_PER_SESSION)
            left -= size
            _add(app, last, size, pending=pending)
            if session_id is None:
                _end(app, last)
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return last
    finally:
        app.close()


def _add(app: App, session_id: str, calls: int, *, pending: bool) -> None:
    rt = app.runtime
    while calls > 0:
        size = min(calls, CALLS_PER_COMMIT)
        with app.ledger.writing() as tx:
            for _ in range(size):
                budget, call = reserved(rt, tx, session_id)
                if not pending:
                    _recorded(tx, budget, call)
        calls -= size


def _end(app: App, session_id: str) -> None:
    """End a session without its line in the run log, which would hold every call once more."""
    with app.ledger.writing() as tx:
        row: dict[str, str | int | None] = {
            "session_id": session_id,
            "state": "ended",
            "ended_us": tx.at_us,
            "end_cause": "run_end",
        }
        tx.append("session.ended", [Update("session", row)], by="bench")


def reserved(rt: Runtime, tx: Tx, session_id: str) -> tuple[Budget, Call]:
    """What authorize leaves behind for one call that is allowed; returns the budget before it, and the call."""
    price = rt.workspace.prices.quote(MODEL, as_datetime(tx.at_us))
    price_id, basis = basis_of(price)
    if price_id not in rt.known_prices() and not tx.knows_price(price_id):
        tx.append("price.bench", [Insert("price", {"price_id": price_id, "basis": basis})], by="bench")
    rt.known_prices().add(price_id)
    cost = price.cost_nanos(TOKENS)
    [budget] = tx.budgets_of(session_id)
    call = Call(
        tenant=rt.tenant,
        call_id=f"call_{secrets.token_hex(12)}",
        session_id=session_id,
        state=CallState.PENDING,
        action=Action.ALLOW,
        reason=Reason.ALLOW,
        tool_name="edit_file",
        model_requested=MODEL,
        prompt_tokens=2_000,
        completion_tokens=400,
        raw_estimate_nanos=cost,
        estimate_nanos=cost,
        factor_micros=1_000_000,
        actor_type=ActorType.PARENT_AGENT,
        at_us=tx.at_us,
        expires_us=tx.at_us + 600_000_000,
        price_id=price_id,
        holds=(Hold(budget.budget_id, cost),),
    )
    held = replace(budget, reserved=budget.reserved + cost)
    tx.append(
        "call.authorized",
        [Update("budget", rows.budget_counters(held, tx.at_us)), Insert("call", rows.from_call(call))],
        by="bench",
    )
    return budget, call


def _recorded(tx: Tx, budget: Budget, call: Call) -> None:
    """What record_usage leaves behind for it, where the estimate was exact."""
    spent = replace(budget, spent=budget.spent + call.estimate_nanos)
    row: dict[str, Value] = {
        "call_id": call.call_id,
        "state": "reconciled",
        "booked_nanos": call.estimate_nanos,
        "cost_basis": "actual",
        "expires_us": None,
        "resolved_us": tx.at_us,
        "model_used": MODEL,
        "actual_price_id": call.price_id,
        **rows.token_columns(TOKENS),
    }
    tx.append(
        "usage.recorded",
        [Update("budget", rows.budget_counters(spent, tx.at_us)), Update("call", row)],
        by="bench",
    )


def filled_home(calls: int) -> Path:
    """A home with a ledger of this many calls, made once a schema and kept.

    It lies in BENCH_DIR, by default below the temporary folder.
    """
    folder = Path(os.environ.get("BENCH_DIR") or Path(tempfile.gettempdir()) / "tallygate-bench")
    schema = hashlib.sha256(repr(migrations()).encode()).hexdigest()[:8]
    home = folder / f"calls-{calls}-{schema}"
    done = home / "complete"
    if done.exists():
        return home
    shutil.rmtree(home, ignore_errors=True)  # what an interrupted run left
    home.mkdir(mode=0o700, parents=True)
    started = time.monotonic()
    print(f"  making a ledger of {calls:,} calls in {home.name} ...", flush=True)
    fill(home, calls)
    done.touch()
    print(f"  made in {time.monotonic() - started:.0f} s", flush=True)
    return home


if __name__ == "__main__":
    fill(Path(sys.argv[1]), int(sys.argv[2]))
