"""`tallygate calibrate`: what was learned of estimates, and gates tried out on one's own history."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import click

from tallygate.core.authority import Loosening
from tallygate.core.learning.calibration import EstimateKind, StoredSample
from tallygate.core.learning.replay import COVERED_PERCENTS, WELL_OVER_PERCENT, Accuracy, Figures, Gate
from tallygate.core.moments import iso
from tallygate.core.money import format_amount, json_number
from tallygate.core.text import plural
from tallygate.core.typed import typed_amount
from tallygate.core.words import CalibrationMode, client_name
from tallygate.entrypoints.cli import output
from tallygate.entrypoints.cli.options import as_json_option
from tallygate.entrypoints.cli.output import moment_us, shown_zone, since_option, zone_of
from tallygate.entrypoints.cli.program import Commands, Program, pass_program
from tallygate.operations.learning import estimates, replay
from tallygate.operations.learning.estimates import Taught
from tallygate.operations.learning.replay import (
    BUDGET_PERCENT,
    Backtest,
    BacktestPart,
    BacktestProgress,
    ReplayPeriod,
    unseen_backtest,
)
from tallygate.operations.learning.replay import backtest as gone_through

# --- calibrate backtest ----------------------------------------------------------------------------------------------
# `tallygate calibrate backtest`: how good the estimates are, by the sessions that the ledger has.


_ALWAYS_US = 2**62
_OF = {EstimateKind.HOOK: "What hooks would have estimated", EstimateKind.AGENT: "What agents estimated"}
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
@as_json_option
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
    budget_nanos = None if budget is None else typed_amount("--budget", budget)
    with program.opened(settings) as app, _progress_bar() as progress:
        now = app.runtime.services.clock_us()
        period = ReplayPeriod(
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
def _progress_bar() -> Iterator[Callable[[BacktestProgress], None]]:
    """Progress on stderr, where somebody is looking."""
    if not sys.stderr.isatty():
        yield unseen_backtest
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
        calls = plural(part.accuracy.asks, "call")
        output.heading(f"{_OF[part.kind]}: {plural(figures.sessions, 'session')}, {calls}")
        click.echo(f"{figures.binding:,} of them needed more than a budget {_budget(found)}.")
        _backtest_table(list(part.figures.items()))
        for line in _accuracy(part.accuracy):
            click.echo(line)
    click.echo()
    for gate, meaning in _MEANING.items():
        click.echo(f"{gate.value}: {meaning}.")


def _budget(found: Backtest) -> str:
    if found.budget_nanos is not None:
        return f"of {format_amount(found.budget_nanos)}"
    return f"that {BUDGET_PERCENT} of 100 sessions like them stay within"


def _backtest_table(rows: Sequence[tuple[Gate, Figures]]) -> None:
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


def _part(part: BacktestPart) -> dict[str, Any]:
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


# --- calibrate -------------------------------------------------------------------------------------------------------
# `tallygate calibrate`: what estimates are corrected by, and how to see, forget and relearn it.


_MILLI = 1_000
_WHOSE = {"agent": "agents", "hook": "hooks"}


@click.group(cls=Commands)
def calibrate() -> None:
    """See, forget or relearn what corrects estimates."""


calibrate.add_command(backtest)


@calibrate.command("show")
@as_json_option
@pass_program
def show(program: Program, as_json: bool) -> None:
    """Show what was learned of estimates, by client and model, and the factors that were set or taken from bills.

    FIRST is what the estimate of the first step of a session or subagent is multiplied by, LATER that of those after
    it, to be right in the middle. ON TOP is what is reserved beyond that, so that most steps stay below.
    """
    settings = program.settings()
    with program.opened(settings) as app:
        found = estimates.show(app.runtime)
        percent = app.runtime.workspace.policy.quantile_percent
        mode = app.runtime.workspace.policy.calibration.value
    if as_json:
        output.document(
            {
                "mode": mode,
                "quantile_percent": percent,
                "learned": [_taught(each) for each in found.learned],
                "manual": [{"model": model, "factor": _number(micros)} for model, micros in found.manual.items()],
                "billed": [
                    {"model": model, "factor": _number(micros), "applied_at": iso(at_us)}
                    for model, (micros, at_us) in found.billed.items()
                ],
            }
        )
        return
    if not found.learned:
        click.echo("Nothing was learned yet: it takes calls whose cost came to be known.")
    else:
        _table(found.learned, shown_zone(settings))
        click.echo(
            "\nWhat is said of a first step is multiplied by FIRST STEP, of others by LATER STEPS. RESERVED times that "
            f"is\nheld, so that {percent} of 100 steps stay below it. SEEN are the calls that this is learned from."
        )
        if mode != CalibrationMode.ENFORCE:
            click.echo(f"With calibration = {mode} none of it is reserved.")
    for model, micros in found.manual.items():
        click.echo(f"Set by you: {output.safe(model)} {ratio(micros)}x; it counts in place of what was learned.")
    for model, (micros, at_us) in found.billed.items():
        when = output.when(at_us, shown_zone(settings))
        click.echo(f"Taken from bills: {output.safe(model)} {ratio(micros)}x since {when}.")


def _table(learned: tuple[Taught, ...], time_zone: str) -> None:
    output.table(
        output.words("OF", [_WHOSE.get(each.key.kind, each.key.kind) for each in learned]),
        output.words("CLIENT", [client_name(each.key.client) for each in learned]),
        output.names("MODEL", [each.key.model for each in learned]),
        output.numbers("SEEN", [each.samples for each in learned]),
        _ratios("FIRST STEP", [each.first_micros for each in learned]),
        _ratios("LATER STEPS", [each.later_micros for each in learned]),
        _ratios("RESERVED", [each.reserved_micros for each in learned]),
        output.going(1, output.words("CONFIDENCE", [each.confidence for each in learned])),
        output.going(
            2,
            output.words(
                output.zoned("LAST", [each.last_us for each in learned], time_zone),
                [output.when(each.last_us, time_zone)[-11:] for each in learned],
            ),
        ),
    )


def _ratios(title: str, micros: list[int]) -> output.Column:
    return output.Column(title, [f"{ratio(each)}x" for each in micros], right=True)


def ratio(micros: int) -> str:
    """A factor with three decimals.

    >>> ratio(1_000_000), ratio(2_345_678)
    ('1.000', '2.346')
    """
    thousandths = (micros + _MILLI // 2) // _MILLI
    return f"{thousandths // 1000}.{thousandths % 1000:03d}"


def _taught(each: Taught) -> dict[str, Any]:
    return {
        "kind": each.key.kind,
        "client": client_name(each.key.client),
        "model": each.key.model,
        "reconciled_calls": each.samples,
        "first_step": _number(each.first_micros),
        "later_steps": _number(each.later_micros),
        "reserved_on_top": _number(each.reserved_micros),
        "confidence": each.confidence,
        "last_at": iso(each.last_us),
    }


@calibrate.command("rebuild")
@as_json_option
@pass_program
def rebuild(program: Program, as_json: bool) -> None:
    """Learn anew from the calls in the ledger, the oldest first; what came before a reset is learned again, too.

    Each call's expectation is worked out from the calls before it alone. Needed only for ledgers that are older than
    this kind of learning, or after a reset.
    """
    authority = program.authority(of=Loosening.CALIBRATE_REBUILD)
    with program.opened() as app, output.working("Learning"):
        count = replay.rebuild(app.runtime, authority=authority)
    if as_json:
        output.document({"samples": count})
    else:
        click.echo(f"Learned from {plural(count, 'call')}.")


@calibrate.command("reset")
@click.option("--client", metavar="NAME", help="Only what was learned in this client.")
@click.option("--model", metavar="MODEL", help="Only what was learned of this model, in every spelling.")
@click.option("--billed", is_flag=True, help="Forget the factors taken from bills instead.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@pass_program
def reset(program: Program, client: str | None, model: str | None, billed: bool, yes: bool) -> None:
    """Let what was learned count no more. Nothing is erased: the ledger keeps what happened."""
    if billed and (client is not None or model is not None):
        raise click.UsageError("--billed forgets all factors from bills; it goes with no other option.")
    authority = program.authority(of=Loosening.CALIBRATE_RESET)
    if not yes:
        what = "the factors taken from bills" if billed else "what was learned of estimates"
        click.confirm(f"Forget {what}?", abort=True)
    with program.opened() as app:
        if billed:
            factors = estimates.forget_factors(app.runtime, authority=authority)
            click.echo(f"Forgotten: {plural(factors, 'factor')} from bills.")
            return
        count = estimates.forget(app.runtime, client, model, authority=authority)
    click.echo(f"Forgotten: {plural(count, 'sample')}. Estimates count as they are given until more is known.")


@calibrate.command("export")
@pass_program
def export(program: Program) -> None:
    """Write every sample as one JSON line: what was said of a call before, and what it cost, in nano-dollars."""
    with program.opened() as app:
        for kept in estimates.samples(app.runtime):
            click.echo(output.line(_sample(kept)))


def _sample(kept: StoredSample) -> dict[str, Any]:
    sample = kept.sample
    return {
        "call_id": kept.call_id,
        "session_id": kept.session_id,
        "kind": kept.key.kind,
        "client": client_name(kept.key.client),
        "model": kept.key.model,
        "agent": kept.agent or None,
        "at": iso(kept.at_us),
        "estimate_nanos": sample.estimate_nanos,
        "cold_nanos": sample.cold_nanos,
        "level_nanos": sample.level_nanos,
        "expected_nanos": sample.expected_nanos,
        "actual_nanos": sample.actual_nanos,
        "origin": sample.origin.value,
    }
