"""Sums of usage by key and period, and what they leave open."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import field, replace
from datetime import tzinfo
from fnmatch import fnmatchcase
from functools import partial
from itertools import pairwise
from typing import TypeVar

from tallygate.core.attribution import Served, server_among
from tallygate.core.chosen import Filter
from tallygate.core.costing import Certainty
from tallygate.core.gate.rules import BudgetScope
from tallygate.core.places import meant
from tallygate.core.sums import SharedSum, UnreadFile, UnreadSum, UsageFilter, UsageSum, Whom, unread_sum
from tallygate.core.values import value
from tallygate.core.words import client_name
from tallygate.ledger.port import Reader, UsageReader
from tallygate.operations.budgets.figures import certainties
from tallygate.operations.runtime import Runtime, every_tenant, in_tenant, tenant_id
from tallygate.pricing.identity import listed_name, means, one_name
from tallygate.reports.usage import By, Period, SessionRate, UsageLine, line_of, lines_of, ordered, period_of, total_of

# --- unread ----------------------------------------------------------------------------------------------------------
# What totals leave open: what could not be read of clients' files, and what was told against booked responses.


@value(frozen=True, slots=True)
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


@value(frozen=True, slots=True)
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


@value(frozen=True, slots=True)
class UsageWanted:
    """What a list of usage is about; `until_us` is the first moment after it.

    `project` is a match for places, as a budget takes it, or a folder with what lies below it. `model` is a match for
    models, or a part of an id. With `every` the lines are listed anew for each day, week or month. Without a tenant,
    a list by tenant is about all of them, any other about the one here. With `also` a line stands for two things.
    `made_for` are names, or patterns of them, of whom it was made for: of each response its share of that counts.
    """

    from_us: int
    until_us: int
    clients: tuple[str, ...] = ()
    project: str | None = None
    model: str | None = None
    every: By | None = None
    tenant: str | None = None
    also: By | None = None
    made_for: tuple[tuple[By, str], ...] = ()


def list_usage(rt: Runtime, wanted: UsageWanted, *, by: By, zone: tzinfo, limit: int) -> UsageView:
    """Usage by a key, each tenant as of one moment. Of periods the last ones are shown, of other keys the first."""
    if wanted.tenant is not None:
        chosen = [in_tenant(rt, tenant_id(wanted.tenant))]
    else:
        chosen = every_tenant(rt) if By.TENANT in (by, wanted.also) else [rt]
    every = by if by.is_period else wanted.every
    keys = [each for each in (by, wanted.also) if each is not None]
    if any(each.is_shared for each in keys):
        return _shared_view(chosen, wanted, keys, zone, limit)
    found: dict[int, list[UsageLine]] = {}
    for each in chosen:
        with each.reading() as reader:
            sure = certainties(reader)
            rates = {name: SessionRate(*rate) for name, rate in reader.session_rates().items()}
            asked = _Chosen(each, reader, wanted)
            for period, sums in _periods(asked, every, zone, asked.sums):
                named = [_named(each, one, keys, period.label) for one in sums]
                label = None if every is by else wanted.every and period.label
                found.setdefault(period.start_us, []).extend(lines_of(named, _FILED, sure, rates, label))
    lines = [line for _, of_period in sorted(found.items()) for line in ordered(of_period, by)]
    return _view(chosen[0], wanted, keys, (lines, total_of(lines)), limit)


# Sums are filed under their key before they become lines.
_FILED = By.FOLDER


def _view(
    rt: Runtime, wanted: UsageWanted, keys: Sequence[By], found: tuple[list[UsageLine], UsageLine], limit: int
) -> UsageView:
    """The lines that are shown of all with their total, and what they leave open."""
    lines, total = found
    with rt.reading() as reader:
        unread = unread_of(reader, rt.services.clock_us(), wanted.clients)
        anomalies = anomalies_of(reader)
    shown = lines[-limit:] if keys[0].is_period or wanted.every is not None else lines[:limit]
    gone = _gone(rt, shown) if keys == [By.PROJECT] else ()
    return UsageView(shown, len(lines) - len(shown), total, unread, anomalies, gone)


def _shared_view(
    chosen: Sequence[Runtime], wanted: UsageWanted, keys: Sequence[By], zone: tzinfo, limit: int
) -> UsageView:
    """Lines of whom responses were made for, with their shares, which come to the total exactly.

    A line counts the responses that had a part in it; of all lines together each counts once.
    """
    found: dict[int, list[UsageLine]] = {}
    once: list[UsageSum] = []
    sure: dict[str, Certainty] = {}
    rates: dict[str, SessionRate] = {}
    whom, by_session = [each.value for each in keys if each.is_shared], By.SESSION in keys
    for each in chosen:
        with each.reading() as reader:
            sure |= certainties(reader)
            rates |= {name: SessionRate(*rate) for name, rate in reader.session_rates().items()}
            asked = _Chosen(each, reader, wanted)
            read = partial(asked.shared, whom, by_session=by_session)
            for period, sums in _periods(asked, wanted.every, zone, read):
                named = [_named(each, one.found, keys, period.label, one.whom) for one in sums]
                once += [replace(one.found, responses=one.responses, partial=one.partial) for one in sums]
                lines = lines_of(named, _FILED, sure, rates, wanted.every and period.label)
                found.setdefault(period.start_us, []).extend(replace(line, sessions=frozenset()) for line in lines)
    total = line_of(("total",), (replace(one, model=listed_name(one.model)) for one in once), sure, rates)
    lines = [line for _, of_period in sorted(found.items()) for line in ordered(of_period, _FILED)]
    return _view(chosen[0], wanted, keys, (lines, replace(total, sessions=frozenset())), limit)


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
        if self._wanted.made_for:
            return [each.found for each in self.shared((), from_us, until_us, by_session=True)]
        booked = self.reader.booked_sums(from_us, until_us)
        within = replace(self._filter, from_us=from_us, until_us=until_us)
        return [*self.reader.usage_sums(within), *(each for each in booked if self._is_wanted(each))]

    def shared(self, whom: Collection[str], from_us: int, until_us: int, *, by_session: bool) -> list[SharedSum]:
        """What they add up to in a span, by whom they were made for."""
        made_for = self._wanted.made_for
        asked = {*whom, *(by.value for by, _ in made_for)}
        known = _servers_known(self._rt) if By.MCP.value in asked or By.TOOL.value in asked else ()
        # What a server is called within the name of its tool, the tool tells with it.
        named = {*asked, By.TOOL.value} if known else asked
        found = self.reader.shared_sums(from_us, until_us, named, by_session=by_session)
        found = [replace(each, whom=_of_server(each.whom, known)) for each in found] if known else found
        if made_for:
            found = [each for each in found if all(is_made_for(_whom(each.whom, by), name) for by, name in made_for)]
        narrowed = self._wanted.clients or self._wanted.model is not None or self._wanted.project is not None
        return [each for each in found if not narrowed or self._is_wanted(each.found)]

    def _is_wanted(self, booked: UsageSum) -> bool:
        wanted, clients = self._wanted, {client_name(each) for each in self._wanted.clients}
        if clients and client_name(booked.client or "") not in clients:
            return False
        if wanted.model is not None and not _models([booked.model], wanted.model):
            return False
        return wanted.project is None or (
            booked.folder is not None and bool(folders_of(self._rt, [booked.folder], wanted.project))
        )


def made_for_of(chosen: Filter) -> tuple[tuple[By, str], ...]:
    """Whom a filter means that work was made for."""
    found = ((by, chosen.of(by.value)) for by in (By.AGENT, By.SKILL, By.BRANCH, By.MCP))
    return tuple((by, name) for by, name in found if name is not None)


def sessions_made_for(
    rt: Runtime, reader: Reader, made_for: tuple[tuple[By, str], ...], from_us: int, until_us: int
) -> set[str]:
    """The sessions in which anything of a span was made for these."""
    asked = _Chosen(rt, reader, UsageWanted(from_us, until_us, made_for=made_for))
    found = asked.shared((), from_us, until_us, by_session=True)
    return {each.found.session_id for each in found if each.found.session_id}


def is_made_for(name: str | None, wanted: str) -> bool:
    """Whether a name is the one that is wanted, or one of its pattern, however it is written.

    >>> is_made_for("Explore", "explore"), is_made_for("explore-2", "expl*"), is_made_for("plan", "expl*")
    (True, True, False)
    """
    found, meant_by = (name or "").casefold(), wanted.casefold()
    return found == meant_by or fnmatchcase(found, meant_by)


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


# What stands for whom something was made where its client's record names nobody.
REST, CONVERSATION, SUBAGENT, OWN_TOOLS = "(rest)", "(conversation)", "(subagent)", "(own tools)"


def _named(rt: Runtime, each: UsageSum, keys: Sequence[By], period: str, whom: Whom | None = None) -> UsageSum:
    """A sum under the names of what it is of: the project of its folder, its client, its model and so on."""
    model = listed_name(each.model)
    listed = each if model == each.model else replace(each, model=model)
    # A session is told with its client: that stands there once.
    told = [by for by in keys if by is not By.CLIENT or By.SESSION not in keys]
    key = [part for by in told for part in _parts_of(rt, listed, by, period, whom or Whom())]
    return replace(listed, key=tuple(key))


def _parts_of(rt: Runtime, each: UsageSum, by: By, period: str, whom: Whom) -> tuple[str | None, ...]:
    client = None if each.client is None else client_name(each.client)
    match by:
        case By.SESSION:
            return client, each.session
        case By.PROJECT:
            return (project_name(rt, each.folder),)
        case By.FOLDER:
            return (each.folder,)
        case By.CLIENT:
            return (client,)
        case By.TENANT:
            return (rt.tenant,)
        case By.MODEL:
            return (each.model,)
        case _:
            return (_whom(whom, by) if by.is_shared else period,)


def _servers_known(rt: Runtime) -> tuple[str, ...]:
    """The MCP servers whose names a tool's name does not tell from those of others, as limits call them."""
    named = (rule.match for rule in rt.workspace.rules if rule.scope is BudgetScope.MCP_SERVER and rule.match)
    return tuple(dict.fromkeys(name for name in named if "__" in name and not {*name} & {*"*?["}))


def _of_server(whom: Whom, known: Iterable[str]) -> Whom:
    if not whom.server or not whom.tool:
        return whom
    found = server_among(Served(whom.server, whom.tool), known)
    return whom._replace(server=found.server, tool=found.tool)


def _whom(whom: Whom, by: By) -> str:
    """What stands for whom something was made for."""
    match by:
        case By.AGENT:
            return whom.agent or (SUBAGENT if whom.subagent else CONVERSATION)
        case By.SKILL:
            return whom.skill or REST
        case By.BRANCH:
            return whom.branch or REST
        case By.MCP:
            return whom.server or (OWN_TOOLS if whom.tool else REST)
        case _:
            return f"{whom.server}/{whom.tool}" if whom.server else whom.tool or REST


def project_name(rt: Runtime, folder: str | None) -> str | None:
    """What reports call the project of a folder: its repository, outside of any the folder itself."""
    place = rt.workspace.place_of(folder)
    return None if place is None else place.name


T = TypeVar("T")


def _periods(
    chosen: _Chosen, every: By | None, zone: tzinfo, read: Callable[[int, int], list[T]]
) -> Iterator[tuple[Period, list[T]]]:
    """The periods in which anything was spent, each summed by the ledger between the moments it has in the zone."""
    from_us, end_us = chosen.span
    if every is None:
        yield Period("", from_us, end_us), read(from_us, end_us)
        return
    while (at_us := chosen.reader.spend_next(from_us, end_us)) is not None:
        period = period_of(at_us, every, zone)
        until_us = min(period.end_us, end_us)
        yield period, read(max(from_us, period.start_us), until_us)
        from_us = until_us
