"""What is answered before the SDK is there is what the SDK answers, whatever a client says and when."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import anyio
import pytest
from bench.wire import ERAS, SERVE, Server, environment
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tallygate import __version__
from tallygate.core.errors import SettingsError
from tallygate.core.words import UnknownPrice
from tallygate.entrypoints import entrance, first_answers
from tallygate.entrypoints.first_answers import HANDSHAKE_VERSIONS, LISTS, FirstAnswers, Plain, frozen_answers
from tallygate.entrypoints.mcp_server import freezing, streams
from tallygate.entrypoints.mcp_server.serve import QUIET_ROUNDS, START_ROUNDS, quiet
from tallygate.entrypoints.mcp_server.server import build_server
from tallygate.entrypoints.mcp_server.shut import build_shut_server

FROZEN = Path(entrance.FROZEN).read_bytes()
FAULT = SettingsError("/home/me/config.toml:7: unknown setting 'policy.modus'.", hint="Take the line out.")
META = "io.modelcontextprotocol/"
ENVELOPE = {
    f"{META}protocolVersion": "2026-07-28",
    f"{META}clientInfo": {"name": "claude-code", "title": "Claude Code", "version": "2.1.332"},
    f"{META}clientCapabilities": {"roots": {"listChanged": True}, "elicitation": {"form": {}, "url": {}}},
}


def test_the_frozen_answers_are_those_of_the_sdk_as_it_is_installed():
    assert "\n".join(freezing.rows()).encode() == FROZEN, "run: python -m tallygate.entrypoints.mcp_server.freezing"


@pytest.mark.parametrize("unknown", list(UnknownPrice))
@pytest.mark.parametrize("family", ["all", "l6e", "budget"])
def test_what_is_listed_depends_on_no_setting_and_on_no_client(world, family, unknown, monkeypatch):
    shut = freezing.build_shut_server
    asked = [*freezing.modern()]
    frozen = freezing.answers_of(family, asked)
    monkeypatch.setattr(
        freezing, "build_shut_server", lambda *_: build_server(world.rt, family=family, unknown_price=unknown)
    )
    assert freezing.answers_of(family, asked) == frozen
    monkeypatch.setattr(freezing, "build_shut_server", shut)
    monkeypatch.setattr(freezing, "_CLIENT", {"name": "codex-mcp-client", "title": "Codex", "version": "0.169.0"})
    for protocol in HANDSHAKE_VERSIONS:
        greeting, *lists = freezing.answers_of(family, freezing.handshake(protocol))
        found = frozen_answers(family, FROZEN)
        assert greeting.encode() == found["handshake", "initialize"].replace(b"@VERSION@", protocol.encode())
        assert [each.encode() for each in lists] == [found["handshake", method] for method in LISTS]


def test_answers_of_another_version_of_ours_or_of_the_sdk_are_not_given(tmp_path):
    head, rest = FROZEN.split(b"\n", 1)
    assert frozen_answers("all", FROZEN)
    assert frozen_answers("nonsense", FROZEN) == {}
    assert frozen_answers("all", FROZEN, [str(tmp_path)]) == {}
    assert frozen_answers("all", head.replace(__version__.encode(), b"9.9.9", 1) + b"\n" + rest) == {}
    assert frozen_answers("all", head + b" more-1.0\n" + rest) == {}


# --- whatever is said ------------------------------------------------------------------------------------------------


def request(method, number=1, **params):
    said = {"jsonrpc": "2.0", "id": number, "method": method}
    return json.dumps(said | ({"params": params} if params else {})).encode()


def greeting(version="2025-06-18", number=0, capabilities=None, client=None):
    asked = {"protocolVersion": version, "capabilities": {} if capabilities is None else capabilities}
    return request("initialize", number, **asked, clientInfo=client or {"name": "gemini-cli", "version": "0.61.0"})


PLAIN_IDS = [0, 1, 2, 7, "server-discover-probe-1", "a", "b c"]
ODD_IDS = [-1, 1.0, 1.5, None, True, "", "\u00e9", 'q"', "x" * 300, 2**70, [], {}]
INITIALIZED = b'{"jsonrpc":"2.0","method":"notifications/initialized"}'
plain_ids = st.sampled_from(PLAIN_IDS)
methods = st.sampled_from([*LISTS, "server/discover"])
HANDSHAKE_LINES = st.one_of(
    st.builds(greeting, st.sampled_from([*HANDSHAKE_VERSIONS, "2099-01-01", "2026-07-28"]), plain_ids),
    st.builds(request, methods, plain_ids),
    st.builds(lambda method, number, token: request(method, number, _meta={"progressToken": token}), methods, plain_ids,
              st.sampled_from([0, "t", 1.5, None])),
    st.just(INITIALIZED),
)  # fmt: skip
MODERN_LINES = st.one_of(
    st.builds(lambda method, number: request(method, number, _meta=ENVELOPE), methods, plain_ids),
    st.builds(
        lambda method, number: request(method, number, _meta={**ENVELOPE, "progressToken": 3}), methods, plain_ids
    ),
)
ODD_LINES = st.one_of(
    st.builds(request, methods, st.sampled_from(ODD_IDS)),
    st.builds(lambda method, cursor: request(method, 3, cursor=cursor), methods, st.sampled_from(["x", 5, [], None])),
    st.builds(lambda method, number: request(method, number, _meta=ENVELOPE, cursor=None), methods, plain_ids),
    st.builds(lambda method, number, name: request(method, number, _meta={**ENVELOPE, f"{META}{name}": 5}), methods,
              plain_ids, st.sampled_from(["protocolVersion", "clientInfo", "clientCapabilities", "other"])),
    st.builds(lambda method, name: request(method, 3, _meta={k: v for k, v in ENVELOPE.items() if name not in k}),
              methods, st.sampled_from(["protocolVersion", "clientInfo", "clientCapabilities"])),
    st.builds(lambda caps: greeting(capabilities=caps),
              st.sampled_from([{"roots": 5}, {"roots": {"listChanged": "yes"}}, {"tasks": {}}, {"new": 1}, [], None,
                               {"sampling": {"tools": {}}}, {"elicitation": {"form": []}}, {"experimental": {"x": {}}},
                               {"extensions": {"a/b": {"c": [1.5]}}}, {"experimental": {"x": 1}}])),
    st.builds(lambda client: greeting(client=client),
              st.sampled_from([{"name": "x"}, {"name": 1, "version": "1"}, {"name": "x", "version": "1", "icons": []},
                               {"name": "\u00e9", "version": "1"}, {"name": "x", "version": "1", "title": None}])),
    st.builds(request, st.sampled_from(["ping", "logging/setLevel", "nonsense", "", "completion/complete"]), plain_ids),
    st.builds(lambda number: request("tools/call", number, name="check_budget", arguments={}), plain_ids),
    st.builds(lambda number: request("tools/call", number, name="check_budget", arguments={"session_id": "s"},
                                     _meta=ENVELOPE), plain_ids),
    st.builds(lambda number: request("prompts/get", number, name="budgeted_task", _meta=ENVELOPE), plain_ids),
    st.sampled_from([
        b"", b" ", b"\r", b"{", b"[]", b"null", b'"x"', b"5", b"\xff\xfe", b"\xef\xbb\xbf" + request("tools/list", 4),
        b"[" + request("tools/list", 5) + b"]", request("tools/list", 6) + b" ", b" " + request("tools/list", 6),
        request("tools/list", 6) + b"\r", request("tools/list", 6) + request("tools/list", 7),
        b'{"jsonrpc":"2.0","id":1,"id":2,"method":"tools/list"}', b'{"jsonrpc":"1.0","id":1,"method":"tools/list"}',
        b'{"id":1,"method":"tools/list"}', b'{"jsonrpc":"2.0","id":1,"method":"tools/list","params":null}',
        b'{"jsonrpc":"2.0","id":1,"method":"tools/list","params":[]}', b'{"jsonrpc":"2.0","method":"tools/list"}',
        b'{"jsonrpc":"2.0","id":1,"method":"tools/list","extra":1}', b'{"jsonrpc":"2.0","id":1,"method":5}',
        b'{"jsonrpc":"2.0","id":1,"method":"tools\\/list"}', b'{"jsonrpc":"2.0","id":1e0,"method":"tools/list"}',
        b'{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"_meta":[]}}',
        b'{"jsonrpc":"2.0","id":1,"result":{}}',
        b'{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}',
        b'{"jsonrpc":"2.0","method":"notifications/progress","params":{}}',
        b'{"jsonrpc":"2.0","id":NaN,"method":"tools/list"}', b"[" * 3000,
    ]),
)  # fmt: skip
CONVERSATIONS = st.one_of(
    st.tuples(st.just([greeting(), INITIALIZED]), st.lists(HANDSHAKE_LINES | ODD_LINES, max_size=7)),
    st.tuples(st.just([]), st.lists(MODERN_LINES | ODD_LINES, max_size=7)),
    st.tuples(
        st.just([request("server/discover", 0, _meta=ENVELOPE)]), st.lists(MODERN_LINES | HANDSHAKE_LINES, max_size=6)
    ),
    st.tuples(st.just([]), st.lists(HANDSHAKE_LINES | MODERN_LINES | ODD_LINES, max_size=8)),
).map(lambda parts: [*parts[0], *parts[1]])


def said_by(server, lines, first_lines, frozen, ends=b"\n"):
    """What comes back for these lines, the first of which are there before the SDK is, and whether one was answered.

    Where all of them are, so is the end of the input. `ends` is what the last line ends with.
    """
    reading, asking = os.pipe()
    answers, writing = os.pipe()
    got = []

    def hear():
        with os.fdopen(answers, "rb") as file:
            got.extend(file.read().split(b"\n"))

    hearing = threading.Thread(target=hear)
    hearing.start()
    first = FirstAnswers(frozen, reading, writing)
    try:
        told = [line + b"\n" for line in lines[:-1]] + [line + ends for line in lines[-1:]]
        os.write(asking, b"".join(told[:first_lines]))
        is_all = first_lines >= len(told)
        if is_all:
            os.close(asking)
        while first_lines and not first.is_over and first._turn(0):
            pass
        if not is_all:
            os.write(asking, b"".join(told[first_lines:]))
            os.close(asking)

        async def serve():
            out = streams.Answers(writing, reading)
            messages = streams.StdioLines(reading, out, os.getppid(), None, first).messages()
            await streams._serve_between(server, messages, out, out.has_reader)
            out.close()

        if first.is_waited_for or not first.is_over:  # else the server leaves without the SDK
            anyio.run(serve)
    finally:
        for end in (reading, writing, first._woken, first._wake):
            os.close(end)
        hearing.join()
    return sorted(line for line in got if line), any(answered for _, answered in first.kept)


SERVER = build_shut_server(FAULT)
ANSWERED = []


@pytest.mark.timeout(300)
@settings(max_examples=300, deadline=None)
@given(lines=CONVERSATIONS, first_lines=st.integers(0, 9), ends=st.sampled_from([b"\n", b"", b"\r\n"]))
@example(lines=[greeting(), INITIALIZED, request("tools/list", 1)], first_lines=3, ends=b"\n")
@example(lines=[request("tools/list", 1), greeting(), request("tools/list", 2)], first_lines=3, ends=b"\n")
@example(lines=[request("ping", 1), request("tools/list", 2, _meta=ENVELOPE)], first_lines=2, ends=b"\n")
@example(lines=[greeting(number=1), request("tools/list", 1), request("tools/list", 1)], first_lines=1, ends=b"\n")
def test_whatever_a_client_says_it_hears_what_the_sdk_says(lines, first_lines, ends):
    frozen = frozen_answers("all", FROZEN)
    found, is_early = said_by(SERVER, lines, first_lines, frozen, ends)
    alone, _ = said_by(SERVER, lines, 0, {}, ends)
    assert found == alone
    ANSWERED.append(is_early)


def test_the_conversations_above_were_answered_early_in_part_and_in_part_not():
    assert len(ANSWERED) < 200 or len(ANSWERED) * 0.2 < sum(ANSWERED) < len(ANSWERED)


ODD = [b'{"a":', b'{"a"[1]}', b'{"a":"x}', b'{"a":tru}', b"{" * 20000, b'{"a":1,}', b"{,}", b"{1:2}", b'{"a" 1}']


def test_what_is_broken_is_not_understood_either_where_nothing_is_imported():
    source = str(Path(first_answers.__file__).parents[2])
    program = (
        f"import sys; sys.path.insert(0, {source!r}); from tallygate.entrypoints.first_answers import Plain;"
        f"print([Plain().read(line) for line in {ODD!r}], 'json' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-I", "-S", "-c", program], capture_output=True, check=True, text=True)
    assert done.stdout.strip() == f"{[None] * len(ODD)} False"


@pytest.mark.parametrize(
    "line",
    [b"[]", b"{} ", b' {"a":1}', b'{"a":1.0}', b'{"a":1e5}', b'{"a":NaN}', b'{"a":"\\u0041"}', b'{"a":1,"a":1}',
     '{"a":"é"}'.encode(), b'{"a":"\x01"}', b'{"a":1}{}', b'{"a":' + b"[" * 5000, b"{" + b" " * (1 << 16) + b"}"],
)  # fmt: skip
def test_only_what_is_as_plain_as_it_can_be_is_understood(line):
    assert Plain().read(line) is None
    assert Plain().read(b'{"a": {"b": [1, true, null, "x"]}}') == {"a": {"b": [1, True, None, "x"]}}


@pytest.mark.parametrize(
    "lines, kept",
    [
        ([greeting(), INITIALIZED, request("tools/list", 1), request("prompts/list", 2)], [INITIALIZED]),
        ([greeting(), greeting("2025-11-25", 1)], [greeting("2025-11-25", 1)]),
        ([greeting(), request("tools/list", 1, cursor="x")], [request("tools/list", 1, cursor="x")]),
        ([greeting("2099-01-01"), request("tools/list", 1)], [greeting("2099-01-01"), request("tools/list", 1)]),
        ([request("ping"), greeting()], [request("ping"), greeting()]),
        ([INITIALIZED, greeting()], [INITIALIZED, greeting()]),
        ([greeting(), request("ping", 1), request("tools/list", 2)], [request("ping", 1)]),
        ([request("tools/list", 1, _meta=ENVELOPE), greeting()], [greeting()]),
    ],
)
def test_what_is_not_plain_waits_and_so_does_all_behind_what_could_decide_the_era(lines, kept):
    reading, asking = os.pipe()
    answers, writing = os.pipe()
    first = FirstAnswers(frozen_answers("all", FROZEN), reading, writing)
    os.write(asking, b"".join(line + b"\n" for line in lines))
    first._turn(0)
    assert [line for line, is_answered in first.kept if not is_answered] == kept
    assert first.is_waited_for is (kept not in ([], [INITIALIZED]))
    for end in (reading, asking, answers, writing, first._woken, first._wake):
        os.close(end)


def test_an_answer_is_whole_where_the_clients_pipe_does_not_wait():
    reading, asking = os.pipe()
    answers, writing = os.pipe()
    os.set_blocking(writing, False)
    first = FirstAnswers(frozen_answers("all", FROZEN), reading, writing)
    os.write(asking, b"".join(line + b"\n" for line in [greeting(), *(request("tools/list", n) for n in range(1, 31))]))
    os.close(asking)
    got = []

    def hear():
        with os.fdopen(answers, "rb") as file:
            got.append(file.read())

    while select.select([], [writing], [], 0)[1]:  # full before anything is said, as where a client is slow to read
        with suppress(BlockingIOError):
            os.write(writing, b"x" * 4096)
    hearing = threading.Thread(target=hear)
    answering = threading.Thread(target=first._turn, args=(0,))
    answering.start()
    hearing.start()
    answering.join()
    for end in (reading, writing, first._woken, first._wake):
        os.close(end)
    hearing.join()
    lines = got[0].lstrip(b"x").splitlines()
    assert [json.loads(line)["id"] for line in lines] == [0, *range(1, 31)]


# what happens in which round of waiting -> whether the SDK was left for later, and after how many rounds it came
@pytest.mark.parametrize(
    "happens, later, rounds",
    [
        ({}, True, QUIET_ROUNDS),
        ({10: {"taken": 5}}, True, QUIET_ROUNDS + 10),
        ({10: {"heard": 1}, 30: {"answered": 1}}, True, QUIET_ROUNDS + 30),
        ({10: {"heard": 1}}, True, START_ROUNDS),
        ({10: {"is_waited_for": True}}, False, 10),
        ({3: {"is_over": True}}, False, 3),
    ],
)
def test_the_sdk_is_imported_when_it_is_waited_for_or_when_a_clients_start_is_through(happens, later, rounds):
    seen = SimpleNamespace(is_waited_for=False, is_over=False, taken=0, heard=0, answered=0)
    pauses = []

    def pause(microseconds):
        pauses.append(microseconds)
        vars(seen).update(happens.get(len(pauses), {}))

    assert quiet(seen, seen, pause) is later
    assert abs(len(pauses) - rounds) <= 1
    assert quiet(None, seen, pause) is False


# --- as a process ----------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("broken", [False, True], ids=["sound", "broken settings"])
def test_a_real_server_lists_at_once_and_answers_calls_afterwards(home, era, broken):
    environ = environment(home)
    (home / "data").mkdir()
    if broken:
        environ["TALLYGATE_NONSENSE"] = "1"
    with Server(SERVE, home, era=era, environ=environ, quiet=True) as server:
        server.greet()
        names = [tool["name"] for tool in server.tools()]
        session = server.send_call("l6e_run_start", budget_usd=1, model="gpt-5")
        again = server.send("tools/list")
        found = {answer["id"]: answer for answer in (server.receive(), server.receive())}
        assert [tool["name"] for tool in found[again]["result"]["tools"]] == names
        assert bool(found[session]["result"].get("isError")) is broken
        assert server.close() == 0


UNIMPORTED = """
import sys
sys.path.insert(0, SOURCE)
from tallygate import __main__ as program
def run(given, entrance):
    import os, time
    names = [name for name in ("mcp", "json", "re", "threading", "pathlib") if name in sys.modules]
    os.write(2, repr(names).encode())
    while True:
        time.sleep(30)
program._run = run
sys.argv = ["tallygate", "serve"]
sys.path += SITE
program.main()
"""


@pytest.mark.slow
def test_lists_are_there_before_anything_is_imported_and_who_asks_no_more_is_let_go(home):
    (home / "data").mkdir()
    source = str(Path(first_answers.__file__).parents[2])
    program = UNIMPORTED.replace("SOURCE", repr(source)).replace("SITE", repr(sys.path))
    asked = b"".join(line + b"\n" for line in (greeting(), INITIALIZED, request("tools/list", 1)))
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", program], input=asked, capture_output=True, timeout=50,
        env=environment(home), check=True,
    )  # fmt: skip
    assert [json.loads(line)["id"] for line in done.stdout.splitlines()] == [0, 1]
    assert done.stderr in (b"[]", b"")
