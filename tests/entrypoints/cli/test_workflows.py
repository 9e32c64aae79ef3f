"""Honest ways to work, each through a day without a false stop; docs/guides/workflows.md tells them."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path

import pytest
from tests.docs.pages import ROOT
from tests.entrypoints.cli.test_tampering import LEDGER, SESSION, Agent
from tests.repositories import repository, worktree

from tallygate import machine
from tallygate.entrypoints.cli import client_checks
from tallygate.entrypoints.cli.check import Check, CheckState
from tallygate.ledger import anchor
from tallygate.settings.installed import install_folder

BUDGET = SESSION.format(5)
TOLD = [
    "CI", "Cron", "Dotfiles", "A team's settings", "Worktrees", "A restored backup", "A ledger that moves",
    "A home that hosts share", "Containers",
]  # fmt: skip


class Day(Agent):
    """A user who works through a day, where each step has to be let through."""

    def works(self, session: str, calls: int = 2) -> str:
        self.why = ""
        greeting = self.begin(session)
        assert self.work(calls) == calls, self.why
        return greeting

    def says(self, *words: str, code: int = 0) -> str:
        done = self.run(*words)
        assert done.exit_code == code, done.output
        return done.output

    def sound(self) -> None:
        """Nothing to complain of: by the checks, by the chain, by the last run."""
        checks = json.loads(self.run("doctor", json_=True).stdout)["checks"]
        assert [check for check in checks if check["state"] != "ok"] == []
        self.says("verify")
        self.says("status", "--exit-code")


@pytest.fixture
def day(home, run, monkeypatch) -> Day:
    (home / ".config" / "tallygate").mkdir(parents=True)
    (home / ".config" / "tallygate" / "config.toml").write_text(BUDGET)
    repository(home / "shop")
    (home / "shop" / ".l6e").mkdir()
    monkeypatch.setattr(client_checks, "server", lambda *_: Check("server", CheckState.OK, "not asked"))
    monkeypatch.chdir(home / "shop")
    return Day(home, monkeypatch, run)


def at_home(day: Day, monkeypatch, home: Path) -> None:
    """Go on in another home, as another machine has it."""
    for name, value in dict(os.environ).items():
        if value.startswith(str(day.home)):
            monkeypatch.setenv(name, str(home) + value.removeprefix(str(day.home)))
    repository(home / "shop")
    (home / "shop" / ".l6e").mkdir()
    monkeypatch.chdir(home / "shop")
    day.home, day.project = home, home / "shop"


def test_ci_with_keys_that_are_injected_and_a_fresh_home_each_time(day, monkeypatch):
    day.says("init", "--client", "claude-code")
    day.works("at-home")
    day.hook("SessionEnd", reason="other")
    day.says("sync")
    day.says("attest", "list")
    keys = day.home / ".local/share/tallygate/keys"
    secret = (keys / "signing-key.json").read_bytes()
    monkeypatch.setenv("CI", "true")
    for number in (1, 2):
        at_home(day, monkeypatch, day.home.with_name(f"{day.home.name}-job{number}"))
        own = day.home / ".local/share/tallygate"
        (own / "keys").mkdir(parents=True, mode=0o700)
        own.chmod(0o700)
        (own / "keys" / "signing-key.json").write_bytes(secret)
        (own / "keys" / "signing-key.json").chmod(0o600)
        (day.project / ".l6e" / "config.toml").write_text('[ladder]\ndefault = ["a", "b"]\n' + SESSION.format(3))
        day.says("trust", "--yes")
        day.says("init", "--client", "claude-code")
        assert "of $3.00 left" in day.works(f"job{number}")
        day.hook("SessionEnd", reason="other")
        day.sound()


def test_cron_with_next_to_no_environment(day, monkeypatch):
    day.says("init", "--client", "claude-code")
    day.works("s1")
    for name in [name for name in os.environ if name.startswith(("XDG_", "TALLYGATE_")) or name in ("USER", "TERM")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir("/")
    day.says("sync")
    assert "$0.50" in day.says("usage", "--by", "project", "--since", "7d")
    day.says("backup", str(day.home / "nightly.db"))
    (budget,) = json.loads(day.run("budget", "list", json_=True).stdout)["budgets"]
    day.says("budget", "raise", budget["budget_id"], "1", "--reason", "nightly")
    day.works("s1")
    day.says("verify")


@pytest.mark.parametrize("linked", [False, True], ids=["copied", "linked"])
def test_dotfiles_that_two_machines_share(day, monkeypatch, linked):
    dotfiles = day.home.with_name(f"{day.home.name}-dotfiles")
    dotfiles.mkdir()

    def share(folder: str, *names: str) -> None:
        for name in names:
            file = day.home / folder / name
            file.parent.mkdir(parents=True, exist_ok=True)
            if file.exists() and not (dotfiles / name).exists():
                shutil.move(file, dotfiles / name)
            file.unlink(missing_ok=True)
            file.symlink_to(dotfiles / name) if linked else shutil.copy(dotfiles / name, file)

    (day.home / ".claude").mkdir()
    (day.home / ".claude" / "settings.json").write_text("{}")
    share(".config/tallygate", "config.toml")
    share(".claude", "settings.json")
    day.says("init", "--client", "claude-code")
    day.works("s1")
    if not linked:
        shutil.copy(day.home / ".claude" / "settings.json", dotfiles / "settings.json")
    first, places = day.home, (day.home / ".local/share/tallygate/init/places.conf").read_text()
    at_home(day, monkeypatch, day.home.with_name(f"{day.home.name}-laptop"))
    share(".config/tallygate", "config.toml")
    share(".claude", "settings.json")
    day.begin("s2")
    assert day.work(1) == 0
    assert "tallygate init" in day.why, "the program's places are not here yet, and the stop names the way"
    day.says("init", "--client", "claude-code")
    day.works("s2")
    assert (first / ".local/share/tallygate/init/places.conf").read_text() == places, "each machine has its own"
    assert "anchors" not in {path.name for path in dotfiles.rglob("*")}


def test_a_team_that_commits_its_settings(day):
    day.says("init", "--client", "claude-code")
    file = day.project / ".l6e" / "config.toml"
    team = '[ladder]\ndefault = ["claude-opus-4-7", "claude-sonnet-4-6"]\n'
    file.write_text(SESSION.format(4) + team)
    assert "wait for your yes" in day.works("s1"), "the work goes on by the user's own settings"
    day.says("trust", "--yes")
    assert "wait" not in day.works("s2")
    file.write_text("# tighter since the holidays\r\n" + SESSION.format(2) + team)
    assert "of $2.00 left" in day.works("s3"), "tighter counts at once, and nothing waits again"
    day.says("trust", "--yes")
    day.hook("SessionEnd", reason="other")
    assert (day.project / ".l6e" / "runs.jsonl").exists()


def test_a_worktree_of_the_repository(day, monkeypatch):
    day.says("init", "--client", "claude-code")
    loose = '[ladder]\ndefault = ["a"]\n'
    (day.project / ".l6e" / "config.toml").write_text(loose)
    day.says("trust", "--yes")
    day.works("s1")
    tree = worktree(day.project, day.home / "trees" / "fix")
    (tree / ".l6e").mkdir()
    (tree / ".l6e" / "config.toml").write_text(loose)
    day.project = tree
    monkeypatch.chdir(tree)
    assert "wait" not in day.works("s2")
    day.sound()


def test_a_backup_that_is_restored(day):
    day.says("init", "--client", "claude-code")
    day.works("s1")
    day.hook("SessionEnd", reason="other")
    day.says("backup", str(day.home / "monday.db"))
    day.works("s2")
    day.hook("SessionEnd", reason="other")
    (day.home / LEDGER).write_bytes(b"bad disk")
    day.begin("s3")
    assert day.work(1) == 0, "until then nothing can be counted"
    day.says("restore", str(day.home / "monday.db"), "--reason", "bad disk")
    day.says("sync")
    day.works("s3")
    day.hook("SessionEnd", reason="other")
    assert "$1.50" in day.says("usage"), "what was spent since the backup is read again"
    day.sound()


def test_a_ledger_that_moves_to_another_disk(day):
    day.says("init", "--client", "claude-code")
    day.works("s1")
    disk = day.home / "disk"
    shutil.move(day.home / ".local/share/tallygate", disk)
    (day.home / ".config/tallygate/config.toml").write_text(f'[paths]\ndata_dir = "{disk}"\n{BUDGET}')
    day.says("init", "--client", "claude-code")
    day.places = disk / "init" / "places.conf"
    day.works("s1")
    day.works("s2")
    day.sound()


def another_machine(monkeypatch, name: str) -> None:
    monkeypatch.setattr(machine, "host_name", lambda: name)
    monkeypatch.setattr(machine, "boot", lambda: f"boot-of-{name}")
    monkeypatch.setattr(anchor, "machine", lambda: name.rjust(16, "0"))


def test_a_home_that_two_hosts_share(day, monkeypatch):
    day.says("init", "--client", "claude-code")
    for number, host in enumerate(("one", "two", "one", "two")):
        another_machine(monkeypatch, host)
        day.works(f"s{number}")
    day.sound()


def test_containers_that_share_a_mounted_data_folder(day, monkeypatch):
    volume = day.home / "volume"
    volume.mkdir(mode=0o700)
    monkeypatch.setenv("TALLYGATE_HOME", str(volume))
    image = day.home / ".config" / "tallygate" / "config.toml"
    for number in (1, 2, 3):
        another_machine(monkeypatch, f"container{number}")
        at_home(day, monkeypatch, day.home.with_name(f"{volume.parent.name}-container{number}"))
        monkeypatch.setenv("TALLYGATE_HOME", str(volume))
        (day.home / ".config" / "tallygate").mkdir(parents=True)
        shutil.copy(image, day.home / ".config" / "tallygate")
        day.says("init", "--client", "claude-code")
        day.places = install_folder(volume, day.home) / "places.conf"
        day.works(f"s{number}")
        day.hook("SessionEnd", reason="other")
        assert len(json.loads(day.run("sessions", "list", json_=True).stdout)["sessions"]) == number
        day.says("verify")
    day.sound()


def test_the_page_tells_each_of_them():
    titles = re.findall(r"^## (.+)$", (ROOT / "docs/guides/workflows.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert titles == TOLD
    tests = {name for name in globals() if name.startswith("test_")}
    assert len(tests) - 1 == len(TOLD)
