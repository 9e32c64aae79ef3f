from __future__ import annotations

import pytest
from tests.world import make_world


@pytest.fixture
def world(tmp_path):
    made = make_world(tmp_path)
    yield made
    problems = made.problems()
    made.ledger.close()
    assert not problems
