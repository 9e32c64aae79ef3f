"""`tallygate prices update`: a newer price list, from its publisher or a file, counts for what comes."""

from __future__ import annotations

import gzip
import hashlib
import itertools
import json
import shutil
import ssl
import subprocess
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from tests.transcripts import write_claude
from tests.world import the_user

from tallygate.app import settings_here
from tallygate.core.authority import Authority, EntryDoor
from tallygate.core.errors import InvalidArgument, ProviderUnavailable, UsersOnly
from tallygate.entrypoints.cli.program import USAGE
from tallygate.operations.setup.price_list import reset_prices, take_prices
from tallygate.pricing.catalog import Catalog
from tallygate.statements.apis.price_list import fetched

AGENT = Authority(EntryDoor.COMMAND, "anna", beneath="Codex")


def price_list(*models, provider="anthropic"):
    """A list as it is published: (id, input, output) of each model."""
    listed = [
        {"id": name, "match": {"equals": name}, "prices": {"input_mtok": fresh, "output_mtok": output}}
        for name, fresh, output in models
    ]
    return json.dumps(
        [{"id": provider, "name": provider, "api_pattern": "https://example\\.com", "models": listed}]
    ).encode()


OPUS, HAIKU = ("claude-opus-4-7", 5, 25), ("claude-haiku-4-5", 1, 5)
FIRST = price_list(OPUS, HAIKU)


@contextmanager
def publisher(*answers, certificate=None):
    """A publisher on loopback that gives one answer after another: (status, body, headers); None for no answer.

    With a certificate it speaks HTTPS, under the name `localhost`.
    """
    asked, rest, closing = [], list(answers), threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append((self.path, dict(self.headers)))
            answer = rest.pop(0)
            if answer is None:
                closing.wait()
                return
            status, body, headers = answer
            self.send_response(status)
            for name, value in {"content-length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_):
            """A client that does not trust the publisher hangs up."""

    server = Server(("127.0.0.1", 0), Handler)
    address = f"http://127.0.0.1:{server.server_port}/data.json"
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        address = f"https://localhost:{server.server_port}/data.json"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield address, asked
    finally:
        closing.set()
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def file(tmp_path):
    def file_(raw, name="data.json"):
        (tmp_path / name).write_bytes(raw)
        return str(tmp_path / name)

    return file_


@pytest.fixture
def taken(run, file):
    """The small list, which the user has taken by force: most of the models are gone from it."""
    assert run("prices", "update", file(FIRST), "--force").exit_code == 0


def rate(run_json, model):
    return run_json("prices", model)["asked"]["input"]


def test_a_list_is_fetched_with_one_request_and_counts_for_what_comes(run, run_json, home, taken, monkeypatch):
    write_claude(home, [1], "a", model="claude-opus-4-7")
    run("sync")
    before = run_json("usage")["total"]["cost"]
    raw = price_list(("claude-opus-4-7", 10, 50), HAIKU)
    with publisher((200, raw, {})) as (address, asked):
        monkeypatch.setenv("TALLYGATE_PRICES_URL", address)
        found = run_json("prices", "update")
    [(path, headers)] = asked
    assert (path, headers.get("authorization"), headers.get("cookie")) == ("/data.json", None, None)
    assert (found["new"], found["models"], found["models_gone"], found["rates_lowered"]) == (True, 2, 0, 0)
    assert rate(run_json, "claude-opus-4-7") == 10.0
    assert run_json("usage")["total"]["cost"] == before, "what is booked stays as it was"
    stands = run_json("status")["prices"]
    assert stands["fetched_at"] == found["fetched_at"]
    assert stands["version"].endswith("+" + found["sha256"][:8])
    assert f"fetched {found['fetched_at'][:10]}" in run("status", "-v").stdout


@pytest.mark.parametrize(
    "answer, told",
    [
        ((404, b"", {}), "answered HTTP 404"),
        ((302, b"", {"location": "https://elsewhere.example/"}), "answered HTTP 302"),
        ((200, b"<html>", {}), "is no price list"),
        ((200, b'{"models": []}', {}), "is no price list: 'it is no list of providers'"),
        ((200, b"[]", {}), "is no price list"),
        ((200, b"[" * 100_000, {}), "is no price list"),
        ((200, price_list(("claude-opus-4-7", -5, 25), HAIKU), {}), ""),
        ((200, price_list(("claude-opus-4-7", "x", 25), HAIKU), {}), "is no price list"),
        ((200, price_list(("claude-opus-4-7", float("nan"), 25), HAIKU), {}), "is no price list"),
        ((200, b"x" * 3000, {}), "is larger than"),
    ],
)
def test_what_is_no_price_list_changes_nothing(run, run_json, taken, monkeypatch, answer, told):
    if told == "is larger than":
        monkeypatch.setattr("tallygate.pricing.snapshot.SIZE_MAX", 2999)
    with publisher(answer) as (address, _):
        monkeypatch.setenv("TALLYGATE_PRICES_URL", address)
        done = run("prices", "update")
    assert done.exit_code != 0
    assert told in done.stderr
    assert len(done.stderr.splitlines()) == 1
    monkeypatch.undo()
    assert rate(run_json, "claude-opus-4-7") == 5.0


# ---------------------------------------------------------------- over HTTPS

NEWER = price_list(("claude-opus-4-7", 10, 50), HAIKU)
needs_openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl")


@pytest.fixture
def certified(tmp_path, monkeypatch):
    """Make a certificate for a name, which whoever asks trusts unless told otherwise."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)

    def make(name="localhost", *, trusted=True):
        key, file = tmp_path / f"{name}.key", tmp_path / f"{name}.pem"
        made = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        made += ["-days", "3650", "-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}"]
        subprocess.run([*made, "-keyout", key, "-out", file], check=True, capture_output=True)
        if trusted:
            shutil.copy(file, tmp_path / "trusted.pem")
            monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "trusted.pem"))
        with file.open("ab") as out:
            out.write(key.read_bytes())
        return file

    return make


@needs_openssl
def test_a_list_is_taken_over_https_from_a_publisher_whose_certificate_is_trusted(
    run_json, taken, certified, monkeypatch
):
    with publisher((200, NEWER, {}), certificate=certified()) as (address, asked):
        monkeypatch.setenv("TALLYGATE_PRICES_URL", address)
        found = run_json("prices", "update")
    assert (len(asked), found["new"], found["origin"]) == (1, True, address)
    assert found["sha256"] == hashlib.sha256(NEWER).hexdigest()
    assert rate(run_json, "claude-opus-4-7") == 10.0


@needs_openssl
@pytest.mark.parametrize(
    "answer, told",
    [
        ((200, NEWER, {"content-length": str(len(NEWER) + 1)}), "could not be asked"),  # cut short
        ((200, NEWER[:-1], {}), "is no price list"),
        ((200, NEWER, {"content-encoding": "gzip"}), "is no price list"),
        ((200, NEWER + b" " * 9000, {}), "is larger than"),
        ((503, NEWER, {}), "answered HTTP 503"),
        (None, "did not answer in time"),
    ],
    ids=["cut short", "not whole", "packed without asking", "too large", "busy", "silent"],
)
def test_what_comes_over_https_and_is_not_the_whole_list_changes_nothing(
    run, run_json, taken, certified, monkeypatch, answer, told
):
    if told == "is larger than":
        monkeypatch.setattr("tallygate.pricing.snapshot.SIZE_MAX", 8999)
    if answer is None:
        monkeypatch.setattr("tallygate.statements.apis.price_list._READ_S", 0.05)
    if answer is not None and answer[2].get("content-encoding"):
        answer = (200, gzip.compress(NEWER), answer[2])
    with publisher(answer, certificate=certified()) as (address, asked):
        monkeypatch.setenv("TALLYGATE_PRICES_URL", address)
        done = run("prices", "update")
    assert (done.exit_code != 0, told in done.stderr, len(asked)) == (True, True, 1), done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert rate(run_json, "claude-opus-4-7") == 5.0


@needs_openssl
@pytest.mark.parametrize("certificate", [{"trusted": False}, {"name": "elsewhere.example"}], ids=str)
def test_a_publisher_that_is_not_who_it_should_be_is_asked_for_nothing(
    run, run_json, taken, certified, monkeypatch, certificate
):
    with publisher((200, NEWER, {}), certificate=certified(**certificate)) as (address, asked):
        monkeypatch.setenv("TALLYGATE_PRICES_URL", address)
        done = run("prices", "update")
    assert (done.exit_code != 0, "certificate verify failed" in done.stderr, asked) == (True, True, [])
    assert rate(run_json, "claude-opus-4-7") == 5.0


@needs_openssl
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_nobody_is_sent_from_https_to_another_place(run, run_json, taken, certified, monkeypatch, status):
    with (
        publisher((200, NEWER, {})) as (plain, asked_there),
        publisher((status, b"", {"location": plain}), certificate=certified()) as (address, _),
    ):
        monkeypatch.setenv("TALLYGATE_PRICES_URL", address)
        done = run("prices", "update")
    assert (f"answered HTTP {status}" in done.stderr, asked_there) == (True, [])
    assert rate(run_json, "claude-opus-4-7") == 5.0


def test_a_publisher_that_takes_minutes_is_left(monkeypatch):
    minutes = itertools.count(0, 60_000_001)
    with publisher((200, NEWER, {})) as (address, _), pytest.raises(ProviderUnavailable, match="two minutes"):
        fetched(address, lambda: next(minutes) * 3, 10**6)


def test_an_address_that_is_not_safe_is_not_asked(run, monkeypatch):
    monkeypatch.setenv("TALLYGATE_PRICES_URL", "http://prices.example/data.json")
    assert "is no address" in run("prices", "update").stderr


@pytest.mark.parametrize(
    "models, why",
    [
        ([("claude-opus-4-7", 25, 25), HAIKU], None),  # five-fold
        ([("claude-opus-4-7", 25.01, 25), HAIKU], "input $5 -> $25.01"),
        ([("claude-opus-4-7", 1, 25), HAIKU], None),
        ([("claude-opus-4-7", 0.99, 25), HAIKU], "input $5 -> $0.99"),
        ([("claude-opus-4-7", 5, 125.01), HAIKU], "output $25 -> $125.01"),
        ([OPUS], "1 of 2 models are gone from it, such as anthropic:claude-haiku-4-5"),
        ([OPUS, HAIKU, ("claude-new-1", 90, 900)], None),
        ([("claude-opus-4-7", 0, 0), HAIKU], "1 of 2 models are gone"),
    ],
)
def test_a_list_that_moves_too_far_is_taken_by_force_alone(run, run_json, file, taken, models, why):
    name = file(price_list(*models))
    done = run("prices", "update", name)
    assert (done.exit_code == 0) is (why is None)
    if why is not None:
        assert why in done.stderr
        assert "--force" in done.stderr
        assert rate(run_json, "claude-opus-4-7") == 5.0
        assert run("prices", "update", name, "--force").exit_code == 0


def test_a_file_that_cannot_be_read_is_told(run, tmp_path):
    done = run("prices", "update", str(tmp_path / "none.json"))
    assert (done.exit_code, "cannot be read" in done.stderr) == (USAGE, True)


def test_the_same_list_again_says_so_and_only_the_last_one_is_kept(run, file, taken):
    assert "is the newest already: 2 models" in run("prices", "update", file(FIRST)).stdout
    run("prices", "update", file(price_list(("claude-opus-4-7", 6, 25), HAIKU)))
    folder = settings_here().paths.data_dir / "prices"
    assert len(list(folder.iterdir())) == 2
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}


def test_a_list_that_was_changed_or_lost_does_not_count_and_that_is_said(run, run_json, taken):
    folder = settings_here().paths.data_dir / "prices"
    [kept] = [path for path in folder.iterdir() if path.name != "current.json"]
    kept.write_bytes(price_list(("claude-opus-4-7", 0.001, 0.001)))
    assert rate(run_json, "claude-opus-4-7") == 5.0
    assert "its hash differs; the list that came with the program counts" in run("status").stderr
    kept.unlink()
    assert "cannot be read" in run("status").stderr
    (folder / "current.json").write_text("{")
    assert "is damaged" in run_json("status")["prices"]["notice"]
    assert run_json("status")["prices"]["models"] > 1000


def test_a_list_that_was_fetched_before_the_program_was_updated_does_not_count(run, run_json, taken):
    pointer = settings_here().paths.data_dir / "prices" / "current.json"
    pointer.write_text(json.dumps(json.loads(pointer.read_text()) | {"package": "0.0.1"}))
    assert run_json("status")["prices"]["models"] > 1000
    assert "were fetched before the program was updated" in run("status").stderr


@pytest.mark.parametrize(
    "models, published, force, allowed",
    [
        ([("claude-opus-4-7", 6, 30), HAIKU], False, False, True),  # dearer, by a file
        ([("claude-opus-4-7", 4, 25), HAIKU], False, False, False),  # cheaper, by a file
        ([("claude-opus-4-7", 4, 25), HAIKU], True, False, True),  # cheaper, as its makers publish it
        ([("claude-opus-4-7", 0.1, 25), HAIKU], True, True, False),  # cheaper by force
        ([("claude-opus-4-7", 99, 25), HAIKU], True, True, True),  # dearer by force
    ],
)
def test_beneath_an_agent_no_file_and_no_force_makes_work_cheaper(made, taken, models, published, force, allowed):
    data_dir = made.app.settings.paths.data_dir
    made.app.runtime.workspace.prices.catalog = Catalog(data_dir / "prices")

    def take(authority):
        return take_prices(
            made.app.runtime,
            price_list(*models),
            folder=data_dir,
            origin="x",
            authority=authority,
            published=published,
            force=force,
        )

    if allowed:
        assert take(AGENT).fresh
    else:
        with pytest.raises(UsersOnly, match="prices update"):
            take(AGENT)
        assert take(the_user("anna")).fresh


def test_a_list_that_cannot_be_taken_is_refused_before_anybody_is_asked_who_he_is(made, taken):
    with pytest.raises(InvalidArgument):
        take_prices(
            made.app.runtime,
            b"[]",
            folder=made.app.settings.paths.data_dir,
            origin="x",
            authority=AGENT,
            published=False,
        )


def test_what_was_taken_by_force_is_left_again_by_a_reset(run, run_json, file):
    bundled = run_json("status")["prices"]
    assert run("prices", "update", file(price_list(("claude-opus-4-7", 50, 250), HAIKU)), "--force").exit_code == 0
    assert rate(run_json, "claude-opus-4-7") == 50.0
    found = run_json("prices", "reset")
    assert (found["new"], found["models_gone"]) == (True, 0)
    assert found["models"] > 1000
    assert found["rates_lowered"] >= 2
    assert rate(run_json, "claude-opus-4-7") == 5.0
    assert run_json("status")["prices"] == bundled
    assert not list((settings_here().paths.data_dir / "prices").iterdir())
    assert "counts already" in run("prices", "reset").stdout
    assert run_json("prices", "reset")["new"] is False


def test_a_reset_says_that_the_list_counts_again(run, taken):
    done = run("prices", "reset")
    assert done.stdout.startswith("The price list that came with the program counts again: ")
    assert "next start" in done.stderr


@pytest.mark.parametrize("damage", ["{", json.dumps({"digest": "x"})])
def test_a_reset_takes_a_damaged_list_away(run, taken, damage):
    (settings_here().paths.data_dir / "prices" / "current.json").write_text(damage)
    assert run("prices", "reset").exit_code == 0
    assert "damaged" not in run("status").stderr


@pytest.mark.parametrize("price, allowed", [(50, False), (0.5, True)])
def test_beneath_an_agent_a_reset_makes_nothing_cheaper(made, run, file, price, allowed):
    data_dir = made.app.settings.paths.data_dir
    dearer = price_list(("claude-opus-4-7", price, price * 5), HAIKU)
    assert run("prices", "update", file(dearer), "--force").exit_code == 0
    made.app.runtime.workspace.prices.catalog = Catalog(data_dir / "prices")
    if allowed:
        assert reset_prices(made.app.runtime, folder=data_dir, authority=AGENT)[1]
        return
    with pytest.raises(UsersOnly, match="prices reset"):
        reset_prices(made.app.runtime, folder=data_dir, authority=AGENT)
    assert (data_dir / "prices" / "current.json").exists()
    assert reset_prices(made.app.runtime, folder=data_dir, authority=the_user("anna"))[1]


def test_doctor_names_the_command_that_brings_newer_prices(run_json, taken):
    [check] = [each for each in run_json("doctor")["checks"] if each["check"] == "prices"]
    assert (check["state"], check["to_do"]) == ("warn", "Update with: tallygate prices update")
