"""`tallygate drift` from the outside: sessions, a bill that is imported, and what is said of both."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.entrypoints.cli.conftest import MODEL
from tests.transcripts import write_claude

from tallygate.core.costing import Tokens
from tallygate.operations.gate.record import UsageReport, record_usage

HEADER = "date,model,provider,input_tokens,cache_read_tokens,cache_write_tokens,output_tokens,requests,cost,currency"
TODAY = datetime.now(UTC).date().isoformat()


def used(made, *tokens, model=MODEL, **ids):
    session = made.session(100, model=model)
    for each in tokens:
        call = made.call(session, tool_name="edit", prompt=1_000, output=100)
        record_usage(made.app.runtime, UsageReport(call, each, correlation=ids))
    return session


def imported(run, *rows, header=HEADER + ",request_id,api_key", name="bill.csv"):
    Path(name).write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    result = run("import", name)
    assert result.exit_code == 0, result.output


def row(model, fresh, cached, output, cost, *, currency="USD", request="", key=""):
    provider = "openai" if model.startswith("gpt") else "anthropic"
    return f"{TODAY},{model},{provider},{fresh},{cached},0,{output},1,{cost},{currency},{request},{key}"


def buckets(found):
    return {each["bucket"]: (each["tokens"], each["recorded"], each["billed"]) for each in found["buckets"]}


def test_a_bill_that_agrees_is_matched_by_day_and_model(run, run_json, made):
    used(made, Tokens(10_000, cache_read=200_000, output=1_000))
    imported(run, row("claude-opus-4-7", 10_000, 200_000, 1_000, "0.175"))
    found = run_json("drift")
    assert buckets(found) == {"matched": (211_000, 0.175, 0.175)}
    [line] = found["lines"]
    assert (line["estimate"], line["recorded"], line["billed"]) == (0.0075, 0.175, 0.175)
    assert (line["recorded_by_estimate"], line["billed_by_recorded"]) == (23.333333, 1)
    assert [cause["cause"] for cause in line["causes"]] == ["cache_dominates"]


def test_the_model_that_a_proxy_has_billed_is_found_by_the_id_of_its_request(run, run_json, made):
    used(made, Tokens(20_000, output=1_000), callback_request_id="chatcmpl-1")
    imported(run, row("claude-sonnet-4-6", 20_000, 0, 1_000, "0.075", request="chatcmpl-1"))
    [line] = run_json("drift")["lines"]
    assert (line["model"], line["recorded"], line["billed"]) == ("claude-opus-4-7", 0.125, 0.075)
    assert [cause["cause"] for cause in line["causes"]] == ["other_model"]


def test_a_bill_in_euros_with_a_credit_is_held_against_dollars(run, run_json, made, home, monkeypatch):
    settings = home / "settings.toml"
    settings.write_text("[exchange.EUR]\nusd_per_unit = 1.25\nday = 2026-11-01\n", encoding="utf-8")
    monkeypatch.setenv("TALLYGATE_CONFIG", str(settings))
    used(made, Tokens(20_000, output=1_000))
    credit = row("", "", "", "", "-4", currency="EUR")
    imported(run, row("claude-opus-4-7", 20_000, 0, 1_000, "0.1", currency="EUR"), credit)
    found = run_json("drift")
    assert buckets(found) == {"matched": (21_000, 0.125, 0.125)}
    assert found["total"]["billed"] == -4.875
    assert "1 EUR = 1.25 USD" in found["exchange_rates"]["EUR"]
    assert "1 EUR = 1.25 USD" in run("drift").stdout


def test_what_bills_have_shown_is_applied_once_enough_was_compared(run, run_json, made):
    used(made, *[Tokens(10_000)] * 10)
    imported(run, row("claude-opus-4-7", 100_000, 0, 0, "0.425"))
    shown = run("drift")
    assert "anthropic/claude-opus-4-7 is billed at 0.85 times the recorded price on 1 day" in shown.stdout
    assert '[[discount]]\nmatch = "claude-opus-4-7"\nmultiplier = 0.85\n' in shown.stdout
    applied = run("drift", "--apply")
    assert applied.exit_code == 0, applied.output
    assert "x0.85" in applied.stderr
    assert "0.85" in run("calibrate", "show").stdout


USAGE = (
    "usage_date_utc,model_version,api_key,workspace,usage_type,context_window,usage_input_tokens_no_cache,"
    "usage_input_tokens_cache_write_5m,usage_input_tokens_cache_write_1h,usage_input_tokens_cache_read,"
    "usage_output_tokens,web_search_count,inference_geo,speed"
)
COST = (
    "usage_date_utc,model,workspace,api_key,usage_type,context_window,token_type,cost_usd,list_price_usd,cost_type,"
    "inference_geo,speed"
)
PROXY = (
    "request_id,call_type,api_key,spend,total_tokens,prompt_tokens,completion_tokens,startTime,endTime,model,"
    "custom_llm_provider,metadata,status"
)


def test_usage_and_cost_exports_of_a_console_are_one_statement_of_a_transcript(run, run_json, home):
    write_claude(home, range(12))
    assert run("sync").exit_code == 0
    imported(run, "2026-03-01,claude-opus-4-7,Gate,Default,standard,,36,240,0,12000,600,0,global,", header=USAGE)
    costs = {"input_no_cache": "0.00018", "input_cache_read": "0.006", "input_cache_write_5m": "0.0015"}
    rows = [
        f"2026-03-01,Claude Opus 4.7,Default,Gate,message,,{kind},{cost},{cost},token,global,"
        for kind, cost in {**costs, "output": "0.012"}.items()
    ]
    imported(run, *rows, header=COST, name="cost.csv")
    found = run_json("drift")
    assert buckets(found) == {"matched": (12_276, 0.00768, 0.00768), "price_drift": (600, 0.015, 0.012)}
    [line] = found["lines"]
    assert (line["session_id"], line["client"], line["billed"]) == (None, "claude-code", 0.01968)


def test_the_requests_of_a_proxy_are_found_in_a_transcript(run, run_json, home):
    write_claude(home, range(3))
    assert run("sync").exit_code == 0
    cached = '"{""additional_usage_values"": {""cache_read_input_tokens"": 1000, ""cache_creation_input_tokens"": 20}}"'
    rows = [
        f"req_s1_{number},acompletion,k,0.00189,1073,1023,50,2026-02-28 23:59:59,2026-03-01 00:00:01,"
        f"claude-opus-4-7,anthropic,{cached},success"
        for number in range(2)
    ]
    imported(run, *rows, header=PROXY)
    found = run_json("drift")
    assert {name: tokens for name, (tokens, *_) in buckets(found).items()} == {"matched": 2 * 1_073}
    assert [gap["reason"] for gap in found["not_compared"]] == ["no_bill"]


def test_without_a_bill_the_review_says_so(run, made):
    used(made, Tokens(20_000))
    told = run("drift").stdout
    assert "No bill covers any of it" in told
    assert "BILLED" not in told


def test_without_anything_there_is_nothing_to_review(run):
    assert run("drift").stdout == "Nothing was used or billed.\n"


@pytest.mark.parametrize(
    ("arguments", "lines"),
    [(("--since", "2d"), 2), (("--model", "opus"), 1), (("--until", "2026-01-01"), 0), (("--limit", "1"), 1)],
)
def test_a_review_is_narrowed(run_json, made, arguments, lines):
    used(made, Tokens(20_000))
    used(made, Tokens(20_000), model="gpt-5.5")
    assert len(run_json("drift", *arguments)["lines"]) == lines


def test_a_session_is_reviewed_by_the_end_of_its_id(run, run_json, made):
    wanted = used(made, Tokens(20_000))
    used(made, Tokens(10_000))
    found = run_json("drift", "--session", wanted[-8:])
    assert [line["session_id"] for line in found["lines"]] == [wanted]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("--key", "ci"), 2, "No line of a bill is under the key 'ci'"),
        (("--session", "nothing-like-it"), 3, "nothing-like-it"),
        (("--since", "tomorrow"), 2, "is no moment"),
        (("--limit", "0"), 2, "limit"),
    ],
)
def test_what_cannot_be_reviewed_is_refused_in_one_line(run, made, arguments, code, said):
    used(made, Tokens(20_000))
    refused = run("drift", *arguments)
    assert refused.exit_code == code
    assert said in refused.stderr


def test_what_belongs_to_no_session_stands_under_its_client(run, made, home):
    session_id = used(made, Tokens(1_000, output=100))
    write_claude(home, [1], at=datetime.now(UTC))
    head, *rows = run("drift").stdout.partition("\n\n")[0].splitlines()[1:]
    assert head.split()[0] == "WHOSE"
    assert {row.split()[0] for row in rows} == {"claude-code", session_id[-8:], "total"}


def test_tables_fit_a_hundred_columns_and_nothing_raw_reaches_the_terminal(run, made):
    used(made, Tokens(90_000_000, output=9_000_000), model="evil\x1b[31m" + "m" * 150)
    used(made, Tokens(90_000_000, output=9_000_000))
    imported(run, row("claude-opus-4-7", 90_000_000, 0, 9_000_000, "675.55", key="k"), row("gpt-5.5", 5, 0, 5, "1"))
    told = run("drift").stdout
    assert "\x1b" not in told
    table = told.partition("\n\n")[0].splitlines()
    assert max(map(len, table)) <= 100


def test_the_guide_has_every_bucket_cause_and_reason():
    from tallygate.core.bills.lines import Bucket, Gap
    from tallygate.core.bills.review import BillCause

    guide = (Path(__file__).resolve().parents[3] / "docs" / "guides" / "drift-review.md").read_text(encoding="utf-8")
    for word in (*BillCause, *Gap, *(bucket for bucket in Bucket if bucket is not Bucket.UNCOMPARED)):
        assert f"`{word.value}` |" in guide, word


def test_the_document_is_plain_json(run, made):
    used(made, Tokens(20_000))
    found = json.loads(run("drift", "--json").stdout)
    assert [*found] == [
        "since", "until", "time_zone", "currency", "bills", "exchange_rates", "lines", "hidden_lines", "total",
        "causes", "buckets", "tolerance", "priced_by_list", "not_compared", "calibration", "settings_to_add",
        "unread", "anomalies", "odd_reports",
    ]  # fmt: skip


def test_a_bill_without_any_record_is_shown_and_not_compared(run):
    imported(run, row("claude-opus-4-7", 20_000, 0, 1_000, "0.125"))
    told = run("drift")
    assert told.exit_code == 0
    assert told.stdout.startswith(f"Review of {TODAY} to {TODAY}")
    assert "billed before or after anything that was recorded here" in told.stdout


def test_a_bill_that_names_no_model_is_not_compared(run):
    imported(run, f"{TODAY},5.00", header="date,cost")
    assert "lines of bills that name no model" in run("drift").stdout
