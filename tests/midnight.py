"""A test in which midnight falls: what it wrote as of today is yesterday's by the time that it asks."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from _pytest.runner import runtestprotocol


def today() -> str:
    """The day that programs under test live in: their homes have no zone but UTC."""
    return datetime.now(UTC).date().isoformat()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool:
    """A test that fails while the day changes is judged by its second run, which lies in one day.

    Many tests lay down a session or a bill of today and ask a real process for it. To stop the clock for each would
    leave that process's own untested; a second run a day is what a whole suite needs at most.
    """
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    day = today()
    reports = runtestprotocol(item, log=False, nextitem=nextitem)
    if any(report.failed for report in reports) and today() != day:
        reports = runtestprotocol(item, log=False, nextitem=nextitem)
    for report in reports:
        item.ihook.pytest_runtest_logreport(report=report)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True
