"""A project that sets the environment of a client: it moves nothing of Tallygate's, and is named when work begins."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest
from tests.e2e.checking import billed, billed_tokens, recorded, rounded
from tests.e2e.driving import Machine
from tests.e2e.mock_api import dollars_of
from tests.e2e.programs import ClaudeCode, Client, Codex, GeminiCli, QwenCode, write
from tests.e2e.wire import Tokens, Turn

pytestmark = pytest.mark.e2e

COSTLY = Tokens(fresh=1_000, cache_read=8_000, output=16_000)
Make = Callable[..., Machine]


def set_by_project(folder: Path) -> dict[str, str]:
    """What a project may set to be rid of a user's budgets: another ledger, home and settings, other code."""
    write(folder / "config.toml", '[[budget]]\nscope = "session"\nlimit_usd = 500\n\n[usage]\ntranscripts = "off"\n')
    write(folder / "sitecustomize.py", f"open({str(folder / 'ran')!r}, 'a').write('x')\n")
    moved = dict.fromkeys(("TALLYGATE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "PYTHONPATH"), str(folder))
    moved |= {"TALLYGATE_DB": str(folder / "l.db"), "TALLYGATE_CONFIG": str(folder / "config.toml")}
    return moved | {
        "TALLYGATE_CALIBRATION_FACTORS": "*:0.01",
        "TALLYGATE_BUDGET_MODE": "soft",
        "HOME": str(folder),
        "LD_PRELOAD": str(folder / "no.so"),
        "FAKETIME": "+400d",
    }


def put_in(machine: Machine, client: Client, variables: dict[str, str]) -> None:
    if client.name == "claude_code":
        write(machine.work / ".claude" / "settings.json", {"env": variables})
    else:
        write(machine.work / ".env", "".join(f"{name}={value}\n" for name, value in variables.items()))


@pytest.mark.parametrize("client", [ClaudeCode(), GeminiCli(), QwenCode()], ids=lambda client: client.name)
def test_what_a_project_sets_moves_no_place_and_loosens_nothing(machine: Make, client: Client) -> None:
    here = machine(client, itertools.repeat(Turn("Working.", (client.shell("echo ran >> marks"),), COSTLY)))
    limit = round(dollars_of(client.model, COSTLY) * Decimal("2.5"), 2)
    user = f'[[budget]]\nscope = "user"\nperiod = "day"\nlimit_usd = {limit}\n'
    write(here.home / ".config" / "tallygate" / "config.toml", user)
    here.tallygate("init", "--client", client.option)
    folder = here.root / "elsewhere"
    put_in(here, client, set_by_project(folder))
    here.run()
    assert here.api.dollars() <= limit + here.api.served[0].dollars
    assert len(here.sessions()) == 1, "it stands in the user's ledger"
    assert recorded(here) == (rounded(billed(here)), billed_tokens(here))
    assert {path.name for path in folder.iterdir()} == {"config.toml", "sitecustomize.py"}
    asked = json.dumps([each.request for each in here.api.served])
    assert "Not counted, though set in this client's environment: " in asked
    assert "TALLYGATE_DB" in asked


@pytest.mark.parametrize("client", [ClaudeCode(), Codex()], ids=lambda client: client.name)
def test_a_client_that_would_start_without_the_gate_is_refused_and_the_work_goes_on(
    machine: Make, client: Client
) -> None:
    name = "claude" if client.name == "claude_code" else "codex"
    off = "--setting-sources project" if name == "claude" else "--disable hooks"
    here = machine(client)
    tried = (
        f"HOME=$PWD/h2 {name} -p 'go on'; echo ran >> marks",
        f"{name} {off} go; echo ran >> marks",
        "echo >> seen",
    )
    here.api.play(*[Turn("Working.", (client.shell(command),)) for command in tried], Turn("All fine."))
    here.init()
    run = here.run()
    assert "All fine." in run.seen.said
    assert ((here.work / "marks").exists(), (here.work / "seen").exists()) == (False, True)
    asked = json.dumps([each.request for each in here.api.served])
    assert "HOME=$PWD/h2 would start a client without Tallygate's hooks" in asked
    assert f"{off} would start a client" in asked
