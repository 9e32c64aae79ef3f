"""Bills from providers' own APIs: what the user's key may read, as drafts like those of a file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta

from tallygate.core.errors import AnswerUnusable, InvalidArgument, ProviderRefused
from tallygate.core.moments import as_datetime
from tallygate.operations.bills import Draft
from tallygate.operations.runtime import Runtime
from tallygate.statements.apis import anthropic, anthropic_analytics, openai, openrouter
from tallygate.statements.apis.answers import DAY, Days, Statement
from tallygate.statements.apis.asking import Api, BadAnswer, Clock, Limits, Provider, nobody

DEFAULT_DAYS, DAYS_MAX = 31, 366
FIRST_YEAR = 2000


@dataclass(frozen=True, slots=True)
class Source:
    """A provider with the reports it has. `kept_days` of those that are over are all that it still knows, if so few.

    `newer` reports are asked first, where they have the days: they tell more, and not every key may read them.
    """

    provider: Provider
    reports: tuple[Callable[[Api, Days], Statement], ...]
    kept_days: int | None = None
    newer: tuple[Callable[[Api, Days], Statement], ...] = ()
    newer_has: Callable[[Days, date], bool] = lambda _days, _today: False


SOURCES: dict[str, Source] = {
    source.provider.name: source
    for source in (
        Source(
            anthropic.ANTHROPIC,
            (anthropic.usage, anthropic.costs),
            newer=(anthropic_analytics.usage, anthropic_analytics.costs),
            newer_has=anthropic_analytics.has_days,
        ),
        Source(openai.OPENAI, (openai.usage, openai.costs)),
        Source(openrouter.OPENROUTER, (openrouter.activity,), openrouter.KEPT_DAYS),
    )
}


def days_to_fetch(rt: Runtime, source: Source, since: date | None, until: date | None) -> Days:
    """The UTC days to ask for, `until` not among them; by default the last 31, or those that the provider still has."""
    today = as_datetime(rt.clock_us()).date()
    last = today if source.kept_days is not None else today + DAY
    until = last if until is None else min(until, last)
    if (early := min(until, since or until)).year < FIRST_YEAR:
        raise InvalidArgument("since", f"{early.isoformat()} lies before {FIRST_YEAR}.", hint="Give a later day.")
    if since is None:
        since = until - DEFAULT_DAYS * DAY if source.kept_days is None else today - source.kept_days * DAY
    if since >= until:
        over = " that are over" if source.kept_days else ""
        message = f"From {since} to {until - DAY} there are no days{over} to ask {source.provider.title} for."
        raise InvalidArgument("since", message, hint="Give days in UTC, the earlier one as --since.")
    if source.kept_days is not None and since < (first := today - timedelta(days=source.kept_days)):
        message = f"{source.provider.title} keeps {source.kept_days} days: nothing before {first} can be asked for."
        raise InvalidArgument("since", message, hint=f"Import older days from its export, or give --since {first}.")
    if (until - since).days > DAYS_MAX:
        message = f"From {since} to {until - DAY} are {(until - since).days:,} days; at most {DAYS_MAX} go at a time."
        raise InvalidArgument("since", message, hint="Ask for one year after the other.")
    return Days(since, until, open=until > today)


def fetch_bills(
    rt: Runtime,
    source: Source,
    key: str,
    days: Days,
    *,
    address: str | None = None,
    limits: Limits | None = None,
    tell: Callable[[str], None] = nobody,
) -> list[Draft]:
    """Every report of a provider as a draft, all of them or none; a report without a row is left out.

    Nothing is written. Raises `ProviderUnavailable`.
    """
    provider = source.provider
    clock = Clock(rt.clock_us, rt.pause_us)
    api = Api(provider, address or provider.address, key, clock, limits or Limits(), tell)
    with api.opened():
        found = _of_newer(source, api, days, as_datetime(rt.clock_us()).date(), tell)
        if found is None:
            found = [_asked(report, api, days) for report in source.reports]
    span = f"{days.since} to {days.until - DAY}"
    return [
        Draft(each.format, f"{each.title} {span}", each.digest, each.currency, each.lines, is_latest=True)
        for each in found
        if each.lines
    ]


def _of_newer(source: Source, api: Api, days: Days, today: date, tell: Callable[[str], None]) -> list[Statement] | None:
    """What the newer reports say; None where they do not have the days, or the key may not read them."""
    if not source.newer or not source.newer_has(days, today):
        return None
    try:
        return [_asked(report, api, days) for report in source.newer]
    except (ProviderRefused, AnswerUnusable) as refused:
        why = refused.message.rstrip(".")
    tell(f"{why}; the older reports are asked, which do not say who was behind it")
    return None


def _asked(report: Callable[[Api, Days], Statement], api: Api, days: Days) -> Statement:
    try:
        return report(api, days)
    except BadAnswer as bad:
        why = str(bad)
    raise AnswerUnusable(
        f"{api.provider.title} answered with something else than it documents: {why}.",
        hint="Nothing was imported. Try again; if it stays so, import the provider's export file instead.",
    )
