"""The receiver of telemetry over real loopback connections: who is heard, what is refused, and that it goes on."""

from __future__ import annotations

import contextlib
import gzip
import http.client
import json
import socket
import subprocess
import sys
import threading

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.telling import event, payload

from tallygate.core.errors import LedgerUnavailable
from tallygate.entrypoints import receiver as module
from tallygate.entrypoints.receiver import BODY_BYTES_MAX, Receiver
from tallygate.operations.usage.telemetry import take_logs

TOKEN = "0" * 64
WAIT = 20


class Line:
    """A receiver that runs, with what it was given; `faults` are raised one by one before that."""

    def __init__(self, port, take=None):
        self.port = port
        self.taken, self.faults = [], []
        self.receiver = Receiver(take or self._take, port, TOKEN)
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self.receiver.run, args=(self.stop,), daemon=True)

    def _take(self, body):
        if self.faults:
            raise self.faults.pop()
        self.taken.append(body)

    def start(self):
        self.thread.start()
        return self

    def end(self):
        self.stop.set()
        self.thread.join(WAIT)
        assert not self.thread.is_alive()

    def send(self, body=b"{}", *, path="/v1/logs", method="POST", without=(), **headers):
        """Status and answer of one request; headers that are named by `without` are left out."""
        sent = {
            "Host": f"127.0.0.1:{self.port}",
            "Content-Type": "application/json",
            "Content-Length": str(len(body)),
            "x-tallygate-token": TOKEN,
        }
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=WAIT)
        with contextlib.closing(connection):
            connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            for name, value in sent.items():
                if name not in without:
                    connection.putheader(name, value)
            connection.endheaders(body)
            answer = connection.getresponse()
            return answer.status, answer.read()


@contextlib.contextmanager
def listening(port, take=None):
    line = Line(port, take).start()
    try:
        assert line.receiver.listening.wait(WAIT)
        yield line
    finally:
        line.end()


@pytest.fixture
def line(loopback_port):
    with listening(loopback_port) as line:
        yield line


def raw(port, data):
    """Everything that is answered to some bytes, until the connection is closed."""
    with socket.create_connection(("127.0.0.1", port), timeout=WAIT) as connection:
        connection.sendall(data)
        parts = []
        with contextlib.suppress(ConnectionResetError):
            while part := connection.recv(65_536):
                parts.append(part)
        return b"".join(parts)


def test_logs_are_taken_and_acknowledged_as_the_protocol_wants(line):
    status, answer = line.send(b'{"resourceLogs": []}')
    assert (status, json.loads(answer)) == (200, {"partialSuccess": {}})
    assert line.taken == [b'{"resourceLogs": []}']


def test_what_is_taken_is_in_the_ledger(world, loopback_port):
    with listening(loopback_port, lambda body: take_logs(world.rt, body)) as line:
        assert line.send(payload(event()))[0] == 200
        assert line.send(b"hello")[0] == 400
    with world.ledger.reading() as reader:
        assert [each.row.request_id for each in reader.usage_between(0, 2**62)] == ["req_1"]


@pytest.mark.parametrize("path", ["/v1/traces", "/v1/metrics"])
def test_traces_and_metrics_are_passed_over_so_that_nobody_sends_them_again(line, path):
    assert line.send(b"\x0a\x00", path=path, Content_Type="application/x-protobuf")[0] == 200
    assert line.taken == []


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        ({"x_tallygate_token": "1" * 64}, 401),
        ({"x_tallygate_token": "é"}, 401),
        ({"without": ["x-tallygate-token"]}, 401),
        ({"path": "/v1/metrics", "x_tallygate_token": ""}, 401),
        # A page in a browser that has found the port, or a name that leads to this machine.
        ({"Origin": "http://127.0.0.1"}, 403),
        ({"Origin": ""}, 403),
        ({"Host": "evil.example"}, 403),
        ({"Host": "127.0.0.1:1"}, 403),
        ({"without": ["Host"]}, 403),
        ({"Host": "localhost"}, 200),
        ({"path": "/"}, 404),
        ({"path": "/v1/logs?x=1"}, 404),
        ({"Content_Type": "application/x-protobuf"}, 415),
        ({"Content_Type": "text/plain"}, 415),
        ({"without": ["Content-Type"]}, 415),
        ({"Content_Type": "application/json; charset=utf-8"}, 200),
        ({"Content_Encoding": "br"}, 415),
        ({"Content_Encoding": "gzip"}, 400),
        ({"Content_Length": str(BODY_BYTES_MAX + 1)}, 413),
        ({"Content_Length": "9" * 20}, 400),
        ({"Content_Length": "-1"}, 400),
        ({"Content_Length": "two"}, 400),
        ({"without": ["Content-Length"]}, 411),
        ({"Transfer_Encoding": "chunked"}, 400),
        ({"Transfer_Encoding": "gzip", "without": ["Content-Length"]}, 400),
        ({"method": "GET"}, 501),
        ({"method": "OPTIONS"}, 501),
    ],
)
def test_what_is_not_meant_for_the_receiver_is_refused_and_nothing_taken(line, request_, status):
    assert line.send(**request_)[0] == status
    assert line.taken == ([b"{}"] if status == 200 else [])
    assert line.send()[0] == 200


def test_an_answer_repeats_nothing_of_what_was_sent(line):
    status, answer = line.send(path="/<script>", x_tallygate_token="<b>")
    assert status == 401
    assert b"<" not in answer


def chunked(*chunks, end=b"0\r\n\r\n"):
    head = f"POST /v1/logs HTTP/1.1\r\nHost: 127.0.0.1\r\nx-tallygate-token: {TOKEN}\r\n"
    head += "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head.encode() + b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks) + end


def test_a_body_may_come_in_chunks(line):
    assert raw(line.port, chunked(b'{"a"', b": 1}")).startswith(b"HTTP/1.1 200 ")
    assert line.taken == [b'{"a": 1}']


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (chunked(end=b"zz\r\n"), b"400"),
        (chunked(end=b"-1\r\n"), b"400"),
        (chunked(end=b"5\r\nabcdefghij"), b"400"),
        (chunked(end=b"fffffff\r\n"), b"413"),
        (chunked(*[b"x" * 1_048_576] * 9), b"413"),
    ],
)
def test_chunks_that_lie_or_grow_too_long_are_refused(line, data, status):
    assert raw(line.port, data).split(b" ", 2)[1] == status
    assert line.taken == []


def test_a_packed_body_is_unpacked(line):
    assert line.send(gzip.compress(b'{"a": 1}'), Content_Encoding="gzip")[0] == 200
    assert line.taken == [b'{"a": 1}']


@pytest.mark.parametrize(
    ("body", "status"),
    [(gzip.compress(b"\0" * (BODY_BYTES_MAX + 1)), 413), (gzip.compress(b"{}" * 500)[:-9], 400)],
    ids=["far too long", "cut off"],
)
def test_a_packed_body_is_never_unpacked_beyond_what_may_be_sent(line, body, status):
    assert line.send(body, Content_Encoding="gzip")[0] == status
    assert line.taken == []


@pytest.mark.parametrize(
    ("fault", "status"),
    [(LedgerUnavailable("The ledger is locked."), 503), (RuntimeError("a fault"), 500), (MemoryError(), 500)],
)
def test_a_fault_is_answered_so_that_the_sender_tries_again_and_the_next_is_heard(line, fault, status, caplog):
    line.faults.append(fault)
    assert line.send()[0] == status
    assert caplog.records
    assert line.send()[0] == 200


def test_a_connection_that_says_nothing_is_closed_in_time(loopback_port):
    made = Line(loopback_port)
    made.receiver.wait_ms = 200
    made.start()
    assert made.receiver.listening.wait(WAIT)
    try:
        assert raw(made.port, b"") == b""
        assert raw(made.port, b"POST /v1/logs HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 50\r\n") == b""
    finally:
        made.end()


def test_a_sender_that_dribbles_is_cut_off_although_it_never_pauses_for_long(loopback_port):
    made = Line(loopback_port)
    made.receiver.wait_ms = 200
    made.start()
    assert made.receiver.listening.wait(WAIT)
    try:
        with socket.create_connection(("127.0.0.1", made.port), timeout=0.1) as connection:
            connection.sendall(b"POST /v1/logs HTTP/1.1\r\n")
            ended = False
            for _ in range(200):
                try:
                    connection.sendall(b"X-A: b\r\n")
                    ended = connection.recv(100) == b""
                except TimeoutError:
                    continue
                except OSError:
                    ended = True
                if ended:
                    break
            assert ended
    finally:
        made.end()


def test_more_connections_than_it_takes_at_once_do_not_keep_others_out_for_good(line, monkeypatch):
    with contextlib.ExitStack() as stack:
        for _ in range(module.AT_ONCE_MAX):
            stack.enter_context(socket.create_connection(("127.0.0.1", line.port), timeout=WAIT))
        # Taken one after another, the last of which is not taken any more.
        assert raw(line.port, b"POST") == b""
    for _ in range(100):
        with contextlib.suppress(OSError, http.client.HTTPException):
            if line.send()[0] == 200:
                break
    assert line.taken == [b"{}"]


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from(
        [b"", b"POST /v1/logs HTTP/1.1\r\n", b"POST /v1/logs HTTP/1.1\r\nHost: 127.0.0.1\r\n", b"\x16\x03"]
    ),
    st.binary(max_size=60) | st.text(max_size=30).map(lambda text: text.encode() + b"\r\n\r\n"),
)
def test_any_bytes_leave_it_listening(line, start, rest):
    with socket.create_connection(("127.0.0.1", line.port), timeout=WAIT) as connection:
        connection.sendall(start + rest)
        connection.shutdown(socket.SHUT_WR)
        with contextlib.suppress(ConnectionResetError):
            while connection.recv(65_536):
                continue
    assert line.taken == []
    assert line.send()[0] == 200
    line.taken.clear()


def test_another_takes_over_when_the_one_that_has_the_port_ends(loopback_port, monkeypatch):
    monkeypatch.setattr(module, "TRY_EVERY_S", 0.02)
    with listening(loopback_port) as first:
        second = Line(loopback_port).start()
        assert first.send()[0] == 200
        assert not second.receiver.listening.is_set()
        assert (len(first.taken), len(second.taken)) == (1, 0)
    try:
        assert second.receiver.listening.wait(WAIT)
        assert second.send()[0] == 200
        assert (len(first.taken), len(second.taken)) == (1, 1)
    finally:
        second.end()


def test_one_that_waits_for_the_port_ends_when_it_is_told_to(loopback_port):
    with listening(loopback_port) as first:
        second = Line(loopback_port).start()
        second.end()
        assert not second.receiver.listening.is_set()
        assert first.send()[0] == 200


def test_another_process_cannot_listen_on_the_same_port(line):
    program = (
        "import sys, threading\n"
        "from tallygate.entrypoints.receiver import _Server, Receiver\n"
        f"_Server(Receiver(print, {line.port}, 'x'), threading.Event())\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "Address already in use" in done.stderr or "10048" in done.stderr or "10013" in done.stderr
    assert line.send()[0] == 200


def test_only_this_machine_is_listened_to(line):
    addresses = {info[4][0] for info in socket.getaddrinfo("localhost", None)} - {"127.0.0.1"}
    for address in {*addresses, "127.0.0.2"}:
        with pytest.raises(OSError), socket.create_connection((address, line.port), timeout=1):
            pass
