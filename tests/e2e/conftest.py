"""Machines for the end-to-end tests; each in a network of its own that has nothing but the loopback in it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.driving import Machine
from tests.e2e.install import missing, prefix
from tests.e2e.loopback import loopback_only
from tests.e2e.mock_api import MockApi
from tests.e2e.programs import Client
from tests.e2e.wire import Turn

E2E_SECONDS = 180

pytest.register_assert_rewrite("tests.e2e.checking")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.get_closest_marker("e2e") and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(E2E_SECONDS))


@pytest.fixture(scope="session")
def clients() -> Path:
    """Where the clients are; without them there is nothing to test, and that is a failure."""
    folder = prefix()
    lacking = missing(folder)
    assert not lacking, f"not installed: {', '.join(lacking)}; `make test-e2e` installs them"
    return folder


@pytest.fixture
def machine(clients: Path, tmp_path: Path) -> Iterator[Callable[..., Machine]]:
    """Make a machine for a client whose model says these turns."""
    made: list[Machine] = []

    def make(client: Client, main: Iterable[Turn] = (), **more: Any) -> Machine:
        made.append(Machine(tmp_path, clients, client, MockApi(main, **more)))
        return made[-1]

    with loopback_only():
        yield make
        for each in made:
            each.close()
            each.api.close()
    strange = [path for each in made for path in each.api.strange]
    assert strange == [], "the client asked for what the model API does not have"
