"""The page Bills: what it takes, what it refuses, how it takes back, and that its figures are those of the commands."""

from __future__ import annotations

import gzip
import io
import zipfile
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest
from tests.entrypoints.page.conftest import FORM, served
from tests.entrypoints.page.test_pages import Tables, amount, figure
from tests.entrypoints.page.test_security import with_changes
from tests.operations.bills.test_review import MILL, TODAY, line, worked
from tests.operations.bills.test_review import bill as kept
from tests.operations.usage.test_ingest import response, take

from tallygate.core.authority import Authority, EntryDoor
from tallygate.core.bills.drift import DriftCause
from tallygate.core.bills.lines import Bucket, Gap
from tallygate.core.costing import Tokens
from tallygate.entrypoints.page.demo_bills import bill_month
from tallygate.entrypoints.page.fence import FILES_BYTES_MAX
from tallygate.operations.bills.keep import list_bills
from tallygate.operations.bills.review import ReviewWanted, review
from tallygate.reports.drift import payload

HEADER = "date,model,input_tokens,output_tokens,cost\n"
MARCH = f"{HEADER}2026-09-20,dear,1000,0,1.00\n2026-09-21,dear,2000,0,2.10\n"


def sent(browser, files, *, changes=(), **fields):
    """A form with files, as a browser sends it."""
    mark = "----mark"
    parts = [
        f'--{mark}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{text}\r\n'.encode()
        for name, text in {"token": FORM, **fields}.items()
    ]
    for name, data in files:
        head = f'--{mark}\r\nContent-Disposition: form-data; name="bill"; filename="{name}"\r\n'
        head += "Content-Type: application/octet-stream\r\n\r\n"
        parts.append(head.encode() + (data if isinstance(data, bytes) else data.encode()) + b"\r\n")
    body = b"".join(parts) + f"--{mark}--\r\n".encode()
    own = {**browser.own, "Origin": browser.door.origin, "Content-Type": f"multipart/form-data; boundary={mark}"}
    headers = with_changes({**own, "Content-Length": str(len(body))}, dict(changes), browser.door.port)
    # The helper encodes what it sends: bytes go as the text that has them.
    return browser.send("POST", f"{browser.door.base}bills", headers, Bytes(body))


class Bytes(str):
    """Bytes that are sent as they are."""

    __slots__ = ("data",)

    def __new__(cls, data):
        made = super().__new__(cls, "")
        made.data = data
        return made

    def encode(self, *_):
        return self.data


def bills(world):
    return list_bills(world.rt, limit=100)


def counting(world):
    return [each.name for each in bills(world) if each.counts]


# ---------------------------------------------------------------- what is taken


def test_a_file_is_imported_like_by_the_command_and_taken_back_as_an_event(world, opened):
    found = sent(opened, [("march.csv", MARCH)])
    assert found.status == 200
    assert "march.csv imported: generic, 2 lines, $3.10." in found.words
    assert counting(world) == ["march.csv"]
    [bill] = bills(world)
    with world.ledger.reading() as reader:
        before = reader.head().seq
    undone = opened.post("bills", take=bill.bill_id)
    assert "march.csv counts no more (2 lines); it stays on record, and can be imported again." in undone.words
    assert counting(world) == []
    with world.ledger.reading() as reader:
        assert reader.head().seq == before + 1, "an event more, and none less"
    assert [each.deleted_us is None for each in bills(world)] == [False]
    again = opened.post("bills", take=bill.bill_id)
    assert "taken back already: nothing was changed" in again.words
    assert "march.csv imported" in sent(opened, [("march.csv", MARCH)]).words
    assert counting(world) == ["march.csv"]


def test_the_same_file_counts_once_and_nothing_is_offered_to_take_back(world, opened):
    sent(opened, [("march.csv", MARCH)])
    found = sent(opened, [("other name.csv", MARCH)])
    assert "other name.csv was there already: nothing was changed." in found.words
    assert "Take back other" not in found.text
    assert len(bills(world)) == 1


def packed(name, text):
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, text)
    return whole.getvalue()


@pytest.mark.parametrize(
    ("name", "data", "fields"),
    [
        ("m.csv.gz", gzip.compress(MARCH.encode()), {}),
        ("m.zip", packed("inner.csv", MARCH), {}),
        ("m.csv", MARCH.encode("utf-8-sig"), {}),
        ("m.csv", b"\xff\xfe" + MARCH.encode("utf-16-le"), {}),
        ("m.csv", MARCH.replace(",", ";"), {}),
        ("m.csv", MARCH, {"format": "generic", "currency": "USD"}),
    ],
    ids=["gzip", "zip", "utf-8 with a mark", "utf-16", "semicolons", "told by fields"],
)
def test_files_are_read_in_every_packing_and_encoding_that_the_command_reads(world, opened, name, data, fields):
    assert "2 lines, $3.10." in sent(opened, [(name, data)], **fields).words
    assert counting(world) == [name]


def test_a_currency_is_taken_where_the_file_names_none(world, opened):
    assert "3.10" in sent(opened, [("m.csv", MARCH)], currency="EUR").words
    assert bills(world)[0].currency == "EUR"


NAMES = [
    ("../../../etc/passwd", "passwd"),
    ("C:\\Users\\anna\\bill.csv", "bill.csv"),
    ("/dev/zero", "zero"),
    ("..", ".."),
    ("<script>alert(1)</script>.csv", "script>.csv"),
    ("=HYPERLINK(1)", "=HYPERLINK(1)"),
    ("a\u202egpj.csv", "a"),
    ("x" * 500 + ".csv", "x" * 100),
]


@pytest.mark.parametrize(("name", "shown"), NAMES, ids=lambda each: each[:20])
def test_a_name_is_shown_and_leads_nowhere(world, opened, name, shown):
    found = sent(opened, [(name, MARCH)])
    assert found.status == 200
    assert bills(world)[0].name.startswith(shown)
    assert len(bills(world)[0].name) <= 120
    assert "/" not in bills(world)[0].name
    assert "<script>alert" not in found.text
    assert "\u202e" not in found.text


# ---------------------------------------------------------------- what is refused


def deep(size):
    return "[" * size


BOMB = gzip.compress((HEADER + f"2026-09-20,dear,1,0,{' ' * 1_000_000}1.00\n" * 40).encode(), mtime=0)


BAD = [
    ("nothing in it", [("m.csv", "")], "No file with anything in it was chosen."),
    ("no file", [], "No file with anything in it was chosen."),
    ("no table", [("m.csv", "hello\nworld\n")], "is of no format that is known"),
    ("a row that is none", [("m.csv", MARCH + "yesterday,dear,1,1,1\n")], "line 4: date is 'yesterday'"),
    ("an amount that runs", [("m.csv", MARCH + '2026-09-21,dear,1,1,"=1+1"\n')], "line 4: cost is '=1+1'"),
    ("a picture", [("m.csv", b"\x89PNG\r\n\x1a\n" + bytes(range(256)))], "m.csv"),
    ("another encoding", [("m.csv", HEADER.encode() + b"2026-09-21,d\xe9ar,1,1,1\n")], "is not UTF-8 text"),
    ("a bomb", [("m.csv.gz", BOMB)], "unpacks to more than"),
    ("a torn archive", [("m.zip", packed("a.csv", MARCH)[:60])], "cannot be unpacked"),
    ("an archive of several", [("m.zip", packed("a.png", MARCH))], "holds 0 files that could be a bill"),
    ("nested json", [("m.json", deep(200_000))], "m.json"),
    ("a good file beside a bad one", [("good.csv", MARCH), ("bad.csv", "hello\n")], "bad.csv"),
    ("rows of several currencies", [("m.csv", "date,model,cost,currency\n2026-09-21,a,1,USD\n2026-09-21,a,1,EUR\n")],
     "name several currencies"),
]  # fmt: skip


@pytest.mark.parametrize(("files", "said"), [each[1:] for each in BAD], ids=[each[0] for each in BAD])
def test_a_bad_file_is_told_and_changes_nothing(world, opened, files, said):
    before = world.events()
    found = sent(opened, files)
    assert found.status == 400
    assert "Nothing was changed." in found.words
    assert said in found.words
    assert "--format" not in found.words
    assert (world.events(), bills(world)) == (before, [])


def test_more_files_or_fields_than_anybody_has_are_refused(world, opened):
    assert sent(opened, [(f"{number}.csv", "x") for number in range(21)]).status == 400
    assert sent(opened, [("m.csv", MARCH)], **{f"f{number}": "" for number in range(30)}).status == 400
    assert sent(opened, [("m.csv", MARCH)], format="x" * 10_000).status == 400
    assert bills(world) == []


FENCED = [
    ({"Origin": "https://example.org"}, 403),
    ({"Origin": None}, 403),
    ({"Origin": "null"}, 403),
    ({"Sec-Fetch-Site": "cross-site"}, 403),
    ({"Host": "localhost:{port}"}, 421),
    ({"Cookie": None}, 403),
    ({"Content-Length": str(FILES_BYTES_MAX + 1)}, 413),
    ({"Content-Type": "text/csv"}, 415),
]


@pytest.mark.parametrize(("changes", "status"), FENCED, ids=str)
def test_no_file_of_another_page_is_even_read(world, opened, changes, status):
    assert sent(opened, [("m.csv", MARCH)], changes=changes.items()).status == status
    assert bills(world) == []


@pytest.mark.parametrize("page", ["budgets", "now", "proof", "bills/", "open"])
def test_no_other_address_takes_files(opened, page):
    headers = {**opened.own, "Origin": opened.door.origin, "Content-Type": "multipart/form-data; boundary=x"}
    assert opened.send("POST", f"{opened.door.base}{page}", headers, "--x--\r\n").status == 415


def test_a_form_of_another_page_imports_nothing_and_takes_nothing_back(world, opened):
    found = sent(opened, [("m.csv", MARCH)], token="x" * 64)
    assert (found.status, bills(world)) == (400, [])
    assert "This form was not made by this page." in found.words
    sent(opened, [("m.csv", MARCH)])
    assert opened.post("bills", take=bills(world)[0].bill_id, token="x").status == 400
    assert counting(world) == ["m.csv"]


def test_an_address_takes_nothing_back_and_an_id_that_is_none_is_said(world, opened):
    sent(opened, [("m.csv", MARCH)])
    [bill] = bills(world)
    opened.get("bills", take=bill.bill_id, token=FORM)
    assert counting(world) == ["m.csv"]
    found = opened.post("bills", take="bill_0")
    assert found.status == 400
    assert "No bill 'bill_0' is in the ledger." in found.words


def test_beneath_an_agent_nothing_is_taken_back_as_by_the_command(world):
    agent = Authority(EntryDoor.PAGE, "anna", beneath="Codex")
    with served(world.rt, world.folder, authority=agent) as browser:
        sent(browser, [("m.csv", MARCH)])
        found = browser.post("bills", take=bills(world)[0].bill_id)
    assert "is the user's alone" in found.words
    assert counting(world) == ["m.csv"]


def test_while_the_limits_are_locked_the_page_names_the_command(world, opened, monkeypatch):
    sent(opened, [("m.csv", MARCH)])
    from tallygate.entrypoints.page import billing
    from tallygate.operations.views import frame

    for place in (billing, frame):
        standing = place.standing_now
        monkeypatch.setattr(place, "standing_now", lambda rt, now=standing: replace(now(rt), lock=object()))
    found = opened.get("bills")
    assert 'name="take"' not in found.text
    assert "tallygate import delete BILL" in found.words
    refused = opened.post("bills", take=bills(world)[0].bill_id)
    assert "The limits are locked" in refused.words
    assert f"tallygate import delete {bills(world)[0].bill_id}" in refused.words
    assert counting(world) == ["m.csv"]


# ---------------------------------------------------------------- figures


@pytest.fixture
def billed(world):
    """Two days of two models, with bills that differ in every way."""
    world.clock.at_us -= 24 * 3600 * 1_000_000
    worked(world, Tokens(500), Tokens(300, output=100), model="dear")
    worked(world, Tokens(5000), model="cheap")
    world.clock.at_us += 24 * 3600 * 1_000_000
    worked(world, Tokens(700), model="dear")
    worked(world, Tokens(400, output=60), model="cheap")
    worked(world, Tokens(60), model="cents")
    kept(
        world,
        line((800, 0, 0, 100), 900, days=-1),
        line((5000, 0, 0, 0), 450, model="cheap", days=-1),
        line((700, 0, 0, 0), 650),
        line((400, 0, 0, 95), 49, model="cheap"),
        line((30, 0, 0, 5), 900, model="other"),
        line(None, -120, model="dear"),
    )
    world.clock.at_us += 24 * 3600 * 1_000_000
    worked(world, Tokens(50), model="dear")
    return world


def json_of(world, **wanted):
    return payload(review(world.rt, ReviewWanted(**wanted)))


def test_figures_are_those_of_the_command(billed, opened):
    page, command = opened.get("bills"), json_of(billed)
    found = Tables(page.text).found
    assert amount(found["Recorded and billed by day"][-1][2]) == round(Decimal(str(command["total"]["billed"])), 2)
    assert amount(found["Recorded and billed by model"][-1][2]) == round(Decimal(str(command["total"]["billed"])), 2)
    buckets = {each["bucket"]: each for each in command["buckets"]}
    recorded = sum(Decimal(str(each["recorded"] or 0)) for each in buckets.values())
    assert amount(found["Recorded and billed by day"][-1][1]) == round(recorded, 2)
    drift = round(recorded - Decimal(str(command["total"]["billed"])), 2)
    name = next(dt for dt in page.text.split("<dt>") if dt.startswith("Drift, ")).partition("<")[0]
    assert amount(figure(page, name)) == drift
    assert amount(found["Causes of the drift"][-1][3]) == drift
    alone = Decimal(str(buckets["bill_only"]["billed"]))
    hidden = [row for row in found["Causes of the drift"] if row[0].startswith("Output that nobody saw")]
    shown = amount(found["Billed without a call"][-1][3])
    assert abs(shown - sum((amount(row[3]) for row in hidden), Decimal()) - alone) < Decimal("0.005")
    gaps = {each["text"]: each for each in command["not_compared"]}
    for row in found["What is not compared, and why"][1:]:
        assert int(row[1].replace(",", "")) == gaps[row[0]]["count"]
    assert len(found["What is not compared, and why"]) - 1 == len(gaps) > 0
    of_none = next(each for each in command["not_compared"] if each["reason"] == "no_bill")
    assert amount(figure(page, "No bill yet")) == Decimal(str(of_none["recorded"]))
    assert "tallygate drift --since 2026-09-20" in page.words


def test_what_bills_could_tell_of_and_what_none_covers_is_what_was_spent(billed, opened):
    bills, spend = opened.get("bills"), opened.get("spend", period="all")
    recorded = amount(Tables(bills.text).found["Recorded and billed by day"][-1][1])
    assert abs(recorded + amount(figure(bills, "No bill yet")) - amount(figure(spend, "Spent"))) <= Decimal("0.01")
    assert sum("$" in row[1] for row in Tables(spend.text).found["Spend by model"][1:-1]) == 3
    by_model = {row[0]: amount(row[1]) for row in Tables(spend.text).found["Spend by model"][1:-1]}
    own = {row[0].rpartition("/")[2]: amount(row[1]) for row in Tables(bills.text).found["Recorded and billed by model"]
           if "$" in row[1]}  # fmt: skip
    assert own["cheap"] == by_model["cheap"]


def nearly(rows, column):
    """Whether rows come to what stands below them; what is below a cent is shown finer than the sum."""
    *parts, total = (amount(row[column]) for row in rows[1:] if len(row) > column and "$" in row[column])
    return abs(sum(parts) - total) < Decimal("0.01")


@pytest.mark.parametrize("query", [{}, {"period": "2026-09"}, {"filter": "model:cheap"}, {"period": "7d"}], ids=str)
def test_parts_add_up_to_what_the_command_says_is_billed(billed, opened, query):
    found = Tables(opened.get("bills", **query).text).found
    for name in ("Recorded and billed by day", "Recorded and billed by model"):
        assert all(nearly(found[name], column) for column in (1, 2, 3)), (name, found[name])
    assert nearly(found["Causes of the drift"], 3)
    totals = {tuple(found[name][-1][1:4]) for name in ("Recorded and billed by day", "Recorded and billed by model")}
    assert len(totals) == 1


@pytest.mark.parametrize("model", [None, "dear", "cheap", "other"])
def test_no_nano_dollar_of_the_drift_is_without_a_cause_or_has_two(billed, model):
    found = review(billed.rt, ReviewWanted(model=model))
    assert sum(part.billed_nanos for part in found.parts) == (found.total.billed_nanos or 0)
    ends = {each.end: each for each in found.buckets}
    compared = sum(each.recorded_nanos for end, each in ends.items() if isinstance(end, Bucket))
    assert sum(part.recorded_nanos for part in found.parts) == compared
    assert sum(found.unbilled.values()) == (ends[Gap.NO_BILL].recorded_nanos if Gap.NO_BILL in ends else 0)


def test_causes_are_named_for_what_they_are(billed):
    found = {(part.model, part.cause): part.nanos for part in review(billed.rt, ReviewWanted()).parts}
    said = {(model.rpartition("/")[2], cause): nanos for (model, cause), nanos in found.items() if nanos}
    assert said["cheap", DriftCause.PRICE] == 50 * MILL
    assert said["other", DriftCause.BILL_ONLY] == -900 * MILL
    assert said["dear", DriftCause.PRICE] == 50 * MILL
    assert said["dear", DriftCause.CREDIT] == 120 * MILL
    assert {cause for _, cause in said} >= {DriftCause.HIDDEN}


def test_what_was_billed_for_a_plan_is_no_part_of_the_drift(world):
    from tallygate.core.statements import Billing

    worked(world, Tokens(500), model="dear")
    kept(world, line((500, 0, 0, 0), 400, billing=Billing.INCLUDED))
    found = review(world.rt, ReviewWanted())
    assert (found.parts, found.total.billed_nanos) == ([], None)


def test_taking_back_takes_every_figure_back(billed, opened):
    before = opened.get("bills").words.partition("head ")[0]
    sent(opened, [("more.csv", f"{HEADER}{TODAY - timedelta(days=1):%Y-%m-%d},fourth,10,10,7.00\n")])
    [bill] = [each for each in bills(billed) if each.name == "more.csv"]
    assert opened.get("bills").words.partition("head ")[0] != before
    opened.post("bills", take=bill.bill_id)
    after = opened.get("bills").words.partition("head ")[0]
    assert before.partition("Bills added")[0] == after.partition("Bills added")[0]


# ---------------------------------------------------------------- states


def test_without_a_bill_the_first_step_is_named_and_the_form_is_there(opened):
    found = opened.get("bills")
    assert "No bill yet: nothing is said of what was billed." in found.words
    assert 'type="file"' in found.text
    assert "$0" not in found.words


def test_days_without_a_line_lead_to_those_that_have_one(billed, opened):
    found = opened.get("bills", period="2026-08")
    assert "No bill has a line in" in found.words
    assert "bills?period=all" in found.text


def test_words_that_bills_do_not_tell_are_named(billed, opened):
    assert "Not filtered by project:shop: bills do not tell it." in opened.get("bills", filter="project:shop").words


def test_other_pages_lead_to_everything_that_is_billed_since_today_never_is(billed, opened):
    assert 'href="bills?period=all"' in opened.get("now").text
    assert 'href="bills?period=7d"' in opened.get("spend", period="7d").text


def test_a_made_up_month_has_bills_that_differ_in_price_and_lines_without_a_call(world):
    models = ("gpt-5.5", "claude-opus-4-7", "gemini-3.1-flash")
    for day in range(12):
        take(world, *(response(world, f"{model}-{day}", 50_000, model=model) for model in models))
        world.clock.at_us += 24 * 3600 * 1_000_000
    bill_month(world.rt)
    assert sorted(counting(world)) == ["anthropic usage.csv", "openai usage.csv"]
    found = review(world.rt, ReviewWanted())
    causes = {part.cause for part in found.parts if part.nanos}
    assert causes >= {DriftCause.PRICE, DriftCause.BILL_ONLY, DriftCause.CREDIT, DriftCause.HIDDEN}
    assert {each.model for each in found.apart} == {"openai/gpt-5.5"}
    assert len(found.unbilled) == 12, "nobody has the bill of the third provider, and the last days are in none"
