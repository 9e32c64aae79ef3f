"""Tables of European spreadsheets, and Cursor's events in JSON."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tallygate.core.errors import InvalidArgument
from tallygate.core.statements import Billing
from tallygate.statements.files import FORMATS, read_bill


def costs(tmp_path: Path, *amounts: str, parted: str = ";") -> list[int | None]:
    rows = ["date;model;input_tokens;cost;currency".replace(";", parted)]
    rows += [parted.join(("2026-03-01", "m", "1", each, "EUR")) for each in amounts]
    path = tmp_path / "bill.csv"
    path.write_text("\n".join(rows), encoding="utf-8")
    return [line.cost_nanos for line in read_bill(path, FORMATS).lines]


@pytest.mark.parametrize("parted", [";", "\t"])
@pytest.mark.parametrize(
    ("text", "millionths"),
    [("0,42", 420_000), ("-0,10", -100_000), ("(0,05)", -50_000), ("1.234,56", 1_234_560_000), ("0,123", 123_000)],
)
def test_a_decimal_comma_is_read_where_a_comma_parts_no_cells(
    tmp_path: Path, text: str, millionths: int, parted: str
) -> None:
    assert costs(tmp_path, text, parted=parted) == [millionths * 1_000]


@pytest.mark.parametrize("amounts", [("1,234",), ("1.234", "0,42"), ("0,42", "1.234")])
def test_what_may_be_thousands_is_refused_with_the_comma_named(tmp_path: Path, amounts: tuple[str, ...]) -> None:
    with pytest.raises(InvalidArgument, match="comma"):
        costs(tmp_path, *amounts)


def test_a_decimal_comma_between_quotes_in_a_table_of_commas_is_refused_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="decimal point, not a comma"):
        costs(tmp_path, '"0,42"', parted=",")


@pytest.mark.parametrize(
    ("kind", "charged", "billing", "nanos"),
    [
        ("USAGE_EVENT_KIND_USAGE_BASED", None, Billing.METERED, 8_300_000),
        ("Usage-based", 2.5, Billing.METERED, 25_000_000),
        ("USAGE_EVENT_KIND_INCLUDED_IN_PRO", None, Billing.INCLUDED, 8_300_000),
        ("USAGE_EVENT_KIND_ERRORED_NOT_CHARGED", None, Billing.METERED, 0),
    ],
)
@pytest.mark.parametrize("key", ["usageEventsDisplay", "usageEvents"])
def test_events_of_cursor_in_json_are_read_with_their_cents(
    tmp_path: Path, key: str, kind: str, charged: float | None, billing: Billing, nanos: int
) -> None:
    tokens = {"inputTokens": 200, "outputTokens": 400, "cacheReadTokens": 3000, "totalCents": 0.83}
    event = {"timestamp": "1795168800000", "model": "m", "kind": kind, "tokenUsage": tokens, "chargedCents": charged}
    path = tmp_path / "events.json"
    path.write_text(json.dumps({"total": 1, key: [event]}), encoding="utf-8")
    (line,) = read_bill(path, FORMATS).lines
    assert (line.billing, line.cost_nanos) == (billing, nanos)
    assert (line.tokens.fresh_input, line.tokens.cache_read, line.tokens.output) == (200, 3000, 400)
