"""`tallygate usage`: the user's own history by time, session, project, model and client."""

from __future__ import annotations

import csv
import io
import os
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from tests.repositories import repository, worktree
from tests.transcripts import COUNTS, DAY, MODEL, PROJECT, write_all, write_claude
from tests.world import changed

from tallygate.core.costing import Tokens
from tallygate.operations.gate.record import UsageReport, record_usage

EVERYTHING = sum(COUNTS.values())


@pytest.fixture
def days(home):
    """Three days of March 2026: 2, 3 and 1 responses, the last one partial."""
    write_claude(home, [1, 2], "a")
    write_claude(home, [1, 2, 3], "b", at=DAY + timedelta(days=1))
    write_claude(home, [1], "c", at=DAY + timedelta(days=2), stop_reason=None, cwd="/home/me/project/below")
    return home


def test_the_first_use_shows_the_users_own_history(run_json, home):
    write_all(home)
    found = run_json("usage")
    assert (found["by"], found["total"]["responses"]) == ("day", EVERYTHING)
    assert [line["day"] for line in found["lines"]] == sorted(line["day"] for line in found["lines"])


def test_without_transcripts_there_is_no_usage(run, run_json):
    shown = run("usage").stdout
    assert shown.startswith("No usage.\nLooked for what Claude Code, Codex,")
    assert shown.endswith("found nothing. `tallygate init` sets them up.\n")
    assert run_json("usage")["lines"] == []


def test_a_table_has_tokens_by_class_cost_and_the_share_of_partial_responses(run, days):
    head, *rows, total = run("usage").stdout.splitlines()
    titles = [title.strip() for title in head.split("  ") if title]
    assert titles == ["DAY (UTC)", "RESP", "INPUT", "CACHE READ", "CACHE WRITE", "OUTPUT", "COST", "NOT FINAL"]
    assert [row.split()[0] for row in rows] == ["2026-03-01", "2026-03-02", "2026-03-03"]
    assert rows[0].split()[1:6] == ["2", "6", "2,000", "40", "100"]
    assert [" ".join(row.split()[7:]) for row in [*rows, total]] == ["-", "-", "100 %", "16 %"]
    assert total.split()[:2] == ["total", "6"]


def test_amounts_stand_with_their_points_below_one_another(run, days):
    head, *rows = run("usage").stdout.splitlines()
    assert len({row[: head.index("COST") + 4].rindex(".") for row in rows}) == 1


# Each key, and the responses of its lines in their order.
@pytest.mark.parametrize(
    ("by", "expected"),
    [
        ("day", {"2026-03-01": 2, "2026-03-02": 3, "2026-03-03": 1}),
        ("week", {"2026-W09": 2, "2026-W10": 4}),
        ("month", {"2026-03": 6}),
        ("session", {"c": 1, "b": 3, "a": 2}),
        ("project", {PROJECT: 5, f"{PROJECT}/below": 1}),
        ("model", {MODEL: 6}),
        ("folder", {PROJECT: 5, f"{PROJECT}/below": 1}),
        ("client", {"claude-code": 6}),
    ],
)
def test_usage_is_listed_by(run_json, days, by, expected):
    found = run_json("usage", "--by", by)
    assert {line[by]: line["responses"] for line in found["lines"]} == expected
    assert [line[by] for line in found["lines"]] == [*expected]
    assert found["total"]["responses"] == 6
    assert sum(line["cost"] for line in found["lines"]) == pytest.approx(found["total"]["cost"])


@pytest.mark.parametrize(
    ("arguments", "responses"),
    [
        (["--since", "2026-03-02"], 4),
        (["--until", "2026-03-02"], 5),
        (["--since", "2026-03-02", "--until", "2026-03-02"], 3),
        (["--since", "2026-03-01T10:00:02"], 5),
        (["--since", "2026-03-02T12:00+02:00"], 4),
        (["--since", "2w"], 0),
        (["--project", PROJECT], 6),
        (["--project", "project"], 5),
        (["--project", "below"], 1),
        (["--project", "elow"], 0),
        (["--project", f"{PROJECT}/below/"], 1),
        (["--project", "%"], 0),
        (["--model", "OPUS"], 6),
        (["--model", "o_us"], 0),
        (["--client", "codex"], 0),
        (["--client", "codex", "--client", "claude_code"], 6),
        (["--client", "claude-code"], 6),
        (["--client", "Claude Code"], 6),
        (["--project", "/home/m*/project"], 6),
        (["--model", "opus"], 6),
        (["--model", "openrouter/anthropic/claude-opus-4.7"], 6),
        (["--model", "claude-opus-4-8"], 0),
    ],
)
def test_usage_is_narrowed_by(run_json, days, arguments, responses):
    assert run_json("usage", *arguments)["total"]["responses"] == responses


def test_days_are_those_of_the_users_time_zone(run_json, home, monkeypatch):
    write_claude(home, [1], at=datetime(2026, 3, 1, 23, 30, tzinfo=UTC))
    monkeypatch.setenv("TALLYGATE_TIME_ZONE", "Asia/Tokyo")
    found = run_json("usage")
    assert (found["time_zone"], [line["day"] for line in found["lines"]]) == ("Asia/Tokyo", ["2026-03-02"])
    assert run_json("usage", "--since", "2026-03-02")["total"]["responses"] == 1
    assert run_json("usage", "--until", "2026-03-01")["total"]["responses"] == 0


def test_a_breakdown_has_every_line_by_model(run, run_json, home):
    write_all(home)
    (line,) = run_json("usage", "--by", "month", "--breakdown")["lines"]
    assert len(line["models"]) == 6
    assert sum(model["responses"] for model in line["models"]) == line["responses"]
    shown = run("usage", "--by", "month", "--breakdown").stdout
    assert shown.count(MODEL) == 2


def sheet_of(run, *arguments):
    written = run("usage", "--csv", *arguments).stdout_bytes.decode()
    assert written.count("\r\n") == written.count("\n"), "lines end as RFC 4180 has them"
    return list(csv.DictReader(io.StringIO(written, newline="")))


@pytest.mark.parametrize("by", ["day", "session", "model", "project", "client"])
def test_a_sheet_says_what_json_says_to_the_last_digit(run, run_json, days, by):
    found = run_json("usage", "--by", by)["lines"]
    rows = sheet_of(run, "--by", by)
    assert len(rows) == len(found)
    for row, line in zip(rows, found, strict=True):
        for name, told in row.items():
            if name.endswith("_usd"):
                assert Decimal(told) == pytest.approx(
                    Decimal(str(line[name.removesuffix("_usd")])), abs=Decimal("0.000001")
                )
            elif name != "own_currency":
                assert told == str(line[name]), name


def test_a_sheet_with_models_adds_up_to_the_same(run, run_json, home):
    write_all(home)
    write_claude(home, [70], "z", model="claude-haiku-4-5")
    rows = sheet_of(run, "--by", "client", "--breakdown")
    assert len(rows) > len({row["client"] for row in rows})
    found = run_json("usage")["total"]
    assert sum(int(row["total_tokens"]) for row in rows) == found["total_tokens"]
    assert sum(Decimal(row["cost_usd"]) for row in rows) == pytest.approx(
        Decimal(str(found["cost"])), abs=Decimal("0.000001")
    )


def test_a_sheet_holds_every_line_and_cells_do_not_act(run, home):
    for number in range(101):
        write_claude(home, [number], f"{number:04d}-of-a-long-session-id", cwd=f"=cmd|'/C calc'!A{number}")
    rows = sheet_of(run, "--by", "session")
    assert {row["session"] for row in rows} == {f"{number:04d}-of-a-long-session-id" for number in range(101)}
    assert len(sheet_of(run, "--by", "session", "--limit", "3")) == 3
    assert {row["folder"][:2] for row in sheet_of(run, "--by", "folder")} == {"'="}


def test_a_sheet_without_usage_is_a_header_and_one_form_is_asked_for(run):
    head, rest = run("usage", "--csv").stdout_bytes.decode().split("\r\n")
    assert (head.split(",")[0], rest) == ("day", "")
    assert run("usage", "--csv", "--json").exit_code == 2


def test_where_nothing_was_used_the_last_time_is_named(run, run_json, days):
    assert run("usage", "--since", "2026-04-01").stdout == "No such usage.\nThe last was on 2026-03-03 10:00.\n"
    other = run("usage", "--since", "2026-04-01", "--model", "gpt").stdout
    assert other == "No such usage.\n`tallygate usage` shows all there is.\n"
    assert run_json("usage", "--since", "2026-04-01")["lines"] == []


def test_what_is_shown_of_lines_adds_up_to_what_is_shown_of_their_total(run, home):
    for number in range(7):
        write_claude(home, [number], f"s{number}", at=DAY + timedelta(days=number), output=7_350)
    _, *rows, total = run("usage").stdout.splitlines()
    costs = [Decimal(row.split()[6].lstrip("$")) for row in [*rows, total]]
    assert (sum(costs[:-1]), len(costs)) == (costs[-1], 8)
    assert sum(round(each, 2) for each in [Decimal(line["cost_usd"]) for line in sheet_of(run)]) != costs[-1]


def test_each_day_is_listed_by_another_key_with_a_period(run, run_json, days):
    found = run_json("usage", "--by", "session", "--period", "week")
    assert [(line["period"], line["session"]) for line in found["lines"]] == [
        ("2026-W09", "a"), ("2026-W10", "c"), ("2026-W10", "b"),
    ]  # fmt: skip
    assert (found["period"], found["total"]["sessions"]) == ("week", 3)


def test_ids_of_sessions_are_as_short_as_tells_them_apart(run, home):
    ids = ["019d7dbf-0000-7000-8000-000000000001", "019d7dbf-1111-7000-8000-000000000002", "ee5c333e-2222-4000"]
    for number, name in enumerate(ids):
        write_claude(home, [number], name)
    rows = run("usage", "--by", "session").stdout.splitlines()[1:-1]
    assert {row.split()[1] for row in rows} == {"019d7dbf-0", "019d7dbf-1", "ee5c333e-2"}


def test_of_days_the_last_are_shown_and_the_total_has_all(run, run_json, days):
    found = run_json("usage", "--limit", "1")
    assert ([line["day"] for line in found["lines"]], found["hidden_lines"]) == (["2026-03-03"], 2)
    assert found["total"]["responses"] == 6
    assert "2 more lines" in run("usage", "--limit", "1").stderr


def test_of_sessions_the_latest_are_shown(run_json, days):
    assert [line["session"] for line in run_json("usage", "--by", "session", "--limit", "1")["lines"]] == ["c"]


def test_a_price_that_is_assumed_is_marked_and_said(run, run_json, home):
    write_claude(home, [1])
    write_claude(home, [2], "x", model="no-such-model-9")
    shown = run("usage", "--by", "model")
    assert [row.split()[-1] for row in shown.stdout.splitlines()] == ["PRICE", "assumed", "-", "assumed"]
    assert "No price is known, so one is assumed, for no-such-model-9" in shown.stderr
    found = run_json("usage")["total"]
    assert 0 < found["assumed_cost"] < found["cost"]
    assert found["known_cost"] + found["assumed_cost"] == pytest.approx(found["cost"])
    assert found["assumed_responses"] == 1


def test_a_price_taken_from_a_relative_is_marked_and_said(run, run_json, home):
    write_claude(home, [1])
    write_claude(home, [2], "x", model="claude-sonnet-9")
    shown = run("usage", "--by", "model")
    assert sorted(row.split()[-1] for row in shown.stdout.splitlines()) == ["-", "PRICE", "approximate", "approximate"]
    assert "approximate." in shown.stderr
    assert "claude-sonnet-9" in shown.stderr
    found = run_json("usage")["total"]
    assert (found["approximate_responses"], found["assumed_cost"]) == (1, 0)


def test_missing_output_is_said_and_never_mixed_in(run, run_json, home):
    write_claude(home, [1], output=2, stop_reason=None, content=[{"type": "text", "text": "x" * 2_400}])
    found = run_json("usage")["total"]
    assert found["output_tokens"] == 2
    assert found["missing_output_tokens"] > 900
    assert "100 % of the responses have no final count" in run("usage").stderr


def test_usage_reads_what_is_new_first_unless_it_is_told_not_to(run_json, home):
    write_claude(home, [1])
    assert run_json("usage", "--no-sync")["total"]["responses"] == 0
    assert run_json("usage")["total"]["responses"] == 1
    write_claude(home, [2])
    assert run_json("usage", "--no-sync")["total"]["responses"] == 1
    assert run_json("usage")["total"]["responses"] == 2


def test_a_ledger_that_another_program_writes_to_is_shown_as_it_is(run, run_json, home, monkeypatch, made):
    write_claude(home, [1])
    run_json("sync")
    write_claude(home, [2])
    monkeypatch.setenv("TALLYGATE_LOCK_TIMEOUT_MS", "100")
    with made.app.ledger.writing():
        done = run("usage")
    assert "the ledger is in use" in done.stderr
    assert done.stdout.splitlines()[-1].split()[:2] == ["total", "1"]


def test_names_from_transcripts_cannot_act_on_the_terminal(run, home):
    write_claude(home, [1], cwd="/home/me/\u202eevil", model="m\x1b[31m")
    for by in ("project", "model", "session"):
        done = run("usage", "--by", by)
        assert "\x1b" not in done.output
        assert "\u202e" not in done.output


def test_times_at_the_ends_of_the_calendar_are_listed(run_json, run, home, monkeypatch):
    monkeypatch.setenv("TALLYGATE_TIME_ZONE", "Pacific/Kiritimati")
    write_claude(home, [1], at=datetime(9999, 12, 31, 23, 59, tzinfo=UTC))
    write_claude(home, [2], at=datetime(1, 1, 1, tzinfo=UTC))
    found = run_json("usage")
    assert [line["day"] for line in found["lines"]] == ["before 1971", "after 2199"]
    assert run("usage", "--by", "session").exit_code == 0


def test_a_session_is_shown_with_what_was_used_and_why_it_differs(run, run_json, made, home):
    made.app = replace(made.app, runtime=changed(made.app.runtime, project=PROJECT))
    session_id = made.session(10)
    made.call(session_id, prompt=100, output=10, tool_name="edit")
    now = datetime.now(UTC) + timedelta(seconds=1)
    write_claude(home, [1], at=now, model="claude-sonnet-4-6")
    write_claude(home, [2], at=now, agentId="a1")
    run_json("sync")
    found = run_json("sessions", "show", session_id)
    assert found["observed"]["responses"] == 2
    assert found["observed"]["incomplete_responses"] == 0
    assert {cause["cause"] for cause in found["drift"]} == {"other_model", "cache", "subagents"}
    amounts = [abs(cause["amount"]) for cause in found["drift"]]
    assert amounts == sorted(amounts, reverse=True)
    shown = run("sessions", "show", session_id).stdout
    assert "Used, by the client's own record" in shown
    assert "Why it is not what was estimated" in shown
    assert "claude-opus-4.7 was named, claude-sonnet-4-6 answered once" in shown


def test_a_session_without_a_transcript_shows_none_of_it(run, run_json, made):
    session_id = made.worked()
    found = run_json("sessions", "show", session_id)
    assert (found["observed"], found["drift"]) == (None, [])
    assert "Used, by" not in run("sessions", "show", session_id).stdout


def test_a_project_that_is_gone_from_disk_with_its_repository_is_said_to_be(run, home, tmp_path):
    repository(shop := tmp_path / "shop")
    write_claude(home, [1], "s1", cwd=str(shop / "gone"))
    write_claude(home, [1], "s2", cwd=str(tmp_path / "blog" / "src"))
    told = run("usage", "--by", "project").stderr
    where = tmp_path / "blog" / "src"
    assert f"gone from disk is {where}: whichever repository that was in, it stands by its own path." in told
    assert "gone from disk" not in run("usage", "--by", "folder").stderr
    write_claude(home, [1], "s3", cwd=str(tmp_path / "wiki"))
    assert "gone from disk are " in run("usage", "--by", "project").stderr


def test_the_guide_has_every_column_and_cause():
    from tallygate.core.bills.causes import CauseKind

    guide = (Path(__file__).resolve().parents[3] / "docs" / "guides" / "usage.md").read_text(encoding="utf-8")
    for column in ("RESP", "INPUT", "CACHE READ", "CACHE WRITE", "OUTPUT", "COST", "NOT FINAL", "PRICE"):
        assert f"| {column} |" in guide
    for kind in CauseKind:
        assert f"| `{kind.value}` |" in guide


@pytest.fixture
def damaged(home):
    path = write_claude(home, [1, 2])
    with path.open("ab") as out:
        out.write(b'{"parentUuid":null,"message":{"model":"claude-opus-4-7","id":"msg_01\n')
    return home


def test_what_could_not_be_read_is_told_wherever_totals_are_and_not_only_once(run, run_json, damaged):
    for command in ("usage", "usage", "status", "drift", "doctor", "sync"):
        done = run(command)
        assert "1 record in 1 file could not be read (1 no JSON)" in done.stdout + done.stderr, command
    unread = run_json("usage")["unread"]
    assert (unread["records"], unread["files"], unread["could_not_be_read"]) == (1, 1, {"bad_json": 1})
    # As much as the other responses of its session cost on average.
    assert unread["estimated_cost"] == pytest.approx(run_json("usage")["total"]["cost"] / 2)
    for command in ("status", "drift", "sync"):
        assert run_json(command)["unread"]["records"] == 1
    assert run_json("usage", "--client", "codex")["unread"]["records"] == 0


def test_a_file_that_was_mended_is_told_no_more(run_json, damaged):
    assert run_json("usage")["unread"]["records"] == 1
    path = write_claude(damaged, [])
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:2]))
    assert run_json("usage")["unread"]["records"] == 0


def test_a_line_that_takes_away_is_named_and_the_user_alone_lowers(run, run_json, home):
    write_claude(home, [1])
    run("sync")
    cost = run_json("usage")["total"]["cost"]
    nothing = {"input_tokens": 0, "cache_read_input_tokens": 0, "cache_creation_input_tokens": 0}
    write_claude(home, [1], model="ollama/foo", output=51, usage=nothing)
    found = run_json("usage")
    assert found["total"]["cost"] >= cost
    assert found["anomalies"] == 2
    assert "told of again with less" in run("usage").stderr
    listed = run_json("usage", "anomalies")["anomalies"]
    assert [each["kind"] for each in listed] == ["lower", "other_model"]
    assert "told of again" in run("usage", "anomalies").stdout
    assert "told of again" in run("doctor").stdout
    assert "told of again" in run("verify").stdout
    key = listed[0]["response"]
    assert run("usage", "correct", key, "--nothing").exit_code == 2
    done = run_json("usage", "correct", key, "--nothing", "--reason", "it never ran")
    assert (done["cost"], done["reason"]) == (0, "it never ran")
    assert run_json("usage")["total"]["cost"] == 0
    assert run("usage", "correct", key, "--reason", "so").exit_code == 2


def test_without_anomalies_there_are_none(run, run_json, home):
    assert run("usage", "anomalies").stdout == "Nothing was told that differs from what was counted.\n"
    assert run_json("usage", "anomalies") == {"anomalies": [], "count": 0, "reports": [], "report_count": 0}


def test_an_agents_odd_reports_are_listed_named_by_doctor_and_shown_with_their_session(run, run_json, made):
    session = made.session()
    call = made.call(session, tool_name="plan")
    record_usage(made.app.runtime, UsageReport(call, Tokens()))
    found = run_json("usage", "anomalies")
    (odd,) = found["reports"]
    assert (odd["session_id"], odd["call_id"], odd["kind"], found["report_count"]) == (session, call, "far_below", 1)
    assert "far below what it asked for" in run("usage", "anomalies").stdout
    assert "Odd in what the agent reported" in run("sessions", "show", session).stdout
    shown = run_json("sessions", "show", session, "--calls")
    assert (shown["usage_basis"], shown["anomalies"][0]["call_id"]) == ("reported", call)
    assert "1 report of agents on their own calls is odd" in run("status").stderr
    checks = {each["check"]: each for each in run_json("doctor")["checks"]}
    assert checks["booked"]["state"] == "warn"
    assert call in checks["booked"]["found"]


@pytest.fixture
def shop(home, tmp_path):
    """One response each in a repository, a subfolder, a link to it, a worktree elsewhere, and a repository inside."""
    shop = repository(Path(os.path.realpath(tmp_path)) / "work" / "shop")
    (shop / "api").mkdir()
    (tmp_path / "link").symlink_to(shop / "api")
    outside, inner = worktree(shop, tmp_path / "trees" / "shop-a09dee1e"), repository(shop / "lib")
    for number, folder in enumerate((shop, shop / "api", tmp_path / "link", outside, inner), 1):
        write_claude(home, [number], f"s{number}", cwd=str(folder))
    return shop


def test_a_project_is_its_repository_with_subfolders_links_and_worktrees(run_json, shop):
    found = run_json("usage", "--by", "project")
    assert {line["project"]: line["responses"] for line in found["lines"]} == {str(shop): 4, str(shop / "lib"): 1}
    assert len(run_json("usage", "--by", "folder")["lines"]) == 5


@pytest.mark.parametrize("named", ["shop", "work/shop", "{shop}", "{shop}/", "w*k/shop", "{shop}/../shop"])
def test_the_project_that_is_asked_for_is_the_one_that_is_listed(run_json, shop, named):
    assert run_json("usage", "--project", named.format(shop=shop))["total"]["responses"] == 5, "with what lies inside"


def test_a_worktree_that_was_removed_from_inside_its_repository_still_counts_there(run_json, home, tmp_path):
    shop = repository(Path(os.path.realpath(tmp_path)) / "shop")
    write_claude(home, [1], "s1", cwd=str(shop / ".claude" / "worktrees" / "gone"))
    write_claude(home, [1], "s2", cwd=str(tmp_path / "gone" / "far"))
    found = run_json("usage", "--by", "project")
    assert {line["project"] for line in found["lines"]} == {str(shop), str(tmp_path / "gone" / "far")}


def test_a_model_is_one_line_in_all_its_spellings(run_json, home):
    for number, model in enumerate(
        ("claude-opus-4-7", "us.anthropic.claude-opus-4-7-v1:0", "claude-opus-4.7", "claude-opus-4-7-20260416",
         "claude-opus-4-8", "qwen/qwen3-coder", "qwen/qwen3-coder:free", "My-Model"), 1
    ):  # fmt: skip
        write_claude(home, [number], f"s{number}", model=model)
    found = run_json("usage", "--by", "model")
    assert {line["model"]: line["responses"] for line in found["lines"]} == {
        "claude-opus-4-7": 4, "claude-opus-4-8": 1, "qwen3-coder": 1, "qwen3-coder:free": 1, "My-Model": 1,
    }  # fmt: skip
    assert run_json("usage", "--model", "claude-opus-4-7")["total"]["responses"] == 4


def test_what_was_seen_where_a_variable_named_another_place_goes_on_counting(run_json, home, tmp_path, monkeypatch):
    """Before there is a ledger as with one: a look from another terminal takes nothing away."""
    write_claude(home, [1, 2], "a")
    (tmp_path / "other").mkdir()
    (home / ".claude" / "projects").rename(tmp_path / "other" / "projects")
    monkeypatch.setenv("CLAUDE_CONFIG_DIR", str(tmp_path / "other"))
    before = run_json("usage")["total"]
    monkeypatch.delenv("CLAUDE_CONFIG_DIR")
    assert run_json("usage")["total"] == before
    assert before["responses"] == 2
