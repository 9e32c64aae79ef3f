"""The packages for clients pass the checks of those who take them: Claude Code, Gemini CLI, the packer of bundles."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from tests.e2e.programs import search_path

pytestmark = pytest.mark.e2e

PACKAGES = Path(__file__).resolve().parents[2] / "integrations"


@pytest.fixture
def run(clients, tmp_path):
    """Run a client's or a packer's own program in an empty home."""

    def run_(folder: str, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        environ = {"HOME": str(tmp_path), "PATH": search_path(clients), "LANG": "C.UTF-8"}
        argv = [str(clients / folder / "node_modules" / ".bin" / program), *arguments]
        return subprocess.run(argv, env=environ, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)

    return run_


def test_claude_code_takes_the_plugin(run):
    done = run("claude", "claude", "plugin", "validate", str(PACKAGES / "claude-code-plugin"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "tallygate_hook" in done.stdout


def test_gemini_cli_takes_the_extension(run):
    done = run("gemini", "gemini", "extensions", "validate", str(PACKAGES / "gemini-extension"))
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_bundle_is_packed_and_unpacks_to_what_was_packed(run, tmp_path):
    folder, bundle, out = (str(tmp_path / name) for name in ("bundle", "tallygate.mcpb", "out"))
    subprocess.run([sys.executable, str(PACKAGES / "bundle.py"), folder], check=True)
    assert run("mcpb", "mcpb", "validate", str(tmp_path / "bundle" / "manifest.json")).returncode == 0
    assert run("mcpb", "mcpb", "pack", folder, bundle).returncode == 0
    assert run("mcpb", "mcpb", "unpack", bundle, out).returncode == 0
    packed, unpacked = (sorted(str(p.relative_to(d)) for p in Path(d).rglob("*") if p.is_file()) for d in (folder, out))
    assert unpacked == packed
