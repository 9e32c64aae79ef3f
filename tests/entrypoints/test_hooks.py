"""Hooks from the client's side: the program it runs, the tool it calls, the server behind both."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from bench import wire
from bench.wire import SERVE, Server
from hypothesis import given, settings
from hypothesis import strategies as st

from tallygate.app import compose, settings_here
from tallygate.clients.program import program_called
from tallygate.clients.registry import REGISTRY
from tallygate.core.errors import SettingsError
from tallygate.core.hooks import HookAnswer, HookVerdict
from tallygate.entrypoints import hook, stopping
from tallygate.entrypoints.hook_dispatcher import INPUT_BYTES_MAX, HookDispatcher, refused

PROGRAM = Path(hook.__file__)
SESSION = "0b5c9d9e-0000-4000-8000-000000000001"
PROMPT = {"session_id": SESSION, "hook_event_name": "UserPromptSubmit", "prompt_id": "p1", "prompt": "do it"}
TOOL = {
    "client": "claude_code",
    "event": "PreToolUse",
    "session_id": SESSION,
    "tool_name": "Bash",
    "tool_use_id": "toolu_1",
}


@pytest.fixture
def project(home):
    folder = home / "project"
    (folder / ".l6e").mkdir(parents=True)
    (folder / ".l6e" / "config.toml").write_text('[[budget]]\nscope = "session"\nlimit_usd = 0.0001\n')
    return folder


def environment(home, project, **more):
    return wire.environment(home, TALLYGATE_PROJECT_DIR=str(project), **more)


def run_hook(home, project, event, *, client="claude_code", name="UserPromptSubmit", **more):
    """Run the hook program as a client does; it must not depend on anything but its own file."""
    return subprocess.run(
        [sys.executable, "-I", "-S", str(PROGRAM), "--client", client, "--event", name],
        input=event if isinstance(event, bytes) else json.dumps(event).encode(),
        capture_output=True,
        env=environment(home, project, **more),
        timeout=300,
        check=False,
    )


def spent(home, project):
    listed = subprocess.run(
        [sys.executable, "-m", "tallygate", "sessions", "list", "--json"],
        capture_output=True,
        env=environment(home, project),
        check=True,
    )
    return json.loads(listed.stdout)["sessions"]


@pytest.mark.slow
def test_a_hook_is_answered_by_the_running_server_and_by_itself_where_there_is_none(home, project):
    assert spent(home, project) == []  # which makes the ledger: no hook does
    alone = run_hook(home, project, PROMPT)
    with Server(SERVE, home, environ=environment(home, project)) as server:
        server.greet().tools()
        (announced,) = (home / "data" / "servers").glob("*.hook")
        assert announced.stat().st_mode & 0o777 == 0o600
        # A trap where the program would look for the whole gate: it must not need it.
        served = run_hook(home, project, {**PROMPT, "prompt_id": "p2"}, PYTHONPATH="/nowhere")
    for done in (alone, served):
        assert done.returncode == 0, done.stderr
        answer = json.loads(done.stdout)
        assert answer["decision"] == "block"
        assert "tallygate budget raise" in answer["reason"]
    assert not announced.exists()
    (session,) = spent(home, project)
    assert session["halts"] == 2


@pytest.mark.slow
def test_the_hidden_tool_answers_hooks_and_nobody_else(home, project):
    with Server(SERVE, home, environ=environment(home, project)) as server:
        assert "tallygate_hook" not in [tool["name"] for tool in server.greet().tools()]
        answer = server.request("tools/call", {"name": "tallygate_hook", "arguments": TOOL})
        said = json.loads(answer["content"][0]["text"])
        assert said["hookSpecificOutput"]["permissionDecision"] == "deny"
        assert said["continue"] is False
        for meta in ({"claudecode/toolUseId": "toolu_9"}, {"callId": "c1", "threadId": "t"}):
            asked = {"name": "tallygate_hook", "arguments": TOOL, "_meta": meta}
            refused = server.request("tools/call", asked)
            assert refused["isError"]
            assert "hooks_only" in refused["content"][0]["text"]
        nothing = server.request("tools/call", {"name": "tallygate_hook", "arguments": {}})
        assert nothing["isError"]


@pytest.mark.slow
def test_a_server_that_loses_its_client_ends_and_logs_what_hooks_opened(home, project):
    (project / ".l6e" / "config.toml").write_text('[[budget]]\nscope = "session"\nlimit_usd = 5\n')
    with Server(SERVE, home, environ=environment(home, project)) as server:
        server.greet().tools()
        server.request("tools/call", {"name": "tallygate_hook", "arguments": TOOL})
        assert server.close() == 0
    (line,) = (project / ".l6e" / "runs.jsonl").read_text().splitlines()
    assert json.loads(line)["end_cause"] == "client_gone"


@pytest.mark.slow
@pytest.mark.parametrize(
    "event, name, code",
    [
        (b"no json", "PreToolUse", 0),
        (b"[1]", "UserPromptSubmit", 0),
        (b"\xff" * 100, "PostToolBatch", 0),
        (b'{"session_id": 5}', "PreToolUse", 0),
        (b"{}", "SessionEnd", 0),
    ],
)
def test_what_cannot_be_read_is_refused_in_the_clients_own_words(home, project, event, name, code):
    done = run_hook(home, project, event, name=name)
    assert done.returncode == code
    answer = json.loads(done.stdout)
    stops = {"PreToolUse": "hookSpecificOutput", "UserPromptSubmit": "decision", "PostToolBatch": "stopReason"}
    assert (stops.get(name, "continue") in answer) == (name in stops)
    assert b"Hook" in done.stderr, "the reason is said where a person looks"


@pytest.mark.parametrize("name, code", [("PreToolUse", 2), ("BeforeModel", 2), ("Stop", 0), ("SessionEnd", 0)])
def test_where_no_gate_can_be_started_what_can_be_stopped_is_stopped(capsys, name, code):
    assert hook._undecided(name, None) == hook._undecided(name, "halt") == code
    assert "tallygate doctor" in capsys.readouterr().err
    assert hook._undecided(name, "allow") == 0


def test_the_program_needs_nothing_but_the_standard_library_and_little_of_that():
    code = f"import sys, runpy; runpy.run_path({str(PROGRAM)!r}); print(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split()) - {"runpy", "pkgutil"}
    assert not loaded & {
        "json",
        "socket",
        "subprocess",
        "pathlib",
        "asyncio",
        "sqlite3",
        "tallygate",
        "mcp",
        "pydantic",
    }


@pytest.mark.parametrize("request_line", [
    b"", b"\n", b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", b"tallygate-hook 1 wrong claude_code Stop own - 0 2\n{}",
    b"tallygate-hook 2 TOKEN claude_code Stop own - 0 2\n{}", b"tallygate-hook 1 TOKEN claude_code Stop own - -1 2\n{}",
    b"tallygate-hook 1 TOKEN claude_code Stop own - 0 99999999999\n{}",
    b"tallygate-hook 1 TOKEN claude_code Stop own - 0 500\n{}",
    b"\xff" * 5000,
])  # fmt: skip
def test_a_stranger_at_the_port_gets_nothing(listening, request_line):
    port, token = listening
    with socket.create_connection(("127.0.0.1", port), timeout=5) as link:
        link.sendall(request_line.replace(b"TOKEN", token.encode()))
        link.shutdown(socket.SHUT_WR)
        with contextlib.suppress(ConnectionResetError):
            assert link.recv(100) == b""


@pytest.fixture
def listening(world, tmp_path):
    from tallygate.entrypoints.hook_listener import HookListener

    dispatcher = HookDispatcher(lambda _: world.rt)
    made = HookListener(dispatcher, tmp_path / "one.hook", None, os.getppid(), lambda size: "ab" * size)
    made.start()
    port, token, parent, *_ = (tmp_path / "one.hook").read_text().split()
    assert int(parent) == os.getppid()
    yield int(port), token
    made.stop()


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(max_size=20)
    | st.sampled_from([SESSION, "x" * 300, "${agent_id}"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=6,
)
FIELDS = ["session_id", "sessionId", "tool_name", "tool_use_id", "transcript_path", "cwd", "agent_id", "prompt_id",
          "hook_event_name", "tool_calls", "source", "reason", "model", "file_path"]  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(
    client=st.sampled_from([*REGISTRY.hooks, "nobody"]),
    name=st.sampled_from(["PreToolUse", "SessionStart", "BeforeModel", "chat.params", "preToolUse", "nonsense"]),
    raw=st.dictionaries(st.sampled_from(FIELDS), VALUES),
)
def test_whatever_comes_in_gets_an_answer_that_is_json(tmp_path_factory, client, name, raw):
    from tests.world import make_world

    world = make_world(tmp_path_factory.mktemp("w"))
    try:
        reply = HookDispatcher(lambda _: world.rt).answer(client, name, raw)
        assert reply.exit_code in (0, 1, 2)
        json.dumps(reply.body)
        assert not world.problems()
    finally:
        world.ledger.close()


def test_an_input_beyond_the_bound_is_refused(world):
    reply = HookDispatcher(lambda _: world.rt).answer_bytes("claude_code", "PreToolUse", b" " * (INPUT_BYTES_MAX + 1))
    assert reply.body["hookSpecificOutput"]["permissionDecision"] == "deny"


def test_a_gate_with_a_fault_stops_the_step_and_names_who_finds_it(world, caplog):
    def broken(size):
        raise RuntimeError

    dispatcher = HookDispatcher(lambda _: world.with_runtime(new_token=broken).rt)
    said = dispatcher.answer("claude_code", None, PROMPT).body
    assert said["decision"] == "block"
    assert "Run: tallygate doctor" in said["reason"]
    assert any(record.exc_info for record in caplog.records), "and its log has the details"


@pytest.mark.parametrize("client", ["claude_code", "claude-code", "Claude Code"])
def test_a_client_is_one_in_every_spelling_of_its_name(world, client):
    told = {"session_id": "c1", "prompt": "hi", "hook_event_name": "UserPromptSubmit"}
    HookDispatcher(lambda _: world.rt).answer(client, None, told)
    with world.ledger.reading() as reader:
        [session] = reader.sessions_linked("claude_code", "c1")
    assert session.client == "claude-code"


@pytest.mark.slow
def test_a_server_ends_only_the_sessions_of_its_own_client(home, project):
    (project / ".l6e" / "config.toml").write_text('[[budget]]\nscope = "session"\nlimit_usd = 5\n')
    # A client of its own, which starts a server; another client's server runs in the same workspace.
    other = subprocess.Popen(
        [sys.executable, "-c", "import subprocess, sys; subprocess.run(sys.argv[1:])", *SERVE],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment(home, project),
    )  # fmt: skip
    with Server(SERVE, home, environ=environment(home, project)) as server:
        server.greet().tools()
        greeting = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "x", "version": "1"}}
        hello = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": greeting}
        other.stdin.write(json.dumps(hello).encode() + b"\n")
        other.stdin.flush()
        assert b"serverInfo" in other.stdout.readline()
        # This process started one of the two servers, so it is that one's client.
        run_hook(home, project, PROMPT)
        other.communicate(timeout=300)
        (session,) = spent(home, project)
        assert session["state"] == "open", "another client's server has ended"
    (session,) = spent(home, project)
    assert (session["state"], session["end_cause"]) == ("ended", "client_gone")


NESTED = """
import json, os, subprocess, sys
client, hook, event = sys.argv[1:]
def run(number):
    subprocess.run(hook.split(), input=event.replace("NUMBER", str(number)).encode(), check=True, capture_output=True)
if client == "outer":
    server = subprocess.Popen([sys.executable, "-m", "tallygate", "serve"], stdin=-1, stdout=-1, stderr=-3)
    hello = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "x", "version": "1"}}
    request = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": hello}
    server.stdin.write(json.dumps(request).encode() + b"\\n")
    server.stdin.flush()
    server.stdout.readline()
    run(1)
    # What an agent may do in a shell: start another client.
    shell = ["sh", "-c", '"$@"; true', "sh"]
    subprocess.run([*shell, sys.executable, "-c", sys.argv_source, "inner", hook, event], check=True)
    server.communicate()
else:
    run(2)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="only there a process can tell who started it")
def test_a_client_that_an_agent_starts_in_a_shell_spends_the_budget_of_the_one_it_runs_in(home, project):
    (project / ".l6e" / "config.toml").write_text('[[budget]]\nscope = "session"\nlimit_usd = 5\n')
    source = NESTED.replace("sys.argv_source", repr(NESTED.replace("sys.argv_source", "''")))
    command = f"{sys.executable} -I -S {PROGRAM} --client claude_code --event UserPromptSubmit"
    event = json.dumps({**PROMPT, "session_id": "client-NUMBER", "prompt_id": "pNUMBER"})
    subprocess.run(
        [sys.executable, "-c", source, "outer", command, event],
        env=environment(home, project), cwd=project, check=True, timeout=300,
    )  # fmt: skip
    inner, outer = spent(home, project)
    assert inner["parent_session_id"] == outer["session_id"]
    assert outer["parent_session_id"] is None
    used = [session["spent"] + session["reserved"] for session in (inner, outer)]
    assert used[0] > 0
    assert used[1] == pytest.approx(2 * used[0]), "its own step, and that of the client inside it"


@pytest.mark.slow
def test_what_a_tool_is_given_is_looked_at_and_kept_nowhere(home, project):
    (project / ".l6e" / "config.toml").write_text('[[budget]]\nscope = "session"\nlimit_usd = 5\n')
    ledger = home / "data" / "ledger.db"
    given = {"command": f"echo zebra-word; rm {ledger}", "file_path": "", "content": ""}
    long = {"command": "", "file_path": str(project / "a.txt"), "content": "zebra-word\n" * 200_000}
    with Server(SERVE, home, environ=environment(home, project)) as server:
        server.greet().tools()
        for number, (tool, tool_input) in enumerate([("Bash", given), ("Write", long)]):
            call = TOOL | {"tool_name": tool, "tool_use_id": f"toolu_{number}", "tool_input": tool_input}
            answer = server.request("tools/call", {"name": "tallygate_hook", "arguments": call})
            said = json.loads(answer["content"][0]["text"])
            refused = said.get("hookSpecificOutput", {}).get("permissionDecision") == "deny"
            assert refused is (tool == "Bash")
            assert "zebra-word" not in json.dumps(said)
    kept = [path for path in home.rglob("*") if path.is_file() and b"zebra-word" in path.read_bytes()]
    assert (kept, ledger.exists()) == ([], True)


def test_where_nothing_can_be_counted_a_session_is_told_so_when_it_begins():
    def lost(_):
        raise SettingsError("The settings file is not here: /h/config.toml.", hint="Run: tallygate init")

    dispatcher, untold = HookDispatcher(lost), []
    starts = {"copilot": "sessionStart", "opencode": "session.created"}
    for client in REGISTRY.hooks:
        name = starts.get(client, "SessionStart")
        reply = dispatcher.answer(client, name, {"session_id": SESSION, "sessionId": SESSION, "sessionID": SESSION})
        said = json.dumps(reply.body)
        if not all(each in said for each in ("nothing can be counted here", "/h/config.toml", "tallygate init")):
            untold.append((client, said))
    assert untold == []


# Where a client in print mode would go on, or end as if all were well, though no step of it is counted.
ENDED = {
    "claude_code": {"UserPromptSubmit", "PreToolUse", "PostToolBatch", "SessionEnd"},
    "codex": {"UserPromptSubmit", "PreToolUse"},
    "qwen": {"UserPromptSubmit", "PreToolUse", "PreCompact", "SubagentStart"},
    "copilot": set(),  # a refused prompt ends it by itself
    "gemini": set(),
    "opencode": set(),
}


@pytest.mark.parametrize("client", ENDED)
def test_settings_that_cannot_be_read_end_a_run_in_print_mode_as_a_spent_budget_does(client):
    def broken(_):
        raise SettingsError("/h/config.toml:1: unknown setting 'budgets'.")

    raw = {"session_id": SESSION, "sessionId": SESSION, "sessionID": SESSION}
    replies = {name: HookDispatcher(broken).answer(client, name, raw) for name in REGISTRY.hooks[client].moments}
    assert {name for name, reply in replies.items() if reply.last_words} == ENDED[client]
    assert all("unknown setting 'budgets'" in replies[name].last_words for name in ENDED[client])
    alone = {name for name in REGISTRY.hooks[client].moments if refused(client, name, "no places").last_words}
    assert alone == ENDED[client], "and where the gate is started for the hook alone"
    gated = set(hook.GATING.split())
    assert program_called(client).undecided == ENDED[client] & gated, "and where no gate could be started"


def test_where_no_gate_can_be_started_a_run_is_ended_by_its_main_agent_alone(monkeypatch, capsys):
    ended = []
    monkeypatch.setattr(stopping, "end_run", lambda client, text: ended.append((client, text)) or True)
    told = json.dumps({"session_id": "s", "prompt": 'say "agent_id"'}).encode()
    hook._end_undecided("claude_code", "UserPromptSubmit", told)
    assert [client for client, text in ended if b"could not be started" in text] == ["claude_code"]
    hook._end_undecided("claude_code", "PreToolUse", json.dumps({"agent_id": "a1"}).encode())
    hook._end_undecided("claude_code", "PreCompact", told)
    hook._end_undecided("gemini", "BeforeModel", told)
    assert (len(ended), capsys.readouterr().err) == (1, "")


def test_one_hook_that_cannot_be_read_ends_a_run_at_its_prompt_and_never_for_a_subagent(world):
    dispatcher = HookDispatcher(lambda _: world.rt)
    odd = {"session_id": 5, "prompt": "x"}
    assert dispatcher.answer("claude_code", "UserPromptSubmit", odd).last_words
    assert not dispatcher.answer("claude_code", "PreToolUse", {**odd, "agent_id": "a1"}).last_words
    assert not dispatcher.answer("codex", "PreToolUse", odd).last_words, "the next tool may be told rightly"
    assert not dispatcher.answer("claude_code", "SessionEnd", odd).last_words
    quiet = HookDispatcher(lambda _: world.with_runtime(interrupts=False).rt)
    assert not quiet.answer("claude_code", "UserPromptSubmit", odd).last_words, "switched off by the user"


def test_a_command_in_an_answer_begins_as_the_shell_of_who_works_there_finds_the_program(world):
    there = replace(world.rt, workspace=replace(world.rt.workspace, program="/opt/there/tallygate"))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(
            "tallygate.entrypoints.hook_dispatcher.answer_hook",
            lambda *_: HookAnswer(HookVerdict.STOP, "Tallygate: it is damaged. Run: tallygate doctor"),
        )
        said = HookDispatcher(lambda _: there).answer("claude_code", "UserPromptSubmit", PROMPT)
    assert said.body["reason"] == "Tallygate: it is damaged. Run: /opt/there/tallygate doctor"


@pytest.mark.parametrize("match", ["", 'match = "plain"\n', 'match = "~/plain"\n'])
def test_a_budget_of_projects_holds_the_first_session_in_a_folder_without_a_repository(home, monkeypatch, match):
    (home / "plain").mkdir()
    settings_file = home / ".config" / "tallygate" / "config.toml"
    settings_file.parent.mkdir(parents=True)
    settings_file.write_text(f'[[budget]]\nscope = "project"\nperiod = "day"\nlimit_usd = 0.0001\n{match}')
    monkeypatch.chdir(home / "plain")
    app = compose(settings_here(), by="test")
    try:
        said = HookDispatcher(app.runtime_for).answer("claude_code", None, {**PROMPT, "cwd": str(home / "plain")})
    finally:
        app.close()
    assert said.body["decision"] == "block"
    assert f"Project {home}/plain" in said.body["reason"]
