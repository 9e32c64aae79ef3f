"""`tallygate calibrate`: what estimates are corrected by, and how to see, forget and relearn it."""

from __future__ import annotations

from typing import Any

import click

from tallygate.core.authority import Loosening
from tallygate.core.learning.calibration import Kept
from tallygate.core.moments import iso
from tallygate.core.words import CalibrationMode, client_name
from tallygate.entrypoints.cli import output
from tallygate.entrypoints.cli.calibrate_backtest import backtest
from tallygate.entrypoints.cli.moments import shown_zone
from tallygate.entrypoints.cli.program import Commands, Program, pass_program
from tallygate.operations.learning import estimates, replay
from tallygate.operations.learning.estimates import Taught

_MILLI = 1_000
_WHOSE = {"agent": "agents", "hook": "hooks"}


@click.group(cls=Commands)
def calibrate() -> None:
    """See, forget or relearn what corrects estimates."""


calibrate.add_command(backtest)


@calibrate.command("show")
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
@pass_program
def show(program: Program, as_json: bool) -> None:
    """Show what was learned of estimates, by client and model, and the factors that were set or taken from bills.

    FIRST is what the estimate of the first step of a session or subagent is multiplied by, LATER that of those after
    it, to be right in the middle. ON TOP is what is reserved beyond that, so that most steps stay below.
    """
    settings = program.settings()
    with program.opened(settings) as app:
        found = estimates.show(app.runtime)
        percent = app.runtime.policy.quantile_percent
        mode = app.runtime.policy.calibration.value
    if as_json:
        output.document(
            {
                "mode": mode,
                "quantile_percent": percent,
                "learned": [_taught(each) for each in found.learned],
                "manual": [{"model": model, "factor": ratio(micros)} for model, micros in found.manual.items()],
                "billed": [
                    {"model": model, "factor": ratio(micros), "applied_at": iso(at_us)}
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
        output.words("ESTIMATES OF", [_WHOSE.get(each.key.kind, each.key.kind) for each in learned]),
        output.words("CLIENT", [client_name(each.key.client) for each in learned]),
        output.words("MODEL", [each.key.model for each in learned], tight=False),
        output.numbers("SEEN", [each.samples for each in learned]),
        _ratios("FIRST STEP", [each.first_micros for each in learned]),
        _ratios("LATER STEPS", [each.later_micros for each in learned]),
        _ratios("RESERVED", [each.reserved_micros for each in learned]),
        output.going(1, output.words("CONFIDENCE", [each.confidence for each in learned])),
        output.words(
            output.zoned("LAST", [each.last_us for each in learned], time_zone),
            [output.when(each.last_us, time_zone) for each in learned],
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
        "first_step": ratio(each.first_micros),
        "later_steps": ratio(each.later_micros),
        "reserved_on_top": ratio(each.reserved_micros),
        "confidence": each.confidence,
        "last_at": iso(each.last_us),
    }


@calibrate.command("rebuild")
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
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
        click.echo(f"Learned from {output.plural(count, 'call')}.")


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
            click.echo(f"Forgotten: {output.plural(factors, 'factor')} from bills.")
            return
        count = estimates.forget(app.runtime, client, model, authority=authority)
    click.echo(f"Forgotten: {output.plural(count, 'sample')}. Estimates count as they are given until more is known.")


@calibrate.command("export")
@pass_program
def export(program: Program) -> None:
    """Write every sample as one JSON line: what was said of a call before, and what it cost, in nano-dollars."""
    with program.opened() as app:
        for kept in estimates.samples(app.runtime):
            click.echo(output.line(_sample(kept)))


def _sample(kept: Kept) -> dict[str, Any]:
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
