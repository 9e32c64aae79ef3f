"""What the program weighs: packages and megabytes of a fresh installation, tokens and bytes of its list of tools."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import tempfile
import venv
from pathlib import Path

from bench.figures import stated
from bench.wire import ROOT, SERVE, Server
from tallygate.pricing.tokens import TokenCount, count_tokens

PACKAGES_MAX, MIB_MAX, TOKENS_MAX = 47, 120, 1_400
# What the language brings, not the program.
OF_THE_VENV = {"pip", "setuptools", "wheel"}


def installed(folder: Path) -> tuple[list[str], int]:
    """Names and bytes of what an installation of this checkout brings into an empty environment."""
    venv.create(folder, with_pip=True)
    python = folder / "bin/python"
    pip = [str(python), "-m", "pip", "--disable-pip-version-check"]
    own_site = json.loads(
        subprocess.check_output([str(python), "-c", "import json, sysconfig; print(json.dumps(sysconfig.get_paths()))"])
    )["purelib"]
    before = weight(Path(own_site))
    subprocess.run(
        [*pip, "install", "--quiet", "--quiet", "--constraint", str(ROOT / "constraints.txt"), str(ROOT)], check=True
    )
    listed = json.loads(subprocess.check_output([*pip, "list", "--format", "json"]))
    names = sorted(found["name"] for found in listed if found["name"].lower() not in OF_THE_VENV)
    return names, weight(Path(own_site)) - before


def weight(folder: Path) -> int:
    """Bytes of the files below a folder, as they lie on a disk of 4 KiB blocks, with their compiled form."""
    found = 0
    for at, _, files in os.walk(folder):
        found += sum(-(-(Path(at) / name).lstat().st_size // 4096) * 4096 for name in files)
    return found


def on_the_wire() -> list[tuple[str, str, int]]:
    """Each tool: its name, what a model is shown of it, and the bytes of everything a client is sent."""
    with tempfile.TemporaryDirectory(prefix="tallygate-bench-") as name, Server(SERVE, Path(name)) as server:
        tools = server.greet().tools()
    return [(tool["name"], shown(tool), len(compact(tool).encode())) for tool in tools]


def shown(tool: dict[str, object]) -> str:
    """Name, description and input schema: what clients put before a model."""
    return compact({key: tool[key] for key in ("name", "description", "inputSchema")})


def compact(value: object) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench size", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="without the installation")
    chosen = parser.parse_args(arguments)
    failed = 0
    counted: list[tuple[str, TokenCount, int]] = [
        (name, count_tokens(text, "gpt-5", os.environ), size) for name, text, size in on_the_wire()
    ]
    total = sum(count.tokens for _, count, _ in counted)
    print(f"tools/list, counted by {counted[0][1].method}: name, description and input schema")
    for name, count, size in counted:
        print(f"  {name}: {count.tokens} tokens; {size:,} bytes of JSON with output schema and notes")
    failed += stated(
        "size",
        f"list of {len(counted)} tools ({sum(size for *_, size in counted):,} bytes on the wire)",
        f"{total:,} tokens",
        f"<= {TOKENS_MAX:,}",
        held=total <= TOKENS_MAX,
    )
    if not chosen.quick:
        with tempfile.TemporaryDirectory(prefix="tallygate-bench-") as name:
            names, size = installed(Path(name) / "venv")
        mebibytes = size / 1024**2
        failed += stated(
            "size",
            "a fresh installation",
            f"{len(names)} packages, {mebibytes:.1f} MiB",
            f"<= {PACKAGES_MAX}, <= {MIB_MAX} MiB",
            held=len(names) <= PACKAGES_MAX and mebibytes <= MIB_MAX,
        )
        print(f"  {', '.join(names)}")
    return 1 if failed else 0
