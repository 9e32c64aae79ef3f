"""A table that goes to a pipe is the same with and without rich, which takes longer to start than most commands do."""

from __future__ import annotations

import string
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallygate.core.moments import as_datetime
from tallygate.entrypoints.cli import output
from tallygate.entrypoints.cli.output import Column
from tallygate.pricing.catalog import Catalog, bundled_text, dates_in

CELLS = st.text(string.ascii_letters + string.digits + " .,$%-", max_size=12).map(str.strip)
AT = as_datetime(1_790_000_000_000_000)


@given(st.data(), st.integers(1, 4), st.integers(0, 4))
def test_a_plain_table_is_what_rich_would_print(data, columns, rows):
    kept = [
        Column(data.draw(CELLS.filter(bool)), [data.draw(CELLS) for _ in range(rows)], right=data.draw(st.booleans()))
        for _ in range(columns)
    ]
    widths = [column.width for column in kept]
    plain = output._plain(kept, widths)
    assert plain == output._styled(kept, widths, 1000)


@pytest.mark.parametrize("cell", ["naïve", "two\nlines", "\x1b[31m", "too long for it"])
def test_what_takes_more_than_padding_is_left_to_rich(cell):
    assert output._plain([Column("A", [cell])], [10]) is None


def test_the_age_of_the_price_list_is_read_from_its_text_as_it_is_when_it_is_loaded():
    assert dates_in(bundled_text(), AT.date()) == Catalog().info(AT).age_days
    assert Catalog().age(AT) == (Catalog().info(AT).age_days, Catalog().info(AT).notice)


def test_a_list_whose_text_says_no_dates_is_loaded(monkeypatch):
    monkeypatch.setattr("tallygate.pricing.catalog.bundled_text", lambda: b"")
    assert Catalog().age(AT) == (Catalog().info(AT).age_days, None)


@pytest.mark.parametrize("command", [["status", "--no-sync"], ["usage", "--no-sync"], ["budget", "list"]])
def test_a_first_look_loads_neither_the_price_list_nor_what_draws_on_terminals(command, tmp_path):
    heavy = "{'genai_prices', 'pydantic', 'rich', 'mcp', 'httpx', 'asyncio'}"
    code = (
        "import sys; sys.argv = ['tallygate', *sys.argv[1:]]\n"
        "from tallygate.__main__ import main\n"
        f"try: main()\nexcept SystemExit: print(sorted({heavy} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *command],
        env={"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr.splitlines()[-1] == "[]", done.stderr
