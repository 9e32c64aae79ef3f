from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from bench.wire import SERVE, Server, ToolFailed
from tests.processes.proof import Actor, assert_sound, looking_at

from tallygate.operations.sessions.opening import Opening, start_session

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="limits of another process are set with prlimit"),
]

NOBODY = 65534
STEP = {"tool_name": "edit", "estimated_prompt_tokens": 100}


def ask(server, session):
    return server.call("l6e_authorize_call", session_id=session, **STEP)


def states(app, session):
    return [state for (state,) in app.ledger.rows(f"SELECT state FROM call WHERE session_id = '{session}'")]


@pytest.fixture
def server(home):
    with Server(SERVE, home) as running:
        yield running.greet()


def limit_files(server, size):
    resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


def test_a_write_that_the_disk_refuses_at_any_byte_is_a_halt_and_leaves_nothing_half_written(home, server):
    session = server.call("l6e_run_start", budget_usd=1, model="gpt-4o")["session_id"]
    log = home / "data" / "ledger.db-wal"
    allowed = int(ask(server, session)["action"] == "allow")
    refused = 0
    for short in range(0, 24_576, 500):  # a commit writes some ten pages of the log, of 1,024 bytes each
        limit_files(server, log.stat().st_size + short)
        answer = ask(server, session)
        limit_files(server, resource.RLIM_INFINITY)
        if answer["action"] == "halt":
            assert (answer["reason"], answer["remaining_usd"]) == ("ledger_unavailable", None)
            assert "call_id" not in answer
            refused += 1
        else:
            allowed += 1
    assert refused > 5
    assert ask(server, session)["action"] == "allow"
    with looking_at(home) as app:
        assert_sound(app)
        assert states(app, session) == ["pending"] * (allowed + 1)


def test_a_session_ends_although_the_run_log_does_not_fit_on_the_disk_and_its_line_comes_later(home, server):
    session = server.call("l6e_run_start", budget_usd=1, model="gpt-4o")["session_id"]
    log = home / "data" / "runs.jsonl"
    log.touch(mode=0o600)
    log.write_bytes(b"\n" * 10_000_000)
    limit_files(server, 9_000_000)
    assert server.call("l6e_run_end", session_id=session)["calls_made"] == 0
    limit_files(server, resource.RLIM_INFINITY)
    log.write_bytes(b"")
    other = server.call("l6e_run_start", budget_usd=1, model="gpt-4o")["session_id"]
    server.call("l6e_run_end", session_id=other)
    text = log.read_text(encoding="utf-8")
    assert [text.count(f'"run_id":"{name}"') for name in (session, other)] == [1, 1]


def mounted(folder, *options):
    command = ["mount", "-t", "tmpfs", "-o", ",".join(options), "tallygate-test", str(folder)]
    if shutil.which("mount") is None:
        return False
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


@pytest.fixture
def small_disk(home):
    """A home on a disk of its own with one megabyte; only the superuser can have one."""
    folder = home / "disk"
    folder.mkdir()
    if not mounted(folder, "size=1m", "mode=0700"):
        pytest.skip("mounting a small disk is not allowed here")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(folder):
    """Take every byte that is left; returns the file that holds them."""
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as file:
        for size in (65_536, 4_096, 1):
            try:
                while file.write(b"\0" * size) == size:
                    continue
            except OSError:
                continue
    return ballast


def test_a_full_disk_is_a_halt_until_there_is_space_again(small_disk):
    with Server(SERVE, small_disk) as server:
        server.greet()
        session = server.call("l6e_run_start", budget_usd=1, model="gpt-4o")["session_id"]
        call = ask(server, session)["call_id"]
        ballast = fill(small_disk)
        for _ in range(20):
            if (answer := ask(server, session))["action"] == "halt":
                break
        assert answer["reason"] == "ledger_unavailable"
        assert "disk" in answer["message"]
        with pytest.raises(ToolFailed, match="storage_"):
            for _ in range(20):
                server.call("l6e_run_start", budget_usd=1, model="gpt-4o")
        check = server.call("l6e_authorize_call", session_id=session, tool_name="x", check_only=True)
        assert (check["action"], check["reason"]) == ("halt", "ledger_unavailable")
        look = server.call("check_budget", session_id=session)
        assert (look["allowed"], look["reason"]) == (False, "ledger_unavailable")

        ballast.unlink()
        assert ask(server, session)["action"] == "allow"
        used = server.call("l6e_record_usage", call_id=call, actual_prompt_tokens=10, actual_completion_tokens=1)
        assert used["status"] == "reconciled"
    with looking_at(small_disk) as app:
        assert_sound(app)


def test_a_full_disk_is_a_halt_also_where_the_lock_file_is_still_empty(small_disk):
    with looking_at(small_disk) as app:
        session = start_session(app.runtime, Opening(10**9, "gpt-4o")).session.session_id
    (small_disk / "data" / "ledger.db.lock").unlink()
    with Server(SERVE, small_disk) as server:
        server.greet()
        server.call("l6e_authorize_call", session_id=session, tool_name="x", check_only=True)
        (small_disk / "data" / "ledger.db.lock").write_bytes(b"")
        ballast = fill(small_disk)
        assert ask(server, session)["reason"] == "ledger_unavailable"
        ballast.unlink()
        with looking_at(small_disk) as app:  # another process is not kept waiting by the one that failed
            start_session(app.runtime, Opening(10**9, "gpt-4o"))
        assert ask(server, session)["action"] == "allow"


def test_a_disk_that_has_become_read_only_refuses_the_ledger_with_words(small_disk):
    with looking_at(small_disk) as app:
        session = start_session(app.runtime, Opening(10**9, "gpt-4o")).session.session_id
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    actor = Actor(small_disk, "open-as", 0, session)
    said = actor.hear()
    actor.end()
    assert_refused(said)


def assert_refused(said):
    """Either the ledger does not open and says why, or the gate halts and says why."""
    assert said is not None, "the program broke off"
    if said["state"] == "refused":
        assert said["code"].startswith("storage_"), said
    else:
        assert (said["action"], said["reason"]) == ("halt", "ledger_unavailable"), said
    assert "ledger" in said["message"]


@pytest.fixture
def others_home():
    """A home that belongs to somebody else, where a file's mode counts for them."""
    if os.getuid():
        pytest.skip("becoming another user takes the superuser")
    folder = Path(tempfile.mkdtemp(prefix="tallygate-nobody-"))
    yield folder
    shutil.rmtree(folder)


@pytest.mark.parametrize(
    "modes",
    [
        {"data": 0o500},
        {"data/ledger.db": 0o400},
        {"data": 0o500, "data/ledger.db": 0o400},
        {"data/ledger.db.lock": 0o400},
        {"data": 0o000},
    ],
    ids=["the folder", "the file", "both", "the lock", "not even readable"],
)
@pytest.mark.parametrize("lock_is_there", [True, False])
def test_a_ledger_that_cannot_be_written_says_so(others_home, modes, lock_is_there):
    with looking_at(others_home) as app:
        session = start_session(app.runtime, Opening(10**9, "gpt-4o")).session.session_id
    lock = others_home / "data" / "ledger.db.lock"
    if not lock_is_there:
        lock.unlink()
        if lock.relative_to(others_home).as_posix() in modes:
            pytest.skip("there is no lock to protect")
    for path in [others_home, *others_home.rglob("*")]:
        os.chown(path, NOBODY, NOBODY)
    for name, mode in modes.items():
        (others_home / name).chmod(mode)
    actor = Actor(others_home, "open-as", NOBODY, session)
    said = actor.hear()
    actor.end()
    assert_refused(said)


def test_a_lock_that_a_stopped_process_holds_is_a_halt_in_time_that_names_the_process(home, act):
    holder = act("holder")
    with Server(SERVE, home) as server:
        server.greet()
        session = server.call("l6e_run_start", budget_usd=1, model="gpt-4o")["session_id"]
        assert ask(server, session)["action"] == "allow"
        holder.wait_until("ready")
        holder.go()
        _, status = os.waitpid(holder.pid, os.WUNTRACED)
        assert os.WIFSTOPPED(status)
        answer = ask(server, session)
        assert os.waitpid(holder.pid, os.WNOHANG | os.WCONTINUED) == (0, 0), "answered while the lock is still held"
        assert (answer["action"], answer["reason"]) == ("halt", "ledger_unavailable")
        assert f"process {holder.pid} " in answer["message"]
        check = server.call("l6e_authorize_call", session_id=session, tool_name="x", check_only=True)
        assert (check["action"], check["reason"]) == ("halt", "ledger_unavailable")

        os.kill(holder.pid, signal.SIGCONT)
        assert holder.hear() == {"state": "went on"}
        assert ask(server, session)["action"] == "allow"
    with looking_at(home) as app:
        assert_sound(app)
        assert states(app, session) == ["pending"] * 2
