"""What differs from system to system. The branches of macOS are forced here, on Linux; on a Mac none has been run."""

from __future__ import annotations

import os
import pwd
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from tallygate import __main__, machine
from tallygate.clients import ancestry, other_end
from tallygate.entrypoints import hook
from tallygate.entrypoints.cli import whose
from tallygate.ledger.sqlite import database

LISTED = """\
    1     0 /sbin/launchd
  310     1 /Applications/iTerm.app/Contents/MacOS/iTerm2
  402   310 -zsh
  517   402 node /opt/homebrew/bin/codex exec tidy up
  604   517 /bin/zsh -lc tallygate budget list
"""


@pytest.fixture
def mac(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")


def test_on_windows_the_program_says_where_it_runs(monkeypatch):
    monkeypatch.setattr(sys, "platform", "win32")
    with pytest.raises(SystemExit, match=r"runs on Linux and macOS\. On Windows run it, and the clients, inside WSL"):
        __main__.main()


def test_without_proc_the_processes_above_are_read_from_the_system_s_list(mac, monkeypatch):
    monkeypatch.setattr(ancestry, "Path", lambda _: SimpleNamespace(is_dir=lambda: False))
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: SimpleNamespace(stdout=LISTED))
    assert [each.pid for each in ancestry.ancestors(604)] == [604, 517, 402, 310, 1]
    assert ancestry.beneath(ancestry.ancestors(604), {}) == "Codex (process 517)"


def test_the_system_s_list_and_proc_tell_the_same_of_a_process():
    listed, read = ancestry._from_ps()(os.getpid()), ancestry._from_proc(os.getpid())
    assert listed is not None
    assert read is not None
    assert (listed[0].pid, listed[1]) == (read[0].pid, read[1])
    assert " ".join(listed[0].words) == " ".join(" ".join(read[0].words).split())


def test_a_system_that_shows_no_process_tells_of_no_agent(monkeypatch):
    monkeypatch.setattr(sys, "platform", "freebsd")
    monkeypatch.setattr(ancestry, "Path", lambda _: SimpleNamespace(is_dir=lambda: False))
    assert list(ancestry.ancestors(os.getppid())) == []


def test_a_mac_is_no_machine_that_shares_a_home_and_a_flush_reaches_the_disk(mac):
    assert machine.machine.__wrapped__() == machine.UNKNOWN
    assert "fullfsync = ON" in database._pragmas("full")
    assert other_end.other_end(0, os.getppid()) is None


def test_a_mac_keeps_a_user_s_things_in_the_library(mac, monkeypatch):
    home = Path(pwd.getpwuid(os.getuid()).pw_dir)
    library = home / "Library" / "Application Support" / "tallygate"
    assert (whose.own_places().config_dir, whose.own_places().data_dir) == (library, library)
    for name in ("TALLYGATE_DB", "L6E_SESSION_DB_PATH", "TALLYGATE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(home))
    assert hook.servers_folder() == str(library / "servers")
