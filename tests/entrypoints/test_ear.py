"""A server's ear before the server: who asks there waits, and starts no gate of its own."""

from __future__ import annotations

import json
import os
import select
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from bench import wire

from tallygate.entrypoints import hook
from tallygate.entrypoints.ear import Ear, open_ear
from tallygate.entrypoints.hook_dispatcher import HookDispatcher
from tallygate.entrypoints.hook_listener import HookListener

PROGRAM = Path(hook.__file__)
SOURCE = str(PROGRAM.parents[2])
START = {"session_id": "0b5c9d9e-0000-4000-8000-000000000001", "hook_event_name": "SessionStart", "source": "startup"}


@pytest.fixture
def folder(home):
    servers = home / "data" / "servers"
    servers.mkdir(parents=True)
    return servers


@pytest.fixture
def ear(folder):
    made = Ear(str(folder), os.getpid(), b"/work")
    yield made
    made.withdraw()


def test_a_hook_waits_at_an_ear_until_the_server_can_answer_and_starts_no_gate(world, home, folder, ear):
    words = [sys.executable, "-I", "-S", str(PROGRAM), "--client", "claude_code", "--event", "SessionStart"]
    environ = wire.environment(home, TALLYGATE_PROJECT_DIR="/elsewhere")
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environ) as program:
        program.stdin.write(json.dumps(START).encode())
        program.stdin.close()
        waits = select.select([ear._link], [], [], 30)[0]
        assert waits, "the hook has come to the ear"
        listener = HookListener(HookDispatcher(lambda _: world.rt), Path(ear.file), None, os.getpid(), lambda _: "no")
        listener.start(ear)
        try:
            assert program.wait(30) == 0
        finally:
            listener.stop()
    assert not (folder / "alone").exists()


def test_who_waits_at_an_ear_that_is_withdrawn_is_turned_away_at_once(folder, ear):
    first, *_ = Path(ear.file).read_bytes().split(b"\n")
    port, token = first.decode().split()[:2]
    failed = []

    def ask():
        try:
            hook._carried(int(port), token, "/none", "claude_code Stop own -", b"", b"{}")
        except OSError as error:
            failed.append(error)

    asking = threading.Thread(target=ask)
    asking.start()
    assert select.select([ear._link], [], [], 30)[0]
    ear.withdraw()
    asking.join(30)
    assert len(failed) == 1
    assert not isinstance(failed[0], TimeoutError)
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    "has_started, started_after, waits",
    [(False, None, hook.ALONE_S // hook.ANSWER_S), (True, None, 1), (False, 2, 3), (False, 1, 2)],
)
def test_a_server_that_is_only_starting_is_waited_for_and_one_that_hangs_is_not(
    tmp_path, monkeypatch, has_started, started_after, waits
):
    alive, waited = tmp_path / "one.alive", []
    if has_started:
        alive.touch()

    def received(link):
        waited.append(link)
        if len(waited) == started_after:
            alive.touch()
        raise TimeoutError

    monkeypatch.setattr(hook, "_received", received)
    with pytest.raises(OSError):
        hook._first_of(None, str(alive))
    assert len(waited) == waits


def test_a_server_that_died_in_its_start_is_not_asked(folder, monkeypatch):
    with subprocess.Popen(["true"]) as process:
        process.wait()
    made = Ear(str(folder), os.getppid(), b"/work")
    asked = []
    monkeypatch.setattr(hook, "servers_folder", lambda: str(folder))
    monkeypatch.setattr(hook, "_carried", lambda port, token, *_: asked.append(token) or (0, b"", b"", 0))
    assert hook._asked("codex", "Stop", b"{}", {}) == (0, b"", b"", 0)
    assert asked == [made.token], "it runs"
    token = f"{made.token.partition('.')[0]}.{process.pid}"
    Path(made.file).write_text(Path(made.file).read_text().replace(made.token, token))
    assert hook._asked("codex", "Stop", b"{}", {}) is None
    assert asked == [made.token]
    Path(made.file).with_suffix(".alive").touch()
    assert hook._asked("codex", "Stop", b"{}", {}) is not None, "it says itself that it lives"
    made.withdraw()


def test_of_servers_that_say_nothing_one_is_waited_for_and_a_third_is_not_asked(folder, monkeypatch):
    made = [Ear(str(folder), os.getppid(), b"/work") for _ in range(3)]
    waited = []

    def received(link):
        waited.append(link.getpeername()[1])
        raise TimeoutError

    monkeypatch.setattr(hook, "servers_folder", lambda: str(folder))
    monkeypatch.setattr(hook, "_received", received)
    assert hook._asked("codex", "Stop", b"{}", {}) is None
    first, second = dict.fromkeys(waited)
    assert waited == [first] * (hook.ALONE_S // hook.ANSWER_S) + [second]
    for each in made:
        each.withdraw()


def test_an_ear_is_where_the_hooks_of_its_ledger_look_and_theirs_first(folder, monkeypatch, home):
    other = Ear(str(folder), 1, b"/work")
    near = Ear(str(folder), os.getppid(), b"/other")
    try:
        found = hook._servers(b"/work", str(folder))
        ports = [each._link.getsockname()[1] for each in (near, other)]
        assert [port for port, *_ in found] == ports
        assert found[0][2] == "own -,near"
        assert Path(near.file).stat().st_mode & 0o777 == 0o600
    finally:
        near.withdraw()
        other.withdraw()


def test_where_no_ledger_was_made_there_is_no_ear_and_no_folder(home, monkeypatch):
    monkeypatch.setenv("TALLYGATE_HOME", str(home / "none"))
    assert open_ear("", os.getpid()) is None
    assert not (home / "none").exists()
    (home / "none").mkdir()
    made = open_ear("", os.getpid())
    assert made is not None
    assert Path(made.file).parent.stat().st_mode & 0o777 == 0o700
    made.withdraw()


SHOWN = f"""
import sys
sys.path.insert(0, {SOURCE!r})
from tallygate import __main__ as program
def run(given, entrance):
    import os, signal
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # that of a client which has said nothing
    ours = sorted(name for name in sys.modules if name.startswith("tallygate"))
    heavy = [name for name in ("re", "socket", "threading", "pathlib", "json") if name in sys.modules]
    print(ours, heavy, os.path.exists(entrance.ear.file))
program._run = run
sys.argv = ["tallygate", "serve"]
program.main()
"""


def test_a_server_is_heard_of_before_anything_that_takes_time_is_imported(home, folder):
    command = [sys.executable, "-I", "-S", "-c", SHOWN]
    done = subprocess.run(
        command, input=b"", capture_output=True, env=wire.environment(home), timeout=300, check=True
    ).stdout.decode()
    ours = [
        "",
        ".__main__",
        ".entrypoints",
        *(
            f".entrypoints.{name}"
            for name in ("ear", "entrance", "first_answers", "front", "handover", "hook", "unsettled")
        ),
    ]
    assert done.split("\n")[0] == f"{[f'tallygate{name}' for name in ours]} [] True"
    assert list(folder.iterdir()) == [], "what ends before it serves leaves nothing behind"


STARTING = (
    f"import sys; sys.path.insert(0, {SOURCE!r}); from tallygate.entrypoints import hook; print(hook._is_starting())"
)


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="the system does not tell whose child a process is")
@pytest.mark.parametrize(
    "words, seen",
    [(["-m", "tallygate", "serve", "--places", "x"], True), (["tallygate", "status", "x"], False), ([], False)],
)
def test_a_hook_sees_that_its_client_is_starting_a_server(words, seen):
    sleeping = [sys.executable, "-c", "import sys; sys.stdin.read()", *words]
    with subprocess.Popen(sleeping, stdin=subprocess.PIPE) as beside:
        told = subprocess.run([sys.executable, "-I", "-c", STARTING], capture_output=True, check=True).stdout
        beside.stdin.close()
    assert told.strip() == str(seen).encode()


def test_a_hook_takes_the_server_that_its_client_is_starting_as_soon_as_it_is_heard_of(folder, monkeypatch):
    looks = iter([True, True])
    made = []

    def is_starting():
        if not next(looks):
            raise AssertionError
        if len(made) == 0 and looks.__length_hint__() == 0:
            made.append(Ear(str(folder), os.getppid(), b""))
        return True

    monkeypatch.setattr(hook, "_is_starting", is_starting)
    monkeypatch.setattr(hook, "STARTS_S", 2)
    found = hook._once_announced([], b"/work", str(folder))
    assert [port for port, *_ in found] == [made[0]._link.getsockname()[1]]
    made[0].withdraw()
    monkeypatch.setattr(hook, "_is_starting", lambda: False)
    assert hook._once_announced([], b"/work", str(folder)) == []


def test_an_ear_that_nobody_takes_over_is_closed(folder):
    made = Ear(str(folder), 1, b"")
    port = made._link.getsockname()[1]
    made.withdraw()
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0
