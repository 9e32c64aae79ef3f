"""What repeats in a turn: seen by digests alone, at the calls that are promised, and never where somebody waits."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallygate.core.likeness import RunKind, ToolRun, called, kind_of, likeness_of, looks_failed, settled, task_of
from tallygate.core.loops import (
    SEEN_MAX,
    STOP_AT,
    AgentTurn,
    Loop,
    LoopKind,
    LoopMode,
    as_text,
    from_text,
    refusal,
    spawns,
    told,
    took,
    warning,
)

KEY = b"a key of this ledger"
SECOND = 1_000_000


def ran(command: str, gave: str = "", *, failed: bool | None = False) -> ToolRun:
    return ToolRun("Bash", {"command": command}, gave, failed)


def read(name: str) -> ToolRun:
    return ToolRun("Read", {"file_path": name}, f"what stands in {name}", failed=False)


def edit(old: str, new: str) -> ToolRun:
    return ToolRun("Edit", {"file_path": "a.py", "old_string": old, "new_string": new}, "The file is changed.", False)


def walked(runs: Iterable[ToolRun], thread: AgentTurn | None = None) -> tuple[AgentTurn, list[Loop]]:
    """A turn of some calls, a second each, and what was told of them."""
    thread, found = AgentTurn() if thread is None else thread, []
    for number, run in enumerate(runs, 1):
        thread, loop = took(thread, likeness_of(KEY, run), run.tool, number * SECOND)
        found += [] if loop is None else [loop]
    return thread, found


FAILING = ran("npm install x", "npm ERR! 404 Not Found in 1.2s", failed=True)
SUITE = "=== 1 failed, 211 passed in {}.31s ===\nE assert 3 == 4 in test_sums_of_a_month\nrun 0f3a9bc{}"


def suite(n: int) -> ToolRun:
    return ran("pytest -q", SUITE.format(n, n), failed=True)


LOOPS = {
    "one command that fails": ([FAILING] * 8, 5, 8, LoopKind.ERROR),
    "one command that comes to the same": ([ran("git status", "clean")] * 9, 5, 9, LoopKind.STALE),
    "two edits in turn": ([edit("a", "b"), edit("b", "a")] * 5, 7, 10, LoopKind.STALE),
    "a failing test after small changes": (
        [each for n in range(8) for each in (edit(f"x{n}", f"x{n + 1}"), suite(n))],
        10, 16, LoopKind.ERROR,
    ),
    "the same files after a compaction": ([read(f"{n % 5}.py") for n in range(13)], 10, 13, LoopKind.STALE),
}  # fmt: skip


@pytest.mark.parametrize(("runs", "warned", "looped", "kind"), LOOPS.values(), ids=LOOPS)
def test_a_loop_is_told_of_at_these_calls_and_once_each(
    runs: list[ToolRun], warned: int, looped: int, kind: LoopKind
) -> None:
    _, found = walked(runs)
    assert [(each.number, each.is_loop) for each in found] == [(warned, False), (looped, True)]
    assert found[-1].kind is kind
    # What goes on is not told of again.
    _, found = walked(runs * 3)
    assert len([each for each in found if each.is_loop]) == 1


def test_the_third_subagent_on_one_task_is_a_loop_before_it_begins() -> None:
    thread, found = AgentTurn(), []
    for number in range(3):
        run = ToolRun("Agent", {"prompt": "Find  the leak\n", "description": f"try {number}"})
        task = task_of(KEY, run)
        assert task is not None
        thread, loop = spawns(thread, task, "", "Agent")
        found.append(loop)
    assert found[:2] == [None, None]
    assert found[2] is not None
    assert (found[2].times, found[2].is_loop) == (3, True)
    assert task_of(KEY, ToolRun("Agent", {"prompt": "Find another leak"})) != task
    assert task_of(KEY, ToolRun("Agent", {"subagent_type": "explorer"})) is None


WORK = {
    "reads of many files": [read(f"{n}.py") for n in range(400)],
    "pages of one file": [ToolRun("Read", {"file_path": "a", "offset": n}, "same", False) for n in range(50)],
    "a command whose result changes": [ran("make", f"{n} of 90 files done") for n in range(60)],
    "searches that find nothing": [ran(f"grep -q word{n} a", "Exit code 1", failed=True) for n in range(40)],
    "files that are not there": [ToolRun("Read", {"file_path": f"{n}"}, "Does not exist.", True) for n in range(40)],
    "a look at the state between new steps": [
        each for n in range(4) for each in (read(f"{n}.py"), ran("git status", "clean"))
    ],
    "failures with new text": [ran("pytest", f"assert {n} == 4", failed=True) for n in range(40)],
    "our own tools": [ToolRun("mcp__tallygate__l6e_authorize_call", {"tool_name": "Bash"}, "allow", False)] * 40,
    "a list of what is to do": [ToolRun("TodoWrite", {"todos": []}, "ok", False)] * 40,
}  # fmt: skip


@pytest.mark.parametrize("runs", WORK.values(), ids=WORK)
def test_work_is_no_loop(runs: list[ToolRun]) -> None:
    assert walked(runs)[1] == []


WAITS = [
    ran("sleep 30"),
    ran("sleep 30 && gh run view 7", "queued"),
    ran("until curl -s localhost:8080; do sleep 2; done", failed=True),
    ran("watch -n 5 kubectl get pods"),
    ran("tail -f log"),
    ran("gh run watch 7 --exit-status"),
    ToolRun("write_stdin", {"session_id": 3, "chars": ""}, "", False),
    ToolRun("TaskOutput", {"task_id": "b1"}, "still running", False),
    ToolRun("BashOutput", {"bash_id": "b1"}, "", False),
    ToolRun("wait_agent", {"ids": ["a"]}, "", None),
]


@pytest.mark.parametrize("run", [each for each in WAITS if "run watch" not in str(each.given)])
def test_who_waits_is_known_to(run: ToolRun) -> None:
    assert kind_of(run) is RunKind.WAIT


@pytest.mark.parametrize(
    "command", ["make", "cat sleep.py", "git commit -m 'sleep less'", "tail -n 5 log", "npm run watchdog"]
)
def test_a_word_that_only_looks_so_is_no_wait(command: str) -> None:
    assert kind_of(ran(command)) is RunKind.COUNTS


@given(
    st.lists(st.tuples(st.sampled_from(WAITS[:5] + WAITS[6:]), st.booleans()), min_size=60, max_size=200), st.booleans()
)
def test_polling_for_an_hour_is_no_loop(polls: list[tuple[ToolRun, bool]], fails: bool) -> None:
    """Whoever waits, and looks again after each wait if he likes, however often that comes to the same."""
    look = ran("curl -s localhost:8080/health", "starting", failed=fails)
    assert walked(each for wait, looks in polls for each in ((wait, look) if looks else (wait,)))[1] == []


@given(st.integers(0, 7), st.integers(0, 7))
def test_waits_and_notes_neither_count_nor_break_a_row(waits: int, at: int) -> None:
    runs = [FAILING] * 8
    # A note between, and a wait before something that is new anyway.
    runs[at:at] = [ToolRun("TodoWrite", {"todos": [waits]}, "ok", False)] * waits
    _, found = walked(runs)
    assert [(each.number, each.is_loop) for each in found] == [(5, False), (8, True)]


CONTENT = st.recursive(
    st.text(max_size=40),
    lambda each: st.lists(each, max_size=3) | st.dictionaries(st.text(max_size=9), each, max_size=3),
)


@given(st.lists(st.tuples(CONTENT, CONTENT, st.sampled_from([None, True, False])), max_size=30))
def test_no_content_leaves_the_digests(calls: list[tuple[object, object, bool | None]]) -> None:
    """What is kept is of one grammar, whatever was asked and answered: numbers, digests, and the names of tools."""
    thread, _ = walked(ToolRun("Bash", given_, gave, failed) for given_, gave, failed in calls)
    text = as_text({"": thread})
    words = re.findall(r'"([^"]*)"', text)
    assert all(re.fullmatch(r"|[re][0-9a-f]{12}", word) for word in words), text
    assert re.fullmatch(r'[\d,:\[\]{}"a-f\-renul]*', text), text


@given(CONTENT, st.binary(min_size=16, max_size=64))
def test_a_digest_without_its_key_tells_nothing_of_what_it_is_of(content: object, other: bytes) -> None:
    run = ToolRun("Bash", content, "")
    assert likeness_of(KEY, run) == likeness_of(KEY, run)
    if other != KEY:
        assert likeness_of(KEY, run).asked != likeness_of(other, run).asked


@given(st.lists(st.sampled_from([FAILING, ran("git status", "clean"), read("a"), *WAITS]), max_size=60))
def test_a_turn_is_read_as_it_was_kept(runs: list[ToolRun]) -> None:
    thread, found = walked(runs)
    if found:
        thread = AgentTurn(
            thread.calls, thread.last_us, thread.seen, halted=next((f for f in found if f.is_loop), None)
        )
    kept = as_text({"": thread, "agent-1": AgentTurn()})
    assert as_text(from_text(kept)) == kept
    assert from_text(kept)[""] == thread


@pytest.mark.parametrize("damaged", ["", "{", "[]", '{"": []}', '{"": [1, 2]}', "null", '{"": null}', "9" * 10_000])
def test_what_cannot_be_read_begins_anew(damaged: str) -> None:
    assert from_text(damaged) == {}


def test_a_turn_is_bounded_however_long_it_is() -> None:
    thread, found = walked(ran(f"echo {n}", f"{n}") for n in range(5 * SEEN_MAX))
    assert (len(thread.seen), found) == (SEEN_MAX, [])
    assert len(as_text({"": thread})) < 8192


ALIKE = [
    ("done at 2026-11-30T22:01:02Z", "done at 2026-12-01T00:00:10Z"),
    ("[12:01:02] started", "[12:59:02] started"),
    ("ran in 1m 3.2s", "ran in 59s"),
    ("container 4f0c2ab91d is up", "container 77aa02bc1e is up"),
    ("request 7f9c24e8-3b1d-4c1a-9a55-0f6b1c2d3e4f", "request 00000000-3b1d-4c1a-9a55-0f6b1c2d3e4f"),
    ("wrote /tmp/tmp.aB3xQ9", "wrote /tmp/tmp.Zz81kk"),
    ("Process Group PGID: 640", "Process Group PGID: 12"),
    ("id toolu_f9ce7f051d23 is gone", "id toolu_aace7f051d99 is gone"),
    ("epoch 1764547200", "epoch 1764547299"),
]
APART = [
    ("a.py:12:30: error", "a.py:12:31: error"),
    ("12 of 90 files", "13 of 90 files"),
    ("no such file: /tmp/p/a.txt", "no such file: /tmp/p/b.txt"),
    ("assert 3 == 4", "assert 3 == 5"),
    ("decade", "facade"),
]


@pytest.mark.parametrize(("one", "other"), ALIKE)
def test_what_is_another_each_time_is_taken_out_of_a_result(one: str, other: str) -> None:
    assert settled(one) == settled(other)


@pytest.mark.parametrize(("one", "other"), APART)
def test_what_says_something_stays(one: str, other: str) -> None:
    assert settled(one) != settled(other)


def test_of_a_long_result_every_part_counts() -> None:
    long = ["x" * 9000, "middle", "y" * 9000]
    assert settled("".join(long)) != settled("".join([long[0], "muddle", long[2]]))


@pytest.mark.parametrize(
    ("text", "failed"),
    [
        ("Exit Code: 1", True), ("Exit Code: 0", False), ("exited with code 127", True), ("exit status 2", True),
        ("error: no such option", True), ("npm ERR! code E404", True), ("1 failed, 2 passed", True),
        ("0 failed, 2 passed", False), ("sh: foo: command not found", True), ("all is well", False), ("", False),
    ],
)  # fmt: skip
def test_a_failure_is_read_where_nobody_says(text: str, failed: bool) -> None:
    assert looks_failed(text) is failed


def test_the_sentence_has_its_price_the_live_call_and_never_another() -> None:
    loop = Loop(LoopKind.ERROR, True, 8, 16, 16, 0, "Bash", "")
    assert told(loop, "pytest -q", 1_920_000_000) == "$1.92 in 16 calls: `pytest -q` failed the same way 8 times."
    assert told(loop, None, None) == "16 calls: a call of `Bash` failed the same way 8 times."
    assert "tallygate loop allow" in refusal("x")
    assert "asked" not in warning("x", LoopMode.WARN)
    long = called(ran("echo " + "very " * 40 + "\nsecond"))
    assert len(long) <= 60
    assert long.endswith("...")
    assert "second" not in long
    assert called(ran("echo `id`\x1b[2J")) == "echo 'id' [2J"
    assert json.loads(as_text({})) == {}


def test_a_row_of_eight_is_what_stops() -> None:
    assert walked([read("a.py")] * STOP_AT)[1][-1].is_loop is False
