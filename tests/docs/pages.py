"""Pages as stories: fenced blocks, run in their order against a real server and the command line.

```json call TOOL         arguments of a tool call
```json answer            what it must answer; ids are learned from it
```text error             the text of a refusal
```toml PATH              a file of the project, written before the server starts
```csv PATH               the same, of any name
`2026-11-20` on a page, in commands and such files, is the day (UTC) it is run on.
```console                commands after "$ ", each with its output; "..." stands for anything
"""

from __future__ import annotations

import doctest
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mcp import Client, StdioServerParameters
from mcp.types import Implementation

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
_BLOCK = re.compile(r"^```(?P<info>[^\n`]*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
_SECONDS = re.compile(r'(?<="last_reconciled_at": )[\d.]+')
_LENIENT = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
SHORT = 8
DAY = "2026-11-20"


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block of a page."""

    page: Path
    line: int
    info: tuple[str, ...]
    text: str

    @property
    def place(self) -> str:
        return f"{self.page.relative_to(ROOT).as_posix()}:{self.line}"


def blocks(page: Path, language: str = "") -> list[Block]:
    """The fenced blocks of a page, of one language or of all."""
    text = page.read_text(encoding="utf-8")
    found = [
        Block(page, text.count("\n", 0, match.start()) + 1, tuple(match["info"].split()), match["text"])
        for match in _BLOCK.finditer(text)
    ]
    return [block for block in found if not language or block.info[:1] == (language,)]


def has_a_story(page: Path) -> bool:
    return any(block.info[:2] == ("json", "call") or block.info == ("console",) for block in blocks(page))


@dataclass
class Story:
    """One page while it is run: where, and which real id stands for each id of the page."""

    folder: Path
    environ: Mapping[str, str]
    ids: dict[str, str] = field(default_factory=dict)
    today: str = field(default_factory=lambda: datetime.now(UTC).date().isoformat())

    def learn(self, told: Mapping[str, Any], real: Mapping[str, Any]) -> None:
        """Take the ids of an answer as the names of the real ones."""
        for key in ("session_id", "call_id"):
            if key in told and key in real:
                self.ids.setdefault(told[key], real[key])
        if "attestation" in told and "attestation" in real:
            self.ids.setdefault(told["attestation"]["id"], str(real["attestation"]["id"]))

    def real(self, text: str) -> str:
        """Text of the page with the ids of this run; the end of an id stands for it."""
        for told, real in self.ids.items():
            text = text.replace(told, real).replace(told[-SHORT:], real[-SHORT:])
        return text.replace(DAY, self.today)

    def told(self, text: str) -> str:
        """Text of this run with the ids of the page, and without moments."""
        for told, real in self.ids.items():
            text = text.replace(real, told).replace(real[-SHORT:], told[-SHORT:])
        # In full, as tables shorten it, and as a day of this year.
        for start in (0, 2, 5):
            text = re.sub(rf"(?<![\w-]){self.today[start:]}(?![\w-])", DAY[start:], text)
        return _SECONDS.sub("0", _TIME.sub("TIME", text))

    def command(self, line: str) -> str:
        """What a command writes, both streams together."""
        words = shlex.split(self.real(line))
        assert words[0] == "tallygate", line
        done = subprocess.run(
            [sys.executable, "-m", "tallygate", *words[1:]],
            cwd=self.folder,
            env=dict(self.environ),
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            timeout=300,
            check=False,
        )
        return self.told(done.stdout)


def story_in(home: Path) -> Story:
    """A project of a user who has used nothing yet."""
    folder = home / "shop"
    (folder / ".git").mkdir(parents=True)
    programs = folder.parent / f"{folder.name}-programs"  # where its reader's shell finds the program by its name
    programs.mkdir(exist_ok=True)
    (programs / "tallygate").unlink(missing_ok=True)
    (programs / "tallygate").symlink_to(Path(sys.executable).parent / "tallygate")
    found = {"PATH": os.pathsep.join((str(programs), os.environ["PATH"]))}
    return Story(folder, {**os.environ, **found, "PYTHONPATH": os.pathsep.join(sys.path), "COLUMNS": "100"})


async def run(page: Path, story: Story) -> None:
    """Do what a page says, and hold every answer against the page."""
    steps = blocks(page)
    for block in steps:
        if (block.info[:1] == ("toml",) and "/" in block.info[-1]) or (block.info[0:1] == ("csv",) and block.info[1:]):
            # A page names the user's own file by the home folder, which is the one that the project lies in.
            path = story.folder / block.info[1].replace("~", "..", 1)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(story.real(block.text), encoding="utf-8")
    if all(block.info[:2] != ("json", "call") for block in steps):
        for block in steps:
            say(story, block)
        return
    server = StdioServerParameters(
        command=sys.executable, args=["-m", "tallygate", "serve"], env=dict(story.environ), cwd=str(story.folder)
    )
    wrong: AssertionError | None = None
    called = {json.loads(story.real(block.text)).get("client") for block in steps if block.info[:2] == ("json", "call")}
    called.discard(None)
    name = called.pop() if len(called) == 1 else "program"  # a page that speaks of one client is run as that client
    info = Implementation(name=name, version="1")
    async with Client(server, client_info=info) as client:
        result: Any = None
        try:
            for block in steps:
                if block.info[:2] == ("json", "call"):
                    result = await client.call_tool(block.info[2], json.loads(story.real(block.text)))
                elif block.info == ("json", "answer"):
                    hold(story, block, result)
                elif block.info == ("text", "error"):
                    hold_refusal(story, block, result)
                else:
                    say(story, block)
        except AssertionError as error:
            wrong = error  # raised outside, where no task group wraps it
    if wrong is not None:
        raise wrong


def hold(story: Story, block: Block, result: Any) -> None:
    """An answer against the one the page shows."""
    told, real = json.loads(block.text), result.structured_content
    assert not result.is_error, f"{block.place}: {result}"
    story.learn(told, real)
    wanted = json.loads(story.told(json.dumps(told)))
    answered = json.loads(story.told(json.dumps(real)))
    assert answered == wanted, f"{block.place}: {answered}"


def hold_refusal(story: Story, block: Block, result: Any) -> None:
    """A refusal against the text the page shows."""
    assert result.is_error, f"{block.place}: {result}"
    said = story.told(result.content[0].text)
    assert " ".join(said.split()) == " ".join(story.told(block.text).split()), f"{block.place}: {said}"


def say(story: Story, block: Block) -> None:
    """Run the commands of a console block; other blocks are for the reader."""
    if block.info != ("console",):
        return
    for command, told in spoken(block):
        said = story.command(command)
        same = doctest.OutputChecker().check_output(told, said, _LENIENT)
        assert same, f"{block.place}: $ {command}\n{said}"


def spoken(block: Block) -> Iterator[tuple[str, str]]:
    """The commands of a console block with the output that belongs to each."""
    for part in re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]:
        command, _, output = part.partition("\n")
        yield command, output
