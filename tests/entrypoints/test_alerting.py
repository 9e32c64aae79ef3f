"""Alerts reach somebody: once, by programs and by posts, and what fails is told and stops nothing."""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
from contextlib import suppress
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from tests.world import NANOS, make_world

from tallygate.core.alerts import LEASE_US, AlertRule
from tallygate.core.costing import Tokens
from tallygate.core.gate.rules import BudgetRule, BudgetScope
from tallygate.core.plan import PlanRule, PlanSource, plan_window
from tallygate.entrypoints import alerting
from tallygate.operations.alerts import alerts_failed, tell_due
from tallygate.operations.gate.record import UsageReport, record_usage
from tallygate.operations.plan import keep_told


@pytest.fixture
def world(tmp_path):
    made = make_world(tmp_path)
    yield made
    assert made.problems() == []
    made.ledger.close()


@pytest.fixture
def spent(world):
    """A session of one dollar of which 85 cents are spent."""
    session = world.start("1")
    record_usage(world.rt, UsageReport(world.ask(session, 850).call_id, Tokens(850)))
    return session


RULE = AlertRule((50, 80, 100), run=("tell",))


class Told:
    def __init__(self, error=None):
        self.error, self.told = error, []

    def __call__(self, alert):
        self.told.append((alert.percent, alert.budget.name))
        return self.error


def test_an_alert_is_told_once_whoever_looks_and_again_at_the_next_threshold(world, spent):
    told = Told()
    for _ in range(3):
        assert tell_due(world.rt, [RULE], told) == []
    assert told.told == [(80, spent)]
    world.ask(spent, 900_000)  # is stopped
    tell_due(world.rt, [RULE], told)
    assert told.told == [(80, spent), (100, spent)]


def test_of_many_servers_one_tells(tmp_path, world, spent):
    told, start = Told(), threading.Barrier(6)
    others = [make_world(tmp_path, clock=world.clock) for _ in range(6)]

    def look(other):
        start.wait()
        tell_due(other.rt, [RULE], told)

    threads = [threading.Thread(target=look, args=(other,)) for other in others]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    for other in others:
        other.ledger.close()
    assert told.told == [(80, spent)]


def test_of_one_that_dies_while_it_tells_another_tells(world, spent):
    def dies(alert):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tell_due(world.rt, [RULE], dies)
    told = Told()
    tell_due(world.rt, [RULE], told)
    assert told.told == []
    world.clock.forward(LEASE_US)
    tell_due(world.rt, [RULE], told)
    tell_due(world.rt, [RULE], told)
    assert told.told == [(80, spent)]


def test_what_fails_is_remembered_tried_again_and_forgotten_once_it_came_through(world, spent):
    told = Told("no such host")
    for minutes in (0, 1, 2, 4, 60):
        world.clock.forward(minutes * LEASE_US)
        tell_due(world.rt, [AlertRule((80,), ("tell",))], told)
    assert len(told.told) == 4
    (mark,) = alerts_failed(world.rt)
    assert (mark.percent, mark.budget_id, mark.error) == (80, spent, "no such host")
    world.ask(spent, 900_000)
    tell_due(world.rt, [RULE], Told())
    assert alerts_failed(world.rt) == []


def test_no_alert_writes_an_event(world, spent):
    before = world.events()
    tell_due(world.rt, [RULE], Told())
    assert world.events() == before


def alert_of(world, rule):
    found = []
    tell_due(world.rt, [rule], found.append)
    return found[0]


def test_a_program_is_started_without_a_shell_with_the_values_around_it(world, spent, tmp_path):
    script = (
        "import json, os, sys; json.dump([sys.argv[1:], {k: v for k, v in os.environ.items() if 'ALERT' in k}],"
        " open(sys.argv[1], 'w'))"
    )
    out = tmp_path / "$(touch x); told"
    alert = alert_of(world, AlertRule((80,), (sys.executable, "-c", script, str(out), "a b")))
    assert alerting.telling({"PATH": "/bin"})(alert) is None
    arguments, values = json.loads(out.read_text())
    assert arguments == [str(out), "a b"]
    assert (values["TALLY_ALERT_PERCENT"], values["TALLY_ALERT_SPENT"], values["TALLY_ALERT_LEFT"]) == (
        "80", "0.85", "0.15",
    )  # fmt: skip
    assert not Path("x").exists()


@pytest.mark.parametrize(
    ("run", "said"),
    [
        (("/nowhere/notify",), "cannot be started"),
        ((sys.executable, "-c", "print('no bus'); raise SystemExit(3)"), "left with 3: no bus"),
        ((sys.executable, "-c", "import os, sys; sys.stdout.write('x' * 10**6); os._exit(1)"), "left with 1"),
    ],
)
def test_a_program_that_fails_is_told(world, spent, run, said):
    assert said in alerting.telling({})(alert_of(world, AlertRule((80,), run)))


def test_variables_of_a_client_do_not_choose_the_program_or_its_code(world, spent, tmp_path, monkeypatch):
    (tmp_path / "evil").mkdir()
    stolen = tmp_path / "evil" / "sh"
    stolen.write_text("#!/bin/sh\ntouch stolen\n")
    stolen.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "evil"))
    environ = {"PATH": str(tmp_path / "evil"), "LD_PRELOAD": "x", "PYTHONPATH": "x", "HOME": "/x", "DISPLAY": ":0"}
    out = tmp_path / "told"
    alert = alert_of(world, AlertRule((80,), ("sh", "-c", f"(pwd; env) > {out}")))
    assert alerting.telling(environ)(alert) is None
    folder, *variables = out.read_text().splitlines()
    found = dict(each.partition("=")[::2] for each in variables)
    assert (folder, found["HOME"], found["DISPLAY"]) == (
        os.path.realpath(alerting._home()),
        str(alerting._home()),
        ":0",
    )
    assert "evil" not in found["PATH"]
    assert {"LD_PRELOAD", "PYTHONPATH"}.isdisjoint(found)


def test_a_program_that_is_in_no_usual_folder_is_told(world, spent):
    assert "in none of the folders" in alerting.telling({})(alert_of(world, AlertRule((80,), ("no-such-notify",))))


def test_a_program_that_takes_too_long_is_ended(world, spent, monkeypatch):
    monkeypatch.setattr(alerting, "RUN_S", 0)
    alert = alert_of(world, AlertRule((80,), (sys.executable, "-c", "import threading; threading.Event().wait()")))
    assert "was ended after 0 seconds" in alerting.telling({})(alert)


@dataclass
class Heard:
    address: str
    posts: list
    answer: int = 200


@pytest.fixture
def webhook():
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["content-length"]))
            heard.posts.append((self.path, self.headers["content-type"], body))
            self.send_response(heard.answer)
            self.send_header("content-length", "0")
            self.send_header("location", "http://127.0.0.1:1/elsewhere")
            self.end_headers()

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    heard = Heard(f"http://127.0.0.1:{server.server_port}/hook/s3cret", [])
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield heard
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_post_has_all_values_as_json_or_the_sentence_as_text(world, spent, webhook):
    rule = AlertRule((80,), post=webhook.address, host="127.0.0.1")
    alert = alert_of(world, rule)
    assert alerting.telling({})(alert) is None
    ((path, kind, body),) = webhook.posts
    found = json.loads(body)
    assert (path, kind, found["text"], found["content"]) == ("/hook/s3cret", "application/json", alert.text, alert.text)
    as_text = AlertRule((80,), post=webhook.address, host="127.0.0.1", as_text=True, budget="*")
    assert alerting.telling({})(alert_of(world, as_text)) is None
    assert webhook.posts[1][1:] == ("text/plain; charset=utf-8", alert.text.encode())


@pytest.mark.parametrize("answer", [302, 404, 500])
def test_a_post_that_is_refused_or_sent_elsewhere_is_told_without_its_secret(world, spent, webhook, answer):
    webhook.answer = answer
    error = alerting.telling({})(alert_of(world, AlertRule((80,), post=webhook.address, host="127.0.0.1")))
    assert error == f"POST to 127.0.0.1: answered {answer}"
    assert len(webhook.posts) == 1


def test_a_host_that_is_not_there_is_told_without_its_secret(world, spent, loopback_port):
    address = f"http://127.0.0.1:{loopback_port}/hook/s3cret"
    error = alerting.telling({})(alert_of(world, AlertRule((80,), post=address, host="127.0.0.1")))
    assert error.startswith("POST to 127.0.0.1: ")
    assert "s3cret" not in error


def test_neither_a_proxy_nor_certificates_of_variables_are_gone_by(world, spent, webhook, loopback_port, monkeypatch):
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{loopback_port}")
    monkeypatch.setenv("SSL_CERT_FILE", "/nowhere")
    assert alerting.telling({})(alert_of(world, AlertRule((80,), post=webhook.address, host="127.0.0.1"))) is None
    assert len(webhook.posts) == 1


@pytest.mark.parametrize("answer", [b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nX-A: 1\r\n", b""])
def test_a_receiver_that_never_comes_to_an_end_is_given_up(world, spent, monkeypatch, answer):
    monkeypatch.setattr(alerting, "POST_S", 0.2)
    over = threading.Event()

    def drips(listener):
        line, _ = listener.accept()
        with line:
            line.recv(9999)
            line.sendall(answer)
            # A byte sooner than one reading may take, for as long as somebody is there.
            while not over.wait(0.05):
                try:
                    line.sendall(b"x" if answer else b"")
                except OSError:
                    return

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=drips, args=(listener,))
        thread.start()
        address = f"http://127.0.0.1:{listener.getsockname()[1]}/s3cret"
        said = alerting.telling({})(alert_of(world, AlertRule((80,), post=address, host="127.0.0.1")))
        over.set()
        thread.join()
    assert said in {"POST to 127.0.0.1: no answer within 0.2 seconds", "POST to 127.0.0.1: ReadTimeout"}


def test_of_an_answer_only_its_status_is_read(world, spent):
    def floods(listener):
        line, _ = listener.accept()
        with line, suppress(OSError):
            line.recv(9999)
            line.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            for _ in range(64):
                line.sendall(bytes(1 << 20))
            sent.append("all")

    sent = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=floods, args=(listener,))
        thread.start()
        address = f"http://127.0.0.1:{listener.getsockname()[1]}/x"
        rule = AlertRule((80,), post=address, host="127.0.0.1")
        assert alerting.telling({})(alert_of(world, rule)) is None
        thread.join()
    assert sent == []


def test_a_limit_that_is_past_its_threshold_before_a_step_begins_it_is_told_once(world, spent):
    rule = BudgetRule(BudgetScope.USER, NANOS, period="day")
    world = world.with_runtime(rules=(rule, replace(rule, limit=2 * NANOS, period="5h")))
    told = Told()
    alert = AlertRule((40, 80), run=("tell",), scope=BudgetScope.USER)
    tell_due(world.rt, [alert], told)
    assert [(percent, name.split(":")[2]) for percent, name in told.told] == [(80, "day"), (40, "5h")]
    world.ask(world.start("5"), 1)
    tell_due(world.rt, [alert], told)
    assert len(told.told) == 2, "nor again once a step has begun it"


def test_a_limit_on_a_plan_is_told_of_once_and_as_one_that_stops(world):
    limited = world.with_runtime(plan=(PlanRule(300, 90, client="codex"),))
    told = Told()
    for used in (10, 95, 96):
        world.clock.forward(1)
        value = plan_window("codex", (300, used, world.clock.at_us + 10**9), world.clock.at_us, PlanSource.STATUS_LINE)
        keep_told(limited.rt, [value])
        tell_due(limited.rt, [AlertRule((100,), run=("tell",), scope=BudgetScope.PLAN)], told)
    assert told.told == [(100, "plan:codex:5h")]
