"""Loops on recorded sessions of real work: hardly any of it is flagged."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from bench.loops import flagged

ROOT = Path(__file__).resolve().parents[2]
CORPUS = Path(os.environ.get("TALLYGATE_CORPUS") or ROOT.parent / "shared" / "corpus")


@pytest.mark.skipif(not CORPUS.is_dir(), reason="no corpus here: TALLYGATE_CORPUS names its folder")
def test_of_a_hundred_sessions_of_real_work_hardly_any_is_flagged() -> None:
    files = sorted(CORPUS.rglob("*.jsonl"))[:300]
    found = [flagged(path)[1] for path in files]
    assert sum(any(not each.is_loop for each in of_file) for of_file in found) * 50 <= len(files)
    assert sum(any(each.is_loop for each in of_file) for of_file in found) * 100 <= len(files)
