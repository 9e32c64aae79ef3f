"""Tables in TOML files, blocks of text and whole files of ours: put in, brought up to date, taken out."""

from __future__ import annotations

import os
import re
import stat
import tomllib
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tallygate import files
from tallygate.clients.client import rule_block
from tallygate.clients.opencode.client import opencode_plugin
from tallygate.core.errors import InvalidArgument
from tallygate.editing import documents, text_file, toml_file
from tallygate.editing.edits import BEGIN, END, Block, Member, Table
from tallygate.editing.json_text import Malformed
from tallygate.pricing.tokens import count_tokens

SERVER = Table(("mcp_servers", "tallygate"), {"command": "/opt/p", "args": ["-P", "-m"], "required": True})
NEWER = Table(SERVER.path, {**SERVER.values, "command": "/opt/newer"})
FILES = {
    "empty": "",
    "keys": 'model = "x"\n',
    "no newline at the end": 'model = "x"',
    "windows": '# c\r\nmodel = "x"\r\n\r\n[a]\r\nb = 1\r\n',
    "other servers": '[mcp_servers.b]\ncommand = "b" # hi\n\n[mcp_servers.b.env]\nX = "1"\n\n[projects."/a"]\nt = 1\n',
    "servers apart": '[mcp_servers.a]\ncommand = "a"\n[other]\nx = 1\n# c\n[mcp_servers.c]\ncommand = "c"\n',
    "an empty table": "[mcp_servers]\n# none yet\n\n[z]\nq = 1\n",
    "dotted": 'mcp_servers.a.command = "x"\n[z]\nq = 1\n',
    "a comment last": "[z]\nq = 1\n# trailing comment",
    "unicode": '# ключ 🙂\nname = "é"\n\n[[rows]]\na = 1\n\n[[rows]]\na = 2\n',
}
BLOCK = Block(f"{BEGIN}\nthe rule\n{END}\n")
FRONT = Block(BLOCK.text, "---\nx: y\n---\n\n")


@pytest.mark.parametrize("text", FILES.values(), ids=FILES)
def test_a_table_comes_in_with_every_other_line_in_its_place_and_out_again_to_the_byte(text):
    trace = toml_file.TomlTrace()
    new, _ = toml_file.apply(text, (SERVER,), trace)
    wanted = tomllib.loads(text)
    wanted.setdefault("mcp_servers", {})["tallygate"] = dict(SERVER.values)
    assert tomllib.loads(new) == wanted
    rest = iter(new)
    assert all(char in rest for char in text)
    assert toml_file.apply(new, (SERVER,), trace)[0] == new
    assert toml_file.strip(new, (), toml_file.TomlTrace.from_json(trace.as_json())) == text


@pytest.mark.parametrize("text", FILES.values(), ids=FILES)
def test_a_table_of_an_older_version_is_brought_up_to_date_and_still_goes_without_a_trace(text):
    trace = toml_file.TomlTrace()
    new, _ = toml_file.apply(text, (SERVER,), trace)
    newer, _ = toml_file.apply(new, (NEWER,), trace)
    assert newer == new.replace("/opt/p", "/opt/newer")
    assert toml_file.strip(newer, (), trace) == text


def test_windows_newlines_stay_the_only_ones():
    new, _ = toml_file.apply(FILES["windows"], (SERVER,), toml_file.TomlTrace())
    assert "\n" not in new.replace("\r\n", "")


def test_a_table_that_the_user_had_gets_its_values_back_and_keeps_its_comments():
    text = '[mcp_servers.tallygate] # mine\ncommand = "old"\nargs = ["x"]\nenv = { A = "1" }\n\n[z]\nq = 1\n'
    trace = toml_file.TomlTrace()
    new, _ = toml_file.apply(text, (SERVER,), trace)
    found = tomllib.loads(new)["mcp_servers"]["tallygate"]
    assert found == {**SERVER.values, "env": {"A": "1"}}
    assert "# mine" in new
    assert toml_file.strip(new, (), trace) == text


def test_a_table_that_the_user_has_edited_goes_and_nothing_else():
    trace = toml_file.TomlTrace()
    new, _ = toml_file.apply(FILES["other servers"], (SERVER,), trace)
    edited = new.replace("required = true\n", "required = false # mine\nenabled = true\n") + "[later]\na = 1\n"
    left = tomllib.loads(toml_file.strip(edited, (), trace))
    assert left == {**tomllib.loads(FILES["other servers"]), "later": {"a": 1}}


def test_without_a_record_a_table_is_known_by_its_name():
    new, _ = toml_file.apply(FILES["other servers"], (SERVER,), toml_file.TomlTrace())
    left = toml_file.strip(new, (SERVER,), toml_file.TomlTrace())
    assert tomllib.loads(left) == tomllib.loads(FILES["other servers"])


@pytest.mark.parametrize(
    "text, line, why",
    [
        ("a = 1\nb = \n", 2, "not valid TOML"),
        ("a = [1\n", 2, "not valid TOML"),
        ("mcp_servers = 1\n", 1, "mcp_servers"),
        ("x = 1\n[mcp_servers]\ntallygate = 1\n", 2, "is no table"),
        ("[a]\n[a]\n", 2, "not valid TOML"),
        ('\nmcp_servers = { a = { command = "x" } }\n', 2, "write it as [mcp_servers.NAME] tables"),
    ],
)
def test_a_toml_file_that_cannot_be_read_is_told_with_its_line(text, line, why):
    with pytest.raises(Malformed) as caught:
        toml_file.apply(text, (SERVER,), toml_file.TomlTrace())
    assert (caught.value.line, why in caught.value.why) == (line, True)


# --- text between markers ---------------------------------------------------------------------------------------


@given(st.text("ab#\n \té🙂", max_size=40), st.sampled_from(["\n", "\r\n"]), st.sampled_from([BLOCK, FRONT]))
def test_a_block_comes_behind_the_user_s_text_and_goes_again_to_the_byte(text, newline, block):
    text = text.replace("\n", newline)
    trace = text_file.TextTrace()
    new, _ = text_file.apply(text, (block,), trace)
    assert new.startswith(text)
    assert text_file.apply(new, (block,), trace)[0] == new
    assert text_file.strip(new, trace) == text


@given(st.text("ab\n", max_size=20), st.text("ab\n", min_size=1, max_size=20))
def test_what_the_user_writes_behind_the_block_stays(text, later):
    assume(text)
    trace = text_file.TextTrace()
    new, _ = text_file.apply(text, (BLOCK,), trace)
    assert text_file.strip(new + later, trace) == text + later


def test_a_block_of_an_older_version_is_replaced_where_it_stands():
    trace = text_file.TextTrace()
    new, _ = text_file.apply("# Mine\n", (BLOCK,), trace)
    newer, _ = text_file.apply(new + "more\n", (Block(BLOCK.text.replace("the rule", "a new rule")),), trace)
    assert newer == f"# Mine\n\n{BEGIN}\na new rule\n{END}\nmore\n"
    assert text_file.strip(newer, trace) == "# Mine\nmore\n"


@pytest.mark.parametrize(
    "text, line",
    [(f"a\n{BEGIN}\n", 2), (f"{END}\n", 1), (f"{END}\n{BEGIN}\n", 1), (f"{BEGIN}\n{END}\n{BEGIN}\n{END}\n", 1)],
)
def test_markers_that_are_not_one_pair_are_left_to_the_user(text, line):
    with pytest.raises(Malformed) as caught:
        text_file.apply(text, (BLOCK,), text_file.TextTrace())
    assert caught.value.line == line


def test_a_marker_inside_a_sentence_is_none():
    text = f"Delete what stands between {BEGIN} and {END}.\n"
    assert text_file.strip(text_file.apply(text, (BLOCK,), trace := text_file.TextTrace())[0], trace) == text


# --- bytes and files --------------------------------------------------------------------------------------------


def put(content, wanted):
    new, state, _ = documents.put_in(Path("f"), content, wanted, {})
    return new, state


@pytest.mark.parametrize("content", [b"\xef\xbb\xbf# Mine\n", b"\xef\xbb\xbf# Mine\r\n"])
def test_a_byte_order_mark_stays_the_first_thing(content):
    new, state = put(content, (BLOCK,))
    assert new.startswith(content)
    assert documents.take_out(Path("f"), "block", new, (), state) == content


@pytest.mark.parametrize("wanted", [(BLOCK,), (SERVER,)], ids=["block", "table"])
def test_a_file_that_is_no_text_is_refused_with_its_line(wanted):
    with pytest.raises(InvalidArgument, match="f:2: the file is not UTF-8 text; nothing was changed"):
        put(b"a = 1\n\xff\n", wanted)


def test_a_file_of_somebody_else_where_the_plugin_belongs_is_not_touched():
    with pytest.raises(InvalidArgument, match="not Tallygate's"):
        put(b"export default () => {}\n", (opencode_plugin(["x"], faults_pass=False),))


def test_the_plugin_holds_the_command_as_a_list_that_survives_odd_paths():
    content, _ = put(None, (opencode_plugin(['/a "b" \\ ü', "-I"], faults_pass=False),))
    assert b'const COMMAND = ["/a \\"b\\" \\\\ \\u00fc", "-I"]' in content
    assert b"const LETS_FAULTS_PASS = false" in content


def test_the_rule_costs_at_most_six_hundred_tokens():
    # Exact where the vocabulary is on this machine, else an estimate fitted to it.
    assert count_tokens(rule_block().text, "gpt-5", {}).tokens <= 600


@pytest.mark.parametrize("mode", [0o600, 0o644, 0o640, 0o664])
def test_a_file_that_is_replaced_keeps_its_mode(home, mode):
    path = home / "f"
    path.write_bytes(b"1")
    path.chmod(mode)
    files.replace(path, b"2", stat.S_IMODE(path.stat().st_mode))
    assert (path.read_bytes(), stat.S_IMODE(path.stat().st_mode)) == (b"2", mode)
    assert [entry.name for entry in home.iterdir()] == ["f"]


def test_a_file_that_cannot_be_replaced_leaves_nothing_behind(home, monkeypatch):
    (home / "f").write_bytes(b"1")

    def refuse(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(OSError, match="No space"):
        files.replace(home / "f", b"2", 0o600)
    assert [(entry.name, entry.read_bytes()) for entry in home.iterdir()] == [("f", b"1")]


@pytest.mark.parametrize("kind", ["folder", "pipe", "loop"])
def test_what_is_no_regular_file_is_refused(home, kind):
    path = home / "f"
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to(path)
    with pytest.raises(InvalidArgument, match="nothing was changed"):
        files.read_file(path)


def test_a_link_leads_to_its_target_but_never_out_of_a_project(home):
    (home / "p").mkdir()
    (home / "outside").write_bytes(b"1")
    (home / "p" / "in").symlink_to("real")
    (home / "p" / "out").symlink_to(home / "outside")
    assert files.read_file(home / "p" / "in", home / "p").target == home / "p" / "real"
    assert files.read_file(home / "p" / "out").target == home / "outside"
    with pytest.raises(InvalidArgument, match="leads out of the project"):
        files.read_file(home / "p" / "out", home / "p")


MEMBER = Member(("mcpServers", "tallygate"), {"command": "x"})


@pytest.mark.parametrize("wanted", [(MEMBER,), (SERVER,), (BLOCK,)], ids=["member", "table", "block"])
@given(
    content=st.one_of(st.binary(max_size=60), st.text("[]{}=\",:#/*'.\\\r\n\t ab1\ufeff", max_size=40).map(str.encode))
)
def test_whatever_a_file_holds_it_is_refused_or_comes_back_to_the_byte(wanted, content):
    told = ""
    try:
        new, state = put(content, wanted)
    except InvalidArgument as error:
        told = error.message
        new = None
    if new is None:
        assert re.match(r"f:\d+: .*; nothing was changed\.$", told, re.DOTALL)
        return
    assert documents.take_out(Path("f"), documents.kind_of(wanted), new, (), state) == content


@pytest.mark.parametrize(
    "wanted, content",
    [
        ((MEMBER,), b"[" * 100_000),
        ((MEMBER,), b'{"a":' * 100_000),
        ((SERVER,), b"a = " + b"[" * 100_000),
        ((SERVER,), b"a = {b = " * 20_000),
        ((SERVER,), b"a = " + b"9" * 10_000 + b"\n"),
    ],
    ids=["lists", "objects", "toml lists", "toml tables", "toml digits"],
)
def test_a_file_made_to_break_a_reader_is_refused(wanted, content):
    with pytest.raises(InvalidArgument, match="nothing was changed"):
        put(content, wanted)
