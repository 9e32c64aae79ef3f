"""`tallygate calibrate backtest`: how good the estimates are, by the sessions that the ledger has."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import click

from tallygate.core.learning.calibration import Kind
from tallygate.core.learning.replay import COVERED_PERCENTS, WELL_OVER_PERCENT, Accuracy, Figures, Gate
from tallygate.core.money import format_amount, json_number, parse_amount_nanos
from tallygate.entrypoints.cli import output
from tallygate.entrypoints.cli.moments import moment_us, shown_zone, since_option, zone_of
from tallygate.entrypoints.cli.program import Program, pass_program
from tallygate.operations.learning.replay import BUDGET_PERCENT, Backtest, Part, Period, Progress, nobody
from tallygate.operations.learning.replay import backtest as gone_through

_ALWAYS_US = 2**62
_OF = {Kind.HOOK: "What hooks would have estimated", Kind.AGENT: "What agents estimated"}
_MEANING = {
    Gate.SUM: "adds up estimates, and is never told a cost",
    Gate.NAIVE: "knows what was spent, and takes estimates as they are",
    Gate.LEARNED: "this gate, with what it had learned by then",
    Gate.ORACLE: "knows what the next call will cost",
}


@click.command("backtest")
@since_option("Only what was used")
@click.option("--until", metavar="MOMENT", help="Only what was used before that, or on that day.")
@click.option("--budget", metavar="USD", help="What every session may spend; else what is usual where it was made.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
@pass_program
def backtest(program: Program, *, since: str | None, until: str | None, budget: str | None, as_json: bool) -> None:
    """Go through your sessions again, to see what the gate would have made of them.

    Each session is met with what those before it teach, and ends where a gate would have halted it. OVER is by how much
    the sessions that needed more than their budget would have passed it, UNUSED what they would have left of it; FALSE
    HALTS is the share of the other sessions that would have been halted. Nothing is written.

    Without --budget a session has what three of four sessions of its project stay within, or of its client where the
    project has few.
    """
    settings = program.settings()
    zone = zone_of(shown_zone(settings))
    budget_nanos = None if budget is None else parse_amount_nanos("--budget", budget)
    with program.opened(settings) as app, _progress_bar() as progress:
        now = app.runtime.clock_us()
        period = Period(
            -_ALWAYS_US if since is None else moment_us(since, now, zone),
            _ALWAYS_US if until is None else moment_us(until, now, zone, end=True),
        )
        found = gone_through(app.runtime, period, budget_nanos=budget_nanos, progress=progress)
    if as_json:
        output.document(_json(found))
    elif found.parts:
        _say(found)
    else:
        when = "" if since is until is None else " of that time"
        output.hint(f"No sessions{when}: `tallygate sync` reads what clients wrote down.")


@contextmanager
def _progress_bar() -> Iterator[Callable[[Progress], None]]:
    """Progress on stderr, where somebody is looking."""
    if not sys.stderr.isatty():
        yield nobody
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn("going through sessions"), BarColumn(), MofNCompleteColumn())
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None)
        yield lambda now: bar.update(task, completed=now.done, total=now.sessions)


def _say(found: Backtest) -> None:
    for part in found.parts:
        figures = part.figures[Gate.LEARNED]
        calls = output.plural(part.accuracy.asks, "call")
        output.heading(f"{_OF[part.kind]}: {output.plural(figures.sessions, 'session')}, {calls}")
        click.echo(f"{figures.binding:,} of them needed more than a budget {_budget(found)}.")
        _table(list(part.figures.items()))
        for line in _accuracy(part.accuracy):
            click.echo(line)
    click.echo()
    for gate, meaning in _MEANING.items():
        click.echo(f"{gate.value}: {meaning}.")


def _budget(found: Backtest) -> str:
    if found.budget_nanos is not None:
        return f"of {format_amount(found.budget_nanos)}"
    return f"that {BUDGET_PERCENT} of 100 sessions like them stay within"


def _table(rows: Sequence[tuple[Gate, Figures]]) -> None:
    output.table(
        output.words("GATE", [gate.value for gate, _ in rows]),
        _percents("OVER", [each.over_mean for _, each in rows]),
        _percents("OVER P95", [each.over_p95 for _, each in rows]),
        _percents(f"> {WELL_OVER_PERCENT} % OVER", [each.well_over for _, each in rows]),
        _percents("UNUSED", [each.unused_mean for _, each in rows]),
        _percents("FALSE HALTS", [each.false_halts for _, each in rows]),
    )


def _percents(title: str, shares: list[int | None]) -> output.Column:
    return output.Column(title, [percent(share) for share in shares], right=True)


def percent(micros: int | None) -> str:
    """A share with one decimal.

    >>> percent(12_499), percent(1_000_000), percent(None)
    ('1.2 %', '100.0 %', '-')
    """
    if micros is None:
        return output.NOTHING
    tenths = (micros + 500) // 1000
    return f"{tenths // 10:,}.{tenths % 10} %"


def _accuracy(found: Accuracy) -> Iterator[str]:
    if found.off_said is None or found.off_expected is None:
        yield "No call had an estimate."
        return
    yield f"Estimates were off by {_times(found.off_said)} in the middle, {_times(found.off_expected)} once corrected."
    if not found.learned:
        yield "Nothing was learned yet: it takes ten calls whose cost is known."
        return
    for quantile, share in zip(COVERED_PERCENTS, found.covered, strict=True):
        yield f"{percent(share)} of calls cost no more than {quantile} of 100 were expected to."


def _times(micros: int) -> str:
    hundredths = (micros + 5_000) // 10_000
    return f"{hundredths // 100}.{hundredths % 100:02d}x"


def _json(found: Backtest) -> dict[str, Any]:
    return {
        "quantile_percent": found.quantile_percent,
        "budget_usd": None if found.budget_nanos is None else json_number(found.budget_nanos),
        "kinds": [_part(part) for part in found.parts],
    }


def _part(part: Part) -> dict[str, Any]:
    accuracy = part.accuracy
    return {
        "kind": part.kind.value,
        "calls": accuracy.asks,
        "calls_with_something_learned": accuracy.learned,
        "off_as_said": _number(accuracy.off_said),
        "off_as_expected": _number(accuracy.off_expected),
        "covered": {
            str(quantile): _number(share) for quantile, share in zip(COVERED_PERCENTS, accuracy.covered, strict=True)
        },
        "gates": [
            {
                "gate": gate.value,
                "sessions": figures.sessions,
                "binding": figures.binding,
                "over_mean": _number(figures.over_mean),
                "over_p95": _number(figures.over_p95),
                "well_over": _number(figures.well_over),
                "unused_mean": _number(figures.unused_mean),
                "false_halts": _number(figures.false_halts),
            }
            for gate, figures in part.figures.items()
        ],
    }


def _number(micros: int | None) -> Any:
    """A share or a factor as a JSON number, exactly."""
    return None if micros is None else json_number(micros * 1000)
