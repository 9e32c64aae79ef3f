"""A process stands by that becomes the next client's server: as one that the client had started, and at once."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from bench import wire
from bench.wire import Server

from tallygate.entrypoints import handover, resident

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="there is none elsewhere")
MAIN = Path(wire.ROOT) / "src" / "tallygate" / "__main__.py"
SERVE = [sys.executable, "-I", str(MAIN), "serve"]
SESSION = "0b5c9d9e-0000-4000-8000-000000000001"
TOOL = {
    "client": "claude_code",
    "event": "PreToolUse",
    "session_id": SESSION,
    "tool_name": "Bash",
    "tool_use_id": "toolu_1",
}


@pytest.fixture
def servers(home):
    folder = home / "data" / "servers"
    folder.mkdir(parents=True, mode=0o700)
    yield folder
    end_residents(folder)


@pytest.fixture
def standing(servers):
    subprocess.run([*SERVE[:-1], "resident", str(servers)], env={"HOME": os.environ["HOME"]}, cwd="/", check=True)
    wait_for(lambda: list(servers.glob("*.sock")), "it stands by")
    ((pid, _),) = handover.residents(str(servers))
    return pid


def end_residents(folder):
    for pid, _ in handover.residents(str(folder)):
        handle = os.pidfd_open(pid)
        os.kill(pid, signal.SIGKILL)
        wait_for_end(handle)


def wait_for_end(handle):
    assert select.select([handle], [], [], 60)[0], "the process has ended"
    os.close(handle)


def wait_for(found, what):
    for _ in range(1200):
        if seen := found():
            return seen
        select.select([], [], [], 0.05)
    raise AssertionError(what)


def start(home, **more):
    environ = {**wire.environment(home), "TALLYGATE_RESIDENT": "auto", **more}
    del environ["PYTHONPATH"]
    return Server(SERVE, home, environ=environ)


def served_by(folder):
    """The processes that serve, as hooks find them."""
    told = {int(file.read_text().split()[1].partition(".")[2]) for file in folder.glob("*.hook")}
    return {pid for pid in told if Path(f"/proc/{pid}").exists()}


def ask(server, tool, **arguments):
    """The answer to a call that may have got an error before: its server was killed as it said that it had answered."""
    sent = server.send_call(tool, **arguments)
    while (message := server.receive())["id"] < sent:
        assert "error" in message
    return server.answer(message, sent)


def project_in(home, name, limit):
    folder = home / name
    (folder / ".l6e").mkdir(parents=True)
    (folder / ".l6e" / "config.toml").write_text(f'[[budget]]\nscope = "session"\nlimit_usd = {limit}\n')
    return folder


@pytest.mark.slow
def test_each_client_of_a_resident_has_its_own_environment_folder_and_sessions(home, servers, standing):
    found = {}
    for name, limit in (("one", 3), ("other", 4)):
        project = project_in(home, name, limit)
        with start(home, TALLYGATE_PROJECT_DIR=str(project)) as server:
            assert len(server.greet().tools()) == 11
            assert os.getpgid(server.process.pid) == os.getpgid(0), "what the client started is where it started it"
            assert server.pid == server.process.pid, "and serves nobody itself"
            assert served_by(servers).isdisjoint({standing, server.process.pid})
            server.request("tools/call", {"name": "tallygate_hook", "arguments": {**TOOL, "session_id": name}})
            assert server.close() == 0
        lines = wait_for(lambda file=project / ".l6e" / "runs.jsonl": file.exists() and file.read_text(), "its log")
        found[name] = json.loads(lines)["policy"]["budget"]
    assert found == {"one": 3, "other": 4}
    wait_for(lambda: handover.residents(str(servers)) == [(standing, 0)], "both have ended behind")


@pytest.mark.slow
def test_a_client_goes_on_when_its_server_and_when_the_resident_is_killed(home, servers, standing):
    with start(home) as server:
        session = server.greet().call("l6e_run_start", budget_usd=1, model="gpt-5")["session_id"]
        for whom in ("server", "resident", "server"):
            victims = served_by(servers) if whom == "server" else {standing}
            gone = [os.pidfd_open(pid) for pid in victims]
            for pid in victims:
                os.kill(pid, signal.SIGKILL)
            for handle in gone:
                wait_for_end(handle)
            answer = ask(server, "l6e_authorize_call", session_id=session, tool_name="t", model="gpt-5")
            assert answer["action"] == "allow", "without another greeting"
        assert ask(server, "l6e_run_end", session_id=session)["calls_made"] == 3
        assert len(server.tools()) == 11
        assert server.close() == 0
    wait_for(lambda: handover.residents(str(servers)), "the server that was left had another one stand by")


@pytest.mark.slow
@pytest.mark.parametrize("told", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_what_the_client_started_leaves_at_once_and_the_rest_is_done_behind_it(home, servers, standing, told):
    project = project_in(home, "project", 5)
    server = start(home, TALLYGATE_PROJECT_DIR=str(project))
    server.greet().tools()
    server.request("tools/call", {"name": "tallygate_hook", "arguments": TOOL})
    (serving,) = served_by(servers)
    handle = os.pidfd_open(serving)
    os.kill(serving, signal.SIGSTOP)  # so busy that it can do nothing
    server.process.send_signal(told)
    assert server.process.wait(300) == (0 if told != signal.SIGKILL else -signal.SIGKILL)
    assert not (project / ".l6e" / "runs.jsonl").exists()
    os.kill(serving, signal.SIGCONT)
    assert server.process.stdout.read() == b"", "nobody holds the client's pipe any more"
    wait_for_end(handle)
    server.process.stdin.close()
    server.process.stdout.close()
    (line,) = (project / ".l6e" / "runs.jsonl").read_text().splitlines()
    assert json.loads(line)["end_cause"] == "client_gone"
    assert [file.suffix for file in sorted(servers.iterdir())] == [".lock", ".sock"]


@pytest.mark.slow
def test_what_is_no_front_disturbs_nobody_and_never_means_that_nobody_stands_by(home, servers, standing):
    (place,) = servers.glob("*.sock")
    for said in (b"", b"x", handover.GREETING + b"9" * 100):
        with socket.socket(socket.AF_UNIX) as link:
            link.connect(str(place))
            link.sendall(said)
    silent = socket.socket(socket.AF_UNIX)
    silent.connect(str(place))
    with start(home) as server:
        assert len(server.greet().tools()) == 11
        assert server.pid == server.process.pid
        assert server.close() == 0
    silent.close()
    handle = os.pidfd_open(standing)
    with start(home, TALLYGATE_RESIDENT="never") as server:
        assert len(server.greet().tools()) == 11
        assert server.pid != server.process.pid, "its own server"
        server.call("list_models")
        assert server.close() == 0
    assert not list(servers.glob("*.sock"))
    with socket.socket(socket.AF_UNIX) as link, pytest.raises(OSError):
        link.connect(str(place))
    os.kill(standing, signal.SIGTERM)
    wait_for_end(handle)


# --- who is served ----------------------------------------------------------------------------------------------------


@pytest.fixture
def piped(monkeypatch):
    monkeypatch.setattr(handover, "_is_piped", lambda: True)
    monkeypatch.setattr(handover.sys, "warnoptions", [])


@pytest.mark.parametrize(
    ("environ", "likes"),
    [
        ({}, True),
        ({"CI": "true"}, False),
        ({"CI": "1"}, False),
        ({"CI": "false"}, True),
        ({"TALLYGATE_RESIDENT": "never"}, False),
        ({"TALLYGATE_RESIDENT": "auto"}, True),
        ({"PYTHONPATH": "/x"}, False),  # another interpreter than the resident's
        ({"LD_PRELOAD": "/x.so"}, False),
        ({"GLIBC_TUNABLES": "x"}, False),
    ],
)
def test_a_server_that_is_started_otherwise_than_the_resident_serves_by_itself(piped, environ, likes):
    assert handover.likes_residents(environ) == likes


def test_a_server_without_a_pipe_serves_by_itself(monkeypatch):
    monkeypatch.setattr(handover.os, "fstat", lambda end: Path(os.devnull).stat())
    assert not handover.likes_residents({})


@pytest.mark.parametrize(
    ("mode", "above", "trusted"),
    [(0o700, 0o700, True), (0o700, 0o755, True), (0o750, 0o700, False), (0o701, 0o700, False), (0o700, 0o770, False)],
)
def test_a_folder_that_others_can_write_or_look_into_is_asked_for_no_resident(tmp_path, mode, above, trusted):
    folder = tmp_path / "data" / "servers"
    folder.mkdir(parents=True)
    folder.chmod(mode)
    folder.parent.chmod(above)
    opened = handover.own_folder(str(folder))
    assert (opened is not None) == trusted
    if opened is not None:
        os.close(opened)


def test_a_folder_behind_a_link_or_of_another_user_is_asked_for_no_resident(tmp_path, monkeypatch):
    folder = tmp_path / "servers"
    folder.mkdir(mode=0o700)
    tmp_path.chmod(0o700)
    (tmp_path / "link").symlink_to(folder)
    assert handover.own_folder(str(tmp_path / "link")) is None
    monkeypatch.setattr(handover.os, "getuid", lambda: os.geteuid() + 1)
    assert handover.own_folder(str(folder)) is None


def test_the_socket_of_another_user_is_not_spoken_to(tmp_path, monkeypatch):
    tmp_path.chmod(0o700)
    folder = tmp_path / "servers"
    folder.mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX) as listener:
        monkeypatch.chdir(folder)
        listener.bind(f"{handover.name_of()}.sock")
        listener.listen()
        link = handover.reached(str(folder))
        assert link is not None
        link.close()
        monkeypatch.setattr(handover, "peer_of", lambda _: (1, os.getuid() + 1))
        assert handover.reached(str(folder)) is None


def test_where_no_unix_socket_can_be_made_a_server_serves_by_itself(tmp_path, monkeypatch):
    import _socket

    def forbidden(*_):
        raise PermissionError

    tmp_path.chmod(0o700)
    folder = tmp_path / "servers"
    folder.mkdir(mode=0o700)
    monkeypatch.setattr(_socket, "socket", forbidden)
    assert handover.reached(str(folder)) is None


@pytest.mark.parametrize("changed", ["Uid:", "Groups:", "Seccomp:", "CapEff:"])
def test_a_process_with_other_rights_has_another_socket(monkeypatch, tmp_path, changed):
    own = handover.name_of()
    told = Path("/proc/self/status").read_text()
    other = tmp_path / "status"
    other.write_text("".join(f"{line}9\n" if line.startswith(changed) else f"{line}\n" for line in told.splitlines()))
    seen = {"/proc/self/status": other}
    monkeypatch.setattr(handover, "open", lambda file, *_: seen.get(file, Path(file)).open("rb"), raising=False)
    assert own is not None
    assert handover.name_of() not in (own, None)


def test_a_process_in_a_sandbox_has_no_resident(monkeypatch, tmp_path):
    confined = tmp_path / "status"
    confined.write_text(Path("/proc/self/status").read_text().replace("NoNewPrivs:\t0", "NoNewPrivs:\t1"))
    monkeypatch.setattr(handover, "open", lambda *_: confined.open("rb"), raising=False)
    assert handover.name_of() is None


def test_a_version_and_a_place_of_the_program_have_a_socket_of_their_own(monkeypatch):
    names = {handover.name_of()}
    for name, value in (("__version__", "0"), ("__file__", "/elsewhere/entrypoints/handover.py")):
        with monkeypatch.context() as patch:
            patch.setattr(handover, name, value)
            names.add(handover.name_of())
    assert len(names) == 3


def test_a_resident_whose_code_was_replaced_or_whose_socket_was_taken_away_takes_nobody(tmp_path, monkeypatch):
    code, place = tmp_path / "code.py", tmp_path / "r.sock"
    code.write_text("before")
    monkeypatch.setattr(resident, "_files", lambda: {"tallygate.x": str(code)})
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(place))
        made = resident.Resident(listener, str(place))
        assert not made._is_stale()
        folders, began = resident._folders(), tmp_path.stat().st_mtime_ns
        os.utime(tmp_path, ns=(1, 1))  # another file was put beside it: who waits for a client sees that, too
        assert made._is_stale()
        os.utime(tmp_path, ns=(began, began))
        assert not made._is_stale()
        before = code.stat().st_mtime_ns
        os.utime(code, ns=(1, 1))  # written over where it is
        assert made._is_stale()
        os.utime(code, ns=(before, before))
        code.unlink()
        (tmp_path / "code.py").write_text("after, and longer")
        os.utime(tmp_path, ns=(1, 1))
        assert made._is_stale()
        assert resident._folders() != folders
    place.unlink()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(place))
        made = resident.Resident(listener, str(place))
        place.unlink()
        assert made._is_stale()


@pytest.mark.parametrize("data", [b"", b"3:ab.", b"3:abcd", b"x:abc.", b"99999999999999999999999:a.", b"-1:a."])
def test_a_message_that_is_not_whole_is_none(data):
    with pytest.raises(ValueError):
        handover.unpacked(data)


def test_what_is_packed_is_unpacked():
    parts = [b"", b"a.b:c", b"\0\xff", b"." * 1000]
    assert handover.unpacked(handover.packed(parts)) == parts
