"""Every sample of a bill through the command line: imported, taken back, imported again, replaced by a later export."""

from __future__ import annotations

import csv
import io

import pytest
from tests.statements.samples import EMPTY, FILES, SAMPLES, expected

EXPECTED = expected()


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_bill_is_imported_taken_back_and_imported_again(run, run_json, path):
    form, lines = EXPECTED[path.name]
    [first] = run_json("import", str(path))["bills"]
    assert (first["format"], first["lines"], first["state"], first["new"]) == (form, len(lines), "counts", True)
    [again] = run_json("import", str(path))["bills"]
    assert (again["bill_id"], again["new"]) == (first["bill_id"], False)
    shown = run_json("import", "show", first["bill_id"])["first_lines"]
    assert [str(line["line"]) for line in shown] == [line.split(" ")[0] for line in lines]

    assert run_json("import", "delete", first["bill_id"])["state"] == "deleted"
    [second] = run_json("import", str(path))["bills"]
    assert second["new"]
    assert second["bill_id"] != first["bill_id"]
    assert second["replacing"] == 0
    assert run_json("import", "show", second["bill_id"])["first_lines"] == shown
    states = [(bill["bill_id"], bill["state"]) for bill in run_json("import", "list")["bills"]]
    assert states == [(second["bill_id"], "counts"), (first["bill_id"], "deleted")]
    assert run("verify").exit_code == 0


def test_all_samples_are_imported_at_once_and_none_where_one_is_empty(run, run_json):
    refused = run("import", *map(str, FILES), str(EMPTY))
    assert refused.exit_code == 2
    assert "holds no line that counts" in refused.stderr
    assert run_json("import", "list")["bills"] == []
    bills = run_json("import", *map(str, FILES))["bills"]
    assert [bill["lines"] for bill in bills] == [len(EXPECTED[path.name][1]) for path in FILES]


@pytest.mark.parametrize(
    "name, grown",
    [
        ("anthropic_usage.csv", {"usage_output_tokens": "99999"}),
        ("anthropic_cost.csv", {"cost_usd": "99.5"}),
        ("openai_usage_2025.csv", {"output_tokens": "99999.0"}),
        ("openai_costs_api_source.csv", {"amount_value": "99.5"}),
        ("openrouter_days.csv", {"usage": "999.5"}),
        ("copilot_ai_usage.csv", {"net_amount": "99.5"}),
        ("litellm.csv", {"spend": "99.5"}),
    ],
)
def test_a_later_export_of_the_same_days_counts_instead(run_json, tmp_path, name, grown):
    [first] = run_json("import", str(SAMPLES / name))["bills"]
    later = tmp_path / "later.csv"
    rows = list(csv.reader(io.StringIO((SAMPLES / name).read_text(encoding="utf-8-sig"))))
    columns = {rows[0].index(column): cell for column, cell in named(rows[0], grown).items()}
    for row in rows[1:]:
        # A day without any use stays one.
        row[:] = [columns.get(place, cell) if cell else cell for place, cell in enumerate(row)]
    with later.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(rows)
    [second] = run_json("import", str(later))["bills"]
    assert (second["new"], second["lines"], second["replacing"]) == (True, first["lines"], first["lines"])


def named(header, cells):
    """Cells by the names of a header as the file writes them."""
    return {next(name for name in header if name.lower() == column): cell for column, cell in cells.items()}
