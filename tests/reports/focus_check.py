"""Whether the specification's own validator takes what `tallygate export --format focus` writes: `make focus`.

The validator has an environment of its own (focus-validator 1.0.0 needs multimethod below 2, and pandas). It knows
version 1.0 and none after it. Its rules still ask for five columns by the names they had before 1.0 (`Provider`,
`Publisher`, `InvoiceIssuer`, `ResourceID`, `ChargeType`); those are added to the copy that it is shown, each with what
stands in the column that 1.0 calls otherwise. It finds its list of currencies beside its own packages alone.
"""

from __future__ import annotations

import csv
import subprocess
import sys
import tempfile
from pathlib import Path

from click.testing import CliRunner
from tests.transcripts import write_all

from tallygate.app import compose, settings_here
from tallygate.entrypoints.cli.main import tallygate
from tallygate.entrypoints.cli.program import Program
from tallygate.reports.focus import VERSION_1_0

BEFORE_1_0 = {
    "Provider": "ProviderName",
    "Publisher": "PublisherName",
    "InvoiceIssuer": "InvoiceIssuerName",
    "ResourceID": "ResourceId",
    "ChargeType": "ChargeCategory",
}


def main(python: str) -> int:
    """Export what clients of all kinds wrote, and show it to the validator of another environment."""
    with tempfile.TemporaryDirectory(prefix="focus-") as folder:
        written, shown = Path(folder) / "focus.csv", Path(folder) / "shown.csv"
        export(Path(folder) / "home", written)
        rows = with_old_names(written, shown)
        place = "import focus_validator, pathlib; print(pathlib.Path(focus_validator.__file__).parents[1])"
        packages = subprocess.run([python, "-c", place], capture_output=True, text=True, check=True).stdout.strip()
        command = [python, "-m", "focus_validator.main", "--data-file", str(shown), "--validate-version", VERSION_1_0]
        done = subprocess.run(command, cwd=packages, capture_output=True, text=True, check=False)
    print(done.stdout, end="")
    print(done.stderr[-2000:], end="", file=sys.stderr)
    passed = done.returncode == 0 and "Validation succeeded." in done.stdout
    print(f"FOCUS {VERSION_1_0}: {rows} rows, {'accepted' if passed else 'REFUSED'} by focus-validator.")
    return 0 if passed else 1


def export(home: Path, out: Path) -> None:
    home.mkdir()
    write_all(home)
    places = {"HOME": home, "XDG_DATA_HOME": home / "data", "XDG_CONFIG_HOME": home / "config", "TZ": "UTC"}
    options = ["export", "--format", "focus", "--focus-version", VERSION_1_0, "--out", str(out)]
    runner = CliRunner(env={name: str(value) for name, value in places.items()})
    done = runner.invoke(tallygate, options, obj=Program(settings_here, compose))
    if done.exit_code:
        raise SystemExit(done.output)


def with_old_names(written: Path, shown: Path) -> int:
    with written.open(newline="", encoding="utf-8") as source:
        rows = [*csv.DictReader(source)]
    with shown.open("w", newline="", encoding="utf-8") as target:
        sheet = csv.DictWriter(target, [*rows[0], *BEFORE_1_0])
        sheet.writeheader()
        sheet.writerows(row | {old: row[new] for old, new in BEFORE_1_0.items()} for row in rows)
    return len(rows)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
