"""Draw the README's pictures from real runs: `python -m tests.e2e.pictures`, the halt with TALLYGATE_E2E_CLIENTS."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from html import escape
from pathlib import Path

from tests.e2e.checking import RAISE
from tests.e2e.driving import Machine
from tests.e2e.mock_api import MockApi, dollars_of
from tests.e2e.programs import ClaudeCode
from tests.e2e.wire import Tokens, Turn

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "docs" / "pictures"

COLUMNS, LINE, MARGIN, CHARACTER = 100, 20, 24, 8.43
# What is drawn on, written with, and marked by: on a light page and on a dark one.
THEMES = {"": ("#ffffff", "#1f2328", "#656d76", "#cf222e"), "-dark": ("#0d1117", "#e6edf3", "#8b949e", "#ff7b72")}
MODELS = {"claude-opus-4-7": (7, 90_000), "claude-sonnet-4-6": (20, 40_000), "claude-haiku-4-5": (9, 12_000)}
BOLD = re.compile(r"\x1b\[1m(.*?)\x1b\[0m")
OTHER = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")


def main() -> int:
    """Draw every picture; the halt only where the clients are."""
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="tallygate-pictures-") as name:
        write("spend", spend(Path(name)))
        if clients := os.environ.get("TALLYGATE_E2E_CLIENTS"):
            write("halt", halt(Path(name), Path(clients)))
    return 0


def write(name: str, lines: Sequence[str]) -> None:
    """One picture in each theme."""
    for ending, theme in THEMES.items():
        file = FOLDER / f"{name}{ending}.svg"
        file.write_text(drawn(lines, theme), encoding="utf-8")
        sys.stdout.write(f"wrote {file.relative_to(ROOT)}\n")


def spend(folder: Path) -> list[str]:
    """A made-up fortnight of Claude Code, as `tallygate` alone and `tallygate usage` tell of it."""
    home = folder / "spend"
    transcripts = home / ".claude" / "projects" / "-home-me-shop"
    transcripts.mkdir(parents=True)
    now = datetime.now(UTC)
    rows = []
    for model, (responses, cached) in MODELS.items():
        for number in range(responses * 3):
            usage = {"input_tokens": 40, "cache_read_input_tokens": cached, "output_tokens": 9_000}
            usage["cache_creation_input_tokens"] = 60_000
            message = {"id": f"msg_{model}_{number}", "role": "assistant", "model": model, "usage": usage}
            message["stop_reason"] = "end_turn"
            at = now - timedelta(hours=7 * number + len(model) % 5)
            stamp = at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
            rows.append({"type": "assistant", "sessionId": "s", "requestId": f"r{number}", "timestamp": stamp})
            rows[-1]["message"] = message
    (transcripts / "s.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return [*said("tallygate", home), "", *said("tallygate usage --by model", home)]


def said(command: str, home: Path) -> list[str]:
    """A command as somebody types it, and what it answers on a terminal."""
    words = [sys.executable, "-m", "tallygate", *shlex.split(command)[1:]]
    environ = {"HOME": str(home), "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin", "TERM": "xterm"}
    environ |= {"COLUMNS": str(COLUMNS), "PYTHONPATH": str(ROOT / "src")}
    typed = f"stty cols {COLUMNS}; {shlex.join(words)} 2>/dev/null"
    done = subprocess.run(
        ["script", "-qec", typed, "/dev/null"], env=environ, cwd=home, capture_output=True, text=True, check=True
    )
    return [f"\x1b[1m$ {command}\x1b[0m", *(line.rstrip() for line in done.stdout.replace("\r", "").splitlines())]


def halt(folder: Path, clients: Path) -> list[str]:
    """Claude Code in print mode against a model API on loopback: stopped, raised, and on with the work."""
    client, costly = ClaudeCode(), Tokens(fresh=1_000, cache_read=8_000, output=16_000)

    def claude(*words: str) -> list[str]:
        line = shlex.join([here.place.program("claude"), "-p", *words, "--model", client.model])
        done = subprocess.run(
            ["script", "-qec", f"stty cols {COLUMNS}; {line}", "/dev/null"],
            env=here.client_environ() | {"TERM": "xterm"},
            cwd=here.work,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        typed = shlex.join(["claude", "-p", *words]).replace("'", '"')
        told = OTHER.sub("", done.stdout.replace("\r", "")).replace(
            sys.executable.replace("python", "tallygate"), "tallygate"
        )
        return [f"\x1b[1m$ {typed}\x1b[0m", *(line for line in told.splitlines() if line.strip())]

    with closing(MockApi()) as api:
        here = Machine(folder / "halt", clients, client, api)
        api.play(*(Turn("Looking.", (client.shell(f"echo {number} >> notes"),), costly) for number in range(9)))
        here.init(f"{dollars_of(client.model, costly) * 5 / 2:.2f}")
        stopped = claude("Add a search box.")
        told = RAISE.search("\n".join(stopped))
        assert told is not None, "nobody said how to go on"
        raised = here.tallygate("budget", "raise", told[1], told[2]).stdout
        api.play(Turn("The search box stands above the list, and finds by name and by tag."))
        on = claude("--continue", "Go on.")
    command = f"\x1b[1m$ {told[0]}\x1b[0m"
    return [*stopped, "", command, *raised.splitlines(), "", *on]


def drawn(lines: Sequence[str], theme: tuple[str, str, str, str]) -> str:
    """Lines of a terminal as a picture that needs no font from elsewhere."""
    paper, ink, faint, _ = theme
    wrapped = [part for line in lines for part in broken(line)]
    width, height = round(COLUMNS * CHARACTER) + 2 * MARGIN, len(wrapped) * LINE + 2 * MARGIN
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        f'font-family="ui-monospace, SFMono-Regular, Menlo, Consolas, monospace" font-size="14">\n'
        f'<rect x="0.5" y="0.5" width="{width - 1}" height="{height - 1}" rx="8" fill="{paper}" stroke="{faint}"/>\n'
    )
    body = "".join(
        f'<text x="{MARGIN}" y="{MARGIN + LINE * number + 14}" fill="{ink}" xml:space="preserve">'
        f"{marked(line)}</text>\n"
        for number, line in enumerate(wrapped)
        if line
    )
    return f"{head}{body}</svg>\n"


def broken(line: str) -> list[str]:
    """A line in pieces that fit, between words; what is bold is short."""
    if len(OTHER.sub("", line)) <= COLUMNS:
        return [line]
    pieces = [""]
    for word in line.split(" "):
        if len(pieces[-1]) + len(word) + 1 > COLUMNS:
            pieces.append(word)
        else:
            pieces[-1] = f"{pieces[-1]} {word}" if pieces[-1] else word
    return pieces


def marked(line: str) -> str:
    """A line's text with its bold parts."""
    parts = BOLD.split(line)
    clean = [escape(OTHER.sub("", part), quote=False) for part in parts]
    return "".join(
        f'<tspan font-weight="bold">{part}</tspan>' if at % 2 else part for at, part in enumerate(clean) if part
    )


if __name__ == "__main__":
    sys.exit(main())
