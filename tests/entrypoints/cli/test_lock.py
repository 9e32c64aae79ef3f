"""`tallygate lock` as a person meets it: the passphrase is typed at a terminal, and every command that loosens asks."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import anyio
import pytest
from mcp import Client
from tests.entrypoints.cli.conftest import Made
from tests.terminal import type_at
from tests.world import agent_variables

from tallygate.app import compose, settings_here
from tallygate.attest import sealed
from tallygate.core.authority import Loosening
from tallygate.core.errors import NoTerminal
from tallygate.entrypoints import runnable as own_command
from tallygate.entrypoints.cli import lock as lock_command
from tallygate.entrypoints.cli import passphrase, whose
from tallygate.entrypoints.hook_dispatcher import HookDispatcher
from tallygate.entrypoints.mcp_server.server import build_server
from tallygate.settings import UserPlaces

WORDS = "correct horse battery"
LINE = WORDS + "\n"


@pytest.fixture
def typed(monkeypatch):
    """What somebody types at the terminal of a command in this process; nobody is there until it is set."""
    lines: list[str] = []

    def ask(question):
        if not lines:
            raise NoTerminal("There is no terminal to type a passphrase at.")
        return lines.pop(0)

    monkeypatch.setattr(passphrase, "ask_hidden", ask)
    monkeypatch.setattr("tallygate.entrypoints.cli.lock.ask_shown", ask)
    monkeypatch.setattr(sealed, "MODERATE", sealed.Cost(1, 8192))
    return lines


@pytest.fixture
def locked(run, typed):
    typed[:] = [WORDS, WORDS]
    assert run("lock").exit_code == 0
    typed.clear()
    return typed


@pytest.fixture
def bare(environ, home):
    return {name: value for name, value in environ.items() if name not in agent_variables()}


def test_a_passphrase_is_typed_unseen_and_every_loosening_asks_for_it(bare, home):
    done = type_at(["lock"], [LINE, LINE], bare)
    assert done.code == 0, done.shown
    assert WORDS not in done.shown
    assert done.echoes
    wrong = type_at(["calibrate", "reset", "--yes"], ["something else\n"], bare, piped=LINE.encode())
    assert wrong.code == 1
    assert "not the passphrase of the lock; nothing was changed" in wrong.shown
    assert "tallygate unlock --lost" in wrong.shown
    broken_off = type_at(["unlock"], ["\x03"], bare)
    assert broken_off.code == 130
    assert broken_off.echoes
    right = type_at(["unlock"], [LINE], bare)
    assert (right.code, right.echoes) == (0, True)
    assert "Unlocked" in right.shown


def test_without_a_terminal_nothing_is_asked_and_a_pipe_is_never_read(bare, home):
    done = subprocess.run(
        [sys.executable, "-m", "tallygate", "lock"],
        env=bare,
        input=LINE + LINE,
        capture_output=True,
        text=True,
        start_new_session=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 7
    assert "no terminal" in done.stderr
    assert "interrupted" not in done.stderr


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        (["", ""], "at least 8"),
        (["short", "short"], "at least 8"),
        (["         ", "         "], "at least 8"),
        ([WORDS, WORDS + "x"], "not the same"),
    ],
)
def test_an_empty_or_short_passphrase_and_one_that_was_mistyped_lock_nothing(run, typed, lines, says):
    typed[:] = lines
    done = run("lock")
    assert done.exit_code == 2
    assert says in done.stderr
    typed.clear()
    assert "Nothing is locked" in run("unlock").stdout


def test_status_says_where_the_passphrase_is_typed_and_doctor_that_it_is_asked_for(run, run_json, locked):
    assert "type it only into /" in run("status").stdout
    assert run_json("status")["lock"]["locked"] is True
    assert "what loosens needs your passphrase" in run("doctor").stdout
    assert "locked" in run("verify").stdout


def test_a_second_lock_changes_nothing(run, locked):
    locked[:] = ["another passphrase", "another passphrase"]
    done = run("lock")
    assert done.exit_code == 4
    assert "locked already" in done.stderr
    assert len(locked) == 2  # nobody was asked


# Each command that loosens, as it is typed; what it works on is made first.
LOOSENS = {
    Loosening.BUDGET_RAISE: ["budget", "raise", "SESSION", "1"],
    Loosening.BUDGET_SET: ["budget", "set", "SESSION", "9"],
    Loosening.TRUST: ["trust", "--yes"],
    Loosening.SESSIONS_END: ["sessions", "end", "SESSION"],
    Loosening.INIT: ["init", "--client", "codex", "--anyway"],
    Loosening.UNINSTALL: ["uninstall"],
    Loosening.CALIBRATE_RESET: ["calibrate", "reset", "--yes"],
    Loosening.CALIBRATE_REBUILD: ["calibrate", "rebuild"],
    Loosening.KEYS_TRUST: ["keys", "trust", "KEY"],
    Loosening.KEYS_ROTATE: ["keys", "rotate"],
    Loosening.LEDGER_ACCEPT: ["ledger", "accept", "--reason", "test"],
    Loosening.RESTORE: ["restore", "BACKUP", "--reason", "test"],
    Loosening.REBUILD: ["doctor", "--rebuild"],
    Loosening.IMPORT_DELETE: ["import", "delete", "BILL"],
    Loosening.USAGE_CORRECT: ["usage", "correct", "RESPONSE", "--output", "1", "--reason", "test"],
    Loosening.UNLOCK: ["unlock"],
    Loosening.OFF: ["off", "--for", "1h"],
    Loosening.BUDGET_ADD: ["budget", "add", "50", "--per", "day"],
    Loosening.LOOP_ALLOW: ["loop", "allow", "SESSION"],
    Loosening.LOOP_WRONG: ["loop", "wrong", "SESSION"],
}
# These ask only where something becomes cheaper, or there is no such command: operations of their own hold them. To
# look at the page needs no passphrase; tests/entrypoints/page has what it refuses.
ELSEWHERE = {
    Loosening.LOCK,
    Loosening.BUDGET_REMOVE,
    Loosening.DRIFT_APPLY,
    Loosening.PRICES_UPDATE,
    Loosening.PRICES_RESET,
    Loosening.DASHBOARD,
}


def test_every_loosening_is_in_the_table():
    assert set(LOOSENS) | ELSEWHERE == set(Loosening)


@pytest.fixture
def things(made, home, monkeypatch):
    """A session, a key, a backup and a project to loosen."""
    place = home / "work"
    (place / ".l6e").mkdir(parents=True)
    (place / ".git").mkdir()
    (place / ".l6e" / "config.toml").write_text('[policy]\non_fault = "allow"\n')
    monkeypatch.chdir(place)
    session = made.session()
    key = home / "key.pem"
    from tallygate.attest.keys import new_signer

    key.write_text(new_signer().public.pem())
    backup = home / "backup.db"
    made.app.ledger.backup(backup)
    return {"SESSION": session, "KEY": str(key), "BACKUP": str(backup), "BILL": "bill_x", "RESPONSE": "r1"}


@pytest.mark.parametrize("what", [*LOOSENS], ids=str)
def test_while_locked_each_loosening_is_refused_without_the_passphrase_and_changes_nothing(
    run, made, things, locked, what
):
    before = [*made.app.ledger.rows("SELECT COUNT(*) FROM event")]
    words = [things.get(word, word) for word in LOOSENS[what]]
    done = run(*words)
    assert done.exit_code == 7, done.output
    assert "needs your passphrase" in done.stderr
    assert [*made.app.ledger.rows("SELECT COUNT(*) FROM event")] == before
    locked[:] = ["the wrong one"]
    assert run(*words).exit_code == 1
    assert [*made.app.ledger.rows("SELECT COUNT(*) FROM event")] == before


DONE = [
    Loosening.BUDGET_RAISE,
    Loosening.BUDGET_SET,
    Loosening.TRUST,
    Loosening.SESSIONS_END,
    Loosening.CALIBRATE_REBUILD,
    Loosening.KEYS_TRUST,
    Loosening.KEYS_ROTATE,
    Loosening.UNLOCK,
    Loosening.OFF,
    Loosening.BUDGET_ADD,
]


@pytest.mark.parametrize("what", DONE, ids=str)
def test_with_the_passphrase_it_is_done_and_the_ledger_verifies(run, things, locked, what):
    locked[:] = [WORDS]
    done = run(*(things.get(word, word) for word in LOOSENS[what]))
    assert done.exit_code == 0, done.output
    assert not locked, "nobody was asked"
    verified = run("verify")
    assert verified.exit_code == 0, verified.output


def test_what_is_changed_with_the_passphrase_in_the_settings_file_counts_at_once(run, run_json, locked, home):
    locked[:] = [WORDS] * 3
    assert run("budget", "add", "2").exit_code == 0
    assert run("budget", "set", "session", "30").exit_code == 0
    assert run_json("status")["settings"]["loosened"] == []
    assert settings_here().session_budget.limit == 30 * 10**9
    assert run("budget", "remove", "session").exit_code == 0
    assert run_json("status")["settings"]["loosened"] == []
    assert not locked, "nobody was asked"


def test_what_else_waits_in_the_settings_file_is_not_signed_along(run, run_json, locked, home):
    locked[:] = [WORDS] * 2
    assert run("budget", "add", "2").exit_code == 0
    file = home / ".config" / "tallygate" / "config.toml"
    file.write_text(file.read_text().replace("2.00", "900.00"))
    told = run("budget", "add", "50", "--per", "day")
    assert told.exit_code == 0
    assert "tallygate trust --user shows them" in told.stderr
    assert settings_here().session_budget.limit == 2 * 10**9


def test_a_limit_that_an_agent_adds_while_locked_counts_and_is_not_signed(run, made, locked, home, monkeypatch):
    made.session()
    monkeypatch.setattr(whose, "is_guarded", lambda *_: True)
    monkeypatch.setenv("CLAUDECODE", "1")
    locked[:] = [WORDS]
    assert run("budget", "add", "2").exit_code == 0
    assert settings_here().session_budget.limit == 2 * 10**9
    assert run("budget", "set", "session", "1").exit_code == 0
    for words in (("set", "session", "30"), ("add", "50", "--soft"), ("remove", "session")):
        assert run("budget", *words).exit_code == 7
    assert len(locked) == 1  # nobody was asked
    file = home / ".config" / "tallygate" / "config.toml"
    file.write_text(file.read_text().replace("1.00", "900.00"))
    assert settings_here().session_budget.limit == 5 * 10**9
    assert run("verify").exit_code == 0


def test_an_agent_is_refused_also_where_settings_leave_the_command_to_agents(run, made, locked, home, monkeypatch):
    session = made.session()
    own = UserPlaces(home, home / ".config" / "tallygate", home / ".local" / "share" / "tallygate")
    monkeypatch.setattr(whose, "own_places", lambda: own)
    own.config_dir.mkdir(parents=True, exist_ok=True)
    (own.config_dir / "config.toml").write_text('[enforcement]\nagents_may = ["budget raise", "unlock", "lock"]\n')
    monkeypatch.setenv("CLAUDECODE", "1")
    locked[:] = [WORDS, "lost"]
    for words in (["budget", "raise", session, "1"], ["unlock"], ["unlock", "--lost"]):
        done = run(*words)
        assert done.exit_code == 7, done.output
        assert "CLAUDECODE" in done.stderr
    assert len(locked) == 2  # nobody was asked


def test_a_lost_passphrase_ends_the_lock_loudly_and_takes_raises_back(run, made, run_json, locked):
    session = made.session()
    locked[:] = [WORDS]
    assert run("budget", "raise", session, "4").exit_code == 0
    locked[:] = ["no"]
    assert run("unlock", "--lost").exit_code == 1
    assert run_json("status")["lock"]["locked"] is True
    locked[:] = ["lost"]
    done = run("unlock", "--lost")
    assert done.exit_code == 0
    assert "$5.00 -> $1.00" in done.stdout
    assert "without its passphrase" in run("status").stderr
    assert "without its passphrase" in run("doctor").stdout
    assert "without its passphrase" in run("verify").stdout
    assert run("budget", "raise", session, "4").exit_code == 0


def test_a_key_file_that_was_replaced_or_removed_opens_nothing_and_the_lock_stays(run, made, locked, run_json):
    session = made.session()
    [file] = sealed.files_in(made.app.settings.paths.key_dir)
    for text in (sealed.seal(WORDS)[1].text(), None):
        file.unlink()
        if text is not None:
            file.write_text(text)
            file.chmod(0o600)
        locked[:] = [WORDS]
        done = run("budget", "raise", session, "1")
        assert done.exit_code == 1
        assert "unlock --lost" in done.stderr
        assert "unlock --lost" in run("doctor").stdout
    assert run_json("status")["lock"]["locked"] is True


def day_budget(home: Path, limit: int, more: str = "", *, period: str = "day") -> None:
    file = home / ".config" / "tallygate" / "config.toml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f'{more}\n[[budget]]\nscope = "global"\nlimit_usd = {limit}\nperiod = "{period}"\n')


def limit_in_force() -> int:
    return next(rule.limit for rule in settings_here().budgets if rule.scope == "global") // 10**9


def test_a_settings_file_that_became_looser_waits_for_trust_user_and_a_tighter_one_counts(run, typed, home, made):
    day_budget(home, 10)
    typed[:] = [WORDS, WORDS]
    assert run("lock").exit_code == 0
    day_budget(home, 50)
    assert limit_in_force() == 10
    assert "trust --user" in run("status").stderr
    assert "trust --user" in run("doctor").stdout
    assert run("trust", "--user").exit_code == 7
    assert limit_in_force() == 10
    typed[:] = [WORDS]
    shown = run("trust", "--user")
    assert shown.exit_code == 0
    assert "$10.00 -> $50.00" in shown.stdout
    assert limit_in_force() == 50
    day_budget(home, 3)
    assert limit_in_force() == 3
    assert "trust --user" not in run("status").stderr
    day_budget(home, 50)
    assert limit_in_force() == 50


@pytest.mark.parametrize("trusted", [True, False])
@pytest.mark.parametrize("period", ["day", "5h"])
def test_a_lost_lock_leaves_the_limits_that_the_file_has_and_says_so_before_and_after(
    run, run_json, typed, home, made, trusted, period
):
    def limit():
        [found] = [each for each in run_json("budget", "list")["budgets"] if each["scope"] == "global"]
        return found["limit"]

    day_budget(home, 3, period=period)
    begun = Made(compose(settings_here(), by="test"))
    assert begun.call(begun.session(50), tool_name="plan")
    [name] = [each["budget_id"] for each in run_json("budget", "list")["budgets"] if each["scope"] == "global"]
    assert "the settings'" not in run("budget", "list").stdout
    assert run("budget", "raise", name, "1").exit_code == 0
    assert f"{name}: $1.00 over the settings' $3.00" in run("budget", "list").stdout
    typed[:] = [WORDS, WORDS]
    assert run("lock").exit_code == 0
    day_budget(home, 6, period=period)
    was = 4
    if trusted:
        typed[:] = [WORDS]
        assert run("trust", "--user").exit_code == 0
        was = 7
    assert limit() == was
    typed[:] = ["no"]
    asked = run("unlock", "--lost")
    assert asked.exit_code == 1
    falls = f"${was}.00 -> $6.00, as in your settings file"
    assert asked.stdout.count(falls) == 1, "before it is done"
    assert ("counts at once" in asked.stdout) == (not trusted)
    typed[:] = ["lost"]
    assert run("unlock", "--lost").stdout.count(falls) == 2
    assert limit() == 6
    after = Made(compose(settings_here(), by="test"))
    assert after.call(after.session(50), tool_name="plan")
    assert limit() == 6, "in a new session, too"
    typed[:] = [WORDS, WORDS]
    locked = run("lock")
    assert locked.exit_code == 0
    assert "changed by hand" not in locked.stdout
    for each in (begun, after):
        each.app.close()


def over_mcp(app):
    """What a server that was made of a program answers to a step beyond every limit."""

    async def main():
        async with Client(build_server(app.runtime)) as client:
            begun = await client.call_tool("l6e_run_start", {"budget_usd": 0.0001, "model": "claude-opus-4.7"})
            step = {"session_id": begun.structured_content["session_id"], "tool_name": "x"}
            return (await client.call_tool("l6e_authorize_call", step)).structured_content

    return anyio.run(main)


def test_while_locked_a_stop_names_the_full_path_that_the_passphrase_is_typed_into(
    run, typed, home, monkeypatch, tmp_path
):
    own = lock_command.own_path()
    monkeypatch.setattr(own_command, "own_words", lambda: "tallygate")
    monkeypatch.setattr("tallygate.app.command_line", lambda environ, _: "tallygate" if environ else own)
    file = home / ".config" / "tallygate" / "config.toml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text('[[budget]]\nscope = "session"\nlimit_usd = 0.0001\n')

    def said(app, session, prompt="go"):
        told = {"session_id": session, "prompt": prompt, "prompt_id": "p1", "hook_event_name": "UserPromptSubmit"}
        return HookDispatcher(app.runtime_for).answer("claude_code", None, told).body["reason"]

    before = compose(settings_here(), by="test")
    assert "run: tallygate budget raise" in said(before, "one")
    typed[:] = [WORDS, WORDS]
    assert run("lock").exit_code == 0
    after = compose(settings_here(), by="test")
    for app, session in ((before, "two"), (after, "three")):
        assert f"run: {own} budget raise" in said(app, session)
        assert f"{own} budget raise" in said(app, session, "tallygate raise 2")
        assert "tallygate budget" not in said(app, session).replace(own, "")
        halted = over_mcp(app)
        assert f"{own} budget raise" in halted["message"]
        assert "tallygate budget" not in str(halted).replace(own, "")
    assert run("status").stdout.count(f"{own} budget raise") == 5, "also of a stop before the lock"
    for app in (before, after):
        app.close()


def test_variables_count_only_where_they_tighten(run, locked, home, monkeypatch):
    monkeypatch.setenv("TALLYGATE_BUDGET_MODE", "soft")
    found = settings_here()
    assert found.policy.budget_mode == "hard"
    assert "TALLYGATE_BUDGET_MODE" in found.foreign


def test_what_was_accepted_of_a_project_by_hand_counts_only_with_a_signature(run, things, locked, home):
    from tallygate.settings.projects import accept, fingerprint

    waits = settings_here().waiting
    assert waits
    accept(settings_here().paths.data_dir, str(home / "work"), fingerprint(waits))
    assert settings_here().waiting
    locked[:] = [WORDS]
    assert run("trust", "--yes").exit_code == 0
    assert not settings_here().waiting
    assert run("trust", "--revoke").exit_code == 0
    assert settings_here().waiting


def test_what_was_accepted_before_the_lock_goes_on_counting(run, things, typed):
    assert run("trust", "--yes").exit_code == 0
    typed[:] = [WORDS, WORDS]
    assert run("lock").exit_code == 0
    assert not settings_here().waiting


def test_a_session_begins_with_the_news_that_a_lock_was_lost(run, made, locked):
    from tallygate.operations.lock_book import lock_news

    locked[:] = ["lost"]
    assert run("unlock", "--lost").exit_code == 0
    with made.app.ledger.reading() as reader:
        assert "without its passphrase" in lock_news(made.app.runtime, reader)


def test_a_terminal_is_set_back_when_the_program_is_ended_by_a_signal(bare, home, tmp_path):
    assert os.name == "posix"
    script = tmp_path / "ended.py"
    script.write_text(
        "import os, signal\n"
        "from tallygate.entrypoints.cli import passphrase\n"
        "passphrase._line = lambda terminal: os.kill(os.getpid(), signal.SIGTERM)\n"
        "passphrase.ask_hidden('Passphrase: ')\n"
    )
    done = type_at([str(script)], [], bare, program=(sys.executable,))
    assert done.code != 0
    assert done.echoes


def test_a_sealed_key_whose_ledger_has_no_lock_is_named_by_doctor(run, made, typed):
    sealed.keep(made.app.settings.paths.key_dir, sealed.seal(WORDS)[1])
    made.session()
    assert "the key of a lock that this ledger does not have" in run("doctor").stdout


def test_a_limit_that_was_raised_past_the_program_fails_doctor(run, made, locked):
    import sqlite3

    session = made.session()
    other = sqlite3.connect(made.app.settings.paths.database, isolation_level=None)
    other.execute("UPDATE budget SET limit_nanos = 90000000000 WHERE budget_id = ?", (session,))
    other.close()
    found = run("doctor")
    assert found.exit_code == 1
    assert "raised without your signature" in found.stdout
    assert run("budget", "check", session, "--estimate", "2").exit_code == 8
