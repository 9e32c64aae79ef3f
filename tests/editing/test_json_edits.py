"""Editing JSON with comments in place: what is put in can be taken out, and nothing else moves."""

from __future__ import annotations

import json

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tallygate.editing import json_file, json_text
from tallygate.editing.edits import Hook, Member
from tallygate.editing.json_file import JsonTrace
from tallygate.editing.json_text import Malformed, parse, plain

SERVER = Member(("mcpServers", "tallygate"), {"command": "/opt/py thon", "args": ["-P", "-m"], "alwaysLoad": True})
OURS = {"type": "command", "command": '"/p" -I -S "/x/tallygate/entrypoints/hook.py" --client c --event E'}
EDITS = (
    SERVER,
    Hook(("hooks", "PreToolUse"), OURS, "*"),
    Hook(("hooks", "Stop"), OURS),
    Hook(("hooks", "flat"), OURS, flat=True),
    Member(("env", "OTEL_EXPORTER_OTLP_LOGS_HEADERS"), "x-tallygate-token=1"),
    Member(("env", "OTEL_LOGS_EXPORTER"), "otlp"),
)

# --- texts that a user may have written -------------------------------------------------------------------------

SPACE = st.text(" \t", max_size=3)
NEWLINES = st.sampled_from(["\n", "\r\n"])
WORDS = st.text("abé\u2028漢🙂 ,:{}[]*/", max_size=8).filter(lambda text: "*/" not in text)
KEYS = st.one_of(st.sampled_from(["mcpServers", "hooks", "env", "a", "b c", "ключ", "é🙂"]), st.text(max_size=5))
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.text(max_size=12),
    st.sampled_from(["http://x/*y*/", "a // b", '"', "\\"]),
)


@st.composite
def trivia(draw, newline):
    """Space and comments."""
    pieces = draw(st.lists(st.sampled_from(["space", "newline", "line", "block"]), max_size=3))
    text = ""
    for piece in pieces:
        if piece == "space":
            text += draw(SPACE)
        elif piece == "newline":
            text += newline + draw(SPACE)
        elif piece == "line":
            text += "//" + draw(WORDS).replace("\u2028", "") + newline
        else:
            text += "/*" + draw(WORDS) + "*/"
    return text


@st.composite
def containers(draw, newline, depth, *, sign=None, keys=KEYS):
    """An object or array as text, laid out in any way that can be read."""
    sign = sign or draw(st.sampled_from("{["))
    pad = lambda: draw(trivia(newline))  # noqa: E731  # short because it stands between all pieces
    names = draw(st.lists(keys, max_size=3, unique=True))
    pieces = []
    for name in names:
        below = draw(st.booleans()) and depth > 0
        # What we look into is an object for everyone who has it.
        ours = {"mcpServers": "{", "env": "{", "hooks": "{", "PreToolUse": "[", "Stop": "["}.get(name)
        if ours is not None:
            inner = st.sampled_from(["PreToolUse", "Stop", "other"]) if name == "hooks" else KEYS
            value = draw(containers(newline, max(depth - 1, 0), sign=ours, keys=inner))
        elif below:
            value = draw(containers(newline, depth - 1))
        else:
            value = json.dumps(draw(SCALARS), ensure_ascii=draw(st.booleans()))
        key = json.dumps(name, ensure_ascii=False) + pad() + ":" + pad() if sign == "{" else ""
        pieces.append(pad() + key + value + pad())
    trailing = "," + pad() if pieces and draw(st.booleans()) else ""
    body = ",".join(pieces) + trailing if pieces else pad()
    return sign + body + ("}" if sign == "{" else "]")


@st.composite
def files(draw):
    newline = draw(NEWLINES)
    root = draw(containers(newline, 2, sign="{"))
    return draw(trivia(newline)) + root + draw(trivia(newline))


def put(text, edits=EDITS):
    trace = JsonTrace()
    new, _ = json_file.apply(text, edits, trace)
    return new, trace


def value_of(text):
    root = parse(text)
    return None if root is None else plain(text, root)


def usable(text):
    """Names that stand twice where we have to look are refused, and tested apart."""
    try:
        put(text)
    except (Malformed, UnicodeEncodeError):
        return False
    return True


# --- the rules --------------------------------------------------------------------------------------------------


@given(files())
def test_what_was_put_in_comes_out_again_to_the_byte(text):
    assume(usable(text))
    new, trace = put(text)
    assert json_file.strip(new, (), JsonTrace.from_json(json.loads(json.dumps(trace.as_json())))) == text


@given(files())
def test_putting_it_in_again_changes_nothing(text):
    assume(usable(text))
    new, trace = put(text)
    assert json_file.apply(new, EDITS, trace)[0] == new


@given(files())
def test_the_file_says_what_it_said_and_our_entries_besides(text):
    assume(usable(text))
    wanted = value_of(text)
    for edit in EDITS:
        place = wanted
        for key in edit.path[:-1]:
            place = place.setdefault(key, {})
        if isinstance(edit, Hook):
            place.setdefault(edit.path[-1], []).append(edit.item)
        else:
            place[edit.path[-1]] = edit.value
    assert value_of(put(text)[0]) == wanted


@given(files())
def test_every_line_of_the_user_survives(text):
    assume(usable(text))
    new, _ = put(text)
    rest = iter(new)
    assert all(char in rest for char in text), "the old text is no subsequence of the new one"


@given(files(), st.data())
def test_entries_of_the_user_that_came_later_stay(text, data):
    assume(usable(text))
    new, trace = put(text)
    path = data.draw(st.sampled_from([("mcpServers", "later"), ("later",), ("hooks", "Later"), ("env", "LATER")]))
    assume(json_text.find(text, path) is None)
    later = json_text.add_member(new, path, {"x": 1}).text
    left = value_of(json_file.strip(later, (), trace))
    wanted = value_of(text)
    place = wanted
    for key in path[:-1]:
        place = place.setdefault(key, {})
    place[path[-1]] = {"x": 1}
    assert left == wanted


@given(files(), st.permutations([[0], [1], [2], [3], [4, 5]]))
def test_the_order_in_which_entries_go_does_not_matter(text, order):
    assume(usable(text))
    new, trace = put(text)
    while order:
        order = order[1:]
        left = [EDITS[number] for numbers in order for number in numbers]
        new, _ = json_file.apply(new, left, trace)
    assert value_of(new) == value_of(text)


@pytest.mark.parametrize(
    "before, after",
    [
        ("{}", '{\n  "a": 1\n}'),
        ('{"x":1}', '{"x":1,"a":1}'),
        ('{"x": 1}', '{"x": 1, "a": 1}'),
        ('{\n\t"x": 1\n}\n', '{\n\t"x": 1,\n\t"a": 1\n}\n'),
        ('{\n    "x": 1, // why\n}', '{\n    "x": 1, // why\n    "a": 1,\n}'),
        ('{\n  "x": 1 // why\n  // more\n}', '{\n  "x": 1, // why\n  "a": 1\n  // more\n}'),
        ('{\r\n  "x": 1\r\n}', '{\r\n  "x": 1,\r\n  "a": 1\r\n}'),
        ("{ // nothing yet\n}", '{ // nothing yet\n  "a": 1\n}'),
        ("", '{\n  "a": 1\n}\n'),
        ("// only a comment", '// only a comment\n{\n  "a": 1\n}\n'),
    ],
)
def test_a_member_is_laid_out_as_its_neighbours_are(before, after):
    assert json_text.add_member(before, ("a",), 1).text == after


def test_objects_that_are_missing_are_made_and_taken_away_again():
    new, trace = put('{\n  "x": 1\n}\n', (Hook(("hooks", "Stop"), OURS),))
    assert value_of(new)["hooks"]["Stop"] == [{"hooks": [OURS]}]
    assert json_file.strip(new, (), trace) == '{\n  "x": 1\n}\n'


def test_an_empty_object_of_the_user_stays_where_a_made_one_goes():
    new, trace = put('{"hooks": {}, "mcpServers": {}}')
    assert json_file.strip(new, (), trace) == '{"hooks": {}, "mcpServers": {}}'


def test_a_value_that_was_replaced_comes_back_as_it_was_written():
    text = '{ "mcpServers": { "tallygate": {"command" : "mine", /* odd */ }, } }'
    new, trace = put(text, (SERVER,))
    assert value_of(new)["mcpServers"]["tallygate"] == SERVER.value
    assert json_file.strip(new, (), trace) == text


def test_a_hook_of_ours_is_brought_up_to_date_where_it_stands():
    new, trace = put('{"hooks": {"Stop": [{"hooks": [{"type": "command", "command": "mine"}]}]}}', EDITS[2:3])
    moved = Hook(("hooks", "Stop"), {**OURS, "command": OURS["command"].replace('"/p"', '"/new"')})
    newer, _ = json_file.apply(new, (moved,), trace)
    assert newer == new.replace('\\"/p\\"', '\\"/new\\"')


def test_a_hook_that_the_user_put_into_our_group_stays():
    new, trace = put("{}", EDITS[2:3])
    mine = {"type": "command", "command": "mine"}
    group = json_text.find(new, ("hooks", "Stop")).children[0].node.child("hooks").node
    edited = new[: group.start + 1] + json.dumps(mine) + "," + new[group.start + 1 :]
    assert value_of(json_file.strip(edited, (), trace)) == {"hooks": {"Stop": [{"hooks": [mine]}]}}
    again, _ = json_file.apply(edited, EDITS[2:3], trace)
    assert again == edited


def test_a_hook_that_stands_there_twice_is_left_once():
    group = {"hooks": [OURS]}
    text = json.dumps({"hooks": {"Stop": [group, {"hooks": [{"type": "command", "command": "mine"}]}, group]}})
    assert value_of(put(text, EDITS[2:3])[0])["hooks"]["Stop"] == [
        group,
        {"hooks": [{"type": "command", "command": "mine"}]},
    ]


def test_without_a_record_our_entries_are_known_by_what_they_are():
    text = '{"mcpServers": {"other": {"command": "x"}}, "env": {"MINE": "1"}}'
    new, _ = put(text)
    left = value_of(json_file.strip(new, EDITS, JsonTrace()))
    assert left["mcpServers"] == {"other": {"command": "x"}}
    assert left["env"] == {"MINE": "1"}
    assert "hook.py" not in json.dumps(left)


@pytest.mark.parametrize(
    "text, line, why",
    [
        ('{\n "a": 1\n "b": 2}', 3, "',' or '}' is missing"),
        ('{\n "a": }', 2, "a value is missing"),
        ('{"a": "x\n"}', 1, "has no end on its line"),
        ('{\n"a": 1 /* x', 2, "a comment that begins here has no end"),
        ("[1]", 1, "holds no object"),
        ('{"a": 01}', 1, "is not JSON"),
        ('{"a": tru}', 1, "is not JSON"),
        ('{"a": NaN}', 1, "is not JSON"),
        ("{'a': 1}", 1, "is not JSON"),
        ('{\n\n"a" 1}', 3, "':' is missing"),
        ('{"a": 1}\n{}', 2, "after the end"),
        ("{a: 1}", 1, "is not JSON"),
        ("{1: 1}", 1, "a name in quotes is missing"),
        ('{"\\x": 1}', 1, "cannot be read"),
        ("{", 1, "the text ends"),
        ('{"mcpServers": []}', 1, "mcpServers is no object"),
        ('{"mcpServers": {"tallygate": {}, "tallygate": {}}}', 1, "stands there twice"),
        ('{"hooks": {"Stop": {}}}', 1, "is no list"),
        ('{"a": ' + "[" * 300 + "]" * 300 + "}", 1, "more than 200 values"),
    ],
)
def test_what_cannot_be_read_is_told_with_its_line(text, line, why):
    with pytest.raises(Malformed) as caught:
        put(text)
    assert caught.value.line == line
    assert why in caught.value.why


def test_numbers_that_python_would_not_read_are_left_alone_where_nobody_looks():
    text = '{"n": 1e999, "m": -0.0, "mcpServers": {}}'
    new, trace = put(text, (SERVER,))
    assert '"n": 1e999, "m": -0.0' in new
    assert json_file.strip(new, (), trace) == text
