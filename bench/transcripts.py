"""Measure reading transcripts against a plain json.loads loop over the same lines, in the same run.

    PYTHONPATH=src python bench/transcripts.py [--rounds N] [CORPUS]

Each round times the loop and the readers one after the other on bytes that are already in memory; the figure is
loop time / reader time, so more is better and the speed of the machine cancels out. `rows` is everything up to
finished rows. `parse` stops after finding and decoding the records that carry usage. Also measured: usage rows a
second, a tail of ten responses on a large file, and memory for a large file.
"""

from __future__ import annotations

import argparse
import gc
import json
import random
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tallygate.clients.claude_code.transcripts import ClaudeReader
from tallygate.clients.claude_code.transcripts import read as read_claude
from tallygate.clients.claude_code.transcripts import reader_of as claude_reader
from tallygate.clients.codex.transcripts import CodexReader
from tallygate.clients.codex.transcripts import reader_of as codex_reader
from tallygate.clients.reading.files import TranscriptFile, TranscriptReader
from tallygate.clients.reading.lines import Pairs

ROOT = Path(__file__).resolve().parent.parent
SOURCE = "".join(Path(str(module.__file__)).read_text(encoding="utf-8") for module in (argparse, statistics, tempfile))
Maker = Callable[[Path], TranscriptReader]
Files = list[tuple[Path, bytes]]


class ClaudeParsing(ClaudeReader):
    """Finds and decodes, and makes nothing of it."""

    def take(self, record: Pairs) -> None:
        """Leave the record."""


class CodexParsing(CodexReader):
    """Finds and decodes, and makes nothing of it."""

    def take(self, record: Pairs) -> None:
        """Leave the record."""


def clock(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def text_of(chance: random.Random, size: int) -> str:
    """Source code, as tools read and write it: the standard library's own."""
    start = chance.randrange(len(SOURCE) - size)
    return SOURCE[start : start + size]


def heavy_claude(responses: int, result_size: int = 12_000) -> bytes:
    """A session as it is on disk: large tool results and inputs around small usage records."""
    chance = random.Random(1)
    usage = {
        "input_tokens": 3,
        "cache_read_input_tokens": 90_000,
        "cache_creation_input_tokens": 600,
        "output_tokens": 90,
    }
    out = []
    for number in range(responses):
        for part in range(2):
            block = {"type": "tool_use", "id": f"toolu_{number}_{part}", "input": {"text": text_of(chance, 700)}}
            minted = f"msg_01{str(number).replace('0', 'z'):x>22}"
            message: dict[str, Any] = {"id": minted, "model": "claude-opus-4-6", "role": "assistant"}
            message |= {"content": [block], "stop_reason": "tool_use", "usage": usage}
            out.append({"parentUuid": "p", "isSidechain": False, "type": "assistant", "message": message})
            out[-1] |= {"requestId": f"req_{number}", "sessionId": "s", "timestamp": "2026-03-01T10:00:00.000Z"}
        result = {"type": "tool_result", "tool_use_id": "t", "content": text_of(chance, result_size)}
        out.append({"type": "user", "message": {"role": "user", "content": [result]}, "sessionId": "s"})
        out[-1]["toolUseResult"] = {"stdout": text_of(chance, result_size)}
    return b"".join(json.dumps(row, separators=(",", ":")).encode() + b"\n" for row in out)


def heavy_codex(responses: int, result_size: int = 15_000) -> bytes:
    chance = random.Random(2)
    rows: list[tuple[str, dict[str, object]]] = [("session_meta", {"id": "t", "cwd": "/p"})]
    for number in range(1, responses + 1):
        arguments = json.dumps({"command": text_of(chance, 500)})
        rows.append(("response_item", {"type": "function_call", "name": "sh", "arguments": arguments, "call_id": "c"}))
        output = text_of(chance, result_size)
        rows.append(("response_item", {"type": "function_call_output", "call_id": "c", "output": output}))
        last = {"input_tokens": 1000, "cached_input_tokens": 900, "output_tokens": 50, "total_tokens": 1050}
        total = {key: value * number for key, value in last.items()}
        info = {"total_token_usage": total, "last_token_usage": last}
        rows.append(("event_msg", {"type": "token_count", "info": info}))
    lines = ({"timestamp": "2026-03-01T10:00:00.000Z", "type": kind, "payload": payload} for kind, payload in rows)
    return b"".join(json.dumps(line, separators=(",", ":")).encode() + b"\n" for line in lines)


def compare(title: str, files: Files, makers: dict[str, Maker], rounds: int) -> None:
    size = sum(len(data) for _, data in files)
    records = sum(b'"usage":' in line or b"token_count" in line for _, data in files for line in data.splitlines())
    ratios: dict[str, list[float]] = {name: [] for name in makers}
    speeds = []
    found = 0
    for _ in range(rounds):
        loop = clock(lambda: [json.loads(line) and None for _, data in files for line in data.splitlines()])
        for name, maker in makers.items():
            rows = [0]

            def work(maker: Maker = maker, rows: list[int] = rows) -> None:
                for path, data in files:
                    rows[0] += len(maker(path).feed(data))

            took = clock(work)
            ratios[name].append(loop / took)
            if rows[0]:
                found = rows[0]
                speeds.append(rows[0] / took)
    print(f"{title} ({size / 1e6:.1f} MB, {found:,} rows)")
    for name, values in ratios.items():
        print(f"  {name}: {statistics.median(values):.2f}x the loop (from {min(values):.2f} to {max(values):.2f})")
    speed = statistics.median(speeds)
    print(f"  {speed:,.0f} rows/s, {speed * records / found:,.0f} records of usage a second in one process")


def tail(rounds: int) -> None:
    """Ten new responses at the end of a file that was read before."""
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "s.jsonl"
        path.write_bytes(heavy_claude(4000))
        file = TranscriptFile("claude_code", path)
        new = heavy_claude(10)
        times = []
        for _ in range(rounds):
            position = list(read_claude(file))[-1].position
            with path.open("ab") as out:
                out.write(new)
            began = time.perf_counter()
            rows = sum(len(batch.rows) for batch in read_claude(file, position))
            times.append((time.perf_counter() - began) * 1000)
        spread = f"from {min(times):.2f} to {max(times):.2f}"
        size = path.stat().st_size / 1e6
        print(f"tail of {rows} responses on {size:.0f} MB: {statistics.median(times):.2f} ms ({spread})")


def memory() -> None:
    """A file far larger than the bound, read to its end."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "s.jsonl"
        part = heavy_claude(200)
        with path.open("wb") as out:
            while out.tell() < 1_000_000_000:
                out.write(part)
        began = time.perf_counter()
        rows = sum(len(batch.rows) for batch in read_claude(TranscriptFile("claude_code", path)))
        took = time.perf_counter() - began
        size = path.stat().st_size
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(f"{size / 1e9:.2f} GB in {took:.1f} s ({size / 1e6 / took:.0f} MB/s, {rows:,} upserts)")
    print(f"  peak {peak / 1024:.0f} MB, of which {before / 1024:.0f} MB were in use before")


def main() -> None:
    arguments = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    arguments.add_argument("corpus", nargs="?", type=Path, default=ROOT.parent / "shared" / "corpus")
    arguments.add_argument("--rounds", type=int, default=9)
    chosen = arguments.parse_args()
    # First, while nothing else has made the process large.
    memory()
    tail(chosen.rounds)
    gc.disable()  # as in the process that reads a history
    claude: dict[str, Maker] = {"rows": claude_reader, "parse": lambda _: ClaudeParsing(session="s")}
    codex: dict[str, Maker] = {"rows": codex_reader, "parse": lambda _: CodexParsing(thread="t")}
    for folder, makers in (("claude", claude), ("codex", codex)):
        files = [(path, path.read_bytes()) for path in sorted((chosen.corpus / folder).rglob("*.jsonl"))]
        if files:
            compare(f"corpus, {folder} (contents taken out)", files, makers, chosen.rounds)
    for size in (12_000, 60_000, 120_000):
        title = f"content-heavy, tool results of {size // 1000} KB"
        number = 24_000_000 // size
        compare(f"{title}, claude", [(Path("s.jsonl"), heavy_claude(number // 2, size))], claude, chosen.rounds)
        compare(f"{title}, codex", [(Path("r.jsonl"), heavy_codex(number, size))], codex, chosen.rounds)


if __name__ == "__main__":
    main()
