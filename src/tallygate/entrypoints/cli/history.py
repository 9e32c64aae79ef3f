"""`tallygate history`: what sessions came to, here or everywhere, and jobs that come again and again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from tallygate.core.history import ENOUGH, TRIES, CostRange, Spread
from tallygate.core.money import told_apart
from tallygate.entrypoints.cli import output
from tallygate.entrypoints.cli.options import as_json_option
from tallygate.entrypoints.cli.program import Program, pass_program
from tallygate.entrypoints.cli.sync import first_look, reading_first
from tallygate.operations.views.history import CostHistory, cost_history
from tallygate.workspace import written_out

# Of projects with too few sessions so many are named.
_FEW_SHOWN = 8


@click.command()
@click.option("--project", help="Another project than the one here: its path, the end of it, or a pattern.")
@click.option("--all", "everything", is_flag=True, help="All projects together, and each of them.")
@reading_first
@as_json_option
@pass_program
def history(program: Program, *, project: str | None, everything: bool, syncing: bool, as_json: bool) -> None:
    """Show what sessions came to.

    Half of the last sessions of this project ended below the first amount, nine in ten below the second. A session has
    ended once nothing was written of it for an hour. A range is told of twenty sessions or more, and only where it is
    narrow enough to say something and has held for those that are known. A job is what agents said that ten sessions
    or more were for.

    It says what was: nothing is promised of the next session, and nothing is held for it. Who wants to hold money sets
    a limit.
    """
    if everything and project is not None:
        raise click.UsageError("Give one of --project and --all.")
    settings = program.settings()
    with first_look(program, settings, reading=syncing) as app:
        named = None if project is None else written_out(project, str(Path.home()))
        found = cost_history(app.runtime, named, everything=everything)
    if as_json:
        output.document(_json(found))
        return
    _show(found, everything=everything)


def _show(found: CostHistory, *, everything: bool) -> None:
    where = "of all projects" if everything else f"of {output.safe(found.place)}" if found.place else "here"
    for line in _sentences(found.sessions, where):
        click.echo(line)
    if found.unlike and found.sessions.half_nanos is None:
        output.hint("`tallygate history --all` tells of all projects.")
    if found.projects:
        output.heading("Projects")
        spreads = [each for _, each in found.projects]
        output.table(output.paths("PROJECT", [name for name, _ in found.projects]), *_columns(spreads))
    if found.few:
        told = [output.safe(each or output.NOTHING) for each in found.few[:_FEW_SHOWN]]
        more = len(found.few) - len(told)
        names = output.listed([*told, *([f"{more} more"] if more else [])])
        output.aside(f"below {ENOUGH} sessions, and so in all projects alone: {names}.")
    if found.jobs:
        output.heading("Jobs")
        places = [output.going(2, output.paths("PROJECT", [each.project for each in found.jobs]))] if everything else []
        output.table(
            output.prose("JOB", [each.job for each in found.jobs]),
            output.going(3, output.words("CLIENT", [output.safe(each.client) for each in found.jobs])),
            *places,
            *_columns([each.spread for each in found.jobs]),
        )


def _sentences(sessions: Spread, where: str) -> list[str]:
    if sessions.half_nanos is None or sessions.nine_nanos is None:
        if not sessions.ended:
            return [f"No session {where} has ended yet."]
        ended = f"1 session {where} has" if sessions.ended == 1 else f"{sessions.ended} sessions {where} have"
        return [f"{ended} ended. From {ENOUGH} on this says what they come to."]
    half, nine = told_apart([sessions.half_nanos, sessions.nine_nanos])
    said = [f"Sessions {where}: half end below {half}, 9 in 10 below {nine} (last {sessions.known})."]
    if sessions.range is not None:
        said.append(f"{_between(sessions.range)}; {_held(sessions.range)}.")
    return said


def _between(found: CostRange) -> str:
    low, high = told_apart([found.low_nanos, found.high_nanos])
    return f"{low} to {high}"


def _held(found: CostRange) -> str:
    """How often such a range has held, counted where enough tries say it."""
    if found.tried < TRIES:
        return "3 in 4 fall in such a range"
    return f"{found.fell} of the last {found.tried} fell in such a range"


def _columns(spreads: list[Spread]) -> list[output.Column]:
    columns = [
        output.numbers("SESSIONS", [each.known for each in spreads]),
        output.money("HALF BELOW", [(each.half_nanos, "USD") for each in spreads]),
        output.money("9 IN 10 BELOW", [(each.nine_nanos, "USD") for each in spreads]),
    ]
    if any(each.range is not None for each in spreads):
        columns.append(
            output.going(1, output.words("3 IN 4 FELL IN", [each.range and _between(each.range) for each in spreads]))
        )
    return columns


def _json(found: CostHistory) -> dict[str, Any]:
    return {
        "project": found.place,
        "currency": "USD",
        "sessions": found.sessions.stated(),
        "projects": [{"project": name, **each.stated()} for name, each in found.projects],
        "jobs": [
            {"job": each.job, "client": each.client, "project": each.project, **each.spread.stated()}
            for each in found.jobs
        ],
    }
