"""A table that goes to a pipe is the same with and without rich, which takes longer to start than most commands do."""

from __future__ import annotations

import string
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallygate.entrypoints.cli import output
from tallygate.entrypoints.cli.output import Column

CELLS = st.text(string.ascii_letters + string.digits + " .,$%-", max_size=12).map(str.strip)


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


@pytest.mark.parametrize("command", [["status", "--no-sync"], ["usage", "--no-sync"], ["budget", "list"]])
def test_a_first_look_loads_neither_the_library_of_prices_nor_what_draws_on_terminals(command, tmp_path):
    heavy = "{'genai_prices', 'pydantic', 'rich', 'mcp', 'httpx', 'httpx2', 'asyncio'}"
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
