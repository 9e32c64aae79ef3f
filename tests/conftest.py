"""What every test stands on: no network, no file of the user, the same examples on every CI run."""

from __future__ import annotations

import ipaddress
import itertools
import os
import select
import signal
import socket
import sys
from collections.abc import Iterator, Mapping
from multiprocessing import resource_tracker
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.database import DirectoryBasedExampleDatabase
from tests.midnight import pytest_runtest_protocol  # noqa: F401  (a hook is found by its name here)
from tests.postgres import remove_all
from tests.world import ON_POSTGRES, agent_variables

from tallygate.clients.client import command_line

ROOT = Path(__file__).resolve().parent.parent

settings.register_profile(
    "dev",
    deadline=None,
    database=DirectoryBasedExampleDatabase(ROOT / ".hypothesis" / "examples"),
)
# Deterministic: a red run is red again when somebody looks at it.
settings.register_profile("ci", deadline=None, derandomize=True, database=None, print_blob=True)
settings.register_profile("thorough", settings.get_profile("ci"), max_examples=2_000)
settings.register_profile(
    "quick", settings.get_profile("ci"), max_examples=10, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE") or ("ci" if os.environ.get("CI") else "dev"))

# What could lead a program under test to the settings, data or transcripts of whoever runs the tests.
_OWN_PREFIXES = (
    "TALLYGATE_", "L6E_", "CLAUDE_", "CODEX_", "GEMINI_", "OPENCODE_", "QWEN_", "COPILOT_", "TIKTOKEN_", "OTEL_",
    "ANTHROPIC_ADMIN_", "OPENAI_ADMIN_", "OPENROUTER_",
)  # fmt: skip
_OWN_NAMES = ("DATA_GYM_CACHE_DIR", "XDG_DATA_DIRS", "XDG_CONFIG_DIRS")
_HOME_DIRS = {
    "HOME": "",
    "XDG_CACHE_HOME": ".cache",
    "XDG_CONFIG_HOME": ".config",
    "XDG_DATA_HOME": ".local/share",
    "XDG_RUNTIME_DIR": ".run",
    "XDG_STATE_HOME": ".local/state",
}


class NetworkBlocked(AssertionError):
    """A test tried to reach something outside this machine."""


def _is_loopback(host: object) -> bool:
    text = host.decode("ascii", "replace") if isinstance(host, bytes) else str(host)
    if text in ("", "localhost", "None"):
        return True
    try:
        return ipaddress.ip_address(text.partition("%")[0]).is_loopback
    except ValueError:
        return False


_network = {"open": True}


def _audit_network(event: str, args: tuple[object, ...]) -> None:
    # An audit hook also sees what C extensions and asyncio do; a patched method would not.
    if not event.startswith("socket.") or _network["open"]:
        return
    if event == "socket.getaddrinfo":
        host: object = args[0]
    elif event in ("socket.connect", "socket.sendto", "socket.sendmsg"):
        address = args[1]
        if not isinstance(address, tuple):  # a Unix socket, or an already connected one
            return
        host = address[0]
    else:
        return
    if not _is_loopback(host):
        raise NetworkBlocked(f"{event} to {host!r}: tests reach this machine only.")


sys.addaudithook(_audit_network)


# A suite that a shell runs in the background is handed a SIGINT that is ignored, and would hand it on to each program.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


# What of operations' tests looks into the file that a ledger is: left out where these stand on a database.
_OF_A_FILE = frozenset(
    {
        "test_again.py",
        "test_a_process_that_is_killed_at_any_statement_leaves_all_steps_or_none",
        "test_samples_from_before_count_as_reported_unless_their_calls_tell",
        "test_the_database_itself_lets_the_same_bytes_count_once",
        # There each look is one of its own: other servers write as well.
        "test_the_lock_is_looked_for_anew_only_where_another_program_has_written",
        "test_what_is_forgotten_counts_no_more_and_stays_in_the_ledger",
    }
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave out what a database has no file for, where the worlds of this run stand on one."""
    for item in items if ON_POSTGRES else ():
        if not _OF_A_FILE.isdisjoint((item.path.name, item.name)):
            item.add_marker(pytest.mark.skip(reason="looks into a ledger's file"))


def pytest_sessionfinish() -> None:
    """Leave no database server behind."""
    remove_all()


@pytest.fixture(autouse=True)
def no_network() -> Iterator[None]:
    """Refuse every connection and look-up outside the loopback range."""
    _network["open"] = False
    yield
    _network["open"] = True


@pytest.fixture(scope="session")
def _homes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Iterator[Path]]:
    base = tmp_path_factory.mktemp("homes")
    yield (base / str(number) for number in itertools.count())
    assert left_in(base) == [], "a test left a process behind"


def left_in(base: Path) -> list[str]:
    """The processes whose home lies below a folder, as far as this system tells; those about to end are waited for."""
    for _ in range(300):
        left = [" ".join(_words(folder / "cmdline")) for folder in Path("/proc").glob("[0-9]*") if _lives(folder, base)]
        if not left:
            break
        select.select([], [], [], 0.1)
    return left


def _lives(folder: Path, base: Path) -> bool:
    """Whether a process was started for a test. What multiprocessing keeps beside this very process ends with it."""
    if f"from {resource_tracker.__name__} import main" in " ".join(_words(folder / "cmdline")):
        return False
    return any(word.startswith(f"HOME={base}/") for word in _words(folder / "environ"))


def _words(file: Path) -> list[str]:
    try:
        return file.read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return []  # it has gone, or is another user's


@pytest.fixture(autouse=True)
def home(_homes: Iterator[Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home, which is also the working directory, so that no test meets the user's files."""
    path = next(_homes)
    path.mkdir(mode=0o700)
    for name in [*os.environ]:
        if name.startswith(_OWN_PREFIXES) or name in _OWN_NAMES or name in agent_variables():
            monkeypatch.delenv(name)
    for name, below in _HOME_DIRS.items():
        monkeypatch.setenv(name, str(path / below))
    monkeypatch.setenv("TZ", "UTC")
    # The port is one a machine: a server under test must not take it from the user's own.
    monkeypatch.setenv("TALLYGATE_TELEMETRY", "off")
    monkeypatch.chdir(path)
    return path


@pytest.fixture
def loopback_port() -> int:
    """A port on this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(autouse=True)
def program_on_the_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands in texts begin with the program's name, wherever the tests run."""

    def named(environ: Mapping[str, str], interpreter: str) -> str:
        return "tallygate" if environ else command_line({}, interpreter)

    monkeypatch.setattr("tallygate.entrypoints.runnable.own_words", lambda: "tallygate")
    monkeypatch.setattr("tallygate.app.command_line", named)
