"""Sums of usage by key and period, and what they leave open."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import tzinfo
from itertools import pairwise

from tallygate.core.places import meant
from tallygate.core.sums import UnreadFile, UnreadSum, UsageFilter, UsageSum, unread_sum
from tallygate.core.words import client_name
from tallygate.ledger.port import Reader, UsageReader
from tallygate.operations.budgets.figures import certainties
from tallygate.operations.runtime import Runtime, every_tenant, in_tenant, tenant_id
from tallygate.pricing.identity import listed_name, means, one_name
from tallygate.reports.usage import By, Period, SessionRate, UsageLine, lines_of, ordered, period_of, total_of

# --- unread ----------------------------------------------------------------------------------------------------------
# What totals leave open: what could not be read of clients' files, and what was told against booked responses.


@dataclass(frozen=True, slots=True)
class Anomalies:
    """How much was told against booked responses, and how many of agents' own reports are odd."""

    responses: int = 0
    reports: int = 0

    def stated(self) -> dict[str, int]:
        """For programs."""
        return {"anomalies": self.responses, "odd_reports": self.reports}


def what_is_open(rt: Runtime, clients: Collection[str] = ()) -> tuple[UnreadSum, Anomalies]:
    """What could not be read of some clients' files (all by default), and how many anomalies there are."""
    with rt.reading() as reader:
        return unread_of(reader, rt.services.clock_us(), clients), anomalies_of(reader)


def anomalies_of(reader: Reader) -> Anomalies:
    """How many anomalies there are."""
    return Anomalies(reader.count_anomalies(), reader.count_call_anomalies())


def unread_of(reader: UsageReader, now_us: int, clients: Collection[str] = ()) -> UnreadSum:
    """What could not be read, added up."""
    return unread_sum((file for file in reader.unread_files() if not clients or file.client in clients), now_us)


def unread_files(rt: Runtime) -> list[UnreadFile]:
    """The files of which something could not be read."""
    now_us = rt.services.clock_us()
    with rt.reading() as reader:
        return [file for file in reader.unread_files() if file.records(now_us)]


# --- usage -----------------------------------------------------------------------------------------------------------
# List what was spent: every response, whether a budget session asked for it or not, and what agents booked themselves.


@dataclass(frozen=True, slots=True)
class UsageView:
    """The lines that are shown, how many are not, what all of them add up to, and what that leaves open.

    `gone` are the names of lines that are folders which are on no disk any more, and in no repository that is.
    """

    lines: list[UsageLine]
    hidden: int
    total: UsageLine
    unread: UnreadSum = field(default_factory=UnreadSum)
    anomalies: Anomalies = field(default_factory=Anomalies)
    gone: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class UsageWanted:
    """What a list of usage is about; `until_us` is the first moment after it.

    `project` is a match for places, as a budget takes it, or a folder with what lies below it. `model` is a match for
    models, or a part of an id. With `every` the lines are listed anew for each day, week or month. Without a tenant,
    a list by tenant is about all of them, any other about the one here.
    """

    from_us: int
    until_us: int
    clients: tuple[str, ...] = ()
    project: str | None = None
    model: str | None = None
    every: By | None = None
    tenant: str | None = None


def list_usage(rt: Runtime, wanted: UsageWanted, *, by: By, zone: tzinfo, limit: int) -> UsageView:
    """Usage by a key, each tenant as of one moment. Of periods the last ones are shown, of other keys the first."""
    if wanted.tenant is not None:
        chosen = [in_tenant(rt, tenant_id(wanted.tenant))]
    else:
        chosen = every_tenant(rt) if by is By.TENANT else [rt]
    every = by if by.is_period else wanted.every
    found: dict[int, list[UsageLine]] = {}
    for each in chosen:
        with each.reading() as reader:
            sure = certainties(reader)
            rates = {name: SessionRate(*rate) for name, rate in reader.session_rates().items()}
            for period, sums in _periods(_Chosen(each, reader, wanted), every, zone):
                named = [_named(each, one, by, period.label) for one in sums]
                label = None if every is by else wanted.every and period.label
                found.setdefault(period.start_us, []).extend(lines_of(named, by, sure, rates, label))
    with chosen[0].reading() as reader:
        unread = unread_of(reader, rt.services.clock_us(), wanted.clients)
        anomalies = anomalies_of(reader)
    lines = [line for _, of_period in sorted(found.items()) for line in ordered(of_period, by)]
    shown = lines[:limit] if every is None else lines[-limit:]
    gone = _gone(rt, shown) if by is By.PROJECT else ()
    return UsageView(shown, len(lines) - len(shown), total_of(lines), unread, anomalies, gone)


def _gone(rt: Runtime, lines: Iterable[UsageLine]) -> tuple[str, ...]:
    names = dict.fromkeys(name for line in lines for name in line.key if name)
    places = {name: rt.workspace.place_of(name) for name in names}
    return tuple(name for name, place in places.items() if place is not None and place.gone and place.project is None)


def spent_between(rt: Runtime, wanted: UsageWanted, moments: Sequence[int]) -> list[int]:
    """What was spent from each of some moments to the next, in nano-dollars."""
    with rt.reading() as reader:
        chosen = _Chosen(rt, reader, wanted)
        return [sum(each.nanos for each in chosen.sums(*span)) for span in pairwise(moments)]


class _Chosen:
    """The responses and booked calls of a tenant that are wanted, by the folders, clients and models that they name."""

    def __init__(self, rt: Runtime, reader: Reader, wanted: UsageWanted) -> None:
        self.span = wanted.from_us, wanted.until_us
        self.reader = reader
        self._wanted = wanted
        self._rt = rt
        folders = None if wanted.project is None else folders_of(rt, reader.usage_folders(), wanted.project)
        models = None if wanted.model is None else _models(reader.usage_models(), wanted.model)
        self._filter = UsageFilter(*self.span, wanted.clients, folders, models)

    def sums(self, from_us: int, until_us: int) -> list[UsageSum]:
        """What they add up to in a span."""
        booked = self.reader.booked_sums(from_us, until_us)
        within = replace(self._filter, from_us=from_us, until_us=until_us)
        return [*self.reader.usage_sums(within), *(each for each in booked if self._is_wanted(each))]

    def _is_wanted(self, booked: UsageSum) -> bool:
        wanted, clients = self._wanted, {client_name(each) for each in self._wanted.clients}
        if clients and client_name(booked.client or "") not in clients:
            return False
        if wanted.model is not None and not _models([booked.model], wanted.model):
            return False
        return wanted.project is None or (
            booked.folder is not None and bool(folders_of(self._rt, [booked.folder], wanted.project))
        )


def folders_of(rt: Runtime, known: Collection[str], project: str) -> tuple[str, ...]:
    """The folders of a project; where no project is meant, those whose path or the end of it is given."""
    found = tuple(folder for folder in known if meant(rt.workspace.place_of(folder), project))
    if found:
        return found
    wanted = project.rstrip("/") or "/"
    return tuple(
        folder
        for folder in known
        if folder == wanted or folder.startswith(wanted.rstrip("/") + "/") or folder.endswith("/" + wanted.strip("/"))
    )


def _models(known: list[str], model: str) -> tuple[str, ...]:
    part = model.lower()
    return tuple(each for each in known if means(model, each) or part in each.lower() or part in one_name(each))


def _named(rt: Runtime, each: UsageSum, by: By, period: str) -> UsageSum:
    """A sum under the one name of what it is of: the project of its folder, its client, its model."""
    key: tuple[str | None, ...]
    client = None if each.client is None else client_name(each.client)
    match by:
        case By.DAY | By.WEEK | By.MONTH:
            key = (period,)
        case By.SESSION:
            key = (client, each.session)
        case By.PROJECT:
            key = (project_name(rt, each.folder),)
        case By.FOLDER:
            key = (each.folder,)
        case By.CLIENT:
            key = (client,)
        case By.TENANT:
            key = (rt.tenant,)
        case By.MODEL:
            key = ()
    return replace(each, key=key, model=listed_name(each.model))


def project_name(rt: Runtime, folder: str | None) -> str | None:
    """What reports call the project of a folder: its repository, outside of any the folder itself."""
    place = rt.workspace.place_of(folder)
    return None if place is None else place.name


def _periods(chosen: _Chosen, every: By | None, zone: tzinfo) -> Iterator[tuple[Period, list[UsageSum]]]:
    """The periods in which anything was spent, each summed by the ledger between the moments it has in the zone."""
    from_us, end_us = chosen.span
    if every is None:
        yield Period("", from_us, end_us), chosen.sums(from_us, end_us)
        return
    while (at_us := chosen.reader.spend_next(from_us, end_us)) is not None:
        period = period_of(at_us, every, zone)
        until_us = min(period.end_us, end_us)
        yield period, chosen.sums(max(from_us, period.start_us), until_us)
        from_us = until_us
