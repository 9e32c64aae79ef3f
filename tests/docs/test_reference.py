"""The reference says what the program is now."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib import import_module

from tests.docs.pages import ROOT


def test_the_reference_is_what_the_program_would_write():
    done = subprocess.run(
        [sys.executable, str(ROOT / "docs" / "generate.py"), "--check"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_a_code_is_found_where_its_error_is_named_by_itself_and_through_its_module(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "docs")
    source = 'raise NotFound("a", code="bare")\nraise errors.NotFound("b", hint="", code="dotted")\nlater(code=other)\n'
    assert [*import_module("generate").stated(source)] == [("NotFound", "bare"), ("NotFound", "dotted")]
