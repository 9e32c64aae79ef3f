"""A client's package of Tallygate beside `tallygate init`: each hook fires twice, and is answered as one."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.e2e.checking import assert_counted, raise_as_told
from tests.e2e.driving import Machine
from tests.e2e.mock_api import dollars_of
from tests.e2e.programs import ClaudeCode, Client, GeminiCli, write
from tests.e2e.wire import Tokens, Turn

pytestmark = pytest.mark.e2e

PACKAGES = Path(__file__).resolve().parents[2] / "integrations"
COSTLY = Tokens(fresh=1_000, cache_read=8_000, output=16_000)

Make = Callable[..., Machine]


def add_package(here: Machine) -> None:
    """Install the client's package of Tallygate with the client's own command, and its program on the PATH."""
    path = here.client_environ()["PATH"]
    here.environ["PATH"] = f"{Path(sys.executable).parent}:{path}"

    def client(*words: str) -> None:
        argv = [here.place.program("claude" if here.client.name == "claude_code" else "gemini"), *words]
        done = subprocess.run(
            argv, env=here.client_environ(), cwd=here.work, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr

    if here.client.name == "gemini":
        client("extensions", "install", "--consent", str(PACKAGES / "gemini-extension"))
        return
    shop = here.root / "shop"
    shutil.copytree(PACKAGES / "claude-code-plugin", shop / "plugin")
    plugin = {"name": "tallygate", "source": "./plugin", "description": "Tallygate"}
    write(shop / ".claude-plugin" / "marketplace.json", {"name": "shop", "owner": {"name": "me"}, "plugins": [plugin]})
    client("plugin", "marketplace", "add", str(shop))
    client("plugin", "install", "tallygate@shop")


@pytest.mark.parametrize("client", [ClaudeCode(), GeminiCli()], ids=lambda client: client.name)
def test_a_package_beside_init_reserves_counts_and_stops_once(machine: Make, client: Client) -> None:
    work = [Turn(f"Step {number}.", (client.shell(f"touch {number}"),), COSTLY) for number in range(6)]
    here = machine(client, [*work, Turn("Done.", tokens=COSTLY)])
    here.init(f"{dollars_of(client.model, COSTLY) * 5 / 2:.2f}")
    add_package(here)
    stopped = here.run()
    assert len(here.api.of_kind("main")) == 2
    raise_as_told(here, stopped, "9")
    gone_on = here.run(resume=stopped.seen.session)
    assert "Done." in gone_on.seen.said
    assert_counted(here)
    sessions = here.sessions()
    rows = [row for each in sessions for row in each["decisions"]]
    asked = len(here.api.of_kind("main"))
    assert sum(each["calls_made"] for each in sessions) == asked
    assert sum(row["count"] for row in rows if row["action"] != "halt") == asked
    checks = json.loads(here.tallygate("doctor", "--json", check=False).stdout)["checks"]
    [check] = [check for check in checks if check["check"] == client.option]
    assert (check["state"], "runs twice" in check["found"]) == ("warn", True)
