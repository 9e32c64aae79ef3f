from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest
from tests.world import MINUTE, NANOS, changed, make_world, the_user

from tallygate.core.costing import Tokens
from tallygate.core.errors import InvalidArgument, NotFound
from tallygate.core.model import Actor
from tallygate.core.words import ActorType
from tallygate.operations.budgets.calls import sweep
from tallygate.operations.budgets.change import raise_budget, set_budget
from tallygate.operations.gate.record import UsageReport, record_usage, void_call
from tallygate.operations.sessions.ending import close_abandoned, end_session, flush_run_log
from tallygate.operations.sessions.opening import Opening, client_slug, start_session


def lines(world):
    path = world.rt.workspace.run_log_path
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def test_a_session_id_names_client_and_day_and_cannot_be_guessed(world):
    session = world.start(client="Claude Code!")
    assert re.fullmatch(r"session_claude-code_2026-09-\d\d_[0-9a-f]{16}", session)


@pytest.mark.parametrize(
    ("client", "slug"),
    [("", "unknown"), ("../../etc", "etc"), ("a b\nc", "a-b-c"), ("X" * 99, "x" * 40), ("日本", "unknown")],
)
def test_whatever_a_client_calls_itself_its_session_id_stays_plain(client, slug):
    assert client_slug(client) == slug


def test_an_unknown_parent_is_refused(world):
    with pytest.raises(NotFound, match="session_nowhere"):
        world.start(parent_session_id="session_nowhere")
    assert world.events() == 0


def test_a_child_with_more_than_its_parent_has_left_is_told_so(world):
    parent = world.start("1")
    opened = start_session(world.rt, Opening(5 * NANOS, "dear", parent_session_id=parent))
    assert [budget.budget_id for budget in opened.tighter] == [parent]


def test_an_unknown_model_is_said_at_the_start(world):
    opened = start_session(world.rt, Opening(NANOS, "zzz-9"))
    assert "zzz-9" in opened.pricing_warning


def test_ending_closes_what_is_pending_and_answers_with_totals(world):
    session = world.start("10")
    one = world.ask(session, 100).call_id
    world.ask(session, 200)
    void_call(world.rt, world.ask(session, 300).call_id, "no")
    world.ask(session, 100_000)
    record_usage(world.rt, UsageReport(one, Tokens(fresh_input=50)))
    totals = end_session(world.rt, session, task_summary="done")
    assert (totals.total_nanos, totals.calls_made, totals.halts) == (250_000_000, 2, 1)
    assert (totals.exactness, totals.confidence) == ("partial_exact", "partial_exact")
    assert world.budget(session).reserved == 0


def test_ending_twice_changes_nothing_and_writes_no_second_line(world):
    session = world.start()
    first = end_session(world.rt, session)
    events = world.events()
    assert end_session(world.rt, session) == first
    assert world.events() == events
    assert len(lines(world)) == 1


def test_an_unknown_session_cannot_be_ended(world):
    with pytest.raises(NotFound):
        end_session(world.rt, "session_nowhere")


PREDECESSOR_FIELDS = {
    "run_id", "policy", "total_cost", "calls_made", "reroutes", "savings_usd", "records", "source", "subagent_calls",
    "subagent_spend_usd", "subagents", "overhead_usd", "overhead_calls", "net_savings_usd", "savings_confidence",
}  # fmt: skip
PREDECESSOR_RECORD_FIELDS = {
    "call_index", "model_requested", "model_used", "prompt_tokens", "completion_tokens", "cost_usd", "rerouted",
    "elapsed_ms", "stage", "prompt_complexity", "is_multi_turn", "actor_type", "actor_id", "actor_name",
    "parent_call_id", "user_id", "tenant_id", "cohort_hint",
}  # fmt: skip
PREDECESSOR_POLICY_FIELDS = {
    "budget", "budget_mode", "on_budget_exceeded", "fallback_result", "latency_sla", "reroute_threshold",
    "unknown_model_cost_per_1k_tokens", "unknown_model_pricing_mode", "stage_routing", "stage_overrides",
}  # fmt: skip


@pytest.mark.parametrize(("model", "requested"), [("dear", "dear"), ("unknown", "cheap")])
def test_a_record_names_the_model_of_its_session_so_that_switches_can_be_counted(world, model, requested):
    session = world.start("10", model=model)
    world.ask(session, 50, model="cheap")
    end_session(world.rt, session)
    [record] = lines(world)[0]["records"]
    assert (record["model_requested"], record["model_asked"], record["model_used"]) == (requested, "cheap", "cheap")
    assert record["rerouted"] is False


def test_the_run_log_line_keeps_every_field_of_its_predecessor_and_says_more(world):
    session = world.start("10", client="codex", task_summary="begin")
    call = world.ask(session, 100, actor=Actor(ActorType.SUBAGENT, "a1", "tests")).call_id
    record_usage(world.rt, UsageReport(call, Tokens(40, cache_read=100, output=10)))
    world.ask(session, 50)
    world.ask(session, 99_999, tool_name="huge")
    end_session(world.rt, session, task_summary="finish")
    (line,) = lines(world)
    assert line.keys() >= PREDECESSOR_FIELDS
    assert line["records"][0].keys() >= PREDECESSOR_RECORD_FIELDS
    assert line["policy"].keys() == PREDECESSOR_POLICY_FIELDS
    assert (line["run_id"], line["client"], line["model"]) == (session, "codex", "dear")
    assert (line["start_summary"], line["end_summary"]) == ("begin", "finish")
    assert (line["total_cost"], line["calls_made"], line["halts"]) == ("0.11", 2, 1)
    assert line["subagents"] == [{"actor_id": "a1", "actor_name": "tests", "calls_made": 1, "total_cost_usd": "0.06"}]
    first, second = line["records"]
    assert (first["cost_usd"], first["exactness_state"], first["prompt_tokens"]) == ("0.06", "exact_recorded", 140)
    assert (second["cost_usd"], second["state"], second["actual"]) == ("0.05", "expired", None)
    assert {(each["model_requested"], each["model_asked"]) for each in line["records"]} == {("dear", "dear")}
    assert line["refused"][0]["reason"] == "budget_pressure:halt"
    stopped = line["stopped"]
    assert {name: stopped[name] for name in line["refused"][0]} == line["refused"][0]
    assert (stopped["stage"], stopped["budget_id"]) == ("huge", session)
    assert "the next step may cost" in stopped["message"]
    assert line["prices"][first["estimate"]["price"]]["source"] == "override"
    with world.ledger.reading() as reader:
        assert line["ledger"] == {"id": "ab" * 16, "seq": reader.head().seq, "hash": reader.head().hash.hex()}


def test_what_another_model_saved_is_counted_from_its_own_tokens(world):
    session = world.start("10")
    call = world.ask(session, 100).call_id
    record_usage(world.rt, UsageReport(call, Tokens(100), model_used="cheap"))
    end_session(world.rt, session)
    assert lines(world)[0]["savings_usd"] == "0.09"
    assert lines(world)[0]["records"][0]["rerouted"] is True


def test_a_log_that_cannot_be_written_waits_in_the_ledger_and_blocks_nothing(world):
    blocked = world.folder / "blocked"
    blocked.write_text("a file where a folder should be")
    elsewhere = replace(world, rt=changed(world.rt, run_log_path=blocked / "runs.jsonl"))
    session = elsewhere.start()
    totals = end_session(elsewhere.rt, session)
    assert totals.session_id == session
    with world.ledger.reading() as reader:
        assert [queued.session_id for queued in reader.queued_lines(10)] == [session]
    assert len(flush_run_log(elsewhere.rt)) == 1
    blocked.unlink()
    assert flush_run_log(elsewhere.rt) == []
    assert json.loads((blocked / "runs.jsonl").read_text())["run_id"] == session
    assert flush_run_log(elsewhere.rt) == []


def test_a_line_that_reached_the_log_before_a_crash_is_not_written_again(world):
    session = world.start()
    end_session(world.rt, session)
    written = world.rt.workspace.run_log_path.read_text().strip()
    with world.ledger.writing():
        world.ledger._connection.execute("UPDATE run_log_queue SET written_us = NULL, line = ?", (written,))
    assert flush_run_log(world.rt) == []
    assert len(lines(world)) == 1


def test_summaries_are_cut_and_can_be_kept_out(world):
    session = world.start(task_summary="x" * 500)
    with world.ledger.reading() as reader:
        assert len(reader.session(session).task_summary) == 200
    private = world.with_runtime(keep_summaries=False)
    session = private.start(task_summary="secret plan")
    end_session(private.rt, session, task_summary="secret result")
    assert "secret" not in private.rt.workspace.run_log_path.read_text()


def test_an_abandoned_session_is_closed_and_logged_by_the_next_start(world):
    gone = world.with_runtime(server_id="0" * 32)
    session = gone.start()
    gone.ask(session, 100)
    assert close_abandoned(world.rt) == [], "it may only be thinking"
    world.clock.forward(61 * MINUTE)
    assert close_abandoned(world.rt) == [session]
    assert lines(world)[0]["end_cause"] == "abandoned"
    assert lines(world)[0]["total_cost"] == "0.1"


def test_a_session_whose_server_lives_is_never_abandoned(world):
    served = world.with_runtime(server_id="a" * 32)
    world.rt.services.presence.announce("a" * 32)
    session = served.start()
    world.clock.forward(600 * MINUTE)
    other = make_world(world.folder, clock=world.clock)
    assert close_abandoned(other.rt) == []
    world.rt.services.presence.leave()
    assert close_abandoned(other.rt) == [session]
    other.ledger.close()


def test_a_session_that_goes_on_in_another_server_belongs_to_it(world):
    session = world.with_runtime(server_id="1" * 32).start()
    second = world.with_runtime(server_id="2" * 32)
    second.ask(session, 1)
    with world.ledger.reading() as reader:
        assert reader.session(session).server_id == "2" * 32


def test_the_sweep_expires_everything_that_is_due(world):
    session = world.start("100")
    for _ in range(20):
        world.ask(session, 10)
    world.clock.forward(11 * MINUTE)
    assert sweep(world.rt) == 20
    assert sweep(world.rt) == 0
    assert world.budget(session).spent == 200_000_000


def test_a_limit_can_be_set_lower_than_what_is_spent(world):
    session = world.start("1")
    record_usage(world.rt, UsageReport(world.ask(session, 500).call_id, Tokens(500)))
    changed = set_budget(world.rt, session, 100_000_000, reason="enough", authority=the_user("anna"))
    assert (changed.limit, changed.overage) == (100_000_000, 400_000_000)
    assert world.ask(session, 0).action == "halt"


def test_only_an_existing_budget_can_be_raised_and_only_to_what_is_possible(world):
    with pytest.raises(NotFound, match="nowhere"):
        raise_budget(world.rt, "nowhere", NANOS, reason="r", authority=the_user("a"))
    session = world.start("1")
    with pytest.raises(InvalidArgument, match="1,000,000"):
        raise_budget(world.rt, session, 1_000_000 * NANOS, reason="r", authority=the_user("a"))


def test_who_raised_a_budget_and_why_is_in_the_journal(world):
    session = world.start("1")
    raise_budget(world.rt, session, NANOS, reason="client approved", authority=the_user("anna"))
    (body,) = next(world.ledger.rows("SELECT body FROM event ORDER BY seq DESC LIMIT 1"))
    event = json.loads(body)
    assert event["kind"] == "budget.limit_changed"
    assert event["note"] == {
        "actor": "anna",
        "reason": "client approved",
        "limit_before_nanos": NANOS,
        "door": "cli",
        "rule_nanos": NANOS,
    }
