from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.processes.proof import Actor


@pytest.fixture
def act(home: Path) -> Iterator[Callable[..., Actor]]:
    """Start actors on the ledger of this test's home; none outlives the test."""
    started: list[Actor] = []

    def start(*arguments: object, **environ: str) -> Actor:
        started.append(Actor(home, *arguments, **environ))
        return started[-1]

    yield start
    for actor in started:
        actor.end()
