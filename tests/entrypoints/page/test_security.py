"""Who is let in to the page, what it answers to whom, and what of the ledger's text can act in it."""

from __future__ import annotations

import http.client
import os
import re
import signal
import socket
import stat
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlencode

import pytest
from tests.entrypoints.page.conftest import FORM, TOKEN, served

from tallygate.core.text import visible
from tallygate.entrypoints.page import live, serve
from tallygate.entrypoints.page.door import GOOD_US, DoorFile, new_door
from tallygate.entrypoints.page.fence import BODY_BYTES_MAX, HEADERS

TYPED = {"Content-Type": "application/x-www-form-urlencoded"}
BY_FILE = {"Origin": "null", "Sec-Fetch-Site": "cross-site", **TYPED}


# ---------------------------------------------------------------- the fence

OTHERS = [
    # what is changed in a request that would be answered, and how it is refused
    ({"Host": "tallygate.example:80"}, 421),
    ({"Host": "localhost:{port}"}, 421),
    ({"Host": "127.0.0.1"}, 421),
    ({"Host": None}, 400),
    ({"Origin": "https://example.org"}, 403),
    ({"Origin": "null"}, 403),
    ({"Origin": "http://127.0.0.1:1"}, 403),
    ({"Sec-Fetch-Site": "cross-site"}, 403),
    ({"Sec-Fetch-Site": "same-site"}, 403),
    ({"Cookie": None}, 403),
    ({"Cookie": "tallygate=" + "x" * 64}, 403),
    ({"Cookie": "tallygate="}, 403),
    ({"Cookie": "other=" + "k" * 64}, 403),
]


def with_changes(own, changes, port):
    found = {**own, **changes}
    return {name: value.format(port=port) for name, value in found.items() if value is not None}


@pytest.mark.parametrize("page", ["now", "tokens.css", "icon.svg", "nowhere", ""])
@pytest.mark.parametrize("changes, status", OTHERS, ids=lambda each: str(each)[:60])
def test_every_address_answers_only_the_browser_that_was_let_in(opened, page, changes, status):
    found = opened.send("GET", f"{opened.door.base}{page}", with_changes(opened.own, changes, opened.door.port))
    assert found.status == status
    assert "<html" not in found.text


def test_the_same_request_without_any_change_is_answered(opened):
    assert opened.get("now").status == 200
    assert opened.get("tokens.css").headers["content-type"].startswith("text/css")
    assert opened.get("").status == 303
    assert opened.get("nowhere").status == 404
    plain = {name: value for name, value in opened.own.items() if name != "Sec-Fetch-Site"}
    assert opened.send("GET", f"{opened.door.base}now", plain).status == 200, "an old browser says less"


@pytest.mark.parametrize("path", ["/", "/now", "/favicon.ico", "/open", "/bbbbbbbbbbbbbbbb/now", "//now"])
def test_outside_of_its_own_path_there_is_nothing_even_with_the_key(opened, path):
    assert opened.send("GET", path, opened.own).status in {403, 405}


@pytest.mark.parametrize("method", ["PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "POST"])
def test_other_methods_do_nothing(opened, method):
    headers = {**opened.own, "Origin": opened.door.origin, **TYPED}
    assert opened.send(method, f"{opened.door.base}now", headers, "a=b").status in {403, 405}


def test_every_answer_has_the_rules_of_the_page_and_may_load_from_nowhere_else(opened):
    for found in (opened.get("now"), opened.get("nowhere"), opened.send("GET", "/", {"Host": "x"})):
        assert {name: found.headers[name] for name in HEADERS} == dict(HEADERS)
        assert "server" not in found.headers
    policy = HEADERS["content-security-policy"]
    assert policy.startswith("default-src 'none';")
    assert not {"unsafe-inline", "unsafe-eval", "http:", "https:", "data:", "*"} & set(re.split(r"[ ;']+", policy))


FORMS = [
    ({"Content-Length": None}, 411),
    ({"Content-Length": str(BODY_BYTES_MAX + 1)}, 413),
    ({"Content-Type": "application/json"}, 415),
    ({"Content-Type": None}, 415),
    ({"Origin": None}, 403),
    ({"Origin": "https://example.org"}, 403),
]


@pytest.mark.parametrize("changes, status", FORMS, ids=str)
def test_a_form_of_another_page_or_of_no_length_is_not_read(opened, changes, status):
    own = {**opened.own, "Origin": opened.door.origin, **TYPED, "Content-Length": "3"}
    headers = with_changes(own, changes, opened.door.port)
    assert opened.send("POST", f"{opened.door.base}now", headers).status == status


# ---------------------------------------------------------------- the door


def knock(browser, token=TOKEN, **changes):
    headers = with_changes({"Host": f"127.0.0.1:{browser.door.port}", **BY_FILE}, changes, browser.door.port)
    return browser.send("POST", "/open", headers, urlencode({"token": token}))


def test_the_token_opens_the_page_once_and_its_file_is_gone(opened):
    opened.file.write(opened.door.page)
    found = knock(opened)
    assert (found.status, TOKEN in found.text) == (200, False)
    cookie = found.headers["set-cookie"]
    assert cookie == f"tallygate={'k' * 64}; Path={opened.door.base}; HttpOnly; SameSite=Strict"
    assert f"0;url={opened.door.base}now" in found.text
    assert not opened.file.path.exists()
    assert not opened.file.path.parent.exists()
    again = knock(opened)
    assert again.status == 403
    assert "set-cookie" not in again.headers


@pytest.mark.parametrize("token", ["", "x", TOKEN[:-1], TOKEN + "t", "\u00e9" * 64])
def test_another_token_opens_nothing_and_spends_nothing(opened, token):
    assert knock(opened, token).status == 403
    assert knock(opened).status == 200


@pytest.mark.parametrize(
    "changes",
    [{"Host": "example.org"}, {"Origin": "https://example.org"}, {"Sec-Fetch-Site": "same-site"}],
    ids=str,
)
def test_a_page_of_another_site_cannot_even_try_the_token(opened, changes):
    assert knock(opened, **changes).status in {403, 421}
    assert knock(opened).status == 200


def test_after_a_minute_the_token_is_good_no_more():
    door = new_door(1, 0, "ab".__mul__)
    assert not replace(door).take(door.token, GOOD_US + 1)
    assert replace(door).take(door.token, GOOD_US)


def test_no_two_doors_have_a_secret_in_common_and_none_is_short():
    import secrets

    one, other = (new_door(1, 0, secrets.token_hex) for _ in range(2))
    mine = {one.token, one.key, one.form, one.path}
    assert len(mine) == 4
    assert not mine & {other.token, other.key, other.form, other.path}
    assert min(map(len, (one.token, one.key, one.form))) == 64


def test_the_file_is_the_users_alone_and_never_written_into_another(tmp_path):
    file = DoorFile(tmp_path, "1")
    file.write("first")
    assert stat.S_IMODE(file.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.path.parent.stat().st_mode) == 0o700
    with pytest.raises(FileExistsError):
        file.write("second")
    file.remove()
    theirs = tmp_path / "theirs"
    theirs.write_text("kept")
    file.path.parent.mkdir()
    file.path.symlink_to(theirs)
    with pytest.raises(OSError):
        file.write("third")
    assert theirs.read_text() == "kept"


def test_a_form_without_the_token_of_the_page_changes_nothing(opened):
    assert opened.door.may_write(FORM)
    assert not opened.door.may_write("")
    assert not opened.door.may_write("k" * 64), "the key of the cookie is none"


@pytest.mark.parametrize(
    "cookies",
    ["tallygate=x; {key}", "{key}; tallygate=x", 'a/b="; {key}', "z=" + "x" * 5000 + "; {key}", "{key};", " ;=;{key}"],
)
def test_no_cookie_of_another_server_hides_the_key(opened, cookies):
    assert opened.door.knows(cookies.format(key=f"tallygate={'k' * 64}"))
    assert not opened.door.knows(cookies.format(key="tallygate=other"))


# ---------------------------------------------------------------- text of others

HOSTILE = '</title><script>alert(1)</script>\u202e\x1b[2J\u200b\U000e0041\ud800&quot;" onload=x'


def test_text_of_others_is_shown_and_never_acts(world):
    world.start(
        "5", task_summary='</h1><script>alert(1)</script>\u202e\U000e0041 \x1b[2J" onclick=x', client="<b>c</b>"
    )
    session = world.start("5", task_summary="two", model="dear")
    world.ask(session, 100, tool_name="<img src=x onerror=y>\u2066")
    with served(world.rt, world.folder) as browser:
        pages = [browser.get(page, filter='<svg/onload=z>:1 model:"\'><i>"', period="<u>") for page in ("now",)]
    for found in pages:
        assert found.status == 200
        assert found.text.count("<script") == 1, "the one of the page itself"
        for mark in (
            "<script>",
            "alert(1)</script",
            "<b>c",
            "<img",
            "<svg/",
            "<i>",
            "<u>",
            "\u202e",
            "\u2066",
            "\U000e0041",
            "\x1b",
        ):
            assert mark not in found.text, mark
        assert not re.search(r"<[a-z]+[^>]*\son[a-z]+=", found.text)
        assert " style=" not in found.text


def test_whatever_is_not_seen_in_markup_becomes_a_sign():
    shown = visible(HOSTILE)
    assert shown.encode()
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]", shown)


# ---------------------------------------------------------------- the command


def command(environ, *arguments):
    return [sys.executable, "-m", "tallygate", "dashboard", "--no-open", "--no-sync", *arguments], environ


@pytest.fixture
def environ(home):
    return {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[3] / "src")}


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM])
def test_the_command_hands_the_token_to_nobody_but_the_file_and_ends_cleanly(environ, opened, end):
    words, around = command(environ)
    with subprocess.Popen(words, env=around, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        first = running.stdout.readline()
        path = Path(first.rpartition("browser: ")[2].strip())
        content = path.read_text()
        token = re.search(r'name="token" value="([0-9a-f]{64})"', content)[1]
        port = int(re.search(r'action="http://127\.0\.0\.1:(\d+)/open"', content)[1])
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert token not in Path(f"/proc/{running.pid}/cmdline").read_text()
        opened.door.port = port
        found = knock(opened, token)
        assert found.status == 200
        base, key = re.search(r"tallygate=(\w+); Path=(\S+);", found.headers["set-cookie"]).group(2, 1)
        headers = {"Host": f"127.0.0.1:{port}", "Cookie": f"tallygate={key}"}
        page = opened.send("GET", f"{base}now", headers)
        assert "Nothing is on record yet" in page.text
        running.send_signal(end)
        out, err = running.communicate(timeout=120)
    assert (running.returncode, err) == (0, "")
    assert token not in first + out
    assert "The page is closed." in out
    assert not path.exists()


def test_a_port_that_is_taken_is_named(environ, opened):
    words, around = command(environ, "--port", str(opened.door.port))
    done = subprocess.run(words, env=around, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2
    assert f"Port {opened.door.port} cannot be used" in done.stderr


@pytest.mark.parametrize("said", [b"", b"GET / HT", b"POST /open HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n"])
def test_whoever_holds_connections_keeps_the_user_out_of_nothing(opened, said, monkeypatch):
    monkeypatch.setattr(serve, "HELD_MAX", 20)
    monkeypatch.setattr(serve, "PATIENCE_S", 3600)
    held = []
    for _ in range(60):
        held.append(socket.create_connection(("127.0.0.1", opened.door.port), timeout=20))
        held[-1].sendall(said)
    assert opened.get("now").status == 200
    for each in held[:40]:
        with suppress(ConnectionResetError):
            while each.recv(4096):
                pass  # what came first is let go first: this one has ended
    for each in held:
        each.close()


def test_a_connection_that_asks_for_nothing_is_ended(opened, monkeypatch):
    monkeypatch.setattr(serve, "PATIENCE_S", 0)
    with socket.create_connection(("127.0.0.1", opened.door.port), timeout=20) as held, suppress(ConnectionResetError):
        assert held.recv(1) == b""


def test_pages_that_are_told_news_leave_the_others_their_threads(opened):
    held = []
    for _ in range(live.TOLD_MAX + 60):
        line = http.client.HTTPConnection("127.0.0.1", opened.door.port, timeout=60)
        line.request("GET", f"{opened.door.base}live", headers=opened.own)
        held.append((line, line.getresponse()))
    assert [answer.status for _, answer in held].count(200) == live.TOLD_MAX
    assert held[-1][1].status == 204, "a browser that is told this asks no more"
    assert opened.get("now").status == 200
    for line, _ in held:
        line.close()
