"""Installing: everything is planned before anything is written, and what was written can be undone."""

from __future__ import annotations

import json
import os
import stat
import tomllib
from pathlib import Path

import pytest
from tests.world import the_user

from tallygate import files
from tallygate.clients.client import InstallScope, InstallSurroundings, TelemetryTarget
from tallygate.clients.registry import REGISTRY
from tallygate.core.errors import InvalidArgument
from tallygate.editing.edits import FileEdits, Whole
from tallygate.editing.manifest import Manifest
from tallygate.operations.setup.install import carry_out, detected, plan_install, plan_uninstall

ALL = tuple(REGISTRY.clients)
FOUR = ("claude-code", "codex", "gemini", "opencode")
SETTINGS = """{
  // what I like
  "model": "opus", // the big one
  "hooks": {
    "PreToolUse": [
      { "matcher": "Bash", "hooks": [{ "type": "command", "command": "mine" }] },
    ],
  },
}
"""
TOML = '# mine\nmodel = "x"\n\n[mcp_servers.other]\ncommand = "y" # keep\n'
OTHERS = {
    ".claude.json": '{"numStartups":3,"mcpServers":{"other":{"command":"x"}}}',
    ".claude/settings.json": SETTINGS,
    ".claude/CLAUDE.md": "# Mine\r\nüñí 🙂\r\n",
    ".codex/config.toml": TOML,
    ".gemini/settings.json": "\ufeff{}",
    ".config/opencode/opencode.jsonc": '{\n\t"$schema": "x", // why\n}',
    ".config/zed/settings.json": '// Zed settings\n//\n{\n  /* font */ "buffer_font_size": 15\n}\n',
}


BUDGET = '[[budget]]\nscope = "session"\nlimit_usd = 5.00\n'


class Machine:
    """A home with a project in it, and what is done there."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.project = home / "p"
        self.project.mkdir()
        self.python = "/opt/tg/bin/python"

    def where(self) -> InstallSurroundings:
        return InstallSurroundings(
            home=self.home,
            environ={},
            platform="linux",
            python=self.python,
            hook="/opt/tg/tallygate/entrypoints/hook.py",
            places=str(self.home / "data" / "init" / "places.conf"),
            project=self.project,
            telemetry=TelemetryTarget(1, "t"),
        )

    def manifest(self) -> Manifest:
        return Manifest(self.home / "data" / "init")

    def budget(self, scope: InstallScope) -> tuple[FileEdits, ...]:
        root = self.home / ".config" / "tallygate" if scope is InstallScope.USER else self.project / ".l6e"
        return (FileEdits(root / "config.toml", (Whole(BUDGET, keeps=True),)),)

    def plan(self, *names: str, scope: InstallScope = InstallScope.USER):
        manifest = self.manifest()
        clients = [REGISTRY.clients[name] for name in names or ALL]
        return plan_install(clients, self.where(), scope, manifest, self.budget(scope)), manifest

    def install(self, *names: str, scope: InstallScope = InstallScope.USER):
        plan, manifest = self.plan(*names, scope=scope)
        carry_out(plan, manifest, the_user("me"))
        return plan

    def uninstall(self, *names: str, scopes=tuple(InstallScope)):
        manifest = self.manifest()
        plan = plan_uninstall([REGISTRY.clients[name] for name in names or ALL], self.where(), scopes, manifest)
        carry_out(plan, manifest, the_user("me"))
        return plan

    def write(self, name: str, text: str) -> Path:
        path = self.home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode())
        return path

    def tree(self) -> dict[str, bytes | None]:
        """Every file and folder, but for our own data."""
        found = {}
        for path in sorted(self.home.rglob("*")):
            name = path.relative_to(self.home).as_posix()
            if not name.startswith("data"):
                found[name] = path.read_bytes() if path.is_file() else None
        return found


@pytest.fixture
def machine(home):
    return Machine(home)


@pytest.fixture
def lived_in(machine):
    for name, text in OTHERS.items():
        machine.write(name, text)
    return machine


@pytest.mark.parametrize("scope", InstallScope)
@pytest.mark.parametrize("place", ["machine", "lived_in"])
def test_what_was_installed_goes_without_a_trace(request, place, scope):
    machine = request.getfixturevalue(place)
    before = machine.tree()
    plan = machine.install(scope=scope)
    assert plan.changed
    assert machine.tree() != before
    machine.uninstall()
    assert machine.tree() == before
    assert not (machine.home / "data" / "init").exists()


@pytest.mark.parametrize("scope", InstallScope)
def test_installing_again_changes_no_byte(lived_in, scope):
    lived_in.install(scope=scope)
    before = lived_in.tree()
    assert lived_in.install(scope=scope).changed == []
    assert lived_in.tree() == before


# Entries as versions before the places wrote them.
OLDER = {
    ".claude/settings.json": """{
  "hooks": {
    "Stop": [
      {
        "hooks": [
          {
            "type": "command",
            "command": "\\"/opt/p\\" -I -S \\"/opt/tallygate/entrypoints/hook.py\\" --client claude_code --event Stop"
          }
        ]
      }
    ]
  },
  "statusLine": {
    "type": "command",
    "command": "\\"/opt/tg/bin/python\\" -P -m tallygate statusline"
  }
}
""",
    ".codex/config.toml": """[mcp_servers.tallygate]
command = "/opt/tg/bin/python"
args = ["-P", "-m", "tallygate", "serve"]
required = true
""",
}  # fmt: skip


def test_entries_of_an_older_version_are_replaced_and_each_form_is_taken_out_without_a_record(machine):
    for name, text in OLDER.items():
        machine.write(name, text)
    machine.install("claude-code", "codex")
    settings = json.loads((machine.home / ".claude" / "settings.json").read_text())
    ((stop,),) = [group["hooks"] for group in settings["hooks"]["Stop"]]
    assert "--places" in stop["command"]
    assert "--places" in settings["statusLine"]["command"]
    table = tomllib.loads((machine.home / ".codex" / "config.toml").read_text())["mcp_servers"]["tallygate"]
    assert table["args"][:1] == ["-I"]
    newer = {name: (machine.home / name).read_text() for name in OLDER}
    machine.uninstall()
    for form in (OLDER, newer):
        for name, text in form.items():
            machine.write(name, text)
        machine.uninstall()
        assert b"tallygate" not in b"".join(content or b"" for content in machine.tree().values())


def test_the_file_of_places_is_written_first_and_goes_with_the_last_client(machine):
    file = machine.home / "data" / "init" / "places.conf"

    def install(name, text, scope=InstallScope.USER):
        manifest = machine.manifest()
        plan = plan_install(
            [REGISTRY.clients[name]], machine.where(), scope, manifest, machine.budget(scope), places=text
        )
        carry_out(plan, manifest, the_user("me"))
        return plan

    assert install("gemini", b"home = /a\n").changes[0].path == file
    assert (file.read_bytes(), stat.S_IMODE(file.stat().st_mode)) == (b"home = /a\n", 0o600)
    (change,) = install("gemini", b"home = /b\n").changed
    assert (change.path, file.read_bytes()) == (file, b"home = /b\n")
    install("codex", b"home = /b\n", InstallScope.PROJECT)
    machine.uninstall("gemini")
    assert file.exists(), "the project's hooks name it"
    assert (machine.home / ".config" / "tallygate" / "config.toml").exists(), "and go by this"
    machine.uninstall()
    assert not file.parent.exists()


def test_another_interpreter_changes_our_entries_alone_and_still_goes_without_a_trace(lived_in):
    before = lived_in.tree()
    lived_in.install()
    first = lived_in.tree()
    lived_in.python = "/usr/new/python3"
    lived_in.install()
    second = lived_in.tree()
    for name, content in first.items():
        assert second[name] == (content and content.replace(b"/opt/tg/bin/python", b"/usr/new/python3")), name
    lived_in.uninstall()
    assert lived_in.tree() == before


@pytest.mark.parametrize(
    "name, old, new",
    [
        (".claude/settings.json", '"model": "opus", // the big one', '"model": "sonnet", // mine'),
        (".claude.json", '"numStartups":3', '"numStartups":4'),
        (".claude/CLAUDE.md", "# Mine", "# Mine and more"),
        (".codex/config.toml", "# keep", "# keep this"),
        (".config/opencode/opencode.jsonc", "// why", "// why not"),
    ],
)
@pytest.mark.parametrize("again", [False, True], ids=["installed once", "installed again after the edit"])
def test_in_a_file_that_was_edited_since_only_our_entries_go(lived_in, name, old, new, again):
    lived_in.install()
    path = lived_in.home / name
    path.write_bytes(path.read_bytes().replace(old.encode(), new.encode()))
    if again:
        lived_in.install()
    lived_in.uninstall()
    assert path.read_bytes() == OTHERS[name].replace(old, new).encode()


def test_settings_that_the_client_laid_out_anew_lose_our_entries_alone(lived_in):
    lived_in.install("claude-code")
    path = lived_in.home / ".claude.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "numStartups": 9}, indent=4))
    lived_in.uninstall()
    assert json.loads(path.read_text()) == {"numStartups": 9, "mcpServers": {"other": {"command": "x"}}}


def test_a_file_we_made_goes_also_when_the_client_laid_it_out_anew(machine):
    machine.install("claude-code")
    path = machine.home / ".claude.json"
    path.write_text(json.dumps(json.loads(path.read_text())))
    machine.uninstall()
    assert not path.exists()


def test_a_file_we_made_stays_when_the_user_has_put_something_in(machine):
    machine.install("claude-code")
    path = machine.home / ".claude.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "mine": 1}))
    machine.uninstall()
    assert json.loads(path.read_text()) == {"mine": 1}


def test_a_client_that_leaves_takes_nothing_from_the_one_that_stays(machine):
    machine.install("codex", "zed", "copilot", scope=InstallScope.PROJECT)
    machine.uninstall("codex")
    assert (machine.project / "AGENTS.md").exists()
    assert not (machine.project / ".codex").exists()
    machine.uninstall("zed", "copilot")
    assert list(machine.project.iterdir()) == []


def test_uninstalling_one_scope_leaves_the_other(machine):
    machine.install("gemini")
    user = machine.tree()
    machine.install("gemini", scope=InstallScope.PROJECT)
    machine.uninstall("gemini", scopes=(InstallScope.PROJECT,))
    assert machine.tree() == user


def test_uninstalling_elsewhere_names_the_projects_that_have_it_still(machine):
    machine.install("gemini", scope=InstallScope.PROJECT)
    first, machine.project = machine.project, machine.home / "q"
    assert (f"{first} has it still: run tallygate uninstall there.") in dict(machine.uninstall().notes)["Tallygate"]
    assert (first / ".gemini").exists()


def test_a_client_with_both_scopes_is_told_of(machine):
    assert machine.install("gemini").notes == [("Gemini CLI", machine.install("gemini").notes[0][1])]
    notes = machine.install("gemini", scope=InstallScope.PROJECT).notes
    assert any("twice" in text for _, text in notes)


def test_without_a_record_uninstalling_goes_by_the_entries_themselves(lived_in):
    lived_in.install(*FOUR)
    for path in sorted((lived_in.home / "data").rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    lived_in.uninstall()
    left = {name: content for name, content in lived_in.tree().items() if content is not None}
    assert not any(b"tallygate_hook" in content or b"hook.py" in content for content in left.values())
    assert tomllib.loads(left[".codex/config.toml"].decode()) == tomllib.loads(TOML)
    assert json.loads(left[".claude.json"]) == json.loads(OTHERS[".claude.json"])
    assert b'"command": "mine"' in left[".claude/settings.json"]


@pytest.mark.parametrize(
    "name, value",
    [("statusLine", {"type": "command", "command": "mine"}), ("env", {"OTEL_LOGS_EXPORTER": "console"})],
)
def test_what_the_user_has_put_in_the_place_of_ours_stays(machine, name, value):
    machine.install("claude-code")
    path = machine.home / ".claude" / "settings.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), name: value}))
    machine.install("claude-code")
    assert json.loads(path.read_text())[name] == value
    machine.uninstall()
    assert json.loads(path.read_text()) == {name: value}


def test_telemetry_of_the_user_that_came_later_drives_ours_out(machine):
    machine.install("claude-code")
    path = machine.home / ".claude" / "settings.json"
    settings = json.loads(path.read_text())
    settings["env"]["OTEL_METRICS_EXPORTER"] = "otlp"
    path.write_text(json.dumps(settings))
    machine.install("claude-code")
    assert json.loads(path.read_text())["env"] == {"OTEL_METRICS_EXPORTER": "otlp"}


def test_our_own_file_that_was_edited_goes_and_a_copy_stays(machine):
    machine.install("opencode")
    plugin = machine.home / ".config" / "opencode" / "plugin" / "tallygate.js"
    plugin.write_text(plugin.read_text() + "// mine\n")
    plan = machine.uninstall()
    assert not plugin.exists()
    (copy,) = (machine.home / "data" / "init" / "edited").iterdir()
    assert copy.read_text().endswith("// mine\n")
    assert any("edited since" in text for _, text in plan.notes)


def test_the_starting_budget_stays_when_the_user_has_made_it_theirs(machine):
    machine.install("codex", scope=InstallScope.PROJECT)
    file = machine.project / ".l6e" / "config.toml"
    file.write_text(BUDGET.replace("5.00", "7.50"))
    machine.uninstall()
    assert "7.50" in file.read_text()


def test_the_starting_budget_goes_with_the_last_client(machine):
    machine.install("codex", "gemini", scope=InstallScope.PROJECT)
    machine.uninstall("codex")
    assert (machine.project / ".l6e" / "config.toml").exists()
    machine.uninstall("gemini")
    assert not (machine.project / ".l6e").exists()


def test_a_budget_that_is_there_is_never_touched(machine):
    file = machine.write("p/.l6e/config.toml", '[[budget]]\nscope = "session"\nlimit_usd = 1.00\n')
    machine.install("codex", scope=InstallScope.PROJECT)
    machine.uninstall()
    assert "1.00" in file.read_text()


# --- nothing by halves ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name, text, place",
    [
        (".qwen/settings.json", '{\n  "a": 1\n  "b": 2\n}', ":3:"),
        (".codex/config.toml", "a = 1\nb = \n", ":2:"),
        (".codeium/windsurf/memories/global_rules.md", "x\n<!-- tallygate:begin -->\n", ":2:"),
        (".cursor/mcp.json", '{"mcpServers": 1}', ":1:"),
        (".config/opencode/plugin/tallygate.js", "export {}\n", ":1:"),
    ],
)
def test_one_file_that_cannot_be_read_keeps_every_other_as_it_is(lived_in, name, text, place):
    path = lived_in.write(name, text)
    before = lived_in.tree()
    with pytest.raises(InvalidArgument) as caught:
        lived_in.install()
    assert f"{path}{place}" in caught.value.message
    assert lived_in.tree() == before
    assert not (lived_in.home / "data").exists()


def test_where_a_write_fails_everything_that_was_written_is_put_back(lived_in, monkeypatch):
    before = lived_in.tree()
    written = []
    replace = files.replace

    def failing(path, content, mode):
        if path.name == "QWEN.md":
            raise OSError(28, "No space left on device", str(path))
        written.append(path)
        replace(path, content, mode)

    monkeypatch.setattr(files, "replace", failing)
    with pytest.raises(InvalidArgument, match=r"QWEN.md cannot be written: No space left .* put back"):
        lived_in.install()
    assert len(written) > 20
    assert lived_in.tree() == before
    monkeypatch.undo()
    assert lived_in.uninstall().changed == []


def test_a_client_that_writes_meanwhile_is_not_written_over(lived_in):
    plan, manifest = lived_in.plan("claude-code")
    path = lived_in.write(".claude.json", '{"numStartups":4}')
    with pytest.raises(InvalidArgument, match="changed by somebody else"):
        carry_out(plan, manifest, the_user("me"))
    assert path.read_text() == '{"numStartups":4}'
    assert not (lived_in.home / ".claude" / "CLAUDE.md.tallygate").exists()


def test_planning_alone_writes_nothing_at_all(lived_in):
    before = lived_in.tree()
    plan, _ = lived_in.plan()
    assert plan.changed
    assert lived_in.tree() == before
    assert not (lived_in.home / "data").exists()


def test_a_damaged_record_is_told_and_nothing_is_changed(machine):
    machine.install("codex")
    machine.write("data/init/manifest.json", "{")
    with pytest.raises(InvalidArgument, match="cannot be read; nothing was changed"):
        machine.uninstall()


def test_a_copy_that_was_tampered_with_never_comes_back(lived_in):
    lived_in.install("codex")
    for copy in (lived_in.home / "data" / "init" / "originals").iterdir():
        copy.write_bytes(b"[evil]\n")
    plan = lived_in.uninstall()
    assert (lived_in.home / ".codex" / "config.toml").read_bytes() == TOML.encode()
    assert any("gone or damaged" in text for _, text in plan.notes)


# --- links and modes --------------------------------------------------------------------------------------------


def test_a_settings_file_kept_elsewhere_is_changed_there_and_the_link_stays(machine):
    kept = machine.write("dotfiles/claude.json", SETTINGS)
    link = machine.home / ".claude" / "settings.json"
    link.parent.mkdir()
    link.symlink_to(kept)
    machine.install("claude-code")
    assert link.is_symlink()
    assert b"tallygate" in kept.read_bytes()
    machine.uninstall()
    assert (link.is_symlink(), kept.read_bytes()) == (True, SETTINGS.encode())


@pytest.mark.parametrize("name", [".mcp.json", "CLAUDE.md", ".claude"])
def test_a_project_cannot_lead_us_to_write_outside_of_it(machine, name):
    target = machine.write("private/file", "{}") if "." in name[1:] else machine.home / "private"
    target.mkdir(parents=True) if not target.exists() else None
    (machine.project / name).symlink_to(target)
    before = machine.tree()
    with pytest.raises(InvalidArgument, match="leads out of the project"):
        machine.install("claude-code", scope=InstallScope.PROJECT)
    assert machine.tree() == before


def test_one_rule_file_for_two_clients_gets_one_rule(machine):
    machine.write("p/AGENTS.md", "# Ours\n")
    (machine.project / "CLAUDE.md").symlink_to("AGENTS.md")
    machine.install("claude-code", "codex", scope=InstallScope.PROJECT)
    text = (machine.project / "AGENTS.md").read_text()
    assert text.count("tallygate:begin") == 1
    machine.uninstall("codex")
    assert (machine.project / "AGENTS.md").read_text() == text
    machine.uninstall("claude-code")
    assert (machine.project / "AGENTS.md").read_text() == "# Ours\n"


def test_modes_stay_and_what_is_new_is_the_user_s_alone_but_in_projects(machine):
    machine.write(".codex/config.toml", TOML).chmod(0o640)
    machine.install("codex")
    machine.install("codex", scope=InstallScope.PROJECT)

    def mode(name):
        return stat.S_IMODE((machine.home / name).stat().st_mode)

    assert mode(".codex/config.toml") == 0o640
    assert mode(".codex/hooks.json") == 0o600
    assert mode("p/.codex/hooks.json") == 0o644
    assert mode("data/init/manifest.json") == 0o600
    assert mode("data/init") == 0o700
    machine.uninstall()
    assert mode(".codex/config.toml") == 0o640


def test_a_file_that_may_not_be_written_is_told_before_anything_is(lived_in, monkeypatch):
    # The superuser may write everywhere, so the question is answered here.
    monkeypatch.setattr(os, "access", lambda path, _: Path(path).name != "config.toml")
    before = lived_in.tree()
    with pytest.raises(InvalidArgument, match="may not be written"):
        lived_in.install()
    assert lived_in.tree() == before


# --- which clients are there ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name, found",
    [
        (".claude.json", ["claude-code"]),
        (".codex/x", ["codex"]),
        (".gemini/x", ["gemini"]),
        (".config/opencode/x", ["opencode"]),
        (".cursor/x", ["cursor"]),
        (".config/Code/User/x", ["vscode"]),
        (".codeium/windsurf/x", ["windsurf"]),
        (".config/Claude/x", ["claude-desktop"]),
        (".config/zed/x", ["zed"]),
        (".copilot/x", ["copilot"]),
        (".qwen/x", ["qwen"]),
        ("other/x", []),
    ],
)
def test_a_client_is_known_by_its_files(machine, name, found):
    machine.write(name, "{}")
    assert [client.name for client in detected(REGISTRY.clients.values(), machine.where(), lambda _: False)] == found


def test_a_client_is_known_by_its_program(machine):
    there = detected(REGISTRY.clients.values(), machine.where(), {"codex", "code"}.__contains__)
    assert [client.name for client in there] == ["codex", "vscode"]
