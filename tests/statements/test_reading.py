"""Files of bills: which format they are of, and what is no bill at all."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import zipfile
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallygate.core.errors import InvalidArgument
from tallygate.core.money import recorded_nanos
from tallygate.core.statements import BillLine, Grain
from tallygate.statements import files
from tallygate.statements.reading import content, objects, tables
from tallygate.statements.reading.cells import BadRow
from tallygate.statements.reading.columns import BillFormat


def _read(numbered):
    """A row of a day and an amount; a total is no line, and a row of two models is two."""
    number, row = numbered
    if row["day"] == "total":
        return
    try:
        cost = recorded_nanos("cost", row["cost"])
        at = datetime.fromisoformat(row["day"]).replace(tzinfo=UTC)
    except (InvalidArgument, ValueError):
        raise BadRow(f"cost is {row['cost']!r}, not an amount.") from None
    for model in row.get("model", "").split("+"):
        yield BillLine(number, Grain.DAY, at, "tiny", (row["day"], model), model or None, cost_nanos=cost)


def _lacks(header):
    return tuple(name for name in ("day", "cost") if name not in header)


TINY = BillFormat(
    "tiny",
    "Tiny, daily costs",
    lambda header: not _lacks(header) and "other" not in header,
    _read,
    _lacks,
    currency_of=lambda row: row.get("currency", "").upper() or None,
)
BARE = BillFormat("bare", "Bare costs", lambda header: "bare" in header, _read, _lacks, currency=None)
FORMATS = (TINY, BARE)
TABLE = "Day,Model,Cost\n2026-03-01,m,1.5\n2026-03-02,n,2\n"
ROWS = [(2, "m", 1_500_000_000), (3, "n", 2_000_000_000)]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "bill.csv"


def written(path, data):
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


def told(found):
    return [(line.number, line.model, line.cost_nanos) for line in found.lines]


def read(path, data, **options):
    return files.read_bill(written(path, data), FORMATS, **options)


def refused(path, data, **options):
    """What is said of a file that is no bill, on one line."""
    with pytest.raises(InvalidArgument) as error:
        read(path, data, **options)
    assert "\n" not in str(error.value)
    return str(error.value)


def zipped(members):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in members.items():
            archive.writestr(name, text)
    return file.getvalue()


FORMS = {
    "as it is": TABLE,
    "with a mark": b"\xef\xbb\xbf" + TABLE.encode(),
    "in UTF-16": TABLE.encode("utf-16"),
    "in UTF-16, the other way": b"\xfe\xff" + TABLE.encode("utf-16-be"),
    "lines of Windows": TABLE.replace("\n", "\r\n"),
    "lines of old Macs": TABLE.replace("\n", "\r"),
    "semicolons": TABLE.replace(",", ";"),
    "tabs": TABLE.replace(",", "\t"),
    "quoted": '"Day","Model","Cost"\n"2026-03-01","m","1.5"\n"2026-03-02","n","2"\n',
    "spaces around names": " Day ,MODEL, cost\n2026-03-01,m,1.5\n2026-03-02,n,2\n",
    "no end of line": TABLE.rstrip(),
    "empty cells behind": "Day,Model,Cost,,\n2026-03-01,m,1.5,,\n2026-03-02,n,2,,,\n",
    "gzip": gzip.compress(TABLE.encode()),
    "zip": zipped({"usage.csv": TABLE, "readme.md": "hello", "__MACOSX/usage.csv": "x"}),
}


@pytest.mark.parametrize("data", FORMS.values(), ids=FORMS)
def test_a_table_is_read_whatever_it_was_saved_as(path, data):
    found = read(path, data)
    assert (found.form.name, found.currency, told(found)) == ("tiny", "USD", ROWS)


@pytest.mark.parametrize("pack", [bytes, gzip.compress, lambda data: zipped({"a.csv": data})])
def test_the_digest_is_that_of_the_content_however_it_is_packed(path, pack):
    data = TABLE.encode() + b"\n\n"
    assert read(path, pack(data)).digest == hashlib.sha256(data).hexdigest()


def test_blank_lines_and_rows_that_stand_for_nothing_are_passed_over(path):
    data = TABLE.replace("\n2026-03-02", "\n\n , ,\ntotal,,99\n2026-03-02")
    assert told(read(path, data)) == [(2, "m", 1_500_000_000), (6, "n", 2_000_000_000)]


def test_a_row_may_stand_for_several_lines_and_span_several_lines_of_text(path):
    found = read(path, 'day,cost,model,note\n2026-03-01,1,a+b,"x\r\ny\n"\n2026-03-02,2,c,\n')
    assert [(line.number, line.model) for line in found.lines] == [(2, "a"), (2, "b"), (5, "c")]


@pytest.mark.parametrize("above", [0, 1, 5, 10])
def test_the_header_may_stand_below_a_few_lines(path, above):
    data = "Usage of, Acme\n" * above + TABLE
    assert told(read(path, data)) == [(number + above, model, cost) for number, model, cost in ROWS]


def test_a_header_that_stands_further_down_is_not_looked_for(path):
    assert "is of no format that is known; its header is 'usage of, acme'" in refused(
        path, "Usage of, Acme\n" * 11 + TABLE
    )


OBJECTS = [{"Day": "2026-03-01", "model": "m", "cost": 1.5}, {"day": "2026-03-02", "model": "n", "cost": 2}]
# What one says itself counts, before what stands beside all of them.
SHARING = [{"model": "m", "cost": 1.5}, {"model": "n", "day": "2026-03-02"}]
JSON_FORMS = {
    "array": json.dumps(OBJECTS),
    "array, indented": json.dumps(OBJECTS, indent=2),
    "an object a line": "\n".join(map(json.dumps, OBJECTS)) + "\n",
    "objects without lines": "".join(map(json.dumps, OBJECTS)),
    "under data": json.dumps({"object": "page", "data": OBJECTS, "has_more": False, "results": []}),
    "under results": json.dumps({"results": OBJECTS}, indent=1),
    "items, shared facts before them": json.dumps({"day": "2026-03-01", "cost": 2, "usageItems": SHARING}),
    "items, shared facts behind them": json.dumps({"usageItems": SHARING, "day": "2026-03-01", "cost": 2}),
    "items of several reports": "\n".join(json.dumps({"usageItems": [each]}) for each in OBJECTS),
    "items of reports in an array": json.dumps([{"cost": 9, "usageItems": [each]} for each in OBJECTS]),
    "with a mark": b"\xef\xbb\xbf" + json.dumps(OBJECTS).encode(),
    "zip": zipped({"spend.json": json.dumps(OBJECTS)}),
}


@pytest.mark.parametrize("data", JSON_FORMS.values(), ids=JSON_FORMS)
@pytest.mark.parametrize("part", [3, 7, 1 << 18])
def test_json_is_read_in_any_of_its_forms_however_it_is_cut_into_parts(path, data, part, monkeypatch):
    monkeypatch.setattr(objects, "_PART", part)
    assert [found[1:] for found in told(read(path, data))] == [found[1:] for found in ROWS]


def row_of(path, value):
    """What a format gets to see of one object."""
    seen = []
    form = BillFormat(
        "see", "See", lambda header: True, lambda numbered: iter(seen.append(numbered) or ()), lambda _: ()
    )
    with pytest.raises(InvalidArgument, match="holds no line that counts"):
        files.read_bill(written(path, json.dumps(value)), (form,))
    [(number, row)] = seen
    assert number == 1
    return row


def test_numbers_are_the_text_they_were_written_with_and_objects_are_flattened_once(path):
    row = row_of(path, [{"A": {"B": 1, "c": {"d": [1]}}, "n": None, "yes": True, "list": [1, 2], "s": " x "}])
    assert row == {"a.b": "1", "a.c": '{"d":["1"]}', "n": "", "yes": "true", "list": '["1","2"]', "s": " x "}
    data = '[{"day": "2026-03-01", "cost": 1.0000000000000000001, "n": 12345678901234567890123}]'
    assert told(read(path, data)) == [(1, None, 1_000_000_000)]


def test_values_that_are_no_cells_are_left_out_of_a_row_of_json(path):
    assert row_of(path, [{"a": "x" * 131_072, "b": "x" * 131_073}]) == {"a": "x" * 131_072, "b": ""}


def test_rows_of_json_are_told_by_the_line_they_stand_in(path):
    data = json.dumps([*OBJECTS, {"day": "2026-03-01", "cost": "x"}], indent=1)
    assert "line 12: cost is 'x', not an amount." in refused(path, data)


FAULTS = {
    # data -> what is said
    "cost": (TABLE + "2026-03-03,m,abc\n2026-03-04,m,\n",
        "2 rows that cannot be read: line 4: cost is 'abc', not an amount; line 5: cost is ''"),
    "cells": (TABLE + "2026-03-03,m,1,2,3\n", "line 4: it has 5 cells, the header has 3"),
    "open quote": (TABLE + '2026-03-03,"m,1\n', "line 4: a quote is opened there and not closed"),
    "long field": (TABLE + '2026-03-03,"' + "x" * 140_000 + "\n", "line 4: a quote is opened there and not closed"),
    "odd quotes": (TABLE + '2026-03-03,"m"x,1\n', "line 4: its quotes do not pair up"),
    "no object": ('[{"day": "2026-03-01", "cost": 1}, 7]', "line 1: it is no object"),
    "key twice": ('[{"day": "2026-03-01", "cost": 1, "Cost": 2}]', "line 1: it names 'cost' twice"),
    "NUL in JSON": ('[{"day": "2026-03-01", "cost": 1, "a": "\\u0000"}]', "line 1: 'a' holds a NUL character"),
    "many values": (json.dumps([{"day": "2026-03-01", **{f"a{n}": n for n in range(500)}}]), "more than 500 values"),
    "a date nobody has": ("day,cost\n1970-01-01,1\n", "line 2: the time 1970-01-01 lies outside of the years"),
    "several currencies": ("day,cost,currency\n2026-03-01,1,USD\n2026-03-01,1,\n2026-03-01,1,eur\n",
        "name several currencies: USD (line 2), EUR (line 4)"),
    "no currency": ("day,cost,currency\n2026-03-01,1,dollars\n", "line 2: 'DOLLARS' is no currency"),
}  # fmt: skip


@pytest.mark.parametrize("data, why", FAULTS.values(), ids=FAULTS)
def test_a_row_that_cannot_be_read_is_told_with_its_line_and_nothing_is_taken(path, data, why):
    assert why in refused(path, data)


def test_of_many_bad_rows_the_first_twenty_are_told_and_the_rest_counted(path):
    text = refused(path, "day,cost\n" + "2026-03-01,x\n" * 50)
    assert "has 50 rows that cannot be read" in text
    assert "line 21: " in text
    assert "line 22: " not in text
    assert "; and 30 more." in text


def test_what_is_told_of_bad_rows_fits_into_one_line_with_what_to_do(path):
    text = refused(path, "day,cost\n" + f"2026-03-01,{'x' * 100}\n" * 50)
    assert len(text) < 2000
    assert "; and 40 more. Nothing was imported. Correct these lines, or export the file again." in text


BOMB = TABLE.encode() + (b"total," + b"x" * 2000 + b"\n") * 9000
UNUSABLE = {
    "nothing": ("", "it has no header"),
    "blank": ("\n \n\n", "it has no header"),
    "only a header": ("day,cost\n", "holds no line that counts: Tiny, daily costs without usage"),
    "an unknown header": ("When,What\n1,2\n",
        "is of no format that is known; its header is 'when, what'. Force one with --format: tiny, bare."),
    "control characters in it": ("\x1b[31mwhen,what\n1,2\n", "its header is '[31mwhen, what'"),
    "a header with a name twice": ("Day,cost, COST\n1,2,3\n", "its header in line 1 names 'cost' twice"),
    "too many columns": (",".join(f"c{n}" for n in range(501)) + "\n", "its header has 501 columns; at most 500"),
    "NUL": ("day,cost\n2026-03-01,1\0\n", "line 2 holds a NUL character"),
    "UTF-16 without a mark": (TABLE.encode("utf-16-le"), "line 1 holds a NUL character"),
    "UTF-32": (TABLE.encode("utf-32"), "is in UTF-32"),
    "Latin-1": ("day,cost,né\n".encode("latin-1"), "is not UTF-8 text (it holds the byte 0xe9). Export or save"),
    "half of UTF-16": (b"\xff\xfed", "is not UTF-8 text"),
    "a long line": ("x" * (1 << 20) + "xx", "line 1 is longer than 1,048,576 characters"),
    "torn gzip": (gzip.compress(TABLE.encode() * 99)[:-20], "cannot be unpacked"),
    "damaged gzip": (b"\x1f\x8b\x08\x00nonsense", "cannot be unpacked"),
    "torn zip": (zipped({"a.csv": TABLE})[:-30], "cannot be unpacked: it has no end"),
    "empty zip": (zipped({}), "holds 0 files that could be a bill"),
    "zip of two": (zipped({"a.csv": TABLE, "b.csv": TABLE}), "holds 2 files that could be a bill"),
    "zip of many": (zipped({f"a{n}.md": "" for n in range(20_000)}), "is an archive of too many files"),
    "zip in a zip": (zipped({"a.csv": zipped({"b.csv": TABLE})}), "is not UTF-8 text"),
    "a bomb": (gzip.compress(b"x" * (17 << 20)), "line 1 is longer"),
    "a bomb of rows": (gzip.compress(BOMB), "unpacks to more than 200 times its size"),
    "a zipped bomb": (zipped({"a.csv": BOMB}), "unpacks to more than 200 times its size"),
    "no JSON": ('[{"day": tru}]', "is no JSON that could be read: line 1: "),
    "torn JSON": ('[{"day": "2026-03-01", "cost": 1},\n{"day"', "line 2: "),
    "JSON that goes on": ('[{"day": "2026-03-01", "cost": 1}]\n[', "line 2: more stands behind its end"),
    "JSON without commas": ('[{"day": "2026-03-01", "cost": 1} {}]', "'{' stands where , or ] is expected"),
    "JSON without colons": ('{"day" "2026-03-01"}', "stands where : is expected"),
    "an empty object": ("{}", "holds no rows"),
    "an empty array": (" []", "holds no rows"),
    "a list without items": ('{"usageItems": [], "organization": "a"}', "holds no rows"),
    "items that are no objects": ('{"usageItems": [1], "organization": "a"}', "line 1: it is no object"),
    "an array of arrays": ("[[1], [2]]", "line 1: it is no object"),
    "JSON that is nested": ("[" + "[" * 100_000, "nested too deeply"),
    "nested keys": ('{"a":' * 100_000, "nested too deeply"),
}  # fmt: skip


@pytest.mark.parametrize("data, why", UNUSABLE.values(), ids=UNUSABLE)
def test_what_is_no_bill_is_told_in_one_line(path, data, why):
    assert why in refused(path, data)


def test_a_file_of_too_many_rows_or_bytes_is_refused(path, monkeypatch):
    monkeypatch.setattr(tables, "ROWS_MAX", 2)
    monkeypatch.setattr(objects, "ROWS_MAX", 2)
    assert len(read(path, TABLE).lines) == 2
    assert "more than 2 rows" in refused(path, TABLE + "2026-03-03,m,1\n")
    assert "more than 2 rows" in refused(path, json.dumps([*OBJECTS, *OBJECTS]))
    monkeypatch.setattr(content, "SIZE_MAX", len(TABLE))
    assert len(read(path, TABLE).lines) == 2
    for data in (TABLE + "\n", gzip.compress(TABLE.encode() + b"\n"), zipped({"a.csv": TABLE + "\n"})):
        assert "is larger than" in refused(path, data)


def test_an_object_that_does_not_end_is_not_read_for_ever(path, monkeypatch):
    monkeypatch.setattr(objects, "OBJECT_MAX", 1000)
    monkeypatch.setattr(objects, "_PART", 100)
    for text in ('[{"day": "' + "x" * 5000, json.dumps([{"day": "x" * 2000}, {"day": "2026-03-01"}])):
        assert "is longer than 1,000 characters, or does not end" in refused(path, text)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes have names on POSIX alone")
def test_what_is_no_file_is_refused_without_waiting_for_it(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for name, why in (
        ("pipe", "is no file"),
        ("", "is no file"),
        ("gone.csv", "No such file"),
        ("loop", "cannot be read"),
    ):
        with pytest.raises(InvalidArgument, match=why):
            files.read_bill(tmp_path / name, FORMATS)
    with pytest.raises(InvalidArgument, match="is no file"):
        files.read_bill(tmp_path.__class__(os.devnull), FORMATS)
    with pytest.raises(InvalidArgument, match="its name cannot be one"):
        files.read_bill(tmp_path / "a\0b", FORMATS)


def test_a_link_to_a_bill_is_read_as_the_bill(tmp_path, path):
    written(path, TABLE)
    link = tmp_path / "link"
    link.symlink_to(path)
    assert told(files.read_bill(link, FORMATS)) == ROWS


def test_a_header_of_several_formats_asks_which_one(path):
    formats = (TINY, BillFormat("twin", "Twin", TINY.recognises, _read, _lacks))
    with pytest.raises(InvalidArgument, match=r"could be of several formats: tiny, twin\. Name one with --format"):
        files.read_bill(written(path, TABLE), formats)
    assert files.read_bill(written(path, TABLE), formats, forced=formats[1]).form.name == "twin"


def test_a_forced_format_is_taken_where_its_columns_are_there(path):
    data = "# of, 2026\nDay,Cost,Other\n2026-03-01,1,x\n"
    assert "is of no format that is known" in refused(path, data)
    assert told(read(path, data, forced=TINY)) == [(3, None, 1_000_000_000)]
    text = refused(path, "When,Cost\n1,2\n", forced=TINY)
    assert "cannot be read as tiny: it lacks day; its header is 'when, cost'" in text


def test_a_format_is_named_as_it_is_called():
    assert files.format_named("bare", FORMATS) is BARE
    with pytest.raises(InvalidArgument, match=r"'bore' is no format of a bill\. There are: tiny, bare\."):
        files.format_named("bore", FORMATS)


CURRENCIES = [
    # header and row, --currency -> currency or refusal
    ("day,cost\n2026-03-01,1\n", None, "USD"),
    ("day,cost\n2026-03-01,1\n", "EUR", "EUR"),
    ("day,cost,currency\n2026-03-01,1,eur\n2026-03-01,1,\n", None, "EUR"),
    ("day,cost,currency\n2026-03-01,1,EUR\n", "EUR", "EUR"),
    ("day,cost,currency\n2026-03-01,1,EUR\n", "USD", "is in EUR, not in USD: line 2 names it"),
    ("day,cost,currency\ntotal,1,GBP\n2026-03-01,1,EUR\n", None, "EUR"),
    ("day,cost,bare,other\n2026-03-01,1,,\n", None, "names its currency. Name it with --currency"),
    ("day,cost,bare,other\n2026-03-01,1,,\n", "GBP", "GBP"),
]


@pytest.mark.parametrize("data, given, expected", CURRENCIES)
def test_a_bill_is_in_the_currency_that_its_rows_name_else_in_the_one_that_is_given(path, data, given, expected):
    if len(expected) == 3:
        assert read(path, data, currency=given).currency == expected
    else:
        assert expected in refused(path, data, currency=given)


def test_a_currency_is_named_by_its_code():
    assert files.currency_code(" eur ") == "EUR"
    for text in ("euro", "", "E\x1b", "€", "\u0415UR"):
        with pytest.raises(InvalidArgument, match="is no currency"):
            files.currency_code(text)


@given(
    st.binary(max_size=400)
    | st.text(max_size=300).map(str.encode)
    | st.text('{}[],:"1a\n \\;day', max_size=60).map(str.encode)
)
def test_whatever_is_in_a_file_it_is_read_or_refused(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("any") / "x"
    for head in (b"", b"day,cost\n", b"[", b'{"day":', b"\x1f\x8b", b"PK\x03\x04"):
        written(path, head + data)
        try:
            files.read_bill(path, FORMATS)
        except InvalidArgument as error:
            assert "\n" not in str(error)  # noqa: PT017
