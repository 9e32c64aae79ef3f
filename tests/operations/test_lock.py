"""While the limits are locked, the gate goes by limits that the user has signed, and by nothing else."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from dataclasses import replace

import pytest
from tests.world import NANOS, make_world, the_user

from tallygate.attest.keys import b64url, new_signer
from tallygate.attest.sealed import Cost, file_of, find, keep, seal
from tallygate.core.authority import Authority, EntryDoor
from tallygate.core.errors import Conflict, KeyUnusable, Locked, WrongPassphrase
from tallygate.core.gate.rules import BudgetRule, BudgetScope
from tallygate.core.model import Actor
from tallygate.core.proof import SIGNATURE, canonical_bytes, event_hash
from tallygate.core.words import Action, ActorType, BudgetMode, Pressure
from tallygate.operations.budgets.change import grant, raise_budget, request_of, set_budget
from tallygate.operations.lock import falling, lock_limits, sign_settings, unlock_limits, unlock_lost
from tallygate.operations.lock_book import LockBook, note_loosened, standing_now, unsigned_limits
from tallygate.operations.proof.evidence import Area
from tallygate.operations.proof.verify import OutsideEvidence, verify_ledger
from tallygate.operations.sessions.opening import Opening, new_session, opening_changes, own_new_budget
from tallygate.operations.views.overview import list_budgets, list_sessions

LEAST = Cost(1, 8192)
WORDS = "correct horse battery"


class Seal:
    """The key of a lock in the hands of a user who has typed the passphrase, or has not."""

    def __init__(self, signer, *, knows=True):
        self.signer, self.knows, self.is_open, self.asked = signer, knows, False, 0

    @property
    def public(self):
        return self.signer.public.x

    def open(self, what):
        if self.is_open:
            return
        self.asked += 1
        if not self.knows:
            raise WrongPassphrase("That is not the passphrase of the lock.")
        self.is_open = True

    def sign(self, message):
        return b64url(self.signer.sign(message))


@pytest.fixture
def hurt(tmp_path):
    """A world whose ledger is written to from outside."""
    made = make_world(tmp_path)
    yield made
    made.ledger.close()


def lock(world, **more):
    signer, sealed = seal(WORDS, LEAST)
    lock_limits(world.rt, signer, sealed, "{}", {}, authority=the_user("anna"))
    return replace(the_user("anna"), lock=Seal(signer, **more))


def raised(world, session, by=1, *, authority):
    return raise_budget(world.rt, session, by * NANOS, reason="more", authority=authority)


def faults(world):
    report = verify_ledger(world.ledger.path, OutsideEvidence({}))
    return [each for each in report.broken if each.part is Area.LOCK], report


def append_raw(world, body, *, tenant="default", tables=True):
    """Write an event as a program under the user's account could: with a hash that fits the chain."""
    other = sqlite3.connect(world.ledger.path, isolation_level=None)
    seq, previous = other.execute(
        "SELECT seq, hash FROM event WHERE tenant = ? ORDER BY id DESC LIMIT 1", (tenant,)
    ).fetchone()
    raw = canonical_bytes(body)
    digest = event_hash(f"{world.ledger.ledger_id}/{tenant}", seq + 1, previous, raw)
    other.execute(
        "INSERT INTO event (tenant, seq, at_us, body, hash) VALUES (?, ?, ?, ?, ?)",
        (tenant, seq + 1, body["at_us"], raw, digest),
    )
    for op, table, row in body["rows"] if tables else ():
        if (op, table) == ("~", "budget"):
            other.execute(
                "UPDATE budget SET limit_nanos = ? WHERE budget_id = ?", (row["limit_nanos"], row["budget_id"])
            )
        elif (op, table) == ("+", "limit_change"):
            names = ["tenant", *row]
            marks = ", ".join("?" * len(names))
            other.execute(f"INSERT INTO limit_change ({', '.join(names)}) VALUES ({marks})", (tenant, *row.values()))
    other.close()


def forged_raise(world, session, before, limit, **note):
    at_us = world.clock.at_us + 60_000_000
    changed = {"budget_id": session, "at_us": at_us, "unit": "USD", "before_nanos": before, "limit_nanos": limit,
               "door": "cli", "actor": "anna", "reason": "no reason given"}  # fmt: skip
    rows = [["~", "budget", {"budget_id": session, "limit_nanos": limit, "touched_us": at_us}],
            ["+", "limit_change", changed]]  # fmt: skip
    return {"at_us": at_us, "by": "cli", "kind": "budget.limit_changed", "note": {"actor": "anna", **note},
            "rows": rows, "tenant": "default"}  # fmt: skip


def may_spend(world, session, tokens, **step):
    return world.ask(session, tokens, **step).action is not Action.HALT


def test_a_raise_without_the_passphrase_is_refused_and_one_with_it_is_signed_and_counts(world):
    session = world.start("1")
    user = lock(world)
    before = world.events()
    with pytest.raises(Locked, match="needs your passphrase"):
        raised(world, session, authority=the_user("anna"))
    assert world.events() == before
    assert raised(world, session, 2, authority=user).limit == 3 * NANOS
    assert user.lock.asked == 1
    assert may_spend(world, session, 2500)
    assert not faults(world)[0]
    assert not world.problems()


def test_a_wrong_passphrase_changes_nothing(world):
    session = world.start("1")
    user = lock(world, knows=False)
    before = world.events()
    with pytest.raises(WrongPassphrase):
        raised(world, session, authority=user)
    assert world.events() == before
    assert world.budget(session).limit == NANOS


def test_lowering_a_limit_needs_no_passphrase_and_setting_a_higher_one_asks_once(world):
    session = world.start("2")
    user = lock(world)
    set_budget(world.rt, session, NANOS, reason="less", authority=user)
    set_budget(world.rt, session, NANOS // 2, reason="less", authority=the_user("anna"))
    assert user.lock.asked == 0
    set_budget(world.rt, session, NANOS, reason="more", authority=user)
    assert user.lock.asked > 0
    assert world.budget(session).limit == NANOS
    assert may_spend(world, session, 900)
    assert not faults(world)[0]


def test_neither_elicitation_nor_prompt_raises_and_the_command_for_a_terminal_is_named(world):
    session = world.start("1")
    lock(world)
    with pytest.raises(Locked) as refused:
        request_of(world.rt, session, NANOS, "more work")
    assert "tallygate budget raise 00000001 1.00" in refused.value.hint
    assert "terminal of your own" in refused.value.hint
    for door in (EntryDoor.ELICITATION, EntryDoor.PROMPT):
        with pytest.raises(Locked):
            grant(world.rt, session, (session, NANOS), NANOS, "more", authority=Authority(door, "user"))
    assert world.budget(session).limit == NANOS


def test_a_raise_that_was_written_into_the_ledger_unsigned_is_not_gone_by_and_verify_names_it(hurt):
    world = hurt
    session = world.start("1")
    user = lock(world)
    append_raw(world, forged_raise(world, session, NANOS, 100 * NANOS))
    assert world.budget(session).limit == 100 * NANOS
    assert [budget.limit for budget in list_budgets(world.rt, limit=9)] == [NANOS], "a list shows what is gone by"
    assert not may_spend(world, session, 1500)
    assert may_spend(world, session, 900)
    [fault], report = faults(world)
    assert session in fault.what
    assert "not signed" in fault.what
    assert [budget.budget_id for budget in unsigned_limits(world.rt)] == [session]
    assert len(report.broken) == 1
    # What the user raises by is added to what they have signed, not to what was forged.
    assert raised(world, session, authority=user).limit == 2 * NANOS
    assert may_spend(world, session, 900)
    assert not may_spend(world, session, 900)


def test_a_limit_that_was_edited_in_the_table_alone_is_not_gone_by(hurt):
    world = hurt
    session = world.start("1")
    lock(world)
    other = sqlite3.connect(world.ledger.path, isolation_level=None)
    other.execute("UPDATE budget SET limit_nanos = 100000000000 WHERE budget_id = ?", (session,))
    other.close()
    assert not may_spend(world, session, 1500)


def test_a_signed_raise_is_good_once_at_its_place(hurt):
    world = hurt
    session, second = world.start("1"), world.start("1")
    user = lock(world)
    raised(world, session, authority=user)
    with world.ledger.reading() as reader:
        body = json.loads(reader.limit_events(0)[-1].body)
    set_budget(world.rt, session, NANOS, reason="enough", authority=the_user("anna"))
    again = {**body, "at_us": world.clock.at_us + 60_000_000}
    again["rows"] = [
        ["~", "budget", {"budget_id": session, "limit_nanos": 2 * NANOS, "touched_us": 1}],
        ["+", "limit_change", {**body["rows"][1][2], "at_us": world.clock.at_us + 60_000_000}],
    ]
    append_raw(world, again)
    assert not may_spend(world, session, 1500)
    moved = forged_raise(world, second, NANOS, 2 * NANOS, **{SIGNATURE: body["note"][SIGNATURE]})
    append_raw(world, {**moved, "at_us": moved["at_us"] + 60_000_000})
    assert not may_spend(world, second, 1500)
    assert len(faults(world)[0]) == 2


def test_a_signed_event_that_is_put_in_again_byte_for_byte_counts_for_nothing(hurt):
    world = hurt
    session = world.start("1")
    user = lock(world)
    raised(world, session, authority=user)
    with world.ledger.reading() as reader:
        body = json.loads(reader.limit_events(0)[-1].body)
    set_budget(world.rt, session, NANOS, reason="enough", authority=the_user("anna"))
    append_raw(world, body, tables=False)
    other = sqlite3.connect(world.ledger.path, isolation_level=None)
    other.execute("UPDATE budget SET limit_nanos = ? WHERE budget_id = ?", (2 * NANOS, session))
    other.close()
    assert not may_spend(world, session, 1500)
    assert len(faults(world)[0]) == 1


def test_a_raise_signed_with_another_key_counts_for_nothing(hurt):
    world = hurt
    session = world.start("1")
    lock(world)
    stranger = replace(the_user("anna"), lock=Seal(new_signer()))
    with pytest.raises(Locked):
        raised(world, session, authority=stranger)
    append_raw(world, forged_raise(world, session, NANOS, 9 * NANOS, **{SIGNATURE: b64url(bytes(64))}))
    assert not may_spend(world, session, 1500)


def test_a_lock_that_is_set_over_another_is_none_and_verify_names_it(hurt):
    world = hurt
    session = world.start("1")
    user = lock(world)
    signer, sealed = seal("another passphrase", LEAST)
    with pytest.raises(Conflict):
        lock_limits(world.rt, signer, sealed, "{}", {}, authority=the_user("anna"))
    note = {"actor": "mallory", "public": signer.public.x, "settings": "{}", "trusted": "{}", "limits": "{}",
            "heads": "{}"}  # fmt: skip
    body = {"at_us": world.clock.at_us + 60_000_000, "by": "cli", "kind": "lock.set", "note": note, "rows": [],
            "tenant": "default"}  # fmt: skip
    append_raw(world, body)
    append_raw(world, {**body, "at_us": body["at_us"] + 1, "kind": "lock.ended"})
    assert standing_now(world.rt).lock.public == user.lock.public
    with pytest.raises(Locked):
        raised(world, session, authority=the_user("anna"))
    assert [fault.what for fault in faults(world)[0]] == [
        "another lock was set over the one in force",
        "lock.ended is not signed by the lock",
    ]


def test_what_was_raised_before_the_lock_stays_raised_and_a_later_forgery_adds_nothing(hurt):
    world = hurt
    session = world.start("1")
    raised(world, session, 2, authority=the_user("anna"))
    lock(world)
    assert not may_spend(world, session, 3100)
    assert may_spend(world, session, 2900)
    append_raw(world, forged_raise(world, session, 3 * NANOS, 50 * NANOS))
    assert not may_spend(world, session, 200)


# Whose steps a window of the settings binds, and what such a step says of itself.
BOUND_STEPS = [
    (BudgetScope.GLOBAL, None, {}),
    (BudgetScope.AGENT, "Explore", {"actor": Actor(ActorType.SUBAGENT, "a1", "Explore")}),
    (BudgetScope.MCP_SERVER, "github", {"tool_name": "mcp__github__search"}),
]


@pytest.mark.parametrize(("scope", "name", "step"), BOUND_STEPS)
def test_a_window_of_the_settings_is_held_to_its_rule_and_to_what_was_signed_beyond(hurt, scope, name, step):
    world = hurt.with_runtime(rules=(BudgetRule(scope, NANOS, period="day", match=name),))
    session = world.start("50")
    assert may_spend(world, session, 100, **step)
    user = lock(world)
    [window] = [b for b in world_budgets(world) if b.scope == scope]
    append_raw(world, forged_raise(world, window.budget_id, NANOS, 100 * NANOS))
    assert not may_spend(world, session, 1200, **step)
    raised(world, window.budget_id, 1, authority=user)
    assert may_spend(world, session, 1200, **step)
    assert not may_spend(world, session, 1200, **step)


def in_table(world, sql, *values):
    with contextlib.closing(sqlite3.connect(world.ledger.path, isolation_level=None)) as other:
        other.execute(sql, values)


@pytest.mark.parametrize("period", ["day", "5h"])
def test_a_window_that_is_made_soft_in_its_table_is_as_hard_as_its_rule(hurt, period):
    world = hurt.with_runtime(rules=(BudgetRule(BudgetScope.GLOBAL, NANOS, period=period),))
    session = world.start("50")
    assert may_spend(world, session, 100)
    lock(world)
    in_table(world, "UPDATE budget SET mode = 'soft' WHERE scope = 'global'")
    assert not may_spend(world, session, 1200)


WINDOWS = {
    "its unit": "unit = 'tokens'",
    "another currency": "unit = 'GBP', usd_nanos = 1000000000000, rate_day = '2026-11-01'",
    "what its unit is worth": "usd_nanos = 1000000000000",
    "what it limits": "scope = 'client'",
    "whom it limits": "scope_key = 'nobody'",
    "how long it lasts": "period = 'month'",
}


@pytest.mark.parametrize("period", ["day", "5h"])
@pytest.mark.parametrize("what", WINDOWS)
def test_a_window_whose_row_says_something_else_than_its_rule_halts_until_it_is_mended(hurt, what, period):
    world = hurt.with_runtime(rules=(BudgetRule(BudgetScope.GLOBAL, NANOS, period=period),))
    session = world.start("50")
    assert may_spend(world, session, 100)
    user = lock(world)
    assert may_spend(world, session, 100)
    in_table(world, f"UPDATE budget SET {WINDOWS[what]} WHERE scope = 'global'")
    answer = world.ask(session, 100)
    assert answer.action is Action.HALT
    assert "is not what its rule says" in (answer.message or "")
    assert world.problems()
    in_table(world, f"UPDATE budget SET unit = 'USD', usd_nanos = {NANOS}, rate_day = NULL, scope = 'global', "
                    f"scope_key = 'all', period = '{period}' WHERE scope <> 'session'")  # fmt: skip
    assert may_spend(world, session, 100)
    assert raised(world, session, authority=user)


@pytest.mark.parametrize("which", ["resets_us IS NOT NULL", "resets_us IS NULL"])
def test_a_piece_of_a_rolling_period_that_says_something_else_halts_also_once_it_is_not_the_newest(hurt, which):
    world = hurt.with_runtime(rules=(BudgetRule(BudgetScope.GLOBAL, NANOS, period="5h"),))
    session = world.start("50")
    assert may_spend(world, session, 100)
    lock(world)
    in_table(world, f"UPDATE budget SET scope_key = 'nobody' WHERE scope = 'global' AND {which}")
    world.clock.at_us += 3_600_000_000
    assert not may_spend(world, session, 100)


@pytest.mark.parametrize(("rate", "goes_on"), [(1_250_000_000, True), (1_300_000_000, True), (1_200_000_000, True),
                                               (6 * NANOS, False), (1000 * NANOS, False)])  # fmt: skip
def test_a_window_in_a_currency_counts_what_it_has_at_the_dearer_of_its_rate_and_that_of_its_rule(hurt, rate, goes_on):
    rule = BudgetRule(BudgetScope.GLOBAL, NANOS, unit="GBP", period="day", usd_nanos=1_250_000_000)
    world = hurt.with_runtime(rules=(rule,))
    session = world.start("50")
    assert may_spend(world, session, 375)
    lock(world)
    in_table(world, "UPDATE budget SET usd_nanos = ? WHERE scope = 'global'", rate)
    assert may_spend(world, session, 700) is goes_on
    assert not may_spend(world, session, 200)


def test_a_rate_that_no_day_made_halts_before_anything_is_counted_at_it(hurt):
    rule = BudgetRule(BudgetScope.GLOBAL, NANOS, unit="GBP", period="day", usd_nanos=1_250_000_000)
    world = hurt.with_runtime(rules=(rule,))
    session = world.start("5000")
    assert may_spend(world, session, 100)
    lock(world)
    in_table(
        world, "UPDATE budget SET usd_nanos = ?, spent_nanos = 0, reserved_nanos = 0 WHERE scope = 'global'", 10**15
    )
    assert not may_spend(world, session, 2000)


def test_an_end_of_the_lock_that_somebody_has_written_brings_no_raise_of_a_table_into_force(hurt):
    world = hurt.with_runtime(rules=(BudgetRule(BudgetScope.GLOBAL, NANOS, period="day"),))
    session = world.start("50")
    assert may_spend(world, session, 100)
    lock(world)
    in_table(world, "UPDATE budget SET limit_nanos = ? WHERE scope = 'global'", 100 * NANOS)
    with world.ledger.writing() as tx:
        tx.append("lock.lost", [], by="cli", note={"actor": "root"})
    assert standing_now(world.rt).lost_by == "root"
    assert not may_spend(world, session, 1200)
    [window] = [b for b in world_budgets(world) if b.scope == "global"]
    set_budget(world.rt, window.budget_id, 3 * NANOS, reason="more", authority=the_user("anna"))
    assert may_spend(world, session, 1200)


def test_a_rolling_window_is_raised_with_a_signature_only(hurt):
    world = hurt.with_runtime(rules=(BudgetRule(BudgetScope.GLOBAL, NANOS, period="5h"),))
    session = world.start("50")
    assert may_spend(world, session, 100)
    user = lock(world)
    with world.ledger.reading() as reader:
        [head] = reader.rolling_budgets()
    other = sqlite3.connect(world.ledger.path, isolation_level=None)
    until = world.clock.at_us + 10**12
    other.execute("UPDATE budget SET raises = ? WHERE budget_id = ?", (f"[[{50 * NANOS},{until}]]", head.name))
    other.close()
    assert not may_spend(world, session, 1500)
    raised(world, head.name, 1, authority=user)
    assert may_spend(world, session, 1500)
    assert not may_spend(world, session, 1500)


LIMITS = "UPDATE budget SET limit_nanos = 100000000000, rule_limit = 100000000000"
IN_TABLES = {
    "the limit and that of its rule": LIMITS,
    "the limit, its rule and whose it is": f"{LIMITS}, scope = 'client', scope_key = 'x' WHERE scope = 'session'",
    "whether it is hard": "UPDATE budget SET mode = 'soft' WHERE scope = 'session'",
    "what it counts": "UPDATE budget SET unit = 'calls' WHERE scope = 'session'",
    "what its unit is worth": "UPDATE budget SET usd_nanos = 4000000000000000 WHERE scope = 'session'",
    "when the session began": f"{LIMITS}; UPDATE session SET started_us = started_us + 5000000",
    "whose the session is": "UPDATE session SET rules = NULL, project = '/elsewhere', client = 'none'",
    "which budgets it spends": "DELETE FROM session_budget WHERE session_id <> budget_id",
    "what it lies in": "UPDATE session SET parent_session_id = NULL; "
    "DELETE FROM session_budget WHERE session_id <> budget_id",
    "which event says so": "DROP TRIGGER event_never_changes; UPDATE event SET body = "
    "CAST(replace(body, '\"limit_nanos\":1000000000,', '\"limit_nanos\":90000000000,') AS BLOB)",
}  # fmt: skip


@pytest.mark.parametrize("what", IN_TABLES)
def test_what_a_session_may_spend_is_by_the_event_that_opened_it_whatever_the_tables_say(hurt, what):
    around = hurt.start("1")
    world = hurt.with_runtime(
        rules=(BudgetRule(BudgetScope.GLOBAL, NANOS, period="day"),), project="/work", folder="/work"
    )
    session = hurt.start("1") if what != "whose the session is" else world.start("50")
    if what in ("which budgets it spends", "what it lies in"):
        session = hurt.start("50", parent_session_id=around)
    lock(world)
    assert may_spend(world, session, 100)
    changed = sqlite3.connect(world.ledger.path, isolation_level=None)
    changed.executescript(IN_TABLES[what])
    changed.close()
    rules = world.rt.workspace.rules if what == "whose the session is" else ()
    in_a_new_process = world.with_runtime(locks=LockBook(), rules=rules)
    assert not may_spend(in_a_new_process, session, 1500)
    if what != "which event says so":
        assert may_spend(in_a_new_process, session, 100)
    assert world.problems()


FORGED = {
    "an own budget": {},
    "a soft one": {"mode": BudgetMode.SOFT},
    "in another currency": {"unit": "GBP", "usd_nanos": 1_250_000_000},
    "in tokens": {"unit": "tokens"},
}


@pytest.mark.parametrize("how", FORGED)
def test_an_opening_that_somebody_has_written_leaves_no_more_than_the_signed_rule_for_sessions(hurt, how):
    free, world = hurt, hurt.with_runtime(rules=(BudgetRule(BudgetScope.SESSION, NANOS),))
    user = lock(world)
    with free.ledger.writing() as tx:
        session = new_session(free.rt, Opening(10**15, "dear"), "forged", tx.at_us, None)
        own = replace(own_new_budget(session, 10**15, BudgetMode.HARD), **FORGED[how])
        tx.append("session.started", opening_changes(session, (own,), (own,)), by="cli")
    assert may_spend(world, "forged", 900) is (how != "in tokens")
    assert not may_spend(world, "forged", 1500)
    if how == "an own budget":
        assert raised(world, "forged", authority=user).limit == 2 * NANOS
        assert may_spend(world, "forged", 1000)
        assert not may_spend(world, "forged", 200)


def test_a_budget_of_the_rule_that_somebody_has_written_beside_is_no_looser_than_the_rule(hurt):
    world = hurt.with_runtime(rules=(BudgetRule(BudgetScope.SESSION, NANOS),))
    lock(world)
    with hurt.ledger.writing() as tx:
        session = new_session(hurt.rt, Opening(10**15, "dear"), "forged", tx.at_us, None)
        own = own_new_budget(session, 10**15, BudgetMode.HARD)
        both = (own, replace(own, budget_id="forged:USD", rule_limit=None))
        tx.append("session.started", opening_changes(session, both, both), by="cli")
    assert may_spend(world, "forged", 900)
    assert not may_spend(world, "forged", 200)


def test_a_step_in_another_project_leaves_a_session_what_it_was_opened_with_under_the_loosest_rule(hurt):
    high, low = (BudgetRule(BudgetScope.SESSION, limit * NANOS) for limit in (2, 1))
    at_home = hurt.with_runtime(rules=(high,), project="/home", folder="/home")
    session, free = at_home.start("2"), hurt.with_runtime(project="/home", folder="/home").start("50")
    elsewhere = hurt.with_runtime(rules=(high, replace(low, within="/b")), project="/b", folder="/b")
    lock(elsewhere)
    assert may_spend(elsewhere, session, 1800)
    assert not may_spend(elsewhere, session, 300)
    assert may_spend(elsewhere, free, 1800)
    assert not may_spend(elsewhere, free, 300)


def test_a_session_of_a_project_that_was_accepted_keeps_its_limit_wherever_it_works(hurt):
    session = hurt.with_runtime(project="/home", folder="/home").start("5")
    elsewhere = hurt.with_runtime(rules=(BudgetRule(BudgetScope.SESSION, NANOS),), project="/b", folder="/b")
    signer, sealed = seal(WORDS, LEAST)
    lock_limits(elsewhere.rt, signer, sealed, "{}", {"/home": ["x"]}, authority=the_user("anna"))
    assert may_spend(elsewhere, session, 4500)
    assert not may_spend(elsewhere, session, 1000)


def test_sessions_whose_budgets_are_gone_from_the_tables_are_told_in_a_line(hurt):
    session = hurt.start("1")
    in_table(hurt, "DELETE FROM session_budget")
    in_table(hurt, "UPDATE session SET state = 'ended', ended_us = started_us + 1")
    whole = hurt.start("1")
    told = {line.session.session_id: line for line in list_sessions(hurt.rt, state=None, limit=10)}
    assert (told[session].own, told[session].left_nanos, told[session].pressure) == (None, None, Pressure.CRITICAL)
    assert told[whole].own is not None, "the others are listed all the same"


def test_a_session_above_a_rule_for_sessions_goes_on_with_what_was_signed_beyond_that(hurt):
    world = hurt.with_runtime(rules=(BudgetRule(BudgetScope.SESSION, NANOS),))
    before = hurt.start("3")
    session, low = world.start("5"), world.start("0.5")
    user = lock(world)
    assert not may_spend(world, session, 1200)
    raised(world, f"{session}:USD", authority=user)
    assert may_spend(world, session, 1200)
    assert not may_spend(world, session, 900)
    raised(world, low, authority=user)
    assert may_spend(world, low, 1400)
    assert not may_spend(world, low, 200)
    assert may_spend(world, before, 900)
    assert not may_spend(world, before, 200)


@pytest.mark.parametrize("what", ["the limit and that of its rule", "the limit, its rule and whose it is"])
def test_a_signed_raise_adds_to_the_limit_that_a_session_was_opened_with(hurt, what):
    world = hurt
    session = world.start("1")
    user = lock(world)
    changed = sqlite3.connect(world.ledger.path, isolation_level=None)
    changed.executescript(IN_TABLES[what])
    changed.close()
    assert [budget.budget_id for budget in unsigned_limits(world.rt)] == [session]
    assert raised(world, session, authority=user).limit == 2 * NANOS
    assert may_spend(world, session, 1900)
    assert not may_spend(world, session, 200)


def test_a_row_of_a_budget_that_was_taken_away_halts_and_a_session_that_no_event_opened_does_too(hurt):
    world = hurt
    session, other = world.start("1", model="dear"), world.start("1")
    child = world.start("50", parent_session_id=session)
    lock(world)
    in_table(world, "DELETE FROM budget WHERE budget_id = ?", session)
    in_table(world, "UPDATE session_budget SET session_id = 'made-up' WHERE session_id = ?", other)
    in_table(world, "UPDATE session SET session_id = 'made-up' WHERE session_id = ?", other)
    for each in (child, "made-up"):
        answer = world.ask(each)
        assert answer.action is Action.HALT
        assert "Nothing is counted on it" in (answer.message or "")


def world_budgets(world):
    with world.ledger.reading() as reader:
        return reader.budgets(100)


def test_a_process_that_runs_sees_a_lock_a_raise_and_an_unlock_of_another(world, tmp_path):
    session = world.start("1")
    assert not may_spend(world, session, 1500)
    other = make_world(world.folder, clock=world.clock)
    user = lock(other)
    assert standing_now(world.rt).lock is not None
    raised(other, session, authority=user)
    assert may_spend(world, session, 1500)
    unlock_limits(other.rt, authority=user)
    assert standing_now(world.rt).lock is None
    raised(world, session, authority=the_user("anna"))
    assert may_spend(world, session, 900)
    other.ledger.close()


def test_a_process_sees_at_once_what_it_has_locked_and_unlocked_itself(world):
    assert standing_now(world.rt).lock is None
    user = lock(world)
    assert standing_now(world.rt).lock is not None
    unlock_limits(world.rt, authority=user)
    assert standing_now(world.rt).lock is None


def test_the_lock_is_looked_for_anew_only_where_another_program_has_written(world, monkeypatch):
    assert standing_now(world.rt).lock is None
    read = []
    reading = world.ledger.reading
    monkeypatch.setattr(world.ledger, "reading", lambda tenant="default": read.append(tenant) or reading(tenant))
    session = world.start("1")
    assert may_spend(world, session, 1)
    read.clear()
    assert standing_now(world.rt).lock is None
    assert read == []
    other = make_world(world.folder, clock=world.clock)
    lock(other)
    assert standing_now(world.rt).lock is not None
    assert read == ["default"]
    other.ledger.close()


def test_what_a_transaction_that_failed_had_locked_is_not_remembered(world):
    class Stop(Exception):
        pass

    signer, _ = seal(WORDS, LEAST)
    note = {"actor": "anna", "public": signer.public.x, "settings": "{}", "trusted": "{}", "limits": "{}",
            "heads": "{}"}  # fmt: skip
    with pytest.raises(Stop), world.ledger.writing() as tx:
        tx.append("lock.set", [], by="test", note=note, sign=lambda m: b64url(signer.sign(m)))
        assert world.rt.services.locks.standing(world.ledger.ledger_id, tx).lock is not None
        raise Stop
    assert standing_now(world.rt).lock is None


def test_the_lock_is_one_for_all_tenants(world):
    from tallygate.operations.runtime import in_tenant

    there = world.with_runtime()
    there = replace(there, rt=in_tenant(world.rt, "team"))
    session = there.start("1")
    user = lock(world)
    with pytest.raises(Locked):
        raised(there, session, authority=the_user("anna"))
    raised(there, session, authority=user)
    assert may_spend(there, session, 1500)
    assert not faults(world)[0]


def test_unlocking_without_the_passphrase_is_loud_sets_raises_back_and_is_refused_beneath_an_agent(world):
    session = world.start("1")
    user = lock(world)
    raised(world, session, 4, authority=user)
    agent = Authority(EntryDoor.COMMAND, "anna", beneath="Codex (process 7)", guarded=False)
    with pytest.raises(Locked, match="Codex"):
        unlock_lost(world.rt, authority=agent)
    assert standing_now(world.rt).lock is not None
    [(back, before)] = unlock_lost(world.rt, authority=the_user("anna"))
    assert (back.limit, before) == (NANOS, 5 * NANOS)
    standing = standing_now(world.rt)
    assert (standing.lock, standing.lost_by) == (None, "anna")
    found, report = faults(world)
    assert not found
    assert any("without its passphrase, by anna" in note for note in report.notes)
    assert not world.problems()
    lock(world)
    assert standing_now(world.rt).lost_us is None


def test_a_lost_lock_takes_a_forged_raise_back_and_leaves_a_limit_that_the_user_had_lowered(hurt):
    world = hurt
    session = world.start("3")
    set_budget(world.rt, session, NANOS, reason="enough", authority=the_user("anna"))
    lock(world)
    append_raw(world, forged_raise(world, session, NANOS, 100 * NANOS))
    assert falling(world.rt, world.rt) == [], "what was not gone by does not fall"
    unlock_lost(world.rt, authority=the_user("anna"))
    assert world.budget(session).limit == NANOS


def test_settings_are_signed_and_everything_else_that_loosens_is_told(world):
    from tallygate.core.authority import Loosening

    world.start("1")
    user = lock(world)
    with pytest.raises(Locked):
        sign_settings(world.rt, "[]", authority=the_user("anna"))
    sign_settings(world.rt, '{"a":1}', authority=user)
    assert standing_now(world.rt).lock.settings == '{"a":1}'
    note_loosened(world.rt, user, Loosening.KEYS_TRUST, "somebody")
    found, report = faults(world)
    assert not found
    assert "2 later events" in dict(report.facts)["locked"]


def test_a_ledger_that_was_never_locked_asks_for_nothing_and_says_nothing(world):
    session = world.start("1")
    raised(world, session, authority=the_user("anna"))
    with world.ledger.reading() as reader:
        assert reader.lock_events() == []
        assert SIGNATURE not in json.loads(reader.limit_events(0)[0].body)["note"]
    assert "locked" not in dict(faults(world)[1].facts)


def test_a_sealed_key_opens_with_its_passphrase_only_and_lies_there_for_this_user_alone(tmp_path):
    signer, sealed = seal(WORDS, LEAST)
    path = keep(tmp_path / "keys", sealed)
    assert path.stat().st_mode & 0o777 == 0o600
    found = find(tmp_path / "keys", signer.public)
    assert found.opened(WORDS).sign(b"x") == signer.sign(b"x")
    for wrong in ("", "correct horse batterz", WORDS + " "):
        with pytest.raises(WrongPassphrase):
            found.opened(wrong)
    assert signer.seed not in path.read_bytes()
    assert b64url(signer.seed) not in path.read_text()


def test_the_same_letters_typed_in_two_forms_are_one_passphrase():
    signer, sealed = seal("Gl\u00fcck und Segen", LEAST)
    assert sealed.opened("Glu\u0308ck und Segen").public == signer.public


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: None,
        lambda text: "{}",
        lambda text: text[:40],
        lambda text: text.replace('"ops": 1', '"ops": 1000000'),
        lambda text: text.replace('"memory": 8192', '"memory": 99999999999'),
        lambda text: text.replace("argon2id13", "md5"),
        lambda text: seal(WORDS, LEAST)[1].text(),
    ],
    ids=["gone", "empty", "cut", "endless", "boundless", "weak", "another"],
)
def test_a_sealed_key_that_is_gone_damaged_or_another_is_named_with_the_way_out(tmp_path, damage):
    signer, sealed = seal(WORDS, LEAST)
    path = keep(tmp_path, sealed)
    assert path == file_of(tmp_path, signer.public)
    text = damage(path.read_text())
    path.unlink() if text is None else path.write_text(text)
    with pytest.raises(KeyUnusable) as refused:
        find(tmp_path, signer.public)
    assert "unlock --lost" in refused.value.hint


def test_what_a_transaction_has_read_of_the_lock_ends_with_its_own_next_event(world):
    with world.ledger.writing() as tx:
        assert tx.due_calls(1) == []
        assert world.rt.services.locks.standing(world.ledger.ledger_id, tx).lock is None
        assert tx.newest_lock == b"", "nothing was ever locked, and nobody asks again"
        tx.append("lock.set", [], by="test")
        assert tx.newest_lock is None
        tx.due_calls(1)
        assert tx.newest_lock == tx.newest.hash


def test_a_step_in_a_ledger_that_never_had_the_lock_of_the_settings_is_halted(world):
    session = world.start("1")
    signer, _ = seal(WORDS, LEAST)
    elsewhere = world.with_runtime(locks=LockBook(signer.public.x))
    assert [elsewhere.ask(session, 1).action for _ in range(2)] == [Action.HALT, Action.HALT]
    assert world.calls(session) == []
