"""The suite's own rule for the moment at which the day changes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

CONFTEST = """
import tests.midnight
from tests.midnight import pytest_runtest_protocol

days = iter({days!r})
tests.midnight.today = lambda: next(days)
"""

ONCE = """
import pathlib

def test_made_today():
    seen = pathlib.Path("seen")
    first = not seen.exists()
    seen.touch()
    assert not first
"""

ALWAYS = "def test_made_today():\n    assert False\n"


@pytest.mark.parametrize(
    "days, text, told",
    [
        (["30", "1"], ONCE, "1 passed"),
        (["1", "1"], ONCE, "1 failed"),
        (["30", "1"], ALWAYS, "1 failed"),
    ],
    ids=["midnight_fell", "the_day_went_on", "wrong_on_both_days"],
)
def test_a_test_in_which_midnight_falls_is_judged_by_its_second_run(tmp_path, days, text, told):
    (tmp_path / "conftest.py").write_text(CONFTEST.format(days=days))
    (tmp_path / "test_it.py").write_text(text)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "--rootdir", "."],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert told in done.stdout, done.stdout + done.stderr
