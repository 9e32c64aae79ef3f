"""`tallygate init` and `tallygate uninstall`: what the user sees and what it leads to."""

from __future__ import annotations

import json
import os
import site
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tallygate.app import compose, settings_here
from tallygate.clients.client import server_command, status_command
from tallygate.clients.registry import REGISTRY
from tallygate.editing.edits import is_ours
from tallygate.entrypoints.cli import limits
from tallygate.entrypoints.cli.init import is_found_apart, surroundings, usual_name
from tallygate.entrypoints.cli.program import USAGE
from tallygate.operations.sessions.opening import Opening, start_session
from tallygate.settings import load_settings, places
from tallygate.surroundings import around_here

SETTINGS = '{\n  // mine\n  "model": "opus"\n}\n'


@pytest.fixture
def quiet_path(monkeypatch):
    """No client is found by its program."""
    monkeypatch.setenv("PATH", "")


@pytest.fixture
def claude(home, quiet_path):
    """Claude Code lives here."""
    path = home / ".claude" / "settings.json"
    path.parent.mkdir()
    path.write_text(SETTINGS)
    return path


@pytest.fixture
def project(home, monkeypatch):
    path = home / "project"
    (path / ".git").mkdir(parents=True)
    monkeypatch.chdir(path)
    return path


def content(home):
    """Every file but what the first look has read, which is in the folder of what can be thrown away."""
    cache = home / ".cache"
    return {path: path.read_bytes() for path in sorted(home.rglob("*")) if path.is_file() and cache not in path.parents}


def test_the_clients_that_are_here_are_found_by_themselves(run_json, claude):
    found = run_json("init")
    assert found["clients"] == ["claude-code"]
    assert {"path": str(claude), "change": "changed"} in found["files"]
    assert "tallygate_hook" in claude.read_text()


def test_where_no_client_is_found_their_names_are_told(run, home, quiet_path):
    result = run("init")
    assert result.exit_code == 3
    assert all(name in result.stderr for name in REGISTRY.clients)
    assert content(home) == {}


def test_a_client_that_is_not_here_can_be_named(run_json, home, quiet_path):
    assert run_json("init", "--client", "codex", "--client", "zed")["clients"] == ["codex", "zed"]
    assert (home / ".codex" / "config.toml").exists()
    assert (home / ".config" / "zed" / "settings.json").exists()


def test_every_change_is_told_and_what_is_left_to_do(run, claude):
    result = run("init", "--client", "claude-code", "--client", "codex")
    assert result.exit_code == 0
    assert f"changed  {claude}" in result.stdout
    assert "/hooks" in result.stderr
    assert "Restart the clients" in result.stderr


def test_a_dry_run_names_the_files_and_changes_nothing(run, home, claude):
    before = content(home)
    result = run("init", "--dry-run")
    assert result.exit_code == 0
    assert f"changed  {claude}\ncreated  {home / '.claude' / 'CLAUDE.md'}\n" in result.stdout
    assert '"hooks"' not in result.stdout
    assert "--diff shows how. Nothing was changed" in result.stderr
    assert content(home) == before


def test_a_diff_shows_how_files_would_change_and_changes_nothing(run, home, claude):
    before = content(home)
    result = run("init", "--diff")
    assert result.exit_code == 0
    assert f"--- {claude}\n+++ {claude}\n" in result.stdout
    assert f"--- /dev/null\n+++ {home / '.claude' / 'CLAUDE.md'}\n" in result.stdout
    assert '+  "hooks": {' in result.stdout
    assert '-  "model": "opus"\n+  "model": "opus",' in result.stdout
    assert "Nothing was changed" in result.stderr
    assert content(home) == before


def test_the_diff_of_an_uninstallation_is_the_one_of_the_installation_backwards(run, claude):
    run("init")
    assert '-  "hooks": {' in run("uninstall", "--diff").stdout
    assert "tallygate_hook" in claude.read_text()


def test_printing_shows_what_belongs_where_and_changes_nothing(run, home, claude):
    before = content(home)
    result = run("init", "--client", "codex", "--print")
    assert result.exit_code == 0
    assert f"# Codex: {home / '.codex' / 'config.toml'}" in result.stdout
    assert "[mcp_servers.tallygate]" in result.stdout
    assert "tallygate:begin" in result.stdout
    assert content(home) == before


def test_installing_again_says_that_there_is_nothing_to_do(run, run_json, home, claude):
    run("init")
    before = content(home)
    result = run("init")
    assert "nothing to do" in result.stderr
    assert run_json("init")["changed"] == 0
    assert content(home) == before


def test_uninstalling_brings_back_what_was_there(run, home, claude):
    before = content(home)
    run("init")
    result = run("uninstall")
    assert (result.exit_code, "taken out" in result.stderr) == (0, True)
    assert content(home) == before


def test_uninstalling_where_nothing_is_says_so(run, home, claude):
    before = content(home)
    assert "nothing to take out: Tallygate is not installed in any client." in run("uninstall").stderr
    assert content(home) == before


def test_the_server_is_started_with_this_interpreter(run, home, claude):
    run("init")
    server = json.loads((home / ".claude.json").read_text())["mcpServers"]["tallygate"]
    file = str(home / ".local" / "share" / "tallygate" / "init" / "places.conf")
    started = [sys.executable, "-I", "-m", "tallygate", "serve", "--places", file]
    assert [server["command"], *server["args"]] == started


def test_the_interpreter_has_one_name_however_it_was_started(home):
    folder = home / "bin"
    folder.mkdir()
    (folder / "python3.11").write_bytes(b"")
    assert usual_name(folder / "python3.11") == str(folder / "python3.11")
    (folder / "python").symlink_to("python3.11")
    assert usual_name(folder / "python3.11") == usual_name(folder / "python") == str(folder / "python")


def test_where_python_would_not_find_the_program_apart_from_the_users_own_it_is_started_by_its_place(tmp_path):
    path = [str(tmp_path), "/usr/lib/python3/dist-packages"]
    assert is_found_apart(tmp_path, path, {})
    assert not is_found_apart(tmp_path, path, {"PYTHONPATH": f"/a{os.pathsep}{tmp_path}"})
    assert not is_found_apart(Path(site.getusersitepackages()), [*path, site.getusersitepackages()], {})
    where = replace(surroundings(settings_here()), main="/u/tallygate/__main__.py")
    assert server_command(where)["args"][:3] == ["-I", "/u/tallygate/__main__.py", "serve"]
    assert is_ours({"type": "command", "command": status_command(where, "claude_code")})
    older = "/u/bin/python -I /u/tallygate/__main__.py statusline --places /u/places.conf"
    assert is_ours({"type": "command", "command": older})


def test_the_program_that_hooks_run_is_there(run, home, claude):
    run("init", "--client", "gemini")
    settings = json.loads((home / ".gemini" / "settings.json").read_text())
    command = settings["hooks"]["BeforeModel"][0]["hooks"][0]["command"]
    program = command.split('"')[3]
    assert program.endswith("hook.py")
    assert Path(program).is_file()


def test_claude_code_sends_its_telemetry_to_the_port_and_with_the_token_of_the_receiver(run, home, claude, monkeypatch):
    monkeypatch.setenv("TALLYGATE_TELEMETRY", "receive")
    monkeypatch.setenv("TALLYGATE_TELEMETRY_PORT", "40123")
    run("init")
    variables = json.loads(claude.read_text().replace("// mine", ""))["env"]
    token = next(home.rglob("telemetry.token")).read_text().strip()
    assert variables["OTEL_EXPORTER_OTLP_LOGS_ENDPOINT"] == "http://127.0.0.1:40123/v1/logs"
    assert variables["OTEL_EXPORTER_OTLP_LOGS_HEADERS"] == f"x-tallygate-token={token}"


def test_looking_at_what_would_change_makes_no_token(run, home, claude, monkeypatch):
    monkeypatch.setenv("TALLYGATE_TELEMETRY", "receive")
    assert "OTEL_EXPORTER_OTLP_LOGS_HEADERS" in run("init", "--diff").stdout
    run("init", "--print")
    assert list(home.rglob("telemetry.token")) == []


def test_where_nothing_is_received_no_telemetry_is_set(run, home, claude, monkeypatch):
    monkeypatch.setenv("TALLYGATE_TELEMETRY", "off")
    run("init")
    assert "OTEL" not in claude.read_text()
    assert list(home.rglob("telemetry.token")) == []


@pytest.mark.parametrize("mode, blocks", [("hard", True), ("soft", False)])
def test_a_soft_policy_lets_work_go_on_when_a_hook_fails(run, claude, monkeypatch, mode, blocks):
    monkeypatch.setenv("TALLYGATE_BUDGET_MODE", mode)
    run("init")
    assert ("onFailure" in claude.read_text()) is blocks


# --- scope and budget -------------------------------------------------------------------------------------------


def test_a_project_gets_files_of_its_own_and_a_starting_budget(run, home, project, claude):
    assert run("init", "--scope", "project").exit_code == 0
    assert (project / ".mcp.json").exists()
    assert claude.read_text() == SETTINGS
    (rule,) = load_settings({}, project, places(around_here())).budgets
    assert rule.scope.value == "session"
    assert "limit_usd = 5.00" in (project / ".l6e" / "config.toml").read_text()


def test_for_all_work_the_starting_budget_stands_in_the_user_s_file(run, home, claude):
    run("init")
    assert load_settings({}, home, places(around_here())).budgets
    assert (places(around_here()).config_dir / "config.toml").exists()


def test_a_budget_that_is_set_anywhere_is_the_one(run, home, project, claude):
    (project / ".l6e").mkdir()
    (project / ".l6e" / "config.toml").write_text('[[budget]]\nscope = "session"\nlimit_usd = 1.00\n')
    run("init")
    assert not (places(around_here()).config_dir / "config.toml").exists()
    assert "1.00" in (project / ".l6e" / "config.toml").read_text()


def test_outside_of_a_project_there_is_no_project_to_install_for(run, home, claude):
    before = content(home)
    result = run("init", "--scope", "project")
    assert (result.exit_code, "belongs to no project" in result.stderr) == (USAGE, True)
    assert content(home) == before


def test_a_scope_can_be_taken_out_alone(run, home, project, claude):
    run("init")
    run("init", "--scope", "project")
    run("uninstall", "--scope", "project")
    assert not (project / ".mcp.json").exists()
    assert "tallygate_hook" in claude.read_text()


# --- what can be wrong ------------------------------------------------------------------------------------------


def test_a_file_that_cannot_be_read_is_told_with_its_line_and_nothing_is_changed(run, home, claude):
    (home / ".codex").mkdir()
    (home / ".codex" / "config.toml").write_text("a = 1\nb = \n")
    before = content(home)
    result = run("init", "--client", "codex")
    assert result.exit_code == USAGE
    assert f"{home / '.codex' / 'config.toml'}:2:" in result.stderr
    assert content(home) == before


def test_settings_that_cannot_be_read_stop_it_before_anything_else(run, home, project, claude):
    (project / ".l6e").mkdir()
    (project / ".l6e" / "config.toml").write_text("[[budget]]\n")
    before = content(home)
    assert run("init").exit_code == 6
    assert content(home) == before


@pytest.mark.parametrize("arguments", [("--client", "nobody"), ("--scope", "world"), ("extra",)])
def test_what_it_does_not_know_is_refused(run, home, claude, arguments):
    before = content(home)
    assert run("init", *arguments).exit_code == USAGE
    assert run("uninstall", *arguments).exit_code == USAGE
    assert content(home) == before


def test_where_the_ledger_is_gone_init_says_that_and_not_that_all_is_well(run, home, claude):
    assert run("init").exit_code == 0
    for file in (home / ".local" / "share" / "tallygate").glob("ledger.db*"):
        file.unlink()
    told = run("init")
    assert told.exit_code == 5
    assert "is gone" in told.stderr.splitlines()[-1]
    assert "everything is as it should be" not in told.stderr


def test_what_uninstall_says_of_a_file_does_not_begin_twice_with_the_same_name(run, home, claude):
    run("init")
    with (home / ".config" / "tallygate" / "config.toml").open("a") as file:
        file.write("# mine, too\n")
    told = run("uninstall").stderr
    assert "was edited since" in told
    assert "tallygate: Tallygate" not in told


# --- limits -----------------------------------------------------------------------------------------------------


def worked(home, *sessions):
    """Sessions of Claude Code as it writes them down; a response reads 100,000 tokens, for $1.50."""
    folder = home / ".claude" / "projects" / "-home-me-shop"
    folder.mkdir(parents=True, exist_ok=True)
    for number, responses in enumerate(sessions):
        rows = []
        for at in range(responses):
            usage = {"input_tokens": 100_000, "output_tokens": 0}
            message = {"id": f"msg_{number}_{at}", "role": "assistant", "model": "claude-opus-4-1", "usage": usage}
            moment = f"2026-03-{number % 28 + 1:02d}T12:{at:02d}:00Z"
            rows.append({"type": "assistant", "sessionId": f"s{number}", "timestamp": moment, "message": message})
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"s{number}.jsonl").write_text(text)


@pytest.fixture
def in_march(monkeypatch):
    """The end of the month in which the sessions above were."""
    monkeypatch.setattr("tallygate.app.clock_us", lambda: 1_774_958_400 * 10**6)


def limits_written():
    rules = load_settings({}, Path("/"), places(around_here())).budgets
    return {rule.scope.value: (rule.limit // 10**7 / 100, rule.mode.value) for rule in rules}


def test_limits_are_proposed_from_what_sessions_and_days_cost(run, home, claude, in_march):
    worked(home, *[1] * 9, *[2] * 9, 3, 6)
    result = run("init")
    assert limits_written() == {"session": (5, "hard"), "user": (10, "hard")}
    told = result.stderr
    assert "Your last 20 sessions: half cost at most $3.00, 9 of 10 at most $4.50, the dearest $9.00." in told
    assert (
        "$5.00 a session would have stopped 1 of your last 20 sessions; of ten new ones expect it to stop about one"
        in told
    )
    assert "The limits are $5.00 a session and $10.00 a day, in " in told
    assert "Over a limit Claude Code stops." in told


def test_with_little_known_the_limits_are_said_to_be_ours(run, home, claude):
    result = run("init")
    assert limits_written() == {"session": (15, "hard"), "user": (50, "hard")}
    assert (
        "$15.00 a session is our figure: no finished session is known, too few to tell what is usual." in result.stderr
    )
    assert "$50.00 a day is our figure: no finished day is known" in result.stderr


@pytest.mark.parametrize(
    ("given", "session", "day"),
    [
        (["--limit", "3"], 3, 50),
        (["--limit", "40"], 40, 80),
        (["--day-limit", "8"], 8, 8),
        (["--limit", "2", "--day-limit", "20"], 2, 20),
    ],
)
def test_limits_that_are_named_count(run, claude, given, session, day):
    assert run("init", *given).exit_code == 0
    assert limits_written() == {"session": (session, "hard"), "user": (day, "hard")}


@pytest.mark.parametrize("looking", ["--dry-run", "--diff", "--print"])
def test_who_only_looks_is_proposed_the_limits_that_init_then_sets(run, home, claude, in_march, looking):
    worked(home, *[1] * 9, *[2] * 9, 3, 6)
    looked = run("init", looking)
    told = [line for line in looked.stderr.splitlines() if "would have stopped" in line]
    assert told
    assert any("$5.00 a session" in line for line in told)
    assert set(told) <= set(run("init").stderr.splitlines())


def test_observing_stops_nothing(run, home, claude):
    result = run("init", "--observe")
    assert limits_written() == {"session": (15, "soft"), "user": (50, "soft")}
    assert "Nothing is stopped" in result.stderr
    assert "onFailure" not in claude.read_text()


def test_who_pays_by_subscription_observes_unless_a_limit_is_named(run, home, claude):
    signed_in = {"claudeAiOauth": {"accessToken": "x", "subscriptionType": "max"}}
    (home / ".claude" / ".credentials.json").write_text(json.dumps(signed_in))
    result = run("init", "--diff")
    assert 'budget_mode = "soft"' in result.stdout
    assert "Claude Code is paid by a subscription here" in result.stderr
    run("init", "--limit", "4")
    assert limits_written()["session"] == (4, "hard")


def test_a_day_that_is_over_its_limit_already_is_said_before_it_is_set(run, home, claude, in_march, monkeypatch):
    worked(home, *[1] * 27, 20)
    monkeypatch.setattr("tallygate.app.clock_us", lambda: 1_774_706_400 * 10**6)  # the 28th, two hours later
    told = run("init", "--day-limit", "10").stderr
    assert "$30.00 was spent today already, more than the $10.00 of a day: the next step is stopped." in told


def test_a_limit_below_what_a_first_step_may_cost_is_said_before_it_is_set(run, home, claude):
    told = run("init", "--limit", "0.01", "--yes").stderr
    assert "may cost $0.11: $0.01 a session stops every first prompt. $2.00 carries about 10 steps." in told
    assert told.index("every first prompt") < told.index("The limits are")
    assert limits_written()["session"] == (0.01, "hard")


@pytest.mark.parametrize("arguments", [("--limit", "0.20"), ("--limit", "0.01", "--observe"), ()])
def test_of_a_limit_that_carries_a_first_step_or_stops_nothing_no_such_thing_is_said(run, home, claude, arguments):
    assert "first prompt" not in run("init", *arguments).stderr


def test_what_was_spent_today_is_told_against_the_limit_of_a_day(run, home, claude, in_march, monkeypatch):
    worked(home, *[1] * 27, 4)
    monkeypatch.setattr("tallygate.app.clock_us", lambda: 1_774_706_400 * 10**6)
    told = run("init", "--limit", "$5", "--day-limit", "7,50").stderr
    assert "$6.00 was spent today already, of $7.50 a day: $1.50 left." in told
    assert limits_written() == {"session": (5, "hard"), "user": (7.5, "hard")}


def test_a_proposal_above_all_that_is_known_does_not_say_that_one_in_ten_is_stopped(run, home, claude, in_march):
    worked(home, *[1] * 9, *[5] * 3)
    told = run("init").stderr
    assert "$7.50 a session would have stopped none of your last 12 sessions; new ones cost more now and then" in told
    assert "about one" not in told


def test_a_day_that_nobody_named_is_said_to_be_ours(run, home, claude):
    assert "$50.00 a day is our figure" in run("init", "--limit", "5", "--dry-run").stderr
    assert "$80.00 a day is twice a session: our figure" in run("init", "--limit", "40", "--dry-run").stderr


@pytest.fixture
def at_the_prompt(monkeypatch):
    """Somebody who sits there and types lines, one at each question."""
    lines = []
    monkeypatch.setattr(limits, "is_attended", lambda: True)
    monkeypatch.setattr(limits.click, "prompt", lambda *_, **__: lines.pop(0))
    return lines


@pytest.mark.parametrize(
    ("typed", "session", "day"),
    [
        (["$2", ""], 2, 15),
        (["20", ""], 20, 40),
        (["day 25", ""], 5, 25),
        (["2,50 30", "y"], 2.5, 30),
        (["1,000", "day 0", "1 2 3", "five", "3", ""], 3, 15),
    ],
)
def test_amounts_at_the_prompt_set_a_session_a_day_or_both(
    run, home, claude, in_march, at_the_prompt, typed, session, day
):
    worked(home, *[1] * 9, *[2] * 9, 3, 6)
    at_the_prompt += typed
    assert run("init", "--day-limit", "15").exit_code == 0
    assert limits_written() == {"session": (session, "hard"), "user": (day, "hard")}
    assert at_the_prompt == []


def test_an_amount_at_the_prompt_is_told_by_what_it_would_have_stopped(run, home, claude, in_march, at_the_prompt):
    worked(home, *[1] * 3, 2)
    at_the_prompt += ["2", "q"]
    result = run("init")
    assert "$2.00 a session would have stopped 1 of your last 4 sessions." in result.stderr
    assert (result.exit_code, "interrupted" in result.stderr) == (1, False)
    assert "nothing was changed" in result.stderr
    assert limits_written() == {}


def test_limits_that_are_there_are_not_proposed_again(run, home, claude):
    run("init")
    before = content(home)
    result = run("init", "--limit", "3")
    assert result.exit_code == USAGE
    assert "There are limits already, in " in result.stderr
    assert content(home) == before


def test_who_observes_and_asks_for_a_limit_is_told_how_limits_come_to_stop(run, home, claude):
    run("init", "--observe")
    told = run("init", "--limit", "3").stderr
    assert "They only warn: to let them stop, take budget_mode and on_fault out of [policy]" in told
    file = home / ".config" / "tallygate" / "config.toml"
    kept = [line for line in file.read_text().splitlines() if not line.startswith(("budget_mode", "on_fault"))]
    file.write_text("\n".join(kept))
    run("init")
    assert {mode for _, mode in limits_written().values()} == {"hard"}


@pytest.mark.parametrize("broken", ["lots", "-1", "0", "1e9"])
def test_a_limit_that_is_none_is_refused_and_nothing_is_changed(run, home, claude, broken):
    before = content(home)
    assert run("init", "--limit", broken).exit_code == USAGE
    assert content(home) == before


def asked(monkeypatch, run, *answers):
    """One run of init where somebody sits at the terminal and types."""
    typed = iter(answers)
    monkeypatch.setattr("tallygate.entrypoints.cli.limits.is_attended", lambda: True)
    monkeypatch.setattr("click.prompt", lambda *_, **__: next(typed))
    return run("init")


@pytest.mark.parametrize(
    ("answers", "written"),
    [
        ([""], {"session": (15, "hard"), "user": (50, "hard")}),
        (["30", ""], {"session": (30, "hard"), "user": (60, "hard")}),
        (["$2.50", ""], {"session": (2.5, "hard"), "user": (50, "hard")}),
        (["7 9", ""], {"session": (7, "hard"), "user": (9, "hard")}),
        (["often", "7", ""], {"session": (7, "hard"), "user": (50, "hard")}),
        (["o"], {"session": (15, "soft"), "user": (50, "soft")}),
    ],
)
def test_who_is_asked_takes_the_proposal_or_something_else(monkeypatch, run, claude, answers, written):
    assert asked(monkeypatch, run, *answers).exit_code == 0
    assert limits_written() == written


@pytest.mark.parametrize(
    ("answers", "written"),
    [
        (["", "", "yes"], {"session": (2, "hard"), "user": (4, "hard")}),
        (["", "day 80", ""], {"session": (2, "hard"), "user": (80, "hard")}),
        (["o"], {"session": (2, "soft"), "user": (4, "soft")}),
    ],
)
def test_enter_alone_sets_no_limit_that_stops_the_day_that_runs(
    monkeypatch, run, home, claude, in_march, answers, written
):
    worked(home, *[1] * 27, 20)
    monkeypatch.setattr("tallygate.app.clock_us", lambda: 1_774_706_400 * 10**6)  # the 28th, two hours later
    done = asked(monkeypatch, run, *answers)
    assert (done.exit_code, limits_written()) == (0, written)
    assert "$30.00 was spent today already, more than the $4.00 of a day: the next step is stopped." in done.stderr


def test_who_is_asked_and_leaves_has_changed_nothing(monkeypatch, run, home, claude):
    before = content(home)
    done = asked(monkeypatch, run, "q")
    assert (done.exit_code, "nothing was changed" in done.stderr) == (1, True)
    assert content(home) == before


@pytest.fixture
def one_broken(claude, home):
    """Claude Code as it should be, and a settings file of Gemini CLI that nobody can read."""
    broken = home / ".gemini" / "settings.json"
    broken.parent.mkdir()
    broken.write_text('{\n  "theme": oops\n}\n')
    return broken


def test_a_client_that_cannot_be_read_keeps_no_other_from_being_installed(run, claude, one_broken):
    before = content(one_broken.parent)
    told = run("init", "--limit", "5")
    assert told.exit_code == 1
    assert "tallygate_hook" in claude.read_text()
    assert content(one_broken.parent) == before, "all of a client or nothing: no rule without its hooks"
    (said,) = [line for line in told.stderr.splitlines() if "is left out" in line]
    assert f"Gemini CLI is left out: {one_broken}:2: " in said
    assert said.endswith(" init --client gemini")
    one_broken.write_text("{}")
    assert run("init", "--client", "gemini").exit_code == 0
    assert "tallygate" in one_broken.read_text()


def test_a_client_that_cannot_be_read_keeps_no_other_from_being_taken_out(run, run_json, claude, one_broken):
    one_broken.write_text("{}")
    run("init", "--limit", "5")
    broken = one_broken.read_text().replace("{", "{ oops", 1)
    one_broken.write_text(broken)
    told = run("uninstall", json_=True)
    assert told.exit_code == 1
    (left,) = json.loads(told.stdout)["left_out"]
    assert (left["client"], str(one_broken) in left["why"]) == ("gemini", True)
    assert (claude.read_text(), one_broken.read_text()) == (SETTINGS, broken)
    one_broken.write_text(broken.replace("{ oops", "{", 1))
    assert run("uninstall").exit_code == 0
    assert one_broken.read_text() == "{}"


def test_where_every_client_is_broken_the_first_is_named_and_nothing_is_written(run, home, claude):
    claude.write_text("{ oops")
    before = content(home)
    told = run("init", "--limit", "5")
    assert told.exit_code == USAGE
    assert f"{claude}:1: " in told.stderr
    assert content(home) == before


def test_a_client_whose_hooks_wait_for_trust_is_not_said_to_stop(run, home, quiet_path):
    (home / ".codex").mkdir()
    after = "Codex stops only after this: Start codex, open /hooks and trust the hooks of Tallygate."
    for words in (["--dry-run"], ["--diff"], []):
        told = run("init", "--limit", "$4", *words).stderr
        assert "Over a limit" not in told
        assert after in told
    assert limits_written()["session"] == (4, "hard")


def test_what_was_spent_before_is_on_record_once_it_is_installed(run, run_json, home, claude, in_march):
    worked(home, 1, 2)
    run("init")
    found = run_json("usage", "--no-sync")
    assert (found["total"]["responses"], found["total"]["cost"]) == (3, 4.5)


def test_uninstalling_names_what_stays_and_nothing_that_is_not_there(run, home, claude, made):
    assert "What stays" not in run("uninstall", "--dry-run").stderr
    run("init", "--limit", "5")
    made.end(made.session(1))
    settings = home / ".config" / "tallygate" / "config.toml"
    settings.write_text(settings.read_text() + "# mine\n")
    data = made.app.settings.paths.data_dir
    for arguments, begins in ((["--dry-run"], "What would stay: "), ([], "What stays: "), ([], "What stays: ")):
        (said,) = [line for line in run("uninstall", *arguments).stderr.splitlines() if begins in line]
        named = said.partition(begins)[2].partition(";")[0].split(", ")
        assert [each for each in named if ".cache" not in each] == [str(data), str(settings)]
        assert all(Path(each).exists() for each in named)
    assert "What stays" not in run("uninstall", "--client", "claude-code", json_=True).output


def test_of_a_folder_that_the_user_chose_only_what_is_ours_is_named_as_staying(run, home, claude, monkeypatch):
    monkeypatch.setenv("TALLYGATE_HOME", str(home))
    run("init", "--limit", "5")
    (home / "letters.txt").write_text("mine")
    made = compose(settings_here(), by="test")
    start_session(made.runtime, Opening(limit_nanos=10**9, model="claude-opus-4.7", client="test"))
    made.close()
    (said,) = [line for line in run("uninstall").stderr.splitlines() if "What stays: " in line]
    named = said.partition("What stays: ")[2].partition(";")[0].split(", ")
    assert str(home / "ledger.db") in named
    assert str(home) not in named
