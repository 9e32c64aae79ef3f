"""Launches of real clients, without Tallygate and with: to the first call of the model, from the last one to the end.

A client runs one prompt against a model API on loopback, as the end-to-end tests drive it; the clients come from
`python tests/e2e/install.py`. Each round launches every variant once, in an order that changes. `--other PYTHON` adds
another installation, by its interpreter.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from bench.figures import percentile
from tests.e2e.driving import Machine
from tests.e2e.install import missing, prefix
from tests.e2e.loopback import loopback_only
from tests.e2e.mock_api import MockApi
from tests.e2e.programs import ClaudeCode, Client, Codex, CopilotCli, GeminiCli, OpenCode, QwenCode
from tests.e2e.wire import Tokens, Turn

from tallygate.entrypoints.handover import residents

CLIENTS: dict[str, type[Client]] = {
    "claude": ClaudeCode,
    "codex": Codex,
    "gemini": GeminiCli,
    "opencode": OpenCode,
    "qwen": QwenCode,
    "copilot": CopilotCli,
}
# The variant in which a process stands by for the next client; the round that is not counted makes it.
RESIDENT = "here, resident"
BY_DEFAULT = ("claude", "codex", "gemini")
TOKENS = Tokens(fresh=1_000, output=100)


class TimedApi(MockApi):
    """A model API that notes when it is asked."""

    def answer(self, model, request):
        self.asked.append(time.perf_counter())
        return super().answer(model, request)

    def __post_init__(self) -> None:
        self.asked: list[float] = []
        super().__post_init__()


@dataclass
class Waits:
    """What the rounds of one variant took to the first call and after the last, and how many gates there were."""

    first: list[float] = field(default_factory=list)
    last: list[float] = field(default_factory=list)
    gates: list[int] = field(default_factory=list)


@dataclass
class Variant:
    """A client on a machine of its own, with the Tallygate of an interpreter, or without."""

    name: str
    machine: Machine
    api: TimedApi
    client: Client
    waits: Waits = field(default_factory=Waits)

    def launch(self) -> tuple[float, float, int]:
        """One run: seconds to the first call of the model and after the last, and processes that imported the gate."""
        shell = self.client.shell
        self.api.play(*(Turn("Working.", (shell(f"echo {word} >> marks"),), TOKENS) for word in "ab"), Turn("Done."))
        self.api.asked.clear()
        gates = Gates(self.machine)
        begun = time.perf_counter()
        done = subprocess.run(
            self.client.command(self.machine.place, "Do the thing.", None),
            cwd=self.machine.work,
            env=self.machine.client_environ(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=120,
            check=False,
        )
        ended = time.perf_counter()
        made = gates.count()
        assert self.api.asked, f"{self.name}: no model was called: {done.stdout[-500:]!r}{done.stderr[-500:]!r}"
        return self.api.asked[0] - begun, ended - self.api.asked[-1], made


class Gates:
    """The processes that import the gate while a client runs: its server, and hooks that found none."""

    def __init__(self, machine: Machine) -> None:
        self._mark = f"HOME={machine.home}".encode()
        self._seen: set[str] = set()
        self._over = threading.Event()
        self._looking = threading.Thread(target=self._look, daemon=True)
        self._looking.start()

    def count(self) -> int:
        self._over.set()
        self._looking.join()
        return len(self._seen)

    def _look(self) -> None:
        while not self._over.wait(0.02):
            for folder in Path("/proc").glob("[0-9]*"):
                with suppress(OSError):
                    words = {*(folder / "cmdline").read_bytes().split(b"\0")}
                    serves = b"serve" in words
                    if (serves or {b"hook", b"--client"} <= words) and self._is_here(folder):
                        self._seen.add("server" if serves else folder.name)  # a server may be two processes

    def _is_here(self, folder: Path) -> bool:
        return self._mark in (folder / "environ").read_bytes().split(b"\0")


def variants(root: Path, kind: str, others: list[str]) -> list[Variant]:
    made = []
    here = [("here", sys.executable), (RESIDENT, sys.executable)]
    for name, interpreter in [("without", ""), *((path, path) for path in others), *here]:
        client, api = CLIENTS[kind](), TimedApi()
        machine = Machine(root / str(len(made)), prefix(), client, api)
        if interpreter:
            settings = machine.work / ".l6e" / "config.toml"
            settings.parent.mkdir()
            settings.write_text('[[budget]]\nscope = "session"\nlimit_usd = 50\n', encoding="utf-8")
            own = machine.home / ".config" / "tallygate" / "config.toml"
            own.parent.mkdir(parents=True, exist_ok=True)
            own.write_text(f'[server]\nresident = "{"auto" if name == RESIDENT else "never"}"\n', encoding="utf-8")
            subprocess.run(
                [interpreter, "-P", "-m", "tallygate", "init", "--client", client.option, "--scope", "user"],
                cwd=machine.work,
                env=machine.base_environ(),
                stdout=subprocess.DEVNULL,
                check=True,
            )
        made.append(Variant(name, machine, api, client))
    return made


def measure(kind: str, rounds: int, others: list[str]) -> None:
    order = random.Random(1)
    with tempfile.TemporaryDirectory(prefix="tallygate-bench-", ignore_cleanup_errors=True) as folder, loopback_only():
        found = variants(Path(folder), kind, others)
        for number in range(rounds + 1):
            for each in order.sample(found, len(found)):
                first, last, gates = each.launch()
                if number:  # the first one compiled what was not compiled and made the ledger
                    each.waits.first.append(first)
                    each.waits.last.append(last)
                    each.waits.gates.append(gates)
        for each in found:
            for resident, _ in residents(str(each.machine.home / ".local" / "share" / "tallygate" / "servers")):
                os.kill(resident, signal.SIGTERM)
            each.machine.close()
            each.api.close()
    without = found[0].waits
    print(f"{kind}, {rounds} launches each, load {os.getloadavg()[0]:.1f}; seconds, median (least-most)")
    for each in found:
        told = [
            f"first call {shown(each.waits.first)}",
            f"after the last {shown(each.waits.last)}",
        ]
        if each is not found[0]:
            added = [one - other for one, other in zip(each.waits.first, without.first, strict=True)]
            longer = [one - other for one, other in zip(each.waits.last, without.last, strict=True)]
            told.append(f"added {percentile(added, 50):+.2f} and {percentile(longer, 50):+.2f}")
            told.append(f"gates imported {min(each.waits.gates)}-{max(each.waits.gates)}")
        print(f"  {each.name}: " + "; ".join(told), flush=True)


def shown(values: list[float]) -> str:
    return f"{percentile(values, 50):.2f} ({min(values):.2f}-{max(values):.2f})"


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.e2e.launches", description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--client", action="append", choices=[*CLIENTS])
    parser.add_argument("--other", action="append", default=[], metavar="PYTHON")
    chosen = parser.parse_args(arguments)
    if lacking := missing(prefix()):
        print(f"not installed: {', '.join(lacking)}; python tests/e2e/install.py installs them", file=sys.stderr)
        return 1
    for kind in chosen.client or BY_DEFAULT:
        measure(kind, chosen.rounds or (3 if chosen.quick else 10), chosen.other)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
