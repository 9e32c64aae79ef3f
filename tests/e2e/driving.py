"""One test's machine: a home, a project, a model API, one client, and Tallygate as a user installs it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.e2e.mock_api import MockApi
from tests.e2e.programs import NOWHERE, Client, Place, Seen, search_path, write

RUN_SECONDS = 90
WAIT_SECONDS = 20
LINGER_SECONDS = 5
POLL_SECONDS = 0.02
PLACES = b"places.conf"


@dataclass(frozen=True)
class Run:
    """What one run of a client came to."""

    code: int
    seen: Seen
    output: str
    errors: str
    seconds: float

    @property
    def shown(self) -> str:
        """Everything that the user could read."""
        return self.output + self.errors


def wait_for(true: Callable[[], Any], what: str, seconds: float = WAIT_SECONDS) -> Any:
    """What the question answers as soon as that is something; a test that waits in vain fails by name."""
    until = time.monotonic() + seconds
    while not (answer := true()):
        assert time.monotonic() < until, f"waited {seconds} s in vain: {what}"
        time.sleep(POLL_SECONDS)
    return answer


@dataclass
class Started:
    """A client at work."""

    client: Client
    process: subprocess.Popen[bytes]
    output: Path
    errors: Path
    begun: float = field(default_factory=time.monotonic)

    def kill(self, how: signal.Signals = signal.SIGKILL) -> None:
        self.process.send_signal(how)

    def ended(self, seconds: float = RUN_SECONDS) -> Run:
        """Wait for its end; one that does not end in time fails the test with what it said so far."""
        try:
            code = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            raise AssertionError(f"the client did not end within {seconds} s: {self._tail()}") from None
        self._all_gone()
        output = self.output.read_text(encoding="utf-8", errors="replace")
        errors = self.errors.read_text(encoding="utf-8", errors="replace")
        taken = time.monotonic() - self.begun
        return Run(code, self.client.read(rows_of(output)), output, errors, taken)

    def _all_gone(self) -> None:
        """Wait for what outlives the process that was started: Copilot's program writes on without its wrapper."""
        until = time.monotonic() + LINGER_SECONDS
        with suppress(ProcessLookupError):
            while time.monotonic() < until:
                os.killpg(self.process.pid, 0)
                time.sleep(POLL_SECONDS)

    def _tail(self) -> str:
        return "\n".join(
            file.read_text(encoding="utf-8", errors="replace")[-2000:] for file in (self.output, self.errors)
        )


@dataclass
class Machine:
    """A home, a project and the clients in it."""

    root: Path
    clients: Path
    client: Client
    api: MockApi
    environ: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.home = self.root / "home"
        self.work = self.root / "work"
        self.place = Place(self.clients, self.home, self.work, self.api.url)
        self._started: list[subprocess.Popen[bytes]] = []
        for folder in (self.home, self.work, self.root / "tmp", self.root / "out"):
            folder.mkdir(parents=True, exist_ok=True)
        write(self.work / "a.txt", "file a\n")
        subprocess.run(["git", "init", "-q", str(self.work)], check=True, env=self.base_environ())
        self.client.prepare(self.place)

    def beside(self, client: Client) -> Machine:
        """Another client of the same user in the same project."""
        return Machine(self.root, self.clients, client, self.api, self.environ)

    def base_environ(self) -> dict[str, str]:
        """An environment made of nothing, so that no client meets the settings of whoever runs the tests."""
        return {
            "PATH": search_path(self.clients),
            "HOME": str(self.home),
            "SHELL": "/bin/bash",
            "TERM": "dumb",
            "LANG": "C.UTF-8",
            "TMPDIR": str(self.root / "tmp"),
        }

    def client_environ(self) -> dict[str, str]:
        return self.base_environ() | self.client.environ(self.place) | self.environ

    # ------------------------------------------------------------------ Tallygate

    def tallygate(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command as the user does."""
        done = subprocess.run(
            [sys.executable, "-P", "-m", "tallygate", *arguments],
            cwd=self.work,
            env=self.base_environ(),
            capture_output=True,
            text=True,
            timeout=RUN_SECONDS,
            check=False,
        )
        assert not check or done.returncode == 0, f"tallygate {' '.join(arguments)}: {done.stdout}{done.stderr}"
        return done

    def asked(self, *arguments: str) -> dict[str, Any]:
        """What a command answers to programs."""
        return dict(json.loads(self.tallygate(*arguments, "--json").stdout))

    def init(self, limit_usd: str = "5.00", *, project_usd: str | None = None) -> None:
        """Install Tallygate for the client, with a budget for each session and, if asked for, one for the project."""
        text = f'[[budget]]\nscope = "session"\nlimit_usd = {limit_usd}\n'
        if project_usd is not None:
            text += f'\n[[budget]]\nscope = "project"\nperiod = "never"\nlimit_usd = {project_usd}\n'
        write(self.work / ".l6e" / "config.toml", text)
        self.tallygate("init", "--client", self.client.option, "--scope", "user")

    def sessions(self) -> list[dict[str, Any]]:
        """Every session of the ledger in full, the oldest first."""
        listed = self.asked("sessions", "list")["sessions"]
        return [self.asked("sessions", "show", each["session_id"], "--calls") for each in reversed(listed)]

    def session(self) -> dict[str, Any]:
        """The only session there is."""
        (found,) = self.sessions()
        return found

    def run_lines(self) -> list[dict[str, Any]]:
        """The run log of the project."""
        log = self.work / ".l6e" / "runs.jsonl"
        return rows_of(log.read_text(encoding="utf-8")) if log.exists() else []

    # ------------------------------------------------------------------ the client

    def start(self, prompt: str = "Do the thing.", *, resume: str | None = None, extra: Sequence[str] = ()) -> Started:
        """Start the client in print mode, without waiting for it."""
        name = f"{self.client.name}-{len(self._started)}"
        output, errors = (self.root / "out" / f"{name}.{kind}" for kind in ("out", "err"))
        with output.open("wb") as out, errors.open("wb") as err:
            process = subprocess.Popen(
                [*self.client.command(self.place, prompt, resume), *extra],
                cwd=self.work,
                env=self.client_environ(),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )
        self._started.append(process)
        return Started(self.client, process, output, errors)

    def run(self, prompt: str = "Do the thing.", *, resume: str | None = None, extra: Sequence[str] = ()) -> Run:
        """Run the client in print mode to its end."""
        return self.start(prompt, resume=resume, extra=extra).ended()

    def run_heard(
        self, prompt: str = "Do the thing.", *, resume: str | None = None, argv: Sequence[str] = (), said: str = ""
    ) -> Run:
        """Run the client, or these words of it, with somebody who reads at its ends, as CI does."""
        begun = time.monotonic()
        done = subprocess.run(
            argv or self.client.command(self.place, prompt, resume),
            cwd=self.work,
            env=self.client_environ(),
            input=said,
            capture_output=True,
            text=True,
            timeout=RUN_SECONDS,
            check=False,
            start_new_session=True,
        )
        seen = self.client.read(rows_of(done.stdout))
        return Run(done.returncode, seen, done.stdout, done.stderr, time.monotonic() - begun)

    # ------------------------------------------------------------------ processes

    def processes(self, *words: str) -> list[int]:
        """The processes of this machine whose command has all these words."""
        mark = f"HOME={self.home}".encode()
        found = []
        for folder in Path("/proc").iterdir():
            with suppress(OSError):
                if folder.name.isdigit() and mark in (folder / "environ").read_bytes().split(b"\0"):
                    command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                    if all(word in command for word in words):
                        found.append(int(folder.name))
        return found

    def server(self) -> int:
        """The one running Tallygate server."""
        return int(wait_for(lambda: self.processes("-m tallygate serve"), "a Tallygate server runs")[0])

    def hears(self) -> bool:
        """Whether somebody listens where the client was told to send its telemetry."""
        settings = json.loads((self.home / ".claude" / "settings.json").read_text(encoding="utf-8"))
        url = urlsplit(settings["env"]["OTEL_EXPORTER_OTLP_LOGS_ENDPOINT"])
        with socket.socket() as probe:
            return probe.connect_ex((url.hostname or "", url.port or 0)) == 0

    def kill_server(self) -> None:
        """Kill every process of the server in a way that none can notice."""
        self.server()
        for process in reversed(self.processes("-m tallygate serve")):
            os.kill(process, signal.SIGKILL)

    def kill_client(self) -> None:
        """Kill the client, and whatever it consists of, in a way that it cannot notice; the server stays."""
        for process in self._client_processes():
            os.kill(process, signal.SIGKILL)
        wait_for(lambda: not self._client_processes(), "the client is gone")

    def _client_processes(self) -> list[int]:
        """Those that run a program of the clients; some give themselves another name."""
        found = []
        for process in self.processes():
            with suppress(OSError):
                if Path(f"/proc/{process}/exe").readlink().is_relative_to(self.clients):
                    found.append(process)
        return found

    def break_server(self) -> None:
        """Let the client look for the server's program where there is none."""
        file = self.home / self.client.server_file
        text = file.read_text(encoding="utf-8")
        broken = self.client.without_server(text)
        assert broken != text
        file.write_text(broken, encoding="utf-8")

    def lose_program(self) -> None:
        """Let every entry name a Python that is no longer there, as after an environment was deleted."""
        for file in [path for path in self.home.rglob("*") if path.is_file()]:
            text = file.read_bytes()
            if PLACES in text and sys.executable.encode() in text:
                file.write_bytes(text.replace(sys.executable.encode(), NOWHERE.encode()))

    def close(self) -> None:
        """End whatever still runs here."""
        for process in self.processes():
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        for started in self._started:
            started.wait()


def rows_of(text: str) -> list[dict[str, Any]]:
    """The lines of a text that are JSON objects; clients print other lines, too."""
    found: list[dict[str, Any]] = []
    for line in text.splitlines():
        with suppress(ValueError):
            row: Mapping[str, Any] | Any = json.loads(line)
            if isinstance(row, dict):
                found.append(row)
    return found
