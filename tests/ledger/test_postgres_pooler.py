"""Behind pgbouncer in transaction mode, as many servers reach one database."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import threading

import pytest
from tests.postgres import account, shared
from tests.world import NANOS, Clock, changed, make_world, on_postgres
from tests.world import Tokens as Ids

from tallygate.core.costing import Tokens
from tallygate.core.errors import LedgerUnavailable
from tallygate.operations.gate.record import UsageReport, record_usage

pytest.importorskip("psycopg", reason="the extra `postgres` is not installed")
PORT = 6432  # of a socket in a folder of its own, so it is nobody else's
SETTINGS = """
[databases]
* = host={folder} user=postgres
[pgbouncer]
listen_addr =
listen_port = {port}
unix_socket_dir = {folder}
auth_type = any
pool_mode = transaction
default_pool_size = {size}
max_client_conn = 100
pidfile = {folder}/pgbouncer.pid
logfile = {folder}/pgbouncer.log
"""


@pytest.fixture
def pooled():
    """The address of a database behind a pooler with two backends."""
    program = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
    if program is None:
        pytest.skip("no pgbouncer here")
    server = shared()
    file = server.folder / "pgbouncer.ini"
    file.write_text(SETTINGS.format(folder=server.folder, port=PORT, size=2))
    file.chmod(0o644)
    environ = {"PATH": os.environ["PATH"], "HOME": str(server.folder)}
    subprocess.run(
        [program, "-q", "-d", str(file)],
        check=True,
        user=account(),
        env=environ,
        cwd=server.folder,
        capture_output=True,
    )
    yield server.database() + f"&port={PORT}"
    os.kill(int((server.folder / "pgbouncer.pid").read_text()), signal.SIGTERM)


def test_transactions_share_two_backends_and_nothing_of_one_is_left_to_the_next(pooled, tmp_path):
    clock = Clock()
    plain = make_world(tmp_path, clock=clock)
    plain.ledger.close()
    ledgers = [on_postgres(pooled, clock, lock_timeout_ms=60_000) for _ in range(3)]
    worlds = [
        type(plain)(changed(plain.rt, ledger=ledger, new_token=Ids(number * 10**6)), ledger, clock, tmp_path)
        for number, ledger in enumerate(ledgers, 1)
    ]
    session = worlds[0].start("0.3")
    answers = []

    def work(world):
        for _ in range(15):
            answer = world.ask(session, 10)
            answers.append(answer.action)
            if answer.call_id is not None:
                record_usage(world.rt, UsageReport(answer.call_id, Tokens(10)))

    threads = [threading.Thread(target=work, args=(world,)) for world in worlds]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(answers), answers.count("halt")) == (45, 15)
    budget = worlds[0].budget(session)
    assert (budget.spent, budget.reserved) == (NANOS * 3 // 10, 0)
    with ledgers[0].reading():
        [(kept,)] = ledgers[0].rows("SELECT setting FROM pg_settings WHERE name = 'lock_timeout'")
    assert kept == "60000", "within a transaction the time-out is ours"
    connection, cursor = ledgers[0].server.begin("SHOW lock_timeout")
    assert cursor.fetchone() == ("0",), "and behind it the backend is as it was"
    ledgers[0].server.leave(connection)
    assert worlds[0].problems() == []
    other = on_postgres(pooled, clock, lock_timeout_ms=50)
    with ledgers[0].writing(), pytest.raises(LedgerUnavailable), other.writing():
        pass
    for ledger in (*ledgers, other):
        ledger.close()
