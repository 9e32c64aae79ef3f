"""Every change of a limit is shown wherever the limit is."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from tests.world import the_user

from tallygate.core.authority import Authority, EntryDoor
from tallygate.core.model import LimitChange
from tallygate.operations.budgets.change import raise_budget, set_budget
from tallygate.operations.proof.statements import summed
from tallygate.operations.sessions.ending import end_session
from tallygate.operations.views.overview import limit_changes, list_budgets, newest_limit_changes, show_session

NANOS = 10**9
BENEATH = Authority(
    EntryDoor.COMMAND, "anna", beneath="Codex (process 7)", agents_may=frozenset({"budget raise"}), servers=("ab" * 8,)
)


def test_a_raise_from_inside_a_session_is_told_everywhere(world):
    rt = replace(world.rt, server_id="ab" * 8)
    session = world.start("0.61")
    around = start_on(rt, world)
    raise_budget(world.rt, session, 100 * NANOS, reason="no reason given", authority=BENEATH)
    [seen] = show_session(world.rt, session).limit_changes
    assert seen.told("11-30 02:24") == (
        f"raised from $0.61 to $100.61 on 11-30 02:24 by cli (anna), inside session {around}, no reason given"
    )
    assert limit_changes(world.rt, list_budgets(world.rt, limit=10)) == [seen]
    assert newest_limit_changes(world.rt, 5) == [seen]
    with world.ledger.reading(world.rt.tenant) as reader:
        stated = summed(reader, reader.session(session), reader.head())["limitChanges"]
    end_session(world.rt, session)
    line = next(each for each in lines(world.rt.workspace.run_log_path) if each["run_id"] == session)
    assert line["limit_changes"] == stated == [seen.stated()]
    assert (stated[0]["before"], stated[0]["limit"], stated[0]["inside"]) == ("0.61", "100.61", around)


def start_on(rt, world):
    from tallygate.operations.sessions.opening import Opening, start_session

    return start_session(rt, Opening(limit_nanos=NANOS, model="dear", client="codex")).session.session_id


def lines(path: Path):
    return [json.loads(each) for each in path.read_text().splitlines()]


def test_changes_of_one_limit_are_told_in_their_order_and_those_of_others_are_not(world):
    first, second = world.start("1"), world.start("1")
    raise_budget(world.rt, first, NANOS, reason="more", authority=the_user("anna"))
    set_budget(world.rt, first, NANOS, reason="enough", authority=the_user("anna"))
    raise_budget(world.rt, second, NANOS, reason="more", authority=the_user("anna"))
    told = [each.told("now").split(" on ")[0] for each in show_session(world.rt, first).limit_changes]
    assert told == ["raised from $1.00 to $2.00", "lowered from $2.00 to $1.00"]


def test_a_clock_that_is_set_back_or_stands_still_stops_no_raise(world):
    session = world.start("1")
    for minutes in (0, -30, 0, -30, 0):
        world.clock.at_us += minutes * 60_000_000
        raise_budget(world.rt, session, NANOS, reason="more", authority=the_user("anna"))
    assert world.budget(session).limit == 6 * NANOS
    assert len(show_session(world.rt, session).limit_changes) == 5
    assert not world.problems()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({}, "raised from $1.00 to $2.00 on X by cli (anna), no reason given"),
        ({"reason": "it pays"}, "raised from $1.00 to $2.00 on X by cli (anna), reason: it pays"),
        ({"beneath": "Codex"}, "raised from $1.00 to $2.00 on X by cli (anna), beneath Codex, no reason given"),
        ({"limit": NANOS}, "set from $1.00 to $1.00 on X by cli (anna), no reason given"),
        ({"door": "prompt"}, "raised from $1.00 to $2.00 on X by prompt (anna), no reason given"),
    ],
)
def test_what_is_told(change, told):
    made = LimitChange("b", 0, "USD", NANOS, 2 * NANOS, "cli", "anna", "no reason given")
    assert replace(made, **change).told("X") == told
