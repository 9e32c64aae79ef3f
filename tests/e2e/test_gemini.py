"""Gemini CLI: slow streams, and what it thinks, which it counts beside what it says."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tests.e2e.checking import assert_counted, assert_logged
from tests.e2e.driving import Machine
from tests.e2e.programs import GeminiCli
from tests.e2e.wire import Tokens, Turn

pytestmark = pytest.mark.e2e

GEMINI = GeminiCli()

Make = Callable[..., Machine]


def test_thoughts_of_slow_streams_are_counted_once_as_output(machine: Make) -> None:
    thinking = Tokens(fresh=1_000, cache_read=8_000, output=4_000, reasoning=3_000)
    two = (GEMINI.shell("touch one"), GEMINI.shell("touch two"))
    here = machine(GEMINI, [Turn("Two at once.", two, thinking, gap=0.1), Turn("All fine.", tokens=thinking, gap=0.1)])
    here.init()
    assert here.run().code == 0
    assert (here.work / "one").exists()
    assert (here.work / "two").exists()
    assert_logged(here)
    assert_counted(here)
