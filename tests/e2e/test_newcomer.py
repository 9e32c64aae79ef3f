"""A newcomer on an empty machine: installs the built wheel, looks, sets limits, is stopped, goes on, and leaves.

`make newcomer` plays it. The dependencies of the wheel come from wherever pip and uv of this machine take them; from
the first look on there is nothing but the loopback.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.e2e.driving import Machine, Run
from tests.e2e.loopback import loopback_only
from tests.e2e.mock_api import MockApi
from tests.e2e.programs import ClaudeCode, Codex, CopilotCli, GeminiCli, OpenCode, QwenCode
from tests.e2e.wire import Tokens, Turn

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

ROOT = Path(__file__).resolve().parents[2]
# How this machine reaches its package indexes; nothing else of its environment is handed on.
HANDED_ON = ("PIP_", "UV_", "SSL_CERT_", "REQUESTS_CA_", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")
COSTLY = Tokens(fresh=1_000, cache_read=8_000, output=16_000)
COMMAND = re.compile(r"\S*tallygate budget raise \S+ [\d.]*\d")
EVERY = (ClaudeCode(), Codex(), GeminiCli(), OpenCode(), QwenCode(), CopilotCli())


def said(argv: Sequence[str], environ: Mapping[str, str], *, code: int | None = 0) -> str:
    """What a command says, both streams together."""
    done = subprocess.run(
        list(argv), env=dict(environ), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=300,
        check=False, cwd=environ["HOME"],
    )  # fmt: skip
    assert code is None or done.returncode == code, f"{shlex.join(argv)}: {done.returncode}\n{done.stdout}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel that would be published."""
    folder = tmp_path_factory.mktemp("wheel")
    words = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), str(ROOT)]
    subprocess.run(words, check=True, timeout=300)
    [built] = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where uv and pipx are: in an environment that Tallygate knows nothing of."""
    folder = tmp_path_factory.mktemp("tools")
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True, timeout=120)
    subprocess.run([str(folder / "bin" / "pip"), "install", "--quiet", "uv", "pipx"], check=True, timeout=300)
    return folder / "bin"


@dataclass
class Newcomer(Machine):
    """A machine whose user has Tallygate on the PATH, and nothing of a checkout."""

    path: str = field(default="", kw_only=True)

    def base_environ(self) -> dict[str, str]:
        environ = super().base_environ()
        return environ | {"PATH": f"{self.path}:{environ['PATH']}"}

    def tallygate(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Type a command."""
        words = shlex.join(["tallygate", *arguments])
        done = subprocess.run(
            ["/bin/sh", "-c", words], cwd=self.work, env=self.base_environ(), capture_output=True, text=True,
            timeout=90, check=False,
        )  # fmt: skip
        assert not check or done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
        return done


def empty_home(folder: Path, tools: Path) -> dict[str, str]:
    """The environment of somebody who has just got this machine."""
    home = folder / "home"
    home.mkdir()
    found = {name: value for name, value in os.environ.items() if name.upper().startswith(HANDED_ON)}
    python = {"UV_PYTHON": sys.executable, "UV_PYTHON_DOWNLOADS": "never", "PIPX_DEFAULT_PYTHON": sys.executable}
    return found | python | {"HOME": str(home), "PATH": f"{tools}:/usr/bin:/bin", "LANG": "C.UTF-8", "TERM": "xterm"}


@pytest.fixture(params=["uv", "pipx", "pip"])
def how(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def commands(how: str, wheel: Path, home: Path) -> tuple[list[list[str]], list[str], list[str], Path]:
    """How the program is installed, installed once more, and removed, and where its command is then."""
    local = home / ".local" / "bin"
    if how == "uv":
        install = ["uv", "tool", "install", str(wheel)]
        return [install], [*install, "--reinstall", "--offline"], ["uv", "tool", "uninstall", "tallygate"], local
    if how == "pipx":
        again = ["pipx", "runpip", "tallygate", "install", "--force-reinstall", "--no-deps", "--no-index", str(wheel)]
        return [["pipx", "install", str(wheel)]], again, ["pipx", "uninstall", "tallygate"], local
    pip = str(home / "env" / "bin" / "pip")
    again = [pip, "install", "--force-reinstall", "--no-deps", "--no-index", str(wheel)]
    made = [[sys.executable, "-m", "venv", str(home / "env")], [pip, "install", "--quiet", str(wheel)]]
    return made, again, [pip, "uninstall", "--yes", "tallygate"], home / "env" / "bin"


def test_a_newcomer_installs_is_stopped_goes_on_and_leaves(
    how: str, wheel: Path, tools: Path, clients: Path, tmp_path: Path
) -> None:
    environ = empty_home(tmp_path, tools)
    install, again, remove, path = commands(how, wheel, Path(environ["HOME"]))
    for words in install:
        said(words, environ)
    with loopback_only():
        api = MockApi()
        present = EVERY if how == "uv" else EVERY[:1]
        machines = [Newcomer(tmp_path, clients, client, api, path=str(path)) for client in present]
        try:
            play(machines, api)
            said(again, environ)  # an upgrade: what init wrote goes on
            stop_and_go_on(machines[0], api)
            leave(machines[0])
            said(remove, environ)
            assert not (path / "tallygate").exists()
        finally:
            for each in machines:
                each.close()
            api.close()
        assert api.strange == []


def play(machines: Sequence[Newcomer], api: MockApi) -> None:
    """Look, set limits, and be stopped by them in each client that is here."""
    first = machines[0]
    assert "tallygate init" in on_a_terminal(first, "tallygate")
    assert not (first.home / ".local" / "share" / "tallygate").exists()
    told = first.tallygate("init", "--limit", "0.50", "--day-limit", "90", "--yes").stdout
    for each in machines:
        assert each.client.option.split("-")[0] in told.lower()
    assert "/share/tallygate/hook.py" in (first.home / ".claude" / "settings.json").read_text(encoding="utf-8")
    for each in machines:
        stop_and_go_on(each, api)


def on_a_terminal(machine: Machine, command: str) -> str:
    """What a command shows at a terminal."""
    words = ["script", "-qec", command, "/dev/null"]
    done = subprocess.run(
        words, env=machine.base_environ(), cwd=machine.work, capture_output=True, text=True, timeout=90, check=True,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip
    return done.stdout


def stop_and_go_on(here: Newcomer, api: MockApi) -> None:
    """A session passes its limit, and goes on by the very command that is shown."""
    client = here.client
    api.play(*(Turn(f"Step {n}.", (client.shell(f"echo {n} >> notes"),), COSTLY) for n in range(9)))
    # Codex' tools are refused; its model has to heed what it is told.
    api.heeds = "the next step may cost" if client.name == "codex" else None
    before = len(api.of_kind("main"))
    run = here.run()
    assert 1 <= len(api.of_kind("main")) - before <= 5, "the limit did not stop it"
    api.heeds = None
    command = shown(here, run)
    done = subprocess.run(
        ["/bin/sh", "-c", command], env=here.base_environ(), cwd=here.work, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{command}: {done.stderr}"
    api.play(Turn("Finished.", tokens=Tokens(fresh=10, output=10)))
    assert "Finished." in here.run("Go on.", resume=run.seen.session).seen.said


def shown(here: Newcomer, run: Run) -> str:
    """The command with which the work goes on, as the client or `status` shows it."""
    text = json.dumps(run.shown).replace("\\", "")
    found = COMMAND.search(text) or COMMAND.search(here.tallygate("status", "--json", check=False).stdout)
    assert found, f"nobody said how to go on: {run.shown[-2000:]}"
    return found[0].lstrip("\"'`")


def leave(here: Newcomer) -> None:
    """Take it out: no file of a client names it any more."""
    here.tallygate("uninstall")
    named = [
        file
        for each in EVERY
        if (file := here.home / each.server_file).exists() and b"places.conf" in file.read_bytes()
    ]
    assert named == []


def test_uvx_shows_what_was_spent_and_leaves_nothing_behind(wheel: Path, tools: Path, tmp_path: Path) -> None:
    environ = empty_home(tmp_path, tools)
    home = Path(environ["HOME"])
    usage = {"input_tokens": 1_000, "cache_read_input_tokens": 8_000, "output_tokens": 16_000}
    message = {"id": "m1", "role": "assistant", "model": "claude-sonnet-4-6", "usage": usage, "stop_reason": "end_turn"}
    at = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    row = {"type": "assistant", "sessionId": "s", "requestId": "r1", "timestamp": at, "message": message}
    transcript = home / ".claude" / "projects" / "-home-me-shop" / "s.jsonl"
    transcript.parent.mkdir(parents=True)
    transcript.write_text(json.dumps(row) + "\n", encoding="utf-8")
    uvx = ["uvx", "--from", str(wheel), "tallygate"]
    told = said(["script", "-qec", shlex.join(uvx), "/dev/null"], environ)
    assert re.search(r"today\W.*\$0\.25", told), told
    assert "sonnet" in told
    assert "tallygate init" in told
    assert sorted(path.name for path in home.iterdir()) == [".cache", ".claude", ".local"]
    assert not (home / ".local" / "share" / "tallygate").exists()
    refused = said([*uvx, "init", "--yes"], environ, code=None)
    assert "cache of uv" in refused
    assert [path.name for path in (home / ".claude").iterdir()] == ["projects"]
