"""Which servers are believed to live, also in a home that several machines share."""

from __future__ import annotations

import os
import subprocess

import pytest

from tallygate import machine
from tallygate.entrypoints import hook
from tallygate.ledger import presence
from tallygate.ledger.presence import DAY_S, STARTS_S, ServerPresence
from tallygate.ledger.sqlite.files import FileLock

SERVER, OTHER = "aa" * 16, "bb" * 16
HERE = "one 11111111"


@pytest.fixture
def servers(tmp_path, monkeypatch):
    monkeypatch.setattr(presence, "whereabouts", lambda: HERE)
    return ServerPresence(tmp_path / "servers")


def left_by(servers: ServerPresence, place: str) -> None:
    """The file of a server that holds no lock any more, or whose lock is not seen here."""
    servers._make_folders()
    lock = FileLock(servers._path(SERVER), timeout_ms=0, more=place)
    with lock:
        pass
    lock.close()
    servers.hook_file(SERVER).write_text("1 t 1\n")


@pytest.mark.parametrize(
    ("place", "lives"),
    [
        ("", False),
        ("one 11111111\n", False),
        ("two 11111111\n", False),
        ("one 22222222\n", False),
        ("two 22222222\n", True),
        ("two -\n", False),
        ("nonsense\n", False),
    ],
    ids=["an older version", "here", "a container here", "before the start", "another machine", "unknown", "damaged"],
)
def test_a_server_without_a_lock_lives_only_where_this_machine_cannot_see_it(servers, place, lives):
    left_by(servers, place)
    assert servers.is_alive(SERVER) == lives
    servers.sweep()
    assert servers.hook_file(SERVER).exists() == lives


def test_another_machines_server_is_believed_for_a_day(servers):
    left_by(servers, "two 22222222\n")
    servers.announce(OTHER)
    assert servers.is_alive(SERVER)
    path = servers._path(SERVER)
    began = path.stat().st_mtime - DAY_S - 1
    os.utime(path, (began, began))
    assert not servers.is_alive(SERVER)
    servers.leave()


@pytest.mark.parametrize(
    ("age_s", "has_lived", "stays"),
    [(0, False, True), (STARTS_S - 1, False, True), (STARTS_S + 1, False, False), (0, True, False)],
)
def test_a_server_that_is_only_starting_is_not_tidied_away(servers, age_s, has_lived, stays):
    servers.announce(OTHER)
    if has_lived:
        left_by(servers, "")
    servers.hook_file(SERVER).write_text("1 t 1\n")
    half = servers.hook_file(SERVER).with_suffix(".hook.new")
    half.write_text("1 t")
    said = servers._path(OTHER).stat().st_mtime - age_s
    os.utime(servers.hook_file(SERVER), (said, said))
    servers.sweep()
    assert servers.hook_file(SERVER).exists() is half.exists() is stays
    servers.leave()


@pytest.mark.parametrize(
    ("token", "host", "stays"),
    [
        ("t.{gone}", "", False),
        ("t.{runs}", "", True),
        ("t", "", True),
        ("t.", "", True),
        ("t.x", "", True),
        ("t.{gone}", "another", True),
        (f"t.{10**30}", "", False),
    ],
)
def test_what_a_server_left_that_died_in_its_start_is_tidied_away_at_the_next(servers, token, host, stays):
    name, boot = machine.here()
    servers.announce(OTHER)
    token = token.format(gone=ended(), runs=os.getpid())
    servers.hook_file(SERVER).write_text(f"1 {token} 1 {host or name} {boot}\n")
    servers.sweep()
    assert servers.hook_file(SERVER).exists() is stays
    servers.leave()


def ended() -> int:
    """The number of a process that is no more."""
    with subprocess.Popen(["true"]) as process:
        process.wait()
    return process.pid


def test_a_server_that_runs_here_is_seen(tmp_path):
    one, two = (ServerPresence(tmp_path / "servers") for _ in range(2))
    one.announce(SERVER)
    assert two.is_alive(SERVER)
    assert (tmp_path / "servers" / f"{SERVER}.alive").read_text()[12:].split() == machine.whereabouts().split()
    one.leave()
    assert not two.is_alive(SERVER)


def test_hooks_and_servers_name_this_machine_alike():
    assert tuple(hook.here()) == machine.here()


@pytest.mark.parametrize(
    ("words", "is_asked"),
    [
        ("", True),
        (" {here}", True),
        (" elsewhere {boot}", False),
        (" {host} 22222222", False),
        (" {here} more", False),
    ],
)
def test_a_hook_asks_servers_of_its_own_machine_alone(tmp_path, words, is_asked):
    host, boot = machine.here()
    line = f"4711 token 42{words.format(here=f'{host} {boot}', host=host, boot=boot)}\n"
    (tmp_path / f"{SERVER}.hook").write_text(line)
    asked = hook._servers(b"/work", str(tmp_path))
    assert [port for port, *_ in asked] == ([4711] if is_asked else [])
    assert ServerPresence(tmp_path).started_by({42}) == ((SERVER,) if is_asked else ())
