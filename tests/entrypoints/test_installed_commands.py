"""Commands as `tallygate init` puts them into clients, run as clients run them, in environments that projects make."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from bench.wire import Server

import tallygate

ENTRY = {"session_id": "0b5c9d9e-0000-4000-8000-000000000001", "prompt": "do it"}
SETTINGS = '[usage]\ntelemetry = "off"\n\n[[budget]]\nscope = "session"\nlimit_usd = 0.0001\n'


class Machine:
    """A user's home with Claude Code in it, and a project that wants to say where things are."""

    def __init__(self, home: Path) -> None:
        self.home, self.project = home, home / "project"
        self.data = home / ".local" / "share" / "tallygate"
        (self.project / ".git").mkdir(parents=True)
        (home / ".claude").mkdir()
        (home / ".config" / "tallygate").mkdir(parents=True)
        (home / ".config" / "tallygate" / "config.toml").write_text(SETTINGS)

    def environ(self, **more: str) -> dict[str, str]:
        return {"PATH": os.environ["PATH"], "HOME": str(self.home), **more}

    def hostile(self) -> dict[str, str]:
        """What a project's `env`, an `.envrc` or an agent may set."""
        folder = self.home / "h"
        (folder / ".git").mkdir(parents=True, exist_ok=True)
        (folder / "sitecustomize.py").write_text(f"open({str(folder / 'ran')!r}, 'a').write('x')\n")
        (folder / "config.toml").write_text('[[budget]]\nscope = "session"\nlimit_usd = 500\n')
        moved = {name: str(folder) for name in ("HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "TALLYGATE_HOME")}
        moved |= {"TALLYGATE_DB": str(folder / "l.db"), "TALLYGATE_CONFIG": str(folder / "config.toml")}
        moved |= {"TALLYGATE_PROJECT_DIR": str(folder), "PYTHONPATH": str(folder), "TALLYGATE_NONSENSE": "1"}
        return self.environ(**moved, TALLYGATE_ON_FAULT="allow", TALLYGATE_BUDGET_MODE="soft", TZ="Asia/Tokyo")

    def tallygate(self, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-P", "-m", "tallygate", *words],
            cwd=self.project, env=self.environ(**more), capture_output=True, text=True, check=True,
        )  # fmt: skip

    def init(self, **more: str) -> None:
        self.tallygate("init", "--client", "claude-code", **more)

    def server(self) -> list[str]:
        entry = json.loads((self.home / ".claude.json").read_text())["mcpServers"]["tallygate"]
        return [entry["command"], *entry["args"]]

    def hook(self, event: str, environ: dict[str, str], **more: str) -> dict[str, object]:
        """One hook, as the client's shell runs it."""
        settings = json.loads((self.home / ".claude" / "settings.json").read_text())
        command = settings["hooks"][event][0]["hooks"][0]["command"]
        said = json.dumps({**ENTRY, "hook_event_name": event, "cwd": str(self.project), **more})
        done = subprocess.run(
            shlex.split(command), input=said, cwd=self.project, env=environ, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout or "{}")

    def share_hook(self) -> None:
        """Let the hooks name the program in the `share` of an environment, as those of an installed package do."""
        environment = self.home / "env"
        site = environment / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"
        site.mkdir(parents=True)
        package = Path(tallygate.__file__).parent
        (site / "tallygate").symlink_to(package)
        copy = environment / "share" / "tallygate" / "hook.py"
        copy.parent.mkdir(parents=True)
        shutil.copy(package / "entrypoints" / "hook.py", copy)
        settings = self.home / ".claude" / "settings.json"
        text = settings.read_text()
        assert str(package / "entrypoints" / "hook.py") in text
        settings.write_text(text.replace(str(package / "entrypoints" / "hook.py"), str(copy)))

    def sessions(self) -> list[dict[str, object]]:
        return json.loads(self.tallygate("sessions", "list", "--json").stdout)["sessions"]


@pytest.fixture
def machine(home):
    found = Machine(home)
    found.init()
    return found


@pytest.mark.slow
def test_a_project_moves_nothing_with_its_environment_and_is_named_when_a_session_begins(machine):
    hostile = machine.hostile()
    for served in (False, True):
        if served:
            with Server(machine.server(), machine.project, environ=hostile) as server:
                server.greet().tools()
                (announced,) = (machine.data / "servers").glob("*.hook")
                began = machine.hook("SessionStart", hostile, source="startup", session_id="another")
                refused = machine.hook("UserPromptSubmit", hostile, prompt_id="p2", session_id="another")
            assert not announced.exists()
        else:
            began = machine.hook("SessionStart", hostile, source="startup")
            refused = machine.hook("UserPromptSubmit", hostile, prompt_id="p1")
        told = str(began["systemMessage"])
        assert "$0.0001" in told
        for name in ("HOME", "PYTHONPATH", "TALLYGATE_CONFIG", "TALLYGATE_DB", "TALLYGATE_HOME"):
            assert name in told, served
        assert refused["decision"] == "block"
    sessions = machine.sessions()
    assert [session["halts"] for session in sessions] == [1, 1]
    for session in sessions:
        shown = json.loads(machine.tallygate("sessions", "show", str(session["session_id"]), "--json").stdout)
        assert shown["project"] == str(machine.project), "it is the work of the folder that it is done in"
    left = {path.name for path in (machine.home / "h").rglob("*")}
    assert left == {"config.toml", "sitecustomize.py", ".git"}, "nothing was made there, and none of its code ran"


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="LD_PRELOAD is the loader's of Linux")
def test_what_the_loader_was_told_is_left_out_and_named(machine):
    hostile = machine.environ(LD_PRELOAD="/nowhere/clock.so", FAKETIME="+400d")
    with Server(machine.server(), machine.project, environ=hostile, quiet=True) as server:
        server.greet().tools()
        environ = Path(f"/proc/{server.pid}/environ").read_bytes().split(b"\0")
        began = machine.hook("SessionStart", machine.environ(TALLYGATE_DB="/x.db"), source="startup")
    assert not [each for each in environ if each.startswith(b"LD_PRELOAD")]
    # What the server was started with, and what the hook was.
    assert "FAKETIME, LD_PRELOAD, TALLYGATE_DB" in str(began["systemMessage"])


@pytest.mark.slow
def test_the_hook_program_in_the_share_of_an_environment_starts_the_gate_of_that_environment(machine):
    machine.share_hook()
    machine.hook("SessionStart", machine.environ())
    assert machine.hook("UserPromptSubmit", machine.environ())["decision"] == "block"
    assert [session["client"] for session in machine.sessions()] == ["claude-code"]


@pytest.mark.slow
def test_a_machine_on_which_it_was_never_installed_halts_and_names_the_way(machine):
    assert machine.hook("UserPromptSubmit", machine.environ())["decision"] == "block"
    assert (machine.data / "servers" / "alone").read_text().endswith(" claude_code UserPromptSubmit\n")
    (machine.data / "init" / "places.conf").unlink()
    refused = machine.hook("UserPromptSubmit", machine.environ())
    assert refused["decision"] == "block"
    assert "tallygate init" in str(refused["reason"])
    with Server(machine.server(), machine.project, environ=machine.environ(), quiet=True) as server:
        server.greet()
        answer = server.request(
            "tools/call", {"name": "l6e_authorize_call", "arguments": {"session_id": "s", "tool_name": "x"}}
        )
    said = answer["content"][0]["text"]
    assert '"halt"' in said
    assert "tallygate init" in said


@pytest.mark.slow
def test_a_hook_finds_the_server_where_the_settings_put_the_ledger(home):
    machine = Machine(home)
    file = home / ".config" / "tallygate" / "config.toml"
    file.write_text(f'[paths]\ndata_dir = "{home}/elsewhere"\n\n{SETTINGS}')
    machine.init()
    with Server(machine.server(), machine.project, environ=machine.environ()) as server:
        server.greet().request("ping")  # it has started, and read its settings
        assert list((home / "elsewhere" / "servers").glob("*.hook"))
        file.write_text("not = even [toml")  # a gate that was started now would say so
        assert machine.hook("UserPromptSubmit", machine.environ())["decision"] == "block"
        assert not (home / "elsewhere" / "servers" / "alone").exists()
        file.write_text(f'[paths]\ndata_dir = "{home}/elsewhere"\n\n{SETTINGS}')
    (session,) = machine.sessions()
    assert session["halts"] == 1


@pytest.mark.slow
def test_the_status_line_goes_by_the_installed_places(machine):
    machine.hook("UserPromptSubmit", machine.environ())
    status = json.loads((machine.home / ".claude" / "settings.json").read_text())["statusLine"]["command"]
    done = subprocess.run(
        shlex.split(status), input=json.dumps(ENTRY), cwd=machine.project, env=machine.hostile(),
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.startswith("tallygate: $0.00 spent")


@pytest.mark.slow
def test_variables_of_the_users_own_shell_count_as_they_did_at_init(home):
    machine = Machine(home)
    own = {"TALLYGATE_HOME": str(home / "own"), "TALLYGATE_TENANT": "acme"}
    machine.init(**own)
    began = machine.hook("SessionStart", machine.environ(**own), source="startup")
    assert "Not counted" not in str(began["systemMessage"])
    listed = json.loads(machine.tallygate("sessions", "list", "--json", **own).stdout)["sessions"]
    assert len(listed) == 1
