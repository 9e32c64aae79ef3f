"""Clients that were started before we were installed: real processes, told by their start, their home and a server."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from tallygate.clients.registry import REGISTRY
from tallygate.clients.running import unaware

pytestmark = pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="no /proc")
CLAUDE, CODEX = REGISTRY.clients["claude-code"], REGISTRY.clients["codex"]
WAITING = "import sys; print(flush=True); sys.stdin.read()"
WITH_SERVER = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {WAITING!r}, 'tallygate', 'serve'])"
SOON_US = (time.time_ns() // 1000) + 3600 * 10**6


@contextmanager
def started(folder, home, program=WAITING, name="claude"):
    """A process of a client, which ends with this block."""
    link = folder / name
    link.symlink_to(sys.executable)
    env = {**os.environ, "HOME": str(home)}
    with subprocess.Popen([link, "-c", program], stdin=-1, stdout=-1, env=env) as process:
        process.stdout.readline()
        yield process
        process.stdin.close()


def test_a_client_that_runs_since_before_is_named_with_its_process(tmp_path, home):
    with started(tmp_path, home) as process:
        found = unaware(CLAUDE, home, SOON_US)
        assert found is not None
        assert (
            f"Claude Code was started before Tallygate was installed (process {process.pid}) and has no gate"
            in found.what
        )
        assert (found.to_do, found.comes_next) == ("Restart Claude Code.", True)
        assert unaware(CODEX, home, SOON_US) is None
    assert unaware(CLAUDE, home, SOON_US) is None


def test_one_that_was_started_since_or_of_another_home_is_not(tmp_path, home):
    with started(tmp_path, home):
        assert unaware(CLAUDE, home, 1) is None
        assert unaware(CLAUDE, tmp_path, SOON_US) is None


def test_one_with_our_server_below_it_is_not(tmp_path, home):
    with started(tmp_path, home, WITH_SERVER):
        assert unaware(CLAUDE, home, SOON_US) is None
