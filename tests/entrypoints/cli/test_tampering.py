"""What an agent may try against the gate's own things, what becomes of this session and the next, and who sees it.

The table is that of docs/enforcement.md. Each row is tried twice: as the plain tool that an agent would take, and then
done all the same, as a program does that the fence does not see.
"""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import sqlite3
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest
from tests.docs.pages import ROOT
from tests.transcripts import claude, claude_file, lines
from tests.world import the_user

from tallygate.app import compose, go_by, settings_here
from tallygate.entrypoints.cli import client_checks
from tallygate.entrypoints.cli.check import Check, CheckState
from tallygate.entrypoints.hook_dispatcher import answer_alone
from tallygate.operations.budgets.change import raise_budget

SESSION, DAY = (
    '[[budget]]\nscope = "session"\nlimit_usd = {}\n',
    '[[budget]]\nscope = "user"\nperiod = "day"\nlimit_usd = {}\n',
)
USER = SESSION.format(1) + DAY.format("1.70")
LOOSE = SESSION.format(100) + DAY.format(500)
FREE = '[[price]]\nmatch = "*"\ninput = 0\noutput = 0\n'
NOTHING = {"input_tokens": 0, "cache_read_input_tokens": 0, "cache_creation_input_tokens": 0}
OUTPUT = 10_000  # at 25 dollars a million tokens: a quarter of a dollar
# Of four calls in a session and six in a day; three are made before anything is tried.
THIS, NEXT, ALL = 1, 2, 8


class Agent:
    """Claude Code with an agent in it, as its hooks and its transcripts show it."""

    def __init__(self, home: Path, monkeypatch, run) -> None:
        self.home, self.project, self.run = home, home / "shop", run
        self.session, self.why, self.count, self.output, self.hooked = "", "", 0, OUTPUT, True
        self.environ: dict[str, str] = {}
        self.places: Path | None = None
        self._set = monkeypatch

    def hook(self, event: str, **more) -> dict:
        """One hook as `init` has installed it: by the places of that time, in the environment of its client."""
        said = {"hook_event_name": event, "session_id": self.session, "cwd": str(self.project), **more}
        out, before = io.StringIO(), dict(os.environ)
        with self._set.context() as here:
            here.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(json.dumps(said).encode())))
            here.setattr(sys, "stdout", out)
            here.chdir(self.project)
            os.environ.update(self.environ)
            try:
                start = go_by(self.places or self.home / ".local/share/tallygate/init/places.conf")
                settings = partial(settings_here, start=start)
                answer_alone(lambda: compose(settings().sound(), by="hook", start=start), "claude-code", event)
            finally:
                os.environ.clear()
                os.environ.update(before)
        return json.loads(out.getvalue() or "{}")

    def begin(self, session: str) -> str:
        self.session = session
        return str(self.hook("SessionStart", source="startup").get("systemMessage", "")) if self.hooked else ""

    def work(self, calls: int = ALL) -> int:
        """Go on until it is stopped: how many calls were made."""
        for made in range(calls):
            self.count += 1
            said = self.hook("UserPromptSubmit", prompt_id=f"p{self.count}", prompt="go on") if self.hooked else {}
            if said.get("decision") == "block":
                self.why = str(said["reason"])
                return made
            self.respond(self.output)
        return calls

    def respond(self, output: int) -> None:
        row = claude(self.count, session=self.session, output=output, at=datetime.now(UTC), usage=NOTHING)
        with claude_file(self.home, self.session).open("ab") as out:
            out.write(lines([row | {"cwd": str(self.project)}]))

    def server(self) -> None:
        """Start what the client would start: a server makes the ledger where there never was one."""
        with closing(compose(settings_here(), by="mcp")) as app:
            _ = app.ledger

    def refused(self, tool: str, given: dict[str, str]) -> bool:
        self.count += 1
        said = self.hook("PreToolUse", tool_name=tool, tool_use_id=f"t{self.count}", tool_input=given)
        return said.get("hookSpecificOutput", {}).get("permissionDecision") == "deny"

    def write(self, name: str, text: str) -> None:
        (self.home / name).write_text(text)

    def sql(self, statement: str) -> None:
        with closing(sqlite3.connect(self.home / LEDGER, isolation_level=None)) as connection:
            connection.execute(statement)

    def remove(self, *patterns: str) -> None:
        for path in [path for pattern in patterns for path in self.home.glob(pattern)]:
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    def settings(self, **changes: object) -> None:
        file = self.home / ".claude" / "settings.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


@pytest.fixture
def agent(home, run, monkeypatch) -> Agent:
    (home / ".config" / "tallygate").mkdir(parents=True)
    (home / ".config" / "tallygate" / "config.toml").write_text(USER)
    for name in (".git", ".l6e"):
        (home / "shop" / name).mkdir(parents=True)
    assert run("init", "--client", "claude-code").exit_code == 0
    # A server is started in test_client_checks.py; here it would be most of the time.
    monkeypatch.setattr(client_checks, "server", lambda *_: Check("server", CheckState.OK, "not asked"))
    return Agent(home, monkeypatch, run)


LEDGER, KEYS = ".local/share/tallygate/ledger.db", ".local/share/tallygate/keys"
CONFIG, PROJECT, SETTINGS = ".config/tallygate/config.toml", "shop/.l6e/config.toml", ".claude/settings.json"
ANCHORS = (f"{KEYS}/anchors", ".config/tallygate/anchors")


def raised(agent: Agent) -> None:
    """By the code itself, as no command would do it for an agent."""
    with closing(compose(settings_here(), by="cli")) as app:
        with app.ledger.reading() as reader:
            (session,) = reader.sessions(state="open", limit=9)
        raise_budget(app.runtime, session.session_id, 100 * 10**9, reason="x", authority=the_user("me"))


def older(agent: Agent) -> None:
    agent.remove(f"{LEDGER}*")
    shutil.copy(agent.home / "older.db", agent.home / LEDGER)


def told_again(agent: Agent) -> None:
    """The rows of the session once more, with less and of a model that costs nothing."""
    file = claude_file(agent.home, "s1")
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    for row in rows:
        row["message"] |= {"model": "ollama/foo", "usage": {**NOTHING, "output_tokens": OUTPUT + 1}}
    with file.open("ab") as out:
        out.write(lines(rows))


def run_log(agent: Agent) -> None:
    agent.hook("SessionEnd", reason="other")
    file = agent.project / ".l6e" / "runs.jsonl"
    line = json.loads(file.read_text())
    file.write_text(json.dumps(line | {"total_cost_usd": 0.01}) + "\n")


def events(agent: Agent) -> None:
    with pytest.raises(sqlite3.IntegrityError, match="never"):
        agent.sql("DELETE FROM event WHERE seq > 2")


def uninstalled_elsewhere(agent: Agent) -> None:
    other = str(agent.home / "other")
    before = (agent.home / SETTINGS).read_bytes()
    with pytest.MonkeyPatch.context() as here:
        for name, value in (("TALLYGATE_HOME", other), ("XDG_DATA_HOME", other), ("CLAUDECODE", "1")):
            here.setenv(name, value)
        assert agent.run("uninstall").exit_code == 7
        assert agent.run("init", "--client", "claude-code").exit_code == 7
    assert (agent.home / SETTINGS).read_bytes() == before


def ungated(agent: Agent) -> None:
    agent.hooked = False


def bash(command: str) -> tuple[str, dict[str, str]]:
    return "Bash", {"command": command}


def write(file: str, text: str) -> tuple[str, dict[str, str]]:
    return "Write", {"file_path": f"~/{file}", "content": text}


@dataclass(frozen=True)
class Row:
    """One try: the plain tool, whether that is refused, what is done then, and what becomes of it."""

    tool: tuple[str, dict[str, str]] | None
    refused: bool
    do: Callable[[Agent], object]
    this: str
    next: str
    seen: str = ""


PLAIN = "held", "held"
PASSES, HALTS = ("passes", "passes"), ("halts", "halts")
# what is tried: the plain tool, whether it is refused, what is done all the same, this session and the next, where seen
ROWS = {
    "a higher limit in the project's settings": Row(
        write(PROJECT, SESSION.format(100)), False, lambda a: a.write(PROJECT, SESSION.format(100)),
        *PLAIN, "SessionStart, doctor settings, status"),
    "a price of nothing in the project's settings": Row(
        write(PROJECT, FREE), False, lambda a: a.write(PROJECT, FREE), *PLAIN, "SessionStart, doctor settings, status"),
    "a project's settings that cannot be read": Row(
        write(PROJECT, "no ["), False, lambda a: a.write(PROJECT, "no ["), *HALTS,
        "SessionStart, doctor settings, status"),
    "higher limits in your settings": Row(
        bash(f"sed -i s/1/100/ ~/{CONFIG}"), True, lambda a: a.write(CONFIG, LOOSE), "held", "passes",
        "SessionStart, status"),
    "a price of nothing in your settings": Row(
        write(CONFIG, USER + FREE), True, lambda a: a.write(CONFIG, USER + FREE), "held", "passes",
        "SessionStart, status"),
    "your settings removed": Row(
        bash(f"rm ~/{CONFIG}"), True, lambda a: a.remove(CONFIG), *HALTS,
        "SessionStart, doctor places, status"),
    "other places in the environment of the client": Row(
        None, False, lambda a: a.environ.update(TALLYGATE_DB=str(a.home / "o.db"), TALLYGATE_CONFIG="/x", HOME="/x"),
        *PLAIN, "SessionStart"),
    "a raise by a program that calls the code": Row(
        bash("tallygate budget raise s1 100"), True, raised, "passes", "held", "doctor limits"),
    "the hooks taken out of the client's settings": Row(
        write(SETTINGS, "{}"), True, lambda a: (a.settings(hooks={}), ungated(a)), *PASSES, "doctor claude-code"),
    "all hooks switched off in the client's settings": Row(
        bash(f"""echo '{{"disableAllHooks": true}}' > ~/{SETTINGS}"""), True,
        lambda a: (a.settings(disableAllHooks=True), ungated(a)), *PASSES, "doctor claude-code"),
    "the server taken out of the client's settings": Row(
        write(".claude.json", "{}"), True, lambda a: a.write(".claude.json", "{}"), *PLAIN, "doctor claude-code"),
    "`tallygate uninstall`": Row(
        bash("tallygate uninstall"), True, lambda a: (a.run("uninstall"), ungated(a)), *PASSES, "doctor enforcement"),
    "`tallygate uninstall` with another ledger's variables, by an agent": Row(
        bash("TALLYGATE_HOME=/tmp/x XDG_DATA_HOME=/tmp/x tallygate uninstall"), True, uninstalled_elsewhere, *PLAIN),
    "the ledger removed": Row(
        bash(f"rm ~/{LEDGER}"), True, lambda a: a.remove(f"{LEDGER}*"), *HALTS,
        "SessionStart, doctor ledger, status, verify 5"),
    "the folder of the ledger removed": Row(
        bash("rm -rf ~/.local/share/tallygate"), True, lambda a: a.remove(".local/share/tallygate"), *HALTS,
        "SessionStart, doctor ledger, status, verify 5"),
    "the ledger removed with both anchors": Row(
        bash(f"rm -r ~/{ANCHORS[0]}"), True, lambda a: (a.remove(f"{LEDGER}*", *ANCHORS), a.server()), "passes", "held",
        "doctor enforcement"),
    "an older copy of the ledger put back": Row(
        bash(f"cp older.db ~/{LEDGER}"), True, older, *HALTS, "SessionStart, doctor ledger, status, verify 14"),
    "the anchors removed": Row(bash(f"rm -r ~/{ANCHORS[0]}"), True, lambda a: a.remove(*ANCHORS), *PLAIN),
    "a limit raised by SQL": Row(
        bash(f"sqlite3 ~/{LEDGER} 'UPDATE budget SET limit_nanos = 9'"), True,
        lambda a: a.sql("UPDATE budget SET limit_nanos = limit_nanos * 1000"), *PASSES, "doctor chain, verify 13"),
    "what was spent set to nothing by SQL": Row(
        bash(f"sqlite3 ~/{LEDGER} 'UPDATE budget SET spent_nanos = 0'"), True,
        lambda a: a.sql("UPDATE budget SET spent_nanos = 0, reserved_nanos = 0"), "passes", "held",
        "doctor chain, verify 13"),
    "events deleted by SQL": Row(bash(f"sqlite3 ~/{LEDGER} 'DELETE FROM event'"), True, events, *PLAIN),
    'the ledger damaged, and `on_fault = "allow"` in your settings': Row(
        bash(f"echo > ~/{LEDGER}"), True,
        lambda a: (a.write(LEDGER, "x" * 9999), a.write(CONFIG, USER + '[policy]\non_fault = "allow"\n')), *PASSES,
        "SessionStart, doctor ledger, status, verify 5"),
    "a line of the run log edited": Row(
        bash("sed -i s/1/0/ ~/shop/.l6e/runs.jsonl"), True, run_log, *PLAIN, "doctor run log, verify 17"),
    "responses told of again, with less": Row(
        bash("echo '{}' >> ~/.claude/projects/-home-me-project/s1.jsonl"), False, told_again, *PLAIN,
        "doctor booked, verify 0"),
    "the transcripts removed after they were read": Row(
        bash("rm -rf ~/.claude/projects"), False, lambda a: (a.hook("Stop"), a.remove(".claude/projects")), *PLAIN),
    "transcripts written before they are read": Row(None, False, lambda a: setattr(a, "output", 0), *PLAIN),
    "usage invented to burn a budget": Row(None, False, lambda a: a.respond(OUTPUT * 100), *PLAIN),
    "a client with another home, from a script": Row(
        bash("HOME=$PWD/h claude -p go"), True, lambda a: (setattr(a, "home", a.home / "h"), ungated(a)), *PASSES),
}  # fmt: skip


def verdict(agent: Agent, held: int) -> str:
    """What becomes of the work from here on, beside how many calls a sound gate would let through."""
    made = agent.work()
    return "passes" if made > held else "halts" if "cannot be counted" in agent.why else "held"


def seen(agent: Agent, greeting: str) -> set[str]:
    """Where a user is told of it without being asked to look closer."""
    checks = json.loads(agent.run("doctor", json_=True).stdout)["checks"]
    told = {
        f"doctor {check['check']}"
        for check in checks
        if check["state"] != "ok" or "raised from" in check["found"] or "nothing is installed" in check["found"]
    }
    status, verify = agent.run("status"), agent.run("verify")
    if greeting.partition("checked by hooks.")[2] or (greeting and "checked by hooks" not in greeting):
        told.add("SessionStart")
    if status.exit_code or re.search("became looser|wait for your yes|not valid TOML", status.output):
        told.add("status")
    if verify.exit_code or "note: " in verify.output:
        told.add(f"verify {verify.exit_code}")
    return told


@pytest.mark.parametrize("name", ROWS)
def test_what_is_tried_is_refused_held_or_seen(agent, monkeypatch, name):
    row = ROWS[name]
    agent.begin("s1")
    assert agent.work(2) == 2
    assert agent.run("backup", str(agent.home / "older.db")).exit_code == 0
    assert agent.work(1) == 1
    refused = False
    if row.tool is not None:
        tool, given = row.tool
        refused = agent.refused(tool, {key: text.replace("~", str(agent.home)) for key, text in given.items()})
    row.do(agent)
    this = verdict(agent, THIS)
    greeting = agent.begin("s2")
    then = verdict(agent, NEXT)
    monkeypatch.chdir(agent.project)
    found = (refused, this, then, ", ".join(sorted(seen(agent, greeting))))
    assert found == (row.refused, row.this, row.next, row.seen)


def test_the_page_has_the_table():
    _, _, text = (ROOT / "docs" / "enforcement.md").read_text(encoding="utf-8").partition("## Tampering")
    table = [
        [cell.strip() for cell in line.strip("| ").split(" | ")]
        for line in text.partition("\n## ")[0].splitlines()
        if line.startswith("| ")
    ][1:]
    told = {True: "refused", False: "runs"}
    assert [line[:5] for line in table] == [
        [name, told[row.refused] if row.tool else "-", row.this, row.next, row.seen or "-"]
        for name, row in ROWS.items()
    ]
    assert [line[0] for line in table if "passes" in line[2:4] and len(line[5]) < 20] == [], "each says why"


def test_what_was_gated_before_a_ledger_was_lost_and_accepted_is_not_called_ungated(agent):
    agent.begin("s1")
    agent.work(2)
    agent.remove(f"{LEDGER}*")
    assert agent.run("ledger", "accept", "--reason", "lost").exit_code == 0
    agent.begin("s2")
    agent.work(1)
    assert "no session gated" not in agent.run("doctor").output
