"""Real servers of one user, and the telemetry that one of them hears for all."""

from __future__ import annotations

import http.client
import threading
import time
from contextlib import closing

import pytest
from bench.wire import SERVE, Server, environment
from tests.telling import event, payload

from tallygate.ledger.sqlite.database import SqliteLedger
from tallygate.operations.usage.telemetry import token_of

pytestmark = pytest.mark.slow
WAIT_S = 300


def sent(port, token, body):
    """The status of one request; 0 where nobody answers."""
    headers = {"x-tallygate-token": token, "content-type": "application/json"}
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=WAIT_S)) as connection:
        try:
            connection.request("POST", "/v1/logs", body, headers)
            return connection.getresponse().status
        except OSError:
            return 0


def heard(port, token, body):
    """Send until somebody answers."""
    until = time.monotonic() + WAIT_S
    while time.monotonic() < until:
        if status := sent(port, token, body):
            return status
        threading.Event().wait(0.02)
    return 0


def test_one_server_hears_for_all_and_another_goes_on_when_it_ends(home, loopback_port):
    places = environment(home, TALLYGATE_TELEMETRY="receive", TALLYGATE_TELEMETRY_PORT=str(loopback_port))
    with Server(SERVE, home, environ=places) as first, Server(SERVE, home, environ=places) as second:
        first.greet()
        second.greet()
        assert heard(loopback_port, "1" * 64, payload(event())) == 401
        token = token_of(home / "data", lambda _: "")
        assert sent(loopback_port, token, payload(event(request_id="req_1"))) == 200
        assert first.close() == 0
        assert heard(loopback_port, token, payload(event(request_id="req_2"))) == 200
        assert second.close() == 0
    assert sent(loopback_port, token, payload(event(request_id="req_3"))) == 0
    ledger = SqliteLedger(home / "data" / "ledger.db", clock=lambda: 0, new_ledger_id=str)
    with closing(ledger), ledger.reading() as reader:
        assert [each.row.request_id for each in reader.usage_between(0, 2**62)] == ["req_1", "req_2"]


def test_a_server_that_is_told_not_to_hear_does_not(home, loopback_port):
    places = environment(home, TALLYGATE_TELEMETRY_PORT=str(loopback_port))
    with Server(SERVE, home, environ=places) as server:
        server.greet().tools()
        assert sent(loopback_port, "", b"{}") == 0
        assert server.close() == 0
    assert not (home / "data" / "telemetry.token").exists()
