"""What each format makes of the bills that providers give out, and of what nobody gives out."""

from __future__ import annotations

import csv
import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.docs.pages import ROOT, blocks
from tests.statements.samples import EMPTY, FILES, expected, told

from tallygate.core.errors import InvalidArgument
from tallygate.core.statements import BillLine, Grain
from tallygate.statements.files import FORMATS, read_bill
from tallygate.statements.formats import generic, litellm
from tallygate.statements.reading import cells
from tallygate.statements.reading.cells import BadRow

BY_NAME = {form.name: form for form in FORMATS}
EXPECTED = expected()


def rows_of(path):
    """A file as its format gets it: rows by the names of the header, lower-cased."""
    if path.suffix == ".csv":
        with path.open(encoding="utf-8-sig", newline="") as file:
            return [{name.strip().lower(): cell for name, cell in row.items()} for row in csv.DictReader(file)]
    found = json.loads(path.read_text(), parse_int=str, parse_float=str)
    objects = found
    if isinstance(found, dict) and "data" in found:
        objects = found["data"]
    elif isinstance(found, dict):
        objects = [found | each for each in found.pop("usageItems")]
    flat = []
    for each in objects:
        row = {}
        for name, value in each.items():
            inner = {f"{name}.{key}": deep for key, deep in value.items()} if isinstance(value, dict) else {name: value}
            row |= {
                key.lower(): "" if v is None else v if isinstance(v, str) else json.dumps(v) for key, v in inner.items()
            }
        flat.append(row)
    return flat


ROWS = {path.name: rows_of(path) for path in [*FILES, EMPTY]}
HEADERS = {name: tuple(rows[0]) for name, rows in ROWS.items()}


def form_of(name):
    return BY_NAME[EXPECTED[name][0]]


def read(form, row, number=2):
    return list(BY_NAME[form].read((number, row)))


def versions(name, place, changes):
    """The line of a row, and that of the row with other cells."""
    return [next(form_of(name).read((2, row))) for row in (ROWS[name][place], changed(name, place, **changes))]


def changed(name, place=0, **cells_):
    """A row of a sample with other cells; underscores stand for spaces where the header has them."""
    row = dict(ROWS[name][place])
    for column, value in cells_.items():
        row[column if column in row else column.replace("_", " ")] = value
    return row


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_bill_is_recognised_and_every_line_is_what_its_rows_say(path):
    statement = read_bill(path, FORMATS)
    assert (statement.form.name, [told(line) for line in statement.lines]) == EXPECTED[path.name]


def test_every_format_has_a_sample():
    assert {form for form, _ in EXPECTED.values()} == set(BY_NAME)
    assert {path.name for path in FILES} == set(EXPECTED)


@pytest.mark.parametrize("name", HEADERS)
def test_a_header_is_recognised_by_one_format_whatever_the_order_of_its_columns(name):
    for header in (HEADERS[name], HEADERS[name][::-1]):
        found = [form.name for form in FORMATS if form.recognises(header)]
        assert found == [EXPECTED[name][0] if name in EXPECTED else "openai_usage"]
        assert BY_NAME[found[0]].lacks(header) == ()


@pytest.mark.parametrize("name", [name for name in EXPECTED if not name.startswith("generic")])
def test_a_column_that_comes_later_changes_nothing(name):
    header = (*HEADERS[name], "a column of next year")
    assert [form.name for form in FORMATS if form.recognises(header)] == [EXPECTED[name][0]]
    rows = [{**row, "a column of next year": "\x1b[31m"} for row in ROWS[name]]
    lines = [told(line) for row in rows for line in form_of(name).read((2, row))]
    assert [line.split(" ", 1)[1] for line in lines] == [line.split(" ", 1)[1] for line in EXPECTED[name][1]]


@pytest.mark.parametrize(
    "header",
    [
        "",
        "date",
        "date,description,amount",
        "date,description,cost",  # an account's statement
        "date,model,imput_tokens,cost",  # a misspelt column is not lost in silence
        "model,request count,input (w/ cache write),input (w/o cache write),cache read,output tokens,cost ($)",
        "user_id,start_time_iso,end_time_iso,model,api_key_name,api_key,type,price,amount",
        "start_time,end_time,model,tokens,cost",
        "date,product,sku,quantity,unit_type",
        "date,total cost,total tokens,requests",
        "id,object,created,model,usage.prompt_tokens,usage.completion_tokens",
    ],
)
def test_what_is_no_bill_is_recognised_by_nobody(header):
    assert [form.name for form in FORMATS if form.recognises(header.split(","))] == []


@pytest.mark.parametrize(
    "form, header, missing",
    [
        ("anthropic_usage", "usage_date_utc,usage_output_tokens", ("model_version", "usage_input_tokens_no_cache")),
        ("anthropic_cost", "usage_date_utc,model,cost_usd", ("token_type",)),
        ("openai_usage", "start_time,end_time,model,input_tokens", ("num_model_requests",)),
        ("openai_costs", "start_time,end_time,start_time_iso,end_time_iso", ("amount_value", "amount_currency")),
        ("openrouter_activity", "generation_id,created_at,model_permaslug", ("cost_total",)),
        ("openrouter_days", "date,slug,usage,prompt tokens", ("completion tokens",)),
        ("cursor", "date,model,cost", ("input (w/ cache write)", "input (w/o cache write)")),
        ("litellm", "request_id,spend,starttime", ("prompt_tokens", "completion_tokens")),
        ("copilot", "date,sku,quantity,unit_type,gross_amount", ("net_amount",)),
        ("copilot_requests", "timestamp,user,model", ("requests used", "exceeds monthly quota")),
        ("generic", "date,model", ("cost",)),
        ("generic", "model,cost", ("date",)),
    ],
)
def test_a_forced_format_names_the_columns_it_lacks(form, header, missing):
    assert BY_NAME[form].lacks(header.split(",")) == missing


def test_a_forced_generic_table_may_have_columns_of_its_own():
    assert not BY_NAME["generic"].recognises(["date", "cost", "note"])
    assert BY_NAME["generic"].lacks(["date", "cost", "note"]) == ()
    [line] = read("generic", {"date": "2026-03-01", "cost": "1", "note": "lunch"})
    assert line.cost_nanos == 10**9


@pytest.mark.parametrize("form", BY_NAME)
def test_a_row_without_its_columns_is_refused_and_not_guessed(form):
    with pytest.raises(BadRow, match="there is no column"):
        read(form, {"something else": "1"})


@pytest.mark.parametrize("name", HEADERS)
def test_empty_rows_and_totals_bill_nothing(name):
    form = BY_NAME[EXPECTED[name][0] if name in EXPECTED else "openai_usage"]
    first = HEADERS[name][0]
    assert list(form.read((2, dict.fromkeys(HEADERS[name], " ")))) == []
    assert list(form.read((2, {**ROWS[name][-1], first: "Total"}))) == []


def test_a_usage_export_without_use_says_so():
    with pytest.raises(InvalidArgument, match="holds no line that counts"):
        read_bill(EMPTY, FORMATS)


def test_the_guide_has_every_format_and_a_table_that_can_be_imported(tmp_path):
    page = ROOT / "docs" / "guides" / "bill-formats.md"
    listed = re.findall(r"^\| `(\w+)` \|", page.read_text(encoding="utf-8"), re.MULTILINE)
    assert listed[: len(FORMATS)] == [form.name for form in FORMATS]
    [example] = blocks(page, "text")
    bill = tmp_path / "bill.csv"
    bill.write_text(example.text, encoding="utf-8")
    statement = read_bill(bill, FORMATS)
    assert (statement.form.name, statement.currency) == ("generic", "EUR")
    assert [line.cost_nanos for line in statement.lines] == [420_000_000, -100_000_000]
    assert set(re.findall(r"`(\w+)`", page.read_text(encoding="utf-8"))) >= set(generic.COLUMNS)


# What makes a line the same line in a later export.


@pytest.mark.parametrize(
    "name, place, changes",
    [
        ("anthropic_usage.csv", 0, {"usage_output_tokens": "99", "usage_input_tokens_cache_read": "1"}),
        ("anthropic_cost.csv", 0, {"cost_usd": "9", "list_price_usd": "9"}),
        ("openai_usage.csv", 1, {"input_tokens": "99999", "num_model_requests": "9"}),
        ("openai_costs_api_source.csv", 1, {"amount_value": "9", "quantity": "9"}),
        ("openrouter_activity.csv", 0, {"cost_total": "9", "tokens_completion": "9", "api_key_name": "renamed"}),
        ("openrouter_days.csv", 0, {"usage": "9", "requests": "9"}),
        ("litellm.csv", 0, {"spend": "9", "prompt_tokens": "9999"}),
        ("copilot_ai_usage.csv", 0, {"quantity": "9", "net_amount": "9", "output": "9"}),
        ("copilot_requests_days.csv", 0, {"quantity": "9", "exceeds_quota": "TRUE"}),
        ("copilot_api.json", 0, {"grossquantity": "9", "netamount": "9", "discountamount": "9"}),
        ("generic.csv", 0, {"cost": "9", "output_tokens": "9", "requests": "9"}),
        ("generic.csv", 3, {"cost": "9", "date": "2026-03-03"}),
    ],
)
def test_a_line_stays_the_same_line_when_its_figures_grow(name, place, changes):
    before, after = versions(name, place, changes)
    assert after.identity == before.identity
    assert after != before


@pytest.mark.parametrize(
    "name, place, changes",
    [
        ("anthropic_usage.csv", 0, {"api_key": "other"}),
        ("anthropic_usage.csv", 0, {"usage_date_utc": "2026-08-05 00:00"}),  # the first hour is not the day
        ("anthropic_cost.csv", 0, {"token_type": "output"}),
        ("anthropic_cost.csv", 3, {"cost_type": "code_execution"}),
        ("openai_usage.csv", 1, {"service_tier": "flex"}),
        ("openai_usage.csv", 1, {"end_time": "1788138000"}),
        ("openai_costs_api_source.csv", 1, {"line_item": "gpt-5-nano, output_tokens"}),
        ("openrouter_activity.csv", 0, {"generation_id": "gen-x"}),
        ("copilot_ai_usage.csv", 0, {"username": "hubot"}),
        ("copilot_requests.csv", 0, {"requests used": "2"}),
        ("copilot_api.json", 0, {"timeperiod.month": "10"}),
        ("copilot_api.json", 0, {"timeperiod.day": "1"}),
        ("copilot_api_enterprise.json", 0, {"user": "hubot"}),
        ("copilot_api_enterprise.json", 0, {"costcenter.name": "Sales"}),
        ("cursor_team.csv", 0, {"user": "eve@example.com"}),
        ("cursor_team.csv", 0, {"cost": "1.96"}),
        ("cursor_team.csv", 0, {"output tokens": "401", "total tokens": "2401"}),
        ("generic.csv", 0, {"api_key": "other"}),
        ("generic.csv", 2, {"output_tokens": "21"}),
    ],
)
def test_another_line_is_another_line(name, place, changes):
    before, after = versions(name, place, changes)
    assert after.identity != before.identity


@pytest.mark.parametrize(
    "older, newer",
    [
        ("anthropic_cost_2024.csv", "anthropic_cost_key_ids.csv"),
        ("anthropic_usage_2025.csv", "anthropic_usage.csv"),
    ],
)
def test_a_line_is_the_same_line_under_a_later_header(older, newer):
    """Exports of the same days, one before and one after the provider added columns, count once."""
    row = ROWS[older][0]
    later = {**dict.fromkeys(HEADERS[newer], "something new"), **row}
    [before], [after] = (form_of(older).read((2, each)) for each in (row, later))
    assert after.identity == before.identity


def test_events_that_are_alike_are_two_lines_of_one_identity():
    first, second, _ = read_bill(next(path for path in FILES if path.name == "cursor_v2.csv"), FORMATS).lines
    assert first.identity == second.identity
    assert (first.number, second.number) == (2, 3)


# Cells.


@pytest.mark.parametrize(
    "text, nanos",
    [
        ("0.05", 50_000_000),
        ("$1,234.50", 1_234_500_000_000),
        ("1,234.50", 1_234_500_000_000),
        ("$1,234", 1_234_000_000_000),
        ("1,234,567", 1_234_567_000_000_000),
        ("-$0.10", -100_000_000),
        ("$-0.10", -100_000_000),
        ("($5.00)", -5_000_000_000),
        ("+2", 2_000_000_000),
        (".5", 500_000_000),
        ("5.", 5_000_000_000),
        ("1e-05", 10_000),
        ("2.5E-7", 250),
        ("1e-999", 0),
        ("0.003400000000000000000000000000000000", 3_400_000),
        ("0.44999999999999996", 450_000_000),
        ("4000000", 4_000_000_000_000_000),
        ("", None),
        (" - ", None),
        ("null", None),
        ("None", None),
        ("\\N", None),
    ],
)
def test_an_amount_is_read_exactly(text, nanos):
    assert cells.amount({"cost": text}, "cost") == nanos


@pytest.mark.parametrize(
    "text",
    [
        "abc", "NaN", "nan", "Infinity", "-inf", "1e999", "9" * 60, "9" * 65, "4000000.01", "1,23", "1,234", "12,34.5",
        "1.234,50", "1.2.3", "--1", "-$-1", "(-1)", "(1", "$", ".", "e5", "1e5555", "0x10", "1_000", "=1+1", "+-1",
        "@SUM(A1)", "€5", "5 USD", "\u0661\u0662", "\uff11", "1\x00", "1\x1b[31m", "1 2",
    ],
)  # fmt: skip
def test_what_is_no_amount_is_refused_by_its_column_and_value(text):
    with pytest.raises(BadRow) as refused:
        cells.amount({"cost": text}, "cost")
    message = str(refused.value)
    assert message.startswith("cost is '")
    assert "an amount" in message
    assert message.isprintable()
    assert len(message) < 160


@pytest.mark.parametrize(
    "text, count", [("0", 0), ("1,234", 1234), ("31422.0", 31422), ("-0", 0), ("1000000000000", 10**12), ("", None)]
)
def test_a_count_is_a_whole_number(text, count):
    assert cells.count({"tokens": text}, "tokens") == count


@pytest.mark.parametrize(
    "text",
    ["-1", "1.5", "1e3", "1000000000001", "9" * 30, "1,23", "NaN", "=1+1", "\u0661", "0x1", "true", "1\x00", "1 2"],
)
def test_what_counts_nothing_is_refused(text):
    with pytest.raises(BadRow, match=r"tokens is '.*', not a (whole number|count)"):
        cells.count({"tokens": text}, "tokens")


@pytest.mark.parametrize(
    "text, at, timed",
    [
        ("2026-03-31", "2026-03-31T00:00:00+00:00", False),
        ("2026-03-31 02:00", "2026-03-31T02:00:00+00:00", True),
        ("2026-03-31T02:00:00Z", "2026-03-31T02:00:00+00:00", True),
        ("2026-06-28 03:46:57.713", "2026-06-28T03:46:57.713000+00:00", True),
        ("2025-06-10T05:13:27.8766440Z", "2025-06-10T05:13:27.876644+00:00", True),
        ("2026-05-01 12:01:00+00", "2026-05-01T12:01:00+00:00", True),
        ("2026-05-01T00:30:00+0530", "2026-04-30T19:00:00+00:00", True),
        ("2026-05-01T00:30:00-05:00", "2026-05-01T05:30:00+00:00", True),
        ("2026-05-01 00:30:00 UTC", "2026-05-01T00:30:00+00:00", True),
    ],
)
def test_a_time_is_read_in_utc(text, at, timed):
    found, has_time = cells.moment({"date": text}, "date")
    assert (found.isoformat(), has_time) == (at, timed)


@pytest.mark.parametrize(
    "text",
    [
        "", "today", "2026-02-30", "2026-13-01", "5/29/26", "29.05.2026", "2026-3-1", "20260301", "2026-W10-1",
        "1785542400",
        "2026-01-01T24:00:00Z", "2026-01-01T00:00:60Z", "2026-01-01T00:00:00+99:00", "0001-01-01T00:00:00+10:00",
        "9999-12-31T23:00:00-10:00", "1999-12-31", "2100-01-01", "\u0662026-01-01", "2026-01-01\x1b",
        "2026-01-01T00:00:00Z; DROP",
    ],
)  # fmt: skip
def test_what_is_no_time_is_refused(text):
    with pytest.raises(BadRow, match=r"date is .*, not a da"):
        cells.moment({"date": text}, "date")


@pytest.mark.parametrize("text", ["", "0", "-1", "1e9", "99999999999", "2026-01-01", "1785542400.5", "9" * 50])
def test_what_is_no_second_since_1970_is_refused(text):
    with pytest.raises(BadRow, match="a time in seconds since 1970"):
        cells.epoch({"start_time": text}, "start_time")


@pytest.mark.parametrize(
    "text, kept",
    [
        ("sk-ant-api03-made-up-0123456789abcd", "sk-...abcd"),
        ("AIzaMadeUpMadeUpMadeUp", "AIza...deUp"),
        ("apikey_01AAA", "apikey_01AAA"),
        ("sk-short", "sk-short"),
        ("claude_code_key_ada", "claude_code_key_ada"),
        ("a\x1b[31m\u202eb", "a [31m b"),
        ("x" * 5_000, "x" * 200),
        ("", None),
    ],
)
def test_of_a_key_no_more_is_kept_than_its_name(text, kept):
    assert cells.key_name({"api_key": text}, "api_key") == kept


# Rules of single formats that a sample shows one side of.


@pytest.mark.parametrize(
    "written, fresh, cached, output, total, expected_tokens",
    [
        # what was written beside what was not: the sum of all is the total
        ("9541", "117382", "1383578", "13232", "1523733", (117382, 1383578, 9541, 13232)),
        # the second within the first
        ("350", "300", "900", "25", "1275", (300, 900, 50, 25)),
        # nothing written: both are the same
        ("0", "100", "5", "7", "999", (100, 5, 0, 7)),
        ("100", "0", "5", "7", "112", (0, 5, 100, 7)),
        # neither: what is in question is not told
        ("160000", "159990", "578207", "2055", "740252", (None, 578207, None, 2055)),
        ("5", "10", "0", "1", "6", (None, 0, None, 1)),
        # no total to tell them by
        ("5", "10", "0", "1", "", (10, 0, 5, 1)),
        ("", "", "", "", "", (None, None, None, None)),
    ],
)
def test_the_total_of_a_cursor_row_tells_how_its_inputs_lie(written, fresh, cached, output, total, expected_tokens):
    row = {
        "date": "2026-08-05T06:44:42.863Z",
        "model": "auto",
        "input (w/ cache write)": written,
        "input (w/o cache write)": fresh,
        "cache read": cached,
        "output tokens": output,
        "total tokens": total,
        "cost": "0.1",
    }
    [line] = read("cursor", row)
    assert (
        line.tokens.fresh_input,
        line.tokens.cache_read,
        line.tokens.cache_write,
        line.tokens.output,
    ) == expected_tokens


@pytest.mark.parametrize(
    "kind, cost, billing, nanos",
    [
        ("On-Demand", "$0.12", "metered", 120_000_000),
        ("On-Demand", "-", "metered", None),
        ("Included", "Included", "included", None),
        ("Included", "0.49", "included", 490_000_000),
        ("Included in Pro", "-", "included", None),
        ("free", "Included", "included", None),
        ("express", "0.14", "metered", 140_000_000),
        ("User API Key", "-", "metered", None),
        ("Errored, No Charge", "Free", "metered", 0),
        ("Errored, Not Charged", "-", "metered", 0),
        ("Aborted, Not Charged", "$0.30", "metered", 0),
    ],
)
def test_the_kind_and_the_cost_of_a_cursor_row_tell_who_pays(kind, cost, billing, nanos):
    [line] = read("cursor", changed("cursor_v2.csv", kind=kind, cost=cost))
    assert (line.billing, line.cost_nanos) == (billing, nanos)


@pytest.mark.parametrize(
    "cost, to_you, billing, nanos",
    [
        ("$0.50", "$0.25", "metered", 250_000_000),
        ("$0.50", "$0.00", "included", 500_000_000),
        ("$0.50", "-", "included", 500_000_000),
        ("Included", "-", "included", None),
        ("Included", "$0.10", "metered", 100_000_000),
        ("-", "-", "metered", None),
        ("$0.00", "$0.00", "metered", 0),
    ],
)
def test_what_a_cursor_row_costs_you_is_charged_and_the_rest_is_the_plans(cost, to_you, billing, nanos):
    [line] = read("cursor", changed("cursor_v1.csv", cost=cost, cost_to_you=to_you))
    assert (line.billing, line.cost_nanos) == (billing, nanos)


def usage_told(part, **counts):
    return json.dumps({part: counts})


PROXY = usage_told("additional_usage_values", cache_read_input_tokens=600)
WHOLE = usage_told("usage_object", cache_read_input_tokens=600, prompt_tokens=1000)
BESIDE = usage_told("usage_object", cache_read_input_tokens=600, prompt_tokens=1600)


@pytest.mark.parametrize(
    "prompt, metadata, call_type, tokens",
    [
        ("1000", "", "", (None, None, None, 1000)),
        ("1000", "not JSON", "", (None, None, None, 1000)),
        ("1000", "{" * 100_000, "", (None, None, None, 1000)),
        ("1000", '{"a":' * 100_000, "", (None, None, None, 1000)),
        ("1000", '{"additional_usage_values": []}', "", (None, None, None, 1000)),
        ("1000", usage_told("additional_usage_values", cache_read_input_tokens=0), "", (1000, 0, None, 1000)),
        ("1000", PROXY, "acompletion", (400, 600, None, 1000)),
        # too small to contain what the cache gave
        ("12", PROXY, "acompletion", (12, 600, None, 612)),
        # the call that some versions count in another way, and nothing tells which
        ("1000", PROXY, "anthropic_messages", (None, 600, None, None)),
        # the provider's own total tells
        ("1000", WHOLE, "anthropic_messages", (400, 600, None, 1000)),
        ("1000", BESIDE, "anthropic_messages", (1000, 600, None, 1600)),
    ],
)
def test_what_litellm_counts_as_prompt_is_told_apart_where_something_tells(prompt, metadata, call_type, tokens):
    row = changed("litellm.csv", prompt_tokens=prompt, metadata=metadata, call_type=call_type)
    [line] = read("litellm", row)
    found = (line.tokens.fresh_input, line.tokens.cache_read, line.tokens.cache_write, line.tokens.read)
    assert found == tokens


def test_a_bad_count_in_metadata_names_it():
    metadata = '{"additional_usage_values": {"cache_read_input_tokens": -5}}'
    with pytest.raises(BadRow, match="metadata cache_read_input_tokens is '-5', not a count"):
        read("litellm", changed("litellm.csv", metadata=metadata))


def test_metadata_of_any_size_is_left_alone():
    assert litellm._object("{" + " " * 2_000_000 + "}") == {}


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"end_time": "1788134400"}, "end_time is '1788134400', not after start_time"),
        ({"input_tokens": "5"}, "input_tokens is '5', not at least the 24000 of its cached input"),
        ({"start_time": ""}, "start_time is empty, not a time in seconds since 1970"),
    ],
)
def test_a_row_of_openai_that_contradicts_itself_is_refused(changes, message):
    with pytest.raises(BadRow) as refused:
        read("openai_usage", changed("openai_usage.csv", 1, **changes))
    assert str(refused.value) == message


@pytest.mark.parametrize(
    "form, row, message",
    [
        ("openrouter_activity", changed("openrouter_activity.csv", tokens_cached="10390"), "at least the 10390"),
        ("anthropic_cost", changed("anthropic_cost.csv", cost_usd=""), "cost_usd is empty, not an amount"),
        ("openai_costs", changed("openai_costs.csv", 1, amount_value=""), "amount_value is empty, not an amount"),
        ("copilot", changed("copilot_credits.csv", net_amount="-"), "net_amount is '-', not an amount"),
        ("copilot_requests", changed("copilot_requests_days.csv", exceeds_quota="perhaps"), "not True or False"),
        ("copilot_requests", changed("copilot_requests_days.csv", quantity="-1"), "not a number of requests"),
        ("generic", {"date": "2026-03-01", "cost": "", "model": "gpt-5"}, "cost is empty, not an amount, and the row"),
        ("anthropic_usage", changed("anthropic_usage.csv", model_version=""), "model_version is empty, not a model"),
    ],
)
def test_what_a_line_cannot_do_without_is_asked_for(form, row, message):
    with pytest.raises(BadRow) as refused:
        read(form, row)
    assert message in str(refused.value)


@pytest.mark.parametrize(
    "product, lines", [("copilot", 1), ("Copilot", 1), ("spark", 1), ("actions", 0), ("git_lfs", 0)]
)
def test_a_report_of_all_of_githubs_products_bills_those_that_use_models(product, lines):
    assert len(read("copilot", changed("copilot_detailed.csv", 2, product=product))) == lines


@pytest.mark.parametrize(
    "gross, discount, net, billing, nanos",
    [
        ("0.20", "0.20", "0", "included", 200_000_000),
        ("0.20", "0.15", "0.05", "metered", 50_000_000),
        ("0", "0", "0", "metered", 0),
        ("-0.4", "0", "-0.4", "metered", -400_000_000),
    ],
)
def test_what_a_plan_of_copilot_covers_is_included(gross, discount, net, billing, nanos):
    row = changed("copilot_credits.csv", gross_amount=gross, discount_amount=discount, net_amount=net)
    [line] = read("copilot", row)
    assert (line.billing, line.cost_nanos) == (billing, nanos)


@pytest.mark.parametrize("date, grain", [("2026-05-12 00:00:00", Grain.DAY), ("2026-05-12 13:00:00", Grain.HOUR)])
def test_the_time_of_an_openrouter_sum_tells_its_span(date, grain):
    [line] = read("openrouter_days", changed("openrouter_days.csv", date=date))
    assert line.grain is grain


@pytest.mark.parametrize(
    "row, code",
    [
        ({"date": "2026-03-01", "cost": "1", "currency": "eur"}, "EUR"),
        ({"date": "2026-03-01", "cost": "1", "currency": ""}, None),
        ({"date": "2026-03-01", "cost": "1"}, None),
        ({"date": "Total", "cost": "1", "currency": "various"}, None),
    ],
)
def test_a_generic_row_names_its_currency_or_none(row, code):
    assert BY_NAME["generic"].currency_of(row) == code


@pytest.mark.parametrize("text", ["dollars", "US", "U$D", "=1+1", "\u0415UR"])
def test_what_is_no_currency_is_refused(text):
    with pytest.raises(BadRow, match="not a currency code such as USD"):
        BY_NAME["generic"].currency_of({"date": "2026-03-01", "cost": "1", "currency": text})


# Whatever the cells hold.

HOSTILE = [
    "=1+1", "@SUM(1)", "\x1b[31m", "\u202eabc", "NaN", "1e999", "-1", "9" * 400, "1e-400", "$", "(", "()", "-", "null",
    "{}", '{"a": 1}', "0001-01-01", "9999-12-31T23:59:59-12:00", "2026-01-01", "253402300800", "\u0661", "total",
    "\ud800", "Included",
]  # fmt: skip
CELLS = st.sampled_from(HOSTILE) | st.text(max_size=30) | st.integers(-(10**20), 10**20).map(str)


@st.composite
def bent_rows(draw):
    """A row of some sample with some of its cells replaced or taken away."""
    name = draw(st.sampled_from(sorted(EXPECTED)))
    row = dict(draw(st.sampled_from(ROWS[name])))
    for column in draw(st.lists(st.sampled_from(sorted(row)), max_size=4)):
        row[column] = draw(CELLS)
    if gone := draw(st.none() | st.sampled_from(sorted(row))):
        del row[gone]
    return form_of(name), row


def answer(form, row):
    """The lines of a row and the currency it names, or why it is refused."""
    try:
        return list(form.read((7, row))), form.currency_of(row), ""
    except BadRow as refused:
        return [], None, str(refused)


@given(bent_rows())
def test_no_cell_makes_a_reader_fail_in_another_way_than_by_refusing_the_row(bent):
    lines, code, refused = answer(*bent)
    assert refused.isprintable()
    assert len(refused) < 250
    assert code is None or (len(code) == 3 and code.isupper())
    for line in lines:
        assert isinstance(line, BillLine)
        assert line.number == 7
        assert line.at.utcoffset() is not None
        texts = [line.provider, line.model, line.key, line.workspace, line.request_id, *line.identity]
        assert all(text is None or (text.isprintable() and len(text) <= 500) for text in texts)
        tokens = line.tokens
        counts = [tokens.fresh_input, tokens.cache_read, tokens.cache_write, tokens.output, tokens.read, line.requests]
        assert all(count is None or count >= 0 for count in counts)


def test_names_of_formats_are_words_and_titles_are_their_own():
    for key in ("name", "title"):
        named = [getattr(form, key) for form in FORMATS]
        assert len(set(named)) == len(named)
    assert all(name.replace("_", "").isalpha() and name.islower() for name in BY_NAME)
    assert FORMATS[-1].name == "generic"


@pytest.mark.parametrize(
    "period, span",
    [
        ({"month": "12", "day": ""}, (Grain.MONTH, "2026-12-01", "2027-01-01")),
        ({"month": "", "day": ""}, (Grain.MONTH, "2026-01-01", "2027-01-01")),
        ({"month": "2", "day": "28"}, (Grain.DAY, "2026-02-28", "2026-03-01")),
        ({"month": "2", "day": "29"}, None),
        ({"year": "99999999999"}, None),
        ({"year": ""}, None),
    ],
)
def test_the_period_of_a_report_of_github_is_that_of_its_items(period, span):
    row = changed("copilot_api_enterprise.json", **{f"timeperiod.{name}": text for name, text in period.items()})
    if span is None:
        with pytest.raises(BadRow, match=r"timeperiod\.year is .*, not a year"):
            read("copilot_api", row)
    else:
        [line] = read("copilot_api", row)
        assert (line.grain, f"{line.at:%Y-%m-%d}", f"{line.until:%Y-%m-%d}") == span


@pytest.mark.parametrize("text", ["12.000", "1.000", "120.000"])
def test_a_count_whose_point_may_part_thousands_is_refused(tmp_path, text):
    table = tmp_path / "euro.csv"
    table.write_text(f"date;model;input_tokens;cost\n2026-03-01;gpt-5;{text};0,42\n")
    with pytest.raises(InvalidArgument, match=f"line 2: input_tokens is '{text}', not a whole number: its point"):
        read_bill(table, FORMATS, currency="EUR")
    table.write_text(f"date,model,input_tokens,cost\n2026-03-01,gpt-5,{text},0.42\n")
    assert read_bill(table, FORMATS, currency="USD").lines[0].tokens.read == int(text.split(".")[0])
