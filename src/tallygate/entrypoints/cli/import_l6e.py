"""`tallygate import-l6e`: bring what l6e-mcp kept into the ledger, and say what was and was not taken."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from tallygate.core.errors import InvalidArgument
from tallygate.core.money import format_amount, json_number
from tallygate.core.text import plural
from tallygate.entrypoints.cli import output
from tallygate.entrypoints.cli.options import as_json_option
from tallygate.entrypoints.cli.program import FAILED, Program, pass_program
from tallygate.l6e.records import L6ePlaces, Remark
from tallygate.operations.setup.import_l6e import ImportReport, import_l6e
from tallygate.settings import Settings

_LEFT_OUT_SHOWN = 20
_MODELS_SHOWN = 5
_MEANING: dict[Remark, str] = {
    Remark.TOKENS: "{} came without token counts: they are 0 here, the cost is as it was",
    Remark.WORD: "{} had a mode or actor that is not known: the default stands there",
    Remark.TIME: "{} came without times: a line of the log tells the day at most",
    Remark.AHEAD: "{} lay in the future: they are put at now",
    Remark.PARENT: "{} named a parent that was not imported: they stand alone",
    Remark.RENAMED: "{} got another id, since theirs was taken or cannot be one here",
    Remark.TOTAL: "{} of the log had a total that is not the sum of its records: the records count",
    Remark.CHANGED: "{} had other usage than when they were imported: the first stays",
}
_OF_CALLS = {Remark.TOKENS, Remark.WORD, Remark.CHANGED}

_file = click.Path(path_type=Path)


@click.command("import-l6e")
@click.argument("database", metavar="[DB]", type=_file, required=False)
@click.argument("log", metavar="[LOG]", type=_file, required=False)
@click.option("--dry-run", is_flag=True, help="Say what would be taken, and take nothing.")
@as_json_option
@pass_program
def import_(program: Program, *, database: Path | None, log: Path | None, dry_run: bool, as_json: bool) -> int:
    """Take over the sessions of l6e-mcp.

    DB is its database, LOG its run log. Without them they are looked for where L6E_SESSION_DB_PATH and L6E_LOG_PATH
    say, else at ~/.l6e/sessions.db and .l6e/runs.jsonl of the working directory. Neither file is changed.

    Every session comes in once, over and done, with what l6e-mcp counted. What was imported before is passed over.
    The exit code is 1 where something was left out.
    """
    settings = program.settings()
    database, log = _sources(settings, database, log)
    with program.opened(settings, by="import-l6e") as app, output.working("importing"):
        report = import_l6e(app.runtime, database, log, dry_run=dry_run)
    if as_json:
        output.document(report_json(report, dry_run=dry_run))
    else:
        _say(report, dry_run=dry_run)
    return FAILED if report.left_out_count else 0


def _sources(settings: Settings, database: Path | None, log: Path | None) -> tuple[Path | None, Path | None]:
    """The files to read: those that were named, which must be there, else those that are where l6e-mcp keeps them."""
    default = L6ePlaces.default(os.environ, Path.cwd(), Path.home())
    if database is None and log is None:
        if not default.database.exists() and not default.run_log.exists():
            raise InvalidArgument(
                "DB",
                f"Neither {default.database} nor {default.run_log} exists.",
                hint="Pass the path of the sessions.db of l6e-mcp, and that of its runs.jsonl.",
            )
        database = default.database if default.database.exists() else None
    if database is not None and _is_same(database, settings.paths.database):
        raise InvalidArgument(
            "DB",
            f"{database} is the file that Tallygate takes as its own ledger.",
            hint="Unset L6E_SESSION_DB_PATH, or set TALLYGATE_DB to the ledger, and pass the one of l6e-mcp as DB.",
        )
    if log is None and default.run_log.exists():
        log = default.run_log
    return database, log


def _is_same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:
        return False


def report_json(report: ImportReport, *, dry_run: bool) -> dict[str, Any]:
    """What an import did, for programs."""
    brought = report.brought
    sources = {"database": report.database, "log": report.log}
    return {
        "dry_run": dry_run,
        "sources": {
            name: None if origin is None else {"path": origin.file, "sha256": origin.sha256}
            for name, origin in sources.items()
        },
        "sessions": {
            "taken": brought.sessions,
            "grown": brought.grown,
            "already_there": report.known,
            "left_out": report.left_out_count,
        },
        "calls": {"taken": brought.calls, "corrected": brought.corrected, "actual": brought.actual},
        "cost": json_number(brought.nanos),
        "log_lines": {name: report.log_lines[name] for name in ("lines", "taken", "in_database", "ours", "unfinished")},
        "remarks": {remark.value: count for remark, count in sorted(brought.remarks.items()) if count > 0},
        "priced_at_zero": dict(brought.free.most_common()),
        "orphan_calls": report.orphan_calls,
        "schema_is_newer": report.schema_is_newer,
        "left_out": [{"file": each.file, "where": each.where, "why": each.why} for each in report.left_out],
    }


def _say(report: ImportReport, *, dry_run: bool) -> None:
    brought, lines = report.brought, report.log_lines
    estimates = brought.calls + brought.corrected - brought.actual
    corrected = f", {brought.corrected:,} corrected" if brought.corrected else ""
    basis = f"{brought.actual:,} with their usage, {estimates:,} at their estimates"
    rows = [
        ("sessions", _sessions(report)),
        ("calls", f"{brought.calls:,} taken{corrected}, {basis}"),
        ("cost", f"{format_amount(brought.nanos)}, as l6e-mcp counted it"),
    ]
    if report.database is not None:
        rows.append(("database", report.database.file))
    if report.log is not None:
        counted = f"{plural(lines['lines'], 'line')}, {lines['in_database']:,} of sessions in the database"
        ours = f", {lines['ours']:,} written by Tallygate" if lines["ours"] else ""
        rows.append(("run log", f"{report.log.file}: {counted}{ours}"))
    output.facts(rows)
    if dry_run:
        output.aside("this was a dry run: nothing was written.")
    _say_remarks(report)
    for each in report.left_out[:_LEFT_OUT_SHOWN]:
        output.aside(f"left out: {each.file}, {each.where}: {each.why}.")
    if report.left_out_count > _LEFT_OUT_SHOWN:
        output.aside(f"{report.left_out_count - _LEFT_OUT_SHOWN:,} more were left out; --json names them.")


def _sessions(report: ImportReport) -> str:
    brought = report.brought
    grown = f", {brought.grown:,} had gone on" if brought.grown else ""
    left_out = f", {report.left_out_count:,} left out" if report.left_out_count else ""
    return f"{brought.sessions:,} taken{grown}, already there: {report.known:,}{left_out}"


def _say_remarks(report: ImportReport) -> None:
    brought = report.brought
    if count := brought.remarks[Remark.FREE]:
        models = ", ".join(name for name, _ in brought.free.most_common(_MODELS_SHOWN))
        more = ", ..." if len(brought.free) > _MODELS_SHOWN else ""
        calls = plural(count, "call")
        output.aside(
            f"{calls} cost $0 there, although tokens were used: the price was not known. Models: {models}{more}."
        )
    for remark, text in _MEANING.items():
        if (count := brought.remarks[remark]) > 0:
            output.aside(text.format(plural(count, "call" if remark in _OF_CALLS else "session")) + ".")
    if report.orphan_calls:
        output.aside(f"{plural(report.orphan_calls, 'call')} of no session in the database: not taken.")
    if report.schema_is_newer:
        output.aside("the database was written by a newer l6e-mcp than 0.8.5: what that added was not read.")
    if report.log_lines["unfinished"]:
        output.aside("the last line of the log is not finished: import again when it is.")
