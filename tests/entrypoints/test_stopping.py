"""Which process may be ended, and which never: by what was started, whose it is, and where it runs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tallygate.clients.hook_clients import HOOKS
from tallygate.core.hooks import GATED, Moment, ends_run
from tallygate.entrypoints.stopping import prints, running


@pytest.mark.parametrize(
    "client, line, ends",
    [
        ("codex", "codex exec do it", True),
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
        ("claude_code", "claude -p go", False),
        ("gemini", "gemini -p go", False),
    ],
)
def test_only_a_run_of_one_prompt_is_ended(client, line, ends):
    assert prints(client, tuple(line.split(" "))) is ends


def process(
    proc: Path, pid: int, parent: int, line: str, *, uid: int | None = None, namespace: str = "pid:[1]"
) -> None:
    place = proc / str(pid)
    (place / "ns").mkdir(parents=True)
    rest = " ".join(["0"] * 17)
    (place / "stat").write_text(f"{pid} (a b) c) S {parent} {rest} 77{pid} 0")
    (place / "cmdline").write_bytes(line.replace(" ", "\0").encode() + b"\0")
    (place / "status").write_text(f"Name:\tx\nUid:\t{os.getuid() if uid is None else uid}\t0\n")
    (place / "exe").symlink_to("/bin/" + line.split(" ", maxsplit=1)[0])
    (place / "ns" / "pid").symlink_to(namespace)


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


def test_without_a_list_of_processes_nothing_is_ended(tmp_path):
    assert running("codex", 30, tmp_path) is None


def test_a_second_refusal_ends_codex_a_refused_prompt_codex_and_qwen_and_a_refused_tool_copilots_turn():
    found = {
        (client, moment.value, again)
        for client in HOOKS
        for moment in Moment
        for again in (False, True)
        if ends_run(client, moment, again=again)
    }
    qwen = {("qwen", moment.value, again) for moment in GATED for again in (False, True)}
    prompts = {("codex", "prompt", False), ("codex", "prompt", True)}
    copilot = {("copilot", "tool", False), ("copilot", "tool", True)}
    assert found == {("codex", "tool", True)} | prompts | qwen | copilot
