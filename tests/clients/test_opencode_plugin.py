"""opencode's plugin, run as a program: what it tells the hook command, and what it does with the answer."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from tallygate.clients.opencode.hooks import MOMENTS
from tallygate.clients.registry import REGISTRY
from tallygate.core.guard.fence import Edit, Reach

PLUGIN = files("tallygate.clients.opencode").joinpath("plugin.js").read_text(encoding="utf-8")
NODE = shutil.which("node") or shutil.which("bun")

# Stands for the hook command: notes what it is told, and answers what the test wants.
COMMAND = """
import json, pathlib, sys
here = pathlib.Path(__file__).parent
event = sys.argv[sys.argv.index("--event") + 1]
with open(here / "told.jsonl", "a", encoding="utf-8") as told:
    print(json.dumps([event, json.loads(sys.stdin.read())]), file=told)
answers = json.loads((here / "answers.json").read_text(encoding="utf-8"))
print(answers.get(event, answers["*"]), end="")
sys.exit(answers.get("code", 0))
"""
# Stands for opencode: fires one hook after the other, and notes what is shown and what is thrown.
CLIENT = """
import { readFileSync } from "node:fs"
import { Tallygate } from "./plugin.mjs"
const out = []
const children = { child: "root", grandchild: "child" }
const client = {
  tui: { showToast: async ({ body }) => { out.push(["shown", body.message]) } },
  app: { log: async () => { throw new Error("no log") } },
  session: { get: async ({ path }) => ({ data: { id: path.id, parentID: children[path.id] } }) },
}
const hooks = await Tallygate({ client, directory: "/w" })
for (const [name, ...given] of JSON.parse(readFileSync(process.argv[2], "utf8"))) {
  try {
    await hooks[name](...given)
    out.push([name, "done"])
  } catch (error) {
    out.push([name, "thrown", error.message])
  }
}
console.log(JSON.stringify(out))
"""
MODEL = {"providerID": "p", "modelID": "m"}
MESSAGE = [{"sessionID": "root"}, {"message": {"id": "m1", "agent": "build", "model": MODEL}, "parts": ["secret"]}]
PARAMS = {"sessionID": "root", "agent": "build", "model": {"id": "m", "providerID": "p"}, "message": {"id": "m1"}}
GIVEN = {"command": "rm x", "description": "secret", "timeout": 5, "content": "x" * 2_000_000}
BASH = [{"sessionID": "root", "tool": "bash", "callID": "c1"}, {"args": GIVEN}]


class Stage:
    """A plugin between a made-up opencode and a made-up hook command."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.command = [sys.executable, "-I", "-S", str(folder / "command.py"), "--client", "opencode"]

    def run(self, *fired: list[Any], answers: dict[str, Any], faults_pass: bool = False) -> list[list[str]]:
        (self.folder / "command.py").write_text(COMMAND, encoding="utf-8")
        (self.folder / "client.mjs").write_text(CLIENT, encoding="utf-8")
        (self.folder / "answers.json").write_text(json.dumps({"*": "{}"} | answers), encoding="utf-8")
        plugin = PLUGIN.replace("@COMMAND@", json.dumps(self.command))
        plugin = plugin.replace("@LETS_FAULTS_PASS@", json.dumps(faults_pass))
        (self.folder / "plugin.mjs").write_text(plugin, encoding="utf-8")
        (self.folder / "fired.json").write_text(json.dumps(fired), encoding="utf-8")
        environment = {"TALLYGATE_ON_FAULT": "allow"}  # the client's environment says nothing here
        done = subprocess.run(
            [NODE or "", str(self.folder / "client.mjs"), str(self.folder / "fired.json")],
            capture_output=True,
            text=True,
            check=True,
            env=environment,
            timeout=300,
        )
        found: list[list[str]] = json.loads(done.stdout)
        return found

    def told(self) -> list[tuple[str, dict[str, Any]]]:
        return [tuple(json.loads(line)) for line in (self.folder / "told.jsonl").read_text().splitlines()]


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    if NODE is None:
        pytest.skip("no program here runs JavaScript")
    return Stage(tmp_path)


def test_the_command_is_put_in_at_one_place():
    assert (PLUGIN.count("@COMMAND@"), PLUGIN.count("@LETS_FAULTS_PASS@")) == (1, 1)
    assert PLUGIN.count("import ") == 3


def test_what_the_plugin_tells_can_be_read(stage):
    said = stage.run(
        ["event", {"event": {"type": "session.created", "properties": {"info": {"id": "root"}}}}],
        ["chat.message", *MESSAGE],
        ["chat.params", PARAMS | {"agent": "title"}],
        ["chat.params", PARAMS],
        ["tool.execute.before", *BASH],
        ["event", {"event": {"type": "message.updated", "properties": {}}}],
        ["event", {"event": {"type": "session.idle", "properties": {"sessionID": "root"}}}],
        ["dispose"],
        answers={},
    )
    assert {row[1] for row in said} == {"done"}
    events = [REGISTRY.hooks["opencode"].read(raw, name) for name, raw in stage.told()]
    assert [event.moment.value for event in events] == [
        "session_start", "prompt", "model", "model", "tool", "turn_end", "session_end",
    ]  # fmt: skip
    assert [event.key for event in events][1:5] == ["prompt:m1", "model:m1:1", "model:m1:2", "tool:c1"]
    assert {(event.client_session, event.agent_id, event.folder) for event in events} == {("root", None, "/w")}
    assert events[3].model == "m"
    assert "secret" not in json.dumps(stage.told())
    assert events[4].reach == Reach("rm x")


def test_of_a_tools_input_only_the_command_and_what_an_edit_is_judged_by_leave_the_client(stage):
    edit = {"filePath": "/a", "oldString": "x", "newString": "y", "replaceAll": True, "other": "secret"}
    stage.run(
        ["tool.execute.before", *BASH],
        ["tool.execute.before", {"sessionID": "root", "tool": "edit", "callID": "c2"}, {"args": edit}],
        ["tool.execute.before", {"sessionID": "root", "tool": "todo", "callID": "c3"}, {}],
        answers={},
    )
    told = [raw["args"] for _, raw in stage.told()]
    assert told == [{"command": "rm x"}, {name: edit[name] for name in edit if name != "other"}, {}]
    reached = [REGISTRY.hooks["opencode"].read(raw, name).reach for name, raw in stage.told()]
    assert reached == [Reach("rm x"), Reach(edits=(Edit("/a", swaps=(("x", "y", True),)),)), None]


def said(*texts):
    """A prompt of these parts."""
    parts = [{"type": "text", "text": text} for text in texts]
    return ["chat.message", {"sessionID": "root"}, {"message": {"id": "m1"}, "parts": parts}]


def test_a_line_that_raises_is_shown_its_answer_and_kept_from_the_model_and_from_logs(stage):
    shown = stage.run(said("tallygate raise 2"), answers={"chat.message": '{"stop": true, "message": "code 1a2b3c4d"}'})
    assert shown == [["shown", "code 1a2b3c4d"], ["chat.message", "thrown", "Tallygate has taken this line."]]
    [(name, raw)] = stage.told()
    assert REGISTRY.hooks["opencode"].read(raw, name).raising == ("2", None)


def test_a_line_that_nobody_can_answer_is_kept_from_the_model_too(stage):
    stage.command = [str(stage.folder / "gone")]
    assert stage.run(said("tallygate raise 2 1a2b3c4d"), answers={})[-1][:2] == ["chat.message", "thrown"]


@pytest.mark.parametrize("texts", [["secret"], ["please tallygate raise 2"], ["tallygate raise 2" + "x" * 200]])
def test_of_any_other_prompt_nothing_leaves_the_client(stage, texts):
    assert stage.run(said(*texts), answers={})[-1] == ["chat.message", "done"]
    assert "prompt" not in stage.told()[0][1]


def test_a_prompt_that_only_begins_like_such_a_line_goes_on_where_the_gate_lets_it(stage):
    assert stage.run(said("tallygate raise is what?"), answers={})[-1] == ["chat.message", "done"]


def test_a_subagent_belongs_to_the_session_a_user_started(stage):
    stage.run(["chat.params", PARAMS | {"sessionID": "grandchild"}], answers={})
    (event,) = [REGISTRY.hooks["opencode"].read(raw, name) for name, raw in stage.told()]
    assert (event.client_session, event.agent_id) == ("root", "grandchild")


def test_every_event_we_read_is_one_the_plugin_tells():
    assert [name for name in MOMENTS if f'"{name}"' not in PLUGIN] == []


@pytest.mark.parametrize("fired", [["chat.params", PARAMS], ["tool.execute.before", *BASH]])
def test_a_stop_is_thrown_where_nothing_has_been_spent_yet(stage, fired):
    said = stage.run(fired, answers={fired[0]: '{"stop": true, "message": "Spent."}'})
    assert said == [[fired[0], "thrown", "Spent."]]


@pytest.mark.parametrize("fired", [["chat.params", PARAMS], ["chat.message", *MESSAGE], ["tool.execute.before", *BASH]])
def test_a_notice_is_shown_and_stops_nothing(stage, fired):
    said = stage.run(fired, answers={fired[0]: '{"message": "$1.00 is left."}'})
    assert said == [["shown", "$1.00 is left."], [fired[0], "done"]]


@pytest.mark.parametrize(
    "answers",
    [
        {"*": "not json"},
        {"*": "[]"},
        {"*": "null"},
        {"*": "x" * 100_000},
        {"*": "", "code": 2},
        {"*": "", "code": 1},
    ],
)
def test_where_nobody_can_decide_the_model_is_not_called(stage, answers):
    (said,) = stage.run(["chat.params", PARAMS], answers=answers)
    assert said[:2] == ["chat.params", "thrown"]
    assert "tallygate doctor" in said[2]


def test_a_command_that_is_gone_stops_the_model_call(stage):
    stage.command[0] = str(stage.folder / "gone")
    (said,) = stage.run(["chat.params", PARAMS], answers={})
    assert said[:2] == ["chat.params", "thrown"]
    assert f"there is no {stage.folder / 'gone'}" in said[2]
    assert f"remove {stage.folder / 'plugin.mjs'} and the entry mcp.tallygate" in said[2]


def test_a_user_may_let_faults_pass(stage):
    stage.command[0] = str(stage.folder / "gone")
    said = stage.run(["chat.params", PARAMS], ["tool.execute.before", *BASH], answers={}, faults_pass=True)
    assert [row[:2] for row in said if row[0] != "shown"] == [["chat.params", "done"], ["tool.execute.before", "done"]]


def test_a_command_that_says_nothing_and_succeeds_has_no_objection(stage):
    assert stage.run(["chat.params", PARAMS], answers={"*": ""}) == [["chat.params", "done"]]


def test_what_only_happened_is_never_stopped(stage):
    idle = ["event", {"event": {"type": "session.idle", "properties": {"sessionID": "root"}}}]
    said = stage.run(idle, ["chat.message", *MESSAGE], answers={"*": "", "code": 1})
    assert [row[:2] for row in said if row[0] != "shown"] == [["event", "done"], ["chat.message", "done"]]
