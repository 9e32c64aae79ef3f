"""A client of an MCP server that is nothing but its two pipes: what it measures is the server."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

ROOT = Path(__file__).resolve().parent.parent
HANDSHAKE_ERA = "2025-06-18"
MODERN_ERA = "2026-07-28"
ERAS = (HANDSHAKE_ERA, MODERN_ERA)
CLIENT = {"name": "bench", "version": "1"}

SERVE = [sys.executable, "-m", "tallygate", "serve"]


class ToolFailed(Exception):
    """A tool answered with an error result, or the protocol with an error."""


def environment(home: Path, **extra: str) -> dict[str, str]:
    """The environment of a server that keeps everything in one folder and sees nothing of this user."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "SYSTEMROOT") if name in os.environ}
    places = {"HOME": home, "TALLYGATE_HOME": home / "data"}
    paths = os.pathsep.join((str(ROOT / "src"), str(ROOT)))
    # The port of the receiver is one a machine: it stays this user's own.
    apart = {"PYTHONPATH": paths, "TALLYGATE_TELEMETRY": "off"}
    return {**kept, **{name: str(path) for name, path in places.items()}, **apart, **extra}


class Server:
    """A running server. `request` sends one message and waits; `send` and `receive` do the halves."""

    def __init__(
        self,
        argv: list[str],
        home: Path,
        *,
        era: str = HANDSHAKE_ERA,
        environ: Mapping[str, str] | None = None,
        quiet: bool = False,
    ) -> None:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._era = era
        self._last = 0
        self._worker: int | None = None
        self._meta = {
            "io.modelcontextprotocol/protocolVersion": era,
            "io.modelcontextprotocol/clientInfo": CLIENT,
            "io.modelcontextprotocol/clientCapabilities": {},
        }
        self.process = subprocess.Popen(
            argv,
            cwd=home,
            env=environment(home) if environ is None else dict(environ),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL if quiet else None,
        )

    @property
    def pid(self) -> int:
        """The process that serves: behind the one that was started, where there is such."""
        if self._worker is None:
            told = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
            behind = told.read_text(encoding="ascii").split() if told.exists() else []
            self._worker = int(behind[0]) if behind else self.process.pid
        return self._worker

    def send(self, method: str, params: Mapping[str, Any] | None = None) -> int:
        """Write one request; returns its id."""
        self._last += 1
        given = dict(params or {})
        if self._era == MODERN_ERA:
            given["_meta"] = {**self._meta, **given.get("_meta", {})}
        self._write({"jsonrpc": "2.0", "id": self._last, "method": method, "params": given})
        return self._last

    def receive(self) -> dict[str, Any]:
        """The next answer, whatever it answers; notifications in between are passed over."""
        out = self.process.stdout
        assert out is not None
        while line := out.readline():
            message: dict[str, Any] = json.loads(line)
            if "id" in message:
                return message
        raise EOFError(f"the server ended with {self.process.wait()}")

    def request(self, method: str, params: Mapping[str, Any] | None = None) -> dict[str, Any]:
        sent = self.send(method, params)
        return self.result(self.receive(), sent)

    @staticmethod
    def result(message: dict[str, Any], sent: int) -> dict[str, Any]:
        """The result in an answer; raises where it is an error, or the answer to something else."""
        if message["id"] != sent:
            raise ToolFailed(f"asked {sent}, answered {message}")
        if "error" in message:
            raise ToolFailed(json.dumps(message["error"]))
        found: dict[str, Any] = message["result"]
        return found

    def _write(self, message: Mapping[str, Any]) -> None:
        pipe = self.process.stdin
        assert pipe is not None
        pipe.write(json.dumps(message, separators=(",", ":")).encode() + b"\n")
        pipe.flush()

    def greet(self) -> Server:
        """Say hello as the era does; the modern one needs no greeting."""
        if self._era != MODERN_ERA:
            self.request("initialize", {"protocolVersion": self._era, "capabilities": {}, "clientInfo": CLIENT})
            self._write({"jsonrpc": "2.0", "method": "notifications/initialized"})
        return self

    def tools(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.request("tools/list")["tools"]
        return found

    def send_call(self, tool: str, /, **arguments: object) -> int:
        return self.send("tools/call", {"name": tool, "arguments": arguments})

    def call(self, tool: str, /, **arguments: object) -> dict[str, Any]:
        """The structured answer of a tool; raises `ToolFailed` where it is an error result."""
        sent = self.send_call(tool, **arguments)
        return self.answer(self.receive(), sent)

    def answer(self, message: dict[str, Any], sent: int) -> dict[str, Any]:
        """The structured content of a tool's answer."""
        found = self.result(message, sent)
        if found.get("isError"):
            raise ToolFailed(found["content"][0]["text"])
        content: dict[str, Any] = found.get("structuredContent") or {}
        return content

    def cpu_seconds(self) -> float:
        """What the server has computed so far, in all of its threads: a figure that holds on a busy machine."""
        tasks = Path(f"/proc/{self.pid}/task").glob("*/schedstat")
        return sum(int(task.read_text(encoding="ascii").split()[0]) for task in tasks) / 1e9

    def written_bytes(self) -> int:
        """What the server has handed to the kernel so far, to its ledger and to its client."""
        lines = Path(f"/proc/{self.pid}/io").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("wchar:"))

    def memory_kib(self) -> tuple[int, int]:
        """Resident and private memory of the server's processes, from the kernel; what both have counts once."""
        resident = private = 0
        for pid in {self.pid, self.process.pid}:
            status = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
            sizes = {line.split(":")[0]: int(line.split()[1]) for line in status.splitlines()[1:]}
            own = sizes["Private_Clean"] + sizes["Private_Dirty"]
            resident += sizes["Rss"] if pid == self.pid else own
            private += own
        return resident, private

    def close(self) -> int:
        """End the server as clients do: close its input, wait for it to go; and for what it does behind its front."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        worker = self._gone_when_ready()
        with suppress(BrokenPipeError):
            self.process.stdin.close()
        try:
            code = self.process.wait(timeout=120)
            if worker is not None:
                select.select([worker], [], [], 120)
                os.close(worker)
        except subprocess.TimeoutExpired:
            self.kill()
            raise
        self.process.stdout.close()
        return code

    def _gone_when_ready(self) -> int | None:
        """What can be waited on until the process behind a front has gone."""
        try:
            return None if self.pid == self.process.pid else os.pidfd_open(self.pid)
        except (AttributeError, OSError):
            return None

    def kill(self) -> None:
        """End every process of the server in a way that none can notice."""
        with suppress(OSError):
            os.kill(self.pid, signal.SIGKILL)
        self.process.kill()
        self.process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None and self.process.poll() is None:
            self.close()
        elif self.process.poll() is None:
            self.kill()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None and not pipe.closed:
                with suppress(BrokenPipeError):
                    pipe.close()
