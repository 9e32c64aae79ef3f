"""Which process may be ended, which never, and how: by what was started, whose it is, and where it runs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
from bench import wire
from bench.wire import ROOT

from tallygate.clients.ancestry import Process
from tallygate.clients.program import program_called
from tallygate.clients.registry import REGISTRY
from tallygate.core.hooks import GATED, Moment
from tallygate.entrypoints import attended, hook
from tallygate.entrypoints.attended import unattended
from tallygate.entrypoints.stopping import _wrapper, parting, running, runs_one_prompt, say


@pytest.mark.parametrize(
    "client, line, ends",
    [
        ("codex", "codex exec do it", True),
        ("codex", "codex exec --experimental-json", False),
        ("codex", "codex -c a=b --search exec resume x", True),
        ("codex", "codex --model=m e go", True),
        ("codex", "codex", False),
        ("codex", "codex -m exec", False),
        ("codex", "codex app-server", False),
        ("codex", "codex mcp exec", False),
        ("qwen", "node /x/qwen.js -p go", True),
        ("qwen", "node /x/qwen.js --prompt=go", True),
        ("qwen", "node /x/qwen.js", False),
        ("qwen", "node /x/qwen.js -i go", False),
        ("qwen", "node /x/qwen.js -p go --input-format stream-json", False),
        ("qwen", "node /x/qwen.js -p go --input-format=stream-json", False),
        ("claude_code", "claude -p go", True),
        ("claude_code", "claude --model x --print go", True),
        ("claude_code", "claude -cp go", True),
        ("claude_code", "claude", False),
        ("claude_code", "claude go", False),
        ("claude_code", "claude -nprod go", False),
        ("claude_code", "claude -- -p", False),
        ("claude_code", "claude -p --input-format stream-json", False),
        ("claude_code", "claude --input-format=stream-json --print", False),
        ("gemini", "node /x/gemini.js -p go", True),
        ("gemini", "gemini", False),
        ("opencode", "opencode run go", False),
        ("qwen", "node /x/qwen.js --acp -p go", False),
        ("copilot", "copilot -p go", True),
        ("copilot", "copilot --prompt=go --yolo", True),
        ("copilot", "copilot", False),
        ("copilot", "copilot -i go", False),
        ("copilot", "copilot -p go --acp", False),
        ("copilot", "copilot --headless --stdio", False),
    ],
)
def test_only_a_run_of_one_prompt_is_ended(client, line, ends):
    assert program_called(client).prints(tuple(line.split(" "))) is ends


QWEN = "node --max-old-space-size=4096 /x/qwen.js"


@pytest.mark.parametrize("typed", [True, False], ids=["on a terminal", "piped"])
@pytest.mark.parametrize(
    "client, line, told, ends",
    [
        # What runs one prompt: (on a terminal, piped).
        ("qwen", f"{QWEN} go", "", (True, True)),
        ("qwen", f"{QWEN} -y -m gpt-4.1 go", "", (True, True)),
        ("qwen", f"{QWEN} --output-format json --no-telemetry -- go", "", (True, True)),
        ("qwen", f"{QWEN} --model=gpt-4.1 go on", "", (True, True)),
        ("qwen", "/bin/qwen go", "", (True, True)),
        ("qwen", QWEN, "", (False, True)),
        ("qwen", f"{QWEN} -m gpt-4.1", "", (False, True)),
        ("qwen", f"{QWEN} --allowed-tools edit shell", "", (False, True)),
        ("qwen", f"{QWEN} --some-new-option go", "", (False, True)),
        ("qwen", f"{QWEN} -i go", "", (False, False)),
        ("qwen", f"{QWEN} go -i", "", (False, False)),
        ("qwen", f"{QWEN} --acp", "", (False, False)),
        ("qwen", f"{QWEN} go --input-format stream-json", "", (False, False)),
        ("qwen", f"{QWEN} serve", "", (False, False)),
        ("qwen", f"{QWEN} channel start", "", (False, False)),
        ("copilot", "copilot --yolo", "", (False, True)),
        ("copilot", "copilot -i go", "", (False, False)),
        ("copilot", "copilot --headless --stdio", "", (False, False)),
        ("gemini", "node /x/gemini.js go", "", (False, True)),
        ("gemini", "node /x/gemini.js -i go", "", (False, False)),
        ("claude_code", "claude go", "sdk-cli", (False, True)),
        ("claude_code", "claude go", "cli", (False, False)),
        ("claude_code", "claude go", "sdk-py", (False, False)),
        ("claude_code", "claude go", "", (False, False)),
        ("claude_code", "claude --input-format stream-json", "sdk-cli", (False, False)),
        ("codex", "codex go", "", (False, False)),
    ],
)
def test_without_an_option_that_says_so_a_run_of_one_prompt_is_told_by_its_ends(
    tmp_path, monkeypatch, client, line, told, ends, typed
):
    monkeypatch.setenv("CLAUDE_CODE_ENTRYPOINT", told)
    folder = tmp_path / "7" / "fd"
    folder.mkdir(parents=True)
    for number in ("0", "1"):
        (folder / number).symlink_to("/dev/pts/3" if typed else "pipe:[77]")
    words = tuple(line.split(" "))
    assert runs_one_prompt(program_called(client), 7, words, tmp_path) is ends[not typed]
    if " go" not in line:
        assert not runs_one_prompt(program_called(client), 8, words, tmp_path), "what cannot be seen ends nothing"


def process(
    proc: Path,
    pid: int,
    parent: int,
    line: str,
    *,
    uid: int | None = None,
    namespace: str = "pid:[1]",
    variables: str = "",
) -> None:
    place = proc / str(pid)
    (place / "ns").mkdir(parents=True)
    rest = " ".join(["0"] * 17)
    (place / "stat").write_text(f"{pid} (a b) c) S {parent} {rest} 77{pid} 0")
    (place / "cmdline").write_bytes(line.replace(" ", "\0").encode() + b"\0")
    (place / "status").write_text(f"Name:\tx\nUid:\t{os.getuid() if uid is None else uid}\t0\n")
    (place / "exe").symlink_to("/bin/" + line.split(" ", maxsplit=1)[0])
    (place / "ns" / "pid").symlink_to(namespace)
    (place / "environ").write_text(variables.replace(" ", "\0"))


@pytest.mark.parametrize(
    "what, ends",
    [
        ({}, True),
        ({"uid": os.getuid() + 1}, False),
        ({"namespace": "pid:[2]"}, False),
        ({"line": "codex"}, False),
        ({"line": "codex app-server"}, False),
        ({"line": "claude -p exec"}, False),
        ({"line": "bash exec"}, False),
    ],
    ids=str,
)
def test_the_nearest_client_above_is_ended_only_where_it_is_certain(tmp_path, what, ends):
    (tmp_path / "self" / "ns").mkdir(parents=True)
    (tmp_path / "self" / "ns" / "pid").symlink_to("pid:[1]")
    process(tmp_path, 30, 20, "sh -c hook")
    process(tmp_path, 20, 1, what.pop("line", "codex exec go"), **what)
    found = running("codex", 30, tmp_path)
    assert (found is not None) is ends
    assert found is None or (found[0].pid, found[0].started) == (20, "7720")


def test_a_client_in_which_the_hooks_own_one_was_started_is_left_alone(tmp_path):
    (tmp_path / "self" / "ns").mkdir(parents=True)
    (tmp_path / "self" / "ns" / "pid").symlink_to("pid:[1]")
    process(tmp_path, 30, 20, "claude")
    process(tmp_path, 20, 1, "codex exec go")
    assert running("codex", 30, tmp_path) is None


@pytest.mark.parametrize(
    "above, entry, ends",
    [
        ("bash -c hook", "", True),
        ("uv run hook", "", True),
        ("python -m pytest", "", False),
        ("sh -c hook", "A=1 CLAUDE_CODE_ENTRYPOINT=cli", True),
        ("sh -c hook", "CLAUDE_CODE_ENTRYPOINT=sdk-cli", True),
        ("sh -c hook", "CLAUDE_CODE_ENTRYPOINT=sdk-py", False),
        ("sh -c hook", "CLAUDE_CODE_ENTRYPOINT=claude-vscode", False),
    ],
)
def test_a_client_that_a_program_runs_and_a_program_that_is_no_hook_of_the_client_end_nothing(
    tmp_path, above, entry, ends
):
    (tmp_path / "self" / "ns").mkdir(parents=True)
    (tmp_path / "self" / "ns" / "pid").symlink_to("pid:[1]")
    process(tmp_path, 30, 20, above)
    process(tmp_path, 20, 1, "claude -p go", variables=entry)
    assert (running("claude_code", 30, tmp_path) is not None) is ends


def copilot_at(proc, line, stdin):
    (proc / "self" / "ns").mkdir(parents=True)
    (proc / "self" / "ns" / "pid").symlink_to("pid:[1]")
    process(proc, 30, 20, "bash -c hook")
    process(proc, 20, 10, line)
    (proc / "20" / "fd").mkdir()
    (proc / "20" / "fd" / "0").symlink_to(stdin)


@pytest.mark.parametrize(
    "line, stdin, ends",
    [
        ("copilot -p go", "/dev/null", True),
        ("copilot", "/dev/pts/3", True),
        ("copilot", "pipe:[77]", True),
        ("copilot --acp", "pipe:[77]", False),
        ("copilot --headless --stdio", "pipe:[77]", False),
        ("copilot --acp", "/dev/pts/3", False),
    ],
)
def test_copilot_is_ended_on_a_terminal_too_and_never_where_a_program_talks_to_it(tmp_path, line, stdin, ends):
    copilot_at(tmp_path, line, stdin)
    assert (running("copilot", 30, tmp_path) is not None) is ends


@pytest.mark.parametrize("client, line", [("codex", "codex"), ("qwen", "qwen"), ("claude_code", "claude")])
def test_no_other_client_is_ended_on_a_terminal(tmp_path, client, line):
    copilot_at(tmp_path, line, "/dev/pts/3")
    assert running(client, 30, tmp_path) is None


@pytest.mark.parametrize(
    "line, what, found",
    [
        ("node /x/node_modules/@github/copilot/npm-loader.js -p go", {}, True),
        ("node /x/.bin/copilot -p go", {}, True),
        ("copilot -p go", {}, False),
        ("node /x/script.js", {}, False),
        ("bash ci.sh", {}, False),
        ("node /x/.bin/copilot -p go", {"uid": os.getuid() + 1}, False),
        ("node /x/.bin/copilot -p go", {"namespace": "pid:[2]"}, False),
    ],
)
def test_only_the_script_that_started_copilot_is_its_wrapper(tmp_path, line, what, found):
    copilot_at(tmp_path, "copilot -p go", "/dev/null")
    process(tmp_path, 10, 1, line, **what)
    assert (_wrapper(program_called("copilot"), 10, tmp_path) is not None) is found


def test_without_a_list_of_processes_nothing_is_ended(tmp_path):
    assert running("codex", 30, tmp_path) is None


def test_claude_code_is_ended_where_its_main_agent_is_refused_but_not_at_a_compaction():
    ended = {moment.value for moment in Moment if REGISTRY.facts_of("claude_code").ends_run(moment, again=False)}
    assert ended == {"prompt", "tool", "tools_done"}
    assert not any(REGISTRY.facts_of("claude_code").ends_run(moment, again=True, subagent=True) for moment in Moment)


def test_a_second_refusal_ends_codex_a_refused_prompt_codex_and_qwen_and_a_refused_tool_copilots_turn():
    found = {
        (client, moment.value, again)
        for client in REGISTRY.hooks
        for moment in Moment
        for again in (False, True)
        if client != "claude_code" and REGISTRY.facts_of(client).ends_run(moment, again=again)
    }
    qwen = {("qwen", moment.value, again) for moment in GATED for again in (False, True)}
    prompts = {("codex", "prompt", False), ("codex", "prompt", True)}
    copilot = {("copilot", "tool", False), ("copilot", "tool", True)}
    assert found == {("codex", "tool", True)} | prompts | qwen | copilot


# A client by its name and words: it asks its hooks, says what they answered, and ends by itself.
CLIENT = """
import json, os, subprocess, sys
from pathlib import Path
from bench.wire import Server
HOOK, PYTHON = os.environ["HOOK"], os.environ["PYTHON"]
def run(name, **more):
    event = json.dumps({"session_id": "client-1", "hook_event_name": name, **more})
    command = f"{PYTHON} -I -S {HOOK} --client claude_code --event {name}"
    return subprocess.run(["sh", "-c", command + "; exit $?"], input=event.encode(), stderr=2).returncode
if os.environ["BY"] == "server":
    tool = {"client": "claude_code", "event": "PreToolUse", "session_id": "client-1", "tool_name": "Bash"}
    serve = [PYTHON, "-m", "tallygate", "serve"]
    with Server(serve, Path(os.environ["HOME"]), environ=dict(os.environ), quiet=True) as server:
        server.greet()
        print(server.request("tools/call", {"name": "tallygate_hook", "arguments": {**tool, "tool_use_id": "t1"}}))
else:
    run("UserPromptSubmit", prompt="go", prompt_id="p1")
print("last", run("SessionEnd", reason="other"))
"""


SPENT = '[[budget]]\nscope = "session"\nlimit_usd = 0.0001\n'


def client_run(home: Path, words: str, by: str, stop: str, project: str = SPENT) -> tuple[int, str, str]:
    """Exit code, output and errors of such a client whose budget carries nothing."""
    (home / "project" / ".l6e").mkdir(parents=True)
    (home / "project" / ".l6e" / "config.toml").write_text(project)
    (home / "settings.toml").write_text(f'[enforcement]\nstop = "{stop}"\n')
    environ = wire.environment(
        home,
        TALLYGATE_PROJECT_DIR=str(home / "project"),
        TALLYGATE_CONFIG=str(home / "settings.toml"),
        HOOK=hook.__file__,
        PYTHON=sys.executable,
        BY=by,
    )
    makes = [sys.executable, "-m", "tallygate", "sessions", "list"]  # the ledger: no hook does
    subprocess.run(makes, env=environ, cwd=ROOT, capture_output=True, check=True)
    done = subprocess.run(
        ["claude", "-c", CLIENT, *words.split()], executable=sys.executable, env=environ, cwd=ROOT,
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


only_linux = pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="there nothing is ended")


@only_linux
@pytest.mark.slow
@pytest.mark.parametrize("by", ["server", "hook"])
def test_claude_code_in_print_mode_is_ended_with_its_reason_on_stderr(home, by):
    code, output, errors = client_run(home, "-p go", by, "interrupt")
    assert code == -signal.SIGTERM
    assert "last" not in output, "it went on"
    way_on = {"server": "tallygate budget raise", "hook": "This run never began: raise the limit of a session"}
    assert errors.count(way_on[by]) == 1


@only_linux
@pytest.mark.slow
@pytest.mark.parametrize("by", ["server", "hook"])
def test_claude_code_in_print_mode_is_ended_where_the_settings_of_its_project_cannot_be_read(home, by):
    code, output, errors = client_run(home, "-p go", by, "interrupt", SPENT.replace("budget]", "budgets]"))
    assert code == -signal.SIGTERM
    assert "last" not in output, "it went on"
    assert errors.count("unknown setting 'budgets'") >= 1


@only_linux
@pytest.mark.slow
@pytest.mark.parametrize("words, told", [("-p go", 1), ("go", 0)])
def test_where_nothing_is_ended_the_end_of_a_run_in_print_mode_says_why_it_was_stopped(home, words, told):
    code, output, errors = client_run(home, words, "hook", "refuse")
    assert (code, output.splitlines()[-1].rpartition("}")[2]) == (0, f"last {told}")
    assert errors.count("tallygate budget raise") == told
    assert output.startswith('{"decision": "block"'), "the answer stands"


def test_what_nobody_would_read_on_stderr_is_not_said_there_and_said_at_the_end(tmp_path):
    (tmp_path / "self" / "ns").mkdir(parents=True)
    (tmp_path / "self" / "ns" / "pid").symlink_to("pid:[1]")
    process(tmp_path, os.getppid(), 1, "claude -p go")
    errors = tmp_path / str(os.getppid()) / "fd" / "2"
    errors.parent.mkdir()
    (tmp_path / "log").write_text("kept")
    for place in (tmp_path / "log", Path(os.devnull)):
        errors.symlink_to(place)
        say(os.getppid(), b"words", tmp_path)
        assert parting("claude_code", always=False, proc=tmp_path)
        errors.unlink()
    assert (tmp_path / "log").read_text() == "kept"
    reading, writing = os.pipe()
    errors.symlink_to(f"/proc/self/fd/{writing}")
    assert not parting("claude_code", always=False, proc=tmp_path)
    assert parting("claude_code", always=True, proc=tmp_path)
    say(os.getppid(), b"words", tmp_path)
    assert os.read(reading, 100) == b"words\n"
    os.close(reading)
    os.close(writing)


@pytest.mark.parametrize(
    ("line", "variables", "alone"),
    [
        ("claude", {"CLAUDE_CODE_ENTRYPOINT": "cli"}, False),
        ("claude", {}, False),
        ("claude -p go", {"CLAUDE_CODE_ENTRYPOINT": "sdk-cli"}, True),
        ("claude --print go", {}, True),
        ("claude --output-format stream-json", {"CLAUDE_CODE_ENTRYPOINT": "sdk-py"}, True),
        ("claude --input-format stream-json", {}, True),
        ("claude", {"CLAUDE_CODE_ENTRYPOINT": "claude-vscode"}, False),
        ("codex exec go", {}, True),
        ("codex", {}, False),
        ("copilot -p go", {}, True),
        ("copilot", {}, False),
        ("cursor-agent -p go", {}, True),
        ("cursor-agent", {}, False),
        ("vim -p a b", {}, False),
    ],
)
@pytest.mark.parametrize("between", [[], ["sh", "uv"]])
def test_nobody_sits_before_a_client_in_print_mode_or_for_an_sdk(line, variables, alone, between):
    words = tuple(line.split())
    above = [*(Process(2, f"/bin/{name}", (name,)) for name in between), Process(1, f"/bin/{words[0]}", words)]
    assert unattended(variables, above) is alone


@pytest.mark.parametrize("stdin, alone", [("pipe:[77]", True), ("/dev/pts/3", False)])
@pytest.mark.parametrize("client", ["copilot", "gemini", "qwen"])
def test_nobody_sits_before_a_client_that_a_prompt_is_piped_into(tmp_path, monkeypatch, client, stdin, alone):
    (tmp_path / "7" / "fd").mkdir(parents=True)
    (tmp_path / "7" / "fd" / "0").symlink_to(stdin)
    monkeypatch.setattr(attended, "runs_one_prompt", partial(runs_one_prompt, proc=tmp_path))
    assert unattended({}, [Process(7, f"/bin/{client}", (client,))]) is alone


def test_a_client_further_up_says_nothing_of_whoever_started_the_server():
    above = [Process(3, "/usr/bin/pytest", ("pytest",)), Process(2, "/bin/claude", ("claude", "-p", "go"))]
    assert not unattended({}, above)
    assert not unattended({}, [])
