"""The limits that `tallygate init` starts with: proposed from what was spent, asked about, written as settings."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tallygate.clients.client import Client
from tallygate.core.errors import InvalidArgument, LedgerUnavailable
from tallygate.core.money import exact_text, format_amount
from tallygate.core.proposals import Proposals, proposals
from tallygate.core.typed import typed_amount
from tallygate.core.values import value
from tallygate.core.words import BudgetMode
from tallygate.entrypoints.cli import output
from tallygate.entrypoints.cli.output import shown_zone, zone_of
from tallygate.entrypoints.cli.program import FAILED, Program
from tallygate.entrypoints.cli.sync import first_look
from tallygate.operations.views.history import Past, past
from tallygate.settings import OnFault, Settings

if TYPE_CHECKING:
    from tallygate.operations.gate.first_step import FirstStep

_ZONE = """\
# When your days begin: dates are shown, and budgets renew, by this zone.
time_zone = "{zone}"

"""
_OBSERVE = """\
# Nothing is stopped: what is over a limit is recorded and said. Without these lines limits are hard.
[policy]
budget_mode = "soft"
on_fault = "allow"

"""
_LIMITS = """\
# What agents may spend, in dollars. `tallygate budget raise` raises the limit of a session or a day that runs.

[[budget]]
scope = "session"
limit_usd = {session}
"""
_DAY = """
[[budget]]
scope = "user"
period = "day"
limit_usd = {day}
"""


def is_begun_by_init(file: Path) -> bool:
    """Whether a settings file begins as `init` writes one, whatever limits were changed in it since."""
    try:
        with file.open(encoding="utf-8") as stream:
            first = stream.readline()
    except (OSError, UnicodeDecodeError):
        return False
    return first in {text.partition("\n")[0] + "\n" for text in (_ZONE, _OBSERVE, _LIMITS)}


@value(frozen=True, slots=True)
class Limits:
    """What agents may spend to begin with, in nano-dollars; without a day's limit only sessions have one."""

    session_nanos: int
    day_nanos: int | None
    observe: bool = False

    def settings_text(self, zone: str | None) -> str:
        """As they stand in a file of settings."""
        head = ("" if zone is None else _ZONE.format(zone=zone)) + (_OBSERVE if self.observe else "")
        day = "" if self.day_nanos is None else _DAY.format(day=_dollars(self.day_nanos))
        return head + _LIMITS.format(session=_dollars(self.session_nanos)) + day

    def applied(self, settings: Settings) -> Settings:
        """Settings as they are once these are written, as far as what is installed depends on them."""
        if not self.observe:
            return settings
        return replace(settings, policy=replace(settings.policy, budget_mode=BudgetMode.SOFT, on_fault=OnFault.ALLOW))

    def said(self) -> str:
        """In one sentence's worth of words."""
        day = "" if self.day_nanos is None else f" and {format_amount(self.day_nanos)} a day"
        return f"{format_amount(self.session_nanos)} a session{day}"


@value(frozen=True, slots=True)
class Asked:
    """What the options of `init` say: limits as they were typed, and whether anything may be asked."""

    session: str | None = None
    day: str | None = None
    observe: bool = False
    yes: bool = False

    @property
    def is_anything(self) -> bool:
        """Whether any limit was named."""
        return self.observe or self.session is not None or self.day is not None


@value(frozen=True, slots=True)
class _Known:
    """What the last year says, and what a session of the clients here begins with."""

    past: Past
    first: FirstStep | None

    @property
    def proposals(self) -> Proposals:
        """The limits that would have fitted it."""
        return self.past.proposals


def starting_limits(
    program: Program,
    settings: Settings,
    asked: Asked,
    *,
    clients: Sequence[Client],
    subscribed: Sequence[str],
    dry_run: bool,
) -> Limits:
    """What to begin with: what was named, else what the history proposes; asked about where somebody is there.

    `subscribed` are the clients that are paid by a subscription: what they use costs nothing more, so nothing of
    theirs is stopped unless the user wants it.
    """
    session = None if asked.session is None else typed_amount("--limit", asked.session)
    day = None if asked.day is None else typed_amount("--day-limit", asked.day)
    known = _known(program, settings, clients)
    fitting = known.proposals
    observe = asked.observe or (bool(subscribed) and session is None and day is None)
    chosen = Limits(
        session or fitting.session.limit_nanos,
        day or max(fitting.day.limit_nanos, 2 * (session or 0)),
        observe,
    )
    if chosen.day_nanos is not None and day is not None and session is None and day < chosen.session_nanos:
        chosen = replace(chosen, session_nanos=day)
    if session is None or day is None:
        for line in (*_spreads(known.proposals), *_meanings(known.proposals, chosen)):
            click.echo(line, err=True)
    for line in _at_once(known, chosen):
        click.echo(line, err=True)
    if subscribed and not asked.is_anything:
        output.aside(
            f"{output.listed(subscribed)} {'is' if len(subscribed) == 1 else 'are'} paid by a subscription here, so "
            "limits only warn (--limit makes them stop). Costs are what the same use would cost through the API."
        )
    if (asked.session is not None and asked.day is not None) or asked.yes or dry_run or not is_attended():
        return chosen
    return _choice(known, chosen)


def _known(program: Program, settings: Settings, clients: Sequence[Client]) -> _Known:
    """What was spent so far; what cannot be read is said, and counts as nothing.

    Who only looks reads the same, so that what they see proposed is what will be.
    """
    from tallygate.operations.gate.first_step import dearest_first_step

    try:
        with first_look(program, settings, by="init") as app:
            return _Known(
                past(app.runtime, zone_of(shown_zone(settings))),
                dearest_first_step(app.runtime, clients, learned=False),
            )
    except (LedgerUnavailable, OSError) as error:
        output.aside(f"what was spent so far cannot be read ({error}), so nothing is proposed from it.")
        return _Known(Past(proposals((), ()), today_nanos=0), None)


def is_attended() -> bool:
    """Whether somebody is there to be asked."""
    return sys.stdin is not None and sys.stdin.isatty() and sys.stderr.isatty()


def _choice(known: _Known, proposed: Limits) -> Limits:
    """Let whoever sits there take the proposal, another limit, or none that stops.

    One that stops the day that runs is taken by a word: nobody's Enter stops his work.
    """
    other = "s to stop there" if proposed.observe else "o to observe only"
    while True:
        verb = "Observe with" if proposed.observe else "Set"
        stops = _stops_today(known, proposed)
        taking = "`yes` takes it and stops the next step of today" if stops else "Enter takes it"
        said = click.prompt(
            f"{verb} {proposed.said()}? {taking}; an amount sets the session's, `day 20` the day's, `5 20` both; "
            f"{other}; q to leave",
            default="",
            show_default=False,
            err=True,
        ).strip()
        match said.lower():
            case "y" | "yes":
                return proposed
            case "":
                if not stops:
                    return proposed
                click.echo("Type `yes` if the work of today is to stop, or another amount.", err=True)
                continue
            case "o":
                return replace(proposed, observe=True)
            case "s":
                proposed = replace(proposed, observe=False)
                if not _stops_today(known, proposed):
                    return proposed
                click.echo(_today(known, proposed), err=True)
                continue
            case "q" | "n" | "no":
                output.aside("nothing was changed.")
                raise click.exceptions.Exit(FAILED)
            case _:
                pass
        try:
            proposed = _typed(said, proposed)
        except InvalidArgument as error:
            click.echo(f"{error.message} {error.hint}".rstrip(), err=True)
            continue
        for line in (*_meanings(known.proposals, proposed), *_at_once(known, proposed)):
            click.echo(line, err=True)


def _typed(said: str, proposed: Limits) -> Limits:
    """Limits with the amounts that were typed: a session's, after `day` a day's, or both in this order."""
    first, *rest = said.split()
    if first.lower() == "day" and len(rest) == 1:
        return replace(proposed, day_nanos=typed_amount("The limit of a day", rest[0]))
    if len(rest) > 1:
        raise InvalidArgument("limit", "One amount is a session's, two are a session's and a day's.")
    session = typed_amount("The limit", first)
    if rest:
        return replace(proposed, session_nanos=session, day_nanos=typed_amount("The limit of a day", rest[0]))
    return replace(proposed, session_nanos=session, day_nanos=max(proposed.day_nanos or 0, 2 * session))


def _spreads(known: Proposals) -> Iterator[str]:
    """What was spent so far, as far as enough is known."""
    for found, what in ((known.session, "sessions"), (known.day, "days")):
        if not found.is_ours:
            middle, nine, most = (format_amount(found.reached_by(percent)) for percent in (50, 90, 100))
            last = f"Your last {found.known} {what}"
            yield f"{last}: half cost at most {middle}, 9 of 10 at most {nine}, the dearest {most}."


def _meanings(known: Proposals, limits: Limits) -> Iterator[str]:
    """What limits mean, by what was spent so far."""
    for found, nanos, one in ((known.session, limits.session_nanos, "session"), (known.day, limits.day_nanos, "day")):
        amount = f"{format_amount(nanos or 0)} a {one}"
        over = found.over_at(nanos or 0)
        if one == "day" and nanos == 2 * limits.session_nanos and nanos != found.limit_nanos:
            yield f"{amount} is twice a session: our figure, since a day is never less."
        elif found.is_ours and nanos == found.limit_nanos:
            yield f"{amount} is our figure: {_few(found.known, one)} known, too few to tell what is usual."
        elif found.known:
            which = "your only" if found.known == 1 else f"{over or 'none'} of your last {found.known}"
            stopped = f"would {'' if over or found.known > 1 else 'not '}have stopped {which} {one}"
            fits = one == "session" and not found.is_ours and nanos == found.limit_nanos
            yield f"{amount} {stopped}{'' if found.known == 1 else 's'}{_ahead(over) if fits else ''}."


def _ahead(over: int) -> str:
    """What a limit that the history proposes does to sessions to come, told from how it did on other histories."""
    if not over:
        return "; new ones cost more now and then, so expect it to stop one in ten at most"
    return "; of ten new ones expect it to stop about one, in a dear week up to four"


def _at_once(known: _Known, limits: Limits) -> Iterator[str]:
    """What limits do from now on: how today stands, and one that is below what a first step may cost."""
    if (spent := _today(known, limits)) is not None:
        yield spent
    if known.first is None or limits.observe:
        return
    for nanos, one in ((limits.session_nanos, "session"), (limits.day_nanos, "day")):
        if nanos is not None and (said := known.first.refused_by(nanos, f"{format_amount(nanos)} a {one}")) is not None:
            yield said
            return


def _stops_today(known: _Known, limits: Limits) -> bool:
    """Whether what was spent today is past the limit of a day already, so that the next step would be stopped."""
    return not limits.observe and limits.day_nanos is not None and known.past.today_nanos > limits.day_nanos


def _today(known: _Known, limits: Limits) -> str | None:
    """How what was spent today stands against the limit of a day; None where nothing was, or days have no limit."""
    spent, limit = known.past.today_nanos, limits.day_nanos
    if not spent or limit is None:
        return None
    said = f"{format_amount(spent)} was spent today already"
    if spent <= limit:
        return f"{said}, of {format_amount(limit)} a day: {format_amount(limit - spent)} left."
    then = "the next step is stopped" if _stops_today(known, limits) else "each step warns"
    other = "" if is_attended() else " --day-limit sets another."  # who is asked reads how right below
    return f"{said}, more than the {format_amount(limit)} of a day: {then}.{other}"


def _few(known: int, one: str) -> str:
    past = f"finished {one}"  # what runs yet says nothing of what is usual, though it is spent
    return f"no {past} is" if not known else f"only 1 {past} is" if known == 1 else f"only {known} {past}s are"


def _dollars(nanos: int) -> str:
    """An amount as settings write it: 15.00, and 0.125 where cents do not say it."""
    text = exact_text(nanos)
    whole, _, cents = text.partition(".")
    return f"{whole}.{cents.ljust(2, '0')}"
