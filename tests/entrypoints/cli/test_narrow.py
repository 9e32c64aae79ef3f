"""Tables on narrow terminals: amounts are never cut, and what is left out is named."""

from __future__ import annotations

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallygate.core.money import format_amount, told_apart
from tallygate.entrypoints.cli import output
from tallygate.entrypoints.cli.output import Column, fitting, going, words

WIDTHS = (40, 60, 80, 120, 200)
ID = "global:all:day:2026-09-21:tokens:soft:in:/srv/shop/a-very-long-folder-name/with/others"


def budgets() -> list[Column]:
    return [
        words("BUDGET", ["0123abcd", ID]),
        going(3, words("SCOPE", ["session", "global"])),
        going(2, words("RESETS (CEST)", ["-", "2026-09-22 00:00"])),
        output.money("LIMIT", [(2_500_000_000, "USD"), (1_234_567, "tokens")]),
        going(1, output.money("RESERVED", [(0, "USD"), (10, "tokens")])),
        output.money("LEFT", [(4_000_000, "USD"), (999_999, "tokens")]),
    ]


def shown(capsys, monkeypatch, width: int) -> str:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", str(width))
    output.table(*budgets())
    return click.unstyle(capsys.readouterr().out)


@pytest.mark.parametrize("width", WIDTHS)
def test_amounts_stand_in_full_at_any_width_and_every_other_column_stands_or_is_named(capsys, monkeypatch, width):
    text = shown(capsys, monkeypatch, width)
    for amount in ("$2.50", "1,234,567 tokens", "$0.0040", "999,999 tokens", "0123abcd"):
        assert amount in text
    table, mark, named = text.partition("Left out for want of room: ")
    named, _, cut = " ".join(named.split()).partition("Cut: ")
    assert cut.startswith("BUDGET. A wider") is (width <= 120)
    for column in budgets():
        assert (column.title.strip() in table) is not (column.title.strip() in named)
    assert bool(mark) is (width <= 120)
    assert width < 60 or max(map(len, table.splitlines())) <= width


@given(
    widths=st.lists(st.tuples(st.integers(1, 40), st.integers(0, 5), st.booleans(), st.booleans()), min_size=1),
    width=st.integers(10, 200),
)
def test_what_fits_is_as_wide_as_the_terminal_and_nothing_is_lost(widths, width):
    columns = [
        Column(f"T{n}", ["x" * size], tight=tight, goes=0 if money else goes, whole=money, is_amount=money)
        for n, (size, goes, tight, money) in enumerate(widths)
    ]
    kept, left_out = fitting(columns, width)
    assert sorted(c.title for c in (*kept, *left_out)) == sorted(c.title for c in columns)
    assert not any(column.is_amount for column in left_out)
    needed = sum(column.least for column in kept) + 2 * (len(kept) - 1)
    assert needed <= width or all(c.is_amount or c is kept[0] for c in kept)
    assert [column.title for column in kept] == [c.title for c in columns if c.title in {k.title for k in kept}]


@given(st.lists(st.integers(-(10**12), 10**12), min_size=1, max_size=6), st.sampled_from(["USD", "CHF", "tokens"]))
def test_amounts_beside_one_another_look_the_same_only_where_they_are(amounts, unit):
    texts = told_apart(amounts, unit)
    assert len(set(texts)) == len(set(amounts))


@given(st.integers(1, 10**12))
def test_what_is_left_never_looks_like_nothing(nanos):
    assert any(digit in "123456789" for digit in format_amount(nanos))
