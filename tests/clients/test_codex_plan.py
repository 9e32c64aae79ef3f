"""What Codex' rollouts tell of the plan: read beside the responses, in whatever version's words, and kept once."""

from __future__ import annotations

import pytest
from tests.clients.making import OLD_TURN, PARENT, counted, lines, meta, turn, usage
from tests.transcripts import write_codex
from tests.world import make_world

from tallygate.clients.codex.transcripts import CodexReader, read
from tallygate.clients.packing import packed, unpacked
from tallygate.clients.reading.files import TranscriptFile
from tallygate.core.plan import PlanSource, PlanWindow
from tallygate.operations.usage.sync import sync

AT = "2026-03-01T10:00:10Z"
AT_S = 1_772_359_210


def limits(**more):
    return {
        "limit_id": "codex",
        "primary": {"used_percent": 13.0, "window_minutes": 300, "resets_at": AT_S + 60},
        "secondary": {"used_percent": 22.5, "window_minutes": 10_080, "resets_at": AT_S + 99_999},
        "plan_type": "pro",
    } | more


def counting(told, info=None, stamp=AT):
    payload = {"type": "token_count", "info": info, "rate_limits": told}
    return {"timestamp": stamp, "type": "event_msg", "payload": payload}


def windows(*rows):
    reader = CodexReader(thread="t")
    reader.feed(lines(*rows))
    return reader.plan


def test_both_windows_of_a_plan_are_told_beside_a_response():
    used = usage(100, 0, 10)
    row = counting(limits(), {"total_token_usage": used, "last_token_usage": used})
    reader = CodexReader(thread="t")
    assert len(reader.feed(lines(meta(), turn("gpt-5.4"), row))) == 1
    at_us = AT_S * 10**6
    assert reader.plan == [
        PlanWindow("codex", "codex", 300, 1300, at_us, at_us + 60 * 10**6, PlanSource.TRANSCRIPT, "pro"),
        PlanWindow("codex", "codex", 10_080, 2250, at_us, at_us + 99_999 * 10**6, PlanSource.TRANSCRIPT, "pro"),
    ]


def test_a_line_without_counts_tells_of_the_plan_as_well():
    assert [told.used for told in windows(meta(), counting(limits()))] == [1300, 2250]


def test_an_older_version_says_in_how_many_seconds_a_window_begins_anew():
    old = {"used_percent": 4, "window_minutes": 299, "resets_in_seconds": 90}
    (told,) = windows(meta(), counting({"primary": old}))
    assert (told.minutes, told.limit, told.resets_us) == (299, "", (AT_S + 90) * 10**6)


@pytest.mark.parametrize(
    "told",
    [
        None, [], "x", {}, {"primary": None, "secondary": None},
        {"primary": {"used_percent": -1, "window_minutes": 300}},
        {"primary": {"used_percent": 5}}, {"primary": {"used_percent": 5, "window_minutes": "300"}},
        {"primary": {"used_percent": {}, "window_minutes": 300}}, {"primary": [300]},
    ],
)  # fmt: skip
def test_what_cannot_be_read_of_a_plan_is_unknown_and_its_response_counts(told):
    used = usage(100, 0, 10)
    reader = CodexReader(thread="t")
    info = {"total_token_usage": used, "last_token_usage": used}
    assert len(reader.feed(lines(meta(), turn("gpt-5.4"), counting(told, info)))) == 1
    assert reader.plan == []
    assert not reader.report.skipped


@pytest.mark.parametrize("resets", [None, "soon", -5, 10**25, AT_S + 10**7, True])
def test_a_reset_that_cannot_be_one_is_unknown(resets):
    told = {"used_percent": 5, "window_minutes": 300, "resets_at": resets}
    assert [each.resets_us for each in windows(meta(), counting({"primary": told}))] == [None]


def test_what_a_fork_repeats_of_its_parent_says_nothing_of_today():
    forked = meta(forked_from_id=PARENT)
    used = usage(100, 0, 10)
    repeated = counting(limits(), {"total_token_usage": used, "last_token_usage": used}, "2026-03-01T10:00:00.010Z")
    assert windows(forked, turn("gpt-5.4", OLD_TURN), repeated) == []


def test_a_line_without_a_time_tells_nothing_of_a_plan():
    assert windows(meta(), turn("gpt-5.4"), counted(usage(1), usage(1)), counting(limits(), stamp="?")) == []


def test_what_was_told_crosses_from_one_process_to_another_and_is_kept(tmp_path):
    world = make_world(tmp_path)
    path = write_codex(tmp_path, 2)
    with path.open("ab") as file:
        file.write(lines(counting(limits())))
    (batch,) = read(TranscriptFile("codex", path))
    assert unpacked(packed(batch)).plan == batch.plan
    assert len(batch.plan) == 2
    sync(world.rt, environ={}, home=tmp_path)
    with world.ledger.reading() as reader:
        assert reader.plan_windows() == list(batch.plan)
    world.ledger.close()
